//! Pairs beyond a margin: kin that are too far, strangers that are too near.
//!
//! For a distance `d`: kin with `d > m⁺`, strangers with `d < m⁻`; for a similarity, `s < m⁺` and `s > m⁻`.

use nearkin_sweep::Metric;

use super::{Miner, pairs_by_row, sign};
use crate::loss::{LossError, Sides, check};
use crate::tuples::Tuples;

/// The pair-margin miner: every pair that violates its margin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairMarginMiner {
    metric: Metric,
    kin_margin: f32,
    stranger_margin: f32,
}

impl PairMarginMiner {
    /// With margins in units of the metric: pytorch-metric-learning's are 0.2 and 0.8 for the Euclidean distance of unit
    /// vectors.
    ///
    /// # Errors
    /// When a margin is not finite.
    pub fn new(metric: Metric, kin_margin: f32, stranger_margin: f32) -> Result<Self, LossError> {
        Ok(Self {
            metric,
            kin_margin: check("kin margin", kin_margin, |_| true, "finite")?,
            stranger_margin: check("stranger margin", stranger_margin, |_| true, "finite")?,
        })
    }
}

impl Miner for PairMarginMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let sign = sign(self.metric);
        let (kin_margin, stranger_margin) = (sign * self.kin_margin, sign * self.stranger_margin);
        pairs_by_row(sides, self.metric, |row, found| {
            let pair = |(j, _)| (row.query as u32, j as u32);
            found.kin.extend(row.kin().filter(|(_, s)| sign * s > kin_margin).map(pair));
            found.strangers.extend(row.strangers().filter(|(_, s)| sign * s < stranger_margin).map(pair));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn the_violations_of_a_hand_worked_batch() {
        // Kin: 0 and 3, 1 and 7, at 3 and 6. Strangers: 0 and 1, 3 and 1, at 1 and 2; 0 and 7, 3 and 7, at 7 and 4.
        let kin = SameLabel::within(&[0, 0, 1, 1]);
        let points = [0.0, 3.0, 1.0, 7.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = PairMarginMiner::new(Metric::Euclidean, 3.0, 4.0).unwrap().mine(&sides).unwrap();
        let strangers = vec![(0, 2), (1, 2), (2, 0), (2, 1)];
        assert_eq!(found, Tuples::Pairs { kin: vec![(2, 3), (3, 2)], strangers });
    }

    #[test]
    fn a_margin_that_is_not_finite_is_refused() {
        assert!(PairMarginMiner::new(Metric::Cosine, f32::NAN, 0.0).is_err());
    }
}
