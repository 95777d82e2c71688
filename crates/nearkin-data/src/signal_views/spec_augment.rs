//! Bands of a sound and stretches of it left out.
//!
//! D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", 2019: of a spectrogram, `m_F` bands
//! of up to `F` neighbouring frequencies and `m_T` stretches of up to `T` neighbouring frames are masked, each as wide as drawn, anywhere.
//! (Its third part, warping in time, is here the [stretch](super::SignalViewConfig::stretch) of a sound.)
//!
//! The encoders here take the sound itself. So it is cut into frames of about 32 ms, half a frame apart, under a window whose square adds up
//! to 1; what is masked of their Fourier transforms is set to zero; and the frames are put together again under the same window. Where
//! nothing is masked the sound comes back as it was. The paper's bands are those of the mel scale, and so are these. A masked part is
//! silent; in the paper it has the mean of the log spectrogram.

use std::cell::RefCell;
use std::f32::consts::PI;

use rand::Rng;
use rustfft::FftPlannerScalar;
use rustfft::num_complex::Complex;
use serde::{Deserialize, Serialize};

use crate::random::uniform_between;
use crate::signal::Signal;

/// Seconds of a frame at least; it has a power of two of steps.
const SECONDS: f32 = 0.025;
/// The rate that is assumed of a signal that has none.
const NO_RATE: u32 = 1024;

thread_local! {
    /// It remembers its plans. Without vector instructions, which differ between machines: the same bits everywhere.
    static PLANNER: RefCell<FftPlannerScalar<f32>> = RefCell::new(FftPlannerScalar::new());
}

/// How much of a sound is left out.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SpecAugment {
    /// m_F: bands that are masked; 0 to 16.
    pub frequency_masks: usize,
    /// F: the widest of them, as a share of the mel scale up to half of the rate; 0 to 1. 27 of 80 in the paper.
    pub frequency_width: f32,
    /// m_T: stretches that are masked; 0 to 16.
    pub time_masks: usize,
    /// T: the longest of them, as a share of the view; 0 to 1.
    pub time_width: f32,
}

/// Masks the same of all channels.
pub(super) fn apply(view: &mut Signal, config: &SpecAugment, rng: &mut impl Rng) {
    let rate = view.rate.unwrap_or(NO_RATE);
    let frame = ((rate as f32 * SECONDS).ceil() as usize).next_power_of_two().max(2);
    let (hop, steps) = (frame / 2, view.steps());
    // The first frame begins half a frame early, so that every step lies under two windows.
    let frames = steps.div_ceil(hop) + 1;
    let bands = masks(config.frequency_masks, config.frequency_width, rng);
    let stretches = masks(config.time_masks, config.time_width, rng);
    let most = mel(rate as f32 / 2.0);
    let band: Vec<bool> = (0..=hop)
        .map(|bin| covered(&bands, mel((bin * rate as usize) as f32 / frame as f32) / most))
        .collect();
    let window: Vec<f32> = (0..frame).map(|i| libm::sinf(PI * (i as f32 + 0.5) / frame as f32)).collect();
    let (forward, inverse) =
        PLANNER.with_borrow_mut(|p| (p.plan_fft_forward(frame), p.plan_fft_inverse(frame)));
    let mut spectrum = vec![Complex::default(); frame];
    for channel in view.values.chunks_exact_mut(steps) {
        let mut made = vec![0.0; steps];
        for number in (0..frames).filter(|number| !covered(&stretches, *number as f32 / frames as f32)) {
            let place = |i: usize| (number * hop + i).checked_sub(hop).filter(|place| *place < steps);
            for (i, (value, weight)) in spectrum.iter_mut().zip(&window).enumerate() {
                *value = Complex::new(place(i).map_or(0.0, |place| weight * channel[place]), 0.0);
            }
            forward.process(&mut spectrum);
            // Bin and its mirror image, which a real signal has alike.
            let masked = band.iter().enumerate().filter(|(_, masked)| **masked);
            masked.for_each(|(bin, _)| {
                spectrum[bin] = Complex::default();
                spectrum[(frame - bin) % frame] = Complex::default();
            });
            inverse.process(&mut spectrum);
            for (i, (value, weight)) in spectrum.iter().zip(&window).enumerate() {
                if let Some(place) = place(i) {
                    made[place] += weight * value.re / frame as f32;
                }
            }
        }
        channel.copy_from_slice(&made);
    }
}

/// Parts of an axis from 0 to 1, each of a width up to `widest`, anywhere.
fn masks(count: usize, widest: f32, rng: &mut impl Rng) -> Vec<[f32; 2]> {
    let mut mask = || {
        let width = uniform_between(rng, 0.0, widest);
        let first = uniform_between(rng, 0.0, 1.0 - width);
        [first, first + width]
    };
    (0..count).map(|_| mask()).collect()
}

