//! Seed patches: parts of images in which something is to be seen.
//!
//! A. Dosovitskiy, J. T. Springenberg, M. Riedmiller, T. Brox, "Discriminative Unsupervised Feature Learning with Convolutional Neural
//! Networks", 2014: patches at varying positions and scales, from regions of considerable gradients.

use rand::Rng;
use rayon::prelude::*;

use crate::attributes::Attributes;
use crate::dataset::{Block, Content, Dataset, Kind, Media, Sample, Source};
use crate::error::DataError;
use crate::image::{Image, luma};
use crate::prepare::{PrepareOptions, Prepared};
use crate::random::{Purpose, below, stream, uniform, uniform_between};

/// Parts of an image that are proposed for each patch.
const PROPOSED: usize = 16;

/// How many patches are cut, and how large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patches {
    /// N: patch `c` is of image `⌊c n / N⌋` of `n`, so that images are taken evenly, some of them more than once if there are fewer.
    pub count: usize,
    /// Smallest and largest side of a patch, as shares of the image's shorter side, in (0, 1].
    pub side: [f32; 2],
}

impl Patches {
    /// Whether the settings are within their ranges.
    ///
    /// # Errors
    /// [`DataError::Setting`], which names the one that is not.
    pub fn check(&self) -> Result<(), DataError> {
        let [low, high] = self.side;
        if self.count == 0 {
            return Err(DataError::setting("patches", 0, "at least 1"));
        }
        if !(0.0 < low && low <= high && high <= 1.0) {
            let wanted = "[low, high] with 0 < low <= high <= 1";
            return Err(DataError::setting("patch", format!("[{low}, {high}]"), wanted));
        }
        Ok(())
    }
}

impl Prepared {
    /// Square patches of these images as samples of their own, kept as `options` keep images.
    ///
    /// For each patch 16 parts are proposed, their sides and places drawn evenly, and one of them is drawn with a probability
    /// proportional to its mean squared gradient, by central differences of the grey. What is drawn is a function of the seed, the
    /// image's index in the data set that was opened, and which of the image's patches it is: the same on any number of threads.
    ///
    /// A patch has its image's class, split and file, and its id with the number of the patch behind, as in `train/7#0`. What was
    /// skipped stays skipped.
    ///
    /// # Errors
    /// [`DataError::Setting`] for settings out of range, and for patches that take more memory than the options' budget;
    /// [`DataError::Spill`] if an image cannot be read.
    pub fn patches(&self, patches: Patches, options: &PrepareOptions, seed: u64) -> Result<Self, DataError> {
        patches.check()?;
        let (images, count) = (self.len(), patches.count);
        let image_of = |patch: usize| patch * images / count;
        let cut = |patch: usize| {
            let of = image_of(patch);
            // The first patch of an image is the least c with ⌊c n / N⌋ = image.
            let number = patch - (of * count).div_ceil(images);
            let image = self.image(of)?;
            let mut rng = stream(seed, 0, self.dataset.origin(of) as u64, number as u32, Purpose::Patches);
            let part = Part::choose(&image, patches.side, &mut rng);
            Ok((number, options.apply(part.cut(&image))?))
        };
        let (mut samples, mut blocks, mut bytes) = (Vec::new(), Vec::new(), 0);
        let group = 64 * rayon::current_num_threads();
        for first in (0..count).step_by(group) {
            let made: Vec<Result<(usize, Image), DataError>> =
                (first..(first + group).min(count)).into_par_iter().map(cut).collect();
            for (patch, made) in (first..).zip(made) {
                let (number, Image { width, height, channels, pixels }) = made?;
                bytes += pixels.len() as u64;
                if bytes > options.memory_budget {
                    let wanted = format!(
                        "fewer or smaller patches: {} bytes of memory hold {patch}",
                        options.memory_budget
                    );
                    return Err(DataError::setting("patches", count, wanted));
                }
                let sample = self.dataset.sample(image_of(patch));
                samples.push(Sample { id: format!("{}#{number}", sample.id), ..sample.clone() });
                blocks.push(Block { width, height, channels, pixels });
            }
        }
        let dataset = Dataset::of(Source {
            kind: Kind::Memory,
            media: Media::Images,
            path: self.dataset.path().to_owned(),
            samples,
            classes: self.dataset.classes().to_vec(),
            content: Content::Blocks { rows: (0..count as u32).map(|patch| (patch, 0)).collect(), blocks },
            attributes: Attributes::default(),
            warnings: self.dataset.warnings().to_vec(),
        });
        // They are as the options want them: nothing is copied.
        let mut prepared = Self::prepare(&dataset, options, &mut |_, _| {})?;
        prepared.skipped.clone_from(&self.skipped);
        Ok(prepared)
    }
}

/// A square of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    left: usize,
    top: usize,
    side: usize,
}

