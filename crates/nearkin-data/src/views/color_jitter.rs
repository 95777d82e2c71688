//! Random brightness, contrast, saturation and hue, by Pillow's definitions.
//!
//! The first three blend the image with another one, `other + factor * (image - other)`, clamp to
//! 0..=255 and cut the fraction off: with black, with the rounded mean of its grey, and with its own
//! grey. Their sums run in f32, as Pillow's do, so the values are the same. Hue goes through Pillow's HSV,
//! whose circle has 255 steps; hue and saturation are cut off exactly here and with rounding errors
//! there, so now and then they differ by one step of 255.

use nearkin_sweep::wide;
use rand::Rng;

use super::config::Jitter;
use super::rgb;
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

/// Applies what was drawn to the planes of a view, one after another.
pub(super) fn apply(planes: &mut [u8], channels: usize, colours: &[Option<Colour>]) {
    for colour in colours.iter().flatten() {
        match *colour {
            Colour::Brightness(factor) => blend_with(planes, 0, factor),
            Colour::Contrast(factor) => contrast(planes, channels, factor),
            Colour::Saturation(factor) => saturation(rgb(planes), factor),
            Colour::Hue(shift) => hue(rgb(planes), shift),
        }
    }
}

/// Turns of the circle, -0.5 to 0.5, as torchvision casts them to a byte: cut off towards 0, then modulo 256.
fn steps(turns: f32) -> u8 {
    (turns * 255.0) as i32 as u8
}

/// `other + factor * (value - other)`, clamped, cut off.
#[inline(always)]
fn blend(other: u8, value: u8, factor: f32) -> u8 {
    let (other, value) = (f32::from(other), f32::from(value));
    byte(other + factor * (value - other))
}

/// Clamps to 0 to 255 and cuts off, as `as u8` does.
#[inline(always)]
fn byte(value: f32) -> u8 {
    whole(smallest(largest(value, 0.0), 255.0).floor()) as u8
}

/// A whole number of 0 to 2²³ - 1 as an integer. `as` minds all other numbers too, for which there is no vector instruction.
#[inline(always)]
fn whole(value: f32) -> u32 {
    // From 2²³ to 2²⁴ numbers are whole, and their last 23 bits count them.
    (value + 8_388_608.0).to_bits() & 0x007f_ffff
}

/// Blends with one value.
fn blend_with(planes: &mut [u8], other: u8, factor: f32) {
    wide(
        #[inline(always)]
        || {
            for value in &mut *planes {
                *value = blend(other, *value, factor);
            }
        },
    );
}

fn contrast(planes: &mut [u8], channels: usize, factor: f32) {
    let pixels = planes.len() / channels;
    let sum = if channels == 1 {
        planes.iter().map(|&value| u64::from(value)).sum()
    } else {
        let [red, green, blue] = rgb(planes);
        wide(
            #[inline(always)]
            || sum_of_lumas(red, green, blue),
        )
    };
    let mean = (sum as f64 / pixels as f64 + 0.5) as u8;
    blend_with(planes, mean, factor);
}

#[inline(always)]
fn sum_of_lumas(red: &[u8], green: &[u8], blue: &[u8]) -> u64 {
    // Stretches whose sum fits 32 bits.
    const STRETCH: usize = 1 << 16;
    let planes = red.chunks(STRETCH).zip(green.chunks(STRETCH)).zip(blue.chunks(STRETCH));
    planes
        .map(|((red, green), blue)| {
            let lumas = red.iter().zip(green).zip(blue).map(|((r, g), b)| u32::from(luma(*r, *g, *b)));
            u64::from(lumas.sum::<u32>())
        })
        .sum()
}

fn saturation([red, green, blue]: [&mut [u8]; 3], factor: f32) {
    wide(
        #[inline(always)]
        || {
            for ((r, g), b) in red.iter_mut().zip(&mut *green).zip(&mut *blue) {
                let grey = luma(*r, *g, *b);
                *r = blend(grey, *r, factor);
                *g = blend(grey, *g, factor);
                *b = blend(grey, *b, factor);
            }
        },
    );
}

/// Turns the colours by `shift` steps of the circle.
fn hue([red, green, blue]: [&mut [u8]; 3], shift: u8) {
    if shift == 0 {
        return;
    }
    wide(
        #[inline(always)]
        || {
            for ((r, g), b) in red.iter_mut().zip(&mut *green).zip(&mut *blue) {
                [*r, *g, *b] = turned([*r, *g, *b], shift);
            }
        },
    );
}

