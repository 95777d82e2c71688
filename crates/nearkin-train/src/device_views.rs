//! Views made on a GPU from images that stay there.
//!
//! The host draws what is random about each view, as it does for views of its own ([`draw_batch`]), and uploads these few
//! numbers; everything else is a batch of tensor operations. Scaling is two products with matrices of the very weights that
//! the CPU uses, and colours are whole numbers in f32, so that the CPU's views come out, up to what a device's products and
//! quotients round differently.
//!
//! [`draw_batch`]: nearkin_data::draw_batch

use std::sync::Arc;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use nearkin_data::{Colour, DataError, Draw, Prepared, Taps, Views};
use rayon::prelude::*;

/// The most bytes of pixels that are kept on a device: CIFAR-10 takes 154 MB, 224-pixel images of ImageNet 190 GB. A GPU that
/// trains anything has more memory than this, and how much it has free cannot be asked through Burn.
pub(crate) const MOST_BYTES: u64 = 2 << 30;

/// Pixels in a word: bytes are no type of every device, 32-bit integers are.
const BYTES: usize = 4;

/// Images on a device, and how views are made of them.
pub(crate) struct DeviceViews {
    device: Device,
    views: Arc<Views>,
    /// `[images, words]`: bytes in the order of `[height, channels, width]`, the lowest first in each word.
    words: Tensor<2, Int>,
    /// The place of each sample among the images.
    places: Vec<Option<i32>>,
    /// Of the largest image; smaller ones lie at the top left.
    height: usize,
    width: usize,
    /// `[1, 1, channels, 1]`
    mean: Tensor<4>,
    std: Tensor<4>,
    /// `[distances, size · size]`: how often each pixel stands at a distance from each, edges reflected.
    reflections: Tensor<2>,
}

