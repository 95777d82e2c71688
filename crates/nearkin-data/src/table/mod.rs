//! Tables of features: named columns of numbers and of text, and perhaps a label and an id for each row.

mod arff;
mod csv;
mod features;
mod npy;
mod parquet;
mod plan;
mod summary;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use features::{FeatureColumn, FeatureOptions, Features, Matrix, Missing, Scale, Unknown};
pub use summary::{ColumnSummary, TableSummary};

use self::plan::Plan;
use crate::dataset::{parse_range, rows_of};
use crate::error::DataError;
use crate::sources::{divide_at_split, is_manifest, without_gz};

/// The column that a part of a table is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// By its name, if it has one of the usual ones.
    #[default]
    Usual,
    /// The column of this name, which must be there.
    Named(String),
    /// The column of this name, if it is there.
    IfThere(String),
    /// None.
    Nothing,
}

/// How to read a table. What is not chosen is not guessed: text in a column that was not declared categorical stays text,
/// and is refused by [`Features::fit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// The label. Usual: the last column, if it is called `class`, `label`, `target` or `y`, in any case.
    pub label: Choice,
    /// What names a row. Usual: a column called `id`, in any case; without one, rows have their numbers from 0.
    pub id: Choice,
    /// Columns whose cells are categories, also where they look like numbers.
    pub categorical: Vec<String>,
    /// Columns to leave out.
    pub drop: Vec<String>,
    /// The columns of a model: all others but label and id are left out, and those that are not there are no error yet.
    pub only: Option<Vec<String>>,
}

/// How a table is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// Comma-, semicolon- or tab-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// A NumPy array of two dimensions; its columns are called `f0`, `f1`, …
    Npy,
    /// Weka's attribute-relation file format.
    Arff,
}

impl TableKind {
    /// The kind that a path's ending names: `.csv`, `.tsv` (both perhaps `.gz`), `.parquet`, `.npy` or `.arff`.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let (path, _) = divide_at_split(path);
        let name = without_gz(&path.file_name()?.to_string_lossy());
        match name.rsplit_once('.')?.1 {
            "csv" | "tsv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            "npy" => Some(Self::Npy),
            "arff" => Some(Self::Arff),
            _ => None,
        }
    }

    /// The kind of the table at a path, as [`of`](Self::of); `None` for a manifest of images too: a CSV file with a column `path`.
    ///
    /// # Errors
    /// [`DataError::Read`] when a CSV file cannot be read.
    pub fn at(path: &Path) -> Result<Option<Self>, DataError> {
        match Self::of(path) {
            Some(Self::Csv) if is_manifest(path)? => Ok(None),
            kind => Ok(kind),
        }
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableKind::Csv => "CSV table",
            TableKind::Parquet => "Parquet table",
            TableKind::Npy => "NumPy array",
            TableKind::Arff => "ARFF table",
        })
    }
}

/// A column and its values, one a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, unique in the table.
    pub name: String,
    /// What it holds.
    pub values: Values,
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Finite numbers; NaN where one is missing.
    Numbers(Vec<f64>),
    /// Texts; `None` where one is missing.
    Text(Vec<Option<String>>),
}

impl Values {
    fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(values) => Self::Numbers(rows.iter().map(|&i| values[i]).collect()),
            Self::Text(values) => Self::Text(rows.iter().map(|&i| values[i].clone()).collect()),
        }
    }
}

/// A table in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    path: PathBuf,
    kind: TableKind,
    columns: Vec<Column>,
    label: Option<(String, Vec<Option<String>>)>,
    id: Option<(String, Vec<String>)>,
    /// The number of each row in the file, from 0, and its line in a text file, from 1.
    rows: Vec<u64>,
    lines: Option<Vec<u64>>,
    /// The columns of the file, in order.
    names: Vec<String>,
}

