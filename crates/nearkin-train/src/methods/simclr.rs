//! SimCLR: two random views of each sample are kin, every other view in the batch is a stranger.
//!
//! T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A Simple Framework for Contrastive Learning of Visual
//! Representations", 2020.

use burn::tensor::Tensor;
use nearkin_data::{Sampler, Shuffled, ViewConfig};
use nearkin_loss::losses::NtXent;
use nearkin_loss::{Evaluated, LossError, evaluate};
use nearkin_net::{MlpConfig, Network};
use nearkin_sweep::{Metric, SameLabel};
use serde::{Deserialize, Serialize};

use super::parts::head_of;
use super::{BatchKin, Configured, Method, MethodCard, Objective, OfBatch, Selection, TrainSet};
use crate::error::TrainError;

/// The hyper-parameters of SimCLR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimClr {
    /// Samples a batch; the loss sees twice as many views.
    pub batch: usize,
    /// τ of NT-Xent.
    pub temperature: f32,
    /// Hidden units of the projection head; 0: a linear head.
    pub hidden: usize,
    /// Dimensions of the projection, which only the loss sees; 0: no head, and the loss compares the embeddings themselves.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for SimClr {
    /// The paper's setting for CIFAR-10 (appendix B.9), at a batch that a laptop holds.
    fn default() -> Self {
        Self { batch: 256, temperature: 0.5, hidden: 256, projection: 128, colour: 0.5 }
    }
}

impl Configured for SimClr {
    const CARD: MethodCard = MethodCard {
        name: "simclr",
        summary: "no labels; two random views of a sample against all other views of the batch, behind a projection head",
        paper: "Chen, Kornblith, Norouzi, Hinton 2020, A Simple Framework for Contrastive Learning of Visual Representations",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        head_of(self.hidden, self.projection)
    }

    /// The encoder's features, with a head or without.
    fn embedding(&self) -> usize {
        0
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        Ok(Box::new(Ready { config: self.clone(), loss: NtXent::new(self.temperature)? }))
    }
}

struct Ready {
    config: SimClr,
    loss: NtXent,
}

impl Method for Ready {
    fn sampler(&self, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        let len = set.len;
        if set.graph.is_some() {
            return Err(TrainError::setting(
                "kin",
                "a rule",
                "left out: to simclr, kin are the views of one sample",
            ));
        }
        // A view's strangers are the other samples: one sample has none.
        let batch = self.config.batch.min(len);
        if batch < 2 {
            return Err(TrainError::TooFewSamples { found: batch, wanted: 2, why: "a view needs strangers" });
        }
        Ok(Box::new(Shuffled::new(len, batch, true)?))
    }

    fn views(&self) -> usize {
        2
    }

    fn default_views(&self) -> ViewConfig {
        ViewConfig::simclr(self.config.colour)
    }

    fn objective(&self) -> Objective<'_> {
        Objective::OfBatch(self)
    }

    fn metric(&self) -> Metric {
        Metric::Cosine
    }

    fn selection(&self) -> Selection {
        Selection::Latest
    }
}

impl OfBatch for Ready {
    fn loss(
        &self,
        _network: &Network,
        encoded: Tensor<2>,
        _proxies: Option<Tensor<2>>,
        batch: BatchKin<'_>,
    ) -> Result<Evaluated, LossError> {
        let n = batch.samples.len() as u32;
        let samples: Vec<u32> = (0..n).chain(0..n).collect();
        evaluate(&self.loss, encoded, None, &SameLabel::within(&samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_nonlinear_linear_or_none_as_in_the_paper() {
        let head = |hidden, projection| SimClr { hidden, projection, ..SimClr::default() }.projector();
        assert_eq!(head(256, 128), Some(MlpConfig::new(256, 128)));
        assert_eq!(head(0, 128).map(|head| (head.layers, head.out)), Some((1, 128)));
        assert_eq!(head(256, 0), None);
        assert_eq!(SimClr { projection: 0, ..SimClr::default() }.embedding(), 0);
    }
}
