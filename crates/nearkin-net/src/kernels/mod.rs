//! Operations of convolutional networks that this crate computes itself on the CPU.
//!
//! [`conv2d`], [`batch_norm_train`], [`batch_norm_eval`] and [`add_relu`] take Burn tensors, are
//! differentiable, and choose: f32 tensors on Burn's `flex` device (the CPU) go to the slice kernels
//! of [`conv`], [`norm`] and [`residual`], everything else to Burn's own operations, with the same
//! results up to rounding. Beside being faster, the slice kernels give the same bits on any number
//! of threads.

pub mod conv;
pub mod norm;
mod ops;
#[allow(unsafe_code)]
mod product;
pub mod residual;

use burn::backend::{Dispatch, DispatchDevice};
use burn::prelude::*;
use burn::tensor::activation::relu as burn_relu;
use burn::tensor::{DType, ops::ConvOptions};

use conv::ConvShape;
use norm::Channels;
use ops::FlexOps;

/// Runs `work` compiled for the widest instructions that the processor has. Only what is inlined is compiled so: write
/// `wide(#[inline(always)] || …)`. No operation is fused or reordered, so the bits are the same with all of them.
#[inline(always)]
fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Whether a tensor is f32 on the CPU backend, where the kernels of this module apply.
pub(crate) fn is_flex_f32<const D: usize>(tensor: &Tensor<D>) -> bool {
    // With a GPU feature on there are other devices to tell from; without, every pattern matches.
    #[allow(unreachable_patterns, irrefutable_let_patterns)]
    let flex = match tensor.device().as_dispatch() {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => matches!(**device, DispatchDevice::Flex(_)),
        _ => false,
    };
    flex && tensor.dtype() == DType::F32
}

/// Two-dimensional convolution (cross-correlation) with zero padding, without bias.
///
/// # Shapes
///
/// - `input`: `[n, c, h, w]`
/// - `weight`: `[o, c / groups, k, k]`; groups other than one are Burn's
/// - output: `[n, o, (h + 2·padding − k) / stride + 1, (w + 2·padding − k) / stride + 1]`
///
/// # Panics
///
/// If the shapes do not fit, or the kernel is larger than the padded image.
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    let shape = ConvShape::new(input.dims(), weight.dims(), stride, padding);
    if shape.is_some() && is_flex_f32(&input) && is_flex_f32(&weight) {
        return Tensor::from_dispatch(Dispatch::conv2d_square(
            input.into_dispatch(),
            weight.into_dispatch(),
            stride,
            padding,
        ));
    }
    let groups = (input.dims()[1] / weight.dims()[1].max(1)).max(1);
    let options = ConvOptions::new([stride, stride], [padding, padding], [1, 1], groups);
    burn::tensor::module::conv2d(input, weight, None, options)
}

/// What [`batch_norm_train`] returns.
pub struct BatchNormOutput<const D: usize> {
    /// Normalised tensor, of the input's shape.
    pub output: Tensor<D>,
    /// Mean of each channel, `[c]`, without gradient.
    pub mean: Tensor<1>,
    /// Biased variance of each channel, `[c]`, without gradient.
    pub variance: Tensor<1>,
}

/// Normalises each channel by the batch's own mean and biased variance, then scales by `gamma`,
/// adds `beta` and, with `relu`, clips at zero.
///
/// # Shapes
///
/// - `input`, output: `[n, c, …]`
/// - `gamma`, `beta`: `[c]`
///
/// # Panics
///
/// If the shapes do not fit.
pub fn batch_norm_train<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
    relu: bool,
) -> BatchNormOutput<D> {
    if applies(&input, &[&gamma, &beta]) {
        let (output, mean, variance) = Dispatch::batch_norm_of_batch(
            input.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            epsilon,
            relu,
        );
        return BatchNormOutput {
            output: Tensor::from_dispatch(output),
            mean: Tensor::from_dispatch(mean),
            variance: Tensor::from_dispatch(variance),
        };
    }
    let result = burn::tensor::module::batch_norm_train(input, gamma, beta, epsilon);
    BatchNormOutput {
        output: rectified_if(result.output, relu),
        mean: result.mean,
        variance: result.variance,
    }
}

