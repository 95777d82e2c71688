//! Weka's attribute-relation file format: `@relation`, an `@attribute NAME TYPE` a column, `@data`, and a line a row. `%`
//! begins a comment, `?` is a missing value, quotes of either kind hold what would end a name or a cell.

use std::io::{BufRead, BufReader};
use std::path::Path;

use super::plan::{Plan, Reading, push};
use super::{Table, TableKind, TableOptions, Values};
use crate::error::DataError;
use crate::sources::open_maybe_gzip;

pub(super) fn read(path: &Path, options: &TableOptions) -> Result<Table, DataError> {
    let fault = |line: u64, problem: String| DataError::Table {
        path: path.to_owned(),
        place: Some(format!("line {line}")),
        problem,
    };
    let (mut names, mut numeric) = (Vec::new(), Vec::new());
    let mut data: Option<(Plan, Vec<Option<Values>>)> = None;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(open_maybe_gzip(path)?).lines()) {
        let line = line.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                fault(number, "not UTF-8: save the table in that encoding".into())
            }
            _ => DataError::read(path, error),
        })?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('%') {
            continue;
        }
        let Some((plan, values)) = &mut data else {
            let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            match word.to_ascii_lowercase().as_str() {
                "@relation" => {}
                "@attribute" => {
                    let (name, kind) = attribute(rest).map_err(|problem| fault(number, problem))?;
                    names.push(name);
                    let kind = kind.to_ascii_lowercase();
                    numeric.push(matches!(kind.as_str(), "numeric" | "real" | "integer"));
                }
                "@data" => {
                    let plan = Plan::new(path, std::mem::take(&mut names), options)?;
                    let mut values = plan.room();
                    for ((values, reading), numeric) in values.iter_mut().zip(&plan.readings).zip(&numeric) {
                        if *reading == Reading::Numbers && !numeric {
                            *values = Some(Values::Text(Vec::new()));
                        }
                    }
                    data = Some((plan, values));
                }
                _ => {
                    let wanted = "wanted @relation, @attribute NAME TYPE or @data";
                    return Err(fault(number, format!("'{word}' in the header, {wanted}")));
                }
            }
            continue;
        };
        if line.starts_with('{') {
            return Err(fault(number, "sparse data is not read: write the rows densely".into()));
        }
        let cells = cells(line).map_err(|problem| fault(number, problem))?;
        if cells.len() != plan.names.len() {
            let (found, wanted) = (cells.len(), plan.names.len());
            return Err(fault(
                number,
                format!("{found} cells, but there are {wanted} attributes: mend the line"),
            ));
        }
        for (((values, cell), name), numeric) in values.iter_mut().zip(&cells).zip(&plan.names).zip(&numeric)
        {
            let Some(values) = values else { continue };
            let was_number = matches!(values, Values::Numbers(_));
            push(values, cell);
            if *numeric && was_number && matches!(values, Values::Text(_)) {
                let place = Some(format!("line {number}, column '{name}'"));
                let problem = format!("'{cell}' in an attribute declared numeric");
                return Err(DataError::Table { path: path.to_owned(), place, problem });
            }
        }
        lines.push(number);
    }
    let Some((plan, values)) = data else {
        return Err(DataError::table(path, "no line @data: not an ARFF file, or cut off"));
    };
    Table::assemble(TableKind::Arff, plan, values, lines.len(), Some(lines))
}

/// Name and type of an attribute.
fn attribute(text: &str) -> Result<(String, String), String> {
    let text = text.trim();
    let (name, kind) = match text.chars().next() {
        Some(quote @ ('\'' | '"')) => {
            let (name, rest) = quoted(&text[1..], quote)?;
            (name, rest.trim().to_owned())
        }
        _ => {
            // A list of values may touch the name.
            let end = text.find(|c: char| c.is_whitespace() || c == '{').unwrap_or(text.len());
            (text[..end].to_owned(), text[end..].trim().to_owned())
        }
    };
    if name.is_empty() || kind.is_empty() {
        return Err(format!("'{text}', wanted a name and a type after @attribute"));
    }
    Ok((name, kind))
}

/// What stands before the closing quote, and what follows it. A backslash takes the next letter as it is.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut inside = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => inside.extend(letters.next().map(|(_, letter)| letter)),
            c if c == quote => return Ok((inside, &text[at + c.len_utf8()..])),
            c => inside.push(c),
        }
    }
    Err(format!("a quote {quote} that does not end"))
}

/// The cells of a row.
fn cells(line: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = line;
    loop {
        let text = rest.trim_start();
        let (cell, after) = match text.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                let (cell, after) = quoted(&text[1..], quote)?;
                let after = after.trim_start();
                if !after.is_empty() && !after.starts_with(',') {
                    return Err(format!("'{after}' after a closing quote, wanted a comma"));
                }
                (cell, after)
            }
            _ => {
                let end = text.find(',').unwrap_or(text.len());
                (text[..end].trim().to_owned(), &text[end..])
            }
        };
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(cells),
        }
    }
}
