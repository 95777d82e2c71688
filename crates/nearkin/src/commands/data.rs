//! `nearkin data`

use std::path::PathBuf;

use nearkin_data::Dataset;

use crate::failure::Failure;
use crate::ui::{Ui, count, table};

/// Classes listed before the rest is summed up.
const LISTED: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = super::train::DATA_HELP)]
pub struct Args {
    /// A folder per class, an IDX or CIFAR file or folder, or a CSV manifest; `PATH#SPLIT` for one split
    path: PathBuf,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let summary = Dataset::open(&args.path)?.describe();
    ui.print_json(&summary);
    let sizes =
        summary.sizes.iter().take(4).map(|s| format!("{} × {} ({})", s.width, s.height, count(s.count)));
    let more_sizes = summary.sizes.len().saturating_sub(4);
    let mut sizes = sizes.collect::<Vec<_>>().join(", ");
    if more_sizes > 0 {
        sizes += &format!(", and {more_sizes} more");
    }
    let colours = summary.channels.iter().map(|c| {
        let name = if c.channels == 1 { "grey" } else { "colour" };
        format!("{name} ({})", count(c.count))
    });
    let splits = summary.splits.iter().map(|s| format!("{} ({})", s.name, count(s.count)));
    let classes = match summary.classes.len() {
        0 => "none: no labels".to_owned(),
        n if summary.unlabelled > 0 => {
            format!("{n}, but {} samples have no label", count(summary.unlabelled))
        }
        n => n.to_string(),
    };
    let mut rows = vec![
        ["path".to_owned(), summary.path.display().to_string()],
        ["kind".to_owned(), summary.kind.to_string()],
        ["images".to_owned(), count(summary.count)],
        ["classes".to_owned(), classes],
        ["sizes".to_owned(), sizes],
        ["colours".to_owned(), colours.collect::<Vec<_>>().join(", ")],
    ];
    if !summary.splits.is_empty() {
        rows.push(["splits".to_owned(), splits.collect::<Vec<_>>().join(", ")]);
    }
    ui.print(table(["", ""], rows, &[]).trim_start());
    if !summary.classes.is_empty() {
        let rows = summary.classes.iter().take(LISTED).map(|c| [c.name.clone(), count(c.count)]);
        ui.print(format!("\n{}", table(["class", "images"], rows, &[1])));
        if let Some(more) = summary.classes.len().checked_sub(LISTED).filter(|n| *n > 0) {
            ui.print(format!("  … and {more} more classes"));
        }
    }
    summary.warnings.iter().for_each(|warning| ui.warn(warning));
    Ok(())
}
