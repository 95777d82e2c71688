//! The index as the server uses it: one that grows, or one that is only read.

use std::path::Path;
use std::sync::Arc;

use nearkin_index::{GrowingIndex, IndexError, Snapshot};

use crate::error::ApiError;

/// An index that is served.
pub struct Store(Source);

enum Source {
    Growing(Arc<GrowingIndex>),
    Fixed(Arc<Snapshot>),
}

impl Store {
    /// Opens an index to search it, to add and to delete.
    ///
    /// # Errors
    /// As [`GrowingIndex::open`]; also when another process writes to it.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Ok(Self(Source::Growing(Arc::new(GrowingIndex::open(path)?))))
    }

    /// Opens an index to search it as it is now. Others may write to it.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open_read_only(path: &Path) -> Result<Self, IndexError> {
        Ok(Self(Source::Fixed(Arc::new(Snapshot::open(path)?))))
    }

    /// The rows as they are now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        match &self.0 {
            Source::Growing(index) => index.snapshot(),
            Source::Fixed(snapshot) => Arc::clone(snapshot),
        }
    }

    /// The index that grows.
    pub(crate) fn growing(&self) -> Result<Arc<GrowingIndex>, ApiError> {
        match &self.0 {
            Source::Growing(index) => Ok(Arc::clone(index)),
            Source::Fixed(_) => Err(ApiError::new(
                hyper::StatusCode::FORBIDDEN,
                "read_only",
                "this server shows an index and changes nothing: `nearkin serve` adds and deletes",
            )),
        }
    }
}
