//! Barlow Twins: the cross-correlation of two views' projections is drawn to the identity.
//!
//! J. Zbontar, L. Jing, I. Misra, Y. LeCun, S. Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", 2021.

use nearkin_data::ViewConfig;
use nearkin_loss::joint::BarlowTwins as BarlowTwinsLoss;
use nearkin_net::MlpConfig;
use serde::{Deserialize, Serialize};

use super::unlabelled::Unlabelled;
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of Barlow Twins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BarlowTwins {
    /// Samples a batch.
    pub batch: usize,
    /// λ, the weight of redundancy against invariance.
    pub lambda: f32,
    /// Units of each of the expander's three layers.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for BarlowTwins {
    /// The paper's λ, and an expander for a laptop: 8,192 units in the paper.
    fn default() -> Self {
        Self { batch: 256, lambda: 0.0051, projection: 512, colour: 0.5 }
    }
}

impl Configured for BarlowTwins {
    const CARD: MethodCard = MethodCard {
        name: "barlow-twins",
        summary: "no labels, no strangers; the cross-correlation of two views is drawn to the identity",
        paper: "Zbontar, Jing, Misra, LeCun, Deny 2021, Barlow Twins",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig::expander(self.projection))
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let loss = BarlowTwinsLoss::new(self.lambda)?;
        let views = ViewConfig::simclr(self.colour);
        let loss = move |a, b| loss.loss(a, b);
        Ok(Box::new(Unlabelled::of_two_views(Self::CARD.name, self.batch, views, loss)))
    }
}
