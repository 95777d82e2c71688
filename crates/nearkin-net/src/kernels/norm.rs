//! Batch normalisation on slices, with an optional ReLU in the same pass.
//!
//! Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
//! internal covariate shift", 2015. Tensors are `[n, c, plane]`: images after images, channels
//! after channels.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::residual::rectified;
use super::{wide, widest};

/// Independent partial sums, so that the compiler can use vector registers.
const LANES: usize = 16;
/// Values a task should hold at least, so that handing it out is worth it.
const TASK: usize = 1 << 14;

/// Sizes of a tensor with channels: `[images, channels, plane]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    images: usize,
    channels: usize,
    plane: usize,
}

impl Channels {
    /// From a shape `[n, c, …]`; `None` if it has fewer than two axes or no values.
    pub fn new(shape: &[usize]) -> Option<Self> {
        let [images, channels, rest @ ..] = shape else {
            return None;
        };
        let plane = rest.iter().product::<usize>();
        (images * channels * plane > 0).then_some(Self { images: *images, channels: *channels, plane })
    }

    /// Values of one channel.
    pub fn per_channel(&self) -> usize {
        self.images * self.plane
    }

    fn len(&self) -> usize {
        self.channels * self.per_channel()
    }

    /// Calls `visit(channel, first value's index)` for each plane of a block of channels, in order.
    fn planes(&self, first: usize, count: usize, mut visit: impl FnMut(usize, usize)) {
        for image in 0..self.images {
            for channel in 0..count {
                visit(channel, (image * self.channels + first + channel) * self.plane);
            }
        }
    }

    /// Channels summed by one task: planes of a few pixels are read together with their neighbours.
    fn block(&self) -> usize {
        (LANES / self.plane).max(1)
    }

    /// Images normalised by one task.
    fn images_per_task(&self) -> usize {
        (TASK / (self.channels * self.plane)).max(1)
    }
}

/// Mean and biased variance of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// `[c]`
    pub mean: Vec<f32>,
    /// `[c]`, divided by the number of values (not by one less).
    pub variance: Vec<f32>,
}

/// `1 / √(variance + epsilon)` of each channel.
pub fn inverse_deviation(variance: &[f32], epsilon: f64) -> Vec<f32> {
    variance.iter().map(|v| (1.0 / (f64::from(*v) + epsilon).sqrt()) as f32).collect()
}

/// Mean and biased variance of each channel of `x`.
///
/// One pass over the data: sums of `x − a` and `(x − a)²` with `a` the channel's first value,
/// which keeps the variance exact where the mean is far from zero.
///
/// # Panics
///
/// If `x` does not have the size that `shape` says.
pub fn statistics(x: &[f32], shape: &Channels) -> Statistics {
    assert_eq!(x.len(), shape.len(), "values of {shape:?}");
    let block = shape.block();
    let mut mean = vec![0.0; shape.channels];
    let mut variance = vec![0.0; shape.channels];
    mean.par_chunks_mut(block).zip(variance.par_chunks_mut(block)).enumerate().for_each(
        |(task, (mean, variance))| {
            let first = task * block;
            let anchors: Vec<f32> =
                (0..mean.len()).map(|channel| x[(first + channel) * shape.plane]).collect();
            let mut sums = vec![[[0.0f64; LANES]; 2]; mean.len()];
            shape.planes(first, mean.len(), |channel, at| {
                let x = &x[at..][..shape.plane];
                let terms = Moments { anchor: anchors[channel] };
                widest().dispatch(Sums { a: x, b: x, terms, sums: &mut sums[channel] });
            });
            let count = shape.per_channel() as f64;
            for (channel, sums) in sums.into_iter().enumerate() {
                let [sum, square] = sums.map(|lanes| lanes.iter().sum::<f64>());
                let offset = sum / count;
                mean[channel] = (f64::from(anchors[channel]) + offset) as f32;
                variance[channel] = (square / count - offset * offset).max(0.0) as f32;
            }
        },
    );
    Statistics { mean, variance }
}

/// What turns a channel's values into normalised ones: `y = (x − mean) · γ · inverse + β`.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    /// Mean of each channel.
    pub mean: &'a [f32],
    /// Inverse standard deviation of each channel.
    pub inverse: &'a [f32],
    /// γ, the learned scale of each channel.
    pub gamma: &'a [f32],
    /// β, the learned offset of each channel.
    pub beta: &'a [f32],
}