impl DeviceViews {
    /// Takes the images of `samples` to `device`, or none if they are more than `most` bytes or the views have operations that are
    /// not written for devices.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub(crate) fn load(
        data: &Prepared,
        samples: &[usize],
        views: Arc<Views>,
        device: &Device,
        most: u64,
    ) -> Result<Option<Self>, DataError> {
        if views.config().only_here() {
            return Ok(None);
        }
        let device = device.clone().inner();
        let (mut width, mut height) = (0, 0);
        for &sample in samples {
            let (w, h) = data.size(sample)?;
            (width, height) = (width.max(w), height.max(h));
        }
        let channels = views.channels();
        let words = (height * channels * width).div_ceil(BYTES);
        if (samples.len() * words * BYTES) as u64 > most {
            return Ok(None);
        }
        let mut pixels = vec![0; samples.len() * words];
        pixels.par_chunks_mut(words).zip(samples).try_for_each(|(words, &sample)| {
            let image = data.image(sample)?;
            let mut bytes = vec![0; words.len() * BYTES];
            for (at, &value) in image.pixels.iter().enumerate() {
                let (pixel, channel) = (at / channels, at % channels);
                let (y, x) = (pixel / image.width, pixel % image.width);
                bytes[(y * channels + channel) * width + x] = value;
            }
            let (of_words, _) = bytes.as_chunks();
            words.iter_mut().zip(of_words).for_each(|(word, bytes)| *word = i32::from_le_bytes(*bytes));
            Ok::<(), DataError>(())
        })?;
        let mut places = vec![None; data.len()];
        (0..).zip(samples).for_each(|(place, &sample)| places[sample] = Some(place));
        let normalize = &views.config().normalize;
        let per_channel = |values: &[f32]| {
            let all: Vec<f32> = (0..channels).map(|c| values[c.min(values.len() - 1)]).collect();
            Tensor::from_data(TensorData::new(all, [1, 1, channels, 1]), &device)
        };
        Ok(Some(Self {
            words: Tensor::from_data(TensorData::new(pixels, [samples.len(), words]), &device),
            mean: per_channel(&normalize.mean),
            std: per_channel(&normalize.std),
            reflections: reflections(views.size(), views.blur_distances(), &device),
            places,
            height,
            width,
            views,
            device,
        }))
    }

    /// The views that `draws` describe, view-major: some of each of `samples`, all of them among those that were loaded.
    ///
    /// # Shapes
    /// `[draws, channels, size, size]`
    pub(crate) fn make(&self, samples: &[usize], draws: &[Draw]) -> Tensor<4> {
        let (count, channels, size) = (draws.len(), self.views.channels(), self.views.size());
        let taps: Vec<[Taps; 2]> = draws.par_iter().map(Draw::taps).collect();
        let down = self.weights(taps.iter().map(|[columns, _]| columns), self.height);
        let along = self.weights(taps.iter().map(|[_, rows]| rows), self.width);
        let x = rounded(down.matmul(self.pixels(samples, count)));
        let x = x.reshape([count, size * channels, self.width]);
        let x = rounded(x.matmul(along.swap_dims(1, 2))).reshape([count, size, channels, size]);
        let x = self.coloured(x, draws);
        let x = (x / 255.0 - self.mean.clone()) / self.std.clone();
        self.blurred(x, draws).swap_dims(1, 2)
    }

    /// `[count, height, channels · width]`
    fn pixels(&self, samples: &[usize], count: usize) -> Tensor<3> {
        let places: Vec<i32> = (0..count)
            .map(|i| {
                self.places[samples[i % samples.len()]].expect("batches hold the samples that were loaded")
            })
            .collect();
        let words =
            self.words.clone().select(0, Tensor::from_data(TensorData::new(places, [count]), &self.device));
        let [_, in_row] = words.dims();
        let byte = |n: usize| words.clone().bitwise_right_shift_scalar(8 * n as i32).bitwise_and_scalar(255);
        let bytes: Tensor<3, Int> = Tensor::stack((0..BYTES).map(byte).collect(), 2);
        let (row, channels) = (in_row * BYTES, self.views.channels());
        let values = self.height * channels * self.width;
        let bytes = bytes.reshape([count, row]).slice([0..count, 0..values]);
        bytes.float().reshape([count, self.height, channels * self.width])
    }

    /// Matrices of weights from taps: `[count, size, len]`.
    fn weights<'a>(&self, taps: impl Iterator<Item = &'a Taps> + Clone, len: usize) -> Tensor<3> {
        let (count, size) = (taps.clone().count(), self.views.size());
        let window = taps.clone().map(Taps::window).max().unwrap_or(1);
        let mut places = Vec::with_capacity(count * size * window);
        let mut weights = Vec::with_capacity(count * size * window);
        for taps in taps {
            for (&start, of_pixel) in taps.starts.iter().zip(taps.weights.chunks(taps.window())) {
                // What lies beyond the row weighs nothing.
                places.extend((0..window).map(|t| (start as usize + t).min(len - 1) as i32));
                weights.extend_from_slice(of_pixel);
                weights.resize(places.len(), 0.0);
            }
        }
        let shape = [count, size, window];
        let places = Tensor::<3, Int>::from_data(TensorData::new(places, shape), &self.device);
        let weights = Tensor::from_data(TensorData::new(weights, shape), &self.device);
        Tensor::zeros([count, size, len], &self.device).scatter(2, places, weights, IndexingUpdateOp::Add)
    }

    /// Jitter and grey, on whole numbers in `[count, size, channels, size]`.
    fn coloured(&self, mut x: Tensor<4>, draws: &[Draw]) -> Tensor<4> {
        let changes: Vec<Changes> = draws.iter().map(Changes::of).collect();
        let of_each = |number: &dyn Fn(&Changes) -> f32| {
            let numbers: Vec<f32> = changes.iter().map(number).collect();
            Tensor::<4>::from_data(TensorData::new(numbers, [changes.len(), 1, 1, 1]), &self.device)
        };
        for slot in 0..SLOTS {
            if slot == BEFORE && changes.iter().any(|c| c.turn != 0.0) {
                x = turned(x, of_each(&|c| c.turn));
            }
            if changes.iter().all(|c| c.blends[slot] == Blend::NONE) {
                continue;
            }
            let luma = luma(x.clone());
            let mut other = luma.clone() * of_each(&|c| c.blends[slot].with_grey);
            if changes.iter().any(|c| c.blends[slot].with_mean != 0.0) {
                let [_, height, _, width] = luma.dims();
                let mean = luma.sum_dim(1).sum_dim(3) / (height * width) as f32;
                other = other + rounded(mean) * of_each(&|c| c.blends[slot].with_mean);
            }
            let factor = of_each(&|c| c.blends[slot].factor);
            // As a cast to a byte: clamped, and cut off.
            x = (other.clone() + (x - other) * factor).clamp(0.0, 255.0).floor();
        }
        x
    }

    /// Blurs `[count, size, channels, size]` along rows and columns.
    fn blurred(&self, x: Tensor<4>, draws: &[Draw]) -> Tensor<4> {
        if draws.iter().all(|draw| draw.blur.is_none()) {
            return x;
        }
        let [count, size, channels, _] = x.dims();
        let weights: Vec<f32> = draws.iter().flat_map(Draw::blur_weights).collect();
        let shape = [count, weights.len() / count];
        let weights = Tensor::<2>::from_data(TensorData::new(weights, shape), &self.device);
        let weights: Tensor<3> = weights.matmul(self.reflections.clone()).reshape([count, size, size]);
        let x = x.reshape([count, size * channels, size]).matmul(weights.clone().swap_dims(1, 2));
        weights.matmul(x.reshape([count, size, channels * size])).reshape([count, size, channels, size])
    }
}

