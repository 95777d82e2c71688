//! Batch normalisation on slices, with an optional ReLU in the same pass.
//!
//! Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
//! internal covariate shift", 2015. Tensors are `[n, c, plane]`: images after images, channels
//! after channels; or `[n, c / 16, plane, 16]`, see [`Order`].

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::order::{LANES, Lanes, Order};
use super::residual::rectified;
use super::widest;

/// Values a task should hold at least, so that handing it out is worth it.
const TASK: usize = 1 << 14;
/// Tasks into which sums over blocks of channels are cut, at least: enough for a large desktop processor.
const TASKS: usize = 16;
/// Values of a block that are added up in f32 before they go to f64.
const STRETCH: usize = 64 * LANES;

/// Sizes of a tensor with channels: `[images, channels, plane]`, or `[images, channels / 16, plane, 16]`.
///
/// Values that follow one another and belong to the same channels are a run: a plane of one channel, or the pixels of a block of 16. A run
/// is read 16 values at a time, whose channels are the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    images: usize,
    channels: usize,
    plane: usize,
    order: Order,
}

impl Channels {
    /// From a shape `[n, c, …]`, or `[n, c / 16, …, 16]` with channels in blocks; `None` if it is neither, or has no values.
    pub fn new(shape: &[usize], channels: usize) -> Option<Self> {
        let (images, rest, order) = match shape {
            [images, found, rest @ ..] if *found == channels => (images, rest, Order::Planes),
            [images, blocks, rest @ .., LANES] if blocks * LANES == channels => (images, rest, Order::Blocks),
            _ => return None,
        };
        let plane = rest.iter().product::<usize>();
        (images * channels * plane > 0).then_some(Self { images: *images, channels, plane, order })
    }

    /// Values of one channel.
    pub fn per_channel(&self) -> usize {
        self.images * self.plane
    }

    fn len(&self) -> usize {
        self.channels * self.per_channel()
    }

    /// Runs of an image.
    fn runs(&self) -> usize {
        match self.order {
            Order::Planes => self.channels,
            Order::Blocks => self.channels / LANES,
        }
    }

    /// Values of a run.
    fn run(&self) -> usize {
        self.channels * self.plane / self.runs()
    }

    /// Where the first value of a channel is.
    fn first(&self, channel: usize) -> usize {
        match self.order {
            Order::Planes => channel * self.plane,
            Order::Blocks => channel / LANES * self.run() + channel % LANES,
        }
    }

    /// Runs that one task adds up: those of few values are read together with their neighbours.
    fn together(&self) -> usize {
        (LANES / self.run()).max(1)
    }

    /// Images that one task adds up: where there are few runs, several tasks share one.
    fn stripe(&self) -> usize {
        match self.order {
            Order::Planes => self.images,
            Order::Blocks => self.images.div_ceil(TASKS.div_ceil(self.runs())),
        }
    }

    /// Images normalised by one task.
    fn images_per_task(&self) -> usize {
        (TASK / (self.channels * self.plane)).max(1)
    }

    /// A value of each channel as the 16 of each run.
    fn lanes(&self, values: &[f32]) -> Vec<Lanes> {
        match self.order {
            Order::Planes => values.iter().map(|value| [*value; LANES]).collect(),
            Order::Blocks => values.as_chunks().0.to_vec(),
        }
    }

    /// Two sums over 16 lanes of each run as two of each channel.
    fn of_channels(&self, sums: Vec<[[f64; LANES]; 2]>) -> Vec<[f64; 2]> {
        match self.order {
            Order::Planes => sums.into_iter().map(|both| both.map(|lanes| lanes.iter().sum())).collect(),
            Order::Blocks => sums
                .into_iter()
                .flat_map(|[one, other]| (0..LANES).map(move |l| [one[l], other[l]]))
                .collect(),
        }
    }

