//! Distance-weighted sampling.
//!
//! C.-Y. Wu, R. Manmatha, A. Smola, P. Krähenbühl, "Sampling Matters in Deep Embedding Learning", 2017, sec. 4.1. Distances
//! between points spread evenly over the unit sphere of `n` dimensions have the density
//!
//! ```text
//! q(d) ∝ d^{n−2} (1 − d²/4)^{(n−3)/2}
//! ```
//!
//! and pile up at `√2`. A stranger at distance `d` is drawn with a probability `∝ min(λ, 1/q(d))`, so that strangers of all
//! distances have their turn.

use nearkin_sweep::{Metric, Row};

use super::{Miner, triplets_by_row};
use crate::loss::{LossError, Sides, check};
use crate::random::Stream;
use crate::tuples::Tuples;

/// The distance-weighted miner: a triplet for every pair of kin, with a stranger drawn by its distance to the anchor.
///
/// Distances are those of the vectors scaled to unit length. Draws hang on the seed and the pair alone.
///
/// ```
/// use nearkin_loss::miners::DistanceWeightedMiner;
/// use nearkin_loss::{Miner, Sides};
/// use nearkin_sweep::{SameLabel, Vectors};
///
/// let kin = SameLabel::within(&[0, 0, 1, 2]);
/// let points = [1.0, 0.0, 0.9, 0.1, 0.7, 0.7, -1.0, 0.0];
/// let sides = Sides::within(Vectors::new(&points, 2)?, &kin);
/// // The last point is beyond 1.4.
/// let found = DistanceWeightedMiner::published(7).mine(&sides)?;
/// assert_eq!(found.triplets(), [[0, 1, 2], [1, 0, 2]]);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DistanceWeightedMiner {
    cutoff: f32,
    farthest: f32,
    seed: u64,
}

impl DistanceWeightedMiner {
    /// Strangers nearer than `cutoff` weigh as if they were there (`λ = 1/q(cutoff)`), those at `farthest` or beyond, where
    /// the loss is 0, are never drawn. Give each step its own seed.
    ///
    /// # Errors
    /// When it is not so that `0 < cutoff < farthest < 2`.
    pub fn new(cutoff: f32, farthest: f32, seed: u64) -> Result<Self, LossError> {
        let cutoff = check("cutoff", cutoff, |c| 0.0 < c && c < farthest, "above 0 and below the farthest")?;
        let farthest = check("farthest", farthest, |f| f < 2.0, "below 2, the diameter of the unit sphere")?;
        Ok(Self { cutoff, farthest, seed })
    }

    /// The values of the authors' code and of pytorch-metric-learning: 0.5 and 1.4.
    pub fn published(seed: u64) -> Self {
        Self { cutoff: 0.5, farthest: 1.4, seed }
    }

    /// The strangers that may be drawn, each with the weights up to and including its own.
    fn weights(&self, row: &Row<'_>, dim: usize) -> Vec<(u32, f64)> {
        let [cutoff, farthest] = [self.cutoff, self.farthest].map(|d| f64::from(d).powi(2));
        // ln 1/q
        let log = |square: f64| {
            let n = dim as f64;
            (2.0 - n) / 2.0 * square.ln() - (n - 3.0) / 2.0 * (1.0 - square / 4.0).ln()
        };
        let mut drawn: Vec<(u32, f64)> = row
            .strangers()
            .map(|(j, cosine)| (j as u32, 2.0 - 2.0 * f64::from(cosine)))
            .filter(|(_, square)| *square < farthest)
            .map(|(j, square)| (j, log(square.max(cutoff))))
            .collect();
        let largest = drawn.iter().map(|(_, log)| *log).fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for (_, weight) in &mut drawn {
            sum += (*weight - largest).exp();
            *weight = sum;
        }
        drawn
    }
}

