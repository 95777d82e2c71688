//! W-MSE: whitened projections of two views lie in one direction.
//!
//! A. Ermolov, A. Siarohin, E. Sangineto, N. Sebe, "Whitening for Self-Supervised Representation Learning", 2021.

use nearkin_data::ViewConfig;
use nearkin_loss::joint::WhiteningMse;
use nearkin_loss::{LossError, evaluate_with};
use nearkin_net::MlpConfig;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::unlabelled::Unlabelled;
use super::{Batch, Configured, Method, MethodCard, Stateful, Stepped};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::Learner;

/// The hyper-parameters of W-MSE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct WMse {
    /// Samples a batch, at least a slice.
    pub batch: usize,
    /// Views of each sample, at least 2; all pairs of them are compared.
    pub views: usize,
    /// Samples that are whitened together, drawn anew each step: about twice as many as dimensions.
    pub slice: usize,
    /// How much of their covariance is shrunk towards equal variances, which keeps it of full rank where a slice is small; 0 in the
    /// authors' code. Dimensions that vary less than this share of the mean are not whitened, so that a network may let them fade.
    pub shrinkage: f32,
    /// Hidden units of the head.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for WMse {
    /// The paper's for CIFAR-10, but for a trace of shrinkage: a set of fewer samples than a slice has no full rank.
    fn default() -> Self {
        Self { batch: 256, views: 2, slice: 128, shrinkage: 1e-6, hidden: 512, projection: 64, colour: 0.5 }
    }
}

impl Configured for WMse {
    const CARD: MethodCard = MethodCard {
        name: "w-mse",
        summary: "no labels, no strangers; projections of a batch are whitened, and views of a sample drawn together",
        paper: "Ermolov, Siarohin, Sangineto, Sebe 2021, Whitening for Self-Supervised Representation Learning",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig::byol(self.hidden, self.projection))
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let loss = WhiteningMse::new(self.slice, self.shrinkage)?;
        if self.views < 2 {
            return Err(TrainError::setting("method.views", self.views, "at least 2"));
        }
        if self.slice <= self.projection && self.shrinkage == 0.0 {
            let wanted =
                "more than the dimensions of the projection, or some shrinkage: fewer have no full rank";
            return Err(TrainError::setting("method.slice", self.slice, wanted));
        }
        let views = (self.views, ViewConfig::simclr(self.colour));
        let ready = Ready { views: self.views, loss };
        Ok(Box::new(Unlabelled::stateful(Self::CARD.name, self.batch, views, ready)))
    }
}

struct Ready {
    views: usize,
    loss: WhiteningMse,
}

impl Stateful for Ready {
    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let encoded = learner.network.project(batch.crops(0));
        let seed = batch.stream(0).next_u64();
        let loss = evaluate_with(encoded.clone(), |all| self.loss.pull(self.views, all, seed))?;
        Ok(Stepped { loss, encoded })
    }
}
