//! Embeddings on disk, and the index that searches them.
//!
//! - [`Embeddings`] is the table in memory: one vector a row, an id, and perhaps a label, a path and further text
//!   columns. It reads and writes `.parquet`, `.npy` and `.safetensors`, its own files and those of other tools.
//! - [`build`] writes an index, one file; [`Index`] maps it and finds the nearest rows of a query, exactly or through
//!   an HNSW graph. [`Storage`] says in how many bytes it holds a value.
//! - [`GrowingIndex`] adds to an index and deletes from it, and loses nothing that it said was done; [`Snapshot`] is an index as it is at one
//!   moment, searched by any number of threads.
//! - [`Filter`] chooses the rows that a search may find: `category = "shoe" and price < 50`.
//! - [`Origin`] says which model made the vectors, and [`Index::check_model`] refuses the vectors of another.
//!
//! Every file but the log of an index is written beside its final name and renamed when it is complete and on disk: a crash or a full
//! disk leaves the file that was there. A log only ever becomes longer, by whole records. Results have the same bits on any number of threads, graphs included.

#![deny(unsafe_code)]

mod atomic;
mod build;
mod embeddings;
mod error;
mod filter;
mod formats;
mod graph;
mod growing;
mod ids;
mod index;
mod layout;
mod map;
mod rows;
mod snapshot;
mod storage;
mod texts;

pub use build::{BuildOptions, Kind, Progress, Stage, Summary, build};
pub use embeddings::{Embeddings, Origin};
pub use error::{Damage, Fault, IndexError};
pub use filter::{Filter, FilterError};
pub use growing::{Added, Deleted, EqualIds, GrowingIndex};
pub use index::{DEFAULT_EF, Hit, Index, SearchOptions};
pub use snapshot::{Pending, Selection, Snapshot};
pub use storage::Storage;