impl Affine<'_> {
    fn check(&self, shape: &Channels) {
        for values in [self.mean, self.inverse, self.gamma, self.beta] {
            assert_eq!(values.len(), shape.channels, "one value a channel");
        }
    }

    /// The map of each channel.
    fn maps(&self) -> Vec<Map> {
        (0..self.mean.len())
            .map(|channel| Map {
                mean: self.mean[channel],
                scale: self.gamma[channel] * self.inverse[channel],
                beta: self.beta[channel],
            })
            .collect()
    }
}

/// The normalisation of one channel. Forward and backward use it, so that both see the same sign
/// before the ReLU and the output need not be kept.
#[derive(Clone, Copy)]
struct Map {
    mean: f32,
    scale: f32,
    beta: f32,
}

impl Map {
    #[inline(always)]
    fn apply<const RELU: bool>(self, x: f32) -> f32 {
        let y = (x - self.mean) * self.scale + self.beta;
        if RELU { rectified(y) } else { y }
    }

    /// The gradient before the ReLU, if there is one. Written in vectors: of a choice that hangs on arithmetic, compilers make
    /// branches, value by value.
    #[inline(always)]
    fn gated<S: Simd, const RELU: bool>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        if !RELU {
            return dy;
        }
        let (mean, scale) = (simd.splat_f32s(self.mean), simd.splat_f32s(self.scale));
        let (beta, zero) = (simd.splat_f32s(self.beta), simd.splat_f32s(0.0));
        let y = simd.add_f32s(simd.mul_f32s(simd.sub_f32s(x, mean), scale), beta);
        simd.select_f32s(simd.less_than_or_equal_f32s(y, zero), zero, dy)
    }
}

/// Normalises each channel, then clips at zero if `relu`.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn normalise(x: &[f32], affine: Affine, relu: bool, shape: &Channels) -> Vec<f32> {
    assert_eq!(x.len(), shape.len(), "values of {shape:?}");
    affine.check(shape);
    if relu {
        normalise_with::<true>(x, &affine.maps(), shape)
    } else {
        normalise_with::<false>(x, &affine.maps(), shape)
    }
}

fn normalise_with<const RELU: bool>(x: &[f32], maps: &[Map], shape: &Channels) -> Vec<f32> {
    let chunk = shape.images_per_task() * shape.channels * shape.plane;
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
        let planes = y.chunks_exact_mut(shape.plane).zip(x.chunks_exact(shape.plane));
        wide(
            #[inline(always)]
            || {
                for ((y, x), map) in planes.zip(maps.iter().cycle()) {
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = map.apply::<RELU>(*x);
                    }
                }
            },
        );
    });
    y
}

/// Gradients of [`normalise`].
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// With respect to `x`, `[n, c, plane]`.
    pub x: Vec<f32>,
    /// With respect to γ, `[c]`.
    pub gamma: Vec<f32>,
    /// With respect to β, `[c]`.
    pub beta: Vec<f32>,
}

/// Gradients of [`normalise`], given `dy`, the gradient of its output.
///
/// With `of_batch`, mean and variance are functions of `x` (training), and the gradient passes
/// through them: `dx = γ·s·(dy − mean(dy) − x̂·mean(dy·x̂))`. Without, they are constants.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn gradients(
    x: &[f32],
    dy: &[f32],
    affine: Affine,
    relu: bool,
    of_batch: bool,
    shape: &Channels,
) -> Gradients {
    assert_eq!(x.len(), shape.len(), "values of {shape:?}");
    assert_eq!(dy.len(), shape.len(), "values of {shape:?}");
    affine.check(shape);
    if relu {
        gradients_with::<true>(x, dy, affine, of_batch, shape)
    } else {
        gradients_with::<false>(x, dy, affine, of_batch, shape)
    }
}

