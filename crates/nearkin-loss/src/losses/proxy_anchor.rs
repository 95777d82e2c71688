//! The proxy-anchor loss.
//!
//! S. Kim, D. Kim, M. Cho, S. Kwak, "Proxy Anchor Loss for Deep Metric Learning", 2020, eq. 4. Here proxies are the anchors:
//! for a proxy with kin `x⁺` and strangers `x⁻` among the samples, with cosine similarities `s`:
//!
//! ```text
//! ℓ⁺ = ln(1 + Σ_{x⁺} e^{−α(s − δ)})      ℓ⁻ = ln(1 + Σ_{x⁻} e^{α(s + δ)})
//! ```
//!
//! one term of the first kind a proxy with kin, one of the second a proxy; each kind is reduced by itself, and they are added.

use nearkin_sweep::{Kin, Metric, Relation, Row};

use crate::classes::{ProxyInit, Spread, class_vectors};
use crate::exps::{Exps, exps};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The proxy-anchor loss. Reduced to the mean over proxies with kin, plus the mean over all proxies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProxyAnchor {
    margin: f32,
    alpha: f32,
}

impl Default for ProxyAnchor {
    /// The paper's and pytorch-metric-learning's: δ = 0.1, α = 32.
    fn default() -> Self {
        Self { margin: 0.1, alpha: 32.0 }
    }
}

impl ProxyAnchor {
    /// With the margin δ and the sharpness α.
    ///
    /// # Errors
    /// When δ is not finite, or α not above zero.
    pub fn new(margin: f32, alpha: f32) -> Result<Self, LossError> {
        Ok(Self {
            margin: check("margin", margin, |_| true, "finite")?,
            alpha: check("alpha", alpha, |a| a > 0.0, "above zero, and finite")?,
        })
    }

    fn pull_weighted(&self, sides: &Sides<'_>, weights: &[f32]) -> Result<Pull, LossError> {
        let proxies = class_vectors(sides)?;
        let turned = Turned { kin: sides.kin, samples: sides.queries.len() };
        let turned = Sides { queries: proxies, references: Some(sides.queries), kin: &turned, ..*sides };
        let found = pull_springs(&Anchored { loss: self, weights }, Metric::Cosine, &Reducer::Mean, &turned)?;
        Ok(Pull {
            query_gradient: found.reference_gradient,
            reference_gradient: found.query_gradient,
            ..found
        })
    }
}

impl Loss for ProxyAnchor {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &[])
    }

    /// As its peer has it, a sample of weight `w` counts `e^{w − 1}` times: also one that no tuple names counts.
    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &tuples.sample_weights(sides.queries.len(), false))
    }

    fn proxies(&self) -> Option<ProxyInit> {
        Some(ProxyInit { per_class: 1, spread: Spread::NormalByRows })
    }
}

/// The loss on rows of proxies, with a weight a sample; all weigh 1 when there are none.
struct Anchored<'a> {
    loss: &'a ProxyAnchor,
    weights: &'a [f32],
}

/// Attraction is part 0, repulsion part 1.
const KIN: usize = 0;
const STRANGERS: usize = 1;

impl Springs for Anchored<'_> {
    const TWO_PARTS: bool = true;

    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let ProxyAnchor { margin, alpha } = *self.loss;
        let of = |wanted: Relation, direction: f32| -> (Exps, Vec<f32>) {
            let exponent = |(j, relation): (usize, &Relation)| match relation {
                r if *r == wanted => {
                    let weight = self.weights.get(j).copied().unwrap_or(1.0);
                    alpha * (direction * row.scores[j] + margin) + (weight - 1.0)
                }
                _ => f32::NEG_INFINITY,
            };
            let mut pulls: Vec<f32> = row.relations.iter().enumerate().map(exponent).collect();
            (exps(&mut pulls), pulls)
        };
        let mut settle = |part: usize, direction: f32, all: Exps, pulls: Vec<f32>| {
            let (log, share) = all.log_with_one();
            let c = terms.add_part(part, log, 1.0) * direction * alpha * share as f32;
            forces.iter_mut().zip(pulls).for_each(|(g, x)| *g += c * x);
        };
        let (kin, pulls) = of(Relation::Kin, -1.0);
        if !kin.is_empty() {
            settle(KIN, -1.0, kin, pulls);
        }
        let (strangers, pulls) = of(Relation::Stranger, 1.0);
        settle(STRANGERS, 1.0, strangers, pulls);
    }
}

/// A kin relation with its sides exchanged.
struct Turned<'a> {
    kin: &'a dyn Kin,
    samples: usize,
}

impl Kin for Turned<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        for (sample, relation) in (first..self.samples).zip(out) {
            self.kin.relate(sample, query, std::slice::from_mut(relation));
        }
    }

    fn label(&self, query: usize) -> Option<u32> {
        self.kin.reference_label(query)
    }

    fn reference_label(&self, reference: usize) -> Option<u32> {
        self.kin.label(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_sample_between_two_proxies() {
        // Cosine 1 with its own proxy, 0 with the other: ln(1 + e^{−α(1 − δ)}) over one proxy with kin, and
        // (ln 1 + ln(1 + e^{αδ})) over two.
        let kin = SameLabel::between(&[1], &[0, 1]);
        let (sample, proxies) = ([2.0, 0.0], [0.0, 1.0, 3.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&sample, 2).unwrap(), Vectors::new(&proxies, 2).unwrap(), &kin);
        let found = Loss::pull(&ProxyAnchor::new(0.25, 4.0).unwrap(), &sides).unwrap();
        let wanted = (-3f64).exp().ln_1p() + 1f64.exp().ln_1p() / 2.0;
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
        assert_eq!(found.terms, 3);
        assert_eq!((found.query_gradient.len(), found.reference_gradient.len()), (2, 4));
    }

    #[test]
    fn a_batch_without_proxies_is_refused() {
        let kin = SameLabel::within(&[0, 0]);
        let sides = Sides::within(Vectors::new(&[1.0, 2.0], 1).unwrap(), &kin);
        assert!(Loss::pull(&ProxyAnchor::default(), &sides).is_err());
        assert!(ProxyAnchor::new(0.1, 0.0).is_err());
    }
}
