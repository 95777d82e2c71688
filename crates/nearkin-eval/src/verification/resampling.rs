//! How far rates could move with other classes of the same kind.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bins::BINS;
use crate::bootstrap;

/// Groups that classes are dealt to. The counts of all pairs of groups are kept, so memory grows with the square.
const GROUPS: usize = 64;
/// Edges between the bins of a group, at most.
pub(super) const EDGES: usize = 511;
/// Classes below which a bootstrap says nothing.
const FEWEST_CLASSES: usize = 5;
const SEED: u64 = 0x6e65_6172_6b69_6e01;

/// Classes dealt to groups at random: up to 64 classes, each is its own.
#[derive(Debug)]
pub(super) struct Groups {
    /// Of each vector.
    pub(super) of: Vec<u8>,
    pub(super) count: usize,
    classes: usize,
}

impl Groups {
    pub(super) fn deal(labels: &[u32]) -> Self {
        let mut group: BTreeMap<u32, u8> = labels.iter().map(|&label| (label, 0)).collect();
        let classes = group.len();
        let count = classes.min(GROUPS);
        let mut order: Vec<usize> = (0..classes).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        (1..classes).rev().for_each(|i| order.swap(i, rng.random_range(0..=i)));
        group.values_mut().zip(order).for_each(|(group, place)| *group = (place % count) as u8);
        Self { of: labels.iter().map(|label| group[label]).collect(), count, classes }
    }

    /// Where the counts of two groups stand.
    pub(super) fn pair(&self, a: u8, b: u8) -> usize {
        let (low, high) = (usize::from(a.min(b)), usize::from(a.max(b)));
        high * (high + 1) / 2 + low
    }

    pub(super) fn pairs(&self) -> usize {
        self.count * (self.count + 1) / 2
    }
}

/// Counts of kin by group and of strangers by pair of groups, in wide bins.
#[derive(Debug)]
pub(super) struct GroupCounts<'a> {
    pub(super) groups: &'a Groups,
    /// First fine bin of each wide one but the first, ascending.
    pub(super) edges: &'a [u16],
    /// `[group][bin]`, one bin more than edges.
    pub(super) kin: Vec<u64>,
    /// `[pair of groups][bin]`.
    pub(super) strangers: Vec<u64>,
}

/// Of one operating point: what resamples say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Intervals {
    pub(super) true_accept_rate: (f64, f64),
    pub(super) false_accept_rate: (f64, f64),
    /// In nearness.
    pub(super) threshold: (f64, f64),
}

impl<'a> GroupCounts<'a> {
    pub(super) fn none(groups: &'a Groups, edges: &'a [u16]) -> Self {
        let bins = edges.len() + 1;
        Self { groups, edges, kin: vec![0; groups.count * bins], strangers: vec![0; groups.pairs() * bins] }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.kin.iter_mut().zip(&other.kin).for_each(|(sum, part)| *sum += part);
        self.strangers.iter_mut().zip(&other.strangers).for_each(|(sum, part)| *sum += part);
    }

    /// The wide bin of each fine one.
    pub(super) fn wide_bins(edges: &[u16]) -> Vec<u16> {
        let mut wide = 0;
        (0..BINS)
            .map(|bin| {
                wide += u16::from(edges.get(usize::from(wide)).is_some_and(|edge| usize::from(*edge) <= bin));
                wide
            })
            .collect()
    }