    /// The sums of two terms over all images, for each run.
    fn sums<T: Terms>(
        &self,
        a: &[f32],
        b: &[f32],
        terms: impl Fn(usize) -> T + Sync,
    ) -> Vec<[[f64; LANES]; 2]> {
        let (runs, run, together, stripe) = (self.runs(), self.run(), self.together(), self.stripe());
        let of_stripe = |first: usize| {
            let mut sums = vec![[[0.0; LANES]; 2]; runs];
            sums.par_chunks_mut(together).enumerate().for_each(|(task, sums)| {
                let terms: Vec<T> = (0..sums.len()).map(|at| terms(task * together + at)).collect();
                for image in first..(first + stripe).min(self.images) {
                    for (at, (sums, terms)) in sums.iter_mut().zip(&terms).enumerate() {
                        let from = (image * runs + task * together + at) * run;
                        for stretch in (from..from + run).step_by(self.stretch()) {
                            let end = (stretch + self.stretch()).min(from + run);
                            let (a, b) = (&a[stretch..end], &b[stretch..end]);
                            widest().dispatch(Sums { a, b, terms, sums: &mut *sums });
                        }
                    }
                }
            });
            sums
        };
        let stripes: Vec<_> = (0..self.images).into_par_iter().step_by(stripe).map(of_stripe).collect();
        let mut stripes = stripes.into_iter();
        let mut all = stripes.next().unwrap_or_default();
        for stripe in stripes {
            for (all, own) in all.as_flattened_mut().iter_mut().zip(stripe.as_flattened()) {
                all.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            }
        }
        all
    }

    /// Values of a run that are added up in f32.
    fn stretch(&self) -> usize {
        match self.order {
            Order::Planes => self.run(),
            Order::Blocks => STRETCH,
        }
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
    let anchors: Vec<f32> = (0..shape.channels).map(|channel| x[shape.first(channel)]).collect();
    let lanes = shape.lanes(&anchors);
    let sums = shape.of_channels(shape.sums(x, x, |run| Moments { anchors: lanes[run] }));
    let count = shape.per_channel() as f64;
    let of_channel = |(anchor, [sum, square]): (f32, [f64; 2])| {
        let offset = sum / count;
        ((f64::from(anchor) + offset) as f32, (square / count - offset * offset).max(0.0) as f32)
    };
    let (mean, variance) = anchors.into_iter().zip(sums).map(of_channel).unzip();
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

    /// The map of each run.
    fn maps(&self, shape: &Channels) -> Vec<Map> {
        let scales: Vec<f32> = self.gamma.iter().zip(self.inverse).map(|(g, inverse)| g * inverse).collect();
        let each = shape.lanes(self.mean).into_iter().zip(shape.lanes(&scales)).zip(shape.lanes(self.beta));
        each.map(|((mean, scale), beta)| Map { mean, scale, beta }).collect()
    }
}

/// The normalisation of a run. Forward and backward use it, so that both see the same sign
/// before the ReLU and the output need not be kept.
#[derive(Clone, Copy)]
struct Map {
    mean: Lanes,
    scale: Lanes,
    beta: Lanes,
}

impl Map {
    #[inline(always)]
    fn apply(&self, lane: usize, x: f32) -> f32 {
        (x - self.mean[lane]) * self.scale[lane] + self.beta[lane]
    }

    /// [`apply`](Self::apply) to the vector `v` of the lanes.
    #[inline(always)]
    fn apply_to_vector<S: Simd>(&self, simd: S, v: usize, x: S::f32s) -> S::f32s {
        let (mean, scale, beta) =
            (vector::<S>(&self.mean, v), vector::<S>(&self.scale, v), vector::<S>(&self.beta, v));
        simd.add_f32s(simd.mul_f32s(simd.sub_f32s(x, mean), scale), beta)
    }

    /// The gradient before the ReLU, if there is one. Written in vectors: of a choice that hangs on arithmetic, compilers make
    /// branches, value by value.
    #[inline(always)]
    fn gated<S: Simd, const RELU: bool>(&self, simd: S, v: usize, x: S::f32s, dy: S::f32s) -> S::f32s {
        if !RELU {
            return dy;
        }
        clipped(simd, self.apply_to_vector(simd, v, x), dy)
    }
}

/// `value` where `y` is above zero or NaN, which stays one; else zero.
#[inline(always)]
fn clipped<S: Simd>(simd: S, y: S::f32s, value: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_or_equal_f32s(y, zero), zero, value)
}

/// A vector of the 16 lanes.
#[inline(always)]
fn vector<S: Simd>(lanes: &Lanes, v: usize) -> S::f32s {
    S::as_simd_f32s(lanes).0[v]
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
        normalise_with::<true>(x, &affine.maps(shape), shape)
    } else {
        normalise_with::<false>(x, &affine.maps(shape), shape)
    }
}

