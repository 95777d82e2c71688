//! A prediction of a target's direction: BYOL's and SimSiam's loss; and of its values: I-JEPA's.
//!
//! J.-B. Grill et al., "Bootstrap Your Own Latent", 2020, eq. 2; X. Chen, K. He, "Exploring Simple Siamese Representation
//! Learning", 2021, eq. 1. For a prediction `p` and a target `z`, which gets no gradient:
//!
//! ```text
//! ℓ = ‖p/‖p‖ − z/‖z‖‖² = 2 − 2 cos(p, z)
//! ```
//!
//! SimSiam's −cos is half of it less one: the same force, halved.

use burn::tensor::Tensor;

use super::{fixed, total, unit};

/// The squared distance of directions. It has nothing against collapse: a predictor and a target without a gradient have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Regression;

impl Regression {
    /// The mean over rows of `2 − 2 cos(p, z)`, from 0 to 4.
    ///
    /// # Shapes
    /// - `prediction`, `target`: `[n, d]`
    pub fn loss(&self, prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
        self.symmetric(prediction, fixed(target))
    }

    /// The same with a gradient for both sides: what collapses.
    ///
    /// # Shapes
    /// - `one`, `other`: `[n, d]`
    pub fn symmetric(&self, one: Tensor<2>, other: Tensor<2>) -> Tensor<1> {
        let [n, _] = one.dims();
        total(unit(one) * unit(other)) * (-2.0 / n as f64) + 2.0
    }
}

/// `mean of ½ e² where |e| < 1, else |e| − ½`, with `e = prediction − target`: Huber's, I-JEPA's in its code (the paper writes the
/// squared distance). The target gets no gradient.
///
/// # Shapes
/// - `prediction`, `target`: `[n, d]`
pub fn smooth_l1(prediction: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let [n, d] = prediction.dims();
    let error = (prediction - fixed(target)).abs();
    // Up to 1 the square, beyond it the line: with m = min(|e|, 1), both are m (|e| − m/2).
    let near = error.clone().clamp_max(1.0);
    total(near.clone() * (error - near * 0.5)) / (n * d) as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, of, value};
    use super::*;

    #[test]
    fn a_hand_worked_pair_and_no_gradient_for_the_target() {
        let p = of(&[&[3.0, 4.0], &[0.0, -2.0]]).require_grad();
        let z = of(&[&[1.0, 0.0], &[0.0, 5.0]]).require_grad();
        let loss = Regression.loss(p.clone(), z.clone());
        close(value(loss.clone()), (0.8 + 4.0) / 2.0);
        let gradients = loss.backward();
        assert!(p.grad(&gradients).is_some() && z.grad(&gradients).is_none());
    }

    #[test]
    fn small_errors_are_squared_and_large_ones_are_not() {
        let p = of(&[&[0.5, 3.0], &[-2.0, 0.0]]).require_grad();
        let z = of(&[&[0.0, 0.0], &[0.0, 0.0]]);
        let loss = smooth_l1(p.clone(), z);
        close(value(loss.clone()), (0.125 + 2.5 + 1.5 + 0.0) / 4.0);
        let found: Vec<f32> = p.grad(&loss.backward()).unwrap().into_data().try_to_vec().unwrap();
        for (found, wanted) in found.iter().zip([0.125, 0.25, -0.25, 0.0]) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
    }
}
