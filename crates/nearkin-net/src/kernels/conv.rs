//! Two-dimensional convolution on slices: forward, data gradient, weight gradient.
//!
//! Images are unfolded into matrices (im2col; Chellapilla et al., "High performance convolutional
//! neural networks for document processing", 2006) for several images at a time, so that each
//! product is wide enough to be fast even on 4 × 4 feature maps. 3 × 3 kernels take a shorter way
//! (Winograd's), and images of few channels, or as large as the kernel, are not unfolded. The work is cut by the shape
//! alone and every partial sum is added in a fixed order: the bits do not depend on the number
//! of threads.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::order::{LANES, Lanes, Order};
use super::product::{Matrix, product};
use pixels::{Place, scatter};

mod direct;
mod first;
mod pixels;
mod whole;
mod winograd;

/// Columns a product should have at least: below that, packing the weights dominates.
const COLUMNS: usize = 512;
/// Values of an unfolded tile that stay in the second-level cache, and pixels it has at least.
const TILE_VALUES: usize = 1 << 17;
const TILE_PIXELS: usize = 256;
/// Tasks the weight gradient is cut into, at most: enough for a large desktop processor.
const WEIGHT_TASKS: usize = 16;
/// Unfolded inputs (channels × kernel²) a weight-gradient task should have at least.
const WEIGHT_WIDTH: usize = 256;
/// Values of a patch up to which it need not be unfolded: beyond them products of unfolded patches are as fast.
const FEW: usize = 64;
/// Images whose weight gradients one task adds up, where patches are not unfolded.
const STRIPE: usize = 8;

/// The sizes of a convolution: images, a kernel, one stride, and zero padding along each axis; and how the images lie in memory.
///
/// A series is an image of height 1, and its kernel `[1, k]` has no padding along the height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    images: usize,
    in_channels: usize,
    height: usize,
    width: usize,
    out_channels: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    out_height: usize,
    out_width: usize,
    input_order: Order,
    output_order: Order,
}

impl ConvShape {
    /// From the input's shape `[n, c, h, w]`, the weight's `[o, c, k, k']` and the padding of height and width.
    ///
    /// `None` where this kernel does not apply: groups, empty tensors, a kernel larger than the padded image.
    pub fn new(input: [usize; 4], weight: [usize; 4], stride: usize, padding: [usize; 2]) -> Option<Self> {
        let [images, in_channels, height, width] = input;
        let [out_channels, weight_channels, rows, columns] = weight;
        let sizes = [images, in_channels, height, width, out_channels, rows, columns, stride];
        if sizes.contains(&0) || weight_channels != in_channels {
            return None;
        }
        let out = |size: usize, kernel: usize, padding: usize| {
            Some((size + 2 * padding).checked_sub(kernel)? / stride + 1)
        };
        Some(Self {
            images,
            in_channels,
            height,
            width,
            out_channels,
            kernel: [rows, columns],
            stride,
            padding,
            out_height: out(height, rows, padding[0])?,
            out_width: out(width, columns, padding[1])?,
            input_order: Order::Planes,
            output_order: Order::Planes,
        })
    }

    /// From an input's shape, `[n, c, h, w]` or `[n, c / 16, h, w, 16]`, to an output in blocks.
    ///
    /// `None` where that does not apply: channels that do not fill blocks, and sizes for which there is no such kernel.
    pub fn to_blocks(
        input: &[usize],
        weight: [usize; 4],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<Self> {
        let (input, input_order) = match *input {
            [n, c, h, w] => ([n, c, h, w], Order::Planes),
            [n, blocks, h, w, LANES] => ([n, blocks * LANES, h, w], Order::Blocks),
            _ => return None,
        };
        let shape = Self::new(input, weight, stride, padding)?;
        let shape = Self { input_order, output_order: Order::Blocks, ..shape };
        let full = shape.out_channels.is_multiple_of(LANES);
        (full && (winograd::applies(&shape) || first::applies(&shape))).then_some(shape)
    }

    /// Shape of the output's tensor: `[n, o, h', w']` or `[n, o / 16, h', w', 16]`.
    pub fn output_tensor(&self) -> Vec<usize> {
        let [n, o, h, w] = self.output();
        match self.output_order {
            Order::Planes => vec![n, o, h, w],
            Order::Blocks => vec![n, o / LANES, h, w, LANES],
        }
    }

    /// Shape of the output, `[n, o, h', w']`.
    pub fn output(&self) -> [usize; 4] {
        [self.images, self.out_channels, self.out_height, self.out_width]
    }

    /// Shape of the input, `[n, c, h, w]`.
    pub fn input(&self) -> [usize; 4] {
        [self.images, self.in_channels, self.height, self.width]
    }

    /// Shape of the weight, `[o, c, k, k']`.
    pub fn weight(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels, self.kernel[0], self.kernel[1]]
    }

