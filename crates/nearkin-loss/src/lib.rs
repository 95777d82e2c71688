//! Losses as springs.
//!
//! A loss says which springs join a query to the references of its row and what each does: [`Springs`]. Everything else is
//! shared: the engine never stores the matrix of scores, the metric's derivative is taken outside, reducers and miners go
//! with any loss, and `evaluate` makes any [`Loss`] a differentiable scalar for Burn.
//!
//! | | |
//! |---|---|
//! | [`losses`] | one file a loss |
//! | [`miners`] | one file a miner; [`Mined`] puts one in front of a loss |
//! | [`Reducer`] | how terms become one number |
//! | [`Sides`] | what a loss is evaluated on: queries, references, kin |

#![forbid(unsafe_code)]

mod both_ways;
#[cfg(feature = "burn")]
mod bridge;
mod exps;
mod loss;
pub mod losses;
pub mod miners;
mod ranks;
mod reducer;
mod springs;
mod triplets;
mod tuples;
mod unit;

pub use both_ways::BothWays;
#[cfg(feature = "burn")]
pub use bridge::{Evaluated, evaluate};
pub use exps::{Exps, exps, sigmoid, softplus};
pub use loss::{Loss, LossError, Pull, Sides};
pub use miners::{Mined, Miner};
pub use reducer::{Reducer, Terms};
pub use springs::{Springs, SumSprings, pull_springs, pull_sums};
pub use triplets::{TripletSprings, pull_all, pull_triplets};
pub use tuples::Tuples;
pub use unit::OnSphere;
