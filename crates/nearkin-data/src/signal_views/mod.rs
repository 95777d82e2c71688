//! Views of sounds and series: augmented copies of one length, on one scale.
//!
//! One file an operation. In order: the scale, a part of the signal ([`SignalCrop`]), stretching, warping in time, permutation,
//! warping of magnitude, factors, noise, masks, μ-law. Those of series follow Um et al., "Data augmentation of wearable sensor data for
//! Parkinson's disease monitoring using convolutional neural networks", 2017; those of sound are the usual ones of speech.

mod config;
mod crop;
mod curve;
mod mu_law;
mod permutation;
mod spec_augment;
mod stretch;

use rand::Rng;
use serde::{Deserialize, Serialize};

pub use config::{SignalCrop, SignalViewConfig};
pub use spec_augment::SpecAugment;

use crate::error::DataError;
use crate::random::{bernoulli, normal, uniform_between};
use crate::signal::Signal;

/// The scale of what a network sees.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Standardize {
    /// Each channel less its mean over the training set, in units of its standard deviation there: how large a series is stays to be
    /// seen.
    Set {
        /// A value a channel.
        mean: Vec<f32>,
        /// A value a channel, above 0.
        std: Vec<f32>,
    },
    /// Each signal by its own mean and standard deviation, over all its channels together: how loud a recording was is not seen.
    Each {},
}

impl Standardize {
    fn check(&self, channels: usize) -> Result<(), DataError> {
        let Self::Set { mean, std } = self else { return Ok(()) };
        let finite = mean.iter().chain(std).all(|x| x.is_finite()) && std.iter().all(|x| *x > 0.0);
        if mean.len() == channels && std.len() == channels && finite {
            return Ok(());
        }
        let found = format!("mean {mean:?} and std {std:?}");
        Err(DataError::setting("standardize", found, format!("{channels} finite values each, std above 0")))
    }

    /// Brings a signal of as many channels to this scale.
    pub fn apply(&self, signal: &mut Signal) {
        let steps = signal.steps();
        let scale = |values: &mut [f32], mean: f32, std: f32| {
            values.iter_mut().for_each(|x| *x = (*x - mean) / std);
        };
        match self {
            Self::Set { mean, std } => {
                let channels = signal.values.chunks_exact_mut(steps);
                channels
                    .zip(mean.iter().zip(std))
                    .for_each(|(values, (&mean, &std))| scale(values, mean, std));
            }
            Self::Each {} => {
                let count = signal.values.len() as f64;
                let mean = signal.values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
                let of_square = |&x: &f32| (f64::from(x) - mean).powi(2);
                let variance = signal.values.iter().map(of_square).sum::<f64>() / count;
                // Silence stays silence.
                let std = if variance > 0.0 { variance.sqrt() } else { 1.0 };
                scale(&mut signal.values, mean as f32, std as f32);
            }
        }
    }
}

/// A checked pipeline from signals of so many channels to views of one length.
#[derive(Clone, Debug)]
pub struct SignalViews {
    config: SignalViewConfig,
    channels: usize,
    length: usize,
    standardize: Standardize,
}

impl SignalViews {
    /// Views of `length` steps of signals of `channels` channels.
    ///
    /// # Errors
    /// [`DataError::Setting`], which names the setting that is out of range.
    pub fn new(
        config: &SignalViewConfig,
        channels: usize,
        length: usize,
        standardize: Standardize,
    ) -> Result<Self, DataError> {
        config.check(channels, length)?;
        standardize.check(channels)?;
        Ok(Self { config: config.clone(), channels, length, standardize })
    }

    /// Channels of a view.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Steps of a view.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The number of values of a view: channels × length.
    #[must_use]
    pub fn values(&self) -> usize {
        self.channels * self.length
    }

    /// The scale of a view.
    #[must_use]
    pub fn standardize(&self) -> &Standardize {
        &self.standardize
    }

