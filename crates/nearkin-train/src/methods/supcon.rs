//! SupCon: labelled batches of P classes × K samples, each anchor against the whole batch, behind a projection head.
//!
//! P. Khosla et al., "Supervised Contrastive Learning", 2020.

use nearkin_loss::losses::SupCon;
use nearkin_net::MlpConfig;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::parts::head_of;
use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

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

impl Configured for SupConMethod {
    const CARD: MethodCard = MethodCard {
        name: "supcon",
        summary: "labelled batches of P classes x K samples; each anchor's positives against the whole batch, behind a projection head",
        paper: "Khosla et al. 2020, Supervised Contrastive Learning",
        needs_labels: true,
    };

    fn projector(&self) -> Option<MlpConfig> {
        head_of(self.hidden, self.projection)
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = SupCon::new(self.temperature)?;
        Ok(Box::new(Supervised::new(Self::CARD.name, batches, loss, Metric::Cosine)?))
    }
}
