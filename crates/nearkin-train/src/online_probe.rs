//! A linear classifier that learns beside a method without labels, to say how good its features are while they are learned.
//!
//! R. Balestriero et al., "A Cookbook of Self-Supervised Learning", 2023, on evaluation by an online linear probe: each batch's features,
//! detached, are classified, and then the classifier learns from them by cross entropy. Labels judge the encoder and never reach it. As
//! in K. He et al., "Masked Autoencoders Are Scalable Vision Learners", 2022 (appendix A.1), the features are standardised over the batch
//! first, so that one rate does for all methods.
//!
//! ```text
//! x̂ = (x − mean) / √(var + 1e-5)        s = W [x̂, 1]        −ln softmax(s)_y, in the mean over the batch
//! ```
//!
//! `W` begins at zero and follows Adam. Its gradient `[x̂, 1]ᵀ (softmax(s) − onehot(y)) / n` is written out: there is no tape that could
//! lead to the encoder.

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Adam's rate and decays (Kingma & Ba 2015).
const RATE: f64 = 1e-3;
const DECAYS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
/// Added to variances before the root.
const LEAST_VARIANCE: f64 = 1e-5;

/// The classifier, and Adam's memory of its gradients; all `[features + 1, classes]`.
#[derive(Module, Debug)]
pub struct OnlineProbe {
    /// A row a feature, and one of biases.
    weights: Param<Tensor<2>>,
    /// Running mean of the gradient.
    gradient: Param<Tensor<2>>,
    /// Running mean of its square.
    square: Param<Tensor<2>>,
}

impl OnlineProbe {
    /// On features of this width.
    pub(crate) fn new(features: usize, classes: usize, device: &Device) -> Self {
        let device = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
        let zeros = || Param::from_tensor(Tensor::zeros([features + 1, classes], &device));
        Self { weights: zeros(), gradient: zeros(), square: zeros() }
    }

    /// Classifies a batch and then learns from it. `step` counts from 1. Also gives how many were classified rightly, on the device.
    ///
    /// # Shapes
    /// - `features`: `[n, features]`, off the tape, and a class a row
    pub(crate) fn step(&self, features: Tensor<2>, labels: &[u32], step: usize) -> (Self, Tensor<1>) {
        let ([n, _], device) = (features.dims(), features.device());
        let centred = features.clone() - features.mean_dim(0);
        let variance = centred.clone().square().mean_dim(0);
        let x =
            Tensor::cat(vec![centred / (variance + LEAST_VARIANCE).sqrt(), Tensor::ones([n, 1], &device)], 1);
        let [_, classes] = self.weights.dims();
        let own: Vec<i64> = labels.iter().map(|&label| label.into()).collect();
        let own = Tensor::<1, Int>::from_data(TensorData::new(own, [n]), &device);
        let scores = x.clone().matmul(self.weights.val());
        let right = scores.clone().argmax(1).reshape([n]).equal(own.clone()).float().sum();
        let error = softmax(scores, 1) - own.one_hot::<2>(classes).float();
        let pull = x.transpose().matmul(error) / n as f64;
        let follow =
            |old: &Param<Tensor<2>>, new: Tensor<2>, decay: f64| old.val() * decay + new * (1.0 - decay);
        let gradient = follow(&self.gradient, pull.clone(), DECAYS[0]);
        let square = follow(&self.square, pull.square(), DECAYS[1]);
        let unbiased = |mean: Tensor<2>, decay: f64| mean / (1.0 - decay.powf(step as f64));
        let change =
            unbiased(gradient.clone(), DECAYS[0]) / (unbiased(square.clone(), DECAYS[1]).sqrt() + EPSILON);
        let learned = Self {
            weights: Param::from_tensor(self.weights.val() - change * RATE),
            gradient: Param::from_tensor(gradient),
            square: Param::from_tensor(square),
        };
        (learned, right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn the_first_step_on_a_hand_worked_batch() {
        // Of mean 0 and variance 1 already; both classes equally likely, so the errors are ±½.
        let features =
            Tensor::from_data([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], &Device::flex());
        let probe = OnlineProbe::new(2, 2, &Device::flex().autodiff());
        let (probe, right) = probe.step(features, &[0, 1, 0, 1], 1);
        // Nothing is known, and ties go to the first class.
        assert_eq!(right.into_scalar::<f32>(), 2.0);
        let gradient = values(probe.gradient.val());
        for (found, wanted) in gradient.iter().zip([-0.5, 0.5, 0.0, 0.0, 0.0, 0.0]) {
            assert!((found - 0.1 * wanted).abs() < 1e-5, "{gradient:?}");
        }
        // Adam's first step is its rate, whatever the gradient's size.
        let weights = values(probe.weights.val());
        assert!((weights[0] - 1e-3).abs() < 1e-6 && (weights[1] + 1e-3).abs() < 1e-6, "{weights:?}");
    }

    #[test]
    fn classes_that_a_line_tells_apart_are_learned_whatever_the_scale_of_the_features() {
        for scale in [1e-3, 1e3] {
            let mut probe = OnlineProbe::new(2, 3, &Device::flex());
            let labels = [0, 1, 2, 0, 1, 2];
            let places = [[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [0.1, 1.2], [1.1, -0.8], [-1.2, -0.9]];
            let features: Tensor<2> = Tensor::from_data(places, &Device::flex()) * scale + 5.0 * scale;
            let mut last = 0.0;
            for step in 1..=300 {
                let (next, right) = probe.step(features.clone(), &labels, step);
                (probe, last) = (next, right.into_scalar::<f32>());
            }
            assert_eq!(last, 6.0, "{scale}");
        }
    }
}
