//! The table of embeddings in memory.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use nearkin_sweep::{Metric, Vectors};
use serde::{Deserialize, Serialize};

use crate::error::{Fault, IndexError};
use crate::formats::Format;

/// Names that further columns may not take.
pub(crate) const RESERVED: [&str; 4] = ["id", "label", "path", "embedding"];

/// Vectors with what is known of each row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embeddings {
    /// All values, row-major: `ids.len() × dim`.
    pub vectors: Vec<f32>,
    /// Values a vector.
    pub dim: usize,
    /// One id a row, not empty and all different.
    pub ids: Vec<String>,
    /// The class name of each row; empty for a row without one.
    pub labels: Option<Vec<String>>,
    /// Where each row's sample lies; empty for a row without a place.
    pub paths: Option<Vec<String>>,
    /// Further columns, by name: one text a row, empty where there is none.
    pub columns: BTreeMap<String, Vec<String>>,
    /// What made the vectors; `None` for a file of another tool.
    pub origin: Option<Origin>,
}

/// What made some vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Hash of the model, in hexadecimal.
    pub model: String,
    /// The metric that the model was trained for.
    pub metric: Metric,
    /// What is done to an input before the model sees it, as the model says it; empty where nothing is known.
    #[serde(default)]
    pub preprocessing: String,
    /// Whether vectors were scaled to unit length.
    pub normalized: bool,
    /// Fingerprint of the data that was embedded.
    pub data: String,
}

impl Embeddings {
    /// Reads a table; the extension says which format.
    ///
    /// - `.parquet`: the vectors are the list column named `embedding`, `vector`, `vectors`, `emb` or `features` (the
    ///   first of these that is there), or the only list column of floats, of f16, f32 or f64. `id`, `label` and
    ///   `path` may be text, integers or any type that has a plain text form; so may further columns, and columns
    ///   that have none (structs, bytes, lists) are left out. Nulls in text become empty.
    /// - `.npy`: one array of two dimensions, f16, f32 or f64, either byte order, C or Fortran order. Ids and the rest
    ///   come from the sidecar `<file>.npy.json` that [`write`](Self::write) leaves beside it.
    /// - `.safetensors`: the tensor `embeddings`, or the only one of two dimensions, of f16, bf16, f32 or f64. Ids and
    ///   the rest come from the header; a tensor `labels` of integers, one a row, gives labels where the header has
    ///   none.
    ///
    /// A table without ids gets its row numbers, from 0. Values become f32. The result is [valid](Self::validate).
    ///
    /// # Errors
    /// When the file cannot be read, is not of its format, or does not hold a valid table.
    pub fn read(path: &Path) -> Result<Self, IndexError> {
        let table = Format::of(path)?.read(path)?;
        table.check().map_err(IndexError::file(path))?;
        Ok(table)
    }

    /// Writes the table as f32; the extension says which format. Reading it back gives the same table, except that a
    /// column of labels or paths that is empty in every row may come back as none.
    ///
    /// Parquet suits tables of any size and every other tool. `.npy` puts everything but the vectors into a sidecar,
    /// `<file>.npy.json`, plain JSON that Python reads without a library; it holds a checksum of the vectors, so that
    /// it is never taken for another array's. `.safetensors` puts it into the header, which holds at most 100 MB.
    ///
    /// # Errors
    /// When the table is not [valid](Self::validate) or a file cannot be written; what was there is then unchanged.
    pub fn write(&self, path: &Path) -> Result<(), IndexError> {
        let format = Format::of(path)?;
        self.validate()?;
        format.write(self, path)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The vectors, borrowed.
    ///
    /// # Errors
    /// When `vectors` is not a whole number of rows of `dim` values.
    pub fn vectors(&self) -> Result<Vectors<'_>, IndexError> {
        Ok(Vectors::new(&self.vectors, self.dim)?)
    }

