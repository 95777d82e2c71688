//! Neither all nor the hardest alone: kin and strangers by their rank of hardness, as OpenMetricLearning's
//! `NHardTripletsMiner`. Leaving out the very hardest passes over wrong labels.

use nearkin_sweep::Metric;

use super::{Miner, nearest_first, sign, triplets_by_row};
use crate::loss::{LossError, Sides};
use crate::tuples::Tuples;

/// Each anchor's n-th to m-th farthest kin, each with its n-th to m-th nearest strangers. Ranks beyond what an anchor has
/// give nothing; with ranks 1 to 1 this is batch hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardnessRangeMiner {
    metric: Metric,
    kin: [usize; 2],
    strangers: [usize; 2],
}

impl HardnessRangeMiner {
    /// With the first and last rank of kin and of strangers, counted from 1, the hardest.
    ///
    /// # Errors
    /// When a first rank is 0 or beyond its last.
    pub fn new(metric: Metric, kin: [usize; 2], strangers: [usize; 2]) -> Result<Self, LossError> {
        for (name, [first, last]) in [("first rank of kin", kin), ("first rank of strangers", strangers)] {
            if first == 0 || first > last {
                let wanted = "1 or more, and at most the last rank";
                return Err(LossError::OutOfRange { name, found: first as f64, wanted });
            }
        }
        Ok(Self { metric, kin, strangers })
    }
}

/// Those of rank `first` to `last`, as many as there are.
fn ranked(sorted: &[(f32, u32)], [first, last]: [usize; 2]) -> &[(f32, u32)] {
    sorted.get(first - 1..last.min(sorted.len())).unwrap_or(&[])
}

impl Miner for HardnessRangeMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let sign = sign(self.metric);
        triplets_by_row(sides, self.metric, |row, found| {
            let kin = nearest_first(row.kin(), -sign);
            let kin = ranked(&kin, self.kin);
            if kin.is_empty() {
                return;
            }
            let strangers = nearest_first(row.strangers(), sign);
            let strangers = ranked(&strangers, self.strangers);
            let of_kin = |&(_, p): &(f32, u32)| strangers.iter().map(move |&(_, n)| [row.query as u32, p, n]);
            found.extend(kin.iter().flat_map(of_kin));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn the_ranks_of_a_hand_worked_anchor() {
        // Anchor 0: kin at 2, 4 and 6, strangers at 1, 3 and 5.
        let kin = SameLabel::within(&[0, 0, 0, 0, 1, 2, 3]);
        let points = [0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let mine = |kin, strangers| {
            let miner = HardnessRangeMiner::new(Metric::Euclidean, kin, strangers).unwrap();
            let mut found = miner.mine(&sides).unwrap().triplets();
            found.retain(|t| t[0] == 0);
            found
        };
        assert_eq!(mine([1, 1], [1, 1]), [[0, 3, 4]]);
        assert_eq!(mine([1, 2], [2, 3]), [[0, 3, 5], [0, 3, 6], [0, 2, 5], [0, 2, 6]]);
        assert_eq!(mine([3, 9], [3, 9]), [[0, 1, 6]]);
        assert!(mine([4, 4], [1, 1]).is_empty());
        assert!(mine([9, 9], [1, 1]).is_empty());
    }

    #[test]
    fn ranks_out_of_order_are_refused() {
        assert!(HardnessRangeMiner::new(Metric::Cosine, [0, 1], [1, 1]).is_err());
        assert!(HardnessRangeMiner::new(Metric::Cosine, [1, 1], [3, 2]).is_err());
    }
}
