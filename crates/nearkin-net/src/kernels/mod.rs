//! Operations of convolutional networks that this crate computes itself on the CPU.
//!
//! [`conv2d`], [`conv1d`], [`batch_norm_train`], [`batch_norm_eval`], [`add_relu`], [`activate`], [`layer_norm`],
//! [`attention_weights`] and [`gru()`] take Burn tensors, are differentiable, and choose: f32 tensors on Burn's `flex` device (the CPU)
//! go to the slice kernels of [`conv`], [`norm`], [`residual`], [`activation`], [`rows`] and [`gru`](mod@gru), everything else to Burn's own
//! operations, with the same results up to rounding. Beside being faster, the slice kernels give the same bits on any number
//! of threads.

pub mod activation;
pub mod conv;
pub mod gru;
pub mod norm;
mod ops;
pub mod order;
#[allow(unsafe_code)]
mod product;
pub mod residual;
pub mod rows;

use burn::backend::{Dispatch, DispatchDevice};
use std::sync::LazyLock;

use burn::prelude::*;
use burn::tensor::activation as burn_activation;
use burn::tensor::activation::relu as burn_relu;
use burn::tensor::{DType, ops::ConvOptions};

use activation::Activation;
use conv::ConvShape;
use norm::Channels;
use ops::FlexOps;

/// Found once: looking it up costs more than a short row.
static WIDEST: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// The widest instructions that the processor has.
fn widest() -> pulp::Arch {
    *WIDEST
}

/// Runs `work` compiled for the widest instructions that the processor has. Only what is inlined is compiled so: write
/// `wide(#[inline(always)] || …)`. No operation is fused or reordered, so the bits are the same with all of them.
#[inline(always)]
fn wide<R>(work: impl FnOnce() -> R) -> R {
    WIDEST.dispatch(work)
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
/// - `weight`: `[o, c / groups, k, k']`; groups other than one are Burn's
/// - output: `[n, o, (h + 2·padding − k) / stride + 1, (w + 2·padding − k') / stride + 1]`
///
/// # Panics
///
/// If the shapes do not fit, or the kernel is larger than the padded image.
pub fn conv2d(input: Tensor<4>, weight: Tensor<4>, stride: usize, padding: usize) -> Tensor<4> {
    convolve(input, weight, stride, [padding, padding])
}

/// [`conv2d`] with its output's channels in blocks of 16, [`order::Order::Blocks`], in which the CPU's kernels are fastest.
///
/// `None` where they do not apply: other devices and precisions, channels that do not fill blocks, unusual kernels, tiny outputs.
///
/// # Shapes
///
/// - `input`: `[n, c, h, w]` or `[n, c / 16, h, w, 16]`
/// - `weight`: `[o, c, k, k']`
/// - output: `[n, o / 16, h', w', 16]`
pub fn conv2d_in_blocks<const D: usize>(
    input: &Tensor<D>,
    weight: Tensor<4>,
    stride: usize,
    padding: usize,
) -> Option<Tensor<5>> {
    let shape = ConvShape::to_blocks(&input.dims(), weight.dims(), stride, [padding, padding])?;
    (is_flex_f32(input) && is_flex_f32(&weight)).then(|| {
        let (input, weight) = (input.clone().into_dispatch(), weight.into_dispatch());
        Tensor::from_dispatch(Dispatch::convolve(input, weight, shape))
    })
}

/// One-dimensional convolution (cross-correlation) with zero padding, without bias.
///
/// # Shapes
///
/// - `input`: `[n, c, time]`
/// - `weight`: `[o, c / groups, k]`
/// - output: `[n, o, (time + 2·padding − k) / stride + 1]`
///
/// # Panics
///
/// If the shapes do not fit, or the kernel is longer than the padded series.
pub fn conv1d(input: Tensor<3>, weight: Tensor<3>, stride: usize, padding: usize) -> Tensor<3> {
    let ([n, c, time], [o, inputs, k]) = (input.dims(), weight.dims());
    let image = input.reshape([n, c, 1, time]);
    let output = convolve(image, weight.reshape([o, inputs, 1, k]), stride, [0, padding]);
    let frames = output.dims()[3];
    output.reshape([n, o, frames])
}

fn convolve(input: Tensor<4>, weight: Tensor<4>, stride: usize, padding: [usize; 2]) -> Tensor<4> {
    if let Some(shape) = ConvShape::new(input.dims(), weight.dims(), stride, padding)
        && is_flex_f32(&input)
        && is_flex_f32(&weight)
    {
        let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
        return Tensor::from_dispatch(Dispatch::convolve(input, weight, shape));
    }
    let groups = (input.dims()[1] / weight.dims()[1].max(1)).max(1);
    let options = ConvOptions::new([stride, stride], padding, [1, 1], groups);
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
/// - `input`, output: `[n, c, …]`, or with channels in blocks `[n, c / 16, …, 16]`
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
/// - `input`, output: `[n, c, …]`, or with channels in blocks `[n, c / 16, …, 16]`
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

/// A function of each value alone.
pub fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    if is_flex_f32(&x) {
        return Tensor::from_dispatch(Dispatch::activate(x.into_dispatch(), activation));
    }
    match activation {
        Activation::LeakyRelu { slope } => burn_activation::leaky_relu(x, f64::from(slope)),
        Activation::Gelu => burn_activation::gelu(x),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => burn_activation::sigmoid(x),
    }
}

/// Normalises the last axis to mean 0 and variance 1 (biased), then scales by `gamma` and adds `beta`.
///
/// # Shapes
///
/// - `x`, output: `[…, d]`
/// - `gamma`, `beta`: `[d]`
///
/// # Panics
///
/// If the shapes do not fit.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    assert_eq!([x.dims()[D - 1]], gamma.dims(), "values of a row and its scales");
    assert_eq!(gamma.dims(), beta.dims(), "scales and offsets of a row");
    if is_flex_f32(&x) && is_flex_f32(&gamma) && is_flex_f32(&beta) {
        return Tensor::from_dispatch(Dispatch::layer_norm_of_rows(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            epsilon,
        ));
    }
    burn::tensor::module::layer_norm(x, gamma, Some(beta), epsilon)
}

