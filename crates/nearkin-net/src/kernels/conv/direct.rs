//! Convolutions of few input channels, as a network's first layer has them, without unfolding.
//!
//! A patch of such an image has so few values that unfolding it moves more memory than the products read. Here the padded image
//! lies in memory as one long row, in which every tap of the kernel is a constant distance `t` ahead:
//!
//! ```text
//! y[o, q] = Σ_t w[o, t] x[q + t]        ∂w[o, t] = Σ_q ∂y[o, q] x[q + t]
//! ```
//!
//! for a stride of 1. Rows of the output then have the width of the padded image; what stands in their last columns belongs to no
//! output, and is thrown away, or zero on the way back. So both are sums of whole vectors, in one order whatever their width.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{ConvShape, FEW, LANES, resized, sum_over_images};
use crate::kernels::widest;

/// How many times the outputs may be outnumbered by the columns that are thrown away, in eighths.
const WASTE: usize = 2;
/// Output channels that share what is read of the image.
const CHANNELS: usize = 8;
/// Vectors of pixels a step.
const STEP: usize = 2;
/// Taps of a weight gradient that share what is read of the output's gradient, for [`PAIR`] output channels.
const TAPS: usize = 8;
const PAIR: usize = 2;

/// Whether this pays.
pub(super) fn applies(shape: &ConvShape) -> bool {
    let padded = shape.padded_width();
    shape.stride == 1 && shape.patch() <= FEW && 8 * (padded - shape.out_width) <= WASTE * padded
}

/// Places in the padded image.
struct Layout {
    /// Values of a row of the padded image.
    width: usize,
    /// Values from an output to each tap of its kernel.
    taps: Vec<usize>,
    /// Values of an output channel whose rows are as wide as the padded image's, in whole steps.
    long: usize,
}

impl Layout {
    fn new(shape: &ConvShape) -> Self {
        let width = shape.padded_width();
        let long = (shape.out_height * width).next_multiple_of(STEP * LANES);
        Self { width, taps: shape.taps(), long }
    }

    /// The padded image, with zeros after its end that every tap of the last step may read.
    fn pad<'a>(&self, x: &[f32], shape: &ConvShape, padded: &'a mut Vec<f32>) -> &'a [f32] {
        shape.pad(x, self.taps.last().copied().unwrap_or_default() + self.long, padded)
    }
}

pub(super) fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let layout = Layout::new(shape);
    let (arch, plane) = (widest(), shape.output_plane());
    let mut y = vec![0.0; shape.images * shape.output_image()];
    let images = y.par_chunks_exact_mut(shape.output_image()).zip(x.par_chunks_exact(shape.input_image()));
    images.for_each_init(<(Vec<f32>, Vec<f32>)>::default, |(padded, sums), (y, x)| {
        let image = layout.pad(x, shape, padded);
        let sums = resized(sums, CHANNELS * layout.long);
        let channels = y.chunks_mut(CHANNELS * plane).zip(weight.chunks(CHANNELS * layout.taps.len()));
        for (y, weights) in channels {
            arch.dispatch(Outputs { image, weights, layout: &layout, sums: &mut *sums });
            for (y, sums) in y.chunks_exact_mut(plane).zip(sums.chunks_exact(layout.long)) {
                for (y, sums) in y.chunks_exact_mut(shape.out_width).zip(sums.chunks(layout.width)) {
                    y.copy_from_slice(&sums[..shape.out_width]);
                }
            }
        }
    });
    y
}

