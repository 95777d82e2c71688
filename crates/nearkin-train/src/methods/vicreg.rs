//! VICReg: two views agree, every dimension keeps its variance, and no two dimensions say the same.
//!
//! A. Bardes, J. Ponce, Y. LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", 2022.

use nearkin_data::ViewConfig;
use nearkin_loss::joint::Vicreg as VicregLoss;
use nearkin_net::MlpConfig;
use serde::{Deserialize, Serialize};

use super::unlabelled::Unlabelled;
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of VICReg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Vicreg {
    /// Samples a batch.
    pub batch: usize,
    /// λ, the weight of invariance.
    pub invariance: f32,
    /// μ, the weight of variance.
    pub variance: f32,
    /// ν, the weight of covariance.
    pub covariance: f32,
    /// Units of each of the expander's three layers.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for Vicreg {
    /// The paper's weights, and an expander for a laptop: 8,192 units in the paper.
    fn default() -> Self {
        Self { batch: 256, invariance: 25.0, variance: 25.0, covariance: 1.0, projection: 512, colour: 0.5 }
    }
}

impl Configured for Vicreg {
    const CARD: MethodCard = MethodCard {
        name: "vicreg",
        summary: "no labels, no strangers; views agree, dimensions keep their variance and do not repeat each other",
        paper: "Bardes, Ponce, LeCun 2022, VICReg",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig::expander(self.projection))
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let loss = VicregLoss::new(self.invariance, self.variance, self.covariance)?;
        let views = ViewConfig::simclr(self.colour);
        let loss = move |a, b| loss.loss(a, b);
        Ok(Box::new(Unlabelled::of_two_views(Self::CARD.name, self.batch, views, loss)))
    }
}