/// Weights of an attention: the softmax of `scale · scores` along the last axis, for a causal one over the keys up to the
/// query's own.
///
/// # Shapes
///
/// - `scores`, output: `[n, heads, queries, keys]`; as many queries as keys for a causal attention
///
/// # Panics
///
/// If a causal attention is not square.
pub fn attention_weights(scores: Tensor<4>, scale: f32, causal: bool) -> Tensor<4> {
    let [_, _, queries, keys] = scores.dims();
    assert!(!causal || queries == keys, "{queries} queries on {keys} keys in a causal attention");
    if is_flex_f32(&scores) {
        return Tensor::from_dispatch(Dispatch::softmax_of_rows(scores.into_dispatch(), scale, causal));
    }
    let scores = scores.mul_scalar(scale);
    if !causal {
        return burn_activation::softmax(scores, 3);
    }
    let ahead = Tensor::<2, Bool>::tril_mask([queries, keys], 0, &scores.device());
    burn_activation::softmax(scores.mask_fill(ahead.reshape([1, 1, queries, keys]), f32::NEG_INFINITY), 3)
}

/// Hidden states of a gated recurrent unit that starts at zero: PyTorch's, see [`gru`](mod@gru).
///
/// # Shapes
///
/// - `x`: the input's part of the gates of each step, `[n, steps, 3 · hidden]`
/// - `weight`: `[3 · hidden, hidden]`
/// - `bias`: `[3 · hidden]`
/// - output: `[n, steps, hidden]`
///
/// # Panics
///
/// If the shapes do not fit, or there is no step.
pub fn gru(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    let ([n, steps, gates], [_, hidden]) = (x.dims(), weight.dims());
    assert_eq!((gates, weight.dims()[0]), (3 * hidden, 3 * hidden), "gates of {hidden} hidden values");
    if is_flex_f32(&x) && is_flex_f32(&weight) && is_flex_f32(&bias) {
        let states =
            Dispatch::gru_of_sequences(x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        return Tensor::from_dispatch(states);
    }
    let mut state = Tensor::zeros([n, hidden], (&x.device(), x.dtype()));
    let mut states = vec![];
    for step in x.split(1, 1) {
        let x = step.reshape([n, 3 * hidden]);
        let product = state.clone().matmul(weight.clone().transpose()) + bias.clone().unsqueeze();
        let part = |of: &Tensor<2>, gate: usize| of.clone().narrow(1, gate * hidden, hidden);
        let [reset, update] =
            [0, 1].map(|gate| burn_activation::sigmoid(part(&x, gate) + part(&product, gate)));
        let new = (part(&x, 2) + reset * part(&product, 2)).tanh();
        state = new.clone() + update * (state - new);
        states.push(state.clone().reshape([n, 1, hidden]));
    }
    assert!(steps > 0, "an empty sequence");
    Tensor::cat(states, 1)
}

fn applies<const D: usize>(input: &Tensor<D>, per_channel: &[&Tensor<1>]) -> bool {
    let fits = |values: &&Tensor<1>| {
        is_flex_f32(*values) && Channels::new(&input.dims(), values.dims()[0]).is_some()
    };
    is_flex_f32(input) && per_channel.iter().all(fits)
}

fn rectified_if<const D: usize>(tensor: Tensor<D>, relu: bool) -> Tensor<D> {
    if relu { burn_relu(tensor) } else { tensor }
}

#[cfg(test)]
mod tests {
    use super::testing::{assert_close, noise, values, widened};
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
        [y.inner(), grad(&a), grad(&b)].map(|t| widened(&values(t)))
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
                ([2, 3, 8, 9], [4, 3, 2, 5], 2, 1),
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
    fn a_convolution_of_series_matches_burns() {
        for device in devices() {
            for (input, weight, stride, padding) in [
                ([2, 3, 40, 1], [4, 3, 10, 1], 5, 3),
                ([2, 3, 9, 1], [4, 3, 4, 1], 2, 1),
                ([2, 4, 9, 1], [6, 2, 3, 1], 1, 1), // two groups: Burn's own
            ] {
                let groups = input[1] / weight[1];
                let (x, w) = (tensor(input, 1, &device), tensor(weight, 2, &device));
                let through =
                    |convolve: &dyn Fn(Tensor<3>, Tensor<3>) -> Tensor<3>, x: Tensor<4>, w: Tensor<4>| {
                        let series = |t: Tensor<4>| t.squeeze_dim::<3>(3);
                        convolve(series(x), series(w)).unsqueeze_dim(3)
                    };
                let ours = run([&x, &w], |x, w| through(&|x, w| conv1d(x, w, stride, padding), x, w));
                let options = ConvOptions::new([stride], [padding], [1], groups);
                let burn = |x, w| burn::tensor::module::conv1d(x, w, None, options.clone());
                let burns = run([&x, &w], |x, w| through(&burn, x, w));
                for (ours, burns) in ours.iter().zip(&burns) {
                    assert_close(&narrow(ours), burns, 1e-5, &format!("{input:?} {weight:?}"));
                }
            }
        }
    }

    #[test]
    fn activations_and_normalisations_of_rows_match_burns_with_and_without_checkpointing() {
        for device in devices() {
            let (x, g) = (tensor([2, 3, 5, 5], 1, &device), tensor([5, 1, 1, 1], 2, &device));
            let beta = Tensor::<1>::from_floats([0.1, -0.2, 0.3, 0.0, 1.0], &device);
            let check = |what: &str, ours: [Vec<f64>; 3], burns: [Vec<f64>; 3]| {
                for (ours, burns) in ours.iter().zip(&burns) {
                    assert_close(&narrow(ours), burns, 2e-6, what);
                }
            };
            for activation in [
                Activation::LeakyRelu { slope: 0.3 },
                Activation::Gelu,
                Activation::Tanh,
                Activation::Sigmoid,
            ] {
                let wide = |t: Tensor<4>| t.cast(FloatDType::F64);
                let both = |x: Tensor<4>, g: Tensor<4>| (x.mul_scalar(3.0), g.sum().reshape([1, 1, 1, 1]));
                let ours = run([&x, &g], |x, g| {
                    let (x, g) = both(x, g);
                    activate(x, activation) * g
                });
                let burns = run([&x, &g], |x, g| {
                    let (x, g) = both(x, g);
                    activate(wide(x), activation).cast(FloatDType::F32) * g
                });
                check(&format!("{activation:?}"), ours, burns);
            }
            let ours = run([&x, &g], |x, g| layer_norm(x, g.reshape([5]), beta.clone(), 1e-5));
            let burns = run([&x, &g], |x, g| {
                burn::tensor::module::layer_norm(x, g.reshape([5]), Some(beta.clone()), 1e-5)
            });
            check("layer norm", ours, burns);
            for causal in [false, true] {
                let weigh = |wide: bool| {
                    move |x: Tensor<4>, g: Tensor<4>| {
                        let scores = if wide { x.cast(FloatDType::F64) } else { x };
                        attention_weights(scores, 0.7, causal).cast(FloatDType::F32) * g.reshape([1, 1, 1, 5])
                    }
                };
                check("softmax", run([&x, &g], weigh(false)), run([&x, &g], weigh(true)));
            }
        }
    }

    #[test]
    fn a_gated_unit_matches_burns_operations_with_and_without_checkpointing() {
        for device in devices() {
            let (x, w) = (tensor([3, 4, 6, 1], 1, &device), tensor([6, 2, 1, 1], 2, &device));
            let bias = Tensor::<1>::from_floats([0.1, -0.2, 0.3, 0.0, 1.0, -1.0], &device);
            let through = |precision: FloatDType| {
                let bias = bias.clone();
                run([&x, &w], move |x, w| {
                    let (x, w) = (x.squeeze_dim::<3>(3).cast(precision), w.reshape([6, 2]).cast(precision));
                    let scale = w.clone().sum().reshape([1]).repeat_dim(0, 6);
                    let states = gru(x, w, bias.clone().cast(precision) * scale);
                    states.cast(FloatDType::F32).unsqueeze_dim(3)
                })
            };
            for (ours, burns) in through(FloatDType::F32).iter().zip(&through(FloatDType::F64)) {
                assert_close(&narrow(ours), burns, 2e-6, "states and gradients");
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

    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::{DType, FloatDType, Tensor};
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

    /// Central differences at `x` of a function in f64.
    pub fn slopes(x: &[f32], of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        const STEP: f64 = 1e-5;
        let mut moved: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        (0..x.len())
            .map(|i| {
                let [above, below] = [STEP, -STEP].map(|step| {
                    moved[i] = f64::from(x[i]) + step;
                    of(&moved)
                });
                moved[i] = f64::from(x[i]);
                (above - below) / (2.0 * STEP)
            })
            .collect()
    }

    /// The same values in f64.
    pub fn widened(values: &[f32]) -> Vec<f64> {
        values.iter().map(|value| f64::from(*value)).collect()
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

    /// Casts weights.
    struct Cast(FloatDType);

    impl ModuleMapper for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|weights| weights.cast(self.0))
        }
    }

    /// Panics unless `forward` of weights and input in 16 bits is in 16 bits, and what it is in f32 but for rounding.
    pub fn assert_halved_is_near<M: Module, const D: usize, const E: usize>(
        module: &M,
        input: Tensor<D>,
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) {
        for (float, dtype, tolerance) in
            [(FloatDType::BF16, DType::BF16, 4e-2), (FloatDType::F16, DType::F16, 5e-3)]
        {
            let found = forward(&module.clone().map(&mut Cast(float)), input.clone().cast(float));
            assert_eq!(found.dtype(), dtype);
            let wanted = widened(&values(forward(module, input.clone())));
            assert_close(&values(found.cast(FloatDType::F32)), &wanted, tolerance, "in 16 bits");
        }
    }

    /// The values of a tensor, row after row.
    pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 values")
    }
}
