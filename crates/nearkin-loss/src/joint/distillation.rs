//! DINO: a twin's centred and sharpened distribution is predicted.
//!
//! M. Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021, eq. 2 to 4. With a student's scores `s` and a
//! twin's `t`, which get no gradient:
//!
//! ```text
//! ℓ = −Σ_k softmax((t − c)/τ_t)_k ln softmax(s/τ_s)_k
//! ```
//!
//! The centre `c` is a running mean of the twin's scores: it keeps one output from taking all, and the low temperature τ_t keeps all
//! from getting the same.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_softmax, softmax};

use super::{fixed, total};
use crate::loss::{LossError, check};

/// The cross entropy of a student and a twin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    student: f32,
}

impl Distillation {
    /// With the student's temperature τ_s: 0.1 in the paper.
    ///
    /// # Errors
    /// When it is not above zero.
    pub fn new(student: f32) -> Result<Self, LossError> {
        Ok(Self { student: check("student-temperature", student, |t| t > 0.0, "above zero")? })
    }

    /// What the student is to predict, off the tape: `softmax((t − c)/τ_t)`.
    ///
    /// # Shapes
    /// - `scores`, output: `[n, d]`; `centre`: `[1, d]`
    pub fn target(&self, scores: Tensor<2>, centre: Tensor<2>, temperature: f32) -> Tensor<2> {
        softmax((scores.without_autodiff() - centre.without_autodiff()) / temperature, 1)
    }

    /// The mean over rows.
    ///
    /// # Shapes
    /// - `scores`, `target`: `[n, d]`
    pub fn loss(&self, scores: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
        let [n, _] = scores.dims();
        let shares = log_softmax(scores / self.student, 1);
        total(shares * fixed(target)).neg() / n as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, of, value};
    use super::*;

    #[test]
    fn a_hand_worked_pair() {
        let loss = Distillation::new(0.1).unwrap();
        let centre = of(&[&[0.5, 0.1]]).without_autodiff();
        // Centred, the twin's scores are 0 and 0.1: over 0.1, shares 1/(1 + e) and e/(1 + e).
        let target = loss.target(of(&[&[0.5, 0.2]]), centre, 0.1);
        let share = 1f64.exp() / (1.0 + 1f64.exp());
        let found = loss.loss(of(&[&[0.2, 0.0]]), target);
        let log_sum = (2f64.exp() + 1.0).ln();
        close(value(found), (1.0 - share) * (log_sum - 2.0) + share * log_sum);
        assert!(Distillation::new(-0.1).is_err());
    }
}
