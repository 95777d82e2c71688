//! The CDF-based dynamic soft margin.
//!
//! L. Zhang, S. Rusinkiewicz, "Learning Local Descriptors With a CDF-Based Dynamic Soft Margin", 2019. For a triplet
//! of an anchor, a kin and a stranger, with the Euclidean distance `d` of unit vectors, how hard it is decides how much it
//! weighs:
//!
//! ```text
//! u = d(a, p) − d(a, n)      ℓ = CDF(u) · u
//! ```
//!
//! one term a triplet. The CDF is that of the gaps `u` seen so far, by a histogram that follows training:
//! [`DynamicSoftMargin::step`] takes a batch into it, then pulls. It is held constant for the gradient.

use nearkin_sweep::{Metric, Row, Vectors, map_rows, pair_scores};
use serde::{Deserialize, Serialize};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::triplets::{TripletSprings, pull_triplets};
use crate::tuples::Tuples;
use crate::unit::{OnSphere, Unit};

/// How the gaps of triplets were distributed so far: the state to keep beside a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GapHistogram {
    /// The share of gaps at each of as many nodes, evenly spaced from −2 up to, but not including, 2. All 0 before the first
    /// batch; otherwise their sum is 1.
    pub shares: Vec<f64>,
}

impl GapHistogram {
    /// Of nothing yet, with so many nodes.
    pub fn new(bins: usize) -> Self {
        Self { shares: vec![0.0; bins] }
    }

    /// The node below a gap, and how far beyond it, in spaces between nodes; at most the last node.
    fn place(&self, gap: f64) -> (usize, f64) {
        let z = (gap + 2.0) * self.shares.len() as f64 / 4.0;
        let last = self.shares.len().saturating_sub(1);
        let node = (z as usize).min(last);
        (node, if node == last { 0.0 } else { (z - node as f64).max(0.0) })
    }

    /// Counts a gap, shared between the nodes around it. One that is not a number would spoil what is kept.
    fn count(&self, gap: f64, counts: &mut [f64]) {
        if gap.is_nan() {
            return;
        }
        let (node, beyond) = self.place(gap);
        counts[node] += 1.0 - beyond;
        if beyond > 0.0 {
            counts[node + 1] += beyond;
        }
    }
}

/// The dynamic soft margin over all triplets of a batch, or mined ones, of vectors scaled to unit length. Reduced to the mean
/// over triplets.
#[derive(Debug, Clone, PartialEq)]
pub struct DynamicSoftMargin {
    momentum: f64,
    histogram: GapHistogram,
    /// The cumulated shares.
    cdf: Vec<f64>,
}

impl Default for DynamicSoftMargin {
    /// pytorch-metric-learning's: 10 bins and a momentum of 0.01.
    fn default() -> Self {
        Self { momentum: 0.01, histogram: GapHistogram::new(10), cdf: vec![0.0; 10] }
    }
}

impl DynamicSoftMargin {
    /// With the histogram to start or go on from, and the momentum with which batches replace what it holds.
    ///
    /// # Errors
    /// When the histogram has no node or more than 10,000, its shares are not those of a distribution, or the momentum is not
    /// above 0 and at most 1.
    pub fn new(histogram: GapHistogram, momentum: f32) -> Result<Self, LossError> {
        let momentum = check("momentum", momentum, |m| m > 0.0 && m <= 1.0, "above 0 and at most 1")?;
        let bins = histogram.shares.len();
        if !(1..=10_000).contains(&bins) {
            return Err(LossError::OutOfRange { name: "bins", found: bins as f64, wanted: "1 to 10,000" });
        }
        let sum: f64 = histogram.shares.iter().sum();
        let negative = histogram.shares.iter().any(|share| *share < 0.0);
        if negative || !(sum == 0.0 || (sum - 1.0).abs() < 1e-6) {
            let wanted = "1, or 0 before the first batch, with no share below 0";
            return Err(LossError::OutOfRange { name: "sum of shares", found: sum, wanted });
        }
        let mut loss = Self { momentum: momentum.into(), histogram, cdf: Vec::new() };
        loss.cumulate();
        Ok(loss)
    }

    /// What has been seen so far.
    pub fn histogram(&self) -> &GapHistogram {
        &self.histogram
    }

    fn cumulate(&mut self) {
        let mut sum = 0.0;
        let cumulated = |share: &f64| {
            sum += share;
            sum
        };
        self.cdf = self.histogram.shares.iter().map(cumulated).collect();
    }

    fn has_seen_none(&self) -> bool {
        self.histogram.shares.iter().all(|share| *share == 0.0)
    }

