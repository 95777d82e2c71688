//! The index as the server uses it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use nearkin_index::{Hit, Index, IndexError, Origin, SearchOptions};
use nearkin_sweep::{Metric, Vectors};

/// An index that is served.
pub struct Store {
    snapshot: Arc<Snapshot>,
}

impl Store {
    /// Opens an index.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let index = Index::open(path)?;
        let rows = (0..index.len()).map(|row| (index.id(row).to_owned(), row)).collect();
        Ok(Self { snapshot: Arc::new(Snapshot { index, rows }) })
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }
}

/// Rows at one moment.
pub(crate) struct Snapshot {
    index: Index,
    rows: HashMap<String, usize>,
}

impl Snapshot {
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn dim(&self) -> usize {
        self.index.dim()
    }

    pub fn metric(&self) -> Metric {
        self.index.metric()
    }

    pub fn origin(&self) -> Option<&Origin> {
        self.index.origin()
    }

    pub fn check_model(&self, hash: &str) -> Result<(), IndexError> {
        self.index.check_model(hash)
    }

    pub fn rows(&self) -> impl Iterator<Item = usize> {
        0..self.index.len()
    }

    pub fn find(&self, id: &str) -> Option<usize> {
        self.rows.get(id).copied()
    }

    pub fn id(&self, row: usize) -> &str {
        self.index.id(row)
    }

    pub fn label(&self, row: usize) -> Option<&str> {
        self.index.label(row)
    }

    pub fn path_of(&self, row: usize) -> Option<&str> {
        self.index.path(row)
    }

    pub fn columns(&self) -> Vec<&str> {
        self.index.columns().collect()
    }

    pub fn column(&self, name: &str, row: usize) -> Option<&str> {
        self.index.column(name, row)
    }

    pub fn vector(&self, row: usize) -> &[f32] {
        self.index.vectors().row(row)
    }

    pub fn search(
        &self,
        queries: Vectors<'_>,
        k: usize,
        options: SearchOptions,
    ) -> Result<Vec<Vec<Hit<'_>>>, IndexError> {
        self.index.search(queries, k, options)
    }
}
