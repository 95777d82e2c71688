//! `nearkin delete`

use std::path::PathBuf;

use nearkin_index::{Filter, GrowingIndex};
use serde_json::json;

use crate::failure::Failure;
use crate::ui::{Ui, count};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An index made by `nearkin index`
    index: PathBuf,
    /// The ids of the rows to delete
    #[arg(value_name = "ID", required_unless_present = "where_")]
    ids: Vec<String>,
    /// Delete the rows that a filter lets through, such as 'year < 2020'
    #[arg(long = "where", id = "where_", value_name = "FILTER", conflicts_with = "ids")]
    filter: Option<Filter>,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let index = GrowingIndex::open(&args.index)?;
    let ids = match &args.filter {
        None => args.ids,
        Some(filter) => {
            let snapshot = index.snapshot();
            let selection = snapshot.select(filter).map_err(|e| Failure::misuse(e.to_string()))?;
            selection.rows().map(|row| snapshot.id(row).to_owned()).collect()
        }
    };
    let deleted = index.delete(&ids)?;
    let snapshot = index.snapshot();
    ui.print_json(&json!({
        "event": "deleted", "deleted": deleted.deleted, "missing": deleted.missing, "rows": snapshot.len(),
        "pending": snapshot.pending(), "index": args.index,
    }));
    for id in &deleted.missing {
        ui.warn(format!("{} has no row '{id}'", args.index.display()));
    }
    ui.print(format!(
        "deleted {} vectors: {} holds {}",
        count(deleted.deleted),
        args.index.display(),
        count(snapshot.len())
    ));
    Ok(())
}
