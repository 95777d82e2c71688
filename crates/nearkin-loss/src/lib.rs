//! Losses as springs.
//!
//! A loss says which springs join a query to the references of its row and what each does: [`Springs`]. Everything else is
//! shared: the engine never stores the matrix of scores, the metric's derivative is taken outside, reducers and miners go
//! with any loss, and `evaluate` makes any [`Loss`] a differentiable scalar for Burn.
//!
//! | | |
//! |---|---|
//! | [`losses`] | one file a loss |
//! | `joint` | one file a loss of two views without strangers, in tensor operations |
//! | [`memory`] | one file a memory: vectors of earlier batches |
//! | [`miners`] | one file a miner; [`Mined`] puts one in front of a loss |
//! | [`regularizers`] | one file a regulariser: functions of vectors alone |
//! | [`WeightedSum`] | several losses as one |
//! | [`pull_matrix`] | springs on a matrix of scores that is given |
//! | [`Reducer`] | how terms become one number |
//! | [`Sides`] | what a loss is evaluated on: queries, references, kin |

#![forbid(unsafe_code)]

mod both_ways;
#[cfg(feature = "burn")]
mod bridge;
mod classes;
mod exps;
#[cfg(feature = "burn")]
pub mod joint;
mod loss;
pub mod losses;
mod matrix;
pub mod memory;
pub mod miners;
#[cfg(feature = "burn")]
mod on_device;
mod random;
mod ranks;
mod reducer;
pub mod regularizers;
mod springs;
mod sum;
mod triplets;
mod tuples;
mod unit;

pub use both_ways::BothWays;
#[cfg(feature = "burn")]
pub use bridge::{Evaluated, Figures, evaluate, evaluate_with};
pub use classes::{ProxyInit, Spread};
pub use exps::{Exps, exps, sigmoid, softplus};
pub use loss::{Loss, LossError, Pull, Sides};
pub use matrix::{MatrixPull, pull_matrix};
pub use miners::{Mined, Miner};
#[cfg(feature = "burn")]
pub use on_device::{DevicePull, DeviceSides, DeviceTriplets, Panel, PanelPull, pull_cosine_panels};
pub use reducer::{Reduced, Reducer, Terms};
pub use springs::{Springs, SumSprings, pull_springs, pull_sums};
pub use sum::WeightedSum;
pub use triplets::{TripletSprings, pull_all, pull_triplets};
pub use tuples::Tuples;
pub use unit::OnSphere;

/// The code of the book's page "Write your own loss" is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/your-own-loss.md")]
pub struct YourOwnLoss;
