use burn::module::{Flag, Param, RunningState};
use burn::prelude::*;
use burn::tensor::{DType, FloatDType};

use crate::init::Init;
use crate::kernels::{batch_norm_eval, batch_norm_train};

/// Batch normalisation of `[n, c, …]`, with an optional ReLU in the same pass.
///
/// Ioffe and Szegedy, "Batch normalization", 2015, with PyTorch's conventions: the output uses the
/// batch's biased variance, and the running variance follows the **unbiased** one,
/// `running ← (1 − momentum) · running + momentum · var · m / (m − 1)` for `m` values a channel.
///
/// It trains (uses and updates batch statistics) on an autodiff device while `training` is on, and
/// uses the running statistics otherwise, like Burn's own. Unlike there, an update is visible at
/// once: a record, a visitor or a weight file taken after a step holds that step's statistics.
/// Inputs of 16 bits are normalised in f32.
///
/// With `groups` above 1, each part of the batch has statistics of its own: the split batch normalisation with which MoCo runs
/// on one device (He et al. 2020, section 3.3, "shuffling BN"; images are as good as shuffled before). Image `i` belongs to
/// group `i mod groups`; running statistics follow the mean over groups. A batch that `groups` does not divide is split in as
/// many groups, up to `groups`, as divide it.
///
/// Clones share their running statistics (Burn's `RunningState` is a shared cell); take a copy
/// that stands alone with [`momentum::twin`](crate::momentum::twin).
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// γ, the learned scale, `[c]`.
    pub gamma: Param<Tensor<1>>,
    /// β, the learned offset, `[c]`.
    pub beta: Param<Tensor<1>>,
    /// Whether training behaviour is on; `valid()`, `train()` and `freeze()` turn it.
    pub training: Param<Flag>,
    /// Running mean, `[c]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance, `[c]`.
    pub running_var: RunningState<Tensor<1>>,
    /// Weight of the newest batch in the running statistics.
    pub momentum: f64,
    /// Added to the variance before the root.
    pub epsilon: f64,
    /// Parts of a batch that are normalised apart while training, at least 1.
    pub groups: usize,
}

impl BatchNorm {
    pub(crate) fn new(channels: usize, init: &Init) -> Self {
        Self::scaled(channels, 1.0, init)
    }

    /// A layer whose γ starts at another value than one.
    pub(crate) fn scaled(channels: usize, gamma: f32, init: &Init) -> Self {
        Self {
            gamma: init.constant([channels], gamma),
            beta: init.constant([channels], 0.0),
            training: Param::from_bool(true),
            running_mean: RunningState::new(Tensor::zeros([channels], init.device())),
            running_var: RunningState::new(Tensor::ones([channels], init.device())),
            momentum: 0.1,
            epsilon: 1e-5,
            groups: init.groups(),
        }
    }

