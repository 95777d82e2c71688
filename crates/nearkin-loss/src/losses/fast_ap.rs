//! FastAP.
//!
//! F. Cakir, K. He, X. Xia, B. Kulis, S. Sclaroff, "Deep Metric Learning to Rank", 2019. For an anchor, with the squared
//! distances of unit vectors, `d² = 2 − 2 cos`, in [0, 4]:
//!
//! ```text
//! h⁺_l, h⁻_l = Σ max(0, 1 − |d² − c_l| L/4) over kin, over strangers,   c_l = 4l/L,  l = 0 … L
//! ℓ = 1 − (1/|kin|) Σ_l h⁺_l H⁺_l / H_l
//! ```
//!
//! where `H` cumulates both histograms up to `l`, and `H⁺` that of the kin; one term an anchor with kin.
//!
//! Mined tuples weigh anchors: each term is multiplied by how often its anchor occurs, over the most that any does.

use nearkin_sweep::{Metric, Relation, Row};

use crate::loss::{Loss, LossError, Pull, Sides};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The FastAP loss. Reduced to the mean over anchors with kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FastAp {
    bins: usize,
}

impl Default for FastAp {
    /// pytorch-metric-learning's: 10 bins.
    fn default() -> Self {
        Self { bins: 10 }
    }
}

impl FastAp {
    /// With `L` bins.
    ///
    /// # Errors
    /// When there is no bin, or more than a million.
    pub fn new(bins: usize) -> Result<Self, LossError> {
        if !(1..=1_000_000).contains(&bins) {
            return Err(LossError::OutOfRange { name: "bins", found: bins as f64, wanted: "1 to a million" });
        }
        Ok(Self { bins })
    }

    /// The bin below a cosine, and how far beyond it: `d²` is shared between that bin and the next.
    fn place(&self, cosine: f32) -> (usize, f64) {
        let bins = self.bins as f64;
        let z = ((1.0 - f64::from(cosine)) * bins / 2.0).clamp(0.0, bins);
        let bin = (z as usize).min(self.bins - 1);
        (bin, z - bin as f64)
    }
}

impl Loss for FastAp {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(&Weighted { loss: self, weights: &[] }, Metric::Cosine, &Reducer::Mean, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let weights = tuples.sample_weights(sides.queries.len(), sides.references.is_some());
        pull_springs(&Weighted { loss: self, weights: &weights }, Metric::Cosine, &Reducer::Mean, sides)
    }
}

/// The loss with a weight an anchor.
struct Weighted<'a> {
    loss: &'a FastAp,
    /// Empty when all weigh 1.
    weights: &'a [f32],
}

impl Springs for Weighted<'_> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let weight = self.weights.get(row.query).copied().unwrap_or(1.0);
        let bins = self.loss.bins;
        let (mut kin, mut strangers) = (vec![0.0; bins + 1], vec![0.0; bins + 1]);
        let mut count = 0.0;
        for (j, (relation, score)) in row.relations.iter().zip(row.scores).enumerate() {
            let histogram = match relation {
                Relation::Kin => &mut kin,
                Relation::Stranger => &mut strangers,
                Relation::Excluded => continue,
            };
            let (bin, beyond) = self.loss.place(*score);
            let counts = f64::from(row.weight(j));
            histogram[bin] += counts * (1.0 - beyond);
            histogram[bin + 1] += counts * beyond;
            count += if *relation == Relation::Kin { counts } else { 0.0 };
        }
        if count == 0.0 {
            return;
        }
        // Each bin's precision, and what one more kin or stranger in a bin does to those at and beyond it.
        let (mut precision, mut seen) = (0.0, [0.0; 2]);
        let mut slopes = vec![[0.0; 2]; bins + 1];
        for (l, slope) in slopes.iter_mut().enumerate() {
            seen = [seen[0] + kin[l], seen[1] + strangers[l]];
            let all = seen[0] + seen[1];
            // A bin up to which there is nothing has nothing to lose. One that is not a number is not passed over.
            if all != 0.0 {
                precision += kin[l] * seen[0] / all;
                *slope = [kin[l] * seen[1] / (all * all), -kin[l] * seen[0] / (all * all)];
            }
            kin[l] = if all != 0.0 { seen[0] / all } else { 0.0 };
        }
        let mut later = [0.0; 2];
        for (slope, precision_here) in slopes.iter_mut().zip(&kin).rev() {
            later = [later[0] + slope[0], later[1] + slope[1]];
            *slope = [later[0] + precision_here, later[1]];
        }
        let c = terms.add(f64::from(weight) * (1.0 - precision / count)) * weight;
        // ∂ℓ/∂cos = −(1/|kin|) ∂precision/∂z · ∂z/∂cos, with z = (1 − cos) L/2.
        let scale = f64::from(c) * bins as f64 / (2.0 * count);
        for (j, force) in forces.iter_mut().enumerate() {
            let kind = match row.relations[j] {
                Relation::Kin => 0,
                Relation::Stranger => 1,
                Relation::Excluded => continue,
            };
            let (bin, _) = self.loss.place(row.scores[j]);
            let slope = slopes[bin + 1][kind] - slopes[bin][kind];
            *force = (scale * slope * f64::from(row.weight(j))) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_anchor_in_two_bins() {
        // d²: kin 2, strangers 0 and 4, each at a bin's centre: h⁺ = 0 1 0, h⁻ = 1 0 1. Precision at the kin: 1/2.
        let kin = SameLabel::between(&[0], &[0, 1, 1]);
        let (query, references) = ([1.0, 0.0], [0.0, 3.0, 2.0, 0.0, -1.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&query, 2).unwrap(), Vectors::new(&references, 2).unwrap(), &kin);
        let found = FastAp::new(2).unwrap().pull(&sides).unwrap();
        assert!((found.loss - 0.5).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 1);
    }

    #[test]
    fn no_bins_are_refused() {
        assert!(FastAp::new(0).unwrap_err().to_string().starts_with("bins = 0"));
    }
}