/// One pixel's colour, turned. Selections in place of branches, so that many pixels are turned at once.
#[inline(always)]
fn turned(pixel: [u8; 3], shift: u8) -> [u8; 3] {
    let [r, g, b] = pixel.map(f32::from);
    let value = largest(largest(r, g), b);
    let range = value - smallest(smallest(r, g), b);
    // Hue in sixths of the circle, times the range.
    let around = if r == value {
        g - b
    } else if g == value {
        2.0 * range + b - r
    } else {
        4.0 * range + r - g
    };
    let around = if around < 0.0 { around + 6.0 * range } else { around };
    // Quotients of integers below 2^24: cut off, they are exact. Grey has no hue: its 0 / 0 is not used.
    let hue = (255.0 * around / (6.0 * range)).floor();
    let saturation = (255.0 * range / value).floor();

    let sixths = ((whole(hue) + u32::from(shift)) & 255) as i32 as f32 * 6.0 / 255.0;
    let place = sixths - sixths.floor();
    let sector = if sixths == 6.0 { 0.0 } else { sixths.floor() };

    let depth = value * (saturation / 255.0);
    let shades = [value, value - depth * place, value - depth, value - depth * (1.0 - place)];
    let found = [shade(sector + 1.0, shades), shade(sector + 5.0, shades), shade(sector + 3.0, shades)];
    let of = [byte(found[0] + 0.5), byte(found[1] + 0.5), byte(found[2] + 0.5)];
    if range == 0.0 { pixel } else { of }
}

/// A colour so many sixths of the circle after it began to be highest: it is so for two of them, falls, is lowest for two, rises.
#[inline(always)]
fn shade(since: f32, [high, falling, low, rising]: [f32; 4]) -> f32 {
    let since = if since >= 6.0 { since - 6.0 } else { since };
    let after = if since >= 5.0 { rising } else { low };
    let later = if since >= 3.0 { after } else { falling };
    if since >= 2.0 { later } else { high }
}

/// The larger of two numbers: one instruction, where `f32::max` also minds those that are none.
#[inline(always)]
fn largest(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// As [`largest`].
#[inline(always)]
fn smallest(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    /// Changes pixels that lie as red, green and blue side by side.
    fn change(pixels: &mut [u8], colour: Colour) {
        let mut planes: Vec<u8> =
            (0..3).flat_map(|channel| pixels[channel..].iter().step_by(3).copied()).collect();
        apply(&mut planes, 3, &[Some(colour)]);
        let count = pixels.len() / 3;
        for (i, value) in pixels.iter_mut().enumerate() {
            *value = planes[i % 3 * count + i / 3];
        }
    }

    fn brightness(pixels: &mut [u8], factor: f32) {
        change(pixels, Colour::Brightness(factor));
    }

    fn contrast(pixels: &mut [u8], factor: f32) {
        change(pixels, Colour::Contrast(factor));
    }

    fn saturation(pixels: &mut [u8], factor: f32) {
        change(pixels, Colour::Saturation(factor));
    }

    fn hue(pixels: &mut [u8], shift: u8) {
        change(pixels, Colour::Hue(shift));
    }

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
        contrast(&mut pixels, 0.5);
        // 53 + 0.5 * (255 - 53) = 154, 53 + 0.5 * (0 - 53) = 26.5
        assert_eq!(pixels, [154, 26, 26, 26, 26, 154]);
        let mut grey = [10, 20, 60];
        apply(&mut grey, 1, &[Some(Colour::Contrast(2.0))]);
        assert_eq!(grey, [0, 10, 90]); // mean 30
        let mut flat = [9, 250, 13];
        apply(&mut flat, 1, &[Some(Colour::Contrast(0.0))]);
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

    /// The circle in whole numbers and by cases, pixel by pixel.
    fn turned_by_cases(pixel: [u8; 3], shift: u8) -> [u8; 3] {
        let [r, g, b] = pixel.map(i32::from);
        let (value, least) = (r.max(g).max(b), r.min(g).min(b));
        let range = value - least;
        if range == 0 {
            return pixel;
        }
        let around = match value {
            _ if r == value => (g - b).rem_euclid(6 * range),
            _ if g == value => 2 * range + b - r,
            _ => 4 * range + r - g,
        };
        let (hue, saturation) = (255 * around / (6 * range), 255 * range / value);
        let sixths = f32::from((hue as u8).wrapping_add(shift)) * 6.0 / 255.0;
        let (whole, depth) = (value as f32, value as f32 * (saturation as f32 / 255.0));
        let rounded = |v: f32| (v + 0.5) as u8;
        let (high, low) = (value as u8, rounded(whole - depth));
        let falling = rounded(whole - depth * sixths.fract());
        let rising = rounded(whole - depth * (1.0 - sixths.fract()));
        match sixths as u8 % 6 {
            0 => [high, rising, low],
            1 => [falling, high, low],
            2 => [low, high, rising],
            3 => [low, falling, high],
            4 => [rising, low, high],
            _ => [high, low, falling],
        }
    }

    #[test]
    fn every_hue_turns_as_case_by_case() {
        let values = [0, 1, 2, 77, 128, 200, 254, 255];
        let triple = |i: usize| [values[i / 64], values[i / 8 % 8], values[i % 8]];
        let pixels: Vec<[u8; 3]> = (0..512).map(triple).collect();
        for shift in 1..=255 {
            let mut flat = pixels.as_flattened().to_vec();
            hue(&mut flat, shift);
            for (pixel, found) in pixels.iter().zip(flat.as_chunks::<3>().0) {
                assert_eq!(*found, turned_by_cases(*pixel, shift), "{pixel:?} by {shift}");
            }
        }
    }

    #[test]
    fn neutral_factors_change_nothing() {
        let start: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
        let mut pixels = start.clone();
        brightness(&mut pixels, 1.0);
        contrast(&mut pixels, 1.0);
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
