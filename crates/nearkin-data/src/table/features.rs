//! From columns to vectors: what is filled in, how columns are scaled, which categories there are. Fitted on training rows
//! alone, kept with the model, and applied to other tables by the names of their columns.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Column, Table, Values};
use crate::error::DataError;

/// How columns of numbers are scaled: `(x − centre) / scale`. A column without spread is only centred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// As they are.
    None,
    /// To mean 0 and standard deviation 1 (divided by n).
    #[default]
    Standard,
    /// By the median and the range between the quartiles: outliers count little.
    Robust,
    /// The least to 0, the greatest to 1.
    MinMax,
}

/// What becomes of missing values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Missing {
    /// An error that names the cell.
    #[default]
    Refuse,
    /// The mean of the training rows; of categories the most frequent one.
    Mean,
    /// The median of the training rows; of categories the most frequent one.
    Median,
}

/// What becomes of a category that no training row had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// An error that names the cell.
    #[default]
    Refuse,
    /// It is none of those known: zeros.
    Zeros,
}

/// The choices behind [`Features`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureOptions {
    /// How numbers are scaled.
    pub scale: Scale,
    /// What becomes of missing values.
    pub missing: Missing,
    /// What becomes of new categories.
    pub unknown: Unknown,
}

/// What turns a row of a table into a vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Features {
    /// How numbers were scaled.
    pub scale: Scale,
    /// What becomes of missing values.
    pub missing: Missing,
    /// What becomes of new categories.
    pub unknown: Unknown,
    /// The columns, in the order of the vector.
    pub columns: Vec<FeatureColumn>,
}

/// What is done with a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum FeatureColumn {
    /// `(x − centre) / scale`: one value.
    Number {
        /// The column's name.
        name: String,
        /// What is subtracted.
        centre: f64,
        /// What is divided by.
        scale: f64,
        /// What a missing value becomes, before it is scaled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill: Option<f64>,
    },
    /// 1 for the row's category and 0 for the others: as many values as categories, not scaled.
    Category {
        /// The column's name.
        name: String,
        /// The categories, in the order of their bytes.
        categories: Vec<String>,
        /// What a missing value becomes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fill: Option<String>,
    },
}

impl FeatureColumn {
    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Number { name, .. } | Self::Category { name, .. } => name,
        }
    }

    /// Values of the vector that it gives.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Number { .. } => 1,
            Self::Category { categories, .. } => categories.len(),
        }
    }
}

/// Vectors, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// All values.
    pub values: Vec<f32>,
    /// Values a row.
    pub dim: usize,
}

impl Matrix {
    /// Some rows.
    ///
    /// # Panics
    /// If a row is not there.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let row = |i: &usize| &self.values[i * self.dim..(i + 1) * self.dim];
        Self { values: rows.iter().flat_map(row).copied().collect(), dim: self.dim }
    }
}

impl Features {
    /// Finds centres, scales, fillings and categories from some rows of a table; also says what a user should know of them.
    ///
    /// # Errors
    /// No columns; text in a column that is not among `categorical`; missing values that are refused, or that a column without
    /// any value cannot fill; a spread beyond the largest number.
    pub fn fit(
        table: &Table,
        rows: &[usize],
        categorical: &[String],
        options: FeatureOptions,
    ) -> Result<(Self, Vec<String>), DataError> {
        if table.columns().is_empty() {
            let problem = "no column is left to learn from: all are the label, the id, or dropped";
            return Err(DataError::table(table.path(), problem));
        }
        let (mut columns, mut same) = (Vec::new(), Vec::new());
        for column in table.columns() {
            let found = match &column.values {
                Values::Numbers(numbers) => number_column(table, rows, column, numbers, options, &mut same)?,
                Values::Text(cells) if categorical.contains(&column.name) => {
                    category_column(table, rows, column, cells, options, &mut same)?
                }
                Values::Text(cells) => return Err(undeclared(table, column, cells)),
            };
            columns.push(found);
        }
        let FeatureOptions { scale, missing, unknown } = options;
        let mut notes = Vec::new();
        if !same.is_empty() {
            notes.push(format!(
                "the same in every training row, so these columns tell nothing: {}",
                same.join(", ")
            ));
        }
        Ok((Self { scale, missing, unknown, columns }, notes))
    }

