//! VICReg: invariance, variance, covariance.
//!
//! A. Bardes, J. Ponce, Y. LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", 2022,
//! eq. 1 to 6. For two views `a` and `b` of `n` samples in `d` dimensions:
//!
//! ```text
//! ℓ = λ s(a, b) + μ (v(a) + v(b)) + ν (c(a) + c(b))
//! s = Σ_i ‖a_i − b_i‖² / (n d)
//! v = Σ_j max(0, γ − √(var_j + ε)) / d          c = Σ_{j ≠ k} cov_jk² / d
//! ```
//!
//! with variances and covariances over `n − 1`. The paper divides `s` by `n` alone; its weights belong to the code, which takes
//! the mean over dimensions too, as here.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::{centred, off_diagonal, total};
use crate::loss::{LossError, check};

/// ε
const EPSILON: f64 = 1e-4;

/// The loss of VICReg.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vicreg {
    invariance: f32,
    variance: f32,
    covariance: f32,
    deviation: f32,
}

impl Vicreg {
    /// With λ, μ and ν: 25, 25 and 1 in the paper. γ is 1.
    ///
    /// # Errors
    /// When one is negative.
    pub fn new(invariance: f32, variance: f32, covariance: f32) -> Result<Self, LossError> {
        let at_least_zero = |name, value| check(name, value, |x: f32| x >= 0.0, "zero or more");
        Ok(Self {
            invariance: at_least_zero("invariance", invariance)?,
            variance: at_least_zero("variance", variance)?,
            covariance: at_least_zero("covariance", covariance)?,
            deviation: 1.0,
        })
    }

    /// Of two views `[n, d]` of the same samples, in the same order.
    pub fn loss(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        let [n, d] = a.dims();
        let apart = total((a.clone() - b.clone()).square()) / (n * d) as f64;
        let below = (n.max(2) - 1) as f64;
        let spread_and_redundancy = |x: Tensor<2>| {
            let x = centred(x);
            let deviation = (x.clone().square().sum_dim(0) / below + EPSILON).sqrt();
            let narrow = relu(deviation.neg() + self.deviation).sum() / d as f64;
            let covariance = x.clone().transpose().matmul(x) / below;
            narrow * self.variance + off_diagonal(covariance) * (self.covariance / d as f32)
        };
        apart * self.invariance + spread_and_redundancy(a) + spread_and_redundancy(b)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, noise, of, value};
    use super::*;

    #[test]
    fn each_term_on_a_hand_worked_batch() {
        // Variances over n − 1: 4/3 and 1/3 · 4 · ¼; columns uncorrelated in a, equal in b.
        let a = of(&[&[1.0, 0.5], &[1.0, -0.5], &[-1.0, 0.5], &[-1.0, -0.5]]);
        let b = of(&[&[1.0, 1.0], &[1.0, 1.0], &[-1.0, -1.0], &[-1.0, -1.0]]);
        let with = |i, v, c| value(Vicreg::new(i, v, c).unwrap().loss(a.clone(), b.clone()));
        close(with(1.0, 0.0, 0.0), (0.25 + 2.25 + 2.25 + 0.25) / 8.0);
        close(with(0.0, 1.0, 0.0), 0.5 * (1.0 - (1.0f64 / 3.0 + 1e-4).sqrt()));
        close(with(0.0, 0.0, 1.0), 2.0 * (4.0f64 / 3.0).powi(2) / 2.0);
    }

    #[test]
    fn a_collapsed_view_is_pulled_apart_with_a_finite_force() {
        let loss = Vicreg::new(25.0, 25.0, 1.0).unwrap();
        let point = (noise(6, 3, 1) * 0.0 + 2.0).require_grad();
        let found = loss.loss(point.clone(), point.clone());
        close(value(found.clone()), 50.0 * 0.99);
        let values: Vec<f32> = point.grad(&found.backward()).unwrap().into_data().try_to_vec().unwrap();
        assert!(values.iter().all(|v| v.is_finite()));
        assert!(Vicreg::new(-1.0, 25.0, 1.0).is_err());
    }
}
