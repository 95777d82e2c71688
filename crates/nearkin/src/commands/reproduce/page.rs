//! What an experiment found, as a page of Markdown with figures beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table as Text, presets};

use super::{Experiment, Outcome, Setting, Table};
use crate::commands::fit::typed;
use crate::failure::Failure;
use crate::ui::duration;

/// Writes `NAME.md`, `NAME.json` … into the folder of the experiment; gives the page's path.
pub fn write(
    experiment: &Experiment,
    setting: &Setting<'_>,
    outcome: &Outcome,
    seconds: f64,
) -> Result<PathBuf, Failure> {
    for picture in &outcome.figures {
        let path = |ending: &str| setting.path(&format!("{}.{ending}", picture.name));
        file(&path("svg"), picture.figure.svg()?.as_bytes())?;
        file(&path("png"), &picture.figure.png()?)?;
    }
    let page = setting.path(&format!("{}.md", experiment.name));
    file(&page, markdown(experiment, outcome, seconds, setting.seed).as_bytes())?;
    Ok(page)
}

fn markdown(experiment: &Experiment, outcome: &Outcome, seconds: f64, seed: u64) -> String {
    let mut page = format!("# {}\n\n{}\n", experiment.title, experiment.paper);
    for paragraph in &outcome.story {
        let _ = write!(page, "\n{paragraph}\n");
    }
    page.push_str("\n## Findings\n\n| finding | value | wanted | |\n|---|---:|---|---|\n");
    for finding in &outcome.findings {
        let holds = if finding.holds() { "holds" } else { "**does not hold**" };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {holds} |",
            cell(&finding.name),
            number(finding.value),
            finding.wanted
        );
    }
    for table in &outcome.tables {
        let _ = write!(page, "\n## {}\n\n| {} |\n|---", table.title, table.header.join(" | "));
        page.push_str(&"|---:".repeat(table.header.len().saturating_sub(1)));
        page.push_str("|\n");
        for (name, values) in &table.rows {
            let _ = writeln!(page, "| {} | {} |", cell(name), texts(values).join(" | "));
        }
    }
    for picture in &outcome.figures {
        let _ = write!(page, "\n![{}]({}.png)\n", cell(&picture.caption), picture.name);
        let _ = write!(page, "\n{}\n", picture.caption);
    }
    page.push_str("\n## How it was made\n\n| | |\n|---|---|\n");
    let made = [
        ("command".to_owned(), format!("`{}`", typed())),
        ("seed".to_owned(), seed.to_string()),
        ("time".to_owned(), format!("{}, {} threads", duration(seconds), rayon::current_num_threads())),
        ("nearkin".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    for (name, value) in outcome.facts.iter().chain(&made) {
        let _ = writeln!(page, "| {} | {} |", cell(name), cell(value));
    }
    page
}

/// A table for the terminal.
pub fn columns(table: &Table) -> String {
    let mut text = Text::new();
    text.load_style(presets::NOTHING).set_header(&table.header);
    for (name, values) in &table.rows {
        text.add_row(std::iter::once(name.clone()).chain(texts(values)));
    }
    for column in text.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn texts(values: &[Option<f64>]) -> Vec<String> {
    values.iter().map(|value| value.map_or("–".to_owned(), number)).collect()
}

/// Three decimals, or none for what is counted.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() >= 2.0 { format!("{value}") } else { format!("{value:.3}") }
}

/// Text that does not end a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))
}
