//! Batch all: labelled batches of P classes × K samples, every triplet among them.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017. Their `BA≠0` takes the
//! mean over the triplets that still pull, so that the many that are satisfied do not drown them.

use nearkin_loss::losses::{Margin, TripletMargin};
use nearkin_loss::{Reduced, Reducer};
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of batch all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BatchAllMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// `"soft"`, or `{ hinge = 0.2 }` in units of the metric.
    pub margin: Margin,
    /// Whether the mean is over the triplets that still pull (`BA≠0`) rather than over all.
    pub non_zero: bool,
    /// The distance of the triplets, and of the trained embedding. The paper's is Euclidean, not squared.
    pub metric: Metric,
}

impl Default for BatchAllMethod {
    /// P = 18 and K = 4 as published; a hinge, since a soft margin's triplets never cease to pull.
    fn default() -> Self {
        Self {
            classes: 18,
            per_class: 4,
            margin: Margin::Hinge(0.2),
            non_zero: true,
            metric: Metric::Euclidean,
        }
    }
}

impl Configured for BatchAllMethod {
    const CARD: MethodCard = MethodCard {
        name: "batch-all",
        summary: "labelled batches of P classes x K samples; every triplet among them, or every one that still pulls",
        paper: "Hermans, Beyer, Leibe 2017, In Defense of the Triplet Loss for Person Re-Identification",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = TripletMargin::new(self.metric, self.margin)?;
        let reducer = if self.non_zero { Reducer::MeanActive } else { Reducer::Mean };
        let loss = Reduced { loss, reducer };
        let margin = match self.margin {
            Margin::Hinge(margin) => margin,
            Margin::Soft => 0.0,
        };
        let method = Supervised::new(Self::CARD.name, batches, loss, self.metric)?;
        Ok(Box::new(method.with_triplets(self.metric, margin)))
    }
}
