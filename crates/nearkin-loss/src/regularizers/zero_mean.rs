//! Components that balance.
//!
//! T. Yuan, W. Deng, J. Tang, Y. Tang, B. Chen, "Signal-To-Noise Ratio: A Robust Distance Metric for Deep Metric Learning", 2019:
//!
//! ```text
//! |Σ_d x_d|
//! ```
//!
//! one term a vector: the components of each vector are to have mean zero, not each component over the batch.

use nearkin_sweep::Vectors;

use super::{Regularizer, mean_of_each};
use crate::loss::{LossError, Pull};

/// The mean size of the sum of a vector's components.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ZeroMean;

impl Regularizer for ZeroMean {
    fn pull(&self, vectors: Vectors<'_>) -> Result<Pull, LossError> {
        Ok(mean_of_each(vectors, |x, gradient| {
            let sum: f64 = x.iter().map(|x| f64::from(*x)).sum();
            gradient.fill(if sum == 0.0 { 0.0 } else { sum.signum() });
            sum.abs()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_sums() {
        let points = [3.0, -4.0, 1.0, -1.0, 2.0, 2.0];
        let found = ZeroMean.pull(Vectors::new(&points, 2).unwrap()).unwrap();
        assert!((found.loss - (1.0 + 0.0 + 4.0) / 3.0).abs() < 1e-9);
        for (found, wanted) in found.query_gradient.iter().zip([-1.0, -1.0, 0.0, 0.0, 1.0, 1.0]) {
            assert!((found - wanted / 3.0).abs() < 1e-6);
        }
    }
}
