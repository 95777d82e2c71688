//! 3 × 3 convolutions without a stride, with 16 products where the definition has 36.
//!
//! A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016: F(2 × 2, 3 × 3). An output tile of 2 × 2 pixels
//! depends on 4 × 4 pixels `d` of the input and on the kernel `g`:
//!
//! ```text
//! Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! ```
//!
//! With the sum over channels this is one matrix product for each of the 16 points of the transform. The gradients are the
//! same chain in reverse: `∂(G g Gᵀ) = (A ∂Y Aᵀ) ⊙ (Bᵀ d B)`, summed over tiles, and a convolution with turned kernels for the
//! input's.
//!
//! Transformed values are kept in blocks of 16 channels, `[block][point][tile][16]`, in which every product and every
//! transform reads and writes whole vectors. The work is cut by the shape alone, and every sum has one owner and one order.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{ConvShape, resized};

/// Channels of a block.
const LANES: usize = 16;
/// Points of the transform.
const POINTS: usize = 16;
/// Channels that a lane of the processor's transforms together.
const HALF: usize = 8;
/// Tiles a forward task, and tiles that a weight gradient takes in at once, about.
const TASK: usize = 128;
const CHUNK: usize = 1024;
/// Tiles whose sums a weight gradient keeps in registers: both operands then stay in the nearest cache.
const STRETCH: usize = 192;

type Lanes = [f32; LANES];

/// Whether the transform pays: a 3 × 3 kernel, no stride, channels to fill a block, and at least one whole tile.
pub(super) fn applies(shape: &ConvShape) -> bool {
    shape.kernel == 3
        && shape.stride == 1
        && shape.in_channels >= LANES
        && shape.out_channels >= LANES
        && shape.out_height >= 2
        && shape.out_width >= 2
}

/// Some tile rows of some images.
#[derive(Clone)]
struct Part {
    images: Range<usize>,
    rows: Range<usize>,
    /// Tiles a row.
    columns: usize,
}

impl Part {
    fn tiles_of_image(&self) -> usize {
        self.rows.len() * self.columns
    }

    fn tiles(&self) -> usize {
        self.images.len() * self.tiles_of_image()
    }

    /// Rows and columns of the pixels under its tiles, for one image; with a border of one on each side for inputs.
    fn grid(&self, border: usize) -> (usize, usize) {
        (2 * self.rows.len() + 2 * border, 2 * self.columns + 2 * border)
    }
}

/// Cuts so many images into parts of about so many tiles: several small images, or some rows of a large one.
fn parts(shape: &ConvShape, images: usize, tiles: usize) -> Vec<Part> {
    let (rows, columns) = (shape.out_height.div_ceil(2), shape.out_width.div_ceil(2));
    let together = images_together(shape, tiles);
    let step = if together > 1 { rows } else { tiles.div_ceil(columns).min(rows) };
    let groups = (0..images).step_by(together).map(|first| first..(first + together).min(images));
    groups
        .flat_map(|images| {
            let rows = (0..rows).step_by(step).map(move |first| first..(first + step).min(rows));
            rows.map(move |rows| Part { images: images.clone(), rows, columns })
        })
        .collect()
}

fn images_together(shape: &ConvShape, tiles: usize) -> usize {
    let of_image = shape.out_height.div_ceil(2) * shape.out_width.div_ceil(2);
    (tiles / of_image).clamp(1, shape.images)
}

#[derive(Default)]
struct Scratch {
    grid: Vec<f32>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
}

