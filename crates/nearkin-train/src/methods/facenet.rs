//! FaceNet: embeddings on the unit sphere, triplets whose negative is farther than the positive, but within the margin.
//!
//! F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015. All pairs
//! of an anchor and a positive are used, the negatives are chosen within the batch.

use nearkin_loss::losses::{Margin, TripletMargin};
use nearkin_loss::miners::{AllTripletsMiner, BatchEasyHardMiner, Cap, Difficulty, Mined, Strategy};
use nearkin_loss::{Loss, OnSphere};
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
    /// Which triplets of the batch.
    pub triplets: Mining,
}

/// Which triplets of a batch pull. All but the last two take every triplet of their kind, whatever their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mining {
    /// The stranger is farther than the kin, but within the margin.
    SemiHard,
    /// The stranger is no farther than the kin.
    Hard,
    /// The stranger is beyond the margin: nothing pulls.
    Easy,
    /// Within the margin: hard or semi-hard.
    All,
    /// Of each pair of kin, the one with the anchor's nearest stranger: by the paper, a way to collapse early in training.
    Hardest,
    /// As many triplets an anchor as it has kin, drawn from all.
    Random,
}

impl Default for FaceNetMethod {
    /// The margin and the 40 faces an identity of the paper, at a batch that a laptop holds.
    fn default() -> Self {
        Self { classes: 12, per_class: 40, margin: 0.2, triplets: Mining::SemiHard }
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
        let loss = OnSphere(self.loss()?);
        // On the sphere a squared distance is 2 − 2 cos.
        let method = Supervised::new(Self::CARD.name, batches, loss, Metric::Cosine)?;
        Ok(Box::new(method.with_triplets(Metric::Cosine, 0.5 * self.margin)))
    }
}

impl FaceNetMethod {
    fn loss(&self) -> Result<Box<dyn Loss>, TrainError> {
        let metric = Metric::SquaredEuclidean;
        let loss = TripletMargin::new(metric, Margin::Hinge(self.margin))?;
        let of = |difficulty| -> Result<Box<dyn Loss>, TrainError> {
            Ok(Box::new(loss.only(difficulty, self.margin)?))
        };
        match self.triplets {
            Mining::SemiHard => of(Difficulty::SemiHard),
            Mining::Hard => of(Difficulty::Hard),
            Mining::Easy => of(Difficulty::Easy),
            Mining::All => of(Difficulty::All),
            Mining::Hardest => {
                let miner = BatchEasyHardMiner::new(metric, Strategy::All, Strategy::Hard)?;
                Ok(Box::new(Mined { miner, loss }))
            }
            Mining::Random => {
                // Draws hang on places in the batch, which samples take by chance.
                let cap = Cap { per_anchor: self.per_class.saturating_sub(1).max(1), seed: 0 };
                Ok(Box::new(Mined { miner: AllTripletsMiner { cap: Some(cap) }, loss }))
            }
        }
    }
}
