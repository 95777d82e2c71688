//! PNP: penalising negatives before positives.
//!
//! Z. Li et al., "Rethinking the Optimization of Average Precision: Only Penalizing Negative Instances before Positive Ones is
//! Enough", 2022. For a query `q`, the members `i` of its class and its strangers `n`, with cosine similarities
//! `s`:
//!
//! ```text
//! R_i = Σ_n σ((s_n − s_i)/τ)      ℓ_q = (1/|class|) Σ_i f(R_i)
//! ```
//!
//! one term a query with kin. Among one set the query is a member of its own class, at similarity 1. [`PnpVariant`] is `f`.
//!
//! Mined tuples weigh queries: each term is multiplied by how often its query occurs, over the most that any does.
//! Weights of pairs have no effect.

use nearkin_sweep::{Metric, Relation, Row};
use serde::{Deserialize, Serialize};

use super::sharpness;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::ranks::{Ahead, members};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// What `R` strangers before a member cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PnpVariant {
    /// PNP-O: `R`.
    #[default]
    O,
    /// PNP-I_u: `(1 + R) ln(1 + R)`, whose slope grows without bound.
    Iu,
    /// PNP-I_b: `(bR − ln(1 + bR))/b²`, whose slope grows to `1/b`.
    Ib {
        /// b; pytorch-metric-learning's is 2.
        b: f32,
    },
    /// PNP-D_s: `ln(1 + R)`, whose slope falls.
    Ds,
    /// PNP-D_q: `1 − (1 + R)^{−α}`, whose slope falls faster.
    Dq {
        /// α; pytorch-metric-learning's is 1.
        alpha: f32,
    },
}

impl PnpVariant {
    /// `f(R)` and `f'(R)`.
    fn cost(self, r: f64) -> (f64, f64) {
        match self {
            PnpVariant::O => (r, 1.0),
            PnpVariant::Iu => ((1.0 + r) * r.ln_1p(), 1.0 + r.ln_1p()),
            PnpVariant::Ib { b } => {
                let b = f64::from(b);
                ((b * r - (b * r).ln_1p()) / (b * b), r / (1.0 + b * r))
            }
            PnpVariant::Ds => (r.ln_1p(), 1.0 / (1.0 + r)),
            PnpVariant::Dq { alpha } => {
                let alpha = f64::from(alpha);
                (-(-alpha * r.ln_1p()).exp_m1(), alpha * (1.0 + r).powf(-alpha - 1.0))
            }
        }
    }
}

/// The PNP loss. Reduced to the mean over queries with kin. Costs `O(n)` for each pair of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pnp {
    /// 1/τ
    sharpness: f32,
    variant: PnpVariant,
}

impl Pnp {
    /// With temperature τ: 0.01 is the paper's and pytorch-metric-learning's.
    ///
    /// # Errors
    /// When τ, `b` or α is not above zero, or τ so small that a similarity over it leaves the range of f32.
    pub fn new(variant: PnpVariant, temperature: f32) -> Result<Self, LossError> {
        let positive = |name, value| check(name, value, |x| x > 0.0, "above zero, and finite");
        match variant {
            PnpVariant::Ib { b } => positive("b", b)?,
            PnpVariant::Dq { alpha } => positive("alpha", alpha)?,
            _ => 0.0,
        };
        Ok(Self { sharpness: sharpness(temperature)?, variant })
    }
}

impl Loss for Pnp {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let among_one_set = sides.references.is_none();
        let springs = Weighted { loss: self, among_one_set, weights: &[] };
        pull_springs(&springs, Metric::Cosine, &Reducer::Mean, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let among_one_set = sides.references.is_none();
        let weights = tuples.sample_weights(sides.queries.len(), !among_one_set);
        let springs = Weighted { loss: self, among_one_set, weights: &weights };
        pull_springs(&springs, Metric::Cosine, &Reducer::Mean, sides)
    }
}

/// The loss with a weight a query.
struct Weighted<'a> {
    loss: &'a Pnp,
    among_one_set: bool,
    /// Empty when all weigh 1.
    weights: &'a [f32],
}

impl Springs for Weighted<'_> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let &Pnp { sharpness, variant } = self.loss;
        let weight = self.weights.get(row.query).copied().unwrap_or(1.0);
        if row.kin().next().is_none() {
            return;
        }
        let members = members(row, self.among_one_set);
        let size = members.len() as f64;
        let mut energy = 0.0;
        for (i, s) in members {
            let strangers = Ahead::of(row, Relation::Stranger, s, None, sharpness);
            let (cost, slope) = variant.cost(strangers.count());
            energy += cost / size;
            let pushed = strangers.push(slope / size, sharpness, forces);
            if let Some(i) = i {
                forces[i] -= pushed;
            }
        }
        let c = terms.add(f64::from(weight) * energy) * weight;
        forces.iter_mut().for_each(|g| *g *= c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn every_variant_on_a_hand_worked_query_with_one_stranger_ahead() {
        // Cosines: kin 0, strangers 1 and −1; at τ = ½, σ(2) and σ(−2) are ahead of the kin: R = 1.
        let kin = SameLabel::between(&[0], &[0, 1, 1]);
        let (query, references) = ([1.0, 0.0], [0.0, 3.0, 2.0, 0.0, -1.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&query, 2).unwrap(), Vectors::new(&references, 2).unwrap(), &kin);
        for (variant, wanted) in [
            (PnpVariant::O, 1.0),
            (PnpVariant::Iu, 2.0 * 2f64.ln()),
            (PnpVariant::Ib { b: 2.0 }, (2.0 - 3f64.ln()) / 4.0),
            (PnpVariant::Ds, 2f64.ln()),
            (PnpVariant::Dq { alpha: 2.0 }, 0.75),
        ] {
            let found = Pnp::new(variant, 0.5).unwrap().pull(&sides).unwrap();
            assert!((found.loss - wanted).abs() < 1e-6, "{variant:?}: {} for {wanted}", found.loss);
            assert_eq!(found.terms, 1);
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        assert!(Pnp::new(PnpVariant::O, 0.0).is_err());
        assert!(Pnp::new(PnpVariant::Ib { b: 0.0 }, 0.01).unwrap_err().to_string().starts_with("b = 0"));
        assert!(Pnp::new(PnpVariant::Dq { alpha: -1.0 }, 0.01).is_err());
    }
}
