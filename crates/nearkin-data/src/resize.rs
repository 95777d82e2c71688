//! Cutting a box out of an image and scaling it, in one pass, or as weights for whoever does it elsewhere.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::error::DataError;
use crate::image::Image;

/// A part of an image in pixels; the corners may lie between pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CropBox {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl CropBox {
    pub(crate) fn whole(width: usize, height: usize) -> Self {
        Self { left: 0.0, top: 0.0, width: width as f64, height: height as f64 }
    }

    /// The square with sides of `side` in the middle of an image.
    pub(crate) fn central_square(width: usize, height: usize, side: f64) -> Self {
        // On a grid of 1/1024 pixel all sums below are exact, so the box cannot stick out by a
        // rounding error.
        let side = (side * 1024.0).round() / 1024.0;
        Self {
            left: (width as f64 - side) / 2.0,
            top: (height as f64 - side) / 2.0,
            width: side,
            height: side,
        }
    }
}

/// Scales `part` of `image` to `width` × `height`, bilinear with antialiasing: the filter widens with
/// the scale when shrinking, as Pillow's does. `out` becomes the pixels.
pub(crate) fn resize(
    resizer: &mut Resizer,
    image: &Image,
    part: CropBox,
    width: usize,
    height: usize,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    out.clear();
    out.resize(width * height * image.channels, 0);
    // The pixel types are named, not found at run time: that would compile all thirteen of them.
    if image.channels == 1 {
        resize_typed::<U8>(resizer, image, part, width, height, out)
    } else {
        resize_typed::<U8x3>(resizer, image, part, width, height, out)
    }
}

fn resize_typed<P: PixelTrait>(
    resizer: &mut Resizer,
    image: &Image,
    part: CropBox,
    width: usize,
    height: usize,
    out: &mut [u8],
) -> Result<(), DataError> {
    let problem = |error: &dyn std::fmt::Display| DataError::Shape {
        what: "image to resize",
        found: format!("{}x{} ({error})", image.width, image.height),
        wanted: "sides below 2^32 and a box inside the image".into(),
    };
    let side = |side: usize| u32::try_from(side).map_err(|error| problem(&error));
    let source = TypedImageRef::<P>::from_buffer(side(image.width)?, side(image.height)?, &image.pixels)
        .map_err(|error| problem(&error))?;
    let mut target =
        TypedImage::<P>::from_buffer(side(width)?, side(height)?, out).map_err(|error| problem(&error))?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(part.left, part.top, part.width, part.height)
        .use_alpha(false);
    resizer.resize_typed(&source, &mut target, &options).map_err(|error| problem(&error))
}

/// One side of a scaling as weighted sums: pixel `o` of the result is `Σ_t weights[o][t] · row[starts[o] + t]`, rounded to
/// the nearest whole number, halves up. Columns are summed first, then rows, each rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// The first pixel of each sum; one a pixel of the result.
    pub starts: Vec<u32>,
    /// Row-major, [`Taps::window`] a pixel of the result; those not used are 0, and may stand for pixels beyond the row.
    pub weights: Vec<f32>,
}

impl Taps {
    /// How [`resize`] scales `[from, from + extent)` of a row of `len` pixels to `out`: the bilinear filter, widened when
    /// shrinking, in the fixed point of the library. Up to 2¹⁶ the weights' sums of bytes are exact in f32 in any order.
    pub(crate) fn new(len: usize, from: f64, extent: f64, out: usize) -> Self {
        if extent == out as f64 && from == from.round() {
            let first = from as u32;
            return Self { starts: (first..first + out as u32).collect(), weights: vec![1.0; out] };
        }
        let scale = extent / out as f64;
        let radius = scale.max(1.0);
        let window = radius.ceil() as usize * 2 + 1;
        let mut starts = Vec::with_capacity(out);
        let mut weights = vec![0.0; out * window];
        for (at, row) in weights.chunks_exact_mut(window).enumerate() {
            let centre = from + (at as f64 + 0.5) * scale;
            let first = (centre - radius).floor().max(0.0) as usize;
            let last = ((centre + radius).ceil() as usize).min(len);
            let mut sum = 0.0;
            for (weight, x) in row.iter_mut().zip(first..last) {
                *weight = (1.0 - ((x as f64 + 0.5 - centre) / radius).abs()).max(0.0);
                sum += *weight;
            }
            row.iter_mut().for_each(|weight| *weight /= sum);
            starts.push(first as u32);
        }
        // Weights are 16-bit: as many binary places as the largest leaves room for, at most 21.
        let most = weights.iter().copied().fold(0.0, f64::max);
        let fits = |places: &i32| (most * f64::from(*places + 1).exp2()).round() < f64::from(1 << 15);
        let unit = f64::from((0..21).find(|places| !fits(places)).unwrap_or(21)).exp2();
        Self { starts, weights: weights.into_iter().map(|w| ((w * unit).round() / unit) as f32).collect() }
    }

