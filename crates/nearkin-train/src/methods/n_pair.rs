//! N-pair: a pair of each of many classes, each anchor against the positives of all the others.
//!
//! K. Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", 2016. The batch needs only two samples a
//! class for as many negatives as there are classes; the embedding's length is kept in check by an L2 penalty, not by a sphere.

use nearkin_loss::losses::NPairs;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of N-pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct NPairMethod {
    /// N: classes a batch, a pair of samples each; fewer when the data has fewer.
    pub classes: usize,
    /// λ of the penalty on the length of embeddings.
    pub l2: f32,
}

impl Default for NPairMethod {
    /// The penalty is TensorFlow's; the paper trains with hundreds of classes a batch.
    fn default() -> Self {
        Self { classes: 64, l2: 0.002 }
    }
}

impl Configured for NPairMethod {
    const CARD: MethodCard = MethodCard {
        name: "n-pair",
        summary: "labelled batches of one pair a class; each anchor against the positives of all other classes",
        paper: "Sohn 2016, Improved Deep Metric Learning with Multi-class N-pair Loss Objective",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: 2 };
        Ok(Box::new(Supervised::new(Self::CARD.name, batches, NPairs::new(self.l2)?, Metric::Cosine)?))
    }
}
