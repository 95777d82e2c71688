//! FaceNet: embeddings on the unit sphere, triplets whose negative is farther than the positive, but within the margin.
//!
//! F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015. All pairs
//! of an anchor and a positive are used, the negatives are chosen within the batch.

use nearkin_loss::OnSphere;
use nearkin_loss::losses::{Margin, TripletMargin};
use nearkin_loss::miners::Difficulty;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of FaceNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct FaceNetMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// α, in units of the squared distance of unit vectors.
    pub margin: f32,
    /// Which triplets: `semi-hard`, `hard`, `easy`, or `all` that are within the margin.
    pub triplets: Difficulty,
}

impl Default for FaceNetMethod {
    /// The margin and the 40 faces an identity of the paper, at a batch that a laptop holds.
    fn default() -> Self {
        Self { classes: 12, per_class: 40, margin: 0.2, triplets: Difficulty::SemiHard }
    }
}

impl Configured for FaceNetMethod {
    const CARD: MethodCard = MethodCard {
        name: "facenet",
        summary: "labelled batches of few classes x many samples; unit vectors, every semi-hard triplet of the batch",
        paper: "Schroff, Kalenichenko, Philbin 2015, FaceNet: A Unified Embedding for Face Recognition and Clustering",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = TripletMargin::new(Metric::SquaredEuclidean, Margin::Hinge(self.margin))?;
        let loss = OnSphere(loss.only(self.triplets, self.margin)?);
        // On the sphere a squared distance is 2 − 2 cos.
        let method = Supervised::new(Self::CARD.name, batches, loss, Metric::Cosine)?;
        Ok(Box::new(method.with_triplets(Metric::Cosine, 0.5 * self.margin)))
    }
}
