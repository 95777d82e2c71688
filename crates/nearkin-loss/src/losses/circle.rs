//! The circle loss.
//!
//! Y. Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", 2020. For an anchor with
//! kin `p` and strangers `n`, with cosine similarities `s`:
//!
//! ```text
//! ℓ = ln( 1 + Σ_n e^{γ α_n (s_n − m)} · Σ_p e^{−γ α_p (s_p − 1 + m)} ),   α_n = max(0, s_n + m),   α_p = max(0, 1 + m − s_p)
//! ```
//!
//! one term an anchor; it is 0 for one that lacks kin or strangers. The gradient takes the paces `α` for constants, as published.

use nearkin_sweep::{Metric, Relation, Row, wide};

use crate::exps::{exps_apart, sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The circle loss. Reduced to the mean over active anchors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circle {
    margin: f32,
    gamma: f32,
}

impl Default for Circle {
    /// The paper's for fine-grained retrieval and pytorch-metric-learning's: m = 0.4, γ = 80.
    fn default() -> Self {
        Self { margin: 0.4, gamma: 80.0 }
    }
}

impl Circle {
    /// With the relaxation margin m and the scale γ. The paper's for faces are 0.25 and 256.
    ///
    /// # Errors
    /// When m is not finite, or γ not above zero.
    pub fn new(margin: f32, gamma: f32) -> Result<Self, LossError> {
        Ok(Self {
            margin: check("margin", margin, |_| true, "finite")?,
            gamma: check("gamma", gamma, |g| g > 0.0, "above zero, and finite")?,
        })
    }

    /// `γ α` of a pair.
    #[inline(always)]
    fn pace(&self, score: f32, kin: bool) -> f32 {
        let short = self.margin + if kin { 1.0 - score } else { score };
        if short <= 0.0 { 0.0 } else { self.gamma * short }
    }
}

impl Loss for Circle {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, Metric::Cosine, &Reducer::MeanActive, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull(&Sides { kin: &tuples.as_kin(sides)?.once(), ..*sides })
    }
}

impl Springs for Circle {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let (kin, strangers) = row.counts();
        if kin == 0 || strangers == 0 {
            terms.add(0.0);
            return;
        }
        let pairs = row.scores.iter().zip(row.relations);
        wide(|| {
            for (x, (&s, relation)) in forces.iter_mut().zip(pairs.clone()) {
                let kin = *relation == Relation::Kin;
                let beyond = if kin { 1.0 - self.margin - s } else { s - self.margin };
                *x = self.pace(s, kin) * beyond;
            }
        });
        forces.iter_mut().zip(row.weights).for_each(|(x, w)| *x += w.ln());
        // With l the logs of the two sums: ℓ = ln(1 + e^{l⁺ + l⁻}), ∂ℓ/∂l⁺ = ∂ℓ/∂l⁻ = σ(l⁺ + l⁻).
        let [kin, strangers] = exps_apart(forces, row.relations);
        let both = kin.log() + strangers.log();
        let c = f64::from(terms.add(softplus(both))) * sigmoid(both);
        let (pull, push) = ((c * kin.share()) as f32, (c * strangers.share()) as f32);
        wide(|| {
            for (g, (&s, relation)) in forces.iter_mut().zip(pairs.clone()) {
                let kin = *relation == Relation::Kin;
                *g *= self.pace(s, kin) * if kin { -pull } else { push };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn loss(points: &[f32], labels: &[u32]) -> Pull {
        let kin = SameLabel::within(labels);
        Circle::new(0.25, 4.0).unwrap().pull(&Sides::within(Vectors::new(points, 2).unwrap(), &kin)).unwrap()
    }

    #[test]
    fn a_hand_worked_batch_of_two_classes_at_right_angles() {
        // Each anchor: one kin at 1, two strangers at 0. α = m for all, and each is m short of its aim:
        // ℓ = ln(1 + 2 e^{−γm²} e^{−γm²}) = ln(1 + 2 e^{−½}).
        let found = loss(&[2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 3.0], &[0, 0, 1, 1]);
        assert!((found.loss - (2.0 * (-0.5f64).exp()).ln_1p()).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 4);
    }

    #[test]
    fn an_anchor_without_kin_counts_as_zero() {
        let found = loss(&[1.0, 0.0, 1.0, 0.5, 0.0, 1.0], &[0, 0, 1]);
        assert_eq!((found.terms, found.active), (3, 2));
    }

    #[test]
    fn a_gamma_of_zero_is_refused() {
        assert!(Circle::new(0.25, 0.0).unwrap_err().to_string().starts_with("gamma = 0"));
        assert!(Circle::new(f32::NAN, 80.0).is_err());
    }
}
