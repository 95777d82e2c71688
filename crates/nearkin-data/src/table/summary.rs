//! What a table holds, for a person to read before learning from it.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Serialize;

use super::{Column, Table, TableKind, Values};
use crate::summary::ClassCount;

/// What [`Table::describe`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableSummary {
    /// The file.
    pub path: PathBuf,
    /// How it is stored.
    pub kind: TableKind,
    /// Rows.
    pub rows: usize,
    /// The label column.
    pub label: Option<String>,
    /// The id column.
    pub id: Option<String>,
    /// Every class of the label with its rows; empty where labels are missing, or where there are none.
    pub classes: Vec<ClassCount>,
    /// All other columns.
    pub columns: Vec<ColumnSummary>,
}

/// A column in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ColumnSummary {
    /// Numbers.
    Number {
        /// Its name.
        name: String,
        /// Rows without a value.
        missing: usize,
        /// The least value.
        least: f64,
        /// The mean.
        mean: f64,
        /// The greatest value.
        greatest: f64,
    },
    /// Text, or categories.
    Text {
        /// Its name.
        name: String,
        /// Rows without a value.
        missing: usize,
        /// Different texts.
        different: usize,
        /// The first of them.
        first: String,
    },
}

impl Table {
    /// Looks at every column.
    #[must_use]
    pub fn describe(&self) -> TableSummary {
        let classes = self.classes().map_or_else(
            |_| Vec::new(),
            |(labels, names)| {
                let mut counts = vec![0; names.len()];
                labels.iter().for_each(|&label| counts[label as usize] += 1);
                names.into_iter().zip(counts).map(|(name, count)| ClassCount { name, count }).collect()
            },
        );
        TableSummary {
            path: self.path().to_owned(),
            kind: self.kind(),
            rows: self.len(),
            label: self.label_name().map(str::to_owned),
            id: self.id_name().map(str::to_owned),
            classes,
            columns: self.columns().iter().map(of).collect(),
        }
    }
}

fn of(column: &Column) -> ColumnSummary {
    let name = column.name.clone();
    match &column.values {
        Values::Numbers(numbers) => {
            let known: Vec<f64> = numbers.iter().copied().filter(|x| !x.is_nan()).collect();
            ColumnSummary::Number {
                name,
                missing: numbers.len() - known.len(),
                least: known.iter().copied().fold(f64::NAN, f64::min),
                mean: known.iter().map(|x| x / known.len() as f64).sum(),
                greatest: known.iter().copied().fold(f64::NAN, f64::max),
            }
        }
        Values::Text(cells) => ColumnSummary::Text {
            name,
            missing: cells.iter().filter(|cell| cell.is_none()).count(),
            different: cells.iter().flatten().collect::<HashSet<_>>().len(),
            first: cells.iter().flatten().next().cloned().unwrap_or_default(),
        },
    }
}
