//! A sound or a series, and what can be done to it before any training.

use std::f64::consts::PI;

use crate::error::DataError;

/// Zero crossings of the sinc on each side that a resampled value is made of.
const CROSSINGS: usize = 16;

/// So many values in each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// At least 1.
    pub channels: usize,
    /// Steps a second, where steps are a time: of sounds.
    pub rate: Option<u32>,
    /// Channel by channel, each as long as the others; sounds lie between −1 and 1.
    pub values: Vec<f32>,
}

impl Signal {
    /// A signal from its parts.
    ///
    /// # Errors
    /// [`DataError::Shape`] without channels or values, for channels of different lengths, and for a value that is not finite.
    pub fn new(channels: usize, rate: Option<u32>, values: Vec<f32>) -> Result<Self, DataError> {
        let sound = channels > 0 && !values.is_empty() && values.len().is_multiple_of(channels);
        let broken = values.iter().position(|value| !value.is_finite());
        if sound && broken.is_none() {
            return Ok(Self { channels, rate, values });
        }
        let found = match broken {
            Some(at) => format!("{} at value {at}", values[at]),
            None => format!("{channels} channels in {} values", values.len()),
        };
        let wanted = "at least one channel, all of one length, and finite values".into();
        Err(DataError::Shape { what: "signal", found, wanted })
    }

    /// Values of a channel.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.values.len() / self.channels
    }

    /// The values of each channel.
    pub fn each_channel(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.steps())
    }

    /// The mean of all channels, as one.
    #[must_use]
    pub fn mixed_down(self) -> Self {
        if self.channels == 1 {
            return self;
        }
        let mut sum = vec![0.0; self.steps()];
        for channel in self.each_channel() {
            sum.iter_mut().zip(channel).for_each(|(sum, value)| *sum += value);
        }
        let count = self.channels as f32;
        sum.iter_mut().for_each(|value| *value /= count);
        Self { channels: 1, values: sum, ..self }
    }

    /// The same sound at another rate: what lies above half of the lower rate is filtered out, by a sinc under a Hann window. A
    /// signal without a rate stays as it is.
    #[must_use]
    pub fn resampled(self, rate: u32) -> Self {
        let Some(own) = self.rate.filter(|own| *own != rate && *own > 0 && rate > 0) else { return self };
        let shared = greatest_common_divisor(own, rate);
        // Output step i stands at input step i · own / rate, whose fraction takes only so many values.
        let (stride, phases) = ((own / shared) as usize, (rate / shared) as usize);
        // Relative to the input's own band.
        let band = (f64::from(rate) / f64::from(own)).min(1.0);
        let reach = (CROSSINGS as f64 / band).ceil() as usize;
        let taps: Vec<Vec<f32>> = (0..phases)
            .map(|phase| {
                let fraction = phase as f64 / phases as f64;
                let weight = |k: usize| {
                    let distance = (k as f64 - (reach - 1) as f64 - fraction) * band;
                    sinc(distance) * hann(distance / CROSSINGS as f64) * band
                };
                let weights: Vec<f64> = (0..2 * reach).map(weight).collect();
                // A constant stays what it is.
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| (weight / sum) as f32).collect()
            })
            .collect();
        let steps = (self.steps() * phases).div_ceil(stride);
        let mut values = Vec::with_capacity(self.channels * steps);
        for channel in self.each_channel() {
            values.extend((0..steps).map(|i| {
                let (whole, phase) = (i * stride / phases, i * stride % phases);
                let first = (whole + 1) as isize - reach as isize;
                let inside = |(k, weight): (usize, &f32)| {
                    let at = usize::try_from(first + k as isize).ok()?;
                    Some(weight * channel.get(at)?)
                };
                taps[phase].iter().enumerate().filter_map(inside).sum::<f32>()
            }));
        }
        Self { rate: Some(rate), values, ..self }
    }

    /// All values, little-endian.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { libm::sin(PI * x) / (PI * x) }
}

/// 1 at 0, 0 at ±1 and beyond.
fn hann(x: f64) -> f64 {
    if x.abs() >= 1.0 { 0.0 } else { 0.5 + 0.5 * libm::cos(PI * x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of so many turns a second.
    fn tone(frequency: f64, rate: u32) -> Signal {
        let value = |i: u32| libm::sin(2.0 * PI * frequency * f64::from(i) / f64::from(rate)) as f32;
        Signal::new(1, Some(rate), (0..rate).map(value).collect()).unwrap()
    }

    #[test]
    fn a_tone_is_the_same_tone_at_another_rate() {
        for (from, to) in [(8000, 16000), (44_100, 16_000), (16_000, 8000), (11_025, 8000)] {
            let (found, wanted) = (tone(440.0, from).resampled(to), tone(440.0, to));
            assert_eq!((found.rate, found.steps()), (Some(to), to as usize));
            // Away from the ends, beyond which there is silence.
            let inner = 100..to as usize - 100;
            let pairs = found.values[inner.clone()].iter().zip(&wanted.values[inner]);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-3, "{from} → {to}: {worst}");
        }
    }

    #[test]
    fn what_a_lower_rate_cannot_hold_is_filtered_out() {
        let found = tone(6000.0, 16_000).resampled(8000);
        assert!(found.values[100..7900].iter().all(|value| value.abs() < 0.01));
    }

    #[test]
    fn channels_are_mixed_to_their_mean_and_a_series_has_no_rate_to_change() {
        let stereo = Signal::new(2, None, vec![1.0, 2.0, 3.0, 6.0]).unwrap();
        assert_eq!(stereo.clone().resampled(8000), stereo);
        assert_eq!(stereo.mixed_down().values, [2.0, 4.0]);
    }

    #[test]
    fn broken_signals_are_refused() {
        for (channels, values) in [(0, vec![1.0]), (1, vec![]), (2, vec![1.0; 3]), (1, vec![0.0, f32::NAN])] {
            assert!(Signal::new(channels, None, values).is_err());
        }
    }
}
