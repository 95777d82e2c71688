//! Contrastive: kin attract beyond one margin, strangers repel within another, on the unit sphere.
//!
//! S. Chopra, R. Hadsell, Y. LeCun, "Learning a Similarity Metric Discriminatively, with Application to Face Verification",
//! 2005, with the linear hinges and the sphere of later work; DrLIM's squares are the method `drlim`.

use nearkin_loss::OnSphere;
use nearkin_loss::losses::Contrastive;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of the contrastive method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContrastiveMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// Kin nearer than this attract no more, in units of the distance of unit vectors.
    pub kin_margin: f32,
    /// Strangers farther than this repel no more.
    pub stranger_margin: f32,
}

impl Default for ContrastiveMethod {
    /// Margins of K. Musgrave, S. Belongie, S.-N. Lim, "A Metric Learning Reality Check", 2020, are near these.
    fn default() -> Self {
        Self { classes: 16, per_class: 4, kin_margin: 0.0, stranger_margin: 0.5 }
    }
}

impl Configured for ContrastiveMethod {
    const CARD: MethodCard = MethodCard {
        name: "contrastive",
        summary: "labelled batches of P classes x K samples; kin attract, strangers repel within a margin, on the sphere",
        paper: "Chopra, Hadsell, LeCun 2005, Learning a Similarity Metric Discriminatively",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = Contrastive::new(Metric::Euclidean, self.kin_margin, self.stranger_margin)?;
        Ok(Box::new(Supervised::new(Self::CARD.name, batches, OnSphere(loss), Metric::Cosine)?))
    }
}
