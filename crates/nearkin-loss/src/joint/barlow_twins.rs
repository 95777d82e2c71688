//! Barlow Twins: the cross-correlation of two views is the identity.
//!
//! J. Zbontar, L. Jing, I. Misra, Y. LeCun, S. Deny, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", 2021,
//! eq. 1 and 2. With each column of both views standardised along the batch, and `C = aᵀ b / n`:
//!
//! ```text
//! ℓ = Σ_i (1 − C_ii)² + λ Σ_{i ≠ j} C_ij²
//! ```

use burn::tensor::Tensor;

use super::{centred, off_diagonal};
use crate::loss::{LossError, check};

/// Added to variances, as batch normalisation does in the authors' code.
const EPSILON: f64 = 1e-5;

/// The loss of Barlow Twins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BarlowTwins {
    lambda: f32,
}

impl BarlowTwins {
    /// With λ, the weight of redundancy: 0.0051 in the authors' code.
    ///
    /// # Errors
    /// When λ is not above zero.
    pub fn new(lambda: f32) -> Result<Self, LossError> {
        Ok(Self { lambda: check("lambda", lambda, |l| l > 0.0, "above zero")? })
    }

    /// Of two views `[n, d]` of the same samples, in the same order.
    pub fn loss(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        let [n, d] = a.dims();
        let standard = |x: Tensor<2>| {
            let x = centred(x);
            let variance = x.clone().square().mean_dim(0);
            x / (variance + EPSILON).sqrt()
        };
        let correlation = standard(a).transpose().matmul(standard(b)) / n as f64;
        let eye = Tensor::eye(d, &correlation.device());
        let on = ((correlation.clone() - 1.0) * eye).square().sum_dim(1).sum();
        on + off_diagonal(correlation) * self.lambda
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, noise, of, value};
    use super::*;

    #[test]
    fn a_hand_worked_batch() {
        // Standardised, the columns are ±1: C = [[1, 0], [0, −1]] against its mirror, ℓ = 0 + 4.
        let a = of(&[&[2.0, 1.0], &[2.0, -1.0], &[-2.0, 1.0], &[-2.0, -1.0]]);
        let b = of(&[&[1.0, -3.0], &[1.0, 3.0], &[-1.0, -3.0], &[-1.0, 3.0]]);
        let loss = BarlowTwins::new(0.5).unwrap();
        close(value(loss.loss(a.clone(), b)), 4.0);
        // Equal columns in one view: C = [[1, 1], [0, 0]], ℓ = 1 + 0.5.
        let twice = of(&[&[1.0, 1.0], &[1.0, 1.0], &[-1.0, -1.0], &[-1.0, -1.0]]);
        close(value(loss.loss(a, twice)), 1.5);
    }

    #[test]
    fn scale_and_offset_of_a_column_change_nothing_and_gradients_are_finite_for_a_constant() {
        let loss = BarlowTwins::new(0.005).unwrap();
        let (a, b) = (noise(8, 3, 1), noise(8, 3, 2));
        close(value(loss.loss(a.clone() * 5.0 + 3.0, b.clone())), value(loss.loss(a.clone(), b.clone())));
        let constant = (a * 0.0).require_grad();
        let gradients = loss.loss(constant.clone(), b).backward();
        let values: Vec<f32> = constant.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert!(values.iter().all(|v| v.is_finite()));
        assert!(BarlowTwins::new(0.0).is_err());
    }
}