/// To the nearest whole number, halves up, as the sums of [`Taps`] are.
fn rounded<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    (x + 0.5).floor()
}

/// Grey of `[count, size, channels, size]`, ITU-R 601 in 16-bit fixed point: sums stay below 2²⁴, so they are exact.
fn luma(x: Tensor<4>) -> Tensor<4> {
    let [_, _, channels, _] = x.dims();
    if channels == 1 {
        return x;
    }
    let [r, g, b] = split(x);
    ((r * 19_595.0 + g * 38_470.0 + b * 7_471.0 + 32_768.0) / 65_536.0).floor()
}

/// Red, green and blue of `[count, size, 3, size]`.
fn split(x: Tensor<4>) -> [Tensor<4>; 3] {
    [0, 1, 2].map(|channel| x.clone().narrow(2, channel, 1))
}

/// Colour changes that a view may have before its hue is turned, and after.
const BEFORE: usize = 3;
/// Brightness, contrast and saturation, each before or after the turn, and grey at the end.
const SLOTS: usize = 2 * BEFORE + 1;

/// What happens to the colours of one view, in places that all views share.
struct Changes {
    blends: [Blend; SLOTS],
    /// Steps of hue of the colour circle's 255.
    turn: f32,
}

/// `other + factor · (x − other)`
#[derive(Clone, Copy, PartialEq)]
struct Blend {
    factor: f32,
    /// The other is this times the mean of the grey, plus that times the grey.
    with_mean: f32,
    with_grey: f32,
}

impl Blend {
    /// Changes nothing.
    const NONE: Self = Self { factor: 1.0, with_mean: 0.0, with_grey: 0.0 };
}

impl Changes {
    fn of(draw: &Draw) -> Self {
        let mut changes = Self { blends: [Blend::NONE; SLOTS], turn: 0.0 };
        let mut slot = 0;
        for colour in draw.colours.iter().flatten() {
            let blend = match *colour {
                Colour::Hue(steps) => {
                    changes.turn = steps.into();
                    slot = BEFORE;
                    continue;
                }
                Colour::Brightness(factor) => Blend { factor, ..Blend::NONE },
                Colour::Contrast(factor) => Blend { factor, with_mean: 1.0, ..Blend::NONE },
                Colour::Saturation(factor) => Blend { factor, with_grey: 1.0, ..Blend::NONE },
            };
            changes.blends[slot] = blend;
            slot += 1;
        }
        if draw.grey {
            changes.blends[SLOTS - 1] = Blend { factor: 0.0, with_grey: 1.0, with_mean: 0.0 };
        }
        changes
    }
}

