//! The length of vectors: weight decay of embeddings or class vectors.
//!
//! ```text
//! ‖x‖_p^q = (Σ_d |x_d|^p)^{q/p}
//! ```
//!
//! one term a vector.

use nearkin_sweep::Vectors;

use super::{Regularizer, mean_of_each};
use crate::loss::{LossError, Pull, check};

/// The mean length of vectors, to a power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lp {
    p: f64,
    power: f64,
}

impl Default for Lp {
    /// pytorch-metric-learning's: p = 2, q = 1.
    fn default() -> Self {
        Self { p: 2.0, power: 1.0 }
    }
}

impl Lp {
    /// With the norm's p, and the power q.
    ///
    /// # Errors
    /// When either is not from 1 to 16.
    pub fn new(p: f32, power: f32) -> Result<Self, LossError> {
        let in_range = |x: f32| (1.0..=16.0).contains(&x);
        Ok(Self {
            p: check("p", p, in_range, "from 1 to 16")?.into(),
            power: check("power", power, in_range, "from 1 to 16")?.into(),
        })
    }
}

impl Regularizer for Lp {
    fn pull(&self, vectors: Vectors<'_>) -> Result<Pull, LossError> {
        let Self { p, power } = *self;
        Ok(mean_of_each(vectors, |x, gradient| {
            let sizes = x.iter().map(|x| f64::from(*x).abs());
            // Divided by the largest, no power of a small or large component leaves the range of f64.
            let largest = sizes.clone().fold(0.0, f64::max);
            if largest == 0.0 {
                return sizes.sum();
            }
            let norm = largest * sizes.map(|s| (s / largest).powf(p)).sum::<f64>().powf(1.0 / p);
            // ∂‖x‖^q/∂x_d = q ‖x‖^{q−1} · sign(x_d) (|x_d|/‖x‖)^{p−1}
            let along = power * norm.powf(power - 1.0);
            for (g, x) in gradient.iter_mut().zip(x) {
                let x = f64::from(*x);
                if x != 0.0 {
                    *g = along * x.signum() * (x.abs() / norm).powf(p - 1.0);
                }
            }
            norm.powf(power)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_lengths() {
        // ‖(3, −4)‖ is 5 or, with p = 1, 7; the zero vector has no length and no gradient.
        let points = [3.0, -4.0, 0.0, 0.0];
        let pull = |lp: Lp| lp.pull(Vectors::new(&points, 2).unwrap()).unwrap();
        let found = pull(Lp::default());
        assert!((found.loss - 2.5).abs() < 1e-9);
        assert_eq!((found.terms, found.active), (2, 1));
        for (found, wanted) in found.query_gradient.iter().zip([0.3, -0.4, 0.0, 0.0]) {
            assert!((found - wanted).abs() < 1e-6);
        }
        assert!((pull(Lp::new(1.0, 2.0).unwrap()).loss - 24.5).abs() < 1e-9);
        assert!(Lp::new(0.5, 1.0).is_err() && Lp::new(2.0, 0.0).is_err());
    }
}