    fn input_plane(&self) -> usize {
        self.height * self.width
    }

    fn input_image(&self) -> usize {
        self.in_channels * self.input_plane()
    }

    fn output_plane(&self) -> usize {
        self.out_height * self.out_width
    }

    fn output_image(&self) -> usize {
        self.out_channels * self.output_plane()
    }

    /// An output in blocks, and this shape, with planes.
    fn output_in_planes(&self, y: &[f32]) -> (Vec<f32>, Self) {
        let planes = in_planes(y, self.out_channels, (self.out_height, self.out_width));
        (planes, Self { output_order: Order::Planes, ..*self })
    }

    /// An input in blocks, and this shape, with planes.
    fn input_in_planes(&self, x: &[f32]) -> (Vec<f32>, Self) {
        let planes = in_planes(x, self.in_channels, (self.height, self.width));
        (planes, Self { input_order: Order::Planes, ..*self })
    }

    /// Taps of a kernel: `k · k'`.
    fn area(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Values of one unfolded patch: `c · k · k'`.
    fn patch(&self) -> usize {
        self.in_channels * self.area()
    }

    /// Values of a row of the padded image.
    fn padded_width(&self) -> usize {
        self.width + 2 * self.padding[1]
    }

    /// Values of a channel of the padded image.
    fn padded_plane(&self) -> usize {
        (self.height + 2 * self.padding[0]) * self.padded_width()
    }

    /// Values of the padded image from the first of a patch to each.
    fn taps(&self) -> Vec<usize> {
        let place =
            |(channel, row, column)| channel * self.padded_plane() + row * self.padded_width() + column;
        (0..self.patch()).map(|value| place(self.tap(value))).collect()
    }

    /// The padded image, with zeros after its end up to so many values.
    fn pad<'a>(&self, x: &[f32], len: usize, padded: &'a mut Vec<f32>) -> &'a [f32] {
        let (plane, width) = (self.padded_plane(), self.padded_width());
        let padded = resized(padded, len.max(self.in_channels * plane));
        padded.fill(0.0);
        for (channel, x) in x.chunks_exact(self.input_plane()).enumerate() {
            let to = &mut padded[channel * plane + self.padding[0] * width + self.padding[1]..];
            for (row, to) in x.chunks_exact(self.width).zip(to.chunks_mut(width)) {
                to[..self.width].copy_from_slice(row);
            }
        }
        padded
    }

    /// Channel, row and column of a value of an unfolded patch.
    fn tap(&self, value: usize) -> (usize, usize, usize) {
        let [rows, columns] = self.kernel;
        (value / (rows * columns), value / columns % rows, value % columns)
    }

    /// Images unfolded together, so that a product has about [`COLUMNS`] columns.
    fn group(&self) -> usize {
        COLUMNS.div_ceil(self.output_plane()).min(self.images)
    }

    /// Cuts the rows of an image's output so that a tile's patches of `width` values stay in the
    /// cache. Several images that are unfolded together are small, and one tile.
    fn row_tiles(&self, images: usize, width: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let height = self.out_height;
        let rows = if images == 1 {
            (TILE_VALUES / width).max(TILE_PIXELS).div_ceil(self.out_width)
        } else {
            height
        };
        (0..height).step_by(rows).map(move |first| first..(first + rows).min(height))
    }

    /// Input row read by kernel row `ky` for output row `oy`, if it is inside the image.
    fn input_row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride + ky).checked_sub(self.padding[0]).filter(|&iy| iy < self.height)
    }

    /// Output columns whose input column under kernel column `kx` is inside the image.
    fn inside(&self, kx: usize) -> Range<usize> {
        let start = self.padding[1].saturating_sub(kx).div_ceil(self.stride);
        let end = match (self.width + self.padding[1]).checked_sub(kx) {
            Some(limit) if limit > 0 => ((limit - 1) / self.stride + 1).min(self.out_width),
            _ => 0,
        };
        start.min(end)..end
    }
}