fn normalise_with<const RELU: bool>(x: &[f32], maps: &[Map], shape: &Channels) -> Vec<f32> {
    let chunk = shape.images_per_task() * shape.channels * shape.plane;
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
        let runs = y.chunks_exact_mut(shape.run()).zip(x.chunks_exact(shape.run()));
        for ((y, x), map) in runs.zip(maps.iter().cycle()) {
            widest().dispatch(Normalised::<RELU> { y, x, map });
        }
    });
    y
}

/// A [`Map`] of the values of a run.
struct Normalised<'a, const RELU: bool> {
    y: &'a mut [f32],
    x: &'a [f32],
    map: &'a Map,
}

impl<const RELU: bool> WithSimd for Normalised<'_, RELU> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { y, x, map } = self;
        let ((whole_y, rest_y), (whole_x, rest_x)) = (y.as_chunks_mut::<LANES>(), x.as_chunks());
        for (y, x) in whole_y.iter_mut().zip(whole_x) {
            let y = S::as_mut_simd_f32s(y).0;
            for (v, y) in y.iter_mut().enumerate() {
                let plain = map.apply_to_vector(simd, v, vector::<S>(x, v));
                *y = if RELU { clipped(simd, plain, plain) } else { plain };
            }
        }
        for (lane, (y, x)) in rest_y.iter_mut().zip(rest_x).enumerate() {
            let plain = map.apply(lane, *x);
            *y = if RELU { rectified(plain) } else { plain };
        }
    }
}

/// Gradients of [`normalise`] with respect to its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// With respect to γ, `[c]`.
    pub gamma: Vec<f32>,
    /// With respect to β, `[c]`.
    pub beta: Vec<f32>,
}

/// Gradients of [`normalise`], given the gradient of its output, over which that of its input is written.
///
/// With `of_batch`, mean and variance are functions of `x` (training), and the gradient passes
/// through them: `dx = γ·s·(dy − mean(dy) − x̂·mean(dy·x̂))`. Without, they are constants.
///
/// # Panics
///
/// If a slice does not have the size that `shape` says.
pub fn gradients(
    x: &[f32],
    gradient: &mut [f32],
    affine: Affine,
    relu: bool,
    of_batch: bool,
    shape: &Channels,
) -> Gradients {
    assert_eq!(x.len(), shape.len(), "values of {shape:?}");
    assert_eq!(gradient.len(), shape.len(), "values of {shape:?}");
    affine.check(shape);
    if relu {
        gradients_with::<true>(x, gradient, affine, of_batch, shape)
    } else {
        gradients_with::<false>(x, gradient, affine, of_batch, shape)
    }
}

fn gradients_with<const RELU: bool>(
    x: &[f32],
    gradient: &mut [f32],
    affine: Affine,
    of_batch: bool,
    shape: &Channels,
) -> Gradients {
    let maps = affine.maps(shape);
    let sums = shape.of_channels(shape.sums(x, gradient, |run| Pulls::<RELU>(maps[run])));
    let inverse = affine.inverse;
    let beta: Vec<f32> = sums.iter().map(|[sum, _]| *sum as f32).collect();
    let scaled =
        sums.iter().zip(inverse).map(|([_, product], inverse)| (product * f64::from(*inverse)) as f32);
    let gamma: Vec<f32> = scaled.collect();

    // dx = scale · (dy − offset − (x − mean) · slope); constant statistics have no share in it.
    let count = if of_batch { shape.per_channel() as f32 } else { f32::INFINITY };
    let offsets: Vec<f32> = beta.iter().map(|beta| beta / count).collect();
    let slopes: Vec<f32> =
        gamma.iter().zip(inverse).map(|(gamma, inverse)| gamma / count * inverse).collect();
    let terms: Vec<Pulled<RELU>> = maps
        .into_iter()
        .zip(shape.lanes(&offsets).into_iter().zip(shape.lanes(&slopes)))
        .map(|(map, (offset, slope))| Pulled { map, offset, slope })
        .collect();
    let chunk = shape.images_per_task() * shape.channels * shape.plane;
    gradient.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(gradient, x)| {
        let runs = gradient.chunks_exact_mut(shape.run()).zip(x.chunks_exact(shape.run()));
        for ((gradient, x), pulled) in runs.zip(terms.iter().cycle()) {
            widest().dispatch(ToInputs { gradient, x, pulled });
        }
    });
    Gradients { gamma, beta }
}