    /// Values of a vector.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.columns.iter().map(FeatureColumn::width).sum()
    }

    /// The names of the columns with categories.
    #[must_use]
    pub fn categorical(&self) -> Vec<String> {
        let categorical = |column: &&FeatureColumn| matches!(column, FeatureColumn::Category { .. });
        self.columns.iter().filter(categorical).map(|column| column.name().to_owned()).collect()
    }

    /// For each value of a vector: the number of its column.
    #[must_use]
    pub fn owners(&self) -> Vec<usize> {
        self.columns.iter().enumerate().flat_map(|(at, column)| vec![at; column.width()]).collect()
    }

    /// The vectors of a table's rows. Columns are found by name; further ones do not matter.
    ///
    /// # Errors
    /// Columns that are not there, or of the other kind; missing values and new categories that are refused; a value beyond f32.
    pub fn apply(&self, table: &Table) -> Result<Matrix, DataError> {
        let absent: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.name().to_owned())
            .filter(|name| table.column(name).is_none())
            .collect();
        if !absent.is_empty() {
            let (names, found) = (super::plan::listed(&absent), super::plan::listed(table.names()));
            return Err(DataError::table(
                table.path(),
                format!(
                    "{} of the model's {} columns are not there: {names}. Found {found}",
                    absent.len(),
                    self.columns.len()
                ),
            ));
        }
        let (n, dim) = (table.len(), self.dim());
        let mut values = vec![0.0; n * dim];
        let mut first = 0;
        for column in &self.columns {
            let Some(found) = table.column(column.name()) else { continue };
            match (column, &found.values) {
                (FeatureColumn::Number { name, centre, scale, fill }, Values::Numbers(numbers)) => {
                    for (row, number) in numbers.iter().enumerate() {
                        let number = match (number.is_nan(), fill) {
                            (false, _) => *number,
                            (true, Some(fill)) => *fill,
                            (true, None) => return Err(missing(table, row, name)),
                        };
                        let value = ((number - centre) / scale) as f32;
                        if !value.is_finite() {
                            let problem = format!(
                                "{number} is beyond what can be computed with: scale the column, or mend the cell"
                            );
                            return Err(table.fault(row, name, problem));
                        }
                        values[row * dim + first] = value;
                    }
                }
                (FeatureColumn::Category { name, categories, fill }, Values::Text(cells)) => {
                    for (row, cell) in cells.iter().enumerate() {
                        let cell =
                            cell.as_ref().or(fill.as_ref()).ok_or_else(|| missing(table, row, name))?;
                        match categories.binary_search(cell) {
                            Ok(at) => values[row * dim + first + at] = 1.0,
                            Err(_) if self.unknown == Unknown::Zeros => {}
                            Err(_) => {
                                let known = super::plan::listed(categories);
                                let problem = format!(
                                    "the category '{cell}' was in no training row (known: {known}); a model fitted with --unknown zeros takes it"
                                );
                                return Err(table.fault(row, name, problem));
                            }
                        }
                    }
                }
                (FeatureColumn::Number { name, .. }, Values::Text(cells)) => {
                    let (row, cell) = first_text(cells);
                    let problem = format!("'{cell}' is no number, and the model learned numbers here");
                    return Err(table.fault(row, name, problem));
                }
                (FeatureColumn::Category { name, .. }, Values::Numbers(_)) => {
                    let problem =
                        format!("column '{name}' was read as numbers, and the model learned categories here");
                    return Err(DataError::table(table.path(), problem));
                }
            }
            first += column.width();
        }
        Ok(Matrix { values, dim })
    }
}

