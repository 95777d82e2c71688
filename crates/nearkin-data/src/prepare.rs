//! Decode once, keep small, augment often.

use std::fmt;
use std::path::PathBuf;

use fast_image_resize::Resizer;
use rayon::prelude::*;

use crate::dataset::Dataset;
use crate::decode::Limits;
use crate::error::DataError;
use crate::image::Image;
use crate::resize::{CropBox, resize};
use crate::store::{Store, StoreWriter};

/// The most broken samples that an error lists.
const MOST_LISTED: usize = 10;

/// The long side kept, as a multiple of the short one: a panorama's ends are cut off rather than
/// stored, since no crop of a usual aspect ratio needs them all.
const LONGEST: usize = 2;

/// How to prepare a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareOptions {
    /// Channels to convert to: 1 (ITU-R 601 luma) or 3.
    pub channels: usize,
    /// The longest that the shorter side of a stored image may be, in pixels; at least 1. Larger
    /// images shrink to it, smaller ones stay.
    pub side: usize,
    /// Bytes of pixels to keep in memory; the rest goes to the spill file.
    pub memory_budget: u64,
    /// The folder for the spill file, which is made only when needed and never outlives the process.
    pub spill_dir: PathBuf,
    /// The part of the images, 0 to 1, that may be broken and is skipped; one broken image is always
    /// allowed.
    pub max_skipped_fraction: f64,
    /// Images with more pixels (width × height) than this count as broken.
    pub max_pixels: u64,
}

impl PrepareOptions {
    /// Options with the defaults: 4 GiB of memory, the system's temporary folder, 5 % broken images,
    /// and the pixel limit of [`Limits::default`].
    #[must_use]
    pub fn new(channels: usize, side: usize) -> Self {
        Self {
            channels,
            side,
            memory_budget: 4 << 30,
            spill_dir: std::env::temp_dir(),
            max_skipped_fraction: 0.05,
            max_pixels: Limits::default().max_pixels,
        }
    }

    /// One image as [`Prepared::prepare`] would keep it, so that a sample has the same pixels wherever it comes from.
    ///
    /// # Errors
    /// [`DataError::Setting`] for options out of range, [`DataError::Shape`] for an image whose fields contradict each other.
    pub fn apply(&self, image: Image) -> Result<Image, DataError> {
        self.check()?;
        image.check()?;
        shrink(&mut Resizer::new(), image, self.channels, self.side)
    }

    fn check(&self) -> Result<(), DataError> {
        if !matches!(self.channels, 1 | 3) {
            return Err(DataError::setting("channels", self.channels, "1 or 3"));
        }
        if self.side == 0 {
            return Err(DataError::setting("side", 0, "at least 1"));
        }
        if !(0.0..=1.0).contains(&self.max_skipped_fraction) {
            return Err(DataError::setting("max_skipped_fraction", self.max_skipped_fraction, "0 to 1"));
        }
        if self.max_pixels == 0 {
            return Err(DataError::setting("max_pixels", 0, "at least 1"));
        }
        Ok(())
    }
}

/// A sample that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The image file, or the sample's id where a file holds many.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// A data set whose pixels are decoded, small, of one channel count, and at hand.
pub struct Prepared {
    /// The good samples; image i of this is image i of [`Prepared::image`].
    pub dataset: Dataset,
    /// The broken ones, in order.
    pub skipped: Vec<Skipped>,
    channels: usize,
    pixels: Pixels,
}

enum Pixels {
    /// The source's own pixels are as wanted already: nothing is copied.
    Source,
    Store(Store),
}

