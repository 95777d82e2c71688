//! 3 × 3 convolutions with fewer products than their definition has.
//!
//! A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016. An output tile of 2 × 2 pixels depends on a
//! tile `d` of the input and on the kernel `g`:
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! ```
//!
//! Without a stride, F(2 × 2, 3 × 3), that takes 16 products in place of 36, of 4 × 4 input pixels. With a stride of 2 the even
//! and the odd pixels are convolutions of their own, with two taps and with one, which takes 25, of 5 × 5 pixels. F(4 × 4, 3 × 3), where
//! the map is large enough for it, takes 36 in place of 144.
//!
//! The points of the larger transform are 0, ± ¾, ± 1½ and infinity. All that is made of them but the kernels' factors is exact in f32, and
//! results are as near as those of the small transform; with 0, ± 1, ± 2 they are five times as far off (B. Barabasz, A. Anderson, K. M.
//! Soodhalter, D. Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020).
//!
//! With the sum over channels this is one matrix product for each point of the transform. The gradients are the same chain in
//! reverse: `∂(G g Gᵀ) = (A ∂Y Aᵀ) ⊙ (Bᵀ d B)`, summed over tiles, and `∂d = B [ (G g Gᵀ) ⊙ (A ∂Y Aᵀ) ] Bᵀ`, added where tiles
//! overlap.
//!
//! Where the size of a map is no multiple of a tile's, the last tiles reach beyond it. What they say of outputs there is not wanted, nor are
//! the points that nothing else depends on: tiles are numbered such that those which a point is wanted of come one after the other.
//!
//! Transformed values are kept in blocks of 16 channels, `[block][point][tile][16]`, in which every product and every
//! transform reads and writes whole vectors. The work is cut by the shape alone, and every sum has one owner and one order.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::pixels::{Place, gather, scatter};
use super::{ConvShape, LANES, resized};
use crate::kernels::widest;

/// Transformed inputs that a forward task holds, about: 768 KiB, so that they stay in the second-level cache.
const TASK: usize = 3 << 16;
/// Tiles that it has at least, to be worth the reading of the kernels.
const TASK_TILES: usize = 36;
/// Tiles whose products are taken at once with the widest registers, and a multiple of those with narrower ones: see [`TilesAtOnce`].
const AT_ONCE: usize = 12;
/// With how many tiles' products the transform of a kernel is as costly.
const KERNEL: usize = 32;
/// Transformed inputs that a weight gradient holds at once, about: 4 MiB.
const CHUNK: usize = 1 << 20;
/// Tiles whose sums a weight gradient keeps in registers: both operands then stay in the nearest cache.
const STRETCH: usize = 192;

/// Whether the transform pays: a 3 × 3 kernel, a stride of 1 or 2, channels to fill a block, and at least one whole tile.
pub(super) fn applies(shape: &ConvShape) -> bool {
    shape.kernel == [3, 3]
        && shape.padding[0] == shape.padding[1]
        && matches!(shape.stride, 1 | 2)
        && shape.in_channels >= LANES
        && shape.out_channels >= LANES
        && shape.out_height >= 2
        && shape.out_width >= 2
}

/// Whether it pays for the weight gradient too: the sums at a kernel's points have to be worth their tiles.
pub(super) fn applies_to_weights(shape: &ConvShape) -> bool {
    applies(shape) && 4 * shape.images * tiles_of_image(shape, 2) >= shape.in_channels.max(shape.out_channels)
}

fn tiles_of_image(shape: &ConvShape, out: usize) -> usize {
    shape.out_height.div_ceil(out) * shape.out_width.div_ceil(out)
}

/// Whether, without a stride, tiles of 4 × 4 outputs cost less than those of 2 × 2: products at each point of each tile, and for each point a
/// transform of the kernel. With a stride of 2 there are 81 points to 25, and what they save the transforms cost.
fn large(shape: &ConvShape) -> bool {
    let cost = |out: usize, side: usize| (shape.images * tiles_of_image(shape, out) + KERNEL) * side * side;
    cost(4, 6) < cost(2, 4)
}

pub(super) fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    match (shape.stride, large(shape)) {
        (1, false) => Stride1::forward(x, weight, shape),
        (1, true) => Stride1Large::forward(x, weight, shape),
        _ => Stride2::forward(x, weight, shape),
    }
}

pub(super) fn data_gradient(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    match (shape.stride, large(shape)) {
        (1, false) => Stride1::data_gradient(dy, weight, shape),
        (1, true) => Stride1Large::data_gradient(dy, weight, shape),
        _ => Stride2::data_gradient(dy, weight, shape),
    }
}

pub(super) fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    match (shape.stride, large(shape)) {
        (1, false) => Stride1::weight_gradient(x, dy, shape),
        (1, true) => Stride1Large::weight_gradient(x, dy, shape),
        _ => Stride2::weight_gradient(x, dy, shape),
    }
}

/// A transform along one axis, of `SIDE` input pixels to as many points, and of these to `OUT` output pixels; along both axes it is done twice.
trait Scheme<const SIDE: usize, const OUT: usize>: Sized + Sync {
    /// Input pixels from a tile to the next.
    const STEP: usize;
    /// Points that the outputs but the last depend on; they come first.
    const SHORT: usize;

    /// Bᵀ times a tile's pixels.
    fn input<S: Simd>(simd: S, pixels: [S::f32s; SIDE]) -> [S::f32s; SIDE];
    /// B times a tile's points.
    fn input_gradient<S: Simd>(simd: S, points: [S::f32s; SIDE]) -> [S::f32s; SIDE];
    /// Aᵀ times a tile's points.
    fn output<S: Simd>(simd: S, points: [S::f32s; SIDE]) -> [S::f32s; OUT];
    /// A times a tile's outputs.
    fn output_gradient<S: Simd>(simd: S, outputs: [S::f32s; OUT]) -> [S::f32s; SIDE];
    /// G times the kernel.
    fn kernel<S: Simd>(simd: S, taps: [S::f32s; 3]) -> [S::f32s; SIDE];
    /// Gᵀ times the points of a kernel.
    fn kernel_gradient<S: Simd>(simd: S, points: [S::f32s; SIDE]) -> [S::f32s; 3];

    fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
        let kernels = transform_kernels::<Self, SIDE, OUT>(weight, shape, false);
        let ways = (shape.input_image(), shape.output_image(), shape.in_channels, shape.out_channels);
        through::<Self, SIDE, OUT>(
            x,
            &kernels,
            shape,
            ways,
            transform_inputs::<Self, SIDE, OUT>,
            transform_outputs::<Self, SIDE, OUT>,
        )
    }

    fn data_gradient(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
        let kernels = transform_kernels::<Self, SIDE, OUT>(weight, shape, true);
        let ways = (shape.output_image(), shape.input_image(), shape.out_channels, shape.in_channels);
        through::<Self, SIDE, OUT>(
            dy,
            &kernels,
            shape,
            ways,
            transform_output_gradients::<Self, SIDE, OUT>,
            transform_input_gradients::<Self, SIDE, OUT>,
        )
    }

    fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
        let points = SIDE * SIDE;
        let arch = widest();
        let (blocks_in, blocks_out) = (shape.in_channels.div_ceil(LANES), shape.out_channels.div_ceil(LANES));
        let width = blocks_in * LANES;
        // [block of outputs][point][16 outputs][inputs]
        let mut sums = vec![0.0; blocks_out * points * LANES * width];
        let chunk = CHUNK / (points * LANES * blocks_in.max(blocks_out));
        Scratch::with(|scratch| {
            for part in parts::<Self, SIDE, OUT>(shape, shape.images, chunk.max(1)) {
                let tiles = part.tiles();
                // An odd number: points a power of two apart would fall on one another in the caches.
                let room = tiles | 1;
                let block = points * room * LANES;
                let inputs = resized(&mut scratch.inputs, blocks_in * block);
                let outputs = resized(&mut scratch.outputs, blocks_out * block);
                let (x, dy) = (
                    &x[part.images.start * shape.input_image()..part.images.end * shape.input_image()],
                    &dy[part.images.start * shape.output_image()..part.images.end * shape.output_image()],
                );
                let both = inputs.par_chunks_exact_mut(block).chain(outputs.par_chunks_exact_mut(block));
                both.enumerate().for_each(|(b, values)| {
                    Scratch::with(|own| match b.checked_sub(blocks_in) {
                        None => {
                            transform_inputs::<Self, SIDE, OUT>(x, b, &part, shape, &mut own.grid, values)
                        }
                        Some(b) => {
                            transform_output_gradients::<Self, SIDE, OUT>(
                                dy,
                                b,
                                &part,
                                shape,
                                &mut own.grid,
                                values,
                            );
                        }
                    });
                });
                sums.par_chunks_exact_mut(LANES * width).enumerate().for_each(|(at, sums)| {
                    let (b, point) = (at / points, at % points);
                    let of = |values: &'_ [f32], b: usize| (b * points + point) * room * LANES..values.len();
                    let outputs = &outputs[of(outputs, b)];
                    let wanted = part.wanted::<Self, SIDE, OUT>(point);
                    for first in wanted.clone().step_by(STRETCH) {
                        let stretch = first * LANES..(first + STRETCH).min(wanted.end) * LANES;
                        for b in 0..blocks_in {
                            let inputs = &inputs[of(inputs, b)][stretch.clone()];
                            let sums = &mut sums[b * LANES..];
                            let outputs = &outputs[stretch.clone()];
                            arch.dispatch(OuterProducts { outputs, inputs, sums, width });
                        }
                    }
                });
            }
        });
        kernels_of::<Self, SIDE, OUT>(&sums, width, shape)
    }
}

/// F(2, 3): four products for two outputs of three taps.
struct Stride1;

impl Scheme<4, 2> for Stride1 {
    const STEP: usize = 2;
    const SHORT: usize = 3;

    #[inline(always)]
    fn input<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
        [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
    }

    #[inline(always)]
    fn input_gradient<S: Simd>(simd: S, [p, q, r, s]: [S::f32s; 4]) -> [S::f32s; 4] {
        let between = simd.sub_f32s(q, r);
        [p, simd.add_f32s(between, s), simd.sub_f32s(simd.add_f32s(q, r), p), simd.neg_f32s(s)]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, [p, q, r, s]: [S::f32s; 4]) -> [S::f32s; 2] {
        [simd.add_f32s(simd.add_f32s(p, q), r), simd.sub_f32s(simd.sub_f32s(q, r), s)]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
        [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
    }

    #[inline(always)]
    fn kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
        let [sum, difference] = [simd.add_f32s(a, b), simd.sub_f32s(a, b)];
        [a, scaled(simd, 0.5, simd.add_f32s(sum, c)), scaled(simd, 0.5, simd.add_f32s(difference, c)), c]
    }

    #[inline(always)]
    fn kernel_gradient<S: Simd>(simd: S, [p, q, r, s]: [S::f32s; 4]) -> [S::f32s; 3] {
        let both = scaled(simd, 0.5, simd.add_f32s(q, r));
        [simd.add_f32s(p, both), scaled(simd, 0.5, simd.sub_f32s(q, r)), simd.add_f32s(both, s)]
    }
}

/// Five products for two outputs of three taps, two pixels apart: three for the two taps on even pixels `a`, `c`, `e`, with
/// `(a − c) g₀ + c (g₀ + g₂)` and `c (g₀ + g₂) − (c − e) g₂`, and one each for the tap on odd ones.
struct Stride2;

impl Scheme<5, 2> for Stride2 {
    const STEP: usize = 4;
    const SHORT: usize = 3;

    #[inline(always)]
    fn input<S: Simd>(simd: S, [a, b, c, d, e]: [S::f32s; 5]) -> [S::f32s; 5] {
        [simd.sub_f32s(a, c), c, b, simd.sub_f32s(c, e), d]
    }

    #[inline(always)]
    fn input_gradient<S: Simd>(simd: S, [p, q, s, r, t]: [S::f32s; 5]) -> [S::f32s; 5] {
        [p, s, simd.add_f32s(simd.sub_f32s(q, p), r), t, simd.neg_f32s(r)]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, [p, q, s, r, t]: [S::f32s; 5]) -> [S::f32s; 2] {
        [simd.add_f32s(simd.add_f32s(p, q), s), simd.add_f32s(simd.sub_f32s(q, r), t)]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 5] {
        [a, simd.add_f32s(a, b), a, simd.neg_f32s(b), b]
    }

    #[inline(always)]
    fn kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 5] {
        [a, simd.add_f32s(a, c), b, c, b]
    }

    #[inline(always)]
    fn kernel_gradient<S: Simd>(simd: S, [p, q, s, r, t]: [S::f32s; 5]) -> [S::f32s; 3] {
        [simd.add_f32s(p, q), simd.add_f32s(s, t), simd.add_f32s(q, r)]
    }
}

/// F(4, 3): six products for four outputs of three taps, at the points 0, ± A, ± B and infinity.
///
/// Pixels are coefficients of a polynomial. With `m(x) = x (x² − A²) (x² − B²)` the transform of the point `p` has the coefficients of
/// `m(x) / (x − p)`, that of outputs the powers of `p`, and that of a kernel these divided by `m′(p)`; infinity has the coefficients of
/// `m(x)`, the last output and the last tap.
struct Stride1Large;

const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// `1 / m′(0)`
const AT_ZERO: f32 = 1.0 / (A2 * B2);
/// `1 / m′(± A)`
const AT_A: f32 = 0.5 / (A2 * (A2 - B2));
/// `1 / m′(± B)`
const AT_B: f32 = 0.5 / (B2 * (B2 - A2));

/// `a x`
#[inline(always)]
fn scaled<S: Simd>(simd: S, a: f32, x: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.splat_f32s(a), x)
}

/// `a x + y`
#[inline(always)]
fn plus<S: Simd>(simd: S, a: f32, x: S::f32s, y: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(simd.splat_f32s(a), x, y)
}

/// What even and odd powers come to at a point and at its negative.
#[inline(always)]
fn pair<S: Simd>(simd: S, even: S::f32s, odd: S::f32s) -> [S::f32s; 2] {
    [simd.add_f32s(even, odd), simd.sub_f32s(even, odd)]
}

impl Scheme<6, 4> for Stride1Large {
    const STEP: usize = 4;
    const SHORT: usize = 5;

    #[inline(always)]
    fn input<S: Simd>(simd: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 6] {
        let [q, r] = pair(simd, plus(simd, -B2, c, e), scaled(simd, A, plus(simd, -B2, b, d)));
        let [s, t] = pair(simd, plus(simd, -A2, c, e), scaled(simd, B, plus(simd, -A2, b, d)));
        let p = plus(simd, A2 * B2, a, plus(simd, -(A2 + B2), c, e));
        let u = plus(simd, A2 * B2, b, plus(simd, -(A2 + B2), d, f));
        [p, q, r, s, t, u]
    }

    #[inline(always)]
    fn input_gradient<S: Simd>(simd: S, [p, q, r, s, t, u]: [S::f32s; 6]) -> [S::f32s; 6] {
        let ([even_a, odd_a], [even_b, odd_b]) = (pair(simd, q, r), pair(simd, s, t));
        let b = plus(simd, -A * B2, odd_a, scaled(simd, -A2 * B, odd_b));
        let c = plus(simd, -B2, even_a, plus(simd, -A2, even_b, scaled(simd, -(A2 + B2), p)));
        let d = plus(simd, A, odd_a, scaled(simd, B, odd_b));
        [
            scaled(simd, A2 * B2, p),
            simd.add_f32s(b, scaled(simd, A2 * B2, u)),
            c,
            simd.add_f32s(d, scaled(simd, -(A2 + B2), u)),
            simd.add_f32s(p, simd.add_f32s(even_a, even_b)),
            u,
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(simd: S, [p, q, r, s, t, u]: [S::f32s; 6]) -> [S::f32s; 4] {
        let ([even_a, odd_a], [even_b, odd_b]) = (pair(simd, q, r), pair(simd, s, t));
        [
            simd.add_f32s(p, simd.add_f32s(even_a, even_b)),
            plus(simd, A, odd_a, scaled(simd, B, odd_b)),
            plus(simd, A2, even_a, scaled(simd, B2, even_b)),
            simd.add_f32s(u, plus(simd, A * A2, odd_a, scaled(simd, B * B2, odd_b))),
        ]
    }

    #[inline(always)]
    fn output_gradient<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 6] {
        let [q, r] = pair(simd, plus(simd, A2, c, a), scaled(simd, A, plus(simd, A2, d, b)));
        let [s, t] = pair(simd, plus(simd, B2, c, a), scaled(simd, B, plus(simd, B2, d, b)));
        [a, q, r, s, t, d]
    }

    #[inline(always)]
    fn kernel<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 6] {
        let [even_a, even_b] = [plus(simd, A2, c, a), plus(simd, B2, c, a)];
        let [q, r] = pair(simd, scaled(simd, AT_A, even_a), scaled(simd, A * AT_A, b));
        let [s, t] = pair(simd, scaled(simd, AT_B, even_b), scaled(simd, B * AT_B, b));
        [scaled(simd, AT_ZERO, a), q, r, s, t, c]
    }

    #[inline(always)]
    fn kernel_gradient<S: Simd>(simd: S, [p, q, r, s, t, u]: [S::f32s; 6]) -> [S::f32s; 3] {
        let ([even_a, odd_a], [even_b, odd_b]) = (pair(simd, q, r), pair(simd, s, t));
        let [even_a, even_b] = [scaled(simd, AT_A, even_a), scaled(simd, AT_B, even_b)];
        [
            plus(simd, AT_ZERO, p, simd.add_f32s(even_a, even_b)),
            plus(simd, A * AT_A, odd_a, scaled(simd, B * AT_B, odd_b)),
            simd.add_f32s(u, plus(simd, A2, even_a, scaled(simd, B2, even_b))),
        ]
    }
}

/// Some tile rows of some images, or all of them.
///
/// Tiles are numbered in four groups, each image by image: those of the last row, if that reaches beyond the map, but for its corner; those
/// that reach nowhere; the last column, if that reaches beyond; the corner of both.
#[derive(Clone)]
struct Part {
    images: Range<usize>,
    rows: Range<usize>,
    /// Tiles a row.
    columns: usize,
    /// Rows and columns of tiles without the last that reach beyond the map.
    inside: (usize, usize),
}

impl Part {
    fn new<const OUT: usize>(shape: &ConvShape, images: Range<usize>, rows: Range<usize>) -> Self {
        let columns = shape.out_width.div_ceil(OUT);
        let inside = (rows.end.min(shape.out_height / OUT) - rows.start, shape.out_width / OUT);
        Self { images, rows, columns, inside }
    }

    fn tiles(&self) -> usize {
        self.images.len() * self.rows.len() * self.columns
    }

    /// Where the second, the third and the fourth group begin.
    fn groups(&self) -> [usize; 3] {
        let (images, (rows, columns)) = (self.images.len(), self.inside);
        let below = images * (self.rows.len() - rows) * columns;
        let within = below + images * rows * columns;
        [below, within, within + images * rows * (self.columns - columns)]
    }

    /// The numbers of the first tile of a row and, if it reaches beyond the map, of the last; those between follow the first.
    fn row(&self, image: usize, row: usize) -> [usize; 2] {
        let (rows, columns) = self.inside;
        let [second, third, fourth] = self.groups();
        match row < rows {
            true => [second + (image * rows + row) * columns, third + image * rows + row],
            false => [image * columns, fourth + image],
        }
    }

    /// The tiles that a point is wanted of.
    fn wanted<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
        &self,
        point: usize,
    ) -> Range<usize> {
        let [second, third, fourth] = self.groups();
        match (point / SIDE < K::SHORT, point % SIDE < K::SHORT) {
            (true, true) => 0..self.tiles(),
            (true, false) => 0..third,
            (false, true) => second..fourth,
            (false, false) => second..third,
        }
    }

    /// Rows and columns of one image's pixels under its tiles, each of `side` pixels and `step` after the one before.
    fn grid(&self, step: usize, side: usize) -> (usize, usize) {
        (step * (self.rows.len() - 1) + side, step * (self.columns - 1) + side)
    }
}

/// Cuts so many images into parts of about so many tiles: several small images, or some rows of a large one.
fn parts<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    shape: &ConvShape,
    images: usize,
    tiles: usize,
) -> Vec<Part> {
    let (rows, columns) = (shape.out_height.div_ceil(OUT), shape.out_width.div_ceil(OUT));
    let together = images_together::<K, SIDE, OUT>(shape, tiles);
    let step = if together > 1 { rows } else { tiles.div_ceil(columns).min(rows) };
    let groups = (0..images).step_by(together).map(|first| first..(first + together).min(images));
    groups
        .flat_map(|images| {
            let rows = (0..rows).step_by(step).map(move |first| first..(first + step).min(rows));
            rows.map(move |rows| Part::new::<OUT>(shape, images.clone(), rows))
        })
        .collect()
}

/// Images that have so many tiles or a few less: as many as make the least work, where tiles are taken [`AT_ONCE`].
fn images_together<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    shape: &ConvShape,
    tiles: usize,
) -> usize {
    let most = (tiles / tiles_of_image(shape, OUT)).clamp(1, shape.images);
    let work = |images: &usize| {
        let part = Part::new::<OUT>(shape, 0..*images, 0..shape.out_height.div_ceil(OUT));
        let wanted = (0..SIDE * SIDE).map(|point| part.wanted::<K, SIDE, OUT>(point));
        shape.images.div_ceil(*images)
            * wanted.map(|tiles| tiles.len().next_multiple_of(AT_ONCE)).sum::<usize>()
    };
    (most.div_ceil(2)..=most).rev().min_by_key(work).unwrap_or(most)
}

/// Buffers that a thread keeps for its next convolution: to have the system hand out fresh pages costs as much as the products.
/// Whoever uses them writes all that it reads.
#[derive(Default)]
struct Scratch {
    grid: Vec<f32>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Scratch {
    /// Lends the thread's buffers; while they are out, the thread's other tasks make new ones.
    fn with<T>(work: impl FnOnce(&mut Self) -> T) -> T {
        let mut scratch = SCRATCH.take();
        let found = work(&mut scratch);
        SCRATCH.set(scratch);
        found
    }
}

/// One block of channels of a part to the points of its tiles.
type ToPoints = fn(&[f32], usize, &Part, &ConvShape, &mut Vec<f32>, &mut [f32]);
/// The points of its tiles to one block of channels of a part.
type FromPoints = fn(&[f32], usize, &Part, &ConvShape, &mut Vec<f32>, &mut [f32]);

/// Images to points, products with kernels there, and back to images. `ways` are the values an image and the channels of what goes in
/// and of what comes out.
fn through<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    from: &[f32],
    kernels: &[f32],
    shape: &ConvShape,
    (image_from, image_to, channels_from, channels_to): (usize, usize, usize, usize),
    to_points: ToPoints,
    from_points: FromPoints,
) -> Vec<f32> {
    let points = SIDE * SIDE;
    let arch = widest();
    let (blocks_from, blocks_to) = (channels_from.div_ceil(LANES), channels_to.div_ceil(LANES));
    let tiles = (TASK / (points * blocks_from * LANES)).max(TASK_TILES);
    let together = images_together::<K, SIDE, OUT>(shape, tiles);
    let at_once = arch.dispatch(TilesAtOnce);
    let mut to = vec![0.0; shape.images * image_to];
    let tasks = to.par_chunks_mut(together * image_to).zip(from.par_chunks(together * image_from));
    tasks.for_each(|(to, from)| {
        Scratch::with(|scratch| {
            for part in parts::<K, SIDE, OUT>(shape, to.len() / image_to, tiles) {
                // Products are taken of several tiles at once: what lies beyond the last is thrown away.
                let taken = |point| {
                    let wanted = part.wanted::<K, SIDE, OUT>(point);
                    wanted.start..wanted.start + wanted.len().next_multiple_of(at_once)
                };
                let room = (0..points).map(|point| taken(point).end).max().unwrap_or(0);
                let block = points * room * LANES;
                let inputs = resized(&mut scratch.inputs, blocks_from * block);
                for (b, inputs) in inputs.chunks_exact_mut(block).enumerate() {
                    to_points(from, b, &part, shape, &mut scratch.grid, inputs);
                }
                let outputs = resized(&mut scratch.outputs, block);
                let depth = blocks_from * LANES * LANES;
                for (b, kernels) in kernels.chunks_exact(points * depth).enumerate().take(blocks_to) {
                    let of_points = outputs.chunks_exact_mut(room * LANES).zip(kernels.chunks_exact(depth));
                    for (point, (out, kernels)) in of_points.enumerate() {
                        let Range { start, end } = taken(point);
                        out[end * LANES..].fill(0.0);
                        let (before, out) = out[..end * LANES].split_at_mut(start * LANES);
                        before.fill(0.0);
                        let inputs = &inputs[(point * room + start) * LANES..];
                        arch.dispatch(Products { inputs, block, kernels, out });
                    }
                    from_points(outputs, b, &part, shape, &mut scratch.grid, to);
                }
            }
        });
    });
    to
}

/// `G g Gᵀ` of every kernel, as `[block of outputs][point][input][16 outputs]`, filled up with zeros; with inputs and outputs
/// exchanged for the data gradient.
fn transform_kernels<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    weight: &[f32],
    shape: &ConvShape,
    exchanged: bool,
) -> Vec<f32> {
    let (from, to, of_from, of_to) = match exchanged {
        false => (shape.in_channels, shape.out_channels, 9, shape.patch()),
        true => (shape.out_channels, shape.in_channels, shape.patch(), 9),
    };
    let depth = from.next_multiple_of(LANES);
    let mut kernels = vec![0.0; to.div_ceil(LANES) * SIDE * SIDE * depth * LANES];
    kernels.par_chunks_exact_mut(SIDE * SIDE * depth * LANES).enumerate().for_each(|(b, kernels)| {
        for input in 0..from {
            let mut taps = [[0.0; LANES]; 9];
            for (lane, output) in (b * LANES..to.min((b + 1) * LANES)).enumerate() {
                let Some(g) = weight[output * of_to + input * of_from..].first_chunk::<9>() else { break };
                for (taps, g) in taps.iter_mut().zip(g) {
                    taps[lane] = *g;
                }
            }
            let points = &mut kernels[input * LANES..];
            widest().dispatch(Kernels::<K, SIDE, OUT> { taps, points, depth, scheme: PhantomData });
        }
    });
    kernels
}

/// The transform of a kernel each from one input to 16 outputs.
struct Kernels<'a, K, const SIDE: usize, const OUT: usize> {
    taps: [[f32; LANES]; 9],
    /// From this input's on; those of the next point begin `depth · 16` values later.
    points: &'a mut [f32],
    depth: usize,
    scheme: PhantomData<K>,
}

impl<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize> WithSimd for Kernels<'_, K, SIDE, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = LANES / S::F32_LANES;
        let (taps, points) =
            (S::as_simd_f32s(self.taps.as_flattened()).0, S::as_mut_simd_f32s(self.points).0);
        for v in 0..vectors {
            both_ways(
                simd,
                #[inline(always)]
                |simd, along| K::kernel::<S>(simd, along),
                #[inline(always)]
                |y, x| taps[(y * 3 + x) * vectors + v],
                #[inline(always)]
                |y, x, value| points[(y * SIDE + x) * self.depth * vectors + v] = value,
            );
        }
    }
}

/// `Gᵀ s G` of the sums at every kernel's points.
fn kernels_of<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    sums: &[f32],
    width: usize,
    shape: &ConvShape,
) -> Vec<f32> {
    let mut dw = vec![0.0; shape.out_channels * shape.patch()];
    dw.par_chunks_exact_mut(shape.patch()).enumerate().for_each(|(output, dw)| {
        let (b, lane) = (output / LANES, output % LANES);
        let sums = &sums[(b * SIDE * SIDE * LANES + lane) * width..];
        for (first, dw) in (0..).step_by(LANES).zip(dw.as_chunks_mut::<9>().0.chunks_mut(LANES)) {
            let mut taps = [[0.0; LANES]; 9];
            let of_lanes = KernelGradients::<K, SIDE, OUT> {
                sums: &sums[first..],
                next: LANES * width,
                taps: &mut taps,
                scheme: PhantomData,
            };
            widest().dispatch(of_lanes);
            for (lane, dw) in dw.iter_mut().enumerate() {
                *dw = taps.map(|tap| tap[lane]);
            }
        }
    });
    dw
}

/// The transform of the sums of kernels from 16 inputs to one output.
struct KernelGradients<'a, K, const SIDE: usize, const OUT: usize> {
    /// From the first point's on; those of the next begin `next` values later.
    sums: &'a [f32],
    next: usize,
    taps: &'a mut [[f32; LANES]; 9],
    scheme: PhantomData<K>,
}

impl<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize> WithSimd
    for KernelGradients<'_, K, SIDE, OUT>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = LANES / S::F32_LANES;
        let (sums, taps) =
            (S::as_simd_f32s(self.sums).0, S::as_mut_simd_f32s(self.taps.as_flattened_mut()).0);
        for v in 0..vectors {
            both_ways(
                simd,
                #[inline(always)]
                |simd, along| K::kernel_gradient::<S>(simd, along),
                #[inline(always)]
                |y, x| sums[(y * SIDE + x) * self.next / S::F32_LANES + v],
                #[inline(always)]
                |y, x, value| taps[(y * 3 + x) * vectors + v] = value,
            );
        }
    }
}

/// Where a part's tiles lie in the input.
fn input_place(part: &Part, step: usize, block: usize, shape: &ConvShape) -> Place {
    let padding = shape.padding[0] as isize;
    let corner = ((step * part.rows.start) as isize - padding, -padding);
    Place { order: shape.input_order, size: (shape.height, shape.width), block, corner }
}

/// Where a part's tiles lie in the output.
fn output_place(part: &Part, out: usize, block: usize, shape: &ConvShape) -> Place {
    let corner = ((out * part.rows.start) as isize, 0);
    Place { order: shape.output_order, size: (shape.out_height, shape.out_width), block, corner }
}

/// A grid of an image's pixels: where it is whole in the image, there; else laid out in `room`.
fn pixels<'a>(
    image: &'a [f32],
    place: Place,
    (height, width): (usize, usize),
    room: &'a mut Vec<f32>,
) -> &'a [f32] {
    match place.whole(height, width) {
        Some(grid) => &image[grid],
        None => {
            let grid = resized(room, height * width * LANES);
            gather(image, place, width, grid.as_chunks_mut().0);
            grid
        }
    }
}

/// `Bᵀ d B` of every tile of a part, for one block of input channels: `values` is `[point][tiles][16]`, and may have room for more
/// tiles than there are.
fn transform_inputs<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    x: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    room: &mut Vec<f32>,
    values: &mut [f32],
) {
    let size = part.grid(K::STEP, SIDE);
    for (image, x) in x.chunks_exact(shape.input_image()).enumerate() {
        let grid = pixels(x, input_place(part, K::STEP, block, shape), size, room);
        let tiles = Tiles::new(part, image, K::STEP, size.1, values.len() / (SIDE * SIDE));
        widest().dispatch(Inputs::<K, SIDE, OUT> { tiles, grid, values, scheme: PhantomData });
    }
}

/// `A ∂Y Aᵀ` of every tile of a part, for one block of output channels, as [`transform_inputs`].
fn transform_output_gradients<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    dy: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    room: &mut Vec<f32>,
    values: &mut [f32],
) {
    let size = part.grid(OUT, OUT);
    for (image, dy) in dy.chunks_exact(shape.output_image()).enumerate() {
        let grid = pixels(dy, output_place(part, OUT, block, shape), size, room);
        let tiles = Tiles::new(part, image, OUT, size.1, values.len() / (SIDE * SIDE));
        widest().dispatch(OutputGradients::<K, SIDE, OUT> { tiles, grid, values, scheme: PhantomData });
    }
}

/// `Aᵀ m A` of every tile of a part, for one block of output channels, put where it belongs in `y`.
fn transform_outputs<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    values: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    room: &mut Vec<f32>,
    y: &mut [f32],
) {
    let (height, width) = part.grid(OUT, OUT);
    let place = output_place(part, OUT, block, shape);
    for (image, y) in y.chunks_exact_mut(shape.output_image()).enumerate() {
        let tiles = Tiles::new(part, image, OUT, width, values.len() / (SIDE * SIDE));
        let transform = |grid: &mut [f32]| {
            widest().dispatch(Outputs::<K, SIDE, OUT> { tiles, grid, values, scheme: PhantomData });
        };
        match place.whole(height, width) {
            Some(grid) => transform(&mut y[grid]),
            None => {
                let grid = resized(room, height * width * LANES);
                transform(grid);
                scatter::<false>(grid.as_chunks().0, width, y, place);
            }
        }
    }
}

/// `B v Bᵀ` of every tile of a part, for one block of input channels, added up where it belongs in `dx`.
fn transform_input_gradients<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize>(
    values: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    room: &mut Vec<f32>,
    dx: &mut [f32],
) {
    let (height, width) = part.grid(K::STEP, SIDE);
    let grid = resized(room, height * width * LANES);
    for (image, dx) in dx.chunks_exact_mut(shape.input_image()).enumerate() {
        grid.fill(0.0);
        let tiles = Tiles::new(part, image, K::STEP, width, values.len() / (SIDE * SIDE));
        widest().dispatch(InputGradients::<K, SIDE, OUT> { tiles, grid, values, scheme: PhantomData });
        scatter::<true>(grid.as_chunks().0, width, dx, input_place(part, K::STEP, block, shape));
    }
}

/// The tiles of one image of a part, in one block of channels: where their pixels and their values at the points are.
#[derive(Clone, Copy)]
struct Tiles<'a> {
    part: &'a Part,
    image: usize,
    /// Pixels from a tile to the next.
    step: usize,
    /// Pixels of 16 channels in a row of the grid.
    width: usize,
    /// Tiles for which there is room at a point: values are `[point][room][16]`.
    room: usize,
}

impl<'a> Tiles<'a> {
    /// There are so many `values` at each point.
    fn new(part: &'a Part, image: usize, step: usize, width: usize, values: usize) -> Self {
        Self { part, image, step, width, room: values / LANES }
    }

    /// Calls `of_tile` for each tile and each vector of its channels, with the places in vectors of its first pixel, of the next to the right
    /// and of the next below, and of its first point and of the next.
    #[inline(always)]
    fn each<S: Simd>(self, mut of_tile: impl FnMut(Pixels, Points)) {
        let vectors = LANES / S::F32_LANES;
        let inside = self.part.inside.1;
        for row in 0..self.part.rows.len() {
            let [first, last] = self.part.row(self.image, row);
            for column in 0..self.part.columns {
                let pixel = self.step * (row * self.width + column);
                let tile = if column < inside { first + column } else { last };
                for v in 0..vectors {
                    let pixels =
                        Pixels { first: pixel * vectors + v, right: vectors, below: self.width * vectors };
                    let points = Points { first: tile * vectors + v, next: self.room * vectors };
                    of_tile(pixels, points);
                }
            }
        }
    }
}

/// Places of a tile's pixels.
#[derive(Clone, Copy)]
struct Pixels {
    first: usize,
    right: usize,
    below: usize,
}

impl Pixels {
    #[inline(always)]
    fn at(self, y: usize, x: usize) -> usize {
        self.first + y * self.below + x * self.right
    }
}

/// Places of a tile's points.
#[derive(Clone, Copy)]
struct Points {
    first: usize,
    next: usize,
}

impl Points {
    #[inline(always)]
    fn at(self, point: usize) -> usize {
        self.first + point * self.next
    }
}

/// A transform of a tile: `map` down its columns, then across the rows of what came of it.
#[expect(clippy::needless_range_loop, reason = "an index is a column here and a row there")]
#[inline(always)]
fn both_ways<S: Simd, const FROM: usize, const TO: usize>(
    simd: S,
    map: impl Fn(S, [S::f32s; FROM]) -> [S::f32s; TO],
    read: impl Fn(usize, usize) -> S::f32s,
    mut write: impl FnMut(usize, usize, S::f32s),
) {
    let mut down = [[simd.splat_f32s(0.0); FROM]; TO];
    for x in 0..FROM {
        let mut column = [simd.splat_f32s(0.0); FROM];
        for y in 0..FROM {
            column[y] = read(y, x);
        }
        let column = map(simd, column);
        for y in 0..TO {
            down[y][x] = column[y];
        }
    }
    for y in 0..TO {
        let row = map(simd, down[y]);
        for x in 0..TO {
            write(y, x, row[x]);
        }
    }
}

/// What turns pixels into points.
macro_rules! to_points {
    ($name:ident, $transform:ident) => {
        struct $name<'a, K, const SIDE: usize, const OUT: usize> {
            tiles: Tiles<'a>,
            grid: &'a [f32],
            values: &'a mut [f32],
            scheme: PhantomData<K>,
        }

        impl<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize> WithSimd for $name<'_, K, SIDE, OUT> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let (grid, values) = (S::as_simd_f32s(self.grid).0, S::as_mut_simd_f32s(self.values).0);
                self.tiles.each::<S>(
                    #[inline(always)]
                    |pixels, points| {
                        both_ways(
                            simd,
                            #[inline(always)]
                            |simd, along| K::$transform::<S>(simd, along),
                            #[inline(always)]
                            |y, x| grid[pixels.at(y, x)],
                            #[inline(always)]
                            |y, x, value| values[points.at(y * SIDE + x)] = value,
                        );
                    },
                );
            }
        }
    };
}

to_points!(Inputs, input);
to_points!(OutputGradients, output_gradient);

struct Outputs<'a, K, const SIDE: usize, const OUT: usize> {
    tiles: Tiles<'a>,
    grid: &'a mut [f32],
    values: &'a [f32],
    scheme: PhantomData<K>,
}

impl<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize> WithSimd for Outputs<'_, K, SIDE, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (grid, values) = (S::as_mut_simd_f32s(self.grid).0, S::as_simd_f32s(self.values).0);
        self.tiles.each::<S>(
            #[inline(always)]
            |pixels, points| {
                both_ways(
                    simd,
                    #[inline(always)]
                    |simd, along| K::output::<S>(simd, along),
                    #[inline(always)]
                    |y, x| values[points.at(y * SIDE + x)],
                    #[inline(always)]
                    |y, x, value| grid[pixels.at(y, x)] = value,
                );
            },
        );
    }
}

struct InputGradients<'a, K, const SIDE: usize, const OUT: usize> {
    tiles: Tiles<'a>,
    grid: &'a mut [f32],
    values: &'a [f32],
    scheme: PhantomData<K>,
}

impl<K: Scheme<SIDE, OUT>, const SIDE: usize, const OUT: usize> WithSimd
    for InputGradients<'_, K, SIDE, OUT>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (grid, values) = (S::as_mut_simd_f32s(self.grid).0, S::as_simd_f32s(self.values).0);
        self.tiles.each::<S>(
            #[inline(always)]
            |pixels, points| {
                both_ways(
                    simd,
                    #[inline(always)]
                    |simd, along| K::input_gradient::<S>(simd, along),
                    #[inline(always)]
                    |y, x| values[points.at(y * SIDE + x)],
                    #[inline(always)]
                    |y, x, value| {
                        let pixel = &mut grid[pixels.at(y, x)];
                        *pixel = simd.add_f32s(*pixel, value);
                    },
                );
            },
        );
    }
}

/// How many tiles [`Products`] takes at once: as many as fill the registers.
struct TilesAtOnce;

impl WithSimd for TilesAtOnce {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        match S::F32_LANES {
            16 => AT_ONCE,
            4 | 8 => AT_ONCE / 2,
            _ => 2,
        }
    }
}

/// `out[t] = Σ_c inputs[t, c] kernels[c]`, for one point and one block of outputs.
struct Products<'a> {
    /// From the first block's tiles on; those of the next begin `block` values later.
    inputs: &'a [f32],
    block: usize,
    /// `[input][16]`
    kernels: &'a [f32],
    /// `[tile][16]`, a multiple of [`TilesAtOnce`]
    out: &'a mut [f32],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.multiply::<S, 1, 12>(simd),
            8 => self.multiply::<S, 2, 6>(simd),
            4 => self.multiply::<S, 4, 6>(simd),
            _ => self.multiply::<S, LANES, 2>(simd),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize, const TILES: usize>(self, simd: S) {
        let Self { inputs, block, kernels, out } = self;
        let (out, _) = S::as_mut_simd_f32s(out);
        for (group, out) in out.chunks_exact_mut(TILES * VECTORS).enumerate() {
            let mut sums = [[simd.splat_f32s(0.0); VECTORS]; TILES];
            for (b, kernels) in kernels.chunks_exact(LANES * LANES).enumerate() {
                let tiles = &inputs[b * block + group * TILES * LANES..][..TILES * LANES];
                let (tiles, _) = tiles.as_chunks::<LANES>();
                let Some(tiles) = tiles.first_chunk::<TILES>() else { unreachable!("as long as it was cut") };
                let (kernels, _) = S::as_simd_f32s(kernels);
                for (c, kernels) in kernels.as_chunks::<VECTORS>().0.iter().enumerate().take(LANES) {
                    for (sums, tile) in sums.iter_mut().zip(tiles) {
                        let value = simd.splat_f32s(tile[c]);
                        for (sum, kernel) in sums.iter_mut().zip(kernels) {
                            *sum = simd.mul_add_e_f32s(value, *kernel, *sum);
                        }
                    }
                }
            }
            out.copy_from_slice(sums.as_flattened());
        }
    }
}

/// `sums[o, c] += Σ_t outputs[t, o] inputs[t, c]`, for one point, 16 outputs and 16 inputs.
struct OuterProducts<'a> {
    /// `[tile][16]`
    outputs: &'a [f32],
    /// `[tile][16]`
    inputs: &'a [f32],
    /// Rows of `width` values, of which the first 16 are these inputs'.
    sums: &'a mut [f32],
    width: usize,
}

impl WithSimd for OuterProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.multiply::<S, 1, 16>(simd),
            8 => self.multiply::<S, 2, 4>(simd),
            4 => self.multiply::<S, 4, 4>(simd),
            _ => self.multiply::<S, LANES, 2>(simd),
        }
    }
}

impl OuterProducts<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize, const OUTPUTS: usize>(self, simd: S) {
        let Self { outputs, inputs, sums, width } = self;
        let (outputs, _) = outputs.as_chunks::<LANES>();
        let (inputs, _) = S::as_simd_f32s(inputs);
        let (inputs, _) = inputs.as_chunks::<VECTORS>();
        for first in (0..LANES).step_by(OUTPUTS) {
            let mut found = [[simd.splat_f32s(0.0); VECTORS]; OUTPUTS];
            for (output, input) in outputs.iter().zip(inputs) {
                let Some(output) = output[first..].first_chunk::<OUTPUTS>() else { break };
                for (sums, output) in found.iter_mut().zip(output) {
                    let value = simd.splat_f32s(*output);
                    for (sum, input) in sums.iter_mut().zip(input) {
                        *sum = simd.mul_add_e_f32s(value, *input, *sum);
                    }
                }
            }
            for (row, found) in sums.chunks_mut(width).skip(first).zip(&found) {
                let (row, _) = S::as_mut_simd_f32s(&mut row[..LANES]);
                for (sum, found) in row.iter_mut().zip(found) {
                    *sum = simd.add_f32s(*sum, *found);
                }
            }
        }
    }
}
