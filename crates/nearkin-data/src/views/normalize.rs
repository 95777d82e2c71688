//! Bytes to numbers: `(value / 255 - mean) / std`.

use nearkin_sweep::wide;

use super::config::Normalize;

/// Mean and standard deviation of each channel.
#[derive(Clone, Debug)]
pub(super) struct Normalizer {
    channels: Vec<(f32, f32)>,
}

impl Normalizer {
    /// For a checked `config`: one value, or one a channel.
    pub(super) fn new(config: &Normalize, channels: usize) -> Self {
        let of_channel = |values: &[f32], channel: usize| values[channel.min(values.len() - 1)];
        let both = |channel| (of_channel(&config.mean, channel), of_channel(&config.std, channel));
        Self { channels: (0..channels).map(both).collect() }
    }

    /// A value on the scale of 0 to 1, normalised.
    pub(super) fn of(&self, channel: usize, value: f32) -> f32 {
        let (mean, std) = self.channels[channel];
        (value - mean) / std
    }

    pub(super) fn apply(&self, planes: &[u8], out: &mut [f32]) {
        let pixels = planes.len() / self.channels.len();
        let planes = planes.chunks_exact(pixels).zip(out.chunks_exact_mut(pixels));
        for ((plane, out), &(mean, std)) in planes.zip(&self.channels) {
            wide(
                #[inline(always)]
                || {
                    for (out, value) in out.iter_mut().zip(plane) {
                        *out = (f32::from(*value) / 255.0 - mean) / std;
                    }
                },
            );
        }
    }
}