impl Part {
    /// One of [`PROPOSED`], the likelier the more gradient it holds; in an image without any, the first.
    fn choose(image: &Image, side: [f32; 2], rng: &mut impl Rng) -> Self {
        let gradient = Gradient::of(image);
        let proposed: [Self; PROPOSED] = std::array::from_fn(|_| Self::propose(image, side, rng));
        let energies = proposed.map(|part| gradient.mean_square(part));
        let mut left = f64::from(uniform(rng)) * energies.iter().sum::<f64>();
        let chosen = energies.iter().position(|energy| {
            left -= energy;
            left < 0.0
        });
        proposed[chosen.unwrap_or(0)]
    }

    fn propose(image: &Image, [low, high]: [f32; 2], rng: &mut impl Rng) -> Self {
        let shorter = image.width.min(image.height);
        let share = uniform_between(rng, low, high);
        let side = ((share * shorter as f32).round() as usize).clamp(1, shorter);
        let (left, top) = (below(rng, image.width - side + 1), below(rng, image.height - side + 1));
        Self { left, top, side }
    }

    fn cut(self, image: &Image) -> Image {
        let Self { left, top, side } = self;
        let rows = image.pixels.chunks_exact(image.width * image.channels).skip(top).take(side);
        let pixels = rows
            .flat_map(|row| &row[left * image.channels..(left + side) * image.channels])
            .copied()
            .collect();
        Image { width: side, height: side, channels: image.channels, pixels }
    }
}

/// Sums of the squared gradient over all that is above and to the left of each corner of a pixel: any rectangle is four of them.
struct Gradient {
    sums: Vec<u64>,
    /// Corners in a row.
    stride: usize,
}

impl Gradient {
    /// By central differences of the grey, one-sided at the edges: in whole numbers, so sums are exact.
    fn of(image: &Image) -> Self {
        let (width, height) = (image.width, image.height);
        let grey: Vec<u8> = match image.channels {
            1 => image.pixels.clone(),
            _ => image.pixels.as_chunks::<3>().0.iter().map(|[r, g, b]| luma(*r, *g, *b)).collect(),
        };
        let stride = width + 1;
        let mut sums = vec![0; stride * (height + 1)];
        for y in 0..height {
            let [above, below] = [y.saturating_sub(1), (y + 1).min(height - 1)];
            let mut of_row = 0;
            for x in 0..width {
                let [before, after] = [x.saturating_sub(1), (x + 1).min(width - 1)];
                let across = grey[y * width + before].abs_diff(grey[y * width + after]);
                let down = grey[above * width + x].abs_diff(grey[below * width + x]);
                of_row += u64::from(across).pow(2) + u64::from(down).pow(2);
                sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + of_row;
            }
        }
        Self { sums, stride }
    }