/// `y[n, o, h', w'] = Σ_{c, ky, kx} w[o, c, ky, kx] · x[n, c, h'·s + ky − p, w'·s + kx − p]`.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    check(x, shape.input(), "input");
    check(weight, shape.weight(), "weight");
    if winograd::applies(shape) {
        return winograd::forward(x, weight, shape);
    }
    if shape.output_order == Order::Blocks {
        return first::forward(x, weight, shape);
    }
    if whole::applies(shape) {
        return whole::forward(x, weight, shape);
    }
    if direct::applies(shape) {
        return direct::forward(x, weight, shape);
    }
    let (plane, patch, group) = (shape.output_plane(), shape.patch(), shape.group());
    let (image_in, image_out) = (shape.input_image(), shape.output_image());
    let pointwise = shape.kernel == [1, 1] && shape.stride == 1 && shape.padding == [0, 0];
    let weights = Matrix::row_major(weight, shape.out_channels, patch);

    let mut y = vec![0.0; shape.images * image_out];
    y.par_chunks_mut(group * image_out).zip(x.par_chunks(group * image_in)).for_each_init(
        Scratch::default,
        |scratch, (y, x)| {
            let images = y.len() / image_out;
            if images == 1 && pointwise {
                let x = Matrix::row_major(x, patch, plane);
                return product(y, plane, weights, x, false);
            }
            if images == 1 {
                for rows in shape.row_tiles(1, patch) {
                    let pixels = rows.len() * shape.out_width;
                    let y = &mut y[rows.start * shape.out_width..];
                    let unfolded = resized(&mut scratch.unfolded, patch * pixels);
                    unfold_columns(x, 1, rows, shape, unfolded);
                    let unfolded = Matrix::row_major(unfolded, patch, pixels);
                    product(y, plane, weights, unfolded, false);
                }
                return;
            }
            let pixels = images * plane;
            let unfolded = resized(&mut scratch.unfolded, patch * pixels);
            unfold_columns(x, images, 0..shape.out_height, shape, unfolded);
            let unfolded = Matrix::row_major(unfolded, patch, pixels);
            let mixed = resized(&mut scratch.mixed, shape.out_channels * pixels);
            product(mixed, pixels, weights, unfolded, false);
            for (image, y) in y.chunks_exact_mut(image_out).enumerate() {
                for (y, row) in y.chunks_exact_mut(plane).zip(mixed.chunks_exact(pixels)) {
                    y.copy_from_slice(&row[image * plane..][..plane]);
                }
            }
        },
    );
    y
}

/// Gradient with respect to the input, given `dy`, the gradient of the output.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn data_gradient(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    check(dy, shape.output(), "output gradient");
    check(weight, shape.weight(), "weight");
    if winograd::applies(shape) {
        return winograd::data_gradient(dy, weight, shape);
    }
    if shape.output_order == Order::Blocks {
        let (dy, shape) = shape.output_in_planes(dy);
        return data_gradient(&dy, weight, &shape);
    }
    if whole::applies(shape) {
        return whole::data_gradient(dy, weight, shape);
    }
    let [rows, columns] = shape.kernel;
    if shape.stride == 1 && shape.padding[0] < rows && shape.padding[1] < columns {
        // Without a stride the gradient is itself a convolution: kernels turned by 180 degrees,
        // input and output channels exchanged, the complementary padding.
        let turned = ConvShape {
            in_channels: shape.out_channels,
            height: shape.out_height,
            width: shape.out_width,
            out_channels: shape.in_channels,
            padding: [rows - 1 - shape.padding[0], columns - 1 - shape.padding[1]],
            out_height: shape.height,
            out_width: shape.width,
            ..*shape
        };
        return forward(dy, &turn(weight, shape), &turned);
    }
    let (plane, patch, group) = (shape.output_plane(), shape.patch(), shape.group());
    let (image_in, image_out) = (shape.input_image(), shape.output_image());
    let weights = Matrix::transposed(weight, patch, shape.out_channels);

    let mut dx = vec![0.0; shape.images * image_in];
    dx.par_chunks_mut(group * image_in).zip(dy.par_chunks(group * image_out)).for_each_init(
        Scratch::default,
        |scratch, (dx, dy)| {
            let images = dx.len() / image_in;
            let pixels = images * plane;
            let mixed = resized(&mut scratch.mixed, shape.out_channels * pixels);
            channels_first(dy, shape.out_channels, plane, mixed);
            let mixed = Matrix::row_major(mixed, shape.out_channels, pixels);
            let unfolded = resized(&mut scratch.unfolded, patch * pixels);
            product(unfolded, pixels, weights, mixed, false);
            fold_columns(unfolded, images, shape, dx);
        },
    );
    dx
}

