//! NT-Xent by labels: every pair of a class is told from all strangers of the batch by a softmax of its own.
//!
//! The loss is SimCLR's (T. Chen et al. 2020), after N-pair and CPC; with labels for kin, it differs from SupCon in that a
//! positive competes with strangers only, not with the other positives.

use nearkin_loss::losses::NtXent;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of NT-Xent by labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct NtXentMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// τ.
    pub temperature: f32,
}

impl Default for NtXentMethod {
    fn default() -> Self {
        Self { classes: 16, per_class: 4, temperature: 0.1 }
    }
}

impl Configured for NtXentMethod {
    const CARD: MethodCard = MethodCard {
        name: "nt-xent",
        summary: "labelled batches of P classes x K samples; each positive pair in a softmax against all strangers",
        paper: "Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning; with labels for kin",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = NtXent::new(self.temperature)?;
        Ok(Box::new(Supervised::new(Self::CARD.name, batches, loss, Metric::Cosine)?))
    }
}
