//! BYOL: a predictor on one view foresees what a slowly following twin makes of the other; there are no strangers.
//!
//! J.-B. Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", 2020.

use burn::tensor::Tensor;
use nearkin_data::ViewConfig;
use nearkin_loss::joint::Regression;
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::momentum::{Statistics, cosine_momentum};
use nearkin_net::{ConfigError, MlpConfig};
use serde::{Deserialize, Serialize};

use super::parts::predictor;
use super::unlabelled::{Unlabelled, share};
use super::{Batch, Clock, Configured, HeadSite, Method, MethodCard, Stateful, Stepped};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Following, Head, Learner};

/// The hyper-parameters of BYOL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Byol {
    /// Samples a batch.
    pub batch: usize,
    /// What remains of the twin after the first step; it rises to 1 on a cosine.
    pub momentum: f64,
    /// Hidden units of projector and predictor.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for Byol {
    /// The paper's momentum, and heads for a laptop: 4,096 hidden units in the paper.
    fn default() -> Self {
        Self { batch: 256, momentum: 0.996, hidden: 512, projection: 256, colour: 0.5 }
    }
}

impl Configured for Byol {
    const CARD: MethodCard = MethodCard {
        name: "byol",
        summary: "no labels, no strangers; a predictor foresees what a momentum twin makes of the other view",
        paper: "Grill et al. 2020, Bootstrap Your Own Latent",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig::byol(self.hidden, self.projection))
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        share("method.momentum", self.momentum)?;
        let views = (2, ViewConfig::simclr(self.colour));
        Ok(Box::new(Unlabelled::stateful(Self::CARD.name, self.batch, views, Ready(self.clone()))))
    }
}

struct Ready(Byol);

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        predictor(&MlpConfig::byol(self.0.hidden, self.0.projection), site)
    }

    fn follows_head(&self) -> Option<bool> {
        Some(false)
    }

    fn following(&self, Clock { step, steps, .. }: Clock) -> Following {
        let momentum = cosine_momentum(self.0.momentum, step, steps);
        Following { momentum, statistics: Statistics::Follow }
    }

    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let views = [0, 1].map(|view| batch.view(view));
        let projected = views.clone().map(|view| learner.network.project(view));
        let predicted = projected.clone().map(|z| learner.head().mlp().forward(z));
        let [first, second] = views.map(|view| learner.twin().project(view));
        let [p, q] = predicted;
        let loss = Regression.loss(p, second) + Regression.loss(q, first);
        Ok(Stepped { loss: Evaluated::of_tensor(loss), encoded: Tensor::cat(projected.to_vec(), 0) })
    }
}