/// Gradient with respect to the weight, given `dy`, the gradient of the output.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    check(x, shape.input(), "input");
    check(dy, shape.output(), "output gradient");
    if winograd::applies_to_weights(shape) {
        return winograd::weight_gradient(x, dy, shape);
    }
    if shape.input_order == Order::Blocks {
        // Few and small images.
        let (x, shape) = shape.input_in_planes(x);
        return weight_gradient(&x, dy, &shape);
    }
    if shape.output_order == Order::Blocks {
        if first::applies(shape) {
            return first::weight_gradient(x, dy, shape);
        }
        let (dy, shape) = shape.output_in_planes(dy);
        return weight_gradient(x, &dy, &shape);
    }
    if whole::applies(shape) {
        return whole::weight_gradient(x, dy, shape);
    }
    if direct::applies(shape) {
        return direct::weight_gradient(x, dy, shape);
    }
    let (image_out, group) = (shape.output_image(), shape.group());

    // Output channels first within each group of images: the products below read rows of it.
    let dy = if group == 1 {
        Cow::Borrowed(dy)
    } else {
        let mut first = vec![0.0; dy.len()];
        first.par_chunks_mut(group * image_out).zip(dy.par_chunks(group * image_out)).for_each(
            |(first, dy)| {
                channels_first(dy, shape.out_channels, shape.output_plane(), first);
            },
        );
        Cow::Owned(first)
    };

    // Cut by input channels (no work is repeated) and, where these are few, by stripes of images,
    // whose sums are added in order below. Both cuts are functions of the shape.
    let blocks = (shape.patch() / WEIGHT_WIDTH).clamp(1, WEIGHT_TASKS);
    let block = shape.in_channels.div_ceil(blocks);
    let blocks = shape.in_channels.div_ceil(block);
    let groups = shape.images.div_ceil(group);
    let stripe = groups.div_ceil((WEIGHT_TASKS / blocks).max(1)) * group;
    let stripes = shape.images.div_ceil(stripe);
    let channels = |task: usize| {
        let first = task % blocks * block;
        first..(first + block).min(shape.in_channels)
    };
    let partial: Vec<Vec<f32>> = (0..blocks * stripes)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, task| {
            let begin = task / blocks * stripe;
            let images = begin..(begin + stripe).min(shape.images);
            partial_weight_gradient(x, &dy, channels(task), images, shape, scratch)
        })
        .collect();

    // From [stripe][block][o][ky, kx, c] to [o][c][ky, kx].
    let area = shape.area();
    let mut dw = vec![0.0; shape.out_channels * shape.patch()];
    dw.par_chunks_mut(shape.patch()).enumerate().for_each(|(out_channel, dw)| {
        for (task, sum) in partial.iter().enumerate() {
            let channels = channels(task);
            let width = channels.len() * area;
            let row = &sum[out_channel * width..][..width];
            for (tap, values) in row.chunks_exact(channels.len()).enumerate() {
                for (channel, value) in channels.clone().zip(values) {
                    dw[channel * area + tap] += value;
                }
            }
        }
    });
    dw
}

/// Sum over some images of the gradient with respect to the weights of some input channels, as
/// `[o][ky, kx, channels]`. `dy` has output channels first within each group of images.
fn partial_weight_gradient(
    x: &[f32],
    dy: &[f32],
    channels: Range<usize>,
    images: Range<usize>,
    shape: &ConvShape,
    scratch: &mut Scratch,
) -> Vec<f32> {
    let (plane, input_plane) = (shape.output_plane(), shape.input_plane());
    let block = channels.len() * input_plane;
    let width = channels.len() * shape.area();
    let mut sum = vec![0.0; shape.out_channels * width];
    for from in images.clone().step_by(shape.group()) {
        let count = shape.group().min(images.end - from);
        let last = resized(&mut scratch.mixed, count * block);
        for (image, last) in (from..).zip(last.chunks_exact_mut(block)) {
            let x = &x[image * shape.input_image() + channels.start * input_plane..][..block];
            transpose(x, channels.len(), input_plane, last);
        }
        let dy = &dy[from * shape.output_image()..][..count * shape.output_image()];
        for rows in shape.row_tiles(count, width) {
            let accumulate = from > images.start || rows.start > 0;
            let pixels = count * rows.len() * shape.out_width;
            let dy = &dy[rows.start * shape.out_width..];
            let unfolded = resized(&mut scratch.unfolded, pixels * width);
            unfold_rows(last, channels.len(), count, rows, shape, unfolded);
            product(
                &mut sum,
                width,
                Matrix::rows(dy, shape.out_channels, pixels, count * plane),
                Matrix::row_major(unfolded, pixels, width),
                accumulate,
            );
        }
    }
    sum
}