impl Table {
    /// Reads a table; its ending says which format. `PATH#a..b` keeps rows a to b - 1, counted from 0.
    ///
    /// - **CSV**: UTF-8 with a header. The header tells whether commas, semicolons or tabs stand between cells. A column is of
    ///   numbers if every cell is one or is missing: empty, `?`, `NA`, `NaN` or `null`, in any case. In text, empty cells and
    ///   `?` are missing. gzip is found by content.
    /// - **Parquet**: columns of integers, floats and booleans are numbers, of strings text; nulls are missing.
    /// - **NPY**: numbers, two dimensions, either order. NaN is missing.
    /// - **ARFF**: dense data; `numeric`, `real` and `integer` are numbers, all other attributes text, `?` is missing.
    ///
    /// # Errors
    /// A [`DataError`] that names the file, and where it can the line and the column: a file that cannot be read or is not of
    /// its format; no row; rows of different length; names that are missing, or there twice; a chosen column that is not there;
    /// an infinite number; repeated ids.
    pub fn open(path: &Path, options: &TableOptions) -> Result<Self, DataError> {
        let (path, choice) = divide_at_split(path);
        let metadata = std::fs::metadata(&path).map_err(|source| DataError::read(&path, source))?;
        let found = if metadata.is_dir() { "a folder" } else { "a file with another ending" };
        let kind = TableKind::of(&path)
            .filter(|_| metadata.is_file())
            .ok_or_else(|| DataError::NotATable { path: path.clone(), found: found.into() })?;
        let table = match kind {
            TableKind::Csv => csv::read(&path, options),
            TableKind::Parquet => parquet::read(&path, options),
            TableKind::Npy => npy::read(&path, options),
            TableKind::Arff => arff::read(&path, options),
        }?;
        let Some(choice) = choice else { return Ok(table) };
        let range = parse_range(&choice).ok_or_else(|| DataError::NoSuchSplit {
            path: path.clone(),
            wanted: choice,
            available: Vec::new(),
        })?;
        let rows = rows_of(range, &path, table.len())?;
        Ok(table.select(&rows.collect::<Vec<_>>()))
    }

    /// From columns that a reader has found in so many rows, with the line of each in a text file.
    fn assemble(
        kind: TableKind,
        plan: Plan,
        values: Vec<Option<Values>>,
        rows: usize,
        lines: Option<Vec<u64>>,
    ) -> Result<Self, DataError> {
        let Plan { path, names, label, id, .. } = plan;
        if rows == 0 {
            return Err(DataError::table(&path, "it has a header but no row: there is nothing to read"));
        }
        let rows = (0..rows as u64).collect();
        let mut table =
            Self { path, kind, columns: Vec::new(), label: None, id: None, rows, lines, names: Vec::new() };
        for (at, (name, values)) in names.iter().zip(values).enumerate() {
            let Some(values) = values else { continue };
            match values {
                Values::Text(cells) if Some(at) == label => table.label = Some((name.clone(), cells)),
                Values::Text(cells) if Some(at) == id => {
                    table.id = Some((name.clone(), table.ids_of(name, cells)?))
                }
                values => table.columns.push(Column { name: name.clone(), values }),
            }
        }
        table.names = names;
        for column in &table.columns {
            if let Values::Numbers(numbers) = &column.values
                && let Some(row) = numbers.iter().position(|number| number.is_infinite())
            {
                let (found, name) = (numbers[row], &column.name);
                let problem = format!(
                    "read as '{found}', wanted a finite number: mend the cell, or leave the column out with --drop {name}"
                );
                return Err(table.fault(row, name, problem));
            }
        }
        Ok(table)
    }