    fn mean_square(&self, Part { left, top, side }: Part) -> f64 {
        let at = |x: usize, y: usize| self.sums[y * self.stride + x];
        let (right, bottom) = (left + side, top + side);
        let sum = at(right, bottom) + at(left, top) - at(right, top) - at(left, bottom);
        sum as f64 / (side * side) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flat on the left, noise on the right.
    fn half_noisy(width: usize, height: usize, channels: usize, seed: u64) -> Image {
        let mut rng = stream(seed, 0, 0, 0, Purpose::Init);
        let pixels = (0..width * height * channels).map(|at| {
            let noise = (uniform(&mut rng) * 256.0) as u8;
            if at / channels % width < width / 2 { 90 } else { noise }
        });
        Image::new(width, height, channels, pixels.collect()).unwrap()
    }

    fn set(images: Vec<Image>) -> Prepared {
        let sample =
            |i| Sample { id: format!("image/{i}"), path: None, label: Some(i as u32 % 2), split: None };
        let samples = (0..images.len()).map(sample).collect();
        let classes = vec!["a".into(), "b".into()];
        let set = Dataset::in_memory("made", samples, images, classes, Attributes::default()).unwrap();
        Prepared::prepare(&set, &PrepareOptions::new(3, 40), &mut |_, _| {}).unwrap()
    }

    fn noisy_set(count: u64) -> Prepared {
        set((0..count).map(|seed| half_noisy(40, 30, 3, seed)).collect())
    }

    #[test]
    fn sums_over_rectangles_are_those_of_the_gradient_pixel_by_pixel() {
        let image = half_noisy(7, 5, 1, 3);
        let gradient = Gradient::of(&image);
        let at = |x: usize, y: usize| f64::from(image.pixels[y * 7 + x]);
        for part in [
            Part { left: 0, top: 0, side: 5 },
            Part { left: 3, top: 1, side: 2 },
            Part { left: 6, top: 4, side: 1 },
        ] {
            let mut sum = 0.0;
            for y in part.top..part.top + part.side {
                for x in part.left..part.left + part.side {
                    let across = at((x + 1).min(6), y) - at(x.saturating_sub(1), y);
                    let down = at(x, (y + 1).min(4)) - at(x, y.saturating_sub(1));
                    sum += across * across + down * down;
                }
            }
            assert_eq!(gradient.mean_square(part), sum / (part.side * part.side) as f64);
        }
    }

    #[test]
    fn patches_lie_where_the_gradient_is_as_often_as_it_says() {
        let image = half_noisy(40, 20, 3, 1);
        let gradient = Gradient::of(&image);
        let (mut found, mut wanted) = (0.0, 0.0);
        for number in 0..2000 {
            let mut rng = stream(7, 0, 0, number, Purpose::Patches);
            let mut draws = rng.clone();
            let chosen = Part::choose(&image, [0.2, 0.5], &mut rng);
            found += f64::from(u8::from(chosen.left >= 20)) / 2000.0;
            let proposed: Vec<Part> =
                (0..PROPOSED).map(|_| Part::propose(&image, [0.2, 0.5], &mut draws)).collect();
            let energy = |part: &&Part| gradient.mean_square(**part);
            let all: f64 = proposed.iter().map(|part| energy(&part)).sum();
            let right: f64 = proposed.iter().filter(|part| part.left >= 20).map(|part| energy(&part)).sum();
            wanted += right / all / 2000.0;
        }
        assert!((found - wanted).abs() < 0.03 && wanted > 0.6, "{found} for {wanted}");
    }

    #[test]
    fn a_patch_is_a_part_of_its_image_and_has_its_class() {
        let prepared = noisy_set(5);
        let made = prepared
            .patches(Patches { count: 12, side: [0.3, 0.6] }, &PrepareOptions::new(3, 40), 4)
            .unwrap();
        let of: Vec<usize> = (0..12).map(|c| c * 5 / 12).collect();
        let mut numbers = [0; 5];
        for (patch, &image) in of.iter().enumerate() {
            let sample = made.dataset.sample(patch);
            assert_eq!(sample.id, format!("image/{image}#{}", numbers[image]));
            assert_eq!(sample.label, Some(image as u32 % 2));
            assert_eq!(made.dataset.origin(patch), patch);
            numbers[image] += 1;
            let (whole, found) = (prepared.image(image).unwrap(), made.image(patch).unwrap());
            assert!(found.width == found.height && (9..=18).contains(&found.width));
            let parts = (0..=whole.height - found.height)
                .flat_map(|top| (0..=whole.width - found.width).map(move |left| (left, top)));
            let side = found.width;
            assert!(parts.into_iter().any(|(left, top)| Part { left, top, side }.cut(&whole) == found));
        }
        let distinct: Vec<Vec<u8>> = (0..12).map(|patch| made.image(patch).unwrap().pixels).collect();
        assert!((1..12).all(|i| !distinct[..i].contains(&distinct[i])));
    }

    #[test]
    fn patches_are_the_same_on_any_number_of_threads_and_of_another_seed_others() {
        let prepared = noisy_set(6);
        let pixels = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let patches = Patches { count: 200, side: [0.3, 1.0] };
                let made = prepared.patches(patches, &PrepareOptions::new(3, 40), seed).unwrap();
                (0..200).map(|patch| made.image(patch).unwrap()).collect::<Vec<_>>()
            })
        };
        assert_eq!(pixels(1, 4), pixels(3, 4));
        assert_ne!(pixels(1, 4), pixels(1, 5));
    }

    #[test]
    fn flat_and_tiny_images_have_patches_too() {
        let images = vec![half_noisy(1, 1, 3, 0), Image::new(6, 5, 3, vec![9; 90]).unwrap()];
        let made = set(images)
            .patches(Patches { count: 4, side: [0.5, 1.0] }, &PrepareOptions::new(3, 40), 1)
            .unwrap();
        assert_eq!(made.len(), 4);
        assert!(made.image(3).unwrap().pixels.iter().all(|&value| value == 9));
    }

    #[test]
    fn large_patches_shrink_and_what_does_not_fit_is_refused() {
        let options = PrepareOptions::new(3, 8);
        let prepared = noisy_set(2);
        let made = prepared.patches(Patches { count: 2, side: [1.0, 1.0] }, &options, 1).unwrap();
        assert_eq!(made.size(0).unwrap(), (8, 8));
        let refused = |patches, options: &PrepareOptions| {
            prepared.patches(patches, options, 1).err().unwrap().to_string()
        };
        let tight = PrepareOptions { memory_budget: 8 * 8 * 3 * 5, ..options.clone() };
        let said = refused(Patches { count: 6, side: [1.0, 1.0] }, &tight);
        assert!(said.contains("patches: found 6") && said.contains("hold 5"), "{said}");
        for side in [[0.0, 0.5], [0.6, 0.5], [0.5, 1.1], [f32::NAN, 0.5]] {
            assert!(refused(Patches { count: 6, side }, &options).starts_with("patch: found ["));
        }
        assert!(refused(Patches { count: 0, side: [0.5, 1.0] }, &options).starts_with("patches: found 0"));
    }
}