impl Miner for DistanceWeightedMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let dim = sides.queries.dim();
        if dim < 2 {
            let why = "points on a line have two directions only, and no density of distances";
            return Err(LossError::undefined("distance-weighted sampling", why));
        }
        triplets_by_row(sides, Metric::Cosine, |row, found| {
            if row.kin().next().is_none() {
                return;
            }
            let weights = self.weights(row, dim);
            let Some(&(last, total)) = weights.last() else { return };
            let stream = Stream::new(self.seed).split(row.query as u64);
            found.extend(row.kin().map(|(p, _)| {
                let drawn = total * stream.unit(p as u64);
                let place = weights.partition_point(|(_, up_to)| *up_to <= drawn);
                [row.query as u32, p as u32, weights.get(place).map_or(last, |(n, _)| *n)]
            }));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    /// How often each stranger of an anchor at the pole is drawn, by 100 kin and as many seeds.
    fn counts(
        strangers: &[f32],
        dim: usize,
        miner: impl Fn(u64) -> DistanceWeightedMiner,
        seeds: u64,
    ) -> Vec<f64> {
        let mut anchor = vec![0.0; dim];
        anchor[0] = 1.0;
        let points: Vec<f32> = strangers.iter().copied().chain(vec![1.0; 100 * dim]).collect();
        let n = strangers.len() / dim;
        let labels: Vec<u32> = (0..n + 100).map(|i| u32::from(i < n)).collect();
        let kin = SameLabel::between(&[0], &labels);
        let (anchor, points) = (Vectors::new(&anchor, dim).unwrap(), Vectors::new(&points, dim).unwrap());
        let mut counts = vec![0.0; n];
        for seed in 0..seeds {
            let found = miner(seed).mine(&Sides::between(anchor, points, &kin)).unwrap().triplets();
            assert_eq!(found.len(), 100);
            found.iter().for_each(|t| counts[t[2] as usize] += 1.0);
        }
        counts
    }

    #[test]
    fn strangers_are_drawn_by_the_published_density() {
        // Strangers at these distances on the unit sphere of 5 dimensions, not all of unit length.
        let distances = [0.2, 0.5, 0.7, 0.9, 1.1, 1.3, 1.39, 1.41, 1.9];
        let point = |d: f64| {
            let cosine = 1.0 - d * d / 2.0;
            [2.0 * cosine as f32, 2.0 * (1.0 - cosine * cosine).sqrt() as f32, 0.0, 0.0, 0.0]
        };
        let points: Vec<f32> = distances.into_iter().flat_map(point).collect();
        let found = counts(&points, 5, DistanceWeightedMiner::published, 400);
        let weight = |d: f64| {
            let d = d.max(0.5);
            if d < 1.4 { 1.0 / (d.powi(3) * (1.0 - d * d / 4.0)) } else { 0.0 }
        };
        let total: f64 = distances.into_iter().map(weight).sum();
        // χ² with 6 degrees of freedom is above 22.5 once in a thousand times.
        let mut chi_squared = 0.0;
        for (d, found) in distances.into_iter().zip(found) {
            let wanted = 40_000.0 * weight(d) / total;
            if wanted == 0.0 {
                assert_eq!(found, 0.0, "{d}");
            } else {
                chi_squared += (found - wanted).powi(2) / wanted;
            }
        }
        assert!(chi_squared < 22.5, "{chi_squared}");
    }

    #[test]
    fn where_points_are_spread_evenly_all_distances_have_their_turn_alike() {
        // Points of normal coordinates are spread evenly over the sphere.
        for dim in [3, 4, 6] {
            let points: Vec<f32> =
                (0..20_000 * dim as u64).map(|i| Stream::new(11).normal(i) as f32).collect();
            let found = counts(&points, dim, |seed| DistanceWeightedMiner::new(0.8, 1.4, seed).unwrap(), 50);
            // Thirds of the range; nearer strangers weigh no more than those at the cutoff.
            let mut thirds = [0.0; 3];
            let mut anchor = vec![0.0; dim];
            anchor[0] = 1.0;
            for (point, count) in points.chunks(dim).zip(found) {
                let d = (2.0 - 2.0 * Metric::Cosine.score(&anchor, point)).sqrt();
                if d >= 0.8 {
                    thirds[(((d - 0.8) / 0.2) as usize).min(2)] += count;
                }
            }
            let all: f64 = thirds.iter().sum();
            assert!(thirds.iter().all(|t| (t / all - 1.0 / 3.0).abs() < 0.04), "{dim}: {thirds:?}");
        }
    }

    #[test]
    fn cutoffs_out_of_order_and_one_dimension_are_refused() {
        assert!(DistanceWeightedMiner::new(0.5, 0.4, 0).is_err());
        assert!(DistanceWeightedMiner::new(0.5, 2.0, 0).is_err());
        assert!(DistanceWeightedMiner::new(0.0, 1.4, 0).is_err());
        let kin = SameLabel::within(&[0, 0, 1]);
        let sides = Sides::within(Vectors::new(&[1.0, 1.0, -1.0], 1).unwrap(), &kin);
        assert!(DistanceWeightedMiner::published(0).mine(&sides).is_err());
    }
}
