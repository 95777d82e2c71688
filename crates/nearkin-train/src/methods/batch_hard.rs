//! Batch hard: labelled batches of P classes × K samples, each anchor against its hardest positive and negative.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017.

use burn::tensor::Tensor;
use nearkin_data::{Sampler, ViewConfig};
use nearkin_loss::losses::{Margin, TripletMargin};
use nearkin_loss::miners::{BatchHardMiner, Mined};
use nearkin_loss::{Evaluated, LossError, Reduced, Reducer, evaluate};
use nearkin_net::Network;
use nearkin_sweep::{Metric, SameLabel};
use serde::{Deserialize, Serialize};

use super::{
    BatchKin, Labels, Method, MethodCard, Selection, check_class_batches, class_batches, same_class_views,
};
use crate::error::TrainError;

pub(super) const CARD: MethodCard = MethodCard {
    name: "batch-hard",
    summary: "labelled batches of P classes x K samples; each anchor against its farthest positive and nearest negative",
    paper: "Hermans, Beyer, Leibe 2017, In Defense of the Triplet Loss for Person Re-Identification",
    needs_labels: true,
};

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

impl BatchHardMethod {
    pub(super) fn build(&self) -> Result<impl Method + use<>, TrainError> {
        check_class_batches(self.classes, self.per_class)?;
        // The paper's mean is over all anchors, also those whose triplet is satisfied.
        let loss = TripletMargin::new(self.metric, self.margin)?;
        let loss = Mined { miner: BatchHardMiner { metric: self.metric }, loss };
        Ok(Ready { config: self.clone(), loss: Reduced { loss, reducer: Reducer::Mean } })
    }
}

struct Ready {
    config: BatchHardMethod,
    loss: Reduced<Mined<BatchHardMiner, TripletMargin>>,
}

impl Method for Ready {
    fn sampler(&self, _len: usize, labels: Labels<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        class_batches(CARD.name, labels, self.config.classes, self.config.per_class)
    }

    fn views(&self) -> usize {
        1
    }

    fn default_views(&self) -> ViewConfig {
        same_class_views()
    }

    fn encode(&self, network: &Network, pixels: Tensor<4>) -> Tensor<2> {
        network.embed(pixels)
    }

    fn loss(&self, encoded: Tensor<2>, batch: BatchKin<'_>) -> Result<Evaluated, LossError> {
        evaluate(&self.loss, encoded, None, &SameLabel::within(batch.labels))
    }

    fn metric(&self) -> Metric {
        self.config.metric
    }

    fn selection(&self) -> Selection {
        Selection::HeldOut
    }
}
