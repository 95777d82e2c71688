//! Views: augmented, normalised copies of an image.
//!
//! One file an operation. The order is that of SimCLR (Chen et al. 2020, appendix A) and torchvision:
//! crop, flip, affine, contrast by PCA, HSV, colour jitter, grey, posterise, blur, solarise, normalise, cutout. The colour operations work on 8-bit values as
//! Pillow's do, so recipes written for torchvision keep their meaning.

mod affine;
mod blur;
mod center_crop;
mod color_jitter;
mod config;
mod cutout;
mod draw;
mod flip;
mod grey;
mod hsv;
mod normalize;
mod padded_crop;
mod pca_contrast;
mod posterize;
mod random_resized_crop;
mod solarize;

use std::cell::Cell;

use fast_image_resize::Resizer;
use nearkin_sweep::wide;
use rand::Rng;

pub use color_jitter::Colour;
pub use config::{
    Affine, Blur, Crop, Cutout, Hsv, Jitter, Normalize, PRESETS, PcaContrast, Posterize, Solarize, ViewConfig,
};
pub use draw::Draw;
use normalize::Normalizer;

use crate::error::DataError;
use crate::image::Image;
use crate::random::bernoulli;
use crate::resize::{CropBox, resize};
use padded_crop::Shift;

/// A checked pipeline from images of one channel count to square views.
#[derive(Clone, Debug)]
pub struct Views {
    config: ViewConfig,
    size: usize,
    channels: usize,
    normalizer: Normalizer,
}

/// Buffers that a thread uses again for every view.
#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    pixels: Vec<u8>,
    spare: Vec<u8>,
    plane: Vec<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Views {
    /// Views of `size` × `size` pixels of images with `channels` channels.
    ///
    /// On one channel, hue, saturation and grey change nothing, and contrast by PCA is that of the one channel.
    ///
    /// # Errors
    /// [`DataError::Setting`], which names the setting that is out of range.
    pub fn new(config: &ViewConfig, size: usize, channels: usize) -> Result<Self, DataError> {
        config.check(size, channels)?;
        Ok(Self {
            normalizer: Normalizer::new(&config.normalize, channels),
            config: config.clone(),
            size,
            channels,
        })
    }

    /// The view for evaluation, without randomness: see [`Crop::Center`].
    ///
    /// # Errors
    /// [`DataError::Setting`], which names the setting that is out of range.
    pub fn eval(size: usize, channels: usize, normalize: Normalize) -> Result<Self, DataError> {
        let config = ViewConfig { normalize, ..ViewConfig::default() };
        Self::new(&config, size, channels)
    }

    /// Width and height of a view.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Channels of a view, and of the images it takes.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ViewConfig {
        &self.config
    }

    /// The number of values of a view: channels × size × size.
    #[must_use]
    pub fn values(&self) -> usize {
        self.channels * self.size * self.size
    }

    /// How many weights [`Draw::blur_weights`] holds.
    #[must_use]
    pub fn blur_distances(&self) -> usize {
        blur::half_kernel(self.size, 1.0).len()
    }

    /// Writes one view of `image` to `out`, CHW. The same draws from `rng` give the same bits.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the image has another channel count or `out` another length than
    /// [`Views::values`].
    pub fn apply(&self, image: &Image, rng: &mut impl Rng, out: &mut [f32]) -> Result<(), DataError> {
        image.check()?;
        if image.channels != self.channels {
            return Err(DataError::Shape {
                what: "channels of the image",
                found: image.channels.to_string(),
                wanted: format!("{}, as the views are made for", self.channels),
            });
        }
        if out.len() != self.values() {
            return Err(DataError::Shape {
                what: "output of a view",
                found: format!("{} values", out.len()),
                wanted: format!("{0}x{1}x{1}", self.channels, self.size),
            });
        }
        let mut scratch = SCRATCH.take();
        let draw = self.draw(image.width, image.height, rng);
        let result = self.make(&mut scratch, image, &draw, out);
        SCRATCH.set(scratch);
        result
    }

    /// All that is random about one view of an image of `width` × `height` pixels, each at least 1: what
    /// [`Views::apply`] draws from `rng`, in the same order.
    pub fn draw(&self, width: usize, height: usize, rng: &mut impl Rng) -> Draw {
        // Fields are evaluated in the order they are written, and that order of draws is part of every run.
        Draw {
            image: [width, height],
            size: self.size,
            part: match &self.config.crop {
                Crop::RandomResized { scale, ratio } => {
                    random_resized_crop::choose(width, height, *scale, *ratio, rng)
                }
                Crop::Padded { .. } | Crop::Center {} => center_crop::choose(width, height, self.size),
                Crop::None {} => CropBox::whole(width, height),
            },
            shift: match self.config.crop {
                Crop::Padded { pixels } => Some(Shift::draw(pixels, rng)),
                _ => None,
            },
            mirrored: bernoulli(rng, self.config.flip),
            colours: match &self.config.jitter {
                Some(jitter) => color_jitter::draw(self.channels, jitter, rng),
                None => [None; 4],
            },
            grey: bernoulli(rng, self.config.grey),
            blur: self.config.blur.as_ref().and_then(|blur| blur::draw(blur, rng)),
            warp: self.config.affine.as_ref().and_then(|affine| affine::draw(affine, self.size, rng)),
            posterized: self.config.posterize.as_ref().is_some_and(|p| bernoulli(rng, p.probability)),
            solarized: self.config.solarize.as_ref().is_some_and(|s| bernoulli(rng, s.probability)),
            hole: self.config.cutout.as_ref().and_then(|cutout| cutout::draw(cutout, self.size, rng)),
            contrast: self.config.pca_contrast.as_ref().and_then(|c| pca_contrast::draw(c, rng)),
            hsv: self.config.hsv.as_ref().and_then(|hsv| hsv::draw(hsv, rng)),
        }
    }

    fn make(
        &self,
        scratch: &mut Scratch,
        image: &Image,
        draw: &Draw,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        let Scratch { resizer, pixels, spare, plane } = scratch;
        let size = self.size;
        resize(resizer, image, draw.part, size, size, pixels)?;
        if let Some(shift) = draw.shift {
            shift.apply(pixels, spare, size, self.channels);
            std::mem::swap(pixels, spare);
        }
        into_planes(pixels, self.channels, spare);
        if let Some(warp) = &draw.warp {
            affine::apply(spare, size, warp, pixels);
            std::mem::swap(pixels, spare);
        }
        if let Some(factors) = draw.contrast {
            pca_contrast::apply(spare, image, factors);
        }
        if let Some(change) = &draw.hsv {
            hsv::apply(spare, self.channels, change);
        }
        color_jitter::apply(spare, self.channels, &draw.colours);
        if draw.grey {
            grey::apply(spare, self.channels);
        }
        if let (true, Some(posterize)) = (draw.posterized, &self.config.posterize) {
            posterize::apply(spare, posterize.bits);
        }
        self.normalizer.apply(spare, out);
        // Mirroring commutes with all of the colour.
        if draw.mirrored {
            flip::apply(out, size);
        }
        if let Some(sigma) = draw.blur {
            blur::apply(out, size, sigma, plane);
        }
        if let (true, Some(solarize)) = (draw.solarized, &self.config.solarize) {
            for (channel, plane) in out.chunks_exact_mut(size * size).enumerate() {
                let [black, threshold, white] =
                    [0.0, solarize.threshold, 1.0].map(|value| self.normalizer.of(channel, value));
                solarize::apply(plane, threshold, black + white);
            }
        }
        if let Some(hole) = &draw.hole {
            cutout::apply(out, size, hole);
        }
        Ok(())
    }
}

