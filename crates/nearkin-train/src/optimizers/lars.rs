//! LARS: layer-wise adaptive rate scaling.
//!
//! Y. You, I. Gitman, B. Ginsburg, "Large Batch Training of Convolutional Networks", 2017. For each weight tensor `w`
//! with gradient `g`, decay `λ`, momentum `μ` and trust coefficient `η`:
//!
//! ```text
//! g ← g + λ w;   g ← g · η ‖w‖ / ‖g‖;   v ← μ v + g;   w ← w − lr · v
//! ```
//!
//! Biases and batch-norm parameters (rank 1) take plain momentum steps without decay, as in SimCLR.

use burn::optim::{LearningRate, Optimizer, RecordState};
use burn::tensor::{Device, Tensor};

/// The LARS optimizer. Parameters of all values are documented at [`OptimizerConfig`](super::OptimizerConfig).
#[derive(Debug, Clone, Copy)]
pub struct Lars {
    pub(super) momentum: f64,
    pub(super) weight_decay: f64,
    pub(super) trust: f64,
}

/// What LARS remembers of a parameter.
#[derive(RecordState, Clone)]
pub struct LarsState<const D: usize> {
    /// `v`
    pub velocity: Tensor<D>,
}

impl Optimizer for Lars {
    type State<const D: usize> = LarsState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weight: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<LarsState<D>>,
    ) -> (Tensor<D>, Option<LarsState<D>>) {
        let mut gradient = gradient;
        if D > 1 {
            gradient = gradient + weight.clone().mul_scalar(self.weight_decay);
            // Summed a row at a time: the backend's sum of a whole large tensor has no fixed order.
            let norm = |t: &Tensor<D>| {
                let rows = t.dims()[0];
                let columns = t.shape().num_elements() / rows;
                t.clone().reshape([rows, columns]).square().sum_dim(1).sum().sqrt()
            };
            let (of_weight, of_gradient) = (norm(&weight), norm(&gradient));
            // A layer that is zero, or has no gradient, takes the plain step: a ratio would stop it for good.
            let degenerate = (of_weight.clone() * of_gradient.clone()).equal_elem(0.0);
            let ratio = of_weight.mul_scalar(self.trust) / of_gradient;
            gradient = gradient * ratio.mask_fill(degenerate, 1.0).unsqueeze();
        }
        let velocity = match state {
            Some(state) => state.velocity.mul_scalar(self.momentum) + gradient,
            None => gradient,
        };
        (weight - velocity.clone().mul_scalar(lr), Some(LarsState { velocity }))
    }

    fn to_device<const D: usize>(mut state: LarsState<D>, device: &Device) -> LarsState<D> {
        state.velocity = state.velocity.to_device(device);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn two_hand_worked_steps_of_a_matrix() {
        let device = Device::flex();
        let lars = Lars { momentum: 0.5, weight_decay: 0.0, trust: 0.1 };
        let gradient = Tensor::<2>::from_data([[0.0, 1.0]], &device);
        // ‖w‖ = 5, ‖g‖ = 1: the scaled gradient is 0.5.
        let (w, state) =
            lars.step(1.0, Tensor::<2>::from_data([[3.0, 4.0]], &device), gradient.clone(), None);
        assert_eq!(values(w.clone()), [3.0, 3.5]);
        let (w, _) = lars.step(1.0, w, gradient, state);
        let wanted = 3.5 - (0.25 + 0.1 * (9.0f32 + 12.25).sqrt());
        assert!((values(w)[1] - wanted).abs() < 1e-6);
    }

    #[test]
    fn biases_take_plain_steps_and_zero_weights_can_leave_zero() {
        let device = Device::flex();
        let lars = Lars { momentum: 0.9, weight_decay: 0.1, trust: 0.1 };
        let bias = Tensor::<1>::from_data([1.0, 1.0], &device);
        let (bias, _) = lars.step(0.5, bias, Tensor::<1>::from_data([2.0, 0.0], &device), None);
        assert_eq!(values(bias), [0.0, 1.0]);
        let (w, _) =
            lars.step(1.0, Tensor::<2>::zeros([1, 2], &device), Tensor::<2>::ones([1, 2], &device), None);
        assert_eq!(values(w), [-1.0, -1.0]);
    }
}