/// Normalises each channel by a given mean and variance, then scales by `gamma`, adds `beta` and,
/// with `relu`, clips at zero. No gradient flows to `mean` and `variance`.
///
/// # Shapes
///
/// - `input`, output: `[n, c, …]`
/// - `gamma`, `beta`, `mean`, `variance`: `[c]`
///
/// # Panics
///
/// If the shapes do not fit.
pub fn batch_norm_eval<const D: usize>(
    input: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    epsilon: f64,
    relu: bool,
) -> Tensor<D> {
    if applies(&input, &[&gamma, &beta, &mean, &variance]) {
        return Tensor::from_dispatch(Dispatch::batch_norm_of_statistics(
            input.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            mean.into_dispatch(),
            variance.into_dispatch(),
            epsilon,
            relu,
        ));
    }
    let (mean, variance) = (mean.detach(), variance.detach());
    let output = burn::tensor::module::batch_norm(input, gamma, beta, mean, variance, epsilon);
    rectified_if(output, relu)
}

/// `max(a + b, 0)`: the end of a residual block.
///
/// # Panics
///
/// If the shapes differ.
pub fn add_relu<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    assert_eq!(a.dims(), b.dims(), "shapes of a residual sum");
    if is_flex_f32(&a) && is_flex_f32(&b) {
        let sum = Dispatch::add_relu(a.into_dispatch(), b.into_dispatch());
        return Tensor::from_dispatch(sum);
    }
    burn_relu(a + b)
}

fn applies<const D: usize>(input: &Tensor<D>, per_channel: &[&Tensor<1>]) -> bool {
    let dims = input.dims();
    let fits = |values: &&Tensor<1>| is_flex_f32(*values) && dims.get(1) == Some(&values.dims()[0]);
    is_flex_f32(input) && Channels::new(&dims).is_some() && per_channel.iter().all(fits)
}

fn rectified_if<const D: usize>(tensor: Tensor<D>, relu: bool) -> Tensor<D> {
    if relu { burn_relu(tensor) } else { tensor }
}

#[cfg(test)]
mod tests {
    use super::testing::{assert_close, noise, values};
    use super::*;
    use burn::tensor::{FloatDType, TensorData};

