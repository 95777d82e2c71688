//! ArcFace, the additive angular margin.
//!
//! J. Deng, J. Guo, N. Xue, S. Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, eq. 3. With
//! the angle `θ_c` between a sample of class `y` and the vector of class `c`:
//!
//! ```text
//! ℓ = −ln( e^{s·t} / ( e^{s·t} + Σ_{c≠y} e^{s·cos θ_c} ) ),   t = cos(θ_y + m)           if θ_y ≤ π − m
//!                                                               cos θ_y − m sin m   beyond
//! ```
//!
//! one term a sample. Beyond `π − m` the cosine would rise again; the straight continuation is that of the authors' code.

use nearkin_sweep::{Metric, Row};

use crate::classes::{ProxyInit, Spread, margin_row, pull_classes};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::Terms;
use crate::springs::Springs;
use crate::tuples::Tuples;

/// ArcFace. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArcFace {
    margin: AngularMargin,
    scale: f32,
}

impl Default for ArcFace {
    /// pytorch-metric-learning's: m = 28.6°, s = 64.
    fn default() -> Self {
        Self { margin: AngularMargin::of(28.6f64.to_radians()), scale: 64.0 }
    }
}

impl ArcFace {
    /// With the margin m in degrees and the scale s.
    ///
    /// # Errors
    /// When m is not from 0 to 180, or s not above zero.
    pub fn new(degrees: f32, scale: f32) -> Result<Self, LossError> {
        Ok(Self { margin: AngularMargin::new(degrees)?, scale: check_scale(scale)? })
    }

    /// The paper's: m = 0.5 radians, s = 64.
    pub fn deng_2019() -> Self {
        Self { margin: AngularMargin::of(0.5), scale: 64.0 }
    }
}

impl Loss for ArcFace {
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

impl Springs for ArcFace {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        margin_row(row, terms, forces, self.scale, |cos| self.margin.target(cos));
    }
}

/// The angle that is added between a sample and its class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AngularMargin {
    radians: f64,
    cos: f64,
    sin: f64,
}

impl AngularMargin {
    pub(super) fn new(degrees: f32) -> Result<Self, LossError> {
        let degrees = check("margin", degrees, |m| (0.0..=180.0).contains(&m), "from 0 to 180 degrees")?;
        Ok(Self::of(f64::from(degrees).to_radians()))
    }

    pub(super) fn of(radians: f64) -> Self {
        Self { radians, cos: radians.cos(), sin: radians.sin() }
    }

    /// `t` as a function of `cos θ`, and its slope.
    pub(super) fn target(&self, cos: f32) -> (f32, f32) {
        let c = f64::from(cos);
        if c < -self.cos {
            return ((c - self.radians * self.sin) as f32, 1.0);
        }
        let sin = (1.0 - c * c).max(0.0).sqrt();
        // At θ = 0 the slope is infinite, but the cosine stands still there: what acts on vectors is taken as 0.
        let rising = if sin > 0.0 { self.sin * c / sin } else { 0.0 };
        ((c * self.cos - sin * self.sin) as f32, (self.cos + rising) as f32)
    }
}

pub(super) fn check_scale(scale: f32) -> Result<f32, LossError> {
    check("scale", scale, |s| s > 0.0, "above zero, and finite")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn pull(loss: &ArcFace, sample: &[f32]) -> f64 {
        let kin = SameLabel::between(&[1], &[0, 1]);
        let classes = [0.0, 1.0, 2.0, 0.0];
        let sides =
            Sides::between(Vectors::new(sample, 2).unwrap(), Vectors::new(&classes, 2).unwrap(), &kin);
        Loss::pull(loss, &sides).unwrap().loss
    }

    #[test]
    fn a_hand_worked_sample_on_its_class_and_one_opposite() {
        // θ = 0 and 90°: ℓ = ln(1 + e^{−s·cos 60°}).
        let loss = ArcFace::new(60.0, 4.0).unwrap();
        assert!((pull(&loss, &[3.0, 0.0]) - (-2f64).exp().ln_1p()).abs() < 1e-6);
        // θ = 180°: t = −1 − (π/3) sin 60°.
        let target = -1.0 - std::f64::consts::FRAC_PI_3 * 0.75f64.sqrt();
        assert!((pull(&loss, &[-3.0, 0.0]) - (-4.0 * target).exp().ln_1p()).abs() < 1e-5);
    }

    #[test]
    fn a_margin_beyond_the_circle_is_refused() {
        assert!(ArcFace::new(181.0, 64.0).unwrap_err().to_string().starts_with("margin = 181"));
        assert!(ArcFace::new(28.6, 0.0).is_err());
        let margin = ArcFace::deng_2019().margin;
        assert!((margin.radians.to_degrees() - 28.6).abs() < 0.1);
    }
}
