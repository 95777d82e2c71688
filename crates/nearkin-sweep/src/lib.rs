//! The row engine: rows of a similarity matrix, tile by tile, in bounded memory.
//!
//! Losses, miners, nearest neighbours, retrieval metrics and memory banks all read rows of a matrix of scores
//! between some *queries* and some *references*. This crate produces those rows without ever storing the matrix:
//!
//! - [`fold_rows`] feeds every row to a [`RowFold`], tile by tile; [`top_k`] is one.
//! - [`pull_rows`] turns whole rows into forces ([`RowSprings`]: a loss) and these into gradients; [`map_rows`] only reads
//!   them.
//! - [`sum_pairs`] and [`pull_pairs`] do the same among one set for springs that need only sums of a row
//!   ([`PairSprings`]), at two thirds of the cost, since they visit each pair once.
//! - [`kin_ranks`] counts the ranks of kin for retrieval metrics, [`score_histogram`] the scores of kin and strangers for
//!   verification; [`assign`] and [`k_means`] find the nearest centres.
//! - [`pair_scores`] and [`pull_list`] are for the few pairs that a miner picks.
//!
//! Memory is a fixed number of tiles plus what a row keeps, whatever the number of vectors. Work is cut into panels
//! whose shape depends on the input alone, and each output has one owner, so the bits of a result do not depend on
//! the number of threads.
//!
//! An [`Accelerator`] may take the products over; the rows come back to be turned into forces here.
//!
//! Nothing here knows a framework: vectors are `&[f32]`, results are plain values.

#![deny(unsafe_code)]

mod accelerator;
mod assign;
mod exp;
mod histogram;
mod kernel;
mod kin;
mod list;
mod metric;
mod pairs;
mod product;
mod ranks;
mod rows;
mod scan;
mod springs;
mod top_k;
mod vectors;
mod wide;

pub use accelerator::{Accelerator, Panels};
pub use assign::{Assigned, assign, k_means};
pub use exp::exp;
pub use histogram::{ScoreHistogram, score_histogram};
pub use kin::{Graph, Kin, Listed, Lists, Relation, SameLabel};
pub use list::{pair_scores, pull_list};
pub use metric::{Metric, ParseMetricError};
pub use pairs::{Bond, PairSprings, pull_pairs, pull_row, sum_pairs, sum_row};
pub use ranks::{KinRanks, kin_ranks};
pub use rows::{RowFold, fold_rows};
pub use springs::{Gradients, Row, RowSprings, map_rows, pull_rows};
pub use top_k::{Neighbor, top_k};
pub use vectors::{SweepError, Vectors};
pub use wide::{max, sum, wide};