pub(super) fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let layout = Layout::new(shape);
    let (arch, plane) = (widest(), shape.output_plane());
    let len = shape.out_channels * layout.taps.len();
    sum_over_images::<(Vec<f32>, Vec<f32>)>((x, dy), shape, len, |(padded, gradients), x, dy, sums| {
        let image = layout.pad(x, shape, padded);
        let gradients = resized(gradients, PAIR * layout.long);
        let channels = dy.chunks(PAIR * plane).zip(sums.chunks_mut(PAIR * layout.taps.len()));
        for (dy, sums) in channels {
            gradients.fill(0.0);
            for (dy, row) in dy.chunks_exact(plane).zip(gradients.chunks_exact_mut(layout.long)) {
                for (dy, row) in dy.chunks_exact(shape.out_width).zip(row.chunks_mut(layout.width)) {
                    row[..shape.out_width].copy_from_slice(dy);
                }
            }
            arch.dispatch(Weights { image, gradients, layout: &layout, sums });
        }
    })
}

/// `sums[o, q] = Σ_t weights[o, t] image[q + t]`, for up to [`CHANNELS`] outputs.
struct Outputs<'a> {
    image: &'a [f32],
    weights: &'a [f32],
    layout: &'a Layout,
    sums: &'a mut [f32],
}

impl WithSimd for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { image, weights, layout: Layout { taps, long, .. }, sums } = self;
        let outputs = weights.len() / taps.len();
        for first in (0..*long).step_by(STEP * S::F32_LANES) {
            let mut found = [[simd.splat_f32s(0.0); STEP]; CHANNELS];
            for (t, tap) in taps.iter().enumerate() {
                let Some(pixels) = vectors::<S>(image, tap + first) else { break };
                for (o, found) in found.iter_mut().enumerate().take(outputs) {
                    let weight = simd.splat_f32s(weights[o * taps.len() + t]);
                    for (sum, pixels) in found.iter_mut().zip(pixels) {
                        *sum = simd.mul_add_e_f32s(weight, *pixels, *sum);
                    }
                }
            }
            for (sums, found) in sums.chunks_exact_mut(*long).zip(&found).take(outputs) {
                let (sums, _) = S::as_mut_simd_f32s(&mut sums[first..]);
                sums[..STEP].copy_from_slice(found);
            }
        }
    }
}

/// `sums[o, t] += Σ_q gradients[o, q] image[q + t]`, for up to [`PAIR`] outputs.
struct Weights<'a> {
    image: &'a [f32],
    gradients: &'a [f32],
    layout: &'a Layout,
    sums: &'a mut [f32],
}

impl WithSimd for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (whole, rest) = self.layout.taps.as_chunks::<TAPS>();
        for (at, taps) in whole.iter().enumerate() {
            self.add(simd, at * TAPS, taps);
        }
        for (at, tap) in rest.iter().enumerate() {
            self.add(simd, whole.len() * TAPS + at, &[*tap]);
        }
    }
}

impl Weights<'_> {
    /// For some taps, of which the first has this number.
    #[inline(always)]
    fn add<S: Simd, const N: usize>(&mut self, simd: S, number: usize, taps: &[usize; N]) {
        let Self { image, gradients, layout: Layout { taps: all, long, .. }, sums } = self;
        let (one, other) = gradients.split_at(*long);
        let mut found = [[simd.splat_f32s(0.0); N]; PAIR];
        for first in (0..*long).step_by(S::F32_LANES) {
            let both = [&one[first..], &other[first..]].map(|row| S::as_simd_f32s(row).0[0]);
            for (at, tap) in taps.iter().enumerate() {
                let pixels = S::as_simd_f32s(&image[tap + first..]).0[0];
                for (found, gradient) in found.iter_mut().zip(both) {
                    found[at] = simd.mul_add_e_f32s(gradient, pixels, found[at]);
                }
            }
        }
        for (sums, found) in sums.chunks_exact_mut(all.len()).zip(found) {
            for (sum, found) in sums[number..].iter_mut().zip(found) {
                *sum += simd.reduce_sum_f32s(found);
            }
        }
    }
}

/// The vectors of a step, from this place on.
#[inline(always)]
fn vectors<S: Simd>(values: &[f32], from: usize) -> Option<&[S::f32s; STEP]> {
    S::as_simd_f32s(values.get(from..)?).0.first_chunk()
}
