//! Neighbourhood components analysis.
//!
//! J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov, "Neighbourhood Components Analysis", 2004: the second of its two
//! objectives, the log-probability that a sample's stochastic neighbour is of its class. For an anchor `i` with kin `P`, and
//! `A` all others, kin and strangers, with squared Euclidean distances `d²`:
//!
//! ```text
//! ℓ_i = −ln( Σ_{p∈P} e^{−κ d²_ip} / Σ_{a∈A} e^{−κ d²_ia} )
//! ```
//!
//! one term an anchor with kin; other anchors stand in denominators only. The paper has κ = 1, since it learns the scale.

use nearkin_sweep::{Metric, Relation, Row, wide};

use crate::exps::{exps_apart, sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The NCA loss. Reduced to the mean over anchors with kin. Tuples weigh the samples, by how often each occurs in them.
///
/// pytorch-metric-learning's is [`OnSphere`](crate::OnSphere)`(Nca)`. It drops an anchor whose probability underflows; here
/// that anchor has its term, and pulls hardest of all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nca {
    scale: f32,
}

impl Default for Nca {
    /// The paper's and pytorch-metric-learning's: κ = 1.
    fn default() -> Self {
        Self { scale: 1.0 }
    }
}

impl Nca {
    /// With the scale κ of squared distances: the larger, the fewer neighbours count.
    ///
    /// # Errors
    /// When κ is not above zero.
    pub fn new(scale: f32) -> Result<Self, LossError> {
        Ok(Self { scale: check("scale", scale, |k| k > 0.0, "above zero, and finite")? })
    }
}

impl Loss for Nca {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(&Weighted { loss: self, weights: &[] }, Metric::SquaredEuclidean, &Reducer::Mean, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let weights = tuples.sample_weights(sides.queries.len(), sides.references.is_some());
        let springs = Weighted { loss: self, weights: &weights };
        pull_springs(&springs, Metric::SquaredEuclidean, &Reducer::Mean, sides)
    }
}

/// The loss with a weight a sample.
struct Weighted<'a> {
    loss: &'a Nca,
    /// Empty when all weigh 1.
    weights: &'a [f32],
}

impl Springs for Weighted<'_> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let scale = self.loss.scale;
        if row.counts().0 == 0 {
            return;
        }
        wide(|| forces.iter_mut().zip(row.scores).for_each(|(x, s)| *x = -scale * s));
        forces.iter_mut().zip(row.weights).for_each(|(x, w)| *x += w.ln());
        // With l the logs of the two sums: ℓ = ln(1 + e^{l⁻ − l⁺}), ∂ℓ/∂l⁻ = −∂ℓ/∂l⁺ = σ(l⁻ − l⁺).
        let [kin, strangers] = exps_apart(forces, row.relations);
        let behind = strangers.log() - kin.log();
        let weight = self.weights.get(row.query).copied().unwrap_or(1.0);
        let c = f64::from(terms.add(f64::from(weight) * softplus(behind)) * weight * scale) * sigmoid(behind);
        let (pull, push) = ((c * kin.share()) as f32, (c * strangers.share()) as f32);
        wide(|| {
            for (g, relation) in forces.iter_mut().zip(row.relations) {
                *g *= if *relation == Relation::Kin { pull } else { -push };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_on_a_line() {
        // Anchor 0: kin at 1² = 1, stranger at 2² = 4: ℓ = ln(1 + e^{−3κ}). Anchor 1: kin at 1, stranger at 1: ℓ = ln 2.
        // Anchor 2 has no kin, and no term.
        let kin = SameLabel::within(&[0, 0, 1]);
        let points = [0.0, 1.0, 2.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = Nca::new(0.5).unwrap().pull(&sides).unwrap();
        let wanted = ((-1.5f64).exp().ln_1p() + 2f64.ln()) / 2.0;
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
        assert_eq!(found.terms, 2);
    }

    #[test]
    fn an_anchor_whose_probability_underflows_still_pulls() {
        // Kin at 100² = 10⁴, a stranger at 1: ℓ = 9,999.
        let labels = [0];
        let kin = SameLabel::between(&labels, &[0, 1]);
        let (query, references) = ([0.0], [100.0, 1.0]);
        let sides =
            Sides::between(Vectors::new(&query, 1).unwrap(), Vectors::new(&references, 1).unwrap(), &kin);
        let found = Nca::default().pull(&sides).unwrap();
        assert!((found.loss - 9_999.0).abs() < 1e-2, "{}", found.loss);
        assert_eq!(found.reference_gradient, [200.0, -2.0]);
    }

    #[test]
    fn a_scale_of_zero_is_refused() {
        assert!(Nca::new(0.0).unwrap_err().to_string().starts_with("scale = 0"));
    }
}
