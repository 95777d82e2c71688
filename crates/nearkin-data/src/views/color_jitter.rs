//! Random brightness, contrast, saturation and hue, by Pillow's definitions.
//!
//! The first three blend the image with another one, `other + factor * (image - other)`, clamp to
//! 0..=255 and cut the fraction off: with black, with the rounded mean of its grey, and with its own
//! grey. Their sums run in f32, as Pillow's do, so the values are the same. Hue goes through Pillow's HSV,
//! whose circle has 255 steps; hue and saturation are cut off exactly here and with rounding errors
//! there, so now and then they differ by one step of 255.

use rand::Rng;

use super::config::Jitter;
use crate::image::luma;
use crate::random::{bernoulli, shuffle, uniform_between};

/// A change of colour with its strength, once drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    /// Blends with black.
    Brightness(f32),
    /// Blends with the rounded mean of the grey.
    Contrast(f32),
    /// Blends with the pixel's own grey.
    Saturation(f32),
    /// Turns the colours by so many steps of 255, modulo 256.
    Hue(u8),
}

#[derive(Clone, Copy)]
enum Operation {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

/// Draws which of the four happen, in random order, with probability `jitter.probability`.
pub(super) fn draw(channels: usize, jitter: &Jitter, rng: &mut impl Rng) -> [Option<Colour>; 4] {
    if !bernoulli(rng, jitter.probability) {
        return [None; 4];
    }
    let mut order = [Operation::Brightness, Operation::Contrast, Operation::Saturation, Operation::Hue];
    shuffle(rng, &mut order);
    order.map(|operation| {
        let mut factor = |strength: f32| uniform_between(rng, (1.0 - strength).max(0.0), 1.0 + strength);
        match operation {
            Operation::Brightness if jitter.brightness > 0.0 => {
                Some(Colour::Brightness(factor(jitter.brightness)))
            }
            Operation::Contrast if jitter.contrast > 0.0 => Some(Colour::Contrast(factor(jitter.contrast))),
            Operation::Saturation if jitter.saturation > 0.0 && channels == 3 => {
                Some(Colour::Saturation(factor(jitter.saturation)))
            }
            Operation::Hue if jitter.hue > 0.0 && channels == 3 => {
                Some(Colour::Hue(steps(uniform_between(rng, -jitter.hue, jitter.hue))))
            }
            _ => None,
        }
    })
}

/// Applies what was drawn.
pub(super) fn apply(pixels: &mut [u8], channels: usize, colours: &[Option<Colour>]) {
    for colour in colours.iter().flatten() {
        match *colour {
            Colour::Brightness(factor) => brightness(pixels, factor),
            Colour::Contrast(factor) => contrast(pixels, channels, factor),
            Colour::Saturation(factor) => saturation(pixels, factor),
            Colour::Hue(shift) => hue(pixels, shift),
        }
    }
}

/// Turns of the circle, -0.5 to 0.5, as torchvision casts them to a byte: cut off towards 0, then modulo 256.
fn steps(turns: f32) -> u8 {
    (turns * 255.0) as i32 as u8
}

/// `other + factor * (value - other)`, clamped, cut off.
#[inline]
fn blend(other: u8, value: u8, factor: f32) -> u8 {
    let (other, value) = (f32::from(other), f32::from(value));
    // `as` clamps to 0..=255 and cuts off.
    (other + factor * (value - other)) as u8
}

fn brightness(pixels: &mut [u8], factor: f32) {
    blend_with(pixels, 0, factor);
}

fn contrast(pixels: &mut [u8], channels: usize, factor: f32) {
    let sum: u64 = if channels == 1 {
        pixels.iter().map(|&value| u64::from(value)).sum()
    } else {
        pixels.chunks_exact(3).map(|rgb| u64::from(luma(rgb))).sum()
    };
    let mean = (sum as f64 / (pixels.len() / channels) as f64 + 0.5) as u8;
    blend_with(pixels, mean, factor);
}

/// Blends with one value: 256 blends and a look-up.
fn blend_with(pixels: &mut [u8], other: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(other, value as u8, factor));
    for value in pixels {
        *value = table[usize::from(*value)];
    }
}

fn saturation(pixels: &mut [u8], factor: f32) {
    for pixel in pixels.chunks_exact_mut(3) {
        let grey = luma(pixel);
        for value in pixel {
            *value = blend(grey, *value, factor);
        }
    }
}

/// Turns the colours by `shift` steps of the circle.
fn hue(pixels: &mut [u8], shift: u8) {
    if shift == 0 {
        return;
    }
    // The way back, for each of the 256 hues before the shift: the sixth of the circle, and the place
    // within it.
    let turned: [(u8, f32); 256] = std::array::from_fn(|hue| {
        let sixths = f32::from((hue as u8).wrapping_add(shift)) * 6.0 / 255.0;
        (sixths as u8 % 6, sixths.fract())
    });
    for pixel in pixels.chunks_exact_mut(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
        let value = r.max(g).max(b);
        let range = value - r.min(g).min(b);
        if range == 0 {
            continue; // grey has no hue
        }
        // Hue in sixths of the circle, times the range.
        let around = if r == value {
            g - b
        } else if g == value {
            2 * range + b - r
        } else {
            4 * range + r - g
        };
        let around = if around < 0 { around + 6 * range } else { around };
        // Quotients of integers below 2^24: cut off, they are exact.
        let hue = ((255 * around) as f32 / (6 * range) as f32) as u8;
        let saturation = ((255 * range) as f32 / value as f32) as u8;

        let (sector, place) = turned[usize::from(hue)];
        let whole = value as f32;
        let depth = whole * (f32::from(saturation) / 255.0);
        let rounded = |v: f32| (v + 0.5) as u8;
        let shades = [
            value as u8,
            rounded(whole - depth),
            rounded(whole - depth * place),
            rounded(whole - depth * (1.0 - place)),
        ];
        let [red, green, blue] = SHADE_OF_SECTOR[usize::from(sector)];
        pixel[0] = shades[red];
        pixel[1] = shades[green];
        pixel[2] = shades[blue];
    }
}

