//! For each anchor one kin and one stranger, each easy, semi-hard or hard, or all of them.
//!
//! H. Xuan, A. Stylianou, R. Pless, "Improved Embeddings with Easy Positive Triplet Mining", 2020; the choices beyond easy
//! kin with hard or semi-hard strangers, and the ranges, are pytorch-metric-learning's.

use nearkin_sweep::{Metric, Row};
use serde::{Deserialize, Serialize};

use super::{Miner, Pairs, pairs_by_row, sign};
use crate::loss::{LossError, Sides};
use crate::tuples::Tuples;

/// Which kin, or which stranger, of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The farthest kin, the nearest stranger.
    Hard,
    /// The farthest kin that is nearer than the chosen stranger, or the nearest stranger that is farther than the chosen kin.
    SemiHard,
    /// The nearest kin, the farthest stranger.
    Easy,
    /// All of them.
    All,
}

/// The batch-easy-hard miner: a pair of each kind for each anchor that has both.
///
/// Of a kind that is taken all, anchors that lack the other kind give their pairs too.
///
/// ```
/// use nearkin_loss::losses::NtXent;
/// use nearkin_loss::miners::{BatchEasyHardMiner, Strategy};
/// use nearkin_loss::{Loss, Mined, Sides};
/// use nearkin_sweep::{Metric, SameLabel, Vectors};
///
/// // Only the nearest kin, against all strangers.
/// let miner = BatchEasyHardMiner::new(Metric::Cosine, Strategy::Easy, Strategy::All)?;
/// let loss = Mined { miner, loss: NtXent::new(0.1)? };
/// let kin = SameLabel::within(&[0, 0, 0, 1, 1]);
/// let points = [1.0, 0.0, 0.9, 0.1, 0.5, 0.5, 0.0, 1.0, -0.5, 0.5];
/// let found = loss.pull(&Sides::within(Vectors::new(&points, 2)?, &kin))?;
/// assert_eq!(found.terms, 5);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchEasyHardMiner {
    metric: Metric,
    kin: Strategy,
    strangers: Strategy,
    /// Scores that are allowed, bounds included.
    kin_range: [f32; 2],
    stranger_range: [f32; 2],
}

const ANY: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

impl Default for BatchEasyHardMiner {
    /// pytorch-metric-learning's: easy kin with semi-hard strangers; by the paper's cosine.
    fn default() -> Self {
        Self {
            metric: Metric::Cosine,
            kin: Strategy::Easy,
            strangers: Strategy::SemiHard,
            kin_range: ANY,
            stranger_range: ANY,
        }
    }
}

impl BatchEasyHardMiner {
    /// With a choice of kin and one of strangers.
    ///
    /// # Errors
    /// When one is semi-hard and the other is not a single one to compare with: semi-hard too, or all.
    pub fn new(metric: Metric, kin: Strategy, strangers: Strategy) -> Result<Self, LossError> {
        let single = |strategy| matches!(strategy, Strategy::Hard | Strategy::Easy);
        if (kin == Strategy::SemiHard && !single(strangers))
            || (strangers == Strategy::SemiHard && !single(kin))
        {
            let why =
                format!("semi-hard means against one hard or easy pair, not {kin:?} with {strangers:?}");
            return Err(LossError::undefined("the batch-easy-hard miner", why));
        }
        Ok(Self { metric, kin, strangers, kin_range: ANY, stranger_range: ANY })
    }

    /// Only among kin whose score lies in `low..=high`, and strangers whose score does; in units of the metric.
    ///
    /// # Errors
    /// When a bound is not a number, or a low one is above its high one.
    pub fn with_ranges(self, kin: [f32; 2], strangers: [f32; 2]) -> Result<Self, LossError> {
        for (name, [low, high]) in [("kin range", kin), ("stranger range", strangers)] {
            if low.is_nan() || high.is_nan() || low > high {
                return Err(LossError::OutOfRange {
                    name,
                    found: low.into(),
                    wanted: "at most its high end",
                });
            }
        }
        Ok(Self { kin_range: kin, stranger_range: strangers, ..self })
    }