impl Prepared {
    /// Decodes every image in parallel, converts its channels, shrinks it, and keeps it.
    ///
    /// `progress` is called with (done, total) after every group of images, from this thread. The
    /// result does not depend on the number of threads. A set that is in memory in the wanted form
    /// (MNIST, CIFAR) is shared rather than copied.
    ///
    /// # Errors
    /// [`DataError::Setting`] for options out of range, [`DataError::TooManyBroken`] with the first
    /// ten broken images as soon as there are too many, [`DataError::Empty`] if none is left,
    /// [`DataError::Spill`] if the spill file cannot be written.
    pub fn prepare(
        dataset: &Dataset,
        options: &PrepareOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        options.check()?;
        let total = dataset.len();
        let kept_as_is = |&(width, height, channels): &(usize, usize, usize)| {
            let (short, long) = (width.min(height), width.max(height));
            channels == options.channels && short <= options.side && long <= LONGEST * short
        };
        if let Some(shapes) = dataset.shapes_in_memory()
            && shapes.iter().all(kept_as_is)
        {
            progress(total, total);
            let (dataset, skipped) = (dataset.clone(), Vec::new());
            return Ok(Self { dataset, skipped, channels: options.channels, pixels: Pixels::Source });
        }

        let limits = Limits { max_pixels: options.max_pixels };
        let mut store = StoreWriter::new(options.memory_budget, &options.spill_dir);
        let decode = |resizer: &mut Resizer, i| {
            shrink(resizer, dataset.image_within(i, limits)?, options.channels, options.side)
        };
        let keep = |image: Image| store.push([image.width, image.height], image.pixels);
        let (good, skipped) =
            keep_good(dataset, options.max_skipped_fraction, Resizer::new, decode, keep, progress)?;
        Ok(Self {
            dataset: dataset.subset(&good),
            skipped,
            channels: options.channels,
            pixels: Pixels::Store(store.finish()?),
        })
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dataset.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dataset.is_empty()
    }

    /// The prepared image of sample `i`.
    ///
    /// # Errors
    /// [`DataError::Index`], or [`DataError::Spill`] if the spill file cannot be read.
    pub fn image(&self, i: usize) -> Result<Image, DataError> {
        match &self.pixels {
            Pixels::Source => self.dataset.image(i),
            Pixels::Store(store) => {
                let ([width, height], pixels) = (store.size(i)?, store.bytes(i)?);
                Ok(Image { width, height, channels: self.channels, pixels })
            }
        }
    }

    /// Width and height of the prepared image of sample `i`, which is not read for it.
    ///
    /// # Errors
    /// [`DataError::Index`].
    pub fn size(&self, i: usize) -> Result<(usize, usize), DataError> {
        match &self.pixels {
            Pixels::Source if i >= self.len() => Err(DataError::Index { index: i, len: self.len() }),
            // These are in memory, so a probe only looks the numbers up.
            Pixels::Source => self.dataset.probe(i).map(|(width, height, _)| (width, height)),
            Pixels::Store(store) => store.size(i).map(|[width, height]| (width, height)),
        }
    }

    /// Bytes of pixels, in memory and on disk together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.pixels {
            Pixels::Source => self.dataset.bytes_in_memory(),
            Pixels::Store(store) => store.in_memory() + store.on_disk(),
        }
    }

    /// The part of [`Prepared::bytes`] that lies in the spill file.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        match &self.pixels {
            Pixels::Source => 0,
            Pixels::Store(store) => store.on_disk(),
        }
    }
}

/// Decodes every sample in parallel and keeps those that are whole, in order; their numbers, and what was skipped. `decode` has
/// something that its thread uses again.
pub(crate) fn keep_good<T: Send, S>(
    dataset: &Dataset,
    max_skipped_fraction: f64,
    scratch: impl Fn() -> S + Sync + Send,
    decode: impl Fn(&mut S, usize) -> Result<T, DataError> + Sync + Send,
    mut keep: impl FnMut(T) -> Result<(), DataError>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Vec<usize>, Vec<Skipped>), DataError> {
    let (total, media) = (dataset.len(), dataset.media());
    let allowed = ((total as f64 * max_skipped_fraction) as usize).max(1);
    let (mut good, mut skipped) = (Vec::with_capacity(total), Vec::new());
    let group = 32 * rayon::current_num_threads();
    for first in (0..total).step_by(group) {
        let last = (first + group).min(total);
        let decoded: Vec<Result<T, DataError>> =
            (first..last).into_par_iter().map_init(&scratch, &decode).collect();
        for (i, sample) in (first..last).zip(decoded) {
            match sample {
                Ok(sample) => {
                    keep(sample)?;
                    good.push(i);
                }
                Err(error) => {
                    skipped.push(skip(dataset, i, error));
                    if skipped.len() > allowed {
                        skipped.truncate(MOST_LISTED);
                        let looked_at = i + 1;
                        return Err(DataError::TooManyBroken {
                            media,
                            allowed,
                            looked_at,
                            total,
                            first: skipped,
                        });
                    }
                }
            }
        }
        progress(last, total);
    }
    if good.is_empty() {
        let found = match skipped.first() {
            Some(skipped) => format!("all {media} are broken; the first: {skipped}"),
            None => "0 samples to prepare".into(),
        };
        return Err(DataError::Empty { path: dataset.path().to_owned(), found });
    }
    Ok((good, skipped))
}