    /// # Shapes
    ///
    /// - input, output: `[n, c, …]`
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.apply(input, false)
    }

    /// The forward pass and a ReLU, `max(y, 0)`.
    ///
    /// # Shapes
    ///
    /// - input, output: `[n, c, …]`
    pub fn forward_relu<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        self.apply(input, true)
    }

    fn apply<const D: usize>(&self, input: Tensor<D>, relu: bool) -> Tensor<D> {
        // Sums over a batch lose their last digits in 16 bits; the parameters have 32.
        for (dtype, float) in [(DType::BF16, FloatDType::BF16), (DType::F16, FloatDType::F16)] {
            if input.dtype() == dtype {
                return self.apply(input.cast(FloatDType::F32), relu).cast(float);
            }
        }
        let device = input.device();
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        if !(device.is_autodiff() && self.training.is_enabled()) {
            let mean = self.running_mean.value_sync().to_device(&device);
            let variance = self.running_var.value_sync().to_device(&device);
            return batch_norm_eval(input, gamma, beta, mean, variance, self.epsilon, relu);
        }
        let [images, channels] = [input.dims()[0], gamma.dims()[0]];
        let groups =
            (1..=self.groups.clamp(1, images.max(1))).rev().find(|g| images.is_multiple_of(*g)).unwrap_or(1);
        let values = input.shape().num_elements() / (groups * channels);
        // One value has no unbiased variance; its biased one, zero, is kept.
        let unbiased = values as f64 / (values.max(2) - 1) as f64;
        if groups == 1 {
            let result = batch_norm_train(input, gamma, beta, self.epsilon, relu);
            self.follow(&self.running_mean, result.mean);
            self.follow(&self.running_var, result.variance.mul_scalar(unbiased));
            return result.output;
        }
        // Rows of `groups` images are images with so many times the channels.
        let (shape, mut split) = (input.dims(), input.dims());
        split[0] /= groups;
        split[1] *= groups;
        let [gamma, beta] = [gamma, beta].map(|values| values.repeat_dim(0, groups));
        let result = batch_norm_train(input.reshape(split), gamma, beta, self.epsilon, relu);
        let mean =
            |statistic: Tensor<1>| statistic.reshape([groups, channels]).mean_dim(0).reshape([channels]);
        self.follow(&self.running_mean, mean(result.mean));
        self.follow(&self.running_var, mean(result.variance).mul_scalar(unbiased));
        result.output.reshape(shape)
    }

    fn follow(&self, running: &RunningState<Tensor<1>>, batch: Tensor<1>) {
        let batch = batch.detach();
        let old = running.value_sync().to_device(&batch.device());
        let new = old.mul_scalar(1.0 - self.momentum) + batch.mul_scalar(self.momentum);
        running.update(new.detach());
        // `update` only queues the value; reading it makes it current for records and visitors.
        running.value_sync();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, values, widened};
    use burn::tensor::TensorData;

    fn layer(channels: usize, device: &Device) -> BatchNorm {
        BatchNorm::new(channels, &Init::new(device, 0))
    }

    #[test]
    fn training_follows_pytorch_on_a_hand_worked_batch() {
        let device = Device::flex().autodiff();
        let norm = layer(1, &device);
        // Mean 4, biased variance 5, unbiased 20/3.
        let x = Tensor::<2>::from_floats([[1.0], [3.0], [5.0], [7.0]], &device);
        let y = values(norm.forward(x.clone()));
        let deviation = (5.0f64 + 1e-5).sqrt();
        assert_close(&y, &[-3.0, -1.0, 1.0, 3.0].map(|v| v / deviation), 1e-6, "output");
        assert_close(&values(norm.running_mean.value()), &[0.4], 1e-7, "running mean");
        assert_close(&values(norm.running_var.value()), &[0.9 + 2.0 / 3.0], 1e-7, "running variance");

        let relu = values(norm.forward_relu(x));
        assert_close(&relu, &[0.0, 0.0, 1.0 / deviation, 3.0 / deviation], 1e-6, "with ReLU");
    }

    #[test]
    fn evaluation_uses_the_running_statistics_and_leaves_them() {
        let device = Device::flex().autodiff();
        let norm = layer(1, &device);
        norm.forward(Tensor::<2>::from_floats([[1.0], [3.0], [5.0], [7.0]], &device));
        let norm = norm.valid();
        let x = Tensor::<2>::from_floats([[2.0], [-1.0]], &Device::flex());
        let wanted = [2.0, -1.0].map(|x| (x - 0.4) / (0.9f64 + 2.0 / 3.0 + 1e-5).sqrt());
        assert_close(&values(norm.forward(x.clone())), &wanted, 1e-6, "output");
        assert_close(&values(norm.forward_relu(x)), &[wanted[0], 0.0], 1e-6, "with ReLU");
        assert_close(&values(norm.running_mean.value()), &[0.4], 1e-7, "running mean");
    }

    #[test]
    fn a_frozen_layer_keeps_its_statistics_and_passes_gradients() {
        let device = Device::flex().autodiff();
        let norm = layer(2, &device).freeze();
        let x = Tensor::<2>::from_floats([[1.0, -2.0], [3.0, 4.0]], &device).require_grad();
        let gradients = norm.forward_relu(x.clone()).sum().backward();
        let slope = 1.0 / (1.0f64 + 1e-5).sqrt();
        let found = values(x.grad(&gradients).expect("a gradient"));
        assert_close(&found, &[slope, 0.0, slope, slope], 1e-6, "gradient");
        assert_eq!(values(norm.running_mean.value()), [0.0, 0.0]);
    }

    #[test]
    fn a_single_value_per_channel_stays_finite() {
        let device = Device::flex().autodiff();
        let norm = layer(1, &device);
        let y = norm.forward(Tensor::<2>::from_floats([[3.0]], &device));
        assert_eq!(values(y), [0.0]);
        assert_close(&values(norm.running_var.value()), &[0.9], 1e-7, "running variance");
    }

    #[test]
    fn groups_are_normalised_apart_as_batches_of_their_own() {
        let device = Device::flex().autodiff();
        for (images, wanted) in [(6, 3), (7, 1), (4, 2), (2, 2)] {
            let norm = BatchNorm { groups: 3, ..layer(2, &device) };
            let x =
                Tensor::<4>::from_data(TensorData::new(noise(images * 2 * 5, 1), [images, 2, 5, 1]), &device)
                    .require_grad();
            let weight =
                Tensor::<4>::from_data(TensorData::new(noise(images * 10, 2), [images, 2, 5, 1]), &device);
            let y = norm.forward_relu(x.clone());
            let dx = x.grad(&(y.clone() * weight.clone()).sum().backward()).expect("a gradient");
            let (mut means, mut variances) =
                (Tensor::<1>::zeros([2], &device), Tensor::<1>::zeros([2], &device));
            for group in 0..wanted {
                let rows: Vec<i32> = (0..images as i32).filter(|i| i % wanted == group).collect();
                let of =
                    |t: &Tensor<4>| t.clone().detach().select(0, Tensor::from_ints(rows.as_slice(), &device));
                let alone = layer(2, &device);
                let x = of(&x).detach().require_grad();
                let part = alone.forward_relu(x.clone());
                let found: Vec<f64> = values(of(&y)).into_iter().map(f64::from).collect();
                assert_close(&values(part.clone()), &found, 1e-6, "output");
                let part_dx = x.grad(&(part * of(&weight)).sum().backward()).expect("a gradient");
                let rows = Tensor::<1, Int>::from_ints(rows.as_slice(), &dx.device());
                let found: Vec<f64> = values(dx.clone().select(0, rows)).into_iter().map(f64::from).collect();
                assert_close(&values(part_dx), &found, 1e-5, "gradient");
                means = means + alone.running_mean.value().div_scalar(wanted as f64);
                variances = variances + alone.running_var.value().div_scalar(wanted as f64);
            }
            let wide = |t: Tensor<1>| values(t).into_iter().map(f64::from).collect::<Vec<_>>();
            assert_close(&values(norm.running_mean.value()), &wide(means), 1e-6, "running mean");
            assert_close(&values(norm.running_var.value()), &wide(variances), 1e-6, "running variance");
        }
    }

    #[test]
    fn forward_and_gradients_match_burns_layer() {
        let device = Device::flex().autodiff();
        for shape in [[5, 7, 6, 5], [1, 3, 4, 4], [8, 2, 1, 1], [3, 1, 9, 2]] {
            let count = shape.iter().product();
            let tensor = |seed| Tensor::<4>::from_data(TensorData::new(noise(count, seed), shape), &device);
            let (x, weight) = (tensor(1).mul_scalar(3.0) + 0.7, tensor(2));
            let parameter = |seed| {
                let values = TensorData::new(noise(shape[1], seed), [shape[1]]);
                Param::from_tensor(Tensor::<1>::from_data(values, &device))
            };
            let ours = BatchNorm { gamma: parameter(3), beta: parameter(4), ..layer(shape[1], &device) };
            let theirs = nn::BatchNorm {
                gamma: ours.gamma.clone(),
                beta: ours.beta.clone(),
                ..nn::BatchNormConfig::new(shape[1]).init(&device)
            };
            for relu in [false, true] {
                let run = |own: bool| {
                    let x = x.clone().detach().require_grad();
                    let y = match (own, relu) {
                        (true, true) => ours.forward_relu(x.clone()),
                        (true, false) => ours.forward(x.clone()),
                        (false, true) => burn::tensor::activation::relu(theirs.forward(x.clone())),
                        (false, false) => theirs.forward(x.clone()),
                    };
                    let gradients = (y.clone() * weight.clone()).sum().backward();
                    [
                        values(y),
                        values(x.grad(&gradients).expect("dx")),
                        values(ours.gamma.val().grad(&gradients).expect("dgamma")),
                        values(ours.beta.val().grad(&gradients).expect("dbeta")),
                    ]
                };
                for (own, burns) in run(true).iter().zip(run(false)) {
                    assert_close(own, &widened(&burns), 1e-5, &format!("{shape:?}, ReLU {relu}"));
                }
            }
        }
    }
}
