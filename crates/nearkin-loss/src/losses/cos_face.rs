//! CosFace, the additive cosine margin.
//!
//! H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018, eq. 4; F. Wang et al., "Additive Margin
//! Softmax for Face Verification", 2018. For a sample of class `y` and class vectors `w`:
//!
//! ```text
//! ℓ = −ln( e^{s(cos(x, w_y) − m)} / ( e^{s(cos(x, w_y) − m)} + Σ_{c≠y} e^{s·cos(x, w_c)} ) )
//! ```
//!
//! one term a sample.

use nearkin_sweep::{Metric, Row};

use super::arc_face::check_scale;
use crate::classes::{ProxyInit, Spread, margin_row, pull_classes};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::Terms;
use crate::springs::Springs;
use crate::tuples::Tuples;

/// CosFace. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosFace {
    margin: f32,
    scale: f32,
}

impl Default for CosFace {
    /// The paper's and pytorch-metric-learning's: m = 0.35, s = 64.
    fn default() -> Self {
        Self { margin: 0.35, scale: 64.0 }
    }
}

impl CosFace {
    /// With the margin m, of the cosine, and the scale s.
    ///
    /// # Errors
    /// When m is negative or not finite, or s not above zero.
    pub fn new(margin: f32, scale: f32) -> Result<Self, LossError> {
        let margin = check("margin", margin, |m| m >= 0.0, "zero or more, and finite")?;
        Ok(Self { margin, scale: check_scale(scale)? })
    }
}

impl Loss for CosFace {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_classes(self, Metric::Cosine, sides, &[])
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let weights = tuples.sample_weights(sides.queries.len(), false);
        pull_classes(self, Metric::Cosine, sides, &weights)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        Some(ProxyInit { per_class: 1, spread: Spread::Normal })
    }
}

impl Springs for CosFace {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        margin_row(row, terms, forces, self.scale, |cos| (cos - self.margin, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_sample_between_two_classes() {
        // Cosine 1 with its own class, 0 with the other: ℓ = ln(1 + e^{−s(1 − m)}).
        let kin = SameLabel::between(&[1], &[0, 1]);
        let (sample, classes) = ([3.0, 0.0], [0.0, 1.0, 2.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&sample, 2).unwrap(), Vectors::new(&classes, 2).unwrap(), &kin);
        let found = Loss::pull(&CosFace::new(0.25, 4.0).unwrap(), &sides).unwrap();
        assert!((found.loss - (-3f64).exp().ln_1p()).abs() < 1e-6, "{}", found.loss);
    }

    #[test]
    fn a_negative_margin_is_refused() {
        assert!(CosFace::new(-0.1, 64.0).unwrap_err().to_string().starts_with("margin = -0.1"));
        assert!(CosFace::new(0.35, f32::INFINITY).is_err());
    }
}
