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

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{ConvShape, resized};

/// Channels of a block.
const LANES: usize = 16;
/// Points of the transform.
const POINTS: usize = 16;
/// Tiles a forward task, about.
const TASK: usize = 128;
/// Transformed inputs that a weight gradient holds at once, about: 4 MiB.
const CHUNK: usize = 1 << 20;
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

/// Whether it pays for the weight gradient too: 16 sums a kernel have to be worth their tiles.
pub(super) fn applies_to_weights(shape: &ConvShape) -> bool {
    let tiles = shape.images * shape.out_height.div_ceil(2) * shape.out_width.div_ceil(2);
    applies(shape) && tiles >= shape.in_channels.max(shape.out_channels)
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

pub(super) fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let arch = Arch::new();
    let kernels = transform_kernels(weight, shape);
    let (image_in, image_out) = (shape.input_image(), shape.output_image());
    let (blocks_in, blocks_out) = (shape.in_channels.div_ceil(LANES), shape.out_channels.div_ceil(LANES));
    let together = images_together(shape, TASK);
    let mut y = vec![0.0; shape.images * image_out];
    let tasks = y.par_chunks_mut(together * image_out).zip(x.par_chunks(together * image_in));
    tasks.for_each(|(y, x)| {
        Scratch::with(|scratch| {
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
                for (b, outputs) in outputs.chunks_exact_mut(block).enumerate() {
                    transform_outputs(outputs, b, &part, shape, &mut scratch.grid, y);
                }
            }
        })
    });
    y
}

pub(super) fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let arch = Arch::new();
    let (blocks_in, blocks_out) = (shape.in_channels.div_ceil(LANES), shape.out_channels.div_ceil(LANES));
    let width = blocks_in * LANES;
    // [block of outputs][point][16 outputs][inputs]
    let mut sums = vec![0.0; blocks_out * POINTS * LANES * width];
    let chunk = CHUNK / (POINTS * LANES * blocks_in.max(blocks_out));
    Scratch::with(|scratch| {
        for part in parts(shape, shape.images, chunk.max(1)) {
            let tiles = part.tiles();
            // An odd number: points a power of two apart would fall on one another in the caches.
            let room = tiles | 1;
            let block = POINTS * room * LANES;
            let inputs = resized(&mut scratch.inputs, blocks_in * block);
            let outputs = resized(&mut scratch.outputs, blocks_out * block);
            let (x, dy) = (
                &x[part.images.start * shape.input_image()..part.images.end * shape.input_image()],
                &dy[part.images.start * shape.output_image()..part.images.end * shape.output_image()],
            );
            let both = inputs.par_chunks_exact_mut(block).chain(outputs.par_chunks_exact_mut(block));
            both.enumerate().for_each(|(b, values)| {
                Scratch::with(|own| match b.checked_sub(blocks_in) {
                    None => transform_inputs(x, b, &part, shape, &mut own.grid, values),
                    Some(b) => transform_output_gradients(dy, b, &part, shape, &mut own.grid, values),
                });
            });
            sums.par_chunks_exact_mut(LANES * width).enumerate().for_each(|(at, sums)| {
                let (b, point) = (at / POINTS, at % POINTS);
                let of = |values: &'_ [f32], b: usize| (b * POINTS + point) * room * LANES..values.len();
                let outputs = &outputs[of(outputs, b)][..tiles * LANES];
                for first in (0..tiles).step_by(STRETCH) {
                    let stretch = first * LANES..(first + STRETCH).min(tiles) * LANES;
                    for b in 0..blocks_in {
                        let inputs = &inputs[of(inputs, b)][stretch.clone()];
                        let sums = &mut sums[b * LANES..];
                        arch.dispatch(OuterProducts {
                            outputs: &outputs[stretch.clone()],
                            inputs,
                            sums,
                            width,
                        });
                    }
                }
            });
        }
    });
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
                let mut down = [[0.0; 3]; 4];
                for x in 0..3 {
                    let column = spread([g[x], g[3 + x], g[6 + x]]);
                    for y in 0..4 {
                        down[y][x] = column[y];
                    }
                }
                for (y, row) in down.into_iter().enumerate() {
                    for (x, value) in spread(row).into_iter().enumerate() {
                        kernels[((y * 4 + x) * depth + input) * LANES + lane] = value;
                    }
                }
            }
        }
    });
    kernels
}

/// G, whose rows are (1, 0, 0), ½ (1, 1, 1), ½ (1, −1, 1), (0, 0, 1), times a vector.
#[inline(always)]
fn spread([a, b, c]: [f32; 3]) -> [f32; 4] {
    [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c]
}

