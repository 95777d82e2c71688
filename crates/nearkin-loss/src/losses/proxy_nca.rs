//! Proxy-NCA.
//!
//! Y. Movshovitz-Attias, A. Toshev, T. Leung, S. Ioffe, S. Singh, "No Fuss Distance Metric Learning using Proxies", 2017.
//! For a sample of class `y` and proxies `p`:
//!
//! ```text
//! ℓ = −ln( e^{−α‖x − p_y‖²} / Σ_c e^{−α‖x − p_c‖²} )
//! ```
//!
//! one term a sample. In the paper the sum leaves out the sample's own proxy, `c ≠ y`, and ℓ may fall below zero;
//! pytorch-metric-learning and E. Teh et al., "ProxyNCA++", 2020, keep it.

use nearkin_sweep::{Metric, Row};

use crate::classes::{ProxyInit, Spread, cross_entropy, pull_classes};
use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::Terms;
use crate::springs::Springs;
use crate::tuples::Tuples;

/// Proxy-NCA. Reduced to the mean over samples.
///
/// Of vectors as they are given; the paper and its peers take those of unit length: [`OnSphere`](crate::OnSphere).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProxyNca {
    scale: f32,
    own_below: bool,
}

impl Default for ProxyNca {
    /// pytorch-metric-learning's: α = 1, with the own proxy in the sum.
    fn default() -> Self {
        Self { scale: 1.0, own_below: true }
    }
}

impl ProxyNca {
    /// With the sharpness α.
    ///
    /// # Errors
    /// When α is not above zero.
    pub fn new(scale: f32) -> Result<Self, LossError> {
        Ok(Self { scale: check("scale", scale, |a| a > 0.0, "above zero, and finite")?, own_below: true })
    }

    /// As published: the sum leaves out the own proxy. Of a single class there is then no term.
    #[must_use]
    pub fn without_own_proxy(self) -> Self {
        Self { own_below: false, ..self }
    }
}

impl Loss for ProxyNca {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_classes(self, Metric::SquaredEuclidean, sides, &[])
    }

    /// A sample weighs as often as it is an anchor.
    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let weights = tuples.sample_weights(sides.queries.len(), true);
        pull_classes(self, Metric::SquaredEuclidean, sides, &weights)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        Some(ProxyInit { per_class: 1, spread: Spread::Normal })
    }
}

impl Springs for ProxyNca {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        // A sample whose class has no proxy has no term.
        let Some((own, distance)) = row.kin().next() else { return };
        forces.iter_mut().zip(row.scores).for_each(|(x, d)| *x = -self.scale * d);
        let c = if self.own_below {
            terms.add(cross_entropy(forces, own))
        } else {
            forces[own] = f32::NEG_INFINITY;
            let others = exps(forces);
            if others.is_empty() {
                return;
            }
            let share = (1.0 / others.sum) as f32;
            forces.iter_mut().for_each(|x| *x *= share);
            forces[own] = -1.0;
            terms.add(others.log() + f64::from(self.scale) * f64::from(distance))
        };
        forces.iter_mut().for_each(|x| *x *= -c * self.scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn pull(loss: &ProxyNca, classes: &[u32], proxies: &[f32]) -> Pull {
        let kin = SameLabel::between(&[1], classes);
        let sides = Sides::between(Vectors::new(&[1.0], 1).unwrap(), Vectors::new(proxies, 1).unwrap(), &kin);
        Loss::pull(loss, &sides).unwrap()
    }

    #[test]
    fn a_hand_worked_sample_between_two_proxies() {
        // Squared distances: 4 to its own proxy, 1 to the other. ℓ = ln(1 + e^{2·(4 − 1)}), or without its own 2·(4 − 1).
        let loss = ProxyNca::new(2.0).unwrap();
        let found = pull(&loss, &[1, 0], &[3.0, 2.0]);
        assert!((found.loss - 6f64.exp().ln_1p()).abs() < 1e-5, "{}", found.loss);
        let found = pull(&loss.without_own_proxy(), &[1, 0], &[3.0, 2.0]);
        assert!((found.loss - 6.0).abs() < 1e-5, "{}", found.loss);
        // ∂ℓ/∂x = 2·2·((1 − 3) − (1 − 2))
        assert!((found.query_gradient[0] + 4.0).abs() < 1e-5, "{:?}", found.query_gradient);
    }

    #[test]
    fn a_class_alone_has_no_term_without_its_own_proxy() {
        let found = pull(&ProxyNca::default().without_own_proxy(), &[1], &[3.0]);
        assert_eq!((found.loss, found.terms), (0.0, 0));
        assert!(ProxyNca::new(0.0).is_err());
    }
}
