//! The multi-similarity loss.
//!
//! X. Wang, X. Han, W. Huang, D. Dong, M. Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric
//! Learning", 2019, eq. 15, without its miner ([`MultiSimilarityMiner`](crate::miners::MultiSimilarityMiner)). For an anchor with kin
//! `p` and strangers `n`, with cosine similarities `s`:
//!
//! ```text
//! ℓ = (1/α) ln(1 + Σ_p e^{−α(s_p − λ)}) + (1/β) ln(1 + Σ_n e^{β(s_n − λ)})
//! ```
//!
//! one term an anchor, also one that lacks kin or strangers.

use nearkin_sweep::{Bond, Metric, PairSprings, Relation, Row, exp};

use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, SumSprings, pairs_meet_once, pull_springs, pull_sums};
use crate::tuples::Tuples;

/// The multi-similarity loss. Reduced to the mean over anchors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MultiSimilarity {
    alpha: f32,
    beta: f32,
    base: f32,
}

impl Default for MultiSimilarity {
    /// The paper's and pytorch-metric-learning's: α = 2, β = 50, λ = 0.5.
    fn default() -> Self {
        Self { alpha: 2.0, beta: 50.0, base: 0.5 }
    }
}

impl MultiSimilarity {
    /// With the sharpness of attraction α, of repulsion β, and the similarity λ at which both begin.
    ///
    /// # Errors
    /// When α or β is not above zero, or λ is not finite.
    pub fn new(alpha: f32, beta: f32, base: f32) -> Result<Self, LossError> {
        Ok(Self {
            alpha: check("alpha", alpha, |a| a > 0.0, "above zero, and finite")?,
            beta: check("beta", beta, |b| b > 0.0, "above zero, and finite")?,
            base: check("base", base, |_| true, "finite")?,
        })
    }

    /// Whether no exponential of a cosine leaves the range of f32.
    fn stays_in_range(&self) -> bool {
        self.alpha.max(self.beta) * (1.0 + self.base.abs()) < 80.0
    }
}

impl Loss for MultiSimilarity {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        if pairs_meet_once(sides) && self.stays_in_range() {
            pull_sums(self, Metric::Cosine, &Reducer::Mean, sides)
        } else {
            pull_springs(self, Metric::Cosine, &Reducer::Mean, sides)
        }
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull(&Sides { kin: &tuples.as_kin(sides)?.once(), ..*sides })
    }
}

impl Springs for MultiSimilarity {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let mut of = |wanted: Relation, sharpness: f32| {
            let exponent = |(j, relation): (usize, &Relation)| match relation {
                r if *r == wanted => sharpness * (row.scores[j] - self.base) + row.weight(j).ln(),
                _ => f32::NEG_INFINITY,
            };
            let mut pulls: Vec<f32> = row.relations.iter().enumerate().map(exponent).collect();
            let (log, share) = exps(&mut pulls).log_with_one();
            forces.iter_mut().zip(&pulls).for_each(|(g, x)| *g += sharpness.signum() * share as f32 * x);
            log / f64::from(sharpness.abs())
        };
        let energy = of(Relation::Kin, -self.alpha) + of(Relation::Stranger, self.beta);
        let c = terms.add(energy);
        forces.iter_mut().for_each(|g| *g *= c);
    }
}

/// Sums: those of the two exponentials. Ends: what one of each weighs.
impl PairSprings<2, 2> for MultiSimilarity {
    #[inline(always)]
    fn add(&self, score: f32, bond: Bond) -> [f32; 2] {
        // One exponential serves both: a pair is kin or a stranger.
        let sharpness = if bond.kin > 0.0 { -self.alpha } else { self.beta };
        let x = exp(sharpness * (score - self.base));
        [x * bond.kin, x * bond.stranger]
    }

    #[inline(always)]
    fn force(&self, score: f32, bond: Bond, [kin, stranger]: [f32; 2]) -> f32 {
        let sharpness = if bond.kin > 0.0 { -self.alpha } else { self.beta };
        exp(sharpness * (score - self.base)) * (bond.stranger * stranger - bond.kin * kin)
    }
}

impl SumSprings<2, 2> for MultiSimilarity {
    fn settle(&self, &[kin, strangers]: &[f64; 2], terms: &mut Terms<'_>) -> [f32; 2] {
        let energy = kin.ln_1p() / f64::from(self.alpha) + strangers.ln_1p() / f64::from(self.beta);
        let c = f64::from(terms.add(energy));
        [(c / (1.0 + kin)) as f32, (c / (1.0 + strangers)) as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_of_two_classes_at_right_angles() {
        // Each anchor: one kin at similarity 1, two strangers at 0.
        let kin = SameLabel::within(&[0, 0, 1, 1]);
        let points = [2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 3.0];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let wanted = (-1f64).exp().ln_1p() / 2.0 + (2.0 * (-5f64).exp()).ln_1p() / 10.0;
        let loss = MultiSimilarity::new(2.0, 10.0, 0.5).unwrap();
        let found = Loss::pull(&loss, &sides).unwrap();
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
        assert_eq!(found.terms, 4);
    }
}
