//! The row engine: rows of a similarity matrix, tile by tile, in bounded memory.
//!
//! Losses, miners, nearest neighbours, retrieval metrics and memory banks all read rows of a matrix of scores
//! between some *queries* and some *references*. This crate produces those rows without ever storing the matrix:
//!
//! - [`fold_rows`] feeds every row to a [`RowFold`], tile by tile; [`top_k`] is one.
//! - [`pull`] evaluates a system of springs (a loss) and its gradient from a [`Springs`] or [`TupleSprings`].
//!
//! Memory is a fixed number of tiles plus what a row keeps, whatever the number of vectors. Work is cut into panels
//! whose shape depends on the input alone, and each output has one owner, so the bits of a result do not depend on
//! the number of threads.
//!
//! Nothing here knows a framework: vectors are `&[f32]`, results are plain values.

#![deny(unsafe_code)]

mod exp;
mod kin;
mod metric;
mod product;
mod rows;
mod springs;
mod top_k;
mod vectors;

pub use exp::exp;
pub use kin::{Kin, Relation, SameLabel};
pub use metric::{Metric, ParseMetricError};
pub use rows::{RowFold, fold_rows};
pub use springs::{Pull, Reduction, Settled, Springs, Tile, TupleSprings, pull, pull_tuples};
pub use top_k::{Neighbor, top_k};
pub use vectors::{SweepError, Vectors};