/// Pixels, their channels side by side, as one plane for each channel.
fn into_planes(pixels: &[u8], channels: usize, planes: &mut Vec<u8>) {
    planes.resize(pixels.len(), 0);
    match channels {
        3 => {
            let [red, green, blue] = rgb(planes);
            let pixels = pixels.as_chunks::<3>().0;
            wide(
                #[inline(always)]
                || {
                    for (((r, g), b), pixel) in red.iter_mut().zip(&mut *green).zip(&mut *blue).zip(pixels) {
                        [*r, *g, *b] = *pixel;
                    }
                },
            );
        }
        _ => planes.copy_from_slice(pixels),
    }
}

/// The nearest byte; what leaves their range ends at its edge.
#[inline(always)]
fn rounded(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// The planes of red, green and blue.
fn rgb(planes: &mut [u8]) -> [&mut [u8]; 3] {
    let (red, rest) = planes.split_at_mut(planes.len() / 3);
    let (green, blue) = rest.split_at_mut(rest.len() / 2);
    [red, green, blue]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    /// A picture without symmetry.
    fn picture(width: usize, height: usize, channels: usize) -> Image {
        let pixels = (0..width * height * channels).map(|i| ((i * 37 + i * i / 11) % 256) as u8).collect();
        Image::new(width, height, channels, pixels).unwrap()
    }

    fn view(views: &Views, image: &Image, sample: u64) -> Vec<f32> {
        let mut rng = stream(1, 0, sample, 0, Purpose::View);
        let mut out = vec![f32::NAN; views.values()];
        views.apply(image, &mut rng, &mut out).unwrap();
        out
    }

    fn plain(mean: f32, std: f32) -> Normalize {
        Normalize { mean: vec![mean], std: vec![std] }
    }

    #[test]
    fn an_evaluation_view_of_the_same_size_is_the_normalised_image_in_planes() {
        let image = picture(6, 6, 3);
        let out = view(&Views::eval(6, 3, plain(0.5, 0.25)).unwrap(), &image, 0);
        for channel in 0..3 {
            for at in 0..36 {
                let wanted = (f32::from(image.pixels[at * 3 + channel]) / 255.0 - 0.5) / 0.25;
                assert!((out[channel * 36 + at] - wanted).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_certain_flip_mirrors_every_row() {
        let image = picture(6, 6, 3);
        let config = ViewConfig { flip: 1.0, ..ViewConfig::default() };
        let straight = view(&Views::new(&ViewConfig::default(), 6, 3).unwrap(), &image, 0);
        let mirrored = view(&Views::new(&config, 6, 3).unwrap(), &image, 0);
        for (a, b) in straight.chunks(6).zip(mirrored.chunks(6)) {
            assert!(a.iter().eq(b.iter().rev()));
        }
    }

    #[test]
    fn a_view_depends_on_the_stream_alone() {
        let views = Views::new(&ViewConfig::simclr(1.0), 32, 3).unwrap();
        let image = picture(48, 40, 3);
        let first = view(&views, &image, 7);
        assert_ne!(first, view(&views, &image, 8));
        // The thread's buffers hold another view now; a new thread's hold none.
        assert_eq!(first, view(&views, &image, 7));
        let elsewhere = std::thread::spawn(move || view(&views, &picture(48, 40, 3), 7));
        assert_eq!(first, elsewhere.join().unwrap());
    }

    #[test]
    fn contrast_and_hsv_that_change_nothing_leave_every_bit_and_every_other_draw() {
        let before = ViewConfig {
            blur: Some(Blur { sigma: [0.1, 2.0], probability: 0.5 }),
            posterize: Some(Posterize { bits: 4, probability: 0.5 }),
            cutout: Some(Cutout { side: 0.3, probability: 0.5 }),
            ..ViewConfig::preset("simclr").unwrap()
        };
        let neutral = ViewConfig::exemplar_cnn(0.0);
        let after = ViewConfig { pca_contrast: neutral.pca_contrast, hsv: neutral.hsv, ..before.clone() };
        for channels in [1, 3] {
            let [before, after] = [&before, &after].map(|config| Views::new(config, 24, channels).unwrap());
            for sample in 0..20 {
                let image = picture(30, 27, channels);
                assert_eq!(view(&before, &image, sample), view(&after, &image, sample));
            }
        }
    }

    #[test]
    fn exemplar_cnns_views_differ_and_stay_in_range() {
        for channels in [1, 3] {
            let views = Views::new(&ViewConfig::exemplar_cnn(1.0), 16, channels).unwrap();
            for (width, height) in [(1, 1), (16, 16), (40, 9)] {
                let image = picture(width, height, channels);
                let made: Vec<Vec<f32>> = (0..6).map(|sample| view(&views, &image, sample)).collect();
                assert!(made.iter().flatten().all(|v| (-1.001..=1.001).contains(v)));
                assert!(width == 1 || made.windows(2).all(|pair| pair[0] != pair[1]));
            }
        }
        assert!(ViewConfig::exemplar_cnn(1.0).only_here());
    }

    #[test]
    fn every_crop_fits_every_image_shape() {
        let crops =
            [ViewConfig::simclr(1.0).crop, Crop::Padded { pixels: 4 }, Crop::Center {}, Crop::None {}];
        for crop in crops {
            let config = ViewConfig { crop, ..ViewConfig::simclr(1.0) };
            for channels in [1, 3] {
                let views = Views::new(&config, 16, channels).unwrap();
                for (width, height) in [(1, 1), (1, 40), (40, 1), (16, 16), (200, 30), (17, 90)] {
                    let out = view(&views, &picture(width, height, channels), 3);
                    assert!(out.iter().all(|v| (-1.001..=1.001).contains(v)), "{config:?}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_image_or_buffer_is_an_error() {
        let views = Views::new(&ViewConfig::default(), 8, 3).unwrap();
        let mut rng = stream(0, 0, 0, 0, Purpose::View);
        let mut out = vec![0.0; views.values()];
        assert!(views.apply(&picture(8, 8, 1), &mut rng, &mut out).is_err());
        assert!(views.apply(&picture(8, 8, 3), &mut rng, &mut out[1..]).is_err());
        let broken = Image { pixels: vec![0; 5], ..picture(8, 8, 3) };
        assert!(views.apply(&broken, &mut rng, &mut out).is_err());
    }
}
