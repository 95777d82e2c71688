//! Separated values.

use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::plan::{Plan, push};
use super::{Table, TableKind, TableOptions};
use crate::error::DataError;
use crate::sources::open_maybe_gzip;

/// What may stand between cells, the most usual first.
const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
/// Bytes of the first line that are looked at.
const HEADER: u64 = 1 << 20;

pub(super) fn read(path: &Path, options: &TableOptions) -> Result<Table, DataError> {
    let mut file = BufReader::new(open_maybe_gzip(path)?);
    let mut first = Vec::new();
    file.by_ref()
        .take(HEADER)
        .read_until(b'\n', &mut first)
        .map_err(|source| DataError::read(path, source))?;
    if first.iter().all(u8::is_ascii_whitespace) {
        return Err(DataError::table(path, "its first line is empty, wanted the names of the columns"));
    }
    let count = |separator: &u8| first.iter().filter(|byte| *byte == separator).count();
    // The first of the most frequent ones.
    let separator = SEPARATORS.iter().rev().max_by_key(|s| count(s)).copied().unwrap_or(b',');
    let whole = Cursor::new(&first).chain(file);
    let mut reader = ReaderBuilder::new().delimiter(separator).trim(Trim::All).from_reader(whole);
    let header = reader.headers().map_err(|error| problem(path, &error))?;
    // Spreadsheets put a byte order mark in front of the first name.
    let names: Vec<String> =
        header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        let problem =
            "its first line holds numbers only, wanted the names of the columns: put a header line in front";
        return Err(DataError::table(path, problem));
    }
    let plan = Plan::new(path, names, options)?;
    let mut values = plan.room();
    let (mut lines, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(|error| problem(path, &error))? {
        let line = record.position().map_or(0, csv::Position::line);
        for (values, cell) in values.iter_mut().zip(&record) {
            if let Some(values) = values {
                push(values, cell);
            }
        }
        lines.push(line);
    }
    Table::assemble(TableKind::Csv, plan, values, lines.len(), Some(lines))
}

fn problem(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map(|position| format!("line {}", position.line()));
    let problem = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells, but the header names {expected_len} columns: mend the line")
        }
        ErrorKind::Utf8 { .. } => "not UTF-8: save the table in that encoding".to_owned(),
        ErrorKind::Io(source) => format!("cannot read: {source}"),
        _ => error.to_string(),
    };
    DataError::Table { path: path.to_owned(), place: line, problem }
}