/// Gᵀ times a vector.
#[inline(always)]
fn gathered([a, b, c, d]: [f32; 4]) -> [f32; 3] {
    [a + 0.5 * (b + c), 0.5 * (b - c), 0.5 * (b + c) + d]
}

/// `Gᵀ s G` of every kernel's 16 sums.
fn kernels_of(sums: &[f32], width: usize, shape: &ConvShape) -> Vec<f32> {
    let mut dw = vec![0.0; shape.out_channels * shape.patch()];
    dw.par_chunks_exact_mut(shape.patch()).enumerate().for_each(|(output, dw)| {
        let (b, lane) = (output / LANES, output % LANES);
        let rows = &sums[(b * POINTS * LANES + lane) * width..];
        for (input, dw) in dw.as_chunks_mut::<9>().0.iter_mut().enumerate() {
            let mut down = [[0.0; 4]; 3];
            for x in 0..4 {
                let mut column = [0.0; 4];
                for (y, value) in column.iter_mut().enumerate() {
                    *value = rows[(y * 4 + x) * LANES * width + input];
                }
                let column = gathered(column);
                for y in 0..3 {
                    down[y][x] = column[y];
                }
            }
            for (row, dw) in down.into_iter().zip(dw.as_chunks_mut::<3>().0) {
                *dw = gathered(row);
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
    let grid = resized(grid, height * width * LANES);
    let top = 2 * part.rows.start as isize - shape.padding as isize;
    for (image, x) in x.chunks_exact(shape.input_image()).enumerate() {
        let corner = (top, -(shape.padding as isize));
        gather(x, (shape.height, shape.width), block, corner, width, grid.as_chunks_mut().0);
        let values = values_from(values, image * part.tiles_of_image());
        Arch::new().dispatch(Transform {
            grid: &mut *grid,
            width,
            part,
            values,
            kind: PhantomData::<Inputs>,
        });
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
    let grid = resized(grid, height * width * LANES);
    for (image, dy) in dy.chunks_exact(shape.output_image()).enumerate() {
        let corner = (2 * part.rows.start as isize, 0);
        gather(dy, (shape.out_height, shape.out_width), block, corner, width, grid.as_chunks_mut().0);
        let values = values_from(values, image * part.tiles_of_image());
        Arch::new().dispatch(Transform {
            grid: &mut *grid,
            width,
            part,
            values,
            kind: PhantomData::<OutputGradients>,
        });
    }
}

/// `Aᵀ m A` of every tile of a part, for one block of output channels, put where it belongs in `y`.
fn transform_outputs(
    values: &mut [f32],
    block: usize,
    part: &Part,
    shape: &ConvShape,
    grid: &mut Vec<f32>,
    y: &mut [f32],
) {
    let (height, width) = part.grid(0);
    let grid = resized(grid, height * width * LANES);
    for (image, y) in y.chunks_exact_mut(shape.output_image()).enumerate() {
        let values = values_from(values, image * part.tiles_of_image());
        Arch::new().dispatch(Transform {
            grid: &mut *grid,
            width,
            part,
            values,
            kind: PhantomData::<Outputs>,
        });
        let top = 2 * part.rows.start;
        let rows = height.min(shape.out_height - top);
        let planes = y[block * LANES * shape.output_plane()..].chunks_exact_mut(shape.output_plane());
        let (pixels, _) = grid.as_chunks::<LANES>();
        for (lane, plane) in planes.take(LANES).enumerate() {
            let plane = plane[top * shape.out_width..].chunks_exact_mut(shape.out_width).take(rows);
            for (row, pixels) in plane.zip(pixels.chunks_exact(width)) {
                for (value, pixel) in row.iter_mut().zip(pixels) {
                    *value = pixel[lane];
                }
            }
        }
    }
}

/// Values of the 16 points, from one tile on.
struct Values<'a> {
    values: &'a mut [f32],
    first: usize,
    /// Tiles between a point and the next.
    room: usize,
}

fn values_from(values: &mut [f32], first: usize) -> Values<'_> {
    let room = values.len() / (POINTS * LANES);
    Values { values, first, room }
}

/// One of the transforms, of the tiles of one image and one block of channels.
struct Transform<'a, K> {
    /// Pixels of 16 channels, `width` a row.
    grid: &'a mut [f32],
    width: usize,
    part: &'a Part,
    values: Values<'a>,
    /// Which of the transforms.
    kind: PhantomData<K>,
}

struct Inputs;
struct OutputGradients;
struct Outputs;

/// A vector's place: that of a pixel of the grid, or of a tile's point.
type Place = usize;

impl<K> Transform<'_, K> {
    /// Calls `of_tile` for each tile and each vector of its channels, with the places of the tile's first pixel and first point.
    #[inline(always)]
    fn each_tile<S: Simd>(part: &Part, width: usize, first: usize, mut of_tile: impl FnMut(Place, Place)) {
        let vectors = LANES / S::F32_LANES;
        for row in 0..part.rows.len() {
            for column in 0..part.columns {
                let pixel = (2 * row * width + 2 * column) * vectors;
                let tile = (first + row * part.columns + column) * vectors;
                for v in 0..vectors {
                    of_tile(pixel + v, tile + v);
                }
            }
        }
    }
}

impl WithSimd for Transform<'_, Inputs> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, width, part, values: Values { values, first, room }, .. } = self;
        let ((grid, _), (values, _)) = (S::as_simd_f32s(grid), S::as_mut_simd_f32s(values));
        let vectors = LANES / S::F32_LANES;
        let (below, point) = (width * vectors, room * vectors);
        Self::each_tile::<S>(
            part,
            width,
            first,
            #[inline(always)]
            |pixel, tile| {
                let mut d = [[simd.splat_f32s(0.0); 4]; 4];
                for j in 0..4 {
                    let at = pixel + j * vectors;
                    let (a, b) = (grid[at], grid[at + below]);
                    let (c, e) = (grid[at + 2 * below], grid[at + 3 * below]);
                    d[0][j] = simd.sub_f32s(a, c);
                    d[1][j] = simd.add_f32s(b, c);
                    d[2][j] = simd.sub_f32s(c, b);
                    d[3][j] = simd.sub_f32s(b, e);
                }
                for i in 0..4 {
                    let [a, b, c, e] = d[i];
                    let at = tile + 4 * i * point;
                    values[at] = simd.sub_f32s(a, c);
                    values[at + point] = simd.add_f32s(b, c);
                    values[at + 2 * point] = simd.sub_f32s(c, b);
                    values[at + 3 * point] = simd.sub_f32s(b, e);
                }
            },
        );
    }
}

