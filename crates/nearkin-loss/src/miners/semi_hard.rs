//! Semi-hard strangers: for every pair of kin, one stranger that is farther than the kin, but not by much.
//!
//! F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, sec.
//! 3.2. For a distance `d` (a similarity counts as `−s`) and a margin `m`, a stranger `n` of the pair `(a, p)` is semi-hard if
//!
//! ```text
//! 0 < d(a, n) − d(a, p) ≤ m
//! ```

use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::{Miner, nearest_first, sign, triplets_by_row};
use crate::loss::{LossError, Sides};
use crate::random::Stream;
use crate::tuples::Tuples;

/// What a pair of kin without a semi-hard stranger gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// No triplet.
    #[default]
    Nothing,
    /// A triplet with the anchor's farthest stranger: where none is beyond the kin, that is the nearest to being so.
    Farthest,
    /// A triplet with the anchor's nearest stranger.
    Hardest,
}

/// A triplet for every pair of kin, with its nearest semi-hard stranger or one drawn from all of these.
///
/// An anchor with `P` kin and `N` strangers costs `O((N + P) log N)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SemiHardMiner {
    metric: Metric,
    /// Infinite when every stranger beyond the kin will do.
    margin: f32,
    seed: Option<u64>,
    otherwise: Otherwise,
}

impl SemiHardMiner {
    /// The nearest semi-hard stranger; nothing if there is none. FaceNet's margin is 0.2, with the squared distance of unit
    /// vectors; it may be infinite.
    ///
    /// # Errors
    /// When the margin is not above zero.
    pub fn new(metric: Metric, margin: f32) -> Result<Self, LossError> {
        if margin.is_nan() || margin <= 0.0 {
            return Err(LossError::OutOfRange { name: "margin", found: margin.into(), wanted: "above zero" });
        }
        Ok(Self { metric, margin, seed: None, otherwise: Otherwise::Nothing })
    }

    /// TensorFlow Addons' choice (`TripletSemiHardLoss`): the nearest stranger beyond the kin, however far, else the
    /// farthest of all.
    pub fn tensorflow(metric: Metric) -> Self {
        Self { metric, margin: f32::INFINITY, seed: None, otherwise: Otherwise::Farthest }
    }

    /// With any of the semi-hard strangers, all equally likely, in place of the nearest. Draws hang on the seed and the pair
    /// alone: give each step its own seed.
    #[must_use]
    pub fn random(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    /// With something else where no stranger is semi-hard.
    #[must_use]
    pub fn or(self, otherwise: Otherwise) -> Self {
        Self { otherwise, ..self }
    }

    /// The place of the stranger, nearest first, for a kin at this distance.
    fn stranger(&self, anchor: usize, kin: usize, distance: f32, strangers: &[(f32, u32)]) -> Option<usize> {
        let up_to = |gap: f32| strangers.partition_point(|(d, _)| d - distance <= gap);
        let semi_hard = up_to(0.0)..up_to(self.margin);
        match (semi_hard.is_empty(), self.seed, self.otherwise) {
            (false, None, _) => Some(semi_hard.start),
            (false, Some(seed), _) => {
                let drawn = Stream::new(seed).split(anchor as u64).below(kin as u64, semi_hard.len());
                Some(semi_hard.start + drawn)
            }
            (true, _, Otherwise::Nothing) => None,
            (true, _, Otherwise::Farthest) => {
                strangers.last().map(|(farthest, _)| strangers.partition_point(|(d, _)| d < farthest))
            }
            (true, _, Otherwise::Hardest) => (!strangers.is_empty()).then_some(0),
        }
    }
}

impl Miner for SemiHardMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let sign = sign(self.metric);
        triplets_by_row(sides, self.metric, |row, found| {
            if row.kin().next().is_none() {
                return;
            }
            let strangers = nearest_first(row.strangers(), sign);
            found.extend(row.kin().filter_map(|(p, s)| {
                let place = self.stranger(row.query, p, sign * s, &strangers)?;
                Some([row.query as u32, p as u32, strangers[place].1])
            }));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn mine(miner: SemiHardMiner) -> Vec<[u32; 3]> {
        // 0 and 3 are kin, 1, 4, 5 and 7 are strangers of theirs and of each other. Anchor 0: its kin at 3, strangers at 1, 4,
        // 5 and 7. Anchor 3: its kin at 3, strangers at 2, 1, 2 and 4.
        let kin = SameLabel::within(&[0, 0, 1, 2, 3, 4]);
        let points = [0.0, 3.0, 1.0, 4.0, 5.0, 7.0];
        miner.mine(&Sides::within(Vectors::new(&points, 1).unwrap(), &kin)).unwrap().triplets()
    }

    #[test]
    fn the_choices_of_a_hand_worked_batch() {
        let within = |margin| SemiHardMiner::new(Metric::Euclidean, margin).unwrap();
        assert_eq!(mine(within(2.0)), [[0, 1, 3], [1, 0, 5]]);
        assert!(mine(within(0.5)).is_empty());
        assert_eq!(mine(within(0.5).or(Otherwise::Farthest)), [[0, 1, 5], [1, 0, 5]]);
        // Anchor 3's nearest stranger is 4.
        assert_eq!(mine(within(0.5).or(Otherwise::Hardest)), [[0, 1, 2], [1, 0, 3]]);
        assert_eq!(mine(SemiHardMiner::tensorflow(Metric::Euclidean)), [[0, 1, 3], [1, 0, 5]]);
    }

    #[test]
    fn every_semi_hard_stranger_is_drawn_as_often_as_every_other() {
        // Of anchor 0: 4, 5 and 7; of anchor 3: only 7.
        let mut counts = [0; 6];
        for seed in 0..3000 {
            let found = mine(SemiHardMiner::new(Metric::Euclidean, 4.0).unwrap().random(seed));
            counts[found[0][2] as usize] += 1;
            assert_eq!(found[1], [1, 0, 5]);
        }
        assert_eq!(counts[..3], [0; 3]);
        // 1,000 ± 26 each.
        assert!(counts[3..].iter().all(|c| (890..1110).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_margin_of_zero_is_refused() {
        assert!(SemiHardMiner::new(Metric::Cosine, 0.0).is_err());
        assert!(SemiHardMiner::new(Metric::Cosine, f32::NAN).is_err());
    }
}