    /// Checks the table: at least one row and one dimension, one value of every column for each row, finite values,
    /// ids that are there and differ, and no further column with a name that has a meaning.
    ///
    /// # Errors
    /// The first fault found, with its row.
    pub fn validate(&self) -> Result<(), IndexError> {
        Ok(self.check()?)
    }

    fn check(&self) -> Result<(), Fault> {
        if self.is_empty() && self.vectors.is_empty() {
            return Err(Fault::NoRows);
        }
        if self.dim == 0 {
            return Err(Fault::NoDimensions);
        }
        if !self.vectors.len().is_multiple_of(self.dim) {
            return Err(Fault::Partial { values: self.vectors.len(), dim: self.dim });
        }
        let rows = self.vectors.len() / self.dim;
        let named = [("id", Some(&self.ids)), ("label", self.labels.as_ref()), ("path", self.paths.as_ref())];
        let named = named.into_iter().filter_map(|(name, column)| column.map(|c| (name, c)));
        for (name, column) in named.chain(self.columns.iter().map(|(name, column)| (name.as_str(), column))) {
            if column.len() != rows {
                return Err(Fault::Count { field: name.to_owned(), found: column.len(), wanted: rows });
            }
        }
        if let Some(name) = self.columns.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(Fault::ReservedColumn { name: name.clone() });
        }
        if let Some(i) = self.vectors.iter().position(|x| !x.is_finite()) {
            return Err(Fault::NotFinite {
                row: i / self.dim,
                position: i % self.dim,
                value: self.vectors[i],
            });
        }
        let mut first_with = HashMap::with_capacity(rows);
        for (row, id) in self.ids.iter().enumerate() {
            if id.is_empty() {
                return Err(Fault::NoId { row });
            }
            if let Some(first) = first_with.insert(id.as_str(), row) {
                return Err(Fault::DuplicateId { id: id.clone(), first, second: row });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Embeddings {
        Embeddings {
            vectors: vec![1.0, 2.0, 3.0, 4.0],
            dim: 2,
            ids: vec!["a".into(), "b".into()],
            ..Embeddings::default()
        }
    }

    fn fault_of(change: impl FnOnce(&mut Embeddings)) -> Fault {
        let mut table = table();
        change(&mut table);
        match table.validate() {
            Err(IndexError::Embeddings(fault)) => fault,
            other => panic!("expected a fault, found {other:?}"),
        }
    }

    #[test]
    fn each_fault_is_named_with_its_row() {
        assert!(table().validate().is_ok());
        assert_eq!(fault_of(|t| t.dim = 0), Fault::NoDimensions);
        assert_eq!(fault_of(|t| t.dim = 3), Fault::Partial { values: 4, dim: 3 });
        assert_eq!(
            fault_of(|t| {
                t.vectors.clear();
                t.ids.clear();
            }),
            Fault::NoRows
        );
        assert_eq!(fault_of(|t| t.vectors.clear()), Fault::Count { field: "id".into(), found: 2, wanted: 0 });
        assert_eq!(
            fault_of(|t| t.vectors[3] = f32::INFINITY),
            Fault::NotFinite { row: 1, position: 1, value: f32::INFINITY }
        );
        assert_eq!(fault_of(|t| t.ids[1] = String::new()), Fault::NoId { row: 1 });
        assert_eq!(
            fault_of(|t| t.ids[1] = "a".into()),
            Fault::DuplicateId { id: "a".into(), first: 0, second: 1 }
        );
        assert_eq!(
            fault_of(|t| t.labels = Some(vec![])),
            Fault::Count { field: "label".into(), found: 0, wanted: 2 }
        );
        assert_eq!(
            fault_of(|t| {
                t.columns.insert("camera".into(), vec!["x".into()]);
            }),
            Fault::Count { field: "camera".into(), found: 1, wanted: 2 }
        );
        assert_eq!(
            fault_of(|t| {
                t.columns.insert("path".into(), vec![String::new(); 2]);
            }),
            Fault::ReservedColumn { name: "path".into() }
        );
    }
}
