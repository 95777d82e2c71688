//! SupCon: labelled batches of P classes × K samples, each anchor against the whole batch, behind a projection head.
//!
//! P. Khosla et al., "Supervised Contrastive Learning", 2020.

use burn::tensor::Tensor;
use nearkin_data::{Sampler, ViewConfig};
use nearkin_loss::losses::SupCon;
use nearkin_loss::{Evaluated, LossError, evaluate};
use nearkin_net::{MlpConfig, Network};
use nearkin_sweep::{Metric, SameLabel};
use serde::{Deserialize, Serialize};

use super::{
    BatchKin, Labels, Method, MethodCard, Selection, check_class_batches, class_batches, same_class_views,
};
use crate::error::TrainError;

pub(super) const CARD: MethodCard = MethodCard {
    name: "supcon",
    summary: "labelled batches of P classes x K samples; each anchor's positives against the whole batch, behind a projection head",
    paper: "Khosla et al. 2020, Supervised Contrastive Learning",
    needs_labels: true,
};

/// The hyper-parameters of SupCon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SupConMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// τ; the paper's is 0.1.
    pub temperature: f32,
    /// Hidden units of the projection head; 0 makes it a single linear layer.
    pub hidden: usize,
    /// Dimensions of the projection, which only the loss sees; 0 puts the loss on the embedding itself. A projection
    /// carries over better to classes that were never seen, none is better for those that were.
    pub projection: usize,
}

impl Default for SupConMethod {
    fn default() -> Self {
        Self { classes: 16, per_class: 4, temperature: 0.1, hidden: 0, projection: 128 }
    }
}

impl SupConMethod {
    pub(super) fn projector(&self) -> Option<MlpConfig> {
        let layers = if self.hidden == 0 { 1 } else { 2 };
        let head = MlpConfig { hidden: self.hidden.max(1), out: self.projection, layers, batch_norm: false };
        (self.projection > 0).then_some(head)
    }

    pub(super) fn build(&self) -> Result<impl Method + use<>, TrainError> {
        check_class_batches(self.classes, self.per_class)?;
        Ok(Ready { config: self.clone(), loss: SupCon::new(self.temperature)? })
    }
}

struct Ready {
    config: SupConMethod,
    loss: SupCon,
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
        network.project(pixels)
    }

    fn loss(&self, encoded: Tensor<2>, batch: BatchKin<'_>) -> Result<Evaluated, LossError> {
        evaluate(&self.loss, encoded, None, &SameLabel::within(batch.labels))
    }

    fn metric(&self) -> Metric {
        Metric::Cosine
    }

    fn selection(&self) -> Selection {
        Selection::HeldOut
    }
}