pub(super) fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let arch = Arch::new();
    let kernels = transform_kernels(weight, shape);
    let (image_in, image_out) = (shape.input_image(), shape.output_image());
    let (blocks_in, blocks_out) = (shape.in_channels.div_ceil(LANES), shape.out_channels.div_ceil(LANES));
    let together = images_together(shape, TASK);
    let mut y = vec![0.0; shape.images * image_out];
    let tasks = y.par_chunks_mut(together * image_out).zip(x.par_chunks(together * image_in));
    tasks.for_each_init(Scratch::default, |scratch, (y, x)| {
        for part in parts(shape, y.len() / image_out, TASK) {
            // Products are taken of several tiles at once: what lies beyond the last is thrown away.
            let tiles = part.tiles().next_multiple_of(arch.dispatch(TilesAtOnce));
            let block = POINTS * tiles * LANES;
            let inputs = resized(&mut scratch.inputs, blocks_in * block);
            for (b, inputs) in inputs.chunks_exact_mut(block).enumerate() {
                transform_inputs(x, b, &part, shape, &mut scratch.grid, inputs);
            }
            let outputs = resized(&mut scratch.outputs, blocks_out * block);
            let of_outputs = outputs.chunks_exact_mut(tiles * LANES).enumerate();
            for (at, out) in of_outputs {
                let (b, point) = (at / POINTS, at % POINTS);
                let depth = blocks_in * LANES;
                let kernels = &kernels[(b * POINTS + point) * depth * LANES..][..depth * LANES];
                arch.dispatch(Products { inputs: &inputs[point * tiles * LANES..], block, kernels, out });
            }
            for (b, outputs) in outputs.chunks_exact(block).enumerate() {
                transform_outputs(outputs, b, &part, shape, &mut scratch.grid, y);
            }
        }
    });
    y
}

pub(super) fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let arch = Arch::new();
    let (blocks_in, blocks_out) = (shape.in_channels.div_ceil(LANES), shape.out_channels.div_ceil(LANES));
    let width = blocks_in * LANES;
    // [block of outputs][point][16 outputs][inputs]
    let mut sums = vec![0.0; blocks_out * POINTS * LANES * width];
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for part in parts(shape, shape.images, CHUNK) {
        let tiles = part.tiles();
        let block = POINTS * tiles * LANES;
        let inputs = resized(&mut inputs, blocks_in * block);
        let outputs = resized(&mut outputs, blocks_out * block);
        let (x, dy) = (
            &x[part.images.start * shape.input_image()..part.images.end * shape.input_image()],
            &dy[part.images.start * shape.output_image()..part.images.end * shape.output_image()],
        );
        let both = inputs.par_chunks_exact_mut(block).chain(outputs.par_chunks_exact_mut(block));
        both.enumerate().for_each_init(Vec::new, |grid, (b, values)| match b.checked_sub(blocks_in) {
            None => transform_inputs(x, b, &part, shape, grid, values),
            Some(b) => transform_output_gradients(dy, b, &part, shape, grid, values),
        });
        sums.par_chunks_exact_mut(LANES * width).enumerate().for_each(|(at, sums)| {
            let (b, point) = (at / POINTS, at % POINTS);
            let of = |values: &'_ [f32], b: usize| (b * POINTS + point) * tiles * LANES..values.len();
            let outputs = &outputs[of(outputs, b)][..tiles * LANES];
            for first in (0..tiles).step_by(STRETCH) {
                let stretch = first * LANES..(first + STRETCH).min(tiles) * LANES;
                for b in 0..blocks_in {
                    let inputs = &inputs[of(inputs, b)][stretch.clone()];
                    let sums = &mut sums[b * LANES..];
                    arch.dispatch(OuterProducts { outputs: &outputs[stretch.clone()], inputs, sums, width });
                }
            }
        });
    }
    kernels_of(&sums, width, shape)
}

/// `G g Gᵀ` of every kernel, as `[block of outputs][point][input][16 outputs]`, filled up with zeros.
fn transform_kernels(weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let depth = shape.in_channels.next_multiple_of(LANES);
    let mut kernels = vec![0.0; shape.out_channels.div_ceil(LANES) * POINTS * depth * LANES];
    kernels.par_chunks_exact_mut(POINTS * depth * LANES).enumerate().for_each(|(b, kernels)| {
        let outputs = weight[b * LANES * shape.patch()..].chunks_exact(shape.patch()).take(LANES);
        for (lane, of_output) in outputs.enumerate() {
            for (input, g) in of_output.as_chunks::<9>().0.iter().enumerate() {
                // G has rows (1, 0, 0), ½ (1, 1, 1), ½ (1, −1, 1), (0, 0, 1).
                let rows = |a: f32, b: f32, c: f32| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
                let down = [0, 1, 2].map(|x| rows(g[x], g[3 + x], g[6 + x]));
                for y in 0..4 {
                    for (x, value) in rows(down[0][y], down[1][y], down[2][y]).into_iter().enumerate() {
                        kernels[((y * 4 + x) * depth + input) * LANES + lane] = value;
                    }
                }
            }
        }
    });
    kernels
}