    /// The bootstrap over groups of classes: a group drawn `w` times brings its own pairs `w` times, and those with a group drawn `v` times
    /// `w v` times; pairs of two copies of one group are left out, since they are not pairs of other classes. Within a wide bin
    /// rates and thresholds are linear.
    ///
    /// For each point: the wanted rate, and the strangers it accepts. `edge_at` tells the nearness of a fine bin's edge.
    pub(super) fn intervals(
        &self,
        points: &[(f64, u64)],
        edge_at: impl Fn(usize) -> f32,
    ) -> Option<Vec<Intervals>> {
        if self.groups.classes < FEWEST_CLASSES {
            return None;
        }
        let bins = self.edges.len() + 1;
        let (kin_from, strangers_from) = (from_edges(&self.kin, bins), from_edges(&self.strangers, bins));
        let pooled: Vec<f64> = strangers_from.iter().map(|by_pair| by_pair.iter().sum()).collect();
        let nearness_at = |edge: usize| match edge {
            // Nothing lies beyond the outer bins but what resamples cannot tell apart.
            0 => f64::from(edge_at(usize::from(self.edges[0]))),
            edge => f64::from(edge_at(usize::from(self.edges[(edge - 1).min(bins - 2)]))),
        };
        let nearness: Vec<f64> = (0..=bins).map(nearness_at).collect();
        let drawn = bootstrap::resampled(self.groups.count, |drawn| {
            let (kin, strangers) = (of_groups(drawn, &kin_from[0]), of_pairs(drawn, &strangers_from[0]));
            // One group drawn throughout may have no strangers at all.
            if kin == 0.0 || strangers == 0.0 {
                return None;
            }
            let far = |edge: usize| of_pairs(drawn, &strangers_from[edge]) / strangers;
            let tar = |edge: usize| of_groups(drawn, &kin_from[edge]) / kin;
            let of_point = |&(wanted, accepted): &(f64, u64)| {
                // The first edge from which the wanted rate is kept; none at all keeps every rate.
                let (mut over, mut kept) = (0, bins);
                if far(0) <= wanted {
                    kept = 0;
                }
                while kept > over + 1 {
                    let middle = (over + kept) / 2;
                    if far(middle) <= wanted { kept = middle } else { over = middle }
                }
                let (mut at, mut rate) = (nearness[kept], tar(kept));
                if kept > 0 {
                    let part = (wanted - far(kept)) / (far(kept - 1) - far(kept));
                    rate += part * (tar(kept - 1) - rate);
                    at += part * (nearness[kept - 1] - at);
                }
                // The point's own threshold, between the edges where the pool accepts fewer and more.
                let accepted = accepted as f64;
                let edge = pooled.partition_point(|count| *count > accepted);
                let mut accepted_rate = far(edge);
                if edge > 0 {
                    let part = (accepted - pooled[edge]) / (pooled[edge - 1] - pooled[edge]);
                    accepted_rate += part * (far(edge - 1) - accepted_rate);
                }
                [rate, accepted_rate, at]
            };
            Some(points.iter().map(of_point).collect::<Vec<_>>())
        });
        let drawn: Vec<Vec<[f64; 3]>> = drawn.into_iter().flatten().collect();
        if drawn.is_empty() {
            return None;
        }
        let interval =
            |p: usize, which: usize| bootstrap::interval(drawn.iter().map(|d| d[p][which]).collect());
        let of_point = |p| Intervals {
            true_accept_rate: interval(p, 0),
            false_accept_rate: interval(p, 1),
            threshold: interval(p, 2),
        };
        Some((0..points.len()).map(of_point).collect())
    }
}

/// From counts `[owner][bin]` to sums `[edge][owner]` of all bins from an edge on; at the last edge there is nothing.
fn from_edges(counts: &[u64], bins: usize) -> Vec<Vec<f64>> {
    let owners = counts.len() / bins;
    let mut sums = vec![vec![0.0; owners]; bins + 1];
    for bin in (0..bins).rev() {
        sums[bin] = (0..owners).map(|o| sums[bin + 1][o] + counts[o * bins + bin] as f64).collect();
    }
    sums
}

/// A resample's sum over groups.
fn of_groups(drawn: &[u32], of_group: &[f64]) -> f64 {
    drawn.iter().zip(of_group).map(|(w, count)| f64::from(*w) * count).sum()
}

/// A resample's sum over pairs of groups.
fn of_pairs(drawn: &[u32], of_pair: &[f64]) -> f64 {
    let (mut sum, mut first) = (0.0, 0);
    for (high, w) in drawn.iter().enumerate() {
        let row = &of_pair[first..=first + high];
        let (own, others) = (row[high], &row[..high]);
        sum += f64::from(*w)
            * (own + drawn.iter().zip(others).map(|(v, count)| f64::from(*v) * count).sum::<f64>());
        first += high + 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_dealt_evenly_and_stay_together() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 200 * 7).collect();
        let groups = Groups::deal(&labels);
        assert_eq!((groups.count, groups.classes, groups.pairs()), (64, 200, 64 * 65 / 2));
        for i in 200..1000 {
            assert_eq!(groups.of[i], groups.of[i - 200]);
        }
        let sizes: Vec<usize> =
            (0..64).map(|g| groups.of[..200].iter().filter(|of| usize::from(**of) == g).count()).collect();
        assert!(sizes.iter().all(|&size| size == 3 || size == 4));
        assert_ne!(groups.of[..64], (0..64).collect::<Vec<u8>>());
        assert_eq!(groups.pair(63, 63) + 1, groups.pairs());
        assert_eq!(groups.pair(2, 5), groups.pair(5, 2));
    }

    #[test]
    fn sums_of_a_resample_weigh_pairs_by_both_groups() {
        // Pairs 00, 01, 11, 02, 12, 22.
        assert_eq!(of_pairs(&[2, 0, 3], &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5]), 2.0 + 6e3 + 3e5);
        assert_eq!(of_groups(&[2, 0, 3], &[1.0, 10.0, 100.0]), 302.0);
        assert_eq!(from_edges(&[1, 2, 3, 4], 2), [vec![3.0, 7.0], vec![2.0, 4.0], vec![0.0, 0.0]]);
    }

    #[test]
    fn wide_bins_begin_at_their_edges() {
        let wide = GroupCounts::wide_bins(&[1, 2, 500]);
        assert_eq!((wide[0], wide[1], wide[2], wide[499], wide[500], wide[BINS - 1]), (0, 1, 2, 2, 3, 3));
    }
}
