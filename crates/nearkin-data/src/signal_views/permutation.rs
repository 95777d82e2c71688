//! Segments of a series in another order (Um et al. 2017).

use rand::Rng;

use crate::random::{below, shuffle};
use crate::signal::Signal;

/// Cuts all channels at the same random places into 1 to `most` segments, and puts these together in random order.
pub(super) fn apply(signal: &Signal, most: usize, rng: &mut impl Rng) -> Signal {
    let steps = signal.steps();
    let count = 1 + below(rng, most.min(steps));
    let mut cuts: Vec<usize> = (1..count).map(|_| below(rng, steps)).collect();
    cuts.extend([0, steps]);
    cuts.sort_unstable();
    let mut segments: Vec<&[usize]> = cuts.windows(2).collect();
    shuffle(rng, &mut segments);
    let order = |channel| segments.iter().flat_map(move |ends: &&[usize]| channel_part(channel, ends));
    Signal { values: signal.each_channel().flat_map(order).collect(), ..*signal }
}

fn channel_part<'a>(channel: &'a [f32], ends: &[usize]) -> impl Iterator<Item = f32> + 'a {
    channel[ends[0]..ends[1]].iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn every_step_stays_and_channels_stay_together() {
        let values: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let signal = Signal::new(2, None, values.clone()).unwrap();
        let mut moved = 0;
        for sample in 0..20 {
            let mut rng = stream(1, 0, sample, 0, Purpose::View);
            let found = apply(&signal, 5, &mut rng).values;
            assert!(found[..20].iter().zip(&found[20..]).all(|(a, b)| b - a == 20.0));
            moved += usize::from(found != values);
            let mut sorted = found;
            sorted.sort_by(f32::total_cmp);
            assert_eq!(sorted, values);
        }
        assert!(moved > 5);
    }
}
