//! What to read of each column, settled once the names are known.

use std::path::{Path, PathBuf};

use super::{Choice, TableOptions, Values};
use crate::error::DataError;

/// Names that say that the last column is the label.
const LABELS: [&str; 4] = ["class", "label", "target", "y"];
/// The name of an id column.
const ID: &str = "id";
/// Columns that an error lists.
const LISTED: usize = 30;

/// What is done with a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Left out.
    Skip,
    /// Kept as it is written: a label, an id, categories.
    Text,
    /// Numbers, if that is what it holds.
    Numbers,
}

pub(super) struct Plan {
    pub(super) path: PathBuf,
    pub(super) names: Vec<String>,
    pub(super) readings: Vec<Reading>,
    pub(super) label: Option<usize>,
    pub(super) id: Option<usize>,
}

impl Plan {
    pub(super) fn new(path: &Path, names: Vec<String>, options: &TableOptions) -> Result<Self, DataError> {
        let fault = |problem: String| DataError::table(path, problem);
        if names.is_empty() {
            return Err(fault("it has no columns".into()));
        }
        if let Some(at) = names.iter().position(String::is_empty) {
            return Err(fault(format!("column {} of {} has no name: give it one", at + 1, names.len())));
        }
        for (at, name) in names.iter().enumerate() {
            if let Some(first) = names[..at].iter().position(|other| other == name) {
                let (first, second) = (first + 1, at + 1);
                return Err(fault(format!(
                    "columns {first} and {second} are both called '{name}': rename one"
                )));
            }
        }
        let find = |name: &String, option: &str| {
            names.iter().position(|other| other == name).ok_or_else(|| {
                fault(format!("no column '{name}', which {option} names; the columns are {}", listed(&names)))
            })
        };
        let choose = |choice: &Choice, option: &str, usual: Option<usize>| match choice {
            Choice::Usual => Ok(usual),
            Choice::Nothing => Ok(None),
            Choice::Named(name) => find(name, option).map(Some),
            Choice::IfThere(name) => Ok(names.iter().position(|other| other == name)),
        };
        let dropped: Vec<usize> =
            options.drop.iter().map(|name| find(name, "--drop")).collect::<Result<_, _>>()?;
        let there = |name: &&String| options.only.is_none() || names.contains(name);
        let categorical = options.categorical.iter().filter(there);
        let categorical: Vec<usize> =
            categorical.map(|name| find(name, "--categorical")).collect::<Result<_, _>>()?;
        let is_called =
            |at: usize, usual: &[&str]| usual.iter().any(|name| names[at].eq_ignore_ascii_case(name));
        let free = |at: &usize| !dropped.contains(at) && !categorical.contains(at);
        let last = Some(names.len() - 1).filter(|&at| is_called(at, &LABELS)).filter(free);
        let label = choose(&options.label, "--label", last)?;
        let usual =
            (0..names.len()).find(|&at| is_called(at, &[ID])).filter(free).filter(|at| Some(*at) != label);
        let id = choose(&options.id, "--id", usual)?;
        let reading = |name: &String| match &options.only {
            Some(only) if !only.contains(name) => Reading::Skip,
            _ => Reading::Numbers,
        };
        let mut readings: Vec<Reading> = names.iter().map(reading).collect();
        let mut roles: Vec<(usize, &str)> = categorical.iter().map(|&at| (at, "--categorical")).collect();
        roles.extend(dropped.iter().map(|&at| (at, "--drop")));
        roles.extend(label.map(|at| (at, "the label")));
        roles.extend(id.map(|at| (at, "the id")));
        roles.sort_by_key(|role| role.0);
        if let Some(pair) = roles.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (name, one, other) = (&names[pair[0].0], pair[0].1, pair[1].1);
            return Err(fault(format!(
                "column '{name}' is named twice, for {one} and for {other}: choose one"
            )));
        }
        for (at, role) in roles {
            readings[at] = if role == "--drop" { Reading::Skip } else { Reading::Text };
        }
        Ok(Self { path: path.to_owned(), names, readings, label, id })
    }

    /// Room for the columns' values.
    pub(super) fn room(&self) -> Vec<Option<Values>> {
        let room = |reading: &Reading| match reading {
            Reading::Skip => None,
            Reading::Text => Some(Values::Text(Vec::new())),
            Reading::Numbers => Some(Values::Numbers(Vec::new())),
        };
        self.readings.iter().map(room).collect()
    }
}

/// Names for a message, the first ones where there are many.
pub(super) fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        text += &format!(" and {} more", names.len() - LISTED);
    }
    text
}

/// Adds a cell of a text file to a column. A column of numbers becomes text at the first cell that is none.
pub(super) fn push(values: &mut Values, cell: &str) {
    match values {
        Values::Text(cells) => {
            cells.push(Some(cell).filter(|cell| !is_missing_text(cell)).map(str::to_owned))
        }
        Values::Numbers(numbers) => match cell.parse::<f64>() {
            _ if is_missing_number(cell) => numbers.push(f64::NAN),
            Ok(number) => numbers.push(number),
            Err(_) => {
                let before = numbers.iter().map(|n| Some(n.to_string()).filter(|_| !n.is_nan()));
                let before = before.chain([Some(cell.to_owned())]).collect();
                *values = Values::Text(before);
            }
        },
    }
}

fn is_missing_text(cell: &str) -> bool {
    matches!(cell, "" | "?")
}

fn is_missing_number(cell: &str) -> bool {
    is_missing_text(cell) || ["na", "nan", "null"].iter().any(|word| cell.eq_ignore_ascii_case(word))
}
