//! SwAV: the code of one view is predicted from another.
//!
//! M. Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", 2020, eq. 2 and section 3.1.
//! With the scores `s` of a view against prototypes, and the codes `q` of another:
//!
//! ```text
//! ℓ = −Σ_k q_k ln softmax(s/τ)_k
//! ```
//!
//! Codes come from scores by the Sinkhorn–Knopp algorithm (M. Cuturi, "Sinkhorn Distances", 2013), which spreads the samples over
//! all prototypes alike: no prototype can take them all.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use super::{fixed, total};
use crate::loss::{LossError, check};

/// The swapped prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swapped {
    temperature: f32,
}

impl Swapped {
    /// With temperature τ: 0.1 in the paper.
    ///
    /// # Errors
    /// When τ is not above zero.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { temperature: check("temperature", temperature, |t| t > 0.0, "above zero")? })
    }

    /// The mean over rows; codes get no gradient.
    ///
    /// # Shapes
    /// - `scores`, `codes`: `[n, prototypes]`
    pub fn loss(&self, scores: Tensor<2>, codes: Tensor<2>) -> Tensor<1> {
        let [n, _] = scores.dims();
        let shares = log_softmax(scores / self.temperature, 1);
        total(shares * fixed(codes)).neg() / n as f64
    }
}

/// Codes of samples: `e^{s/ε}`, its columns and rows scaled in turn so that every prototype gets as much as every other, and every
/// sample's code sums to 1. Off the tape.
///
/// ε is 0.05 and `iterations` 3 in the paper. Exponents are taken less the largest of all, so nothing overflows; a row far below it
/// is all the same scaled to 1.
///
/// # Shapes
/// - `scores`, output: `[n, prototypes]`
pub fn sinkhorn(scores: Tensor<2>, epsilon: f32, iterations: usize) -> Tensor<2> {
    let [n, prototypes] = scores.dims();
    let exponents = scores.without_autodiff() / epsilon;
    let largest = exponents.clone().max_dim(1);
    // A factor of a row is undone by the first scaling of rows, but weighs in the columns' before it.
    let all = largest.max_dim(0);
    let mut codes = (exponents - all).clamp_min(-80.0).exp();
    for _ in 0..iterations {
        let columns = codes.clone().sum_dim(0) * prototypes as f64;
        codes = codes / columns;
        let rows = codes.clone().sum_dim(1) * n as f64;
        codes = codes / rows;
    }
    codes * n as f64
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, noise, of, value};
    use super::*;

    #[test]
    fn a_hand_worked_prediction() {
        let scores = of(&[&[0.2, 0.0]]).require_grad();
        let loss = Swapped::new(0.1).unwrap().loss(scores, of(&[&[0.25, 0.75]]));
        let log_sum = (2f64.exp() + 1.0).ln();
        close(value(loss), 0.25 * (log_sum - 2.0) + 0.75 * log_sum);
        assert!(Swapped::new(0.0).is_err());
    }

    #[test]
    fn codes_fill_all_prototypes_alike() {
        let codes = sinkhorn(noise(12, 4, 3), 0.3, 50);
        let sums = |dim: usize| -> Vec<f32> { codes.clone().sum_dim(dim).into_data().try_to_vec().unwrap() };
        assert!(sums(1).iter().all(|row| (row - 1.0).abs() < 1e-4), "{:?}", sums(1));
        assert!(sums(0).iter().all(|column| (column - 3.0).abs() < 1e-2), "{:?}", sums(0));
        // Though every sample is nearest to the first prototype, no more than a share goes there.
        let scores = of(&[&[1.0, 0.9], &[1.0, 0.8], &[1.0, 0.7], &[1.0, 0.6]]);
        let codes: Vec<f32> = sinkhorn(scores, 0.05, 50).into_data().try_to_vec().unwrap();
        assert!((codes[0] + codes[2] + codes[4] + codes[6] - 2.0).abs() < 1e-2, "{codes:?}");
        assert!(codes[1] > 0.8 && codes[6] > 0.8, "{codes:?}");
    }
}
