//! `nearkin compact`

use std::path::PathBuf;

use nearkin_index::GrowingIndex;
use serde_json::json;

use crate::failure::Failure;
use crate::ui::{Ui, bytes, count};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An index made by `nearkin index`
    index: PathBuf,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let index = GrowingIndex::open(&args.index)?;
    let folded = index.snapshot().pending();
    let bar = ui.bar("compacting", index.snapshot().len());
    let summary = index.compact(&mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    })?;
    bar.finish_and_clear();
    ui.print_json(&json!({
        "event": "compacted", "rows": summary.rows, "folded": folded, "storage": summary.storage, "bytes": summary.bytes, "index": args.index,
    }));
    ui.print(format!(
        "folded {} added and {} deleted vectors into {}: it holds {}, {}",
        count(folded.added),
        count(folded.deleted),
        args.index.display(),
        count(summary.rows),
        bytes(summary.bytes)
    ));
    Ok(())
}