/// `Gᵀ s G` of every kernel's 16 sums.
fn kernels_of(sums: &[f32], width: usize, shape: &ConvShape) -> Vec<f32> {
    let mut dw = vec![0.0; shape.out_channels * shape.patch()];
    dw.par_chunks_exact_mut(shape.patch()).enumerate().for_each(|(output, dw)| {
        let (b, lane) = (output / LANES, output % LANES);
        let of_point = |point: usize| &sums[((b * POINTS + point) * LANES + lane) * width..][..width];
        let points: [&[f32]; POINTS] = std::array::from_fn(of_point);
        for (input, dw) in dw.as_chunks_mut::<9>().0.iter_mut().enumerate() {
            let rows = |[a, b, c, d]: [f32; 4]| [a + 0.5 * (b + c), 0.5 * (b - c), 0.5 * (b + c) + d];
            let down: [[f32; 3]; 4] =
                std::array::from_fn(|x| rows(std::array::from_fn(|y| points[y * 4 + x][input])));
            for y in 0..3 {
                let across = rows(std::array::from_fn(|x| down[x][y]));
                dw[y * 3..y * 3 + 3].copy_from_slice(&across);
            }
        }
    });
    dw
}

/// Lays a block of channels of one image's plane rows out as pixels of 16 channels: `grid` has `columns` a row, and its pixel
/// `(i, j)` is the image's `(i + top, j + left)`, or zero outside of it.
fn gather(
    image: &[f32],
    (height, width): (usize, usize),
    block: usize,
    (top, left): (isize, isize),
    columns: usize,
    grid: &mut [Lanes],
) {
    grid.fill([0.0; LANES]);
    let planes = image[block * LANES * height * width..].chunks_exact(height * width).take(LANES);
    let skipped = (-left).max(0) as usize;
    for (lane, plane) in planes.enumerate() {
        for (i, pixels) in grid.chunks_exact_mut(columns).enumerate() {
            let Some(row) = usize::try_from(i as isize + top).ok().filter(|row| *row < height) else {
                continue;
            };
            let row = &plane[row * width..][..width];
            for (pixel, value) in pixels[skipped..].iter_mut().zip(&row[left.max(0) as usize..]) {
                pixel[lane] = *value;
            }
        }
    }
}

/// `Bᵀ d B` of every tile of a part, for one block of input channels: `values` is `[point][tiles][16]`, and may have room for more
/// tiles than there are.
fn transform_inputs(
    x: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    grid: &mut Vec<f32>,
    values: &mut [f32],
) {
    let (height, width) = part.grid(1);
    let (grid, _) = resized(grid, height * width * LANES).as_chunks_mut::<LANES>();
    let room = values.len() / (POINTS * LANES);
    let (values, _) = values.as_chunks_mut::<LANES>();
    let top = 2 * part.rows.start as isize - shape.padding as isize;
    for (image, x) in x.chunks_exact(shape.input_image()).enumerate() {
        gather(x, (shape.height, shape.width), block, (top, -(shape.padding as isize)), width, grid);
        let first = image * part.tiles_of_image();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for row in 0..part.rows.len() {
                    for column in 0..part.columns {
                        let tile = first + row * part.columns + column;
                        let at = |i: usize, j: usize| &grid[(2 * row + i) * width + 2 * column + j];
                        for half in [0, HALF] {
                            let mut d = [[[0.0; HALF]; 4]; 4];
                            for j in 0..4 {
                                let [a, b, c, e] = [0, 1, 2, 3].map(|i| lanes(at(i, j), half));
                                d[0][j] = sub(a, c);
                                d[1][j] = add(b, c);
                                d[2][j] = sub(c, b);
                                d[3][j] = sub(b, e);
                            }
                            for (i, [a, b, c, e]) in d.into_iter().enumerate() {
                                let across = [sub(a, c), add(b, c), sub(c, b), sub(b, e)];
                                for (j, found) in across.into_iter().enumerate() {
                                    values[(i * 4 + j) * room + tile][half..half + HALF]
                                        .copy_from_slice(&found);
                                }
                            }
                        }
                    }
                }
            },
        );
    }
}

