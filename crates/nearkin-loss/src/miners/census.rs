//! How difficult a batch's triplets are, without listing them.
//!
//! F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet", 2015, sec. 3.2; gaps are as
//! [`TripletMarginMiner`](super::TripletMarginMiner) has them.

use nearkin_sweep::{Metric, map_rows};
use serde::{Deserialize, Serialize};

use super::{nearest_first, sign};
use crate::loss::{LossError, Sides, check};

/// How many triplets of each difficulty there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Census {
    /// The stranger is beyond the margin.
    pub easy: u64,
    /// It is farther than the kin, but within the margin.
    pub semi_hard: u64,
    /// It is no farther than the kin.
    pub hard: u64,
}

impl Census {
    /// Counts every triplet of an anchor, its kin and its stranger. Triplets with a score that is not a number are not counted.
    ///
    /// An anchor with `P` kin and `N` strangers costs `O((N + P) log N)`.
    ///
    /// ```
    /// use nearkin_loss::Sides;
    /// use nearkin_loss::miners::Census;
    /// use nearkin_sweep::{Metric, SameLabel, Vectors};
    ///
    /// let kin = SameLabel::within(&[0, 0, 1]);
    /// let points = [0.0, 1.0, -1.1];
    /// let sides = Sides::within(Vectors::new(&points, 1)?, &kin);
    /// // Anchor 0 has its kin at 1 and its stranger at 1.1; anchor 1 at 1 and 2.1.
    /// assert_eq!(Census::of(&sides, Metric::Euclidean, 0.2)?, Census { easy: 1, semi_hard: 1, hard: 0 });
    /// # Ok::<(), nearkin_loss::LossError>(())
    /// ```
    ///
    /// # Errors
    /// When the margin is negative or not finite, or the two sides differ in dimension.
    pub fn of(sides: &Sides<'_>, metric: Metric, margin: f32) -> Result<Self, LossError> {
        check("margin", margin, |m| m >= 0.0, "zero or more, and finite")?;
        let sign = sign(metric);
        let rows = map_rows(sides.queries, sides.references, metric, sides.kin, |row, _| {
            let strangers = nearest_first(row.strangers().filter(|(_, s)| !s.is_nan()), sign);
            let mut own = Self::default();
            for (_, score) in row.kin().filter(|(_, s)| !s.is_nan()) {
                let near = sign * score;
                let hard = strangers.partition_point(|(far, _)| far - near <= 0.0);
                let within = strangers.partition_point(|(far, _)| far - near <= margin);
                own.hard += hard as u64;
                own.semi_hard += (within - hard) as u64;
                own.easy += (strangers.len() - within) as u64;
            }
            own
        })?;
        Ok(rows.into_iter().fold(Self::default(), |sum, row| Self {
            easy: sum.easy + row.easy,
            semi_hard: sum.semi_hard + row.semi_hard,
            hard: sum.hard + row.hard,
        }))
    }

    /// All triplets.
    pub fn triplets(&self) -> u64 {
        self.easy + self.semi_hard + self.hard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miners::{Difficulty, Miner, TripletMarginMiner};
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn counts_are_those_of_the_miners_lists() {
        // Small integers: ties, and gaps that are the margin exactly.
        let points: Vec<f32> = (0..60).map(|i| ((i * 7919 + i / 7) % 11) as f32).collect();
        let labels: Vec<u32> = (0..30).map(|i| i * i % 7).collect();
        let kin = SameLabel::within(&labels);
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        for metric in Metric::ALL {
            for margin in [0.0, 2.0] {
                let count = |difficulty| {
                    let miner = TripletMarginMiner::new(metric, margin, difficulty).unwrap();
                    miner.mine(&sides).unwrap().triplets().len() as u64
                };
                let wanted = Census {
                    easy: count(Difficulty::Easy),
                    semi_hard: count(Difficulty::SemiHard),
                    hard: count(Difficulty::Hard),
                };
                assert_eq!(Census::of(&sides, metric, margin).unwrap(), wanted, "{metric}, margin {margin}");
                let all: usize = labels
                    .iter()
                    .map(|l| {
                        let kin = labels.iter().filter(|other| *other == l).count();
                        (kin - 1) * (labels.len() - kin)
                    })
                    .sum();
                assert_eq!(wanted.triplets(), all as u64);
            }
        }
    }
}
