//! A sound played faster or slower without a change of pitch.
//!
//! W. Verhelst, M. Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for high quality time-scale modification of
//! speech", 1993: pieces of the sound are put down at an equal distance under windows that add up to 1; each is taken from near where it
//! should be by the speed, at the place where it best goes on from the piece before.

use std::f32::consts::PI;

use crate::signal::Signal;

/// Pieces a second, half a piece apart: a piece of 31 ms holds two periods of the lowest voice.
const HOPS_A_SECOND: u32 = 64;
/// The rate that is assumed of a signal that has none: pieces of 32 steps.
const NO_RATE: u32 = 1024;

/// The signal with `length` steps.
pub(super) fn apply(signal: &Signal, length: usize, rate: Option<u32>) -> Signal {
    let steps = signal.steps();
    let hop = (rate.unwrap_or(NO_RATE) / HOPS_A_SECOND).max(1) as usize;
    let piece = 2 * hop;
    if steps == length {
        return signal.clone();
    }
    let speed = steps as f32 / length as f32;
    let window: Vec<f32> =
        (0..piece).map(|i| 0.5 - 0.5 * libm::cosf(PI * (i as f32 + 0.5) / hop as f32)).collect();
    let mixed = signal.clone().mixed_down().values;
    let mut values = vec![0.0; signal.channels * length];
    let mut before: Option<isize> = None;
    // The first piece begins half a piece early, so that every step lies under two windows.
    for number in 0..=length.div_ceil(hop) {
        let put = (number as isize - 1) * hop as isize;
        // The middle of a piece goes where the speed says.
        let ideal = ((put + hop as isize) as f32 * speed) as isize - hop as isize;
        let from = match before {
            Some(before) => most_alike(&mixed, before + hop as isize, ideal, hop),
            None => ideal,
        };
        for (channel, out) in signal.each_channel().zip(values.chunks_exact_mut(length)) {
            for (i, weight) in window.iter().enumerate() {
                let place = usize::try_from(put + i as isize).ok().filter(|place| *place < length);
                if let Some(place) = place {
                    out[place] += weight * at(channel, from + i as isize);
                }
            }
        }
        before = Some(from);
    }
    Signal { values, ..*signal }
}

/// The place within half a hop of `ideal` whose piece is most like that at `natural`.
fn most_alike(values: &[f32], natural: isize, ideal: isize, hop: usize) -> isize {
    let reach = (hop / 2) as isize;
    // In silence, nothing is more alike than anything else.
    let mut best = (0.0, ideal);
    for place in ideal - reach..=ideal + reach {
        let (mut both, mut own) = (0.0, 1e-6);
        for i in 0..2 * hop as isize {
            let x = at(values, place + i);
            both += x * at(values, natural + i);
            own += x * x;
        }
        let alike = both / own.sqrt();
        if alike > best.0 {
            best = (alike, place);
        }
    }
    best.1
}

/// Silence beyond the ends.
fn at(values: &[f32], place: isize) -> f32 {
    usize::try_from(place).ok().and_then(|place| values.get(place)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upward crossings of zero a second.
    fn pitch(values: &[f32]) -> f32 {
        values.windows(2).filter(|w| w[0] <= 0.0 && w[1] > 0.0).count() as f32 / values.len() as f32 * 8000.0
    }

    #[test]
    fn a_tone_becomes_longer_or_shorter_and_keeps_its_pitch_and_loudness() {
        let tone = |i: usize| libm::sinf(2.0 * PI * 200.0 * i as f32 / 8000.0);
        let signal = Signal::new(1, Some(8000), (0..8000).map(tone).collect()).unwrap();
        for length in [6000, 8000, 11_000] {
            let found = apply(&signal, length, Some(8000)).values;
            assert_eq!(found.len(), length);
            let inner = &found[500..length - 500];
            assert!((pitch(inner) - 200.0).abs() < 6.0, "{length}: {}", pitch(inner));
            let power = inner.iter().map(|x| x * x).sum::<f32>() / inner.len() as f32;
            assert!((power - 0.5).abs() < 0.05, "{length}: {power}");
        }
    }
}