/// Turns the hues of `[count, size, 3, size]` by `[count, 1, 1, 1]` steps of 255, by Pillow's HSV as the CPU's views do.
fn turned(x: Tensor<4>, steps: Tensor<4>) -> Tensor<4> {
    let [r, g, b] = split(x.clone());
    let value = x.clone().max_dim(2);
    let range = value.clone() - x.clone().min_dim(2);
    // Grey has no hue, and a turn by nothing changes nothing.
    let still = (range.clone() * steps.clone()).equal_elem(0.0);
    let range = range.mask_fill(still.clone(), 1.0);
    let (red, green) = (r.clone().equal(value.clone()), g.clone().equal(value.clone()));
    let around = (range.clone() * 4.0 + r.clone() - g.clone())
        .mask_where(green, range.clone() * 2.0 + b.clone() - r)
        .mask_where(red, g - b);
    let below = around.clone().lower_elem(0.0);
    let around = around.clone().mask_where(below, around + range.clone() * 6.0);
    let hue = (around * 255.0 / (range.clone() * 6.0)).floor() + steps;
    let whole = value.clone().mask_fill(value.clone().equal_elem(0.0), 1.0);
    let saturation = (range * 255.0 / whole).floor();

    let beyond = hue.clone().greater_elem(255.0);
    let hue = hue.clone().mask_where(beyond, hue - 256.0);
    let sixths = hue * 6.0 / 255.0;
    let sector = sixths.clone().floor();
    let place = sixths - sector.clone();
    let depth = value.clone() * (saturation / 255.0);
    let lowest = rounded(value.clone() - depth.clone());
    let falling = rounded(value.clone() - depth.clone() * place.clone());
    let rising = rounded(value.clone() - depth * (-place + 1.0));
    // Which of these each channel takes in the six parts of the circle; its end is its beginning.
    let shades = [value, lowest, falling, rising];
    let channel = |of_sector: [usize; 7]| {
        let mut chosen = shades[of_sector[0]].clone();
        for (number, shade) in (1..7).zip(&of_sector[1..]) {
            chosen = chosen.mask_where(sector.clone().equal_elem(number as f32), shades[*shade].clone());
        }
        chosen
    };
    let turned = Tensor::cat(
        vec![channel([0, 2, 1, 1, 3, 0, 0]), channel([3, 0, 0, 2, 1, 1, 3]), channel([1, 1, 3, 0, 0, 2, 1])],
        2,
    );
    turned.mask_where(still.expand(x.dims()), x)
}