    fn tensor(shape: [usize; 4], seed: u64, device: &Device) -> Tensor<4> {
        let values = noise(shape.iter().product(), seed);
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn devices() -> [Device; 2] {
        let device = Device::flex().autodiff();
        [device.clone(), device.gradient_checkpointing()]
    }

    /// Output and gradients of `operation` for a loss that weighs each value of its output.
    fn run(inputs: [&Tensor<4>; 2], operation: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>) -> [Vec<f64>; 3] {
        let [a, b] = inputs.map(|input| input.clone().detach().require_grad());
        // A parent that can be recomputed, so that checkpointing has something to do.
        let y = operation(a.clone().mul_scalar(2.0), b.clone());
        let weight = tensor(y.dims(), 77, &y.device());
        let gradients = (y.clone() * weight).sum().backward();
        let grad = |input: &Tensor<4>| input.grad(&gradients).expect("a gradient");
        [y.inner(), grad(&a), grad(&b)].map(|t| values(t).into_iter().map(f64::from).collect())
    }

    fn narrow(values: &[f64]) -> Vec<f32> {
        values.iter().map(|v| *v as f32).collect()
    }

    #[test]
    fn convolution_matches_burns_with_and_without_checkpointing() {
        for device in devices() {
            for (input, weight, stride, padding) in [
                ([2, 3, 9, 8], [4, 3, 3, 3], 1, 1),
                ([2, 3, 9, 8], [4, 3, 3, 3], 2, 1),
                ([1, 1, 12, 12], [2, 1, 7, 7], 2, 3),
                ([3, 4, 6, 6], [5, 4, 1, 1], 2, 0),
                ([3, 4, 6, 6], [5, 4, 1, 1], 1, 0),
                ([2, 4, 6, 6], [6, 2, 3, 3], 1, 1), // two groups: Burn's own
                ([3, 16, 9, 8], [20, 16, 3, 3], 1, 1),
                ([2, 18, 13, 9], [16, 18, 3, 3], 2, 1),
                ([5, 32, 4, 4], [32, 32, 3, 3], 1, 1),
                ([4, 32, 7, 7], [48, 32, 3, 3], 2, 1),
            ] {
                let groups = input[1] / weight[1];
                let (x, w) = (tensor(input, 1, &device), tensor(weight, 2, &device));
                let ours = run([&x, &w], |x, w| conv2d(x, w, stride, padding));
                let burns = run([&x, &w], |x, w| {
                    let options = ConvOptions::new([stride, stride], [padding, padding], [1, 1], groups);
                    burn::tensor::module::conv2d(x, w, None, options)
                });
                for (ours, burns) in ours.iter().zip(&burns) {
                    assert_close(&narrow(ours), burns, 1e-5, &format!("{input:?} {weight:?}"));
                }
            }
        }
    }

    #[test]
    fn a_residual_sum_matches_burns_with_and_without_checkpointing() {
        for device in devices() {
            let (a, b) = (tensor([2, 3, 4, 5], 1, &device), tensor([2, 3, 4, 5], 2, &device));
            assert_eq!(run([&a, &b], add_relu), run([&a, &b], |a, b| burn_relu(a + b)));
        }
    }

    #[test]
    fn tensors_in_another_order_of_memory_are_read_right() {
        let device = Device::flex();
        let (x, w) = (tensor([2, 5, 4, 3], 1, &device), tensor([3, 3, 4, 2], 2, &device));
        let (x, w) = (x.swap_dims(1, 3), w.swap_dims(2, 3).slice(s![.., .., .., 0..2]));
        let packed = |t: &Tensor<4>| Tensor::<4>::from_data(t.to_data(), &device);
        let direct = values(conv2d(x.clone(), w.clone(), 1, 0));
        assert_eq!(direct, values(conv2d(packed(&x), packed(&w), 1, 0)));
        let scale = Tensor::<1>::from_floats([1.0, 2.0, 3.0], &device);
        let normalise = |x| values(batch_norm_train(x, scale.clone(), scale.clone(), 1e-5, true).output);
        assert_eq!(normalise(x.clone()), normalise(packed(&x)));
        assert_eq!(values(add_relu(x.clone(), x.clone())), values(add_relu(packed(&x), packed(&x))));
    }

    #[test]
    fn tensors_of_another_precision_go_to_burns_operations_and_agree() {
        let device = Device::flex().autodiff();
        let (x, w) = (tensor([2, 3, 6, 6], 1, &device), tensor([4, 3, 3, 3], 2, &device));
        let line = |seed| tensor([3, 1, 1, 1], seed, &device).reshape([3]).abs() + 0.1;
        let lines = [line(3), line(4), line(5), line(6)];
        let all = |precision: FloatDType| {
            let (x, w) = (x.clone().cast(precision), w.clone().cast(precision));
            let [gamma, beta, mean, variance] = lines.clone().map(|line| line.cast(precision));
            let train = batch_norm_train(x.clone(), gamma.clone(), beta.clone(), 1e-5, true);
            let own = |t: Tensor<4>| t.cast(FloatDType::F32);
            [
                own(conv2d(x.clone(), w, 1, 1)),
                own(train.output),
                own(batch_norm_eval(x.clone(), gamma, beta, mean, variance, 1e-5, true)),
                own(add_relu(x.clone(), x)),
            ]
            .map(values)
        };
        assert!(!is_flex_f32(&x.clone().cast(FloatDType::F64)));
        for (single, double) in all(FloatDType::F32).iter().zip(all(FloatDType::F64)) {
            let double: Vec<f64> = double.into_iter().map(f64::from).collect();
            assert_close(single, &double, 1e-5, "single against double precision");
        }
    }

    #[test]
    fn normalisation_in_evaluation_matches_burns_with_and_without_checkpointing() {
        for device in devices() {
            let x = tensor([3, 2, 4, 4], 1, &device);
            let line = |values: [f32; 2]| Tensor::<1>::from_floats(values, &device);
            let (beta, mean, variance) = (line([0.1, -0.2]), line([0.3, 0.0]), line([1.5, 0.4]));
            let gamma = tensor([2, 1, 1, 1], 4, &device);
            let ours = run([&x, &gamma], |x, gamma| {
                let gamma = gamma.reshape([2]);
                batch_norm_eval(x, gamma, beta.clone(), mean.clone(), variance.clone(), 1e-5, true)
            });
            let burns = run([&x, &gamma], |x, gamma| {
                let (gamma, beta) = (gamma.reshape([2]), beta.clone());
                let (mean, variance) = (mean.clone(), variance.clone());
                burn_relu(burn::tensor::module::batch_norm(x, gamma, beta, mean, variance, 1e-5))
            });
            for (ours, burns) in ours.iter().zip(&burns) {
                assert_close(&narrow(ours), burns, 1e-5, "evaluation");
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of this crate share.

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Uniform values in [−1, 1).
    pub fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    /// Runs `work` on a pool of its own with so many threads.
    pub fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(work)
    }

    /// Panics where `found` differs from `wanted` by more than `tolerance · (1 + max |wanted|)`.
    pub fn assert_close(found: &[f32], wanted: &[f64], tolerance: f64, what: &str) {
        assert_eq!(found.len(), wanted.len(), "{what}");
        let scale = 1.0 + wanted.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert!(
                (f64::from(*found) - wanted).abs() <= tolerance * scale,
                "{what}: value {i} is {found}, wanted {wanted}"
            );
        }
    }

    /// The values of a tensor, row after row.
    pub fn values<const D: usize>(tensor: burn::Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 values")
    }
}