/// `dx = scale · (dy − offset − (x − mean) · slope)`
struct Pulled<const RELU: bool> {
    map: Map,
    offset: Lanes,
    slope: Lanes,
}

impl<const RELU: bool> Pulled<RELU> {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, v: usize, x: S::f32s, dy: S::f32s) -> S::f32s {
        let (mean, scale) = (vector::<S>(&self.map.mean, v), vector::<S>(&self.map.scale, v));
        let (offset, slope) = (vector::<S>(&self.offset, v), vector::<S>(&self.slope, v));
        let dy = simd.sub_f32s(self.map.gated::<S, RELU>(simd, v, x, dy), offset);
        simd.mul_f32s(scale, simd.sub_f32s(dy, simd.mul_f32s(simd.sub_f32s(x, mean), slope)))
    }
}

/// [`Pulled`] of the values of a run: `dy` becomes `dx`.
struct ToInputs<'a, const RELU: bool> {
    gradient: &'a mut [f32],
    x: &'a [f32],
    pulled: &'a Pulled<RELU>,
}

impl<const RELU: bool> WithSimd for ToInputs<'_, RELU> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { gradient, x, pulled } = self;
        let ((whole, rest), (whole_x, rest_x)) = (gradient.as_chunks_mut::<LANES>(), x.as_chunks());
        for (gradient, x) in whole.iter_mut().zip(whole_x) {
            let gradient = S::as_mut_simd_f32s(gradient).0;
            for (v, gradient) in gradient.iter_mut().enumerate() {
                *gradient = pulled.of(simd, v, vector::<S>(x, v), *gradient);
            }
        }
        // A few values: to load a part of a vector takes longer than they do.
        let Pulled { map: Map { mean, scale, .. }, offset, slope } = pulled;
        for (lane, (gradient, x)) in rest.iter_mut().zip(rest_x).enumerate() {
            let dy = if RELU && pulled.map.apply(lane, *x) <= 0.0 { 0.0 } else { *gradient };
            *gradient = scale[lane] * (dy - offset[lane] - (x - mean[lane]) * slope[lane]);
        }
    }
}

/// Two functions of a pair of values, to be added up.
trait Terms {
    /// Of the vector `v` of the lanes.
    fn of<S: Simd>(&self, simd: S, v: usize, a: S::f32s, b: S::f32s) -> [S::f32s; 2];
}

/// `x − anchor` and its square.
struct Moments {
    anchors: Lanes,
}

impl Terms for Moments {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, v: usize, x: S::f32s, _: S::f32s) -> [S::f32s; 2] {
        let offset = simd.sub_f32s(x, vector::<S>(&self.anchors, v));
        [offset, simd.mul_f32s(offset, offset)]
    }
}

/// The gradient before the ReLU, and that times `x − mean`.
struct Pulls<const RELU: bool>(Map);

impl<const RELU: bool> Terms for Pulls<RELU> {
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, v: usize, x: S::f32s, dy: S::f32s) -> [S::f32s; 2] {
        let dy = self.0.gated::<S, RELU>(simd, v, x, dy);
        [dy, simd.mul_f32s(dy, simd.sub_f32s(x, vector::<S>(&self.0.mean, v)))]
    }
}

