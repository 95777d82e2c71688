//! Mel-frequency cepstral coefficients: what sound is described by where nothing is learned.
//!
//! S. Davis, P. Mermelstein, "Comparison of parametric representations for monosyllabic word recognition in continuously spoken
//! sentences", 1980, with the usual settings of today (those of the package python_speech_features): windows of 25 ms every 10 ms,
//! pre-emphasis 0.97, 26 triangular filters on the mel scale up to half of the rate, 13 coefficients liftered by 22, of which the first is
//! the log energy.

use std::f64::consts::PI;

use crate::signal::Signal;

/// Coefficients of a frame.
pub const COEFFICIENTS: usize = 13;
const FILTERS: usize = 26;
const PRE_EMPHASIS: f64 = 0.97;
const LIFTER: f64 = 22.0;
/// Frames on each side that a slope is taken over.
const REACH: usize = 2;
/// In place of the logarithm of nothing.
const LEAST: f64 = f64::EPSILON;

/// The coefficients of each frame and their slopes over five frames, `[frames, 26]`, of the mean of all channels.
///
/// A sound shorter than a frame makes one, filled up with zeros. Of a signal without a rate there are none.
#[must_use]
pub fn mfcc(signal: &Signal) -> Vec<[f32; 2 * COEFFICIENTS]> {
    let Some(rate) = signal.rate else { return Vec::new() };
    let frames = coefficients(&signal.clone().mixed_down().values, f64::from(rate));
    let scale: usize = 2 * (1..=REACH).map(|i| i * i).sum::<usize>();
    let frame = |t: usize| {
        let slope = |c: usize| {
            let at = |t: usize| frames[t.min(frames.len() - 1)][c];
            let pairs = (1..=REACH).map(|i| i as f64 * (at(t + i) - at(t.saturating_sub(i))));
            pairs.sum::<f64>() / scale as f64
        };
        std::array::from_fn(|c| match c.checked_sub(COEFFICIENTS) {
            None => frames[t][c] as f32,
            Some(c) => slope(c) as f32,
        })
    };
    (0..frames.len()).map(frame).collect()
}

fn coefficients(values: &[f32], rate: f64) -> Vec<[f64; COEFFICIENTS]> {
    let [length, hop] = [0.025, 0.01].map(|seconds| ((seconds * rate).round() as usize).max(1));
    let points = length.next_power_of_two();
    let emphasized: Vec<f64> = (0..values.len())
        .map(|i| f64::from(values[i]) - if i > 0 { PRE_EMPHASIS * f64::from(values[i - 1]) } else { 0.0 })
        .collect();
    let bins = points / 2 + 1;
    let filters = filters(points, rate);
    let turns: Vec<(f64, f64)> = (0..points)
        .map(|i| 2.0 * PI * i as f64 / points as f64)
        .map(|a| (libm::cos(a), libm::sin(a)))
        .collect();
    let count = 1 + values.len().saturating_sub(length).div_ceil(hop);
    let power = |frame: &[f64], bin: usize| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, x) in frame.iter().enumerate() {
            let (cos, sin) = turns[(i * bin) & (points - 1)];
            re += x * cos;
            im += x * sin;
        }
        (re * re + im * im) / points as f64
    };
    let of_frame = |number: usize| {
        let first = (number * hop).min(emphasized.len());
        let frame = &emphasized[first..(first + length).min(emphasized.len())];
        let spectrum: Vec<f64> = (0..bins).map(|bin| power(frame, bin)).collect();
        let loud = |filter: &Vec<f64>| {
            libm::log(filter.iter().zip(&spectrum).map(|(w, p)| w * p).sum::<f64>().max(LEAST))
        };
        let bands: Vec<f64> = filters.iter().map(loud).collect();
        let mut found = std::array::from_fn(|c| cosine(&bands, c));
        found[0] = libm::log(spectrum.iter().sum::<f64>().max(LEAST));
        found
    };
    (0..count).map(of_frame).collect()
}

/// Coefficient `c` of the orthonormal cosine transform, liftered.
fn cosine(bands: &[f64], c: usize) -> f64 {
    let n = bands.len() as f64;
    let turn = |i: usize| libm::cos(PI * c as f64 * (2 * i + 1) as f64 / (2.0 * n));
    let sum: f64 = bands.iter().enumerate().map(|(i, band)| band * turn(i)).sum();
    let scale = (if c == 0 { 1.0 } else { 2.0 } / n).sqrt();
    sum * scale * (1.0 + LIFTER / 2.0 * libm::sin(PI * c as f64 / LIFTER))
}

/// Triangles whose corners lie evenly on the mel scale.
fn filters(points: usize, rate: f64) -> Vec<Vec<f64>> {
    let mel = |hertz: f64| 2595.0 * libm::log10(1.0 + hertz / 700.0);
    let hertz = |mel: f64| 700.0 * (libm::exp10(mel / 2595.0) - 1.0);
    let corner = |i: usize| {
        let at = hertz(mel(rate / 2.0) * i as f64 / (FILTERS + 1) as f64);
        ((points + 1) as f64 * at / rate) as usize
    };
    let filter = |number: usize| {
        let [low, peak, high] = [corner(number), corner(number + 1), corner(number + 2)];
        let weight = |bin: usize| match bin {
            _ if (low..peak).contains(&bin) => (bin - low) as f64 / (peak - low) as f64,
            _ if (peak..high).contains(&bin) => (high - bin) as f64 / (high - peak) as f64,
            _ => 0.0,
        };
        (0..points / 2 + 1).map(weight).collect()
    };
    (0..FILTERS).map(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `python_speech_features.mfcc(x, 8000, nfft=256)` and `delta(m, 2)` of 600 values of a chirp, frames 0 and 3.
    #[test]
    fn coefficients_are_those_of_the_usual_package() {
        let value = |i: usize| (0.4 * (0.05 * i as f64 + 0.0004 * (i * i) as f64).sin()) as f32;
        let found = mfcc(&Signal::new(1, Some(8000), (0..600).map(value).collect()).unwrap());
        assert_eq!(found.len(), 6);
        for (frame, at, wanted) in GOLDEN {
            assert!((found[frame][at] - wanted).abs() < 2e-3, "{frame} {at}: {} {wanted}", found[frame][at]);
        }
    }

    const GOLDEN: [(usize, usize, f32); 6] = [
        (0, 0, -1.84694),
        (0, 5, -13.82305),
        (3, 1, 26.05401),
        (3, 12, -6.38433),
        (3, 13, 0.39639),
        (2, 20, 12.05115),
    ];

    #[test]
    fn a_sound_shorter_than_a_frame_makes_one_and_silence_is_finite() {
        let of = |values: Vec<f32>| mfcc(&Signal::new(1, Some(8000), values).unwrap());
        assert_eq!(of(vec![0.5; 3]).len(), 1);
        assert!(of(vec![0.0; 900]).iter().flatten().all(|x| x.is_finite()));
        assert!(mfcc(&Signal::new(1, None, vec![0.5; 3]).unwrap()).is_empty());
    }
}
