//! SimSiam: a predictor on one view foresees the projection of the other, which gets no gradient.
//!
//! X. Chen, K. He, "Exploring Simple Siamese Representation Learning", 2021. BYOL without the twin: the stopped gradient alone keeps
//! it from collapse.

use burn::tensor::Tensor;
use nearkin_data::ViewConfig;
use nearkin_loss::joint::Regression;
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::{ConfigError, MlpConfig};
use serde::{Deserialize, Serialize};

use super::parts::predictor;
use super::unlabelled::Unlabelled;
use super::{Batch, Configured, HeadSite, Method, MethodCard, Stateful, Stepped};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Head, Learner};

/// The hyper-parameters of SimSiam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SimSiam {
    /// Samples a batch.
    pub batch: usize,
    /// Dimensions of the projection; the predictor narrows to a quarter of it.
    pub projection: usize,
    /// Whether the predictor keeps the peak rate while the network's falls.
    pub constant_predictor: bool,
    /// Whether the target gets no gradient. Without that it collapses, as the paper's figure 2 shows.
    pub stop_gradient: bool,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for SimSiam {
    /// The paper's, but for a projection for a laptop: 2,048 in the paper.
    fn default() -> Self {
        Self { batch: 256, projection: 512, constant_predictor: true, stop_gradient: true, colour: 0.5 }
    }
}

impl Configured for SimSiam {
    const CARD: MethodCard = MethodCard {
        name: "simsiam",
        summary: "no labels, no strangers, no twin; a predictor foresees the other view, whose gradient is stopped",
        paper: "Chen, He 2021, Exploring Simple Siamese Representation Learning",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig::simsiam_projector(self.projection))
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let views = (2, ViewConfig::simclr(self.colour));
        Ok(Box::new(Unlabelled::stateful(Self::CARD.name, self.batch, views, Ready(self.clone()))))
    }
}

struct Ready(SimSiam);

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        predictor(&MlpConfig::simsiam_predictor(self.0.projection), site)
    }

    fn head_rate(&self, factor: f64) -> f64 {
        if self.0.constant_predictor { 1.0 } else { factor }
    }

    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let projected = [0, 1].map(|view| learner.network.project(batch.view(view)));
        let [p, q] = projected.clone().map(|z| learner.head().mlp().forward(z));
        let [first, second] = projected.clone();
        // −cos is half of 2 − 2 cos, less one.
        let negative_cosine = |p: Tensor<2>, z: Tensor<2>| {
            let apart = match self.0.stop_gradient {
                true => Regression.loss(p, z),
                false => Regression.symmetric(p, z),
            };
            apart * 0.5 - 1.0
        };
        let loss = (negative_cosine(p, second) + negative_cosine(q, first)) * 0.5;
        Ok(Stepped { loss: Evaluated::of_tensor(loss), encoded: Tensor::cat(projected.to_vec(), 0) })
    }
}
