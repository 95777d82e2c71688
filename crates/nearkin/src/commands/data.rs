//! `nearkin data`

use std::path::{Path, PathBuf};

use nearkin_data::poses::{ANNOTATIONS, PoseSet};
use nearkin_data::table::ColumnSummary;
use nearkin_data::{Dataset, Media, Table, TableKind};
use serde_json::json;

use super::Named;
use super::fit::TableArgs;
use crate::failure::Failure;
use crate::ui::{Ui, count, table};

/// Classes listed before the rest is summed up.
const LISTED: usize = 20;
/// Columns of a table listed.
const LISTED_COLUMNS: usize = 60;

#[derive(Debug, clap::Args)]
#[command(
    after_help = super::train::DATA_HELP,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_help_heading = "Data that nearkin makes"
)]
pub struct Args {
    #[command(subcommand)]
    make: Option<Make>,
    #[command(flatten)]
    show: Show,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// A folder per class or a ZIP of one, of images or sounds, an IDX or CIFAR file or folder, .ts series, a CSV manifest, or a table;
    /// `PATH#SPLIT` for one split
    #[arg(required = true)]
    path: Option<PathBuf>,
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    table: TableArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Make {
    /// Draw an airplane in 18 azimuths, 9 elevations and 6 lightings, with a manifest of the poses
    RenderPoses {
        /// The folder to make
        out: PathBuf,
        /// Side of the square images, in pixels
        #[arg(long, value_name = "N", default_value_t = PoseSet::default().size)]
        size: usize,
    },
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    match args {
        Args { make: Some(Make::RenderPoses { out, size }), .. } => {
            let images = PoseSet { size, ..PoseSet::default() }.write(&out)?;
            let manifest = out.join(ANNOTATIONS);
            ui.print_json(
                &json!({ "event": "rendered", "images": images, "out": out, "manifest": manifest }),
            );
            ui.print(format!("drew {} images; their poses are in {}", count(images), manifest.display()));
            Ok(())
        }
        Args { show: Show { path: Some(path), named, table }, .. } => show(&path, &named, &table, ui),
        Args { .. } => Err(Failure::misuse("give the path of a data set")),
    }
}

fn show(path: &Path, named: &Named, columns: &TableArgs, ui: &Ui) -> Result<(), Failure> {
    if TableKind::at(path)?.is_some() {
        return show_table(path, columns, ui);
    }
    let dataset = Dataset::open_named(path, named.names.as_ref())?;
    let summary = dataset.describe();
    ui.print_json(&summary);
    let noun = summary.media.to_string();
    let sizes =
        summary.sizes.iter().take(4).map(|s| format!("{} × {} ({})", s.width, s.height, count(s.count)));
    let more_sizes = summary.sizes.len().saturating_sub(4);
    let mut sizes = sizes.collect::<Vec<_>>().join(", ");
    if more_sizes > 0 {
        sizes += &format!(", and {more_sizes} more");
    }
    let channels = summary.channels.iter().map(|c| {
        let name = match (summary.media, c.channels) {
            (Media::Images, 1) => "grey".to_owned(),
            (Media::Images, _) => "colour".to_owned(),
            (_, channels) => channels.to_string(),
        };
        format!("{name} ({})", count(c.count))
    });
    let channels = channels.collect::<Vec<_>>().join(", ");
    let rates = summary.rates.iter().map(|r| format!("{} Hz ({})", count(r.rate as usize), count(r.count)));
    let rates = rates.collect::<Vec<_>>().join(", ");
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
        ["kind".to_owned(), format!("{noun}, {}", summary.kind)],
        [noun.clone(), count(summary.count)],
        ["classes".to_owned(), classes],
    ];
    match summary.steps {
        None => rows.extend([["sizes".to_owned(), sizes], ["colours".to_owned(), channels]]),
        Some([least, median, most]) => {
            let [least, median, most] = [least, median, most].map(count);
            rows.push(["steps".to_owned(), format!("{least} to {most}, half of them up to {median}")]);
            rows.push(["channels".to_owned(), channels]);
        }
    }
    if !rates.is_empty() {
        rows.push(["rates".to_owned(), rates]);
    }
    if !dataset.attributes().is_empty() {
        rows.push(["attributes".to_owned(), dataset.attributes().join(", ")]);
    }
    if !summary.splits.is_empty() {
        rows.push(["splits".to_owned(), splits.collect::<Vec<_>>().join(", ")]);
    }
    ui.print(table(["", ""], rows, &[]).trim_start());
    if !summary.classes.is_empty() {
        let rows = summary.classes.iter().take(LISTED).map(|c| [c.name.clone(), count(c.count)]);
        ui.print(format!("\n{}", table(["class", &noun], rows, &[1])));
        if let Some(more) = summary.classes.len().checked_sub(LISTED).filter(|n| *n > 0) {
            ui.print(format!("  … and {more} more classes"));
        }
    }
    summary.warnings.iter().for_each(|warning| ui.warn(warning));
    Ok(())
}