fn number_column(
    table: &Table,
    rows: &[usize],
    column: &Column,
    numbers: &[f64],
    options: FeatureOptions,
    same: &mut Vec<String>,
) -> Result<FeatureColumn, DataError> {
    let name = &column.name;
    // Refused everywhere, not only in training rows: what cannot be embedded is better known now.
    if options.missing == Missing::Refuse
        && let Some(row) = numbers.iter().position(|x| x.is_nan())
    {
        return Err(missing(table, row, name));
    }
    let mut known: Vec<f64> = rows.iter().map(|&i| numbers[i]).filter(|x| !x.is_nan()).collect();
    if known.is_empty() {
        let problem =
            format!("column '{name}' has no value in any training row: leave it out with --drop {name}");
        return Err(DataError::table(table.path(), problem));
    }
    let mean = known.iter().map(|x| x / known.len() as f64).sum::<f64>();
    let deviation = (known.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / known.len() as f64).sqrt();
    known.sort_by(f64::total_cmp);
    let (least, greatest) = (known[0], known[known.len() - 1]);
    let varies = greatest > least;
    if !varies {
        same.push(name.clone());
    }
    let (centre, scale) = match options.scale {
        Scale::None => (0.0, 1.0),
        // The mean of equal values is rounded; the value itself is exact.
        _ if !varies => (least, 1.0),
        Scale::Standard => (mean, deviation),
        Scale::Robust => (quantile(&known, 0.5), quantile(&known, 0.75) - quantile(&known, 0.25)),
        Scale::MinMax => (least, greatest - least),
    };
    if !(centre.is_finite() && scale.is_finite()) {
        let problem = format!(
            "column '{name}' spreads from {least} to {greatest}, beyond what can be computed with: look for wrong values, or leave \
             it out with --drop {name}"
        );
        return Err(DataError::table(table.path(), problem));
    }
    let fill = match options.missing {
        Missing::Refuse => None,
        Missing::Mean => Some(mean),
        Missing::Median => Some(quantile(&known, 0.5)),
    };
    // Most values may be equal although some differ.
    let scale = if scale > 0.0 { scale } else { 1.0 };
    Ok(FeatureColumn::Number { name: name.clone(), centre, scale, fill })
}

fn category_column(
    table: &Table,
    rows: &[usize],
    column: &Column,
    cells: &[Option<String>],
    options: FeatureOptions,
    same: &mut Vec<String>,
) -> Result<FeatureColumn, DataError> {
    let name = &column.name;
    if options.missing == Missing::Refuse
        && let Some(row) = cells.iter().position(Option::is_none)
    {
        return Err(missing(table, row, name));
    }
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    rows.iter().filter_map(|&i| cells[i].as_ref()).for_each(|cell| *counts.entry(cell).or_default() += 1);
    // Of equally frequent ones the first.
    let Some(usual) = counts.iter().rev().max_by_key(|(_, count)| **count).map(|(cell, _)| (*cell).clone())
    else {
        let problem =
            format!("column '{name}' has no value in any training row: leave it out with --drop {name}");
        return Err(DataError::table(table.path(), problem));
    };
    if counts.len() == 1 {
        same.push(name.clone());
    }
    let fill = Some(usual).filter(|_| options.missing != Missing::Refuse);
    Ok(FeatureColumn::Category {
        name: name.clone(),
        categories: counts.into_keys().cloned().collect(),
        fill,
    })
}

/// The value that a part of the others lies below, linear between two.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (low, share) = (at.floor() as usize, at.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] * (1.0 - share) + sorted[high] * share
}

fn missing(table: &Table, row: usize, name: &str) -> DataError {
    table.fault(
        row,
        name,
        "a missing value: fill it in, or fit with --missing mean or --missing median, which fill it",
    )
}

/// The first cell that is there and no number.
fn first_text(cells: &[Option<String>]) -> (usize, &str) {
    let texts = || cells.iter().enumerate().filter_map(|(row, cell)| Some((row, cell.as_deref()?)));
    texts().find(|(_, cell)| cell.parse::<f64>().is_err()).or_else(|| texts().next()).unwrap_or((0, ""))
}

fn undeclared(table: &Table, column: &Column, cells: &[Option<String>]) -> DataError {
    let name = &column.name;
    let (row, cell) = first_text(cells);
    let texts = cells.iter().flatten().filter(|cell| cell.parse::<f64>().is_err()).count();
    let different = cells.iter().flatten().collect::<HashSet<_>>().len();
    let problem = format!(
        "'{cell}' is no number ({texts} of {} cells are none; the column holds {different} different values): mend the cell, or take the column for \
         categories with --categorical {name}, or leave it out with --drop {name}",
        cells.len()
    );
    table.fault(row, name, problem)
}
