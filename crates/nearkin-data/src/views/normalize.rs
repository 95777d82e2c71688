//! Bytes to numbers: `(value / 255 - mean) / std`, HWC to CHW.

use super::config::Normalize;

/// The result for each of the 256 values of each channel.
#[derive(Clone, Debug)]
pub(super) struct Normalizer {
    tables: Vec<[f32; 256]>,
}

impl Normalizer {
    /// For a checked `config`: one value, or one a channel.
    pub(super) fn new(config: &Normalize, channels: usize) -> Self {
        let of_channel = |values: &[f32], channel: usize| values[channel.min(values.len() - 1)];
        let table = |channel: usize| {
            let mean = of_channel(&config.mean, channel);
            let std = of_channel(&config.std, channel);
            std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
        };
        Self { tables: (0..channels).map(table).collect() }
    }

    pub(super) fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        let channels = self.tables.len();
        let planes = out.chunks_exact_mut(pixels.len() / channels);
        for (channel, (plane, table)) in planes.zip(&self.tables).enumerate() {
            let values = pixels[channel..].iter().step_by(channels);
            for (out, &value) in plane.iter_mut().zip(values) {
                *out = table[usize::from(value)];
            }
        }
    }
}