fn gradients_with<const RELU: bool>(
    x: &[f32],
    dy: &[f32],
    affine: Affine,
    of_batch: bool,
    shape: &Channels,
) -> Gradients {
    let maps = affine.maps();
    let block = shape.block();
    let mut gamma = vec![0.0; shape.channels];
    let mut beta = vec![0.0; shape.channels];
    gamma.par_chunks_mut(block).zip(beta.par_chunks_mut(block)).enumerate().for_each(
        |(task, (gamma, beta))| {
            let first = task * block;
            let mut sums = vec![[[0.0f64; LANES]; 2]; gamma.len()];
            shape.planes(first, gamma.len(), |channel, at| {
                let (a, b) = (&x[at..][..shape.plane], &dy[at..][..shape.plane]);
                let terms = Pulls::<RELU>(maps[first + channel]);
                widest().dispatch(Sums { a, b, terms, sums: &mut sums[channel] });
            });
            for (channel, sums) in sums.into_iter().enumerate() {
                let [sum, product] = sums.map(|lanes| lanes.iter().sum::<f64>());
                beta[channel] = sum as f32;
                gamma[channel] = (product * f64::from(affine.inverse[first + channel])) as f32;
            }
        },
    );

    // dx = scale · (dy − offset − (x − mean) · slope); constant statistics have no share in it.
    let count = if of_batch { shape.per_channel() as f32 } else { f32::INFINITY };
    let terms: Vec<(Map, f32, f32)> = maps
        .into_iter()
        .enumerate()
        .map(|(c, map)| (map, beta[c] / count, gamma[c] / count * affine.inverse[c]))
        .collect();
    let chunk = shape.images_per_task() * shape.channels * shape.plane;
    let mut dx = vec![0.0; x.len()];
    dx.par_chunks_mut(chunk).zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk))).for_each(|(dx, (x, dy))| {
        let planes = dx
            .chunks_exact_mut(shape.plane)
            .zip(x.chunks_exact(shape.plane).zip(dy.chunks_exact(shape.plane)));
        for ((dx, (x, dy)), &(map, offset, slope)) in planes.zip(terms.iter().cycle()) {
            widest().dispatch(Pulled::<RELU> { dx, x, dy, map, offset, slope });
        }
    });
    Gradients { x: dx, gamma, beta }
}

/// `dx = scale · (dy − offset − (x − mean) · slope)`, value by value.
struct Pulled<'a, const RELU: bool> {
    dx: &'a mut [f32],
    x: &'a [f32],
    dy: &'a [f32],
    map: Map,
    offset: f32,
    slope: f32,
}

impl<const RELU: bool> WithSimd for Pulled<'_, RELU> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { dx, x, dy, .. } = self;
        let (whole_dx, rest_dx) = S::as_mut_simd_f32s(dx);
        let ((whole_x, rest_x), (whole_dy, rest_dy)) = (S::as_simd_f32s(x), S::as_simd_f32s(dy));
        for (dx, (x, dy)) in whole_dx.iter_mut().zip(whole_x.iter().zip(whole_dy)) {
            *dx = Self::of(simd, (self.map, self.offset, self.slope), *x, *dy);
        }
        // A few values: to load a part of a vector takes longer than they do.
        let Map { mean, scale, .. } = self.map;
        for (dx, (x, dy)) in rest_dx.iter_mut().zip(rest_x.iter().zip(rest_dy)) {
            let dy = if RELU && self.map.apply::<false>(*x) <= 0.0 { 0.0 } else { *dy };
            *dx = scale * (dy - self.offset - (x - mean) * self.slope);
        }
    }
}

impl<const RELU: bool> Pulled<'_, RELU> {
    #[inline(always)]
    fn of<S: Simd>(simd: S, (map, offset, slope): (Map, f32, f32), x: S::f32s, dy: S::f32s) -> S::f32s {
        let (mean, scale) = (simd.splat_f32s(map.mean), simd.splat_f32s(map.scale));
        let (offset, slope) = (simd.splat_f32s(offset), simd.splat_f32s(slope));
        let dy = simd.sub_f32s(map.gated::<S, RELU>(simd, x, dy), offset);
        simd.mul_f32s(scale, simd.sub_f32s(dy, simd.mul_f32s(simd.sub_f32s(x, mean), slope)))
    }
}

/// Two functions of a pair of values, to be added up.
trait Terms {
    fn of<S: Simd>(&self, simd: S, a: S::f32s, b: S::f32s) -> [S::f32s; 2];
}

/// `x − anchor` and its square.
struct Moments {
    anchor: f32,
}

impl Terms for Moments {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, x: S::f32s, _: S::f32s) -> [S::f32s; 2] {
        let offset = simd.sub_f32s(x, simd.splat_f32s(self.anchor));
        [offset, simd.mul_f32s(offset, offset)]
    }
}

