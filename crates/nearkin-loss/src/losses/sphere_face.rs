//! SphereFace.
//!
//! W. Liu, Y. Wen, Z. Yu, M. Li, B. Raj, L. Song, "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017:
//! [`LargeMarginSoftmax`] with class vectors of unit length,
//!
//! ```text
//! ℓ = −ln( e^{s‖x‖ψ(θ_y)} / ( e^{s‖x‖ψ(θ_y)} + Σ_{c≠y} e^{s‖x‖cos θ_c} ) )
//! ```
//!
//! one term a sample. It too was trained with ψ eased by the cosine.

use nearkin_sweep::Vectors;

use super::LargeMarginSoftmax;
use crate::classes::{ProxyInit, class_vectors};
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::tuples::Tuples;
use crate::unit::Unit;

/// SphereFace. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SphereFace(LargeMarginSoftmax);

impl SphereFace {
    /// With the margin m, which multiplies angles, and the scale s: 4 and 1 are the paper's and pytorch-metric-learning's, and
    /// the default.
    ///
    /// # Errors
    /// When m is not from 1 to 16, or s not above zero.
    pub fn new(margin: u32, scale: f32) -> Result<Self, LossError> {
        Ok(Self(LargeMarginSoftmax::new(margin, scale)?))
    }

    /// With the cosine mixed in: see [`LargeMarginSoftmax::eased`].
    ///
    /// # Errors
    /// When λ is negative or not finite.
    pub fn eased(self, lambda: f32) -> Result<Self, LossError> {
        Ok(Self(self.0.eased(lambda)?))
    }

    fn pull_weighted(&self, sides: &Sides<'_>, weights: &[f32]) -> Result<Pull, LossError> {
        let classes = class_vectors(sides)?;
        let unit = Unit::of(classes);
        let references = Some(Vectors::new(&unit.vectors, classes.dim())?);
        let mut found = self.0.pull_weighted(&Sides { references, ..*sides }, weights)?;
        // This also takes out what pulls at the length that the class vectors no longer have.
        unit.chain(classes.dim(), &mut found.reference_gradient);
        Ok(found)
    }
}

impl Loss for SphereFace {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &[])
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &tuples.sample_weights(sides.queries.len(), false))
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.0.proxies()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn a_hand_worked_sample_at_half_a_right_angle() {
        // θ = 45°, m = 3: ψ = cos 135° = −√½. ‖x‖ = √2: the logits are −1 and, of the other class, 1.
        let kin = SameLabel::between(&[1], &[0, 1]);
        let (sample, classes) = ([1.0, 1.0], [0.0, 5.0, 2.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&sample, 2).unwrap(), Vectors::new(&classes, 2).unwrap(), &kin);
        let found = Loss::pull(&SphereFace::new(3, 1.0).unwrap(), &sides).unwrap();
        assert!((found.loss - 2f64.exp().ln_1p()).abs() < 1e-6, "{}", found.loss);
        // The lengths of class vectors do not matter.
        assert!(found.reference_gradient[1].abs() < 1e-7 && found.reference_gradient[2].abs() < 1e-7);
    }
}
