//! Lengths that agree.
//!
//! D. Zhang, Y. Li, Z. Zhang, "Deep Metric Learning with Spherical Embedding", 2020:
//!
//! ```text
//! (‖x‖ − μ)²,   μ the mean length of the batch
//! ```
//!
//! one term a vector. For losses of directions: the shorter a vector, the faster its direction changes.

use nearkin_sweep::Vectors;

use super::{Regularizer, length, mean_of_each};
use crate::loss::{LossError, Pull};

/// The variance of vectors' lengths.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SphericalEmbedding;

impl Regularizer for SphericalEmbedding {
    fn pull(&self, vectors: Vectors<'_>) -> Result<Pull, LossError> {
        let lengths = vectors.data().chunks_exact(vectors.dim()).map(length);
        let mean = lengths.sum::<f64>() / vectors.len().max(1) as f64;
        // Nothing flows through the mean: Σ (‖x‖ − μ) = 0.
        Ok(mean_of_each(vectors, |x, gradient| {
            let length = length(x);
            let beyond = length - mean;
            if length > 0.0 {
                let slope = 2.0 * beyond / length;
                gradient.iter_mut().zip(x).for_each(|(g, x)| *g = slope * f64::from(*x));
            }
            beyond * beyond
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_lengths() {
        // Lengths 5, 2 and 2: their mean is 3.
        let points = [3.0, 4.0, 2.0, 0.0, 0.0, -2.0];
        let found = SphericalEmbedding.pull(Vectors::new(&points, 2).unwrap()).unwrap();
        assert!((found.loss - (4.0 + 1.0 + 1.0) / 3.0).abs() < 1e-9);
        for (found, wanted) in found.query_gradient.iter().zip([2.4, 3.2, -2.0, 0.0, 0.0, 2.0]) {
            assert!((found - wanted / 3.0).abs() < 1e-6, "{found} for {wanted} / 3");
        }
    }
}