/// A weight gradient of so many values as the sum of what `add` adds for each image, given its input and its output's gradient. A stripe
/// of images is one task's, and stripes are added up in their order.
fn sum_over_images<B: Default>(
    (x, dy): (&[f32], &[f32]),
    shape: &ConvShape,
    len: usize,
    add: impl Fn(&mut B, &[f32], &[f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let images = x.par_chunks(STRIPE * shape.input_image()).zip(dy.par_chunks(STRIPE * shape.output_image()));
    let stripes: Vec<Vec<f32>> = images
        .map_init(B::default, |buffers, (x, dy)| {
            let mut sums = vec![0.0; len];
            for (x, dy) in x.chunks_exact(shape.input_image()).zip(dy.chunks_exact(shape.output_image())) {
                add(buffers, x, dy, &mut sums);
            }
            sums
        })
        .collect();
    stripes.into_iter().fold(vec![0.0; len], |mut all, stripe| {
        all.iter_mut().zip(stripe).for_each(|(sum, value)| *sum += value);
        all
    })
}

/// Buffers a thread keeps between its tasks; every task writes all it reads.
#[derive(Default)]
struct Scratch {
    unfolded: Vec<f32>,
    mixed: Vec<f32>,
}

fn resized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Images in blocks as images in planes.
fn in_planes(blocks: &[f32], channels: usize, size: (usize, usize)) -> Vec<f32> {
    let (plane, mut planes) = (size.0 * size.1, vec![0.0; blocks.len()]);
    let images = planes.par_chunks_exact_mut(channels * plane).zip(blocks.par_chunks_exact(channels * plane));
    images.for_each(|(planes, blocks)| {
        for (block, grid) in blocks.chunks_exact(plane * LANES).enumerate() {
            let place = Place { order: Order::Planes, size, block, corner: (0, 0) };
            scatter::<false>(grid.as_chunks().0, size.1, planes, place);
        }
    });
    planes
}

fn check(values: &[f32], shape: [usize; 4], what: &str) {
    let wanted = shape.iter().product::<usize>();
    assert_eq!(values.len(), wanted, "values in the {what} of shape {shape:?}");
}

/// Unfolds rows of the outputs of images `[images][c][h, w]` into columns
/// `[c, ky, kx][images · rows · w']`.
fn unfold_columns(x: &[f32], images: usize, rows: Range<usize>, shape: &ConvShape, columns: &mut [f32]) {
    let tile = rows.len() * shape.out_width;
    for (row, line) in columns.chunks_exact_mut(images * tile).enumerate() {
        let (channel, ky, kx) = shape.tap(row);
        let inside = shape.inside(kx);
        for (image, part) in line.chunks_exact_mut(tile).enumerate() {
            let source =
                &x[(image * shape.in_channels + channel) * shape.input_plane()..][..shape.input_plane()];
            for (oy, part) in rows.clone().zip(part.chunks_exact_mut(shape.out_width)) {
                let Some(iy) = shape.input_row(oy, ky) else {
                    part.fill(0.0);
                    continue;
                };
                part[..inside.start].fill(0.0);
                part[inside.end..].fill(0.0);
                if inside.is_empty() {
                    continue;
                }
                let first = inside.start * shape.stride + kx - shape.padding[1];
                let source = &source[iy * shape.width..][first..shape.width];
                let part = &mut part[inside.clone()];
                if shape.stride == 1 {
                    part.copy_from_slice(&source[..part.len()]);
                } else {
                    for (value, source) in part.iter_mut().zip(source.iter().step_by(shape.stride)) {
                        *value = *source;
                    }
                }
            }
        }
    }
}

/// The adjoint of [`unfold_columns`]: adds every unfolded value to where it came from.
fn fold_columns(columns: &[f32], images: usize, shape: &ConvShape, x: &mut [f32]) {
    let plane = shape.output_plane();
    for (row, line) in columns.chunks_exact(images * plane).enumerate() {
        let (channel, ky, kx) = shape.tap(row);
        let inside = shape.inside(kx);
        if inside.is_empty() {
            continue;
        }
        let first = inside.start * shape.stride + kx - shape.padding[1];
        for (image, part) in line.chunks_exact(plane).enumerate() {
            let target =
                &mut x[(image * shape.in_channels + channel) * shape.input_plane()..][..shape.input_plane()];
            for (oy, part) in part.chunks_exact(shape.out_width).enumerate() {
                let Some(iy) = shape.input_row(oy, ky) else {
                    continue;
                };
                let target = target[iy * shape.width..][first..shape.width].iter_mut();
                let part = &part[inside.clone()];
                for (target, value) in target.step_by(shape.stride).zip(part) {
                    *target += value;
                }
            }
        }
    }
}

/// Unfolds rows of the outputs of channels-last images `[images][h, w][channels]` into
/// `[images · rows · w'][ky, kx, channels]`.
fn unfold_rows(
    x: &[f32],
    channels: usize,
    images: usize,
    rows: Range<usize>,
    shape: &ConvShape,
    unfolded: &mut [f32],
) {
    let [k, line] = [shape.kernel[1], shape.kernel[1] * channels];
    let mut patches = unfolded.chunks_exact_mut(shape.area() * channels);
    let image_values = shape.input_plane() * channels;
    for x in x.chunks_exact(image_values).take(images) {
        for oy in rows.clone() {
            for (ox, patch) in (0..shape.out_width).zip(&mut patches) {
                // Kernel columns that fall inside the image are one contiguous run of it.
                let start = ox * shape.stride;
                let low = shape.padding[1].saturating_sub(start).min(k);
                let high = (shape.width + shape.padding[1]).saturating_sub(start);
                let high = high.clamp(low, k);
                for (ky, part) in patch.chunks_exact_mut(line).enumerate() {
                    let Some(iy) = shape.input_row(oy, ky) else {
                        part.fill(0.0);
                        continue;
                    };
                    part[..low * channels].fill(0.0);
                    part[high * channels..].fill(0.0);
                    if low < high {
                        let first = iy * shape.width + start + low - shape.padding[1];
                        part[low * channels..high * channels]
                            .copy_from_slice(&x[first * channels..][..(high - low) * channels]);
                    }
                }
            }
        }
    }
}

/// `[images][channels][plane]` to `[channels][images][plane]`.
fn channels_first(from: &[f32], channels: usize, plane: usize, to: &mut [f32]) {
    let images = from.len() / (channels * plane);
    for (channel, to) in to.chunks_exact_mut(images * plane).enumerate() {
        for (image, to) in to.chunks_exact_mut(plane).enumerate() {
            to.copy_from_slice(&from[(image * channels + channel) * plane..][..plane]);
        }
    }
}

/// Kernels turned by 180 degrees with input and output channels exchanged: `[c][o][k, k']`.
fn turn(weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let area = shape.area();
    let mut turned = vec![0.0; weight.len()];
    turned.par_chunks_mut(shape.out_channels * area).enumerate().for_each(|(channel, turned)| {
        for (out_channel, turned) in turned.chunks_exact_mut(area).enumerate() {
            let kernel = &weight[(out_channel * shape.in_channels + channel) * area..][..area];
            for (to, from) in turned.iter_mut().zip(kernel.iter().rev()) {
                *to = *from;
            }
        }
    });
    turned
}

/// `to[j][i] = from[i][j]`, in tiles that stay in the first-level cache.
fn transpose(from: &[f32], rows: usize, cols: usize, to: &mut [f32]) {
    const TILE: usize = 16;
    for j0 in (0..cols).step_by(TILE) {
        for i0 in (0..rows).step_by(TILE) {
            for j in j0..(j0 + TILE).min(cols) {
                let line = &mut to[j * rows..][..rows];
                for i in i0..(i0 + TILE).min(rows) {
                    line[i] = from[i * cols + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, on_threads};

    /// (n, c, h, w, o, k, stride, padding): small and odd sizes, one channel, one image, 1 × 1, 7 × 7.
    const SHAPES: [[usize; 8]; 35] = [
        [5, 3, 8, 8, 5, 3, 1, 1],
        [4, 4, 9, 7, 6, 3, 2, 1],
        [4, 4, 8, 8, 6, 1, 2, 0],
        [3, 4, 7, 7, 6, 1, 1, 0],
        [1, 6, 24, 24, 4, 1, 1, 0],
        [3, 3, 13, 12, 4, 7, 2, 3],
        [1, 1, 5, 5, 1, 3, 1, 1],
        [2, 2, 5, 6, 3, 3, 1, 0],
        [2, 3, 6, 5, 2, 2, 2, 0],
        [2, 2, 4, 4, 3, 3, 1, 3],
        [2, 1, 1, 1, 2, 3, 2, 1],
        [70, 40, 4, 4, 20, 3, 1, 1],
        // Few channels, not unfolded: several blocks of outputs, broken ones, no padding, wide rows, several stripes of images.
        [3, 1, 28, 28, 20, 3, 1, 1],
        [2, 1, 32, 32, 15, 6, 1, 0],
        [19, 3, 9, 17, 9, 3, 1, 1],
        [2, 7, 15, 20, 8, 3, 1, 2],
        [1, 2, 3, 70, 11, 3, 1, 0],
        // Kernels as large as the image.
        [70, 15, 9, 9, 33, 9, 1, 0],
        [3, 2, 3, 3, 4, 3, 2, 0],
        [5, 7, 1, 1, 40, 1, 1, 0],
        // Winograd's: whole and broken tiles and blocks, several images together, rows of one image, every padding.
        [2, 16, 9, 7, 17, 3, 1, 1],
        [3, 33, 5, 6, 16, 3, 1, 0],
        [2, 16, 41, 37, 18, 3, 1, 2],
        [5, 16, 2, 2, 16, 3, 1, 1],
        [1, 20, 4, 5, 40, 3, 1, 3],
        [90, 16, 8, 8, 16, 3, 1, 1],
        [2, 16, 9, 7, 17, 3, 2, 1],
        [3, 33, 8, 6, 16, 3, 2, 0],
        [2, 16, 61, 58, 18, 3, 2, 2],
        [90, 16, 8, 8, 16, 3, 2, 1],
        [5, 16, 3, 4, 16, 3, 2, 1],
        [90, 16, 14, 13, 32, 3, 2, 1],
        [90, 16, 7, 7, 16, 3, 1, 1],
        [2, 2, 3, 3, 2, 3, 3, 2],
        [1, 1, 1, 9, 1, 5, 1, 4],
    ];

    fn shape([n, c, h, w, o, k, s, p]: [usize; 8]) -> ConvShape {
        ConvShape::new([n, c, h, w], [o, c, k, k], s, [p, p]).expect("a valid shape")
    }

    /// Series, and kernels that are wider than high or higher than wide.
    fn oblong() -> impl Iterator<Item = ConvShape> {
        [
            ([3, 2, 1, 50], [4, 2, 1, 10], 5, [0, 3]),
            ([2, 16, 1, 33], [17, 16, 1, 8], 4, [0, 2]),
            ([5, 4, 1, 9], [3, 4, 1, 4], 2, [0, 1]),
            ([2, 3, 1, 7], [2, 3, 1, 3], 1, [0, 1]),
            ([2, 3, 1, 700], [2, 3, 1, 3], 1, [0, 0]),
            ([2, 3, 6, 5], [4, 3, 2, 3], 1, [1, 0]),
            ([2, 3, 6, 5], [4, 3, 3, 1], 2, [0, 1]),
            ([1, 20, 7, 6], [18, 20, 3, 3], 1, [1, 2]),
        ]
        .into_iter()
        .map(|(x, w, s, p)| ConvShape::new(x, w, s, p).expect("a valid shape"))
    }

    /// Shapes that have kernels in blocks, from planes and from blocks.
    fn in_blocks() -> impl Iterator<Item = ConvShape> {
        let more = [[9, 3, 12, 10, 16, 3, 2, 1], [3, 2, 9, 9, 32, 5, 3, 2], [17, 1, 28, 28, 32, 3, 1, 1]];
        SHAPES.into_iter().chain(more).flat_map(|[n, c, h, w, o, k, s, p]| {
            let inputs = [vec![n, c, h, w], vec![n, c / LANES, h, w, LANES]];
            inputs.into_iter().filter_map(move |input| {
                let shape = ConvShape::to_blocks(&input, [o, c, k, k], s, [p, p])?;
                (shape.in_channels == c).then_some(shape)
            })
        })
    }

    /// Images in planes as images in blocks.
    fn blocks(planes: &[f32], channels: usize, size: (usize, usize)) -> Vec<f32> {
        let plane = size.0 * size.1;
        let mut blocks = vec![0.0; planes.len()];
        let images = blocks.chunks_exact_mut(channels * plane).zip(planes.chunks_exact(channels * plane));
        for (blocks, planes) in images {
            for (channel, values) in planes.chunks_exact(plane).enumerate() {
                let block = &mut blocks[channel / LANES * LANES * plane..];
                for (pixel, value) in values.iter().enumerate() {
                    block[pixel * LANES + channel % LANES] = *value;
                }
            }
        }
        blocks
    }

    #[test]
    fn blocks_hold_what_planes_hold() {
        let mut orders = [0; 2];
        for q in in_blocks() {
            orders[usize::from(q.input_order == Order::Blocks)] += 1;
            let of_planes = ConvShape { input_order: Order::Planes, output_order: Order::Planes, ..q };
            let (x, w) = (noise(size(q.input()), 1), noise(size(q.weight()), 2));
            let dy = noise(size(q.output()), 3);
            let (of_input, of_output) = ((q.height, q.width), (q.out_height, q.out_width));
            let input = |x: &[f32]| match q.input_order {
                Order::Planes => x.to_vec(),
                Order::Blocks => blocks(x, q.in_channels, of_input),
            };
            let output = |y: &[f32]| blocks(y, q.out_channels, of_output);
            assert_eq!(in_planes(&output(&dy), q.out_channels, of_output), dy);
            let wide = |values: Vec<f32>| -> Vec<f64> { values.into_iter().map(f64::from).collect() };
            let y = wide(output(&forward(&x, &w, &of_planes)));
            assert_close(&forward(&input(&x), &w, &q), &y, 1e-5, &format!("forward of {q:?}"));
            let dx = wide(input(&data_gradient(&dy, &w, &of_planes)));
            assert_close(&data_gradient(&output(&dy), &w, &q), &dx, 1e-5, &format!("data gradient of {q:?}"));
            let dw = wide(weight_gradient(&x, &dy, &of_planes));
            let found = weight_gradient(&input(&x), &output(&dy), &q);
            assert_close(&found, &dw, 1e-5, &format!("weight gradient of {q:?}"));
        }
        assert!(orders.into_iter().all(|count| count >= 4), "{orders:?}");
    }

    fn size(shape: [usize; 4]) -> usize {
        shape.iter().product()
    }

    /// Visits every (input index, weight index, output index) of the definition.
    fn taps(q: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
        for n in 0..q.images {
            for o in 0..q.out_channels {
                for y in 0..q.output_plane() {
                    for r in 0..q.patch() {
                        let (c, ky, kx) = q.tap(r);
                        let iy = (y / q.out_width * q.stride + ky) as isize - q.padding[0] as isize;
                        let ix = (y % q.out_width * q.stride + kx) as isize - q.padding[1] as isize;
                        if (0..q.height as isize).contains(&iy) && (0..q.width as isize).contains(&ix) {
                            visit(
                                ((n * q.in_channels + c) * q.height + iy as usize) * q.width + ix as usize,
                                o * q.patch() + r,
                                (n * q.out_channels + o) * q.output_plane() + y,
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn all_three_passes_match_the_definition() {
        for q in SHAPES.into_iter().map(shape).chain(oblong()) {
            let (x, w) = (noise(size(q.input()), 1), noise(size(q.weight()), 2));
            let dy = noise(size(q.output()), 3);
            let (mut y, mut dx, mut dw) =
                (vec![0.0f64; dy.len()], vec![0.0f64; x.len()], vec![0.0f64; w.len()]);
            taps(&q, |i, k, o| {
                y[o] += f64::from(x[i]) * f64::from(w[k]);
                dx[i] += f64::from(dy[o]) * f64::from(w[k]);
                dw[k] += f64::from(dy[o]) * f64::from(x[i]);
            });
            assert_close(&forward(&x, &w, &q), &y, 1e-5, "forward");
            assert_close(&data_gradient(&dy, &w, &q), &dx, 1e-5, "data gradient");
            assert_close(&weight_gradient(&x, &dy, &q), &dw, 1e-5, "weight gradient");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let more = [[37, 24, 9, 9, 16, 3, 2, 1], [40, 3, 16, 16, 8, 3, 1, 1]];
        for q in SHAPES.into_iter().chain(more).map(shape).chain(oblong()).chain(in_blocks()) {
            let (x, w) = (noise(size(q.input()), 1), noise(size(q.weight()), 2));
            let dy = noise(size(q.output()), 3);
            let all = |threads| {
                on_threads(threads, || {
                    [forward(&x, &w, &q), data_gradient(&dy, &w, &q), weight_gradient(&x, &dy, &q)]
                })
            };
            let one = all(1);
            assert!(one == all(2) && one == all(4), "{q:?}");
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused() {
        let x = [2, 4, 8, 8];
        assert!(ConvShape::new(x, [4, 2, 3, 3], 1, [1, 1]).is_none(), "groups");
        assert!(ConvShape::new(x, [4, 4, 9, 9], 1, [0, 0]).is_none(), "too large");
        assert!(ConvShape::new(x, [4, 4, 1, 9], 1, [9, 0]).is_none(), "too wide");
        assert!(ConvShape::new(x, [4, 4, 3, 3], 0, [0, 0]).is_none(), "no stride");
        assert!(ConvShape::new([0, 4, 8, 8], [4, 4, 3, 3], 1, [0, 0]).is_none(), "empty");
    }
}
