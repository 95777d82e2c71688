//! What the user sees: results on stdout; progress, notes and errors on stderr.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::Output;
use crate::failure::Failure;

/// The terminal, or whatever stands in its place.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
    json: bool,
    terminal: bool,
}

impl Ui {
    pub fn new(output: Output) -> Self {
        Self { quiet: output.quiet, json: output.json, terminal: std::io::stderr().is_terminal() }
    }

    /// Whether results go out as JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether a person watches the progress.
    pub fn terminal(&self) -> bool {
        self.terminal && !self.quiet
    }

    /// A result for a person: not printed where JSON is wanted.
    pub fn print(&self, text: impl AsRef<str>) {
        if !self.json {
            emit(text.as_ref());
        }
    }

    /// A result for a program.
    pub fn print_json(&self, value: &impl Serialize) {
        if self.json {
            match serde_json::to_string(value) {
                Ok(line) => emit(&line),
                Err(e) => eprintln!("error: cannot write JSON: {e}"),
            }
        }
    }

    /// Something about the way, not the result.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Something the user should know.
    pub fn warn(&self, text: impl AsRef<str>) {
        eprintln!("warning: {}", text.as_ref());
    }

    /// Reports a failure and turns it into the exit code.
    pub fn fail(&self, failure: &Failure) -> ExitCode {
        if self.json {
            self.print_json(
                &serde_json::json!({ "event": "error", "message": failure.message, "code": failure.code }),
            );
        }
        let word = if failure.code == 130 { "interrupted" } else { "error" };
        eprintln!("{word}: {}", failure.message);
        failure.exit_code()
    }

    /// A bar on a terminal, nothing elsewhere.
    pub fn bar(&self, what: &'static str, total: usize) -> ProgressBar {
        if !self.terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {pos}/{len} {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what);
        bar
    }
}

/// Prints a line; a reader that has gone away (`| head`) is no error.
fn emit(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Columns of text; those in `right` stand to the right, as numbers do.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    right: &[usize],
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.trim_end().to_owned()
}

/// `1 h 02 min`, `3 min 20 s`, `12 s`.
pub fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX).as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

/// `12.3 MiB`
pub fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// `12,345`
pub fn count(n: usize) -> String {
    indicatif::HumanCount(n as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_person_says_them() {
        assert_eq!(duration(11.9), "11 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(3725.0), "1 h 02 min");
        assert_eq!(duration(f64::NAN), "0 s");
    }
}