fn show_table(path: &Path, columns: &TableArgs, ui: &Ui) -> Result<(), Failure> {
    let summary = Table::open(path, &columns.options())?.describe();
    ui.print_json(&summary);
    let named =
        |name: &Option<String>, none: &str| name.as_ref().map_or(none.to_owned(), |name| format!("'{name}'"));
    let label = match (&summary.label, summary.classes.len()) {
        (Some(name), 0) => format!("'{name}', missing in some rows"),
        (Some(name), n) => format!("'{name}', {} different", count(n)),
        (None, _) => "none: --label names one".to_owned(),
    };
    let rows = [
        ["path".to_owned(), summary.path.display().to_string()],
        ["kind".to_owned(), summary.kind.to_string()],
        ["rows".to_owned(), count(summary.rows)],
        ["label".to_owned(), label],
        ["ids".to_owned(), named(&summary.id, "row numbers from 0")],
        ["columns".to_owned(), count(summary.columns.len())],
    ];
    ui.print(table(["", ""], rows, &[]).trim_start());
    let blank = |missing: &usize| if *missing == 0 { String::new() } else { count(*missing) };
    let lines = summary.columns.iter().take(LISTED_COLUMNS).map(|column| match column {
        ColumnSummary::Number { name, missing, least, mean, greatest } => {
            let number = |x: &f64| if x.is_nan() { String::new() } else { short(*x) };
            [name.clone(), "number".into(), blank(missing), number(least), number(mean), number(greatest)]
        }
        ColumnSummary::Text { name, missing, different, first } => {
            let kind = if columns.categorical.contains(name) { "category" } else { "text" };
            let different = format!("{} different", count(*different));
            [name.clone(), kind.into(), blank(missing), first.clone(), different, String::new()]
        }
    });
    let header = ["column", "kind", "missing", "least", "mean", "greatest"];
    ui.print(format!("\n{}", table(header, lines, &[2, 3, 4, 5])));
    if let Some(more) = summary.columns.len().checked_sub(LISTED_COLUMNS).filter(|n| *n > 0) {
        ui.print(format!("  … and {more} more columns"));
    }
    let text = |column: &&ColumnSummary| matches!(column, ColumnSummary::Text { name, .. } if !columns.categorical.contains(name));
    let texts = summary.columns.iter().filter(text).count();
    if texts > 0 {
        ui.warn(format!(
            "{texts} columns hold text: `fit` takes them for categories with --categorical, or leaves them out with --drop"
        ));
    }
    Ok(())
}

/// Four significant digits.
fn short(x: f64) -> String {
    if x != 0.0 && !(1e-3..1e6).contains(&x.abs()) {
        return format!("{x:.3e}");
    }
    let decimals = if x.abs() < 10.0 { 3 } else { 3usize.saturating_sub(x.abs().log10() as usize) };
    let text = format!("{x:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