    /// Takes the gaps of a batch into the histogram: of `tuples`, or of all its triplets. As pytorch-metric-learning has it, the
    /// histogram's shares are mixed with the batch's counts, not shares, before all are divided by their sum: many triplets
    /// weigh more than few, and the first batch is taken as it is.
    ///
    /// # Errors
    /// When the two sides differ in dimension, or a tuple names a vector that does not exist.
    pub fn observe(&mut self, sides: &Sides<'_>, tuples: Option<&Tuples>) -> Result<(), LossError> {
        let queries = Unit::of(sides.queries);
        let references = sides.references.map(|r| (Unit::of(r), r.dim()));
        let queries = Vectors::new(&queries.vectors, sides.queries.dim())?;
        let references = match &references {
            Some((unit, dim)) => Some(Vectors::new(&unit.vectors, *dim)?),
            None => None,
        };
        let histogram = &self.histogram;
        let mut counts = vec![0.0; histogram.shares.len()];
        if let Some(tuples) = tuples {
            // Refuses names of what does not exist.
            tuples.as_kin(sides)?;
            for some in tuples.triplets().chunks(1 << 16) {
                let pairs: Vec<(u32, u32)> = some.iter().flat_map(|&[a, p, n]| [(a, p), (a, n)]).collect();
                let distances = pair_scores(queries, references, Metric::Euclidean, &pairs)?;
                for pair in distances.chunks_exact(2) {
                    histogram.count(f64::from(pair[0]) - f64::from(pair[1]), &mut counts);
                }
            }
        } else {
            let rows = map_rows(queries, references, Metric::Euclidean, sides.kin, |row, _| {
                let mut counts = vec![0.0; histogram.shares.len()];
                for (_, near) in row.kin() {
                    for (_, far) in row.strangers() {
                        histogram.count(f64::from(near) - f64::from(far), &mut counts);
                    }
                }
                counts
            })?;
            for row in &rows {
                counts.iter_mut().zip(row).for_each(|(all, row)| *all += row);
            }
        }
        let momentum = if self.has_seen_none() { 1.0 } else { self.momentum };
        let mixed: Vec<f64> = self
            .histogram
            .shares
            .iter()
            .zip(counts)
            .map(|(share, count)| (1.0 - momentum) * share + momentum * count)
            .collect();
        let sum: f64 = mixed.iter().sum();
        if sum > 0.0 {
            self.histogram.shares = mixed.into_iter().map(|share| share / sum).collect();
            self.cumulate();
        }
        Ok(())
    }

    /// Takes in a batch, then pulls: what to do in training.
    ///
    /// # Errors
    /// As [`observe`](Self::observe).
    pub fn step(&mut self, sides: &Sides<'_>, tuples: Option<&Tuples>) -> Result<Pull, LossError> {
        self.observe(sides, tuples)?;
        match tuples {
            _ if self.has_seen_none() => Ok(Pull::none(sides)),
            Some(tuples) => self.pull_mined(sides, tuples),
            None => self.pull(sides),
        }
    }

    fn held(&self) -> Result<Held<'_>, LossError> {
        if self.has_seen_none() {
            return Err(LossError::undefined(
                "the dynamic soft margin",
                "its histogram has seen no triplet: let it observe a batch, or step",
            ));
        }
        Ok(Held(self))
    }
}

/// Pulls with the histogram as it is.
impl Loss for DynamicSoftMargin {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        OnSphere(self.held()?).pull(sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        OnSphere(self.held()?).pull_mined(sides, tuples)
    }
}

/// The loss of vectors that have unit length.
struct Held<'a>(&'a DynamicSoftMargin);

impl Loss for Held<'_> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, Metric::Euclidean, &Reducer::Mean, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        pull_triplets(self, Metric::Euclidean, &Reducer::Mean, sides, &tuples.triplets())
    }
}

impl TripletSprings for Held<'_> {
    fn triplet(&self, [near, far, _]: [f32; 3]) -> (f64, [f32; 3]) {
        let gap = f64::from(near) - f64::from(far);
        let weight = self.0.cdf[self.0.histogram.place(gap).0];
        (weight * gap, [weight as f32, -weight as f32, 0.0])
    }
}

impl Springs for Held<'_> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for (p, near) in row.kin() {
            for (n, far) in row.strangers() {
                let (energy, [g, h, _]) = self.triplet([near, far, 0.0]);
                let c = terms.add(energy);
                forces[p] += c * g;
                forces[n] += c * h;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn two_hand_worked_triplets_with_four_nodes() {
        // Nodes −2, −1, 0, 1. Kin at distance 2, strangers at 0 and √2: gaps 2, beyond the last node, and 2 − √2 = 0.59.
        let kin = SameLabel::between(&[0], &[0, 1, 1]);
        let (query, references) = ([1.0, 0.0], [-2.0, 0.0, 3.0, 0.0, 0.0, 1.0]);
        let sides =
            Sides::between(Vectors::new(&query, 2).unwrap(), Vectors::new(&references, 2).unwrap(), &kin);
        let gap = 2.0 - 2f64.sqrt();
        let mut loss = DynamicSoftMargin::new(GapHistogram::new(4), 0.5).unwrap();
        assert!(loss.pull(&sides).unwrap_err().to_string().contains("seen no triplet"));
        let found = loss.step(&sides, None).unwrap();
        let shares = [0.0, 0.0, (1.0 - gap) / 2.0, (1.0 + gap) / 2.0];
        for (found, wanted) in loss.histogram().shares.iter().zip(shares) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
        assert!((found.loss - (2.0 + shares[2] * gap) / 2.0).abs() < 1e-6, "{}", found.loss);
        // Two counts more, at half: ½ share + ½ count, over 1½.
        loss.observe(&sides, Some(&Tuples::Triplets(vec![[0, 0, 1], [0, 0, 1]]))).unwrap();
        assert!((loss.histogram().shares[3] - (shares[3] + 2.0) / 3.0).abs() < 1e-6);
        // Kept and taken up again.
        let kept: GapHistogram =
            serde_json::from_str(&serde_json::to_string(loss.histogram()).unwrap()).unwrap();
        assert_eq!(DynamicSoftMargin::new(kept, 0.5).unwrap().histogram().shares.len(), 4);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        let shares = |shares: &[f64]| GapHistogram { shares: shares.to_vec() };
        for bad in [shares(&[]), shares(&[0.5, 0.2]), shares(&[1.5, -0.5]), shares(&[f64::NAN])] {
            assert!(DynamicSoftMargin::new(bad, 0.1).is_err());
        }
        assert!(DynamicSoftMargin::new(GapHistogram::new(10), 0.0).is_err());
    }
}