/// Which of [highest, lowest, falling, rising] red, green and blue take in each sixth of the circle.
const SHADE_OF_SECTOR: [[usize; 3]; 6] = [[0, 3, 1], [2, 0, 1], [1, 0, 3], [1, 2, 0], [3, 1, 0], [0, 1, 2]];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn brightness_scales_and_clamps() {
        let mut pixels = [0, 10, 101, 200, 255, 3];
        brightness(&mut pixels, 1.5);
        assert_eq!(pixels, [0, 15, 151, 255, 255, 4]); // 151.5 and 4.5 are cut off
        let mut pixels = [255, 101, 1];
        brightness(&mut pixels, 0.5);
        assert_eq!(pixels, [127, 50, 0]);
    }

    #[test]
    fn contrast_blends_with_the_rounded_mean_of_the_grey() {
        // Grey of (255, 0, 0) is 76, of (0, 0, 255) is 29: mean 52.5, rounded to 53.
        let mut pixels = [255, 0, 0, 0, 0, 255];
        contrast(&mut pixels, 3, 0.5);
        // 53 + 0.5 * (255 - 53) = 154, 53 + 0.5 * (0 - 53) = 26.5
        assert_eq!(pixels, [154, 26, 26, 26, 26, 154]);
        let mut grey = [10, 20, 60];
        contrast(&mut grey, 1, 2.0);
        assert_eq!(grey, [0, 10, 90]); // mean 30
        let mut flat = [9, 250, 13];
        contrast(&mut flat, 1, 0.0);
        assert_eq!(flat, [91; 3]); // mean 90.67
    }

    #[test]
    fn saturation_blends_with_the_grey() {
        let mut pixels = [255, 0, 0, 10, 20, 30];
        saturation(&mut pixels, 0.0);
        assert_eq!(pixels, [76, 76, 76, 18, 18, 18]);
        let mut pixels = [10, 20, 30];
        saturation(&mut pixels, 2.0);
        assert_eq!(pixels, [2, 22, 42]);
    }

    #[test]
    fn a_third_of_a_turn_permutes_the_primaries() {
        let mut pixels = [255, 0, 0, 0, 255, 0, 0, 0, 255];
        hue(&mut pixels, steps(1.0 / 3.0));
        assert_eq!(pixels, [0, 255, 0, 0, 0, 255, 255, 0, 0]);
    }

    #[test]
    fn a_hue_shift_follows_the_255_step_circle() {
        // (200, 100, 50): value 200, least 50, range 150. hue = (1 - 2/3) / 6 = 1/18 of a turn, 14 of
        // 255; saturation = 150/200, 191 of 255. A shift of 0.1 is 25 steps: hue 39, that is
        // 0.917647 sixths: sector 0. share = 191/255 = 0.74902.
        // low = 200 * 0.25098 = 50.2; rising = 200 * (1 - 0.74902 * 0.082353) = 187.66.
        let mut pixel = [200, 100, 50];
        hue(&mut pixel, steps(0.1));
        assert_eq!(pixel, [200, 188, 50]);
        // -0.1 * 255 = -25.5 becomes -25: hue 14 - 25 = 245 modulo 256, 5.764706 sixths.
        // falling = 200 * (1 - 0.74902 * 0.764706) = 85.44.
        let mut pixel = [200, 100, 50];
        hue(&mut pixel, steps(-0.1));
        assert_eq!(pixel, [200, 50, 85]);
    }

    #[test]
    fn greys_and_black_have_no_hue() {
        let mut pixels = [0, 0, 0, 77, 77, 77, 255, 255, 255];
        hue(&mut pixels, steps(0.4));
        assert_eq!(pixels, [0, 0, 0, 77, 77, 77, 255, 255, 255]);
    }

    #[test]
    fn neutral_factors_change_nothing() {
        let start: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
        let mut pixels = start.clone();
        brightness(&mut pixels, 1.0);
        contrast(&mut pixels, 3, 1.0);
        saturation(&mut pixels, 1.0);
        hue(&mut pixels, steps(0.003)); // less than a step
        assert_eq!(pixels, start);
    }

    #[test]
    fn one_channel_takes_every_jitter() {
        let jitter = Jitter { brightness: 0.8, contrast: 0.8, saturation: 0.8, hue: 0.2, probability: 1.0 };
        let mut pixels = [1, 100, 200, 250];
        let mut rng = stream(4, 0, 0, 0, Purpose::View);
        let colours = draw(1, &jitter, &mut rng);
        assert_eq!(colours.iter().flatten().count(), 2);
        apply(&mut pixels, 1, &colours);
        assert!(pixels.is_sorted());
    }
}
