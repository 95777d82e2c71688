//! Losses as springs.
//!
//! A loss says which springs join a query to the references of its row and what each does; see
//! [`nearkin_sweep::Springs`]. Everything else is shared: the engine never stores the matrix of scores, the metric's
//! derivative is taken outside, and [`evaluate`] makes any [`Loss`] a differentiable scalar for Burn.
//!
//! One file a loss: [`BatchHard`], [`NtXent`], [`SupCon`].

#![forbid(unsafe_code)]

mod batch_hard;
mod bridge;
mod loss;
mod nt_xent;
mod sup_con;

pub use batch_hard::{BatchHard, Margin};
pub use bridge::{Evaluated, evaluate};
pub use loss::{Loss, LossError};
pub use nt_xent::NtXent;
pub use sup_con::SupCon;
