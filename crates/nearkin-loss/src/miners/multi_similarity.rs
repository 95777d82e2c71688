//! The pairs of an anchor that overlap: kin farther than its nearest stranger, strangers nearer than its farthest kin.
//!
//! X. Wang, X. Han, W. Huang, D. Dong, M. Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric
//! Learning", 2019, pair mining. For an anchor with similarities `s` (a distance counts as `−d`):
//!
//! ```text
//! kin p:        s_p − ε < max_n s_n
//! strangers n:  s_n + ε > min_p s_p
//! ```

use nearkin_sweep::Metric;

use super::{Miner, pairs_by_row, sign};
use crate::loss::{LossError, Sides, check};
use crate::tuples::Tuples;

/// The multi-similarity miner. An anchor that lacks kin or strangers gives none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MultiSimilarityMiner {
    metric: Metric,
    epsilon: f32,
}

impl Default for MultiSimilarityMiner {
    /// The paper's and pytorch-metric-learning's: ε = 0.1, by the cosine.
    fn default() -> Self {
        Self { metric: Metric::Cosine, epsilon: 0.1 }
    }
}

impl MultiSimilarityMiner {
    /// With the slack ε, in units of the metric.
    ///
    /// # Errors
    /// When ε is not finite.
    pub fn new(metric: Metric, epsilon: f32) -> Result<Self, LossError> {
        Ok(Self { metric, epsilon: check("epsilon", epsilon, |_| true, "finite")? })
    }
}

impl Miner for MultiSimilarityMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let (sign, epsilon) = (sign(self.metric), self.epsilon);
        pairs_by_row(sides, self.metric, |row, found| {
            let farthest = row.kin().map(|(_, s)| sign * s).reduce(f32::max);
            let nearest = row.strangers().map(|(_, s)| sign * s).reduce(f32::min);
            let (Some(farthest), Some(nearest)) = (farthest, nearest) else { return };
            let pair = |(j, _)| (row.query as u32, j as u32);
            found.kin.extend(row.kin().filter(|(_, s)| sign * s + epsilon > nearest).map(pair));
            found.strangers.extend(row.strangers().filter(|(_, s)| sign * s - epsilon < farthest).map(pair));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn the_overlap_of_a_hand_worked_batch() {
        // Anchor 0: kin at 1 and 4, strangers at 3 and 6. With ε = 1.5 kin beyond 1.5 and strangers before 5.5.
        let kin = SameLabel::within(&[0, 0, 0, 1, 2]);
        let points = [0.0, 1.0, 4.0, 3.0, 6.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = MultiSimilarityMiner::new(Metric::Euclidean, 1.5).unwrap().mine(&sides).unwrap();
        let (kin, strangers) = found.pairs();
        let of_first = |pairs: Vec<(u32, u32)>| pairs.into_iter().filter(|p| p.0 == 0).collect::<Vec<_>>();
        assert_eq!(of_first(kin), [(0, 2)]);
        assert_eq!(of_first(strangers), [(0, 3)]);
    }

    #[test]
    fn a_slack_that_is_not_finite_is_refused() {
        assert!(MultiSimilarityMiner::new(Metric::Cosine, f32::INFINITY).is_err());
    }
}
