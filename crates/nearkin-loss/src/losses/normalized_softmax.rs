//! Cross entropy over classes by cosine: the normalised softmax.
//!
//! A. Zhai, H. Wu, "Classification is a Strong Baseline for Deep Metric Learning", 2019; also F. Wang et al., "NormFace",
//! 2017. For a sample of class `y` and class vectors `w`:
//!
//! ```text
//! ℓ = −ln( e^{cos(x, w_y)/τ} / Σ_c e^{cos(x, w_c)/τ} )
//! ```
//!
//! one term a sample. Queries are samples, references class vectors, and a sample is kin of its class.

use nearkin_sweep::{Metric, Row};

use super::sharpness;
use crate::classes::{ProxyInit, Spread, margin_row, pull_classes};
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::reducer::Terms;
use crate::springs::Springs;
use crate::tuples::Tuples;

/// The normalised softmax. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalizedSoftmax {
    sharpness: f32,
}

impl NormalizedSoftmax {
    /// With temperature τ: 0.05 is the paper's and pytorch-metric-learning's.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)? })
    }
}

impl Loss for NormalizedSoftmax {
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

impl Springs for NormalizedSoftmax {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        margin_row(row, terms, forces, self.sharpness, |cos| (cos, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_sample_between_two_classes() {
        // cos 1 with its own class, 0 with the other: ℓ = ln(1 + e^{−1/τ}).
        let labels = [1];
        let kin = SameLabel::between(&labels, &[0, 1]);
        let (sample, classes) = ([3.0, 0.0], [0.0, 1.0, 2.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&sample, 2).unwrap(), Vectors::new(&classes, 2).unwrap(), &kin);
        let found = NormalizedSoftmax::new(0.5).unwrap().pull(&sides).unwrap();
        assert!((found.loss - (-2f64).exp().ln_1p()).abs() < 1e-6);
        assert_eq!((found.query_gradient.len(), found.reference_gradient.len()), (2, 4));
    }
}