/// Adds terms of two slices up: sixteen f32 lanes in a fixed order, whatever the width of the instructions, then as many f64 lanes.
struct Sums<'a, T> {
    a: &'a [f32],
    b: &'a [f32],
    terms: &'a T,
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
                let [u, w] = terms.of(simd, v, *a, *b);
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
            [u[v], w[v]] = terms.of(simd, v, a[v], b[v]);
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
    use crate::kernels::testing::{assert_close, noise, on_threads, slopes, widened};

    /// Planes of one channel, and blocks of 16.
    fn shapes() -> impl Iterator<Item = Channels> {
        let planes = [[5, 7, 30], [1, 3, 100], [33, 20, 1], [4, 1, 17], [2, 5, 4], [40, 3, 1024]];
        let blocks = [[5, 2, 30], [1, 1, 100], [33, 3, 1], [40, 1, 1024]];
        let planes = planes.into_iter().map(|shape| Channels::new(&shape, shape[1]));
        let blocks = blocks.into_iter().map(|[n, b, plane]| Channels::new(&[n, b, plane, LANES], b * LANES));
        planes.chain(blocks).map(|shape| shape.expect("values"))
    }

    /// Values of a channel.
    fn of_channel(x: &[f32], channel: usize, shape: &Channels) -> Vec<f32> {
        let place = |image: usize, pixel: usize| match shape.order {
            Order::Planes => (image * shape.channels + channel) * shape.plane + pixel,
            Order::Blocks => {
                let block = image * shape.channels / LANES + channel / LANES;
                (block * shape.plane + pixel) * LANES + channel % LANES
            }
        };
        let pixels = |image| (0..shape.plane).map(move |pixel| (image, pixel));
        (0..shape.images).flat_map(pixels).map(|(image, pixel)| x[place(image, pixel)]).collect()
    }

    fn parameters(channels: usize) -> (Vec<f32>, Vec<f32>) {
        (noise(channels, 7), noise(channels, 8))
    }

    #[test]
    fn statistics_match_a_hand_worked_channel() {
        // Channel 0 holds 1, 3, 5, 7; channel 1 holds 0, 0, 2, 2.
        let x = [1.0, 3.0, 0.0, 0.0, 5.0, 7.0, 2.0, 2.0];
        let shape = Channels::new(&[2, 2, 2], 2).unwrap();
        let found = statistics(&x, &shape);
        assert_eq!(found.mean, [4.0, 1.0]);
        assert_eq!(found.variance, [5.0, 1.0]);
    }

    #[test]
    fn the_variance_survives_a_mean_far_from_zero() {
        let x: Vec<f32> = (0..4096).map(|i| 10_000.0 + (i % 2) as f32).collect();
        let found = statistics(&x, &Channels::new(&[4, 1, 1024], 1).unwrap());
        assert_eq!((found.mean[0], found.variance[0]), (10_000.5, 0.25));
    }

    #[test]
    fn a_channel_without_variation_gives_beta() {
        let shape = Channels::new(&[3, 1, 2], 1).unwrap();
        let x = [2.5; 6];
        let found = statistics(&x, &shape);
        let inverse = inverse_deviation(&found.variance, 1e-5);
        let affine = Affine { mean: &found.mean, inverse: &inverse, gamma: &[3.0], beta: &[-0.5] };
        assert_eq!(normalise(&x, affine, false, &shape), [-0.5; 6]);
        assert_eq!(normalise(&x, affine, true, &shape), [0.0; 6]);
    }

    /// The definition, of planes, in f64; with the statistics of `x` if there are no others.
    fn defined(
        [x, gamma, beta]: [&[f64]; 3],
        fixed: Option<&Statistics>,
        relu: bool,
        shape: &Channels,
    ) -> Vec<f64> {
        let channel = |i: usize| i / shape.plane % shape.channels;
        let of_channels: Vec<[f64; 2]> = (0..shape.channels)
            .map(|c| match fixed {
                Some(fixed) => [fixed.mean[c], fixed.variance[c]].map(f64::from),
                None => {
                    let values = || x.iter().enumerate().filter(|(i, _)| channel(*i) == c).map(|(_, x)| x);
                    let count = shape.per_channel() as f64;
                    let mean = values().sum::<f64>() / count;
                    [mean, values().map(|x| (x - mean).powi(2)).sum::<f64>() / count]
                }
            })
            .collect();
        let value = |(i, x): (usize, &f64)| {
            let (c, [mean, variance]) = (channel(i), of_channels[channel(i)]);
            let y = gamma[c] * (x - mean) / (variance + 1e-5).sqrt() + beta[c];
            if relu { y.max(0.0) } else { y }
        };
        x.iter().enumerate().map(value).collect()
    }

    #[test]
    fn gradients_match_finite_differences_with_and_without_the_statistics() {
        for sizes in [[3, 2, 4], [6, 3, 1], [2, 3, 21]] {
            let shape = Channels::new(&sizes, sizes[1]).unwrap();
            let (x, dy) = (noise(shape.len(), 1), noise(shape.len(), 2));
            let (gamma, beta) = parameters(shape.channels);
            let other = statistics(&noise(shape.len(), 3), &shape);
            for (relu, of_batch) in [(false, false), (false, true), (true, false), (true, true)] {
                let fixed = (!of_batch).then_some(&other);
                let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| -> f64 {
                    let y = defined([x, gamma, beta], fixed, relu, &shape);
                    y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum()
                };
                let stats = if of_batch { statistics(&x, &shape) } else { other.clone() };
                let inverse = inverse_deviation(&stats.variance, 1e-5);
                let affine = Affine { mean: &stats.mean, inverse: &inverse, gamma: &gamma, beta: &beta };
                let mut dx = dy.clone();
                let found = gradients(&x, &mut dx, affine, relu, of_batch, &shape);
                let [x64, gamma64, beta64] = [&x, &gamma, &beta].map(|values| widened(values));
                assert_close(&dx, &slopes(&x, |x| loss(x, &gamma64, &beta64)), 1e-5, "dx");
                assert_close(&found.gamma, &slopes(&gamma, |gamma| loss(&x64, gamma, &beta64)), 1e-5, "dγ");
                assert_close(&found.beta, &slopes(&beta, |beta| loss(&x64, &gamma64, beta)), 1e-5, "dβ");
            }
        }
    }

    #[test]
    fn blocks_give_what_planes_give() {
        for shape in shapes().filter(|shape| shape.order == Order::Blocks) {
            let planes = Channels { order: Order::Planes, ..shape };
            let in_blocks = |values: &[f32]| -> Vec<f64> {
                let mut turned = vec![0.0; values.len()];
                for (from, value) in values.iter().enumerate() {
                    let (image, channel) =
                        (from / shape.plane / shape.channels, from / shape.plane % shape.channels);
                    let block = image * shape.channels / LANES + channel / LANES;
                    turned[(block * shape.plane + from % shape.plane) * LANES + channel % LANES] =
                        f64::from(*value);
                }
                turned
            };
            let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|v| *v as f32).collect() };
            let (x, dy) = (noise(shape.len(), 1), noise(shape.len(), 2));
            let (x_blocks, dy_blocks) = (narrow(&in_blocks(&x)), narrow(&in_blocks(&dy)));
            let (gamma, beta) = parameters(shape.channels);
            let (of_planes, of_blocks) = (statistics(&x, &planes), statistics(&x_blocks, &shape));
            assert_close(&of_blocks.mean, &widened(&of_planes.mean), 1e-6, "mean");
            assert_close(&of_blocks.variance, &widened(&of_planes.variance), 1e-5, "variance");
            let inverse = inverse_deviation(&of_planes.variance, 1e-5);
            let affine = Affine { mean: &of_planes.mean, inverse: &inverse, gamma: &gamma, beta: &beta };
            for (relu, of_batch) in [(false, false), (false, true), (true, false), (true, true)] {
                let y = normalise(&x, affine, relu, &planes);
                assert_eq!(normalise(&x_blocks, affine, relu, &shape), narrow(&in_blocks(&y)));
                let (mut wanted_dx, mut found_dx) = (dy.clone(), dy_blocks.clone());
                let wanted = gradients(&x, &mut wanted_dx, affine, relu, of_batch, &planes);
                let found = gradients(&x_blocks, &mut found_dx, affine, relu, of_batch, &shape);
                assert_close(&found_dx, &in_blocks(&wanted_dx), 1e-5, "dx");
                assert_close(&found.gamma, &widened(&wanted.gamma), 1e-5, "dγ");
                assert_close(&found.beta, &widened(&wanted.beta), 1e-5, "dβ");
            }
        }
    }

    #[test]
    fn statistics_match_the_plain_formula_on_many_shapes() {
        for shape in shapes() {
            let x = noise(shape.len(), 4);
            let found = statistics(&x, &shape);
            for c in 0..shape.channels {
                let values = of_channel(&x, c, &shape);
                let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
                let square = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
                assert_close(&found.mean[c..=c], &[mean], 1e-6, "mean");
                assert_close(&found.variance[c..=c], &[square / values.len() as f64], 1e-5, "variance");
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        for shape in shapes() {
            let (x, dy) = (noise(shape.len(), 1), noise(shape.len(), 2));
            let (gamma, beta) = parameters(shape.channels);
            let all = |threads| {
                let mut dx = dy.clone();
                on_threads(threads, || {
                    let stats = statistics(&x, &shape);
                    let inverse = inverse_deviation(&stats.variance, 1e-5);
                    let affine = Affine { mean: &stats.mean, inverse: &inverse, gamma: &gamma, beta: &beta };
                    let gradients = gradients(&x, &mut dx, affine, true, true, &shape);
                    (normalise(&x, affine, true, &shape), gradients, dx)
                })
            };
            let one = all(1);
            assert!(one == all(2) && one == all(4), "{shape:?}");
        }
    }
}
