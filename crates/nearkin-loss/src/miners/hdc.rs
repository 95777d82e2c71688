//! The hardest fraction of all pairs of a batch.
//!
//! Y. Yuan, K. Yang, C. Zhang, "Hard-Aware Deeply Cascaded Embedding", 2017, where each model of a cascade is given the hard
//! pairs of the one before it.

use nearkin_sweep::{Metric, Relation, Row};

use super::{Miner, Pairs, bands, has_nan, map_band, nan_pairs, sign};
use crate::loss::{LossError, Sides};
use crate::tuples::Tuples;

/// The hard-aware miner: the `⌈f · count⌉` farthest pairs of kin and the `⌈f · count⌉` nearest pairs of strangers, of all
/// that the sides have. Among equal scores, those of the lowest anchor and then the lowest reference.
///
/// The scores at which to cut are found by counting, in three passes over bands of rows; a fourth collects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HdcMiner {
    metric: Metric,
    fraction: f64,
}

impl HdcMiner {
    /// With the fraction `f`; pytorch-metric-learning's is 0.5.
    ///
    /// # Errors
    /// When the fraction is not above 0 and at most 1.
    pub fn new(metric: Metric, fraction: f64) -> Result<Self, LossError> {
        if fraction > 0.0 && fraction <= 1.0 {
            Ok(Self { metric, fraction })
        } else {
            let wanted = "above 0 and at most 1";
            Err(LossError::OutOfRange { name: "fraction", found: fraction, wanted })
        }
    }

    /// The pairs of a row as keys, the lowest the hardest: `kin` or strangers.
    fn keys<'a>(&self, row: &'a Row<'_>, kin: bool) -> impl Iterator<Item = (u32, u32)> + 'a {
        let sign = if kin { -sign(self.metric) } else { sign(self.metric) };
        let wanted = if kin { Relation::Kin } else { Relation::Stranger };
        let pairs = row.relations.iter().zip(row.scores).zip(0u32..);
        pairs.filter(move |((r, _), _)| **r == wanted).map(move |((_, s), j)| (ordered(sign * s + 0.0), j))
    }
}

/// Bits in the order of the numbers.
fn ordered(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// A key is counted digit by digit, the highest first.
const DIGITS: [Digit; 3] =
    [Digit { shift: 21, bits: 11 }, Digit { shift: 10, bits: 11 }, Digit { shift: 0, bits: 10 }];

#[derive(Debug, Clone, Copy)]
struct Digit {
    shift: u32,
    bits: u32,
}

impl Digit {
    fn of(self, key: u32) -> usize {
        (key >> self.shift) as usize & ((1 << self.bits) - 1)
    }

    /// The digits before this one.
    fn before(self, key: u32) -> u64 {
        u64::from(key) >> (self.shift + self.bits)
    }
}

/// Where one kind is cut: pairs of lower keys are taken, and the first `wanted` of this key.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    /// As far as its digits are known.
    key: u32,
    wanted: u64,
}

impl Cut {
    /// Goes on to the next digit: the first up to which there are as many pairs as are wanted.
    fn refine(&mut self, digit: Digit, counts: &[u64]) {
        for (value, count) in (0u32..).zip(counts) {
            if self.wanted <= *count {
                self.key |= value << digit.shift;
                return;
            }
            self.wanted -= count;
        }
    }
}

impl Miner for HdcMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let mut cuts = [Cut::default(); 2];
        for (pass, digit) in DIGITS.into_iter().enumerate() {
            let counts = self.count(sides, digit, &cuts)?;
            for (cut, counts) in cuts.iter_mut().zip(&counts) {
                if pass == 0 {
                    cut.wanted = (self.fraction * counts.iter().sum::<u64>() as f64).ceil() as u64;
                }
                cut.refine(digit, counts);
            }
        }
        self.collect(sides, cuts)
    }
}

/// Kin come first.
const KINDS: [bool; 2] = [true, false];