/// See [`DeviceViews::reflections`].
fn reflections(size: usize, distances: usize, device: &Device) -> Tensor<2> {
    let mut counts = vec![0.0f32; distances * size * size];
    let last = size - 1;
    for (distance, counts) in counts.chunks_exact_mut(size * size).enumerate() {
        for (at, row) in counts.chunks_exact_mut(size).enumerate() {
            row[at.abs_diff(distance)] += 1.0;
            if distance > 0 {
                row[last - last.abs_diff(at + distance)] += 1.0;
            }
        }
    }
    Tensor::from_data(TensorData::new(counts, [distances, size * size]), device)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::devices::device;
    use nearkin_data::random::{Purpose, stream, uniform};
    use nearkin_data::{
        Blur, Crop, Dataset, Jitter, Loader, Normalize, PrepareOptions, ViewConfig, draw_batch,
    };
    use std::path::Path;

    /// A 24-bit BMP whose colours are random, or all alike.
    fn bmp(path: &Path, width: usize, height: usize, seed: u64) {
        let row = (width * 3).next_multiple_of(4);
        let mut file = b"BM".to_vec();
        for number in [54 + row * height, 0, 54, 40, width, height] {
            file.extend((number as u32).to_le_bytes());
        }
        file.extend([1, 0, 24, 0]);
        file.extend([0; 24]);
        let mut rng = stream(seed, 0, 0, 0, Purpose::Init);
        for _ in 0..row * height {
            file.push(if seed % 7 == 3 { 130 } else { (uniform(&mut rng) * 256.0) as u8 });
        }
        std::fs::write(path, file).unwrap();
    }

    /// Twenty images of many shapes.
    pub(crate) fn images(folder: &Path) -> Dataset {
        for (i, (width, height)) in
            [(30, 20), (20, 30), (24, 24), (9, 9), (61, 40), (16, 33), (1, 5), (40, 24), (32, 32), (25, 70)]
                .into_iter()
                .cycle()
                .take(20)
                .enumerate()
        {
            bmp(&folder.join(format!("{i:02}.bmp")), width, height, i as u64);
        }
        Dataset::open(folder).unwrap()
    }

    /// These, shrunk to a shorter side of at most 24.
    fn prepared(folder: &Path, channels: usize) -> Prepared {
        let dataset = images(folder);
        Prepared::prepare(&dataset, &PrepareOptions::new(channels, 24), &mut |_, _| {}).unwrap()
    }

    /// The same batches here and on the device: the largest difference in steps of 255, and how many values differ by more
    /// than a thousandth of one.
    fn differences(data: &Arc<Prepared>, config: &ViewConfig, size: usize) -> (f32, usize) {
        let device = device(if cfg!(feature = "wgpu") { "wgpu" } else { "cpu" }).unwrap();
        let views = Arc::new(Views::new(config, size, data.image(0).unwrap().channels).unwrap());
        let twice = vec![Arc::clone(&views); 2];
        // Sample 4 comes twice, and is not loaded as the fourth.
        let batches = vec![vec![4, 3, 2, 4, 11, 12, 13, 14], (2..20).collect()];
        let loaded: Vec<usize> = (2..20).collect();
        let there =
            DeviceViews::load(data, &loaded, Arc::clone(&views), &device, MOST_BYTES).unwrap().unwrap();
        let scale: Vec<f32> = config.normalize.std.iter().map(|std| 255.0 * std).collect();
        let (mut most, mut many) = (0.0f32, 0);
        for epoch in 0..12 {
            let loader =
                Loader::start(Arc::clone(data), twice.clone(), batches.clone(), 5, epoch, 0, 2, 2).unwrap();
            for batch in loader {
                let batch = batch.unwrap();
                let draws = draw_batch(data, &twice, &batch.samples, 5, epoch).unwrap();
                let found = there.make(&batch.samples, &draws);
                let crops = &batch.crops[0];
                assert_eq!(found.dims(), crops.shape);
                let found: Vec<f32> = found.into_data().try_to_vec().unwrap();
                for (at, (a, b)) in found.iter().zip(&crops.pixels).enumerate() {
                    let channel = at / (size * size) % crops.shape[1];
                    let off = (a - b).abs() * scale[channel.min(scale.len() - 1)];
                    assert!(off.is_finite());
                    most = most.max(off);
                    many += usize::from(off > 1e-3);
                }
            }
        }
        (most, many)
    }

    #[test]
    fn every_view_is_the_cpus_to_a_thousandth_of_a_grey_level() {
        let normalize = Normalize { mean: vec![0.4, 0.5, 0.6], std: vec![0.2, 0.25, 0.3] };
        let jitter = |brightness, contrast, saturation, hue| {
            Some(Jitter { brightness, contrast, saturation, hue, probability: 0.9 })
        };
        let plain = ViewConfig::default();
        let blur = Blur { sigma: [0.1, 2.0], probability: 0.7 };
        let configs = [
            ("centre", plain.clone()),
            ("whole", ViewConfig { crop: Crop::None {}, ..plain.clone() }),
            ("padded", ViewConfig { crop: Crop::Padded { pixels: 4 }, flip: 0.5, ..plain.clone() }),
            ("resized", ViewConfig { crop: ViewConfig::simclr(1.0).crop, flip: 0.5, ..plain.clone() }),
            ("brightness", ViewConfig { jitter: jitter(0.8, 0.0, 0.0, 0.0), ..plain.clone() }),
            ("contrast", ViewConfig { jitter: jitter(0.0, 0.8, 0.0, 0.0), ..plain.clone() }),
            ("saturation", ViewConfig { jitter: jitter(0.0, 0.0, 0.8, 0.0), ..plain.clone() }),
            ("hue", ViewConfig { jitter: jitter(0.0, 0.0, 0.0, 0.5), ..plain.clone() }),
            ("grey", ViewConfig { grey: 0.5, ..plain.clone() }),
            ("blur", ViewConfig { blur: Some(blur), ..plain.clone() }),
            ("SimCLR's", ViewConfig::simclr(0.5)),
            ("SimCLR's, strong", ViewConfig { normalize, ..ViewConfig::simclr(1.0) }),
        ];
        let folder = tempfile::tempdir().unwrap();
        let data = Arc::new(prepared(folder.path(), 3));
        for (name, config) in &configs {
            for size in [16, 45] {
                assert_eq!(differences(&data, config, size).1, 0, "{name}, {size} pixels");
            }
        }
        let grey = Arc::new(prepared(folder.path(), 1));
        for (name, config) in configs.iter().filter(|(_, config)| config.normalize.mean.len() == 1) {
            assert_eq!(differences(&grey, config, 16).1, 0, "{name}, one channel");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let data = prepared(folder.path(), 3);
        let views = Arc::new(Views::new(&ViewConfig::default(), 16, 3).unwrap());
        // The largest sides are 48 and 48, cut at twice the shorter one.
        let all: Vec<usize> = (0..data.len()).collect();
        let (width, height) =
            all.iter().map(|&i| data.size(i).unwrap()).fold((0, 0), |(w, h), (x, y)| (w.max(x), h.max(y)));
        let bytes = (data.len() * width * height * 3) as u64;
        let load = |most| DeviceViews::load(&data, &all, Arc::clone(&views), &Device::flex(), most).unwrap();
        assert!(load(bytes).is_some() && load(bytes - 1).is_none());
    }
}