fn covered(masks: &[[f32; 2]], at: f32) -> bool {
    masks.iter().any(|[first, end]| (*first..*end).contains(&at))
}

fn mel(hertz: f32) -> f32 {
    2595.0 * libm::log10f(1.0 + hertz / 700.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, normal, stream};

    fn noise(channels: usize, steps: usize) -> Signal {
        let mut rng = stream(9, 0, 0, 0, Purpose::View);
        Signal::new(channels, Some(8000), (0..channels * steps).map(|_| normal(&mut rng)).collect()).unwrap()
    }

    fn masked(signal: &Signal, config: SpecAugment, seed: u64) -> Signal {
        let mut view = signal.clone();
        apply(&mut view, &config, &mut stream(seed, 0, 0, 0, Purpose::View));
        view
    }

    fn energy(values: &[f32]) -> f32 {
        values.iter().map(|x| x * x).sum()
    }

    /// Energy of one frequency, by its definition.
    fn at_hertz(values: &[f32], hertz: f32) -> f32 {
        let sums = values.iter().enumerate().fold([0.0f64; 2], |[re, im], (i, x)| {
            let turn = 2.0 * std::f64::consts::PI * f64::from(hertz) * i as f64 / 8000.0;
            [re + f64::from(*x) * turn.cos(), im + f64::from(*x) * turn.sin()]
        });
        (sums[0].powi(2) + sums[1].powi(2)) as f32
    }

    #[test]
    fn masks_without_width_give_the_sound_back() {
        for (channels, steps) in [(1, 1), (1, 100), (2, 4000), (1, 4001)] {
            let signal = noise(channels, steps);
            for count in [0, 3] {
                let config =
                    SpecAugment { frequency_masks: count, time_masks: count, ..SpecAugment::default() };
                let found = masked(&signal, config, 1);
                let off = found.values.iter().zip(&signal.values).map(|(a, b)| (a - b).abs());
                assert!(off.fold(0.0, f32::max) < 1e-5, "{channels} {steps}");
            }
        }
    }

    #[test]
    fn a_masked_band_is_empty_and_the_rest_stays() {
        let signal = noise(1, 8000);
        let config = SpecAugment { frequency_masks: 1, frequency_width: 0.4, ..SpecAugment::default() };
        let mut seen = 0;
        for seed in 0..20 {
            let found = masked(&signal, config, seed);
            let [[first, end]] = masks(1, 0.4, &mut stream(seed, 0, 0, 0, Purpose::View))[..] else {
                panic!()
            };
            let hertz = |share: f32| 700.0 * (libm::exp10f(share * mel(4000.0) / 2595.0) - 1.0);
            let (first, end) = (hertz(first), hertz(end));
            // The window's lobe reaches some 50 Hz over a bin's edge.
            if end - first < 300.0 {
                continue;
            }
            seen += 1;
            let middle = (first + end) / 2.0;
            let around = |values: &[f32], middle: f32| -> f32 {
                (-20..=20).map(|step| at_hertz(values, middle + step as f32)).sum()
            };
            let left = around(&found.values, middle) / around(&signal.values, middle);
            assert!(left < 1e-3, "{seed}: {left} left between {first} and {end} Hz");
            let outside = if first > 500.0 { first - 250.0 } else { end + 250.0 };
            let kept = around(&found.values, outside) / around(&signal.values, outside);
            assert!((0.7..1.3).contains(&kept), "{seed}: {kept} kept at {outside} Hz");
        }
        assert!(seen >= 5, "{seen}");
    }

    #[test]
    fn a_masked_stretch_is_silent_and_the_rest_stays() {
        let signal = noise(2, 8000);
        let config = SpecAugment { time_masks: 1, time_width: 0.5, ..SpecAugment::default() };
        let mut longest = 0.0f32;
        for seed in 0..10 {
            let found = masked(&signal, config, seed);
            let [[first, end]] = masks(1, 0.5, &mut stream(seed, 0, 0, 0, Purpose::View))[..] else {
                panic!()
            };
            for (channel, was) in found.each_channel().zip(signal.each_channel()) {
                // A frame of 256 steps fades on either side.
                let (from, to) =
                    ((first * 8000.0) as usize + 300, ((end * 8000.0) as usize).saturating_sub(300));
                if from < to {
                    assert_eq!(energy(&channel[from..to]), 0.0, "{seed}");
                    longest = longest.max(end - first);
                }
                let before = ((first * 8000.0) as usize).saturating_sub(300);
                let off = channel[..before].iter().zip(was).map(|(a, b)| (a - b).abs());
                assert!(off.fold(0.0, f32::max) < 1e-5, "{seed}");
            }
        }
        assert!(longest > 0.25, "{longest}");
    }
}
