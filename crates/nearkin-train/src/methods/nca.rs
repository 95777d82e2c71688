//! NCA with any encoder: each sample picks a neighbour at random, nearer ones more likely, and should pick its own class.
//!
//! J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov, "Neighbourhood Components Analysis", 2004, for a linear map;
//! R. Salakhutdinov, G. Hinton, "Learning a Nonlinear Embedding by Preserving Class Neighbourhood Structure", 2007, for a network.
//! A batch stands in for the set. The linear map itself is `nearkin fit nca`.

use nearkin_loss::OnSphere;
use nearkin_loss::losses::Nca;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of deep NCA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct NcaMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// κ: by what squared distances are multiplied.
    pub scale: f32,
    /// Whether embeddings are scaled to unit length first.
    pub sphere: bool,
}

impl Default for NcaMethod {
    /// On the sphere, where squared distances reach 4, with a scale that makes them tell.
    fn default() -> Self {
        Self { classes: 16, per_class: 8, scale: 8.0, sphere: true }
    }
}

impl Configured for NcaMethod {
    const CARD: MethodCard = MethodCard {
        name: "nca",
        summary: "labelled batches of P classes x K samples; the probability that a sample picks a neighbour of its class",
        paper: "Goldberger, Roweis, Hinton, Salakhutdinov 2004, Neighbourhood Components Analysis",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = Nca::new(self.scale)?;
        Ok(Box::new(match self.sphere {
            true => Supervised::new(Self::CARD.name, batches, OnSphere(loss), Metric::Cosine)?,
            false => Supervised::new(Self::CARD.name, batches, loss, Metric::Euclidean)?,
        }))
    }
}
