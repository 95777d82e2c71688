//! Triplets by how far their stranger is beyond their kin.
//!
//! F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for Face Recognition and Clustering", 2015, sec.
//! 3.2. For a distance `d` (a similarity counts as `−s`) and a margin `m`:
//!
//! ```text
//! gap = d(a, n) − d(a, p)      hard: gap ≤ 0      semi-hard: 0 < gap ≤ m      easy: gap > m
//! ```

use std::ops::Range;

use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::{Cap, Miner, nearest_first, sign, triplets_by_row};
use crate::loss::{LossError, Sides, check};
use crate::tuples::Tuples;

/// How difficult a triplet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difficulty {
    /// Within the margin: hard or semi-hard. pytorch-metric-learning calls these `all`.
    All,
    /// The stranger is no farther than the kin.
    Hard,
    /// The stranger is farther than the kin, but within the margin.
    SemiHard,
    /// The stranger is beyond the margin.
    Easy,
}

impl Difficulty {
    /// The gaps of such triplets: above the first, up to the second.
    pub(crate) fn gaps(self, margin: f32) -> (f32, f32) {
        match self {
            Self::All => (f32::NEG_INFINITY, margin),
            Self::Hard => (f32::NEG_INFINITY, 0.0),
            Self::SemiHard => (0.0, margin),
            Self::Easy => (margin, f32::INFINITY),
        }
    }
}

/// Every triplet of one difficulty, or with a cap some an anchor, without listing the others.
///
/// An anchor with `P` kin and `N` strangers costs `O((N + P) log N)`, and what it gives.
///
/// ```
/// use nearkin_loss::miners::{Cap, Difficulty, TripletMarginMiner};
/// use nearkin_loss::{Miner, Sides};
/// use nearkin_sweep::{Metric, SameLabel, Vectors};
///
/// let hard = TripletMarginMiner::new(Metric::Euclidean, 0.2, Difficulty::Hard)?;
/// let kin = SameLabel::within(&[0, 0, 1, 1]);
/// let points = [0.0, 3.0, 1.0, 7.0];
/// let sides = Sides::within(Vectors::new(&points, 1)?, &kin);
/// assert_eq!(hard.mine(&sides)?.triplets(), [[0, 1, 2], [1, 0, 2], [2, 3, 0], [2, 3, 1], [3, 2, 1]]);
/// let few = hard.with_cap(Cap { per_anchor: 1, seed: 7 });
/// assert_eq!(few.mine(&sides)?.len(), 4);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TripletMarginMiner {
    metric: Metric,
    margin: f32,
    difficulty: Difficulty,
    cap: Option<Cap>,
}

impl TripletMarginMiner {
    /// pytorch-metric-learning's margin is 0.2.
    ///
    /// # Errors
    /// When the margin is negative or not finite.
    pub fn new(metric: Metric, margin: f32, difficulty: Difficulty) -> Result<Self, LossError> {
        let margin = check("margin", margin, |m| m >= 0.0, "zero or more, and finite")?;
        Ok(Self { metric, margin, difficulty, cap: None })
    }

    /// With at most so many triplets an anchor.
    #[must_use]
    pub fn with_cap(self, cap: Cap) -> Self {
        Self { cap: Some(cap), ..self }
    }

    /// Which strangers, nearest first, make triplets with a kin at this distance.
    fn range(&self, distance: f32, strangers: &[(f32, u32)]) -> Range<usize> {
        let up_to = |gap: f32| strangers.partition_point(|(d, _)| d - distance <= gap);
        let (above, most) = self.difficulty.gaps(self.margin);
        up_to(above)..up_to(most)
    }
}

impl Miner for TripletMarginMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let sign = sign(self.metric);
        triplets_by_row(sides, self.metric, |row, found| {
            if row.kin().next().is_none() {
                return;
            }
            let strangers = nearest_first(row.strangers(), sign);
            let ranges: Vec<(u32, Range<usize>)> =
                row.kin().map(|(p, s)| (p as u32, self.range(sign * s, &strangers))).collect();
            let count = ranges.iter().map(|(_, range)| range.len() as u64).sum();
            // Triplets are numbered kin by kin.
            let (mut kin, mut before) = (0, 0);
            for number in Cap::of(self.cap, count, row.query) {
                while number - before >= ranges[kin].1.len() as u64 {
                    before += ranges[kin].1.len() as u64;
                    kin += 1;
                }
                let (p, range) = &ranges[kin];
                found.push([row.query as u32, *p, strangers[range.start + (number - before) as usize].1]);
            }
            found.sort_unstable();
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn each_difficulty_of_a_hand_worked_batch() {
        // 0 and 3 are kin, 1, 4 and 7 are kin. Anchor 0 has its kin at 3, strangers at 1, 4 and 7: gaps −2, 1, 4. Anchor 3 has
        // its kin at 3, strangers at 2, 1 and 4: gaps −1, −2, 1.
        let kin = SameLabel::within(&[0, 0, 1, 1, 1]);
        let points = [0.0, 3.0, 1.0, 4.0, 7.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let mine = |difficulty| {
            let miner = TripletMarginMiner::new(Metric::Euclidean, 1.0, difficulty).unwrap();
            let mut found = miner.mine(&sides).unwrap().triplets();
            found.retain(|t| t[0] < 2);
            found
        };
        assert_eq!(mine(Difficulty::All), [[0, 1, 2], [0, 1, 3], [1, 0, 2], [1, 0, 3], [1, 0, 4]]);
        assert_eq!(mine(Difficulty::Hard), [[0, 1, 2], [1, 0, 2], [1, 0, 3]]);
        assert_eq!(mine(Difficulty::SemiHard), [[0, 1, 3], [1, 0, 4]]);
        assert_eq!(mine(Difficulty::Easy), [[0, 1, 4]]);
    }

    #[test]
    fn a_negative_margin_is_refused() {
        assert!(TripletMarginMiner::new(Metric::Cosine, -0.1, Difficulty::All).is_err());
    }
}