    /// Writes one view of a signal to `out`, channel by channel. The same draws from `rng` give the same bits.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the signal has another channel count or `out` another length than [`SignalViews::values`].
    pub fn apply(&self, mut signal: Signal, rng: &mut impl Rng, out: &mut [f32]) -> Result<(), DataError> {
        let wrong = |what, found: usize, wanted: usize| DataError::Shape {
            what,
            found: found.to_string(),
            wanted: format!("{wanted}, as the views are made for"),
        };
        if signal.channels != self.channels {
            return Err(wrong("channels of the signal", signal.channels, self.channels));
        }
        if out.len() != self.values() {
            return Err(wrong("output of a view", out.len(), self.values()));
        }
        self.standardize.apply(&mut signal);
        let config = &self.config;
        let rate = config.stretch.map_or(1.0, |[low, high]| uniform_between(rng, low, high));
        // A part that is to be stretched has to be as much longer.
        let part = (self.length as f32 * rate).round().max(1.0) as usize;
        let mut view = crop::apply(&config.crop, &signal, part, rng);
        if config.stretch.is_some() {
            view = stretch::apply(&view, self.length, signal.rate);
        }
        if config.time_warp > 0.0 {
            view = curve::warp_time(&view, config.time_warp, rng);
        }
        if config.permutation > 1 {
            view = permutation::apply(&view, config.permutation, rng);
        }
        if config.magnitude_warp > 0.0 {
            curve::warp_magnitude(&mut view, config.magnitude_warp, rng);
        }
        if config.scaling > 0.0 {
            for channel in view.values.chunks_exact_mut(self.length) {
                let factor = 1.0 + config.scaling * normal(rng);
                channel.iter_mut().for_each(|x| *x *= factor);
            }
        }
        if let Some([low, high]) = config.gain {
            let factor = libm::exp10f(uniform_between(rng, low, high) / 20.0);
            view.values.iter_mut().for_each(|x| *x *= factor);
        }
        if config.noise > 0.0 {
            // Of every strength up to the largest.
            let std = uniform_between(rng, 0.0, config.noise);
            view.values.iter_mut().for_each(|x| *x += std * normal(rng));
        }
        if let Some(masks) = &config.spec_augment {
            spec_augment::apply(&mut view, masks, rng);
        }
        if bernoulli(rng, config.mu_law) {
            mu_law::apply(&mut view.values);
        }
        out.copy_from_slice(&view.values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn ramp(channels: usize, steps: usize) -> Signal {
        Signal::new(channels, Some(8000), (0..channels * steps).map(|i| i as f32).collect()).unwrap()
    }

    fn as_is(channels: usize) -> Standardize {
        Standardize::Set { mean: vec![0.0; channels], std: vec![1.0; channels] }
    }

    fn view(config: &SignalViewConfig, signal: Signal, length: usize, sample: u64) -> Vec<f32> {
        let channels = signal.channels;
        let views = SignalViews::new(config, channels, length, as_is(channels)).unwrap();
        let mut out = vec![f32::NAN; views.values()];
        views.apply(signal, &mut stream(1, 0, sample, 0, Purpose::View), &mut out).unwrap();
        out
    }

    /// Everything at once.
    fn all() -> SignalViewConfig {
        SignalViewConfig {
            crop: SignalCrop::Window {},
            stretch: Some([0.8, 1.25]),
            time_warp: 0.2,
            permutation: 4,
            magnitude_warp: 0.2,
            scaling: 0.1,
            gain: Some([-6.0, 6.0]),
            noise: 0.05,
            spec_augment: Some(SpecAugment {
                frequency_masks: 2,
                frequency_width: 0.3,
                time_masks: 2,
                time_width: 0.2,
            }),
            mu_law: 0.5,
        }
    }

    #[test]
    fn a_view_without_randomness_is_the_signal_on_its_scale() {
        let config = SignalViewConfig { crop: SignalCrop::Whole {}, ..SignalViewConfig::default() };
        assert_eq!(view(&config, ramp(2, 5), 5, 0), ramp(2, 5).values);
        let mut each = Signal::new(1, None, vec![1.0, 3.0]).unwrap();
        Standardize::Each {}.apply(&mut each);
        assert_eq!(each.values, [-1.0, 1.0]);
        let mut silence = Signal::new(1, None, vec![0.5; 3]).unwrap();
        Standardize::Each {}.apply(&mut silence);
        assert_eq!(silence.values, [0.0; 3]);
        let mut set = Signal::new(2, None, vec![1.0, 3.0, 10.0, 10.0]).unwrap();
        Standardize::Set { mean: vec![1.0, 5.0], std: vec![2.0, 5.0] }.apply(&mut set);
        assert_eq!(set.values, [0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_window_is_a_part_as_it_is_and_a_shorter_signal_stands_among_zeros() {
        let config = SignalViewConfig::default();
        for sample in 0..20 {
            let found = view(&config, ramp(1, 50), 8, sample);
            assert!(found.windows(2).all(|w| w[1] - w[0] == 1.0) && found[0] >= 0.0 && found[7] < 50.0);
            let found = view(&config, Signal::new(1, None, vec![1.0; 3]).unwrap(), 8, sample);
            let first = found.iter().position(|x| *x == 1.0).unwrap();
            let wanted: Vec<f32> =
                (0..8).map(|i| f32::from(u8::from((first..first + 3).contains(&i)))).collect();
            assert_eq!(found, wanted);
        }
        let firsts: std::collections::HashSet<u32> =
            (0..40).map(|sample| view(&config, ramp(1, 50), 8, sample)[0] as u32).collect();
        assert!(firsts.len() > 10, "{firsts:?}");
    }

    #[test]
    fn a_view_depends_on_the_stream_alone() {
        let first = view(&all(), ramp(2, 3000), 1000, 7);
        assert_ne!(first, view(&all(), ramp(2, 3000), 1000, 8));
        let elsewhere = std::thread::spawn(|| view(&all(), ramp(2, 3000), 1000, 7));
        assert_eq!(first, elsewhere.join().unwrap());
    }

    #[test]
    fn every_operation_fits_every_length() {
        let crops = [SignalCrop::Window {}, SignalCrop::Whole {}, SignalCrop::Resized { scale: [0.3, 1.0] }];
        for crop in crops {
            let config = SignalViewConfig { crop, ..all() };
            for (steps, length) in [(1, 1), (1, 40), (40, 1), (2, 3), (700, 90), (90, 700), (24, 24)] {
                for sample in 0..5 {
                    let found = view(&config, ramp(2, steps), length, sample);
                    assert!(found.iter().all(|x| x.is_finite()), "{config:?} {steps} {length}");
                }
            }
        }
    }

    #[test]
    fn a_wrong_signal_buffer_or_setting_is_an_error() {
        let views = SignalViews::new(&SignalViewConfig::default(), 1, 8, Standardize::Each {}).unwrap();
        let mut rng = stream(0, 0, 0, 0, Purpose::View);
        let mut out = vec![0.0; 8];
        assert!(views.apply(ramp(2, 8), &mut rng, &mut out).is_err());
        assert!(views.apply(ramp(1, 8), &mut rng, &mut out[1..]).is_err());
        let refused = |config: SignalViewConfig, wanted: &str| {
            let error = SignalViews::new(&config, 1, 8, Standardize::Each {}).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        };
        let usual = SignalViewConfig::default;
        refused(SignalViewConfig { noise: -1.0, ..usual() }, "views.noise");
        refused(SignalViewConfig { stretch: Some([0.0, 1.0]), ..usual() }, "views.stretch");
        refused(SignalViewConfig { gain: Some([3.0, 1.0]), ..usual() }, "views.gain");
        refused(SignalViewConfig { mu_law: 1.5, ..usual() }, "views.mu-law");
        refused(SignalViewConfig { time_warp: f32::NAN, ..usual() }, "views.time-warp");
        let masks = |change: fn(&mut SpecAugment)| {
            let mut masks = SpecAugment::default();
            change(&mut masks);
            SignalViewConfig { spec_augment: Some(masks), ..SignalViewConfig::default() }
        };
        refused(masks(|m| m.frequency_masks = 17), "views.spec-augment.frequency-masks");
        refused(masks(|m| m.frequency_width = 1.5), "views.spec-augment.frequency-width");
        refused(masks(|m| m.time_masks = 17), "views.spec-augment.time-masks");
        refused(masks(|m| m.time_width = f32::NAN), "views.spec-augment.time-width");
        let crop = SignalCrop::Resized { scale: [0.5, 1.5] };
        refused(SignalViewConfig { crop, ..usual() }, "views.crop.scale");
        let scale = Standardize::Set { mean: vec![0.0], std: vec![0.0] };
        assert!(SignalViews::new(&usual(), 1, 8, scale).is_err());
    }
}