    fn of_row(&self, row: &Row<'_>, found: &mut Pairs) {
        let sign = sign(self.metric);
        let allowed = |[low, high]: [f32; 2]| move |&(_, s): &(usize, f32)| low <= s && s <= high;
        let far = move |(j, s): (usize, f32)| (j as u32, sign * s);
        let kin = || row.kin().filter(allowed(self.kin_range)).map(far);
        let strangers = || row.strangers().filter(allowed(self.stranger_range)).map(far);
        // Semi-hard ones are found when the other is known.
        let mut p = match self.kin {
            Strategy::Hard => best(kin(), 1.0),
            Strategy::Easy => best(kin(), -1.0),
            Strategy::SemiHard | Strategy::All => None,
        };
        let mut n = match self.strangers {
            Strategy::Hard => best(strangers(), -1.0),
            Strategy::Easy => best(strangers(), 1.0),
            Strategy::SemiHard | Strategy::All => None,
        };
        if let (Strategy::SemiHard, Some((_, limit))) = (self.strangers, p) {
            n = best(strangers().filter(|(_, d)| *d > limit), -1.0);
        }
        if let (Strategy::SemiHard, Some((_, limit))) = (self.kin, n) {
            p = best(kin().filter(|(_, d)| *d < limit), 1.0);
        }
        let anchor = row.query as u32;
        let (all_kin, all_strangers) = (self.kin == Strategy::All, self.strangers == Strategy::All);
        // Where both are single, an anchor needs both.
        let whole = all_kin || all_strangers || (p.is_some() && n.is_some());
        match all_kin {
            true => found.kin.extend(kin().map(|(p, _)| (anchor, p))),
            false => found.kin.extend(p.filter(|_| whole).map(|(p, _)| (anchor, p))),
        }
        match all_strangers {
            true => found.strangers.extend(strangers().map(|(n, _)| (anchor, n))),
            false => found.strangers.extend(n.filter(|_| whole).map(|(n, _)| (anchor, n))),
        }
    }
}

/// The farthest for `direction` 1, the nearest for −1; the first of those that tie.
fn best(pairs: impl Iterator<Item = (u32, f32)>, direction: f32) -> Option<(u32, f32)> {
    pairs.reduce(|best, pair| if direction * pair.1 > direction * best.1 { pair } else { best })
}

impl Miner for BatchEasyHardMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        pairs_by_row(sides, self.metric, |row, found| self.of_row(row, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn the_choices_of_a_hand_worked_anchor() {
        // Anchor 0: kin at 2 and 4, strangers at 1, 3 and 5.
        let kin = SameLabel::within(&[0, 0, 0, 1, 2, 3]);
        let points = [0.0, 2.0, 4.0, 1.0, 3.0, 5.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let mine = |miner: BatchEasyHardMiner| {
            let of_first =
                |pairs: Vec<(u32, u32)>| pairs.into_iter().filter(|p| p.0 == 0).map(|p| p.1).collect();
            let (kin, strangers) = miner.mine(&sides).unwrap().pairs();
            (of_first(kin), of_first(strangers))
        };
        let of = |kin, strangers| BatchEasyHardMiner::new(Metric::Euclidean, kin, strangers).unwrap();
        use Strategy::{All, Easy, Hard, SemiHard};
        let cases: [(_, _, Vec<u32>, Vec<u32>); 8] = [
            (Hard, Hard, vec![2], vec![3]),
            (Easy, Easy, vec![1], vec![5]),
            (Easy, SemiHard, vec![1], vec![4]),
            (Hard, SemiHard, vec![2], vec![5]),
            // No kin is nearer than the nearest stranger.
            (SemiHard, Hard, vec![], vec![]),
            (SemiHard, Easy, vec![2], vec![5]),
            (All, Hard, vec![1, 2], vec![3]),
            (All, All, vec![1, 2], vec![3, 4, 5]),
        ];
        for (kin, strangers, p, n) in cases {
            assert_eq!(mine(of(kin, strangers)), (p, n), "{kin:?} {strangers:?}");
        }
        let ranged = of(Hard, Hard).with_ranges([0.0, 3.0], [2.0, 9.0]).unwrap();
        assert_eq!(mine(ranged), (vec![1], vec![4]));
    }

    #[test]
    fn semi_hard_against_many_and_ranges_upside_down_are_refused() {
        use Strategy::{All, SemiHard};
        for (kin, strangers) in [(SemiHard, SemiHard), (SemiHard, All), (All, SemiHard)] {
            assert!(BatchEasyHardMiner::new(Metric::Cosine, kin, strangers).is_err());
        }
        assert!(BatchEasyHardMiner::default().with_ranges([0.5, 0.2], ANY).is_err());
        assert!(BatchEasyHardMiner::default().with_ranges(ANY, [f32::NAN, 0.2]).is_err());
    }
}