/// The gradient before the ReLU, and that times `x − mean`.
struct Pulls<const RELU: bool>(Map);

impl<const RELU: bool> Terms for Pulls<RELU> {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, x: S::f32s, dy: S::f32s) -> [S::f32s; 2] {
        let dy = self.0.gated::<S, RELU>(simd, x, dy);
        [dy, simd.mul_f32s(dy, simd.sub_f32s(x, simd.splat_f32s(self.0.mean)))]
    }
}

/// Adds terms of two slices up: sixteen f32 lanes in a fixed order, whatever the width of the instructions, then as many f64 lanes.
struct Sums<'a, T> {
    a: &'a [f32],
    b: &'a [f32],
    terms: T,
    sums: &'a mut [[f64; LANES]; 2],
}

impl<T: Terms> WithSimd for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { a, b, terms, sums } = self;
        let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let vectors = LANES / S::F32_LANES;
        let mut lanes = [[0.0f32; LANES]; 2];
        let [first, second] = &mut lanes;
        let (first, second) = (S::as_mut_simd_f32s(first).0, S::as_mut_simd_f32s(second).0);
        let (a, b) = (S::as_simd_f32s(whole_a.as_flattened()).0, S::as_simd_f32s(whole_b.as_flattened()).0);
        for v in 0..vectors {
            let mut sums = [simd.splat_f32s(0.0); 2];
            for (a, b) in a.iter().skip(v).step_by(vectors).zip(b.iter().skip(v).step_by(vectors)) {
                let [u, w] = terms.of(simd, *a, *b);
                sums = [simd.add_f32s(sums[0], u), simd.add_f32s(sums[1], w)];
            }
            (first[v], second[v]) = (sums[0], sums[1]);
        }
        for (sums, lanes) in sums.iter_mut().zip(&lanes) {
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum += f64::from(*lane);
            }
        }
        if rest_a.is_empty() {
            return;
        }
        let mut last = [[0.0f32; LANES]; 2];
        let (mut last_a, mut last_b) = ([0.0; LANES], [0.0; LANES]);
        last_a[..rest_a.len()].copy_from_slice(rest_a);
        last_b[..rest_b.len()].copy_from_slice(rest_b);
        let (a, b) = (S::as_simd_f32s(&last_a).0, S::as_simd_f32s(&last_b).0);
        let [u, w] = &mut last;
        let (u, w) = (S::as_mut_simd_f32s(u).0, S::as_mut_simd_f32s(w).0);
        for v in 0..vectors {
            [u[v], w[v]] = terms.of(simd, a[v], b[v]);
        }
        for (sums, last) in sums.iter_mut().zip(&last) {
            for (sum, lane) in sums.iter_mut().zip(&last[..rest_a.len()]) {
                *sum += f64::from(*lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, on_threads};

    const SHAPES: [[usize; 3]; 6] =
        [[5, 7, 30], [1, 3, 100], [33, 20, 1], [4, 1, 17], [2, 5, 4], [40, 3, 1024]];

    fn parameters(channels: usize) -> (Vec<f32>, Vec<f32>) {
        (noise(channels, 7), noise(channels, 8))
    }

    #[test]
    fn statistics_match_a_hand_worked_channel() {
        // Channel 0 holds 1, 3, 5, 7; channel 1 holds 0, 0, 2, 2.
        let x = [1.0, 3.0, 0.0, 0.0, 5.0, 7.0, 2.0, 2.0];
        let shape = Channels::new(&[2, 2, 2]).unwrap();
        let found = statistics(&x, &shape);
        assert_eq!(found.mean, [4.0, 1.0]);
        assert_eq!(found.variance, [5.0, 1.0]);
    }

    #[test]
    fn the_variance_survives_a_mean_far_from_zero() {
        let x: Vec<f32> = (0..4096).map(|i| 10_000.0 + (i % 2) as f32).collect();
        let found = statistics(&x, &Channels::new(&[4, 1, 1024]).unwrap());
        assert_eq!((found.mean[0], found.variance[0]), (10_000.5, 0.25));
    }

    #[test]
    fn a_channel_without_variation_gives_beta() {
        let shape = Channels::new(&[3, 1, 2]).unwrap();
        let x = [2.5; 6];
        let found = statistics(&x, &shape);
        let inverse = inverse_deviation(&found.variance, 1e-5);
        let affine = Affine { mean: &found.mean, inverse: &inverse, gamma: &[3.0], beta: &[-0.5] };
        assert_eq!(normalise(&x, affine, false, &shape), [-0.5; 6]);
        assert_eq!(normalise(&x, affine, true, &shape), [0.0; 6]);
    }

    #[test]
    fn gradients_match_finite_differences_with_and_without_the_statistics() {
        for sizes in [[3, 2, 4], [6, 3, 1]] {
            let shape = Channels::new(&sizes).unwrap();
            let x = noise(shape.len(), 1);
            let weight = noise(shape.len(), 2);
            let (gamma, beta) = parameters(shape.channels);
            let fixed = statistics(&noise(shape.len(), 3), &shape);
            for (relu, of_batch) in [(false, false), (false, true), (true, false), (true, true)] {
                // loss(x, γ, β) = Σ weight · y
                let loss = |x: &[f32], gamma: &[f32], beta: &[f32]| -> f64 {
                    let stats = if of_batch { statistics(x, &shape) } else { fixed.clone() };
                    let inverse = inverse_deviation(&stats.variance, 1e-5);
                    let affine = Affine { mean: &stats.mean, inverse: &inverse, gamma, beta };
                    normalise(x, affine, relu, &shape)
                        .iter()
                        .zip(&weight)
                        .map(|(y, w)| f64::from(*y) * f64::from(*w))
                        .sum()
                };
                let stats = if of_batch { statistics(&x, &shape) } else { fixed.clone() };
                let inverse = inverse_deviation(&stats.variance, 1e-5);
                let affine = Affine { mean: &stats.mean, inverse: &inverse, gamma: &gamma, beta: &beta };
                let found = gradients(&x, &weight, affine, relu, of_batch, &shape);
                let slope = |at: usize, values: &[f32], loss: &dyn Fn(&[f32]) -> f64| {
                    let mut moved = values.to_vec();
                    moved[at] = values[at] + 1e-3;
                    let above = loss(&moved);
                    moved[at] = values[at] - 1e-3;
                    (above - loss(&moved)) / 2e-3
                };
                let near = |found: f32, wanted: f64| {
                    assert!(
                        (f64::from(found) - wanted).abs() < 4e-3 * (1.0 + wanted.abs()),
                        "relu {relu}, of_batch {of_batch}: {found} against {wanted}"
                    );
                };
                for i in 0..x.len() {
                    near(found.x[i], slope(i, &x, &|v| loss(v, &gamma, &beta)));
                }
                for c in 0..shape.channels {
                    near(found.gamma[c], slope(c, &gamma, &|v| loss(&x, v, &beta)));
                    near(found.beta[c], slope(c, &beta, &|v| loss(&x, &gamma, v)));
                }
            }
        }
    }

    #[test]
    fn statistics_match_the_plain_formula_on_many_shapes() {
        for sizes in SHAPES {
            let shape = Channels::new(&sizes).unwrap();
            let x = noise(shape.len(), 4);
            let found = statistics(&x, &shape);
            for c in 0..shape.channels {
                let mut values: Vec<f32> = vec![];
                shape.planes(c, 1, |_, at| values.extend(&x[at..at + shape.plane]));
                let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
                let square = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
                assert_close(&found.mean[c..=c], &[mean], 1e-6, "mean");
                assert_close(&found.variance[c..=c], &[square / values.len() as f64], 1e-5, "variance");
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        for sizes in SHAPES {
            let shape = Channels::new(&sizes).unwrap();
            let (x, dy) = (noise(shape.len(), 1), noise(shape.len(), 2));
            let (gamma, beta) = parameters(shape.channels);
            let all = |threads| {
                on_threads(threads, || {
                    let stats = statistics(&x, &shape);
                    let inverse = inverse_deviation(&stats.variance, 1e-5);
                    let affine = Affine { mean: &stats.mean, inverse: &inverse, gamma: &gamma, beta: &beta };
                    (normalise(&x, affine, true, &shape), gradients(&x, &dy, affine, true, true, &shape))
                })
            };
            let one = all(1);
            assert!(one == all(2) && one == all(4), "{shape:?}");
        }
    }
}
