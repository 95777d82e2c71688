//! `nearkin add`

use std::path::PathBuf;

use nearkin_index::{Embeddings, EqualIds, GrowingIndex};
use serde_json::json;

use crate::failure::Failure;
use crate::ui::{Ui, count};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An index made by `nearkin index`
    index: PathBuf,
    /// Vectors of the index's model: .parquet, .npy or .safetensors, from `nearkin embed`
    embeddings: PathBuf,
    /// Put rows in the place of those with the same ids [default: such an id is an error, and nothing is added]
    #[arg(long)]
    replace: bool,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let rows = Embeddings::read(&args.embeddings)?;
    let index = GrowingIndex::open(&args.index)?;
    let equal_ids = if args.replace { EqualIds::Replace } else { EqualIds::Refuse };
    let added = index.add(&rows, equal_ids)?;
    let snapshot = index.snapshot();
    ui.print_json(&json!({
        "event": "added", "added": added.added, "replaced": added.replaced, "rows": snapshot.len(),
        "pending": snapshot.pending(), "index": args.index,
    }));
    let replaced = match added.replaced {
        0 => String::new(),
        n => format!(", replaced {}", count(n)),
    };
    ui.print(format!(
        "added {} vectors{replaced}: {} holds {}",
        count(added.added),
        args.index.display(),
        count(snapshot.len())
    ));
    Ok(())
}
