//! InfoNCE, the loss of contrastive predictive coding.
//!
//! A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, eq. 4; also
//! K. He et al., "Momentum Contrast for Unsupervised Visual Representation Learning" (MoCo), 2020, eq. 1. For a query `i` and
//! each of its kin `p` among the references `j`, with similarities `s`:
//!
//! ```text
//! ℓ_ip = −ln( e^{s_ip/τ} / Σ_j e^{s_ij/τ} )
//! ```
//!
//! one term a pair of kin. All other references are negatives, other kin too; where these should not be, take
//! [`NtXent`](super::NtXent). [`BothWays`](crate::BothWays) makes it CLIP's.

use nearkin_sweep::{Metric, Relation, Row};

use super::sharpness;
use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};

/// The InfoNCE loss. Reduced to the mean over pairs of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InfoNce {
    metric: Metric,
    /// 1/τ
    sharpness: f32,
}

impl InfoNce {
    /// With a similarity and temperature τ: MoCo's are the cosine and 0.07; CPC takes dot products and τ = 1.
    ///
    /// # Errors
    /// When the metric is a distance, or τ is not above zero or so small that a similarity over it leaves the range of f32.
    pub fn new(metric: Metric, temperature: f32) -> Result<Self, LossError> {
        if !metric.larger_is_nearer() {
            return Err(LossError::undefined(
                "InfoNCE",
                format!("{metric} is a distance: choose dot or cosine"),
            ));
        }
        Ok(Self { metric, sharpness: sharpness(temperature)? })
    }
}

impl Loss for InfoNce {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, self.metric, &Reducer::Mean, sides)
    }
}

impl Springs for InfoNce {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Excluded => f32::NEG_INFINITY,
                _ => self.sharpness * row.scores[j] + row.weight(j).ln(),
            };
        }
        let all = exps(forces);
        let log = all.log();
        let pulls: Vec<(usize, f32)> = row
            .kin()
            .map(|(p, s)| {
                let energy = log - f64::from(self.sharpness) * f64::from(s);
                (p, terms.add_part(0, energy, row.weight(p)) * self.sharpness)
            })
            .collect();
        // Each term's force is the share of a reference, less 1 at its own kin.
        let pushed: f32 = pulls.iter().map(|(_, c)| c).sum();
        let share = if pushed == 0.0 { 0.0 } else { pushed / all.sum as f32 };
        forces.iter_mut().for_each(|x| *x *= share);
        for (p, c) in pulls {
            forces[p] -= c;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_query_with_two_kin() {
        // Scores 2, 1, 0 at τ = ½, the first two kin: with Z = ln(e⁴ + e² + 1), ℓ = Z − 4 and Z − 2.
        let kin = SameLabel::between(&[1], &[1, 1, 0]);
        let sides = Sides::between(
            Vectors::new(&[1.0], 1).unwrap(),
            Vectors::new(&[2.0, 1.0, 0.0], 1).unwrap(),
            &kin,
        );
        let found = Loss::pull(&InfoNce::new(Metric::Dot, 0.5).unwrap(), &sides).unwrap();
        let z = (4f64.exp() + 2f64.exp() + 1.0).ln();
        assert!((found.loss - (z - 3.0)).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 2);
    }

    #[test]
    fn distances_and_a_temperature_of_zero_are_refused() {
        assert!(InfoNce::new(Metric::Euclidean, 0.1).unwrap_err().to_string().contains("euclidean"));
        assert!(InfoNce::new(Metric::Cosine, 0.0).is_err());
    }
}
