//! Convolutions of few input channels to channels in blocks, as a network's first layer has them.
//!
//! The padded image lies in memory as one long row, in which every tap of the kernel is a constant distance ahead of a pixel's first. Each
//! value of the image is multiplied with the weights of 16 output channels at once, and what comes of it is a pixel of the output:
//!
//! ```text
//! y[q, o] = Σ_t x[q + t] w[t, o]        ∂w[t, o] = Σ_q x[q + t] ∂y[q, o]
//! ```

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{ConvShape, FEW, LANES, Lanes, Order, sum_over_images};
use crate::kernels::widest;

/// Pixels that share what is read of the weights.
const PIXELS: usize = 8;
/// Taps of a weight gradient that share what is read of the output's gradient: a 3 × 3 kernel's.
const TAPS: usize = 9;

/// Whether this applies.
pub(super) fn applies(shape: &ConvShape) -> bool {
    shape.output_order == Order::Blocks && shape.input_order == Order::Planes && shape.patch() <= FEW
}

pub(super) fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (places, arch) = (shape.taps(), widest());
    let taps = places.len();
    // [block][tap][16]
    let mut weights = vec![[0.0; LANES]; shape.out_channels / LANES * taps];
    for (output, row) in weight.chunks_exact(taps).enumerate() {
        for (tap, value) in row.iter().enumerate() {
            weights[output / LANES * taps + tap][output % LANES] = *value;
        }
    }
    let block = shape.output_plane() * LANES;
    let mut y = vec![0.0; shape.images * shape.output_image()];
    let images = y.par_chunks_exact_mut(shape.output_image()).zip(x.par_chunks_exact(shape.input_image()));
    images.for_each_init(Vec::new, |image, (y, x)| {
        let image = shape.pad(x, 0, image);
        for (y, weights) in y.chunks_exact_mut(block).zip(weights.chunks_exact(taps)) {
            arch.dispatch(Outputs { image, weights, places: &places, shape, y });
        }
    });
    y
}

pub(super) fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (places, arch) = (shape.taps(), widest());
    let taps = places.len();
    let (blocks, block) = (shape.out_channels / LANES, shape.output_plane() * LANES);
    // [block][tap][16]
    let sums = sum_over_images::<Vec<f32>>((x, dy), shape, blocks * taps * LANES, |image, x, dy, sums| {
        let image = shape.pad(x, 0, image);
        let (sums, _) = sums.as_chunks_mut();
        for (dy, sums) in dy.chunks_exact(block).zip(sums.chunks_exact_mut(taps)) {
            arch.dispatch(Weights { image, dy, places: &places, shape, sums });
        }
    });
    let mut dw = vec![0.0; shape.out_channels * taps];
    for (at, sums) in sums.as_chunks::<LANES>().0.iter().enumerate() {
        for (lane, sum) in sums.iter().enumerate() {
            dw[(at / taps * LANES + lane) * taps + at % taps] = *sum;
        }
    }
    dw
}

/// `y[q, o] = Σ_t image[q + t] weights[t, o]`, for a block of outputs of one image.
struct Outputs<'a> {
    image: &'a [f32],
    weights: &'a [Lanes],
    /// Of the taps of a patch.
    places: &'a [usize],
    shape: &'a ConvShape,
    y: &'a mut [f32],
}

impl WithSimd for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { image, weights, places, shape, y } = self;
        let (vectors, stride) = (LANES / S::F32_LANES, shape.stride);
        let (weights, _) = S::as_simd_f32s(weights.as_flattened());
        let (y, _) = S::as_mut_simd_f32s(y);
        for (row, y) in y.chunks_exact_mut(shape.out_width * vectors).enumerate() {
            let image = &image[row * stride * shape.padded_width()..];
            let row = Row { image, weights, places, stride, vectors };
            let mut first = 0;
            while first + PIXELS <= shape.out_width {
                row.pixels::<S, PIXELS>(simd, first, y);
                first += PIXELS;
            }
            while first < shape.out_width {
                row.pixels::<S, 1>(simd, first, y);
                first += 1;
            }
        }
    }
}

/// What a row of outputs is made from.
struct Row<'a, V> {
    /// From the row's first patch on.
    image: &'a [f32],
    weights: &'a [V],
    places: &'a [usize],
    stride: usize,
    /// That make up a pixel.
    vectors: usize,
}

impl<V: Copy> Row<'_, V> {
    #[inline(always)]
    fn pixels<S: Simd<f32s = V>, const N: usize>(&self, simd: S, first: usize, y: &mut [V]) {
        for v in 0..self.vectors {
            let mut found = [simd.splat_f32s(0.0); N];
            for (t, tap) in self.places.iter().enumerate() {
                let weight = self.weights[t * self.vectors + v];
                let image = &self.image[first * self.stride + tap..][..(N - 1) * self.stride + 1];
                for (at, sum) in found.iter_mut().enumerate() {
                    *sum = simd.mul_add_e_f32s(simd.splat_f32s(image[at * self.stride]), weight, *sum);
                }
            }
            for (at, sum) in found.into_iter().enumerate() {
                y[(first + at) * self.vectors + v] = sum;
            }
        }
    }
}

/// `sums[t, o] += Σ_q image[q + t] dy[q, o]`, for a block of outputs of one image.
struct Weights<'a> {
    image: &'a [f32],
    dy: &'a [f32],
    /// Of the taps of a patch.
    places: &'a [usize],
    shape: &'a ConvShape,
    sums: &'a mut [Lanes],
}

impl WithSimd for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { image, dy, places, shape, sums } = self;
        let (whole, rest) = places.as_chunks::<TAPS>();
        let (whole_sums, rest_sums) = sums.split_at_mut(whole.len() * TAPS);
        for (taps, sums) in whole.iter().zip(whole_sums.chunks_exact_mut(TAPS)) {
            add::<S, TAPS>(simd, (image, dy), shape, taps, sums);
        }
        for (tap, sums) in rest.iter().zip(rest_sums.chunks_exact_mut(1)) {
            add::<S, 1>(simd, (image, dy), shape, &[*tap], sums);
        }
    }
}

/// For some taps.
#[inline(always)]
fn add<S: Simd, const N: usize>(
    simd: S,
    (image, dy): (&[f32], &[f32]),
    shape: &ConvShape,
    taps: &[usize; N],
    sums: &mut [Lanes],
) {
    let vectors = LANES / S::F32_LANES;
    let (dy, _) = S::as_simd_f32s(dy);
    let (sums, _) = S::as_mut_simd_f32s(sums.as_flattened_mut());
    for v in 0..vectors {
        let mut found = [simd.splat_f32s(0.0); N];
        for (row, dy) in dy.chunks_exact(shape.out_width * vectors).enumerate() {
            let image = &image[row * shape.stride * shape.padded_width()..];
            for (column, dy) in dy.iter().skip(v).step_by(vectors).enumerate() {
                let image = &image[column * shape.stride..];
                for (sum, tap) in found.iter_mut().zip(taps) {
                    *sum = simd.mul_add_e_f32s(simd.splat_f32s(image[*tap]), *dy, *sum);
                }
            }
        }
        for (at, found) in found.into_iter().enumerate() {
            let sum = &mut sums[at * vectors + v];
            *sum = simd.add_f32s(*sum, found);
        }
    }
}
