//! Batch hard: labelled batches of P classes × K samples, each anchor against its hardest positive and negative.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017.

use nearkin_loss::losses::{Margin, TripletMargin};
use nearkin_loss::miners::{BatchHardMiner, Mined};
use nearkin_loss::{Reduced, Reducer};
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of batch hard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BatchHardMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// `"soft"`, or `{ hinge = 0.2 }` in units of the metric.
    pub margin: Margin,
    /// The distance of the triplets, and of the trained embedding. The paper's is Euclidean, not squared.
    pub metric: Metric,
}

impl Default for BatchHardMethod {
    /// P = 18 and K = 4 with the soft margin, as published for Market-1501.
    fn default() -> Self {
        Self { classes: 18, per_class: 4, margin: Margin::Soft, metric: Metric::Euclidean }
    }
}

impl Configured for BatchHardMethod {
    const CARD: MethodCard = MethodCard {
        name: "batch-hard",
        summary: "labelled batches of P classes x K samples; each anchor against its farthest positive and nearest negative",
        paper: "Hermans, Beyer, Leibe 2017, In Defense of the Triplet Loss for Person Re-Identification",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = TripletMargin::new(self.metric, self.margin)?;
        let loss = Mined { miner: BatchHardMiner { metric: self.metric }, loss };
        // The paper's mean is over all anchors, also those whose triplet is satisfied.
        let loss = Reduced { loss, reducer: Reducer::Mean };
        let margin = match self.margin {
            Margin::Hinge(margin) => margin,
            Margin::Soft => 0.0,
        };
        let method = Supervised::new(Self::CARD.name, batches, loss, self.metric)?;
        Ok(Box::new(method.with_triplets(self.metric, margin)))
    }
}