impl HdcMiner {
    /// How many pairs of kin, and of strangers, have each value of a digit, among those with the digits that are known.
    fn count(&self, sides: &Sides<'_>, digit: Digit, cuts: &[Cut; 2]) -> Result<[Vec<u64>; 2], LossError> {
        let mut totals = [vec![0; 1 << digit.bits], vec![0; 1 << digit.bits]];
        for band in bands(sides.queries.len()) {
            let rows = map_band(sides, self.metric, band, |row| {
                let mut counts = [vec![0u32; 1 << digit.bits], vec![0u32; 1 << digit.bits]];
                if has_nan(row) {
                    return counts;
                }
                for ((counts, cut), kin) in counts.iter_mut().zip(cuts).zip(KINDS) {
                    let known = digit.before(cut.key);
                    let keys = self.keys(row, kin).map(|(key, _)| key);
                    keys.filter(|key| digit.before(*key) == known).for_each(|key| counts[digit.of(key)] += 1);
                }
                counts
            })?;
            for row in &rows {
                for (totals, counts) in totals.iter_mut().zip(row) {
                    totals.iter_mut().zip(counts).for_each(|(total, count)| *total += u64::from(*count));
                }
            }
        }
        Ok(totals)
    }

    fn collect(&self, sides: &Sides<'_>, cuts: [Cut; 2]) -> Result<Tuples, LossError> {
        let mut found = [Vec::new(), Vec::new()];
        // How many of the cut's own key are still to be taken.
        let mut left = cuts.map(|cut| cut.wanted);
        for band in bands(sides.queries.len()) {
            // Whether a pair has the cut's key, and its reference.
            let rows = map_band(sides, self.metric, band.clone(), |row| -> [Vec<(bool, u32)>; 2] {
                if has_nan(row) {
                    let Pairs { kin, strangers } = nan_pairs(row);
                    return [kin, strangers]
                        .map(|pairs| pairs.into_iter().map(|(_, j)| (false, j)).collect());
                }
                std::array::from_fn(|kind| {
                    let (cut, mut ties) = (cuts[kind].key, 0);
                    let taken = self.keys(row, KINDS[kind]).filter(|(key, _)| {
                        ties += u64::from(*key == cut);
                        *key < cut || (*key == cut && ties <= left[kind])
                    });
                    taken.map(|(key, other)| (key == cut, other)).collect()
                })
            })?;
            for (anchor, row) in band.zip(rows) {
                for ((found, left), pairs) in found.iter_mut().zip(&mut left).zip(row) {
                    for (tie, other) in pairs {
                        if !tie || *left > 0 {
                            *left -= u64::from(tie);
                            found.push((anchor as u32, other));
                        }
                    }
                }
            }
        }
        let [kin, strangers] = found;
        Ok(Tuples::Pairs { kin, strangers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn mine(points: &[f32], labels: &[u32], fraction: f64) -> Tuples {
        let kin = SameLabel::within(labels);
        let sides = Sides::within(Vectors::new(points, 1).unwrap(), &kin);
        HdcMiner::new(Metric::Euclidean, fraction).unwrap().mine(&sides).unwrap()
    }

    #[test]
    fn the_hardest_of_a_hand_worked_batch() {
        // Kin, both ways: 0 and 3 at 3, 1 and 7 at 6. Strangers: 0 and 1 at 1, 3 and 1 at 2, 3 and 7 at 4, 0 and 7 at 7.
        let (points, labels) = ([0.0, 3.0, 1.0, 7.0], [0, 0, 1, 1]);
        let strangers = vec![(0, 2), (1, 2), (2, 0), (2, 1)];
        let half = Tuples::Pairs { kin: vec![(2, 3), (3, 2)], strangers };
        assert_eq!(mine(&points, &labels, 0.5), half);
        assert_eq!(mine(&points, &labels, 0.3).len(), 2 + 3);
        assert_eq!(mine(&points, &labels, 1.0).len(), 4 + 8);
    }

    #[test]
    fn ties_go_to_the_lowest_anchor_and_fractions_out_of_range_are_refused() {
        let Tuples::Pairs { kin, strangers } = mine(&[0.0; 4], &[0, 0, 0, 1], 0.5) else { panic!("pairs") };
        assert_eq!(kin, [(0, 1), (0, 2), (1, 0)]);
        assert_eq!(strangers, [(0, 3), (1, 3), (2, 3)]);
        assert!(mine(&[], &[], 0.5).is_empty());
        for fraction in [0.0, 1.1, f64::NAN] {
            assert!(HdcMiner::new(Metric::Cosine, fraction).is_err());
        }
    }

    #[test]
    fn keys_are_in_the_order_of_the_numbers() {
        let x = [f32::NEG_INFINITY, -2.0, -1.0, -1e-40, 0.0, 1e-40, 0.5, 3.0, f32::INFINITY];
        assert!(x.windows(2).all(|pair| ordered(pair[0]) < ordered(pair[1])));
    }
}
