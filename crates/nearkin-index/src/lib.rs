//! Embeddings on disk, and the index that searches them.
//!
//! - [`Embeddings`] is the table in memory: one vector a row, an id, and perhaps a label, a path and further text
//!   columns. It reads and writes `.parquet`, `.npy` and `.safetensors`, its own files and those of other tools.
//! - [`build`] writes an index, one file; [`Index`] maps it and finds the nearest rows of a query, exactly or through
//!   an HNSW graph.
//! - [`Origin`] says which model made the vectors, and [`Index::check_model`] refuses the vectors of another.
//!
//! Every file is written beside its final name and renamed when it is complete and on disk: a crash or a full disk
//! leaves the file that was there. Results have the same bits on any number of threads, graphs included.

#![deny(unsafe_code)]

mod atomic;
mod build;
mod embeddings;
mod error;
mod formats;
mod graph;
mod index;
mod layout;
mod map;
mod texts;

pub use build::{BuildOptions, Kind, Progress, Stage, Summary, build};
pub use embeddings::{Embeddings, Origin};
pub use error::{Damage, Fault, IndexError};
pub use index::{DEFAULT_EF, Hit, Index, SearchOptions};
