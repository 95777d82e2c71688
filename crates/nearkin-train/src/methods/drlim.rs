//! DrLIM: kin attract like springs, strangers repel within a margin, in a space of few dimensions that is a map.
//!
//! R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006. Kin are whatever prior
//! knowledge says, through `kin` in a recipe: near pixels, shifts of one image, adjacent poses; or labels. Samples are not
//! augmented: what the map shall not see is said by the graph.

use nearkin_loss::losses::DrLim;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of DrLIM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DrLimMethod {
    /// Groups a batch: a sample and some of its kin; or P classes.
    pub classes: usize,
    /// Samples a group, the first included.
    pub per_class: usize,
    /// m: beyond this distance strangers repel no more.
    pub margin: f32,
    /// k: of kin's springs, where strangers' is 1.
    pub stiffness: f32,
}

impl Default for DrLimMethod {
    /// The margin only sets the scale of the map. The paper's springs are equally stiff; a stiffness of 64 makes up for that of a
    /// batch's pairs one in 127 is kin.
    fn default() -> Self {
        Self { classes: 64, per_class: 2, margin: 1.0, stiffness: 64.0 }
    }
}

impl Configured for DrLimMethod {
    const CARD: MethodCard = MethodCard {
        name: "drlim",
        summary: "a graph of kin, or labels; kin attract like springs, strangers repel within a margin, into a map",
        paper: "Hadsell, Chopra, LeCun 2006, Dimensionality Reduction by Learning an Invariant Mapping",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = DrLim::new(self.margin)?.with_stiffness(self.stiffness)?;
        let method = Supervised::new(Self::CARD.name, batches, loss, Metric::Euclidean)?;
        Ok(Box::new(method.without_augmentation().with_force(move |distance, kin| loss.force(distance, kin))))
    }
}