    /// Weights a pixel of the result.
    #[must_use]
    pub fn window(&self) -> usize {
        self.weights.len() / self.starts.len().max(1)
    }

    /// The taps whose pixel `o` is this one's pixel `at(o)`.
    pub(crate) fn rearranged(&self, at: impl Fn(usize) -> usize) -> Self {
        let (window, out) = (self.window(), self.starts.len());
        Self {
            starts: (0..out).map(|o| self.starts[at(o)]).collect(),
            weights: (0..out).flat_map(|o| &self.weights[at(o) * window..][..window]).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, below, stream, uniform};

    #[test]
    fn halving_averages_over_the_wider_filter() {
        // A bilinear filter of support 1 widened by 2: weights 1/8, 3/8, 3/8, 1/8 around each centre,
        // the part outside the image left out and the rest renormalised.
        let image = Image::new(4, 1, 1, vec![0, 0, 200, 200]).unwrap();
        let mut out = Vec::new();
        resize(&mut Resizer::new(), &image, CropBox::whole(image.width, image.height), 2, 1, &mut out)
            .unwrap();
        let edge = 200.0 / 7.0; // (3*0 + 3*0 + 1*200) / 7
        assert!((f64::from(out[0]) - edge).abs() <= 1.0, "{out:?}");
        assert!((f64::from(out[1]) - (200.0 - edge)).abs() <= 1.0, "{out:?}");
    }

    #[test]
    fn an_unscaled_box_is_copied() {
        let image = Image::new(3, 2, 3, (0..18).collect()).unwrap();
        let part = CropBox { left: 1.0, top: 0.0, width: 2.0, height: 2.0 };
        let mut out = Vec::new();
        resize(&mut Resizer::new(), &image, part, 2, 2, &mut out).unwrap();
        assert_eq!(out, [3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17]);
    }

    /// The sums of [`Taps`] by definition.
    fn by_taps(image: &Image, columns: &Taps, rows: &Taps) -> Vec<u8> {
        let sum = |taps: &Taps, o: usize, pixel: &dyn Fn(usize) -> u8| {
            let weights = &taps.weights[o * taps.window()..][..taps.window()];
            let terms = weights.iter().enumerate().filter(|(_, w)| **w != 0.0);
            let sum: f32 = terms.map(|(t, w)| w * f32::from(pixel(taps.starts[o] as usize + t))).sum();
            (sum + 0.5).floor() as u8
        };
        let (width, channels) = (image.width, image.channels);
        let tall: Vec<u8> = (0..columns.starts.len())
            .flat_map(|o| {
                (0..width * channels)
                    .map(move |x| sum(columns, o, &|y| image.pixels[y * width * channels + x]))
            })
            .collect();
        tall.chunks(width * channels)
            .flat_map(|row| {
                (0..rows.starts.len() * channels)
                    .map(move |x| sum(rows, x / channels, &|at| row[at * channels + x % channels]))
            })
            .collect()
    }

    #[test]
    fn taps_are_the_weights_of_the_library_to_the_last_bit() {
        let mut rng = stream(3, 0, 0, 0, Purpose::View);
        for round in 0..300 {
            let (width, height) = (1 + below(&mut rng, 70), 1 + below(&mut rng, 70));
            let channels = [1, 3][round % 2];
            let pixels = (0..width * height * channels).map(|_| (uniform(&mut rng) * 256.0) as u8).collect();
            let image = Image::new(width, height, channels, pixels).unwrap();
            let part = match round % 3 {
                0 => CropBox::whole(image.width, image.height),
                1 => CropBox::central_square(width, height, width.min(height) as f64 * 0.9),
                _ => {
                    let (w, h) = (1 + below(&mut rng, width), 1 + below(&mut rng, height));
                    CropBox {
                        left: below(&mut rng, width - w + 1) as f64,
                        top: below(&mut rng, height - h + 1) as f64,
                        width: w as f64,
                        height: h as f64,
                    }
                }
            };
            let size = [1, 8, 32, 45][round % 4];
            let mut wanted = Vec::new();
            resize(&mut Resizer::new(), &image, part, size, size, &mut wanted).unwrap();
            let columns = Taps::new(height, part.top, part.height, size);
            let rows = Taps::new(width, part.left, part.width, size);
            assert_eq!(by_taps(&image, &columns, &rows), wanted, "{width}x{height} {part:?} to {size}");
        }
    }
}