    fn ids_of(&self, name: &str, cells: Vec<Option<String>>) -> Result<Vec<String>, DataError> {
        let mut seen = BTreeSet::new();
        for (row, cell) in cells.iter().enumerate() {
            match cell {
                None => {
                    return Err(self.fault(
                        row,
                        name,
                        "the id is missing: fill it in, or name another column with --id",
                    ));
                }
                Some(id) if !seen.insert(id) => {
                    let problem = format!("the id '{id}' stands here a second time: ids name one row each");
                    return Err(self.fault(row, name, problem));
                }
                Some(_) => {}
            }
        }
        Ok(cells.into_iter().flatten().collect())
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows; only a selection can be empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file, without `#a..b`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is stored.
    #[must_use]
    pub fn kind(&self) -> TableKind {
        self.kind
    }

    /// All columns but the label, the id and those that were dropped, in the order of the file.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of this name, if it is among [`columns`](Self::columns).
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The names of all columns of the file, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The name of the label column.
    #[must_use]
    pub fn label_name(&self) -> Option<&str> {
        self.label.as_ref().map(|(name, _)| name.as_str())
    }

    /// The name of the id column.
    #[must_use]
    pub fn id_name(&self) -> Option<&str> {
        self.id.as_ref().map(|(name, _)| name.as_str())
    }

    /// What names each row: its cell in the id column, else its number in the file, from 0.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        match &self.id {
            Some((_, ids)) => ids.clone(),
            None => self.rows.iter().map(u64::to_string).collect(),
        }
    }

    /// The label of each row as a number into the class names, which stand in order: as numbers if all are, else by their bytes.
    ///
    /// # Errors
    /// When there is no label column, or a row's label is missing.
    pub fn classes(&self) -> Result<(Vec<u32>, Vec<String>), DataError> {
        let cells = self.label_cells()?;
        let mut names: Vec<&str> = cells.clone();
        names.sort_unstable();
        names.dedup();
        let numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
        if let Some(numbers) = numbers {
            let mut order: Vec<usize> = (0..names.len()).collect();
            order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
            names = order.into_iter().map(|i| names[i]).collect();
        }
        let number: std::collections::HashMap<&str, u32> =
            (0..).zip(&names).map(|(i, name)| (*name, i)).collect();
        let labels = cells.iter().map(|cell| number[cell]).collect();
        Ok((labels, names.into_iter().map(str::to_owned).collect()))
    }

    /// The label of each row as a number to be estimated.
    ///
    /// # Errors
    /// When there is no label column, or a row's label is missing or no finite number.
    pub fn targets(&self) -> Result<Vec<f64>, DataError> {
        let name = self.label_name().unwrap_or_default();
        let number = |(row, cell): (usize, &str)| match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(self.fault(
                row,
                name,
                format!("'{cell}' is not a finite number, and this method estimates numbers"),
            )),
        };
        self.label_cells()?.into_iter().enumerate().map(number).collect()
    }

    fn label_cells(&self) -> Result<Vec<&str>, DataError> {
        let Some((name, cells)) = &self.label else {
            let last = self.names.last().map_or("", String::as_str);
            let names = plan::listed(&self.names);
            return Err(DataError::table(
                &self.path,
                format!(
                    "no label: the last column, '{last}', is not called class, label, target or y. Name the label with --label; \
                     the columns are {names}"
                ),
            ));
        };
        let cell = |(row, cell): (usize, &'_ Option<String>)| match cell {
            Some(_) => Ok(()),
            None => Err(self.fault(row, name, "the label is missing: fill it in, or remove the row")),
        };
        cells.iter().enumerate().try_for_each(cell)?;
        Ok(cells.iter().flatten().map(String::as_str).collect())
    }

    /// The label of each row as it stands in the file, empty where it is missing.
    #[must_use]
    pub fn labels(&self) -> Option<Vec<String>> {
        let (_, cells) = self.label.as_ref()?;
        Some(cells.iter().map(|cell| cell.clone().unwrap_or_default()).collect())
    }

    /// Some rows, in this order.
    ///
    /// # Panics
    /// If a row is not below [`len`](Self::len).
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        fn some<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&i| all[i].clone()).collect()
        }
        let column =
            |column: &Column| Column { name: column.name.clone(), values: column.values.select(rows) };
        Self {
            path: self.path.clone(),
            kind: self.kind,
            columns: self.columns.iter().map(column).collect(),
            label: self.label.as_ref().map(|(name, cells)| (name.clone(), some(cells, rows))),
            id: self.id.as_ref().map(|(name, ids)| (name.clone(), some(ids, rows))),
            rows: some(&self.rows, rows),
            lines: self.lines.as_ref().map(|lines| some(lines, rows)),
            names: self.names.clone(),
        }
    }

    /// An error about a cell.
    fn fault(&self, row: usize, column: &str, problem: impl Into<String>) -> DataError {
        let place = match &self.lines {
            Some(lines) => format!("line {}, column '{column}'", lines[row]),
            None => format!("row {} (from 0), column '{column}'", self.rows[row]),
        };
        DataError::Table { path: self.path.clone(), place: Some(place), problem: problem.into() }
    }

    /// A BLAKE3 hash (64 hex digits) of names, values, labels and ids. The path is left out: a copy has the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut text = |value: Option<&str>| match value {
            None => drop(hasher.update(&u64::MAX.to_le_bytes())),
            Some(value) => {
                hasher.update(&(value.len() as u64).to_le_bytes());
                hasher.update(value.as_bytes());
            }
        };
        text(Some("nearkin table 1"));
        for id in self.ids() {
            text(Some(&id));
        }
        if let Some((name, cells)) = &self.label {
            text(Some(name));
            cells.iter().for_each(|cell| text(cell.as_deref()));
        }
        for column in &self.columns {
            text(Some(&column.name));
            match &column.values {
                Values::Text(cells) => cells.iter().for_each(|cell| text(cell.as_deref())),
                // The shortest text that gives the number back.
                Values::Numbers(numbers) => numbers.iter().for_each(|number| text(Some(&number.to_string()))),
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}