/// `A ∂Y Aᵀ` of every tile of a part, for one block of output channels, as [`transform_inputs`].
fn transform_output_gradients(
    dy: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    grid: &mut Vec<f32>,
    values: &mut [f32],
) {
    let (height, width) = part.grid(0);
    let (grid, _) = resized(grid, height * width * LANES).as_chunks_mut::<LANES>();
    let room = values.len() / (POINTS * LANES);
    let (values, _) = values.as_chunks_mut::<LANES>();
    for (image, dy) in dy.chunks_exact(shape.output_image()).enumerate() {
        let top = 2 * part.rows.start as isize;
        gather(dy, (shape.out_height, shape.out_width), block, (top, 0), width, grid);
        let first = image * part.tiles_of_image();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for row in 0..part.rows.len() {
                    for column in 0..part.columns {
                        let tile = first + row * part.columns + column;
                        let at = |i: usize, j: usize| &grid[(2 * row + i) * width + 2 * column + j];
                        for half in [0, HALF] {
                            let mut d = [[[0.0; HALF]; 2]; 4];
                            for j in 0..2 {
                                let [a, b] = [0, 1].map(|i| lanes(at(i, j), half));
                                d[0][j] = a;
                                d[1][j] = add(a, b);
                                d[2][j] = sub(a, b);
                                d[3][j] = sub([0.0; HALF], b);
                            }
                            for (i, [a, b]) in d.into_iter().enumerate() {
                                let across = [a, add(a, b), sub(a, b), sub([0.0; HALF], b)];
                                for (j, found) in across.into_iter().enumerate() {
                                    values[(i * 4 + j) * room + tile][half..half + HALF]
                                        .copy_from_slice(&found);
                                }
                            }
                        }
                    }
                }
            },
        );
    }
}

/// `Aᵀ m A` of every tile of a part, for one block of output channels, put where it belongs in `y`.
fn transform_outputs(
    values: &[f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    grid: &mut Vec<f32>,
    y: &mut [f32],
) {
    let (height, width) = part.grid(0);
    let (grid, _) = resized(grid, height * width * LANES).as_chunks_mut::<LANES>();
    let room = values.len() / (POINTS * LANES);
    let (values, _) = values.as_chunks::<LANES>();
    for (image, y) in y.chunks_exact_mut(shape.output_image()).enumerate() {
        let first = image * part.tiles_of_image();
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for row in 0..part.rows.len() {
                    for column in 0..part.columns {
                        let tile = first + row * part.columns + column;
                        for half in [0, HALF] {
                            let mut d = [[[0.0; HALF]; 4]; 2];
                            for j in 0..4 {
                                let of = |i: usize| lanes(&values[(i * 4 + j) * room + tile], half);
                                let [a, b, c, e] = [0, 1, 2, 3].map(of);
                                d[0][j] = add(add(a, b), c);
                                d[1][j] = sub(sub(b, c), e);
                            }
                            for (i, [a, b, c, e]) in d.into_iter().enumerate() {
                                let across = [add(add(a, b), c), sub(sub(b, c), e)];
                                for (j, found) in across.into_iter().enumerate() {
                                    let pixel = &mut grid[(2 * row + i) * width + 2 * column + j];
                                    pixel[half..half + HALF].copy_from_slice(&found);
                                }
                            }
                        }
                    }
                }
            },
        );
        let top = 2 * part.rows.start;
        let rows = height.min(shape.out_height - top);
        let planes = y[block * LANES * shape.output_plane()..].chunks_exact_mut(shape.output_plane());
        for (lane, plane) in planes.take(LANES).enumerate() {
            let plane = plane[top * shape.out_width..].chunks_exact_mut(shape.out_width).take(rows);
            for (row, pixels) in plane.zip(grid.chunks_exact(width)) {
                for (value, pixel) in row.iter_mut().zip(pixels) {
                    *value = pixel[lane];
                }
            }
        }
    }
}

#[inline(always)]
fn lanes(pixel: &Lanes, half: usize) -> [f32; HALF] {
    std::array::from_fn(|l| pixel[half + l])
}

#[inline(always)]
fn add(a: [f32; HALF], b: [f32; HALF]) -> [f32; HALF] {
    std::array::from_fn(|l| a[l] + b[l])
}

#[inline(always)]
fn sub(a: [f32; HALF], b: [f32; HALF]) -> [f32; HALF] {
    std::array::from_fn(|l| a[l] - b[l])
}

/// How many tiles [`Products`] takes at once: as many as fill the registers.
struct TilesAtOnce;

impl WithSimd for TilesAtOnce {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        match S::F32_LANES {
            16 => 12,
            4 | 8 => 6,
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
