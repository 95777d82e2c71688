//! Multi-similarity: every pair weighed by itself and by the other pairs of its anchor, of pairs that are mined by both.
//!
//! X. Wang, X. Han, W. Huang, D. Dong, M. Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
//! 2019.

use nearkin_loss::losses::MultiSimilarity;
use nearkin_loss::miners::{Mined, MultiSimilarityMiner};
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of multi-similarity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct MultiSimilarityMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// α: how sharply kin attract.
    pub alpha: f32,
    /// β: how sharply strangers repel.
    pub beta: f32,
    /// λ: the cosine at which both begin.
    pub base: f32,
    /// ε of the mining: how much nearer than the farthest kin a stranger must be to count, and the other way round.
    pub epsilon: f32,
}

impl Default for MultiSimilarityMethod {
    /// The paper's α, β, λ and ε; its batches have 5 samples a class.
    fn default() -> Self {
        Self { classes: 16, per_class: 5, alpha: 2.0, beta: 50.0, base: 0.5, epsilon: 0.1 }
    }
}

impl Configured for MultiSimilarityMethod {
    const CARD: MethodCard = MethodCard {
        name: "multi-similarity",
        summary: "labelled batches of P classes x K samples; pairs weighed by their own and by relative similarity",
        paper: "Wang, Han, Huang, Dong, Scott 2019, Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let miner = MultiSimilarityMiner::new(Metric::Cosine, self.epsilon)?;
        let loss = Mined { miner, loss: MultiSimilarity::new(self.alpha, self.beta, self.base)? };
        Ok(Box::new(Supervised::new(Self::CARD.name, batches, loss, Metric::Cosine)?))
    }
}