fn skip(dataset: &Dataset, i: usize, error: DataError) -> Skipped {
    let sample = dataset.sample(i);
    let path = sample.path.clone().unwrap_or_else(|| (&sample.id).into());
    // These begin with the path, which stands beside the reason already.
    let reason = match error {
        DataError::Sound { problem, .. } => problem,
        DataError::Image { source, .. } => source.to_string(),
        DataError::Read { source, .. } => format!("cannot read: {source}"),
        other => other.to_string(),
    };
    Skipped { path, reason }
}

/// The image with the wanted channels, its shorter side at most `side`, its longer side at most twice
/// that.
fn shrink(resizer: &mut Resizer, image: Image, channels: usize, side: usize) -> Result<Image, DataError> {
    // Grey before shrinking is less to shrink; colour after shrinking is less to copy.
    let image = if channels == 1 { image.into_channels(1) } else { image };
    let short = image.width.min(image.height);
    let width = image.width.min(LONGEST * short);
    let height = image.height.min(LONGEST * short);
    if short <= side && (width, height) == (image.width, image.height) {
        return Ok(image.into_channels(channels));
    }
    let scale = side.min(short) as f64 / short as f64;
    let scaled = |length: usize| ((length as f64 * scale).round() as usize).max(1);
    // Whole pixels to the left and top, so that a mere cut copies and does not interpolate.
    let part = CropBox {
        left: ((image.width - width) / 2) as f64,
        top: ((image.height - height) / 2) as f64,
        width: width as f64,
        height: height as f64,
    };
    let (new_width, new_height) = (scaled(width), scaled(height));
    let mut pixels = Vec::new();
    resize(resizer, &image, part, new_width, new_height, &mut pixels)?;
    let shrunk = Image { width: new_width, height: new_height, channels: image.channels, pixels };
    Ok(shrunk.into_channels(channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(width: usize, height: usize, side: usize) -> (usize, usize) {
        let image = Image::new(width, height, 3, vec![9; width * height * 3]).unwrap();
        let image = shrink(&mut Resizer::new(), image, 1, side).unwrap();
        image.check().unwrap();
        assert!(image.pixels.iter().all(|&v| v == 9));
        (image.width, image.height)
    }

    #[test]
    fn the_shorter_side_shrinks_to_the_limit_and_never_grows() {
        assert_eq!(shrunk(60, 40, 20), (30, 20));
        assert_eq!(shrunk(40, 60, 20), (20, 30));
        assert_eq!(shrunk(15, 10, 20), (15, 10));
        assert_eq!(shrunk(41, 40, 20), (21, 20));
    }

    #[test]
    fn the_long_side_is_cut_to_twice_the_short() {
        assert_eq!(shrunk(1000, 40, 20), (40, 20));
        assert_eq!(shrunk(3, 1000, 20), (3, 6));
        assert_eq!(shrunk(1, 1, 20), (1, 1));
    }

    #[test]
    fn a_cut_takes_the_middle() {
        let image = Image::new(6, 1, 1, vec![0, 1, 2, 3, 4, 5]).unwrap();
        let cut = shrink(&mut Resizer::new(), image, 3, 8).unwrap();
        assert_eq!(cut, Image::new(2, 1, 3, vec![2, 2, 2, 3, 3, 3]).unwrap());
    }
}