impl WithSimd for Transform<'_, OutputGradients> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, width, part, values: Values { values, first, room }, .. } = self;
        let ((grid, _), (values, _)) = (S::as_simd_f32s(grid), S::as_mut_simd_f32s(values));
        let vectors = LANES / S::F32_LANES;
        let (below, point) = (width * vectors, room * vectors);
        Self::each_tile::<S>(
            part,
            width,
            first,
            #[inline(always)]
            |pixel, tile| {
                let mut d = [[simd.splat_f32s(0.0); 2]; 4];
                for j in 0..2 {
                    let (a, b) = (grid[pixel + j * vectors], grid[pixel + j * vectors + below]);
                    d[0][j] = a;
                    d[1][j] = simd.add_f32s(a, b);
                    d[2][j] = simd.sub_f32s(a, b);
                    d[3][j] = simd.neg_f32s(b);
                }
                for i in 0..4 {
                    let [a, b] = d[i];
                    let at = tile + 4 * i * point;
                    values[at] = a;
                    values[at + point] = simd.add_f32s(a, b);
                    values[at + 2 * point] = simd.sub_f32s(a, b);
                    values[at + 3 * point] = simd.neg_f32s(b);
                }
            },
        );
    }
}

impl WithSimd for Transform<'_, Outputs> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { grid, width, part, values: Values { values, first, room }, .. } = self;
        let ((grid, _), (values, _)) = (S::as_mut_simd_f32s(grid), S::as_simd_f32s(values));
        let vectors = LANES / S::F32_LANES;
        let (below, point) = (width * vectors, room * vectors);
        Self::each_tile::<S>(
            part,
            width,
            first,
            #[inline(always)]
            |pixel, tile| {
                let mut d = [[simd.splat_f32s(0.0); 4]; 2];
                for j in 0..4 {
                    let at = tile + j * point;
                    let (a, b) = (values[at], values[at + 4 * point]);
                    let (c, e) = (values[at + 8 * point], values[at + 12 * point]);
                    d[0][j] = simd.add_f32s(simd.add_f32s(a, b), c);
                    d[1][j] = simd.sub_f32s(simd.sub_f32s(b, c), e);
                }
                for i in 0..2 {
                    let [a, b, c, e] = d[i];
                    let at = pixel + i * below;
                    grid[at] = simd.add_f32s(simd.add_f32s(a, b), c);
                    grid[at + vectors] = simd.sub_f32s(simd.sub_f32s(b, c), e);
                }
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
