//! The part of a signal that becomes the view.

use rand::Rng;

use super::SignalCrop;
use crate::random::{below, uniform_between};
use crate::signal::Signal;

pub(super) fn apply(crop: &SignalCrop, signal: &Signal, length: usize, rng: &mut impl Rng) -> Signal {
    let steps = signal.steps();
    match *crop {
        SignalCrop::Window {} => window(signal, length, below(rng, steps.abs_diff(length) + 1)),
        SignalCrop::Resized { scale: [low, high] } => {
            let share = uniform_between(rng, low, high);
            let part = ((steps as f32 * share).round() as usize).clamp(1, steps);
            resized(signal, below(rng, steps - part + 1), part, length)
        }
        SignalCrop::Whole {} => resized(signal, 0, steps, length),
    }
}

/// `length` steps from `place` on; of a shorter signal all, from `place` on among zeros.
fn window(signal: &Signal, length: usize, place: usize) -> Signal {
    let mut values = vec![0.0; signal.channels * length];
    for (out, channel) in values.chunks_exact_mut(length).zip(signal.each_channel()) {
        match channel.len() >= length {
            true => out.copy_from_slice(&channel[place..place + length]),
            false => out[place..place + channel.len()].copy_from_slice(channel),
        }
    }
    Signal { values, ..*signal }
}

/// `part` steps from `first` on, by linear interpolation as `length`; both ends stay ends.
fn resized(signal: &Signal, first: usize, part: usize, length: usize) -> Signal {
    let stride = (part - 1) as f32 / (length - 1).max(1) as f32;
    let values = signal.each_channel().flat_map(|channel| {
        let part = &channel[first..first + part];
        (0..length).map(move |i| between(part, i as f32 * stride))
    });
    Signal { values: values.collect(), ..*signal }
}

/// The value at a place between two steps; beyond an end, that of the end.
pub(super) fn between(values: &[f32], place: f32) -> f32 {
    let place = place.clamp(0.0, (values.len() - 1) as f32);
    let low = (place as usize).min(values.len() - 1);
    let high = (low + 1).min(values.len() - 1);
    values[low] + (values[high] - values[low]) * (place - low as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resized_part_keeps_its_ends_and_is_straight_between_steps() {
        let signal = Signal::new(2, None, vec![0.0, 1.0, 4.0, 5.0, 0.0, 0.0, 2.0, 2.0]).unwrap();
        assert_eq!(resized(&signal, 1, 2, 4).values, [1.0, 2.0, 3.0, 4.0, 0.0, 2.0 / 3.0, 4.0 / 3.0, 2.0]);
        assert_eq!(resized(&signal, 0, 4, 4), signal);
        assert_eq!(resized(&signal, 2, 1, 3).values, [4.0, 4.0, 4.0, 2.0, 2.0, 2.0]);
    }
}
