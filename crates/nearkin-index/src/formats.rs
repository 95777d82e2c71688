//! The file formats of embeddings, one file each.

mod companion;
mod floats;
mod npy;
mod parquet;
mod safetensors;

use std::fs::File;
use std::path::Path;

use crate::embeddings::Embeddings;
use crate::error::IndexError;

/// A file format of embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet,
    Npy,
    Safetensors,
}

impl Format {
    /// The format that a path's extension names, in any case.
    pub(crate) fn of(path: &Path) -> Result<Self, IndexError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match extension.to_ascii_lowercase().as_str() {
            "parquet" => Ok(Self::Parquet),
            "npy" => Ok(Self::Npy),
            "safetensors" => Ok(Self::Safetensors),
            _ => Err(IndexError::Extension { path: path.to_owned(), found: extension.into_owned() }),
        }
    }

    pub(crate) fn read(self, path: &Path) -> Result<Embeddings, IndexError> {
        match self {
            Self::Parquet => parquet::read(path),
            Self::Npy => npy::read(path),
            Self::Safetensors => safetensors::read(path),
        }
    }

    pub(crate) fn write(self, table: &Embeddings, path: &Path) -> Result<(), IndexError> {
        match self {
            Self::Parquet => parquet::write(table, path),
            Self::Npy => npy::write(table, path),
            Self::Safetensors => safetensors::write(table, path),
        }
    }
}

fn open(path: &Path) -> Result<File, IndexError> {
    File::open(path).map_err(IndexError::read(path))
}

/// Ids of a table that has none of its own.
fn row_numbers(rows: usize) -> Vec<String> {
    (0..rows).map(|row| row.to_string()).collect()
}
