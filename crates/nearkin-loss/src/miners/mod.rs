//! One file a miner: which pairs or triplets of a batch a loss should look at.

mod batch_hard;

pub use batch_hard::BatchHardMiner;

use crate::classes::ProxyInit;
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::tuples::Tuples;

/// Picks pairs or triplets. A miner has no gradient: it only chooses.
pub trait Miner: Send + Sync {
    /// The tuples of these sides. Ties go to the lowest index; an anchor without what is wanted gives none.
    ///
    /// # Errors
    /// When the two sides differ in dimension, or the miner is not defined for them.
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError>;
}

/// A loss over what a miner picks.
#[derive(Debug, Clone, Copy)]
pub struct Mined<M, L> {
    /// What chooses.
    pub miner: M,
    /// What pulls.
    pub loss: L,
}

impl<M: Miner, L: Loss> Loss for Mined<M, L> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.loss.pull_mined(sides, &self.miner.mine(sides)?)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.loss.proxies()
    }
}
