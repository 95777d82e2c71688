//! Pairs of all distances alike, as pytorch-metric-learning's `UniformHistogramMiner`: of many pairs most have middling
//! distances, and what is rare is seldom seen.

use std::collections::BinaryHeap;

use nearkin_sweep::{Metric, Row, map_rows};

use super::{Miner, Pairs, bands, has_nan, map_band, nan_pairs};
use crate::loss::{LossError, Sides};
use crate::random::Stream;
use crate::tuples::Tuples;

/// The uniform-histogram miner: the range of the scores of all kin is cut into bins of equal width, and from each as many
/// pairs are drawn, if it has as many; the same for strangers.
///
/// All pairs of a bin are equally likely, and none is drawn twice: a bin of few pairs gives these few, where
/// pytorch-metric-learning repeats them. Draws hang on the seed and the pair alone. Takes two
/// passes; memory beside what is found is a band of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniformHistogramMiner {
    metric: Metric,
    bins: usize,
    kin_per_bin: usize,
    strangers_per_bin: usize,
    seed: u64,
}

impl UniformHistogramMiner {
    /// pytorch-metric-learning has 100 bins with 10 pairs of each kind. Give each step its own seed.
    ///
    /// # Errors
    /// When there is no bin, or more than 65,536.
    pub fn new(
        metric: Metric,
        bins: usize,
        kin_per_bin: usize,
        strangers_per_bin: usize,
        seed: u64,
    ) -> Result<Self, LossError> {
        if bins == 0 || bins > 1 << 16 {
            return Err(LossError::OutOfRange { name: "bins", found: bins as f64, wanted: "1 to 65,536" });
        }
        Ok(Self { metric, bins, kin_per_bin, strangers_per_bin, seed })
    }
}

/// The pairs of one kind drawn so far: in each bin those with the lowest draws.
struct Histogram {
    low: f32,
    high: f32,
    per_bin: usize,
    bins: Vec<BinaryHeap<(u64, u32, u32)>>,
}

impl Histogram {
    fn new([low, high]: [f32; 2], per_bin: usize, bins: usize) -> Self {
        Self { low, high, per_bin, bins: vec![BinaryHeap::new(); bins] }
    }

    fn bin(&self, score: f32) -> usize {
        let part = f64::from(score - self.low) / f64::from(self.high - self.low);
        // All in one point: not a number, which becomes 0.
        ((part * self.bins.len() as f64) as usize).min(self.bins.len() - 1)
    }

    /// The draw that a pair must be below to enter a bin.
    fn limit(&self, bin: usize) -> Option<u64> {
        let bin = &self.bins[bin];
        if bin.len() < self.per_bin { None } else { Some(bin.peek().map_or(0, |worst| worst.0)) }
    }

    /// What a row may add, in order of bins.
    fn of_row(
        &self,
        row: &Row<'_>,
        seed: u64,
        pairs: impl Iterator<Item = (usize, f32)>,
    ) -> Vec<(usize, u64, u32)> {
        let stream = Stream::new(seed).split(row.query as u64);
        let candidate = |(j, s): (usize, f32)| (self.bin(s), stream.bits(j as u64), j as u32);
        let mut all: Vec<_> = pairs
            .map(candidate)
            .filter(|(bin, draw, _)| self.limit(*bin).is_none_or(|limit| *draw < limit))
            .collect();
        all.sort_unstable();
        let in_bins = all.chunk_by(|a, b| a.0 == b.0);
        in_bins.flat_map(|of_bin| &of_bin[..of_bin.len().min(self.per_bin)]).copied().collect()
    }

    fn add(&mut self, anchor: usize, candidates: Vec<(usize, u64, u32)>) {
        for (bin, draw, other) in candidates {
            let bin = &mut self.bins[bin];
            bin.push((draw, anchor as u32, other));
            if bin.len() > self.per_bin {
                bin.pop();
            }
        }
    }

    fn pairs(self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = self.bins.into_iter().flatten().map(|(_, a, j)| (a, j)).collect();
        pairs.sort_unstable();
        pairs
    }
}

impl Miner for UniformHistogramMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let none = [f32::INFINITY, f32::NEG_INFINITY];
        let wider = |[low, high]: [f32; 2], [l, h]: [f32; 2]| [low.min(l), high.max(h)];
        let ranges = map_rows(sides.queries, sides.references, self.metric, sides.kin, |row, _| {
            if has_nan(row) {
                return [none; 2];
            }
            let of = |pairs: &mut dyn Iterator<Item = (usize, f32)>| {
                pairs.fold(none, |range, (_, s)| wider(range, [s, s]))
            };
            [of(&mut row.kin()), of(&mut row.strangers())]
        })?;
        let [kin, strangers] =
            ranges.into_iter().fold([none; 2], |all, row| [wider(all[0], row[0]), wider(all[1], row[1])]);
        let mut kin = Histogram::new(kin, self.kin_per_bin, self.bins);
        let mut strangers = Histogram::new(strangers, self.strangers_per_bin, self.bins);
        let mut broken = Pairs::default();
        for band in bands(sides.queries.len()) {
            let rows = map_band(sides, self.metric, band.clone(), |row| {
                if has_nan(row) {
                    return (Vec::new(), Vec::new(), nan_pairs(row));
                }
                let of_kin = kin.of_row(row, self.seed, row.kin());
                (of_kin, strangers.of_row(row, self.seed, row.strangers()), Pairs::default())
            })?;
            for (anchor, (of_kin, of_strangers, nan)) in band.zip(rows) {
                kin.add(anchor, of_kin);
                strangers.add(anchor, of_strangers);
                broken.append(nan);
            }
        }
        let mut found = Pairs { kin: kin.pairs(), strangers: strangers.pairs() };
        found.append(broken);
        Ok(found.tuples())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn each_bin_of_a_hand_worked_batch_gives_as_many() {
        // Between 0 and references at 1, 2, .. 10: strangers at all of these. Two bins: 1 to 5.5, 5.5 to 10.
        let points: Vec<f32> = (1..=10).map(|x| x as f32).collect();
        let kin = SameLabel::between(&[0], &[1; 10]);
        let sides = Sides::between(Vectors::new(&[0.0], 1).unwrap(), Vectors::new(&points, 1).unwrap(), &kin);
        let mut counts = [0; 10];
        for seed in 0..1000 {
            let miner = UniformHistogramMiner::new(Metric::Euclidean, 2, 9, 2, seed).unwrap();
            let (kin, strangers) = miner.mine(&sides).unwrap().pairs();
            assert!(kin.is_empty());
            assert_eq!(strangers.iter().filter(|(_, n)| *n < 5).count(), 2);
            assert_eq!(strangers.len(), 4);
            strangers.iter().for_each(|(_, n)| counts[*n as usize] += 1);
        }
        // Each is drawn with probability 2/5: 400 ± 15.
        assert!(counts.iter().all(|c| (330..470).contains(c)), "{counts:?}");
    }

    #[test]
    fn scores_in_one_point_make_one_bin_and_no_bins_are_refused() {
        let kin = SameLabel::within(&[0; 6]);
        let sides = Sides::within(Vectors::new(&[1.0; 6], 1).unwrap(), &kin);
        let miner = UniformHistogramMiner::new(Metric::Euclidean, 5, 4, 4, 1).unwrap();
        assert_eq!(miner.mine(&sides).unwrap().len(), 4);
        for bins in [0, usize::MAX] {
            assert!(UniformHistogramMiner::new(Metric::Euclidean, bins, 4, 4, 1).is_err());
        }
    }
}
