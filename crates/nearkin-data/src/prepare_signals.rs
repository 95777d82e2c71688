//! Sounds and series: read once, brought to one rate and one number of channels, kept at hand.

use std::path::PathBuf;

use crate::dataset::{Dataset, Media};
use crate::error::DataError;
use crate::prepare::{Skipped, keep_good};
use crate::signal::Signal;
use crate::store::{Store, StoreWriter};

/// How to prepare a data set of sounds or series.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalOptions {
    /// Channels of every signal, at least 1. A sound of several becomes their mean if 1 is wanted; any other that has not as many
    /// counts as broken.
    pub channels: usize,
    /// Steps a second that every sound is brought to; series have no rate.
    pub rate: Option<u32>,
    /// Bytes of values to keep in memory; the rest goes to the spill file.
    pub memory_budget: u64,
    /// The folder for the spill file, which is made only when needed and never outlives the process.
    pub spill_dir: PathBuf,
    /// The part of the signals, 0 to 1, that may be broken and is skipped; one is always allowed.
    pub max_skipped_fraction: f64,
}

impl SignalOptions {
    /// Options with the defaults: 4 GiB of memory, the system's temporary folder, 5 % broken signals.
    #[must_use]
    pub fn new(channels: usize, rate: Option<u32>) -> Self {
        Self {
            channels,
            rate,
            memory_budget: 4 << 30,
            spill_dir: std::env::temp_dir(),
            max_skipped_fraction: 0.05,
        }
    }

    fn check(&self) -> Result<(), DataError> {
        if self.channels == 0 {
            return Err(DataError::setting("channels", 0, "at least 1"));
        }
        if self.rate == Some(0) {
            return Err(DataError::setting("rate", 0, "at least 1 step a second"));
        }
        if !(0.0..=1.0).contains(&self.max_skipped_fraction) {
            return Err(DataError::setting("max_skipped_fraction", self.max_skipped_fraction, "0 to 1"));
        }
        Ok(())
    }
}

/// A data set of sounds or series that are read, of one rate and number of channels, and at hand: what
/// [`Prepared`](crate::Prepared) is for images.
pub struct PreparedSignals {
    /// The good samples; signal i of this is signal i of [`PreparedSignals::signal`].
    pub dataset: Dataset,
    /// The broken ones, in order.
    pub skipped: Vec<Skipped>,
    channels: usize,
    rate: Option<u32>,
    store: Store,
}

impl PreparedSignals {
    /// Reads every signal in parallel and keeps it.
    ///
    /// `progress` is called with (done, total) after every group of signals, from this thread. The result does not depend on the
    /// number of threads.
    ///
    /// # Errors
    /// [`DataError::OtherMedia`] for images, [`DataError::Setting`] for options out of range, [`DataError::TooManyBroken`] with the
    /// first ten broken signals as soon as there are too many, [`DataError::Empty`] if none is left, [`DataError::Spill`] if the
    /// spill file cannot be written.
    pub fn prepare(
        dataset: &Dataset,
        options: &SignalOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        options.check()?;
        if !dataset.media().is_signal() {
            let (path, found) = (dataset.path().to_owned(), dataset.media());
            return Err(DataError::OtherMedia { path, found, wanted: "sounds or series" });
        }
        let mut store = StoreWriter::new(options.memory_budget, &options.spill_dir);
        let read = |_: &mut (), i| fitted(dataset, i, options);
        let keep = |signal: Signal| store.push([signal.channels, signal.steps()], signal.bytes());
        let (good, skipped) = keep_good(dataset, options.max_skipped_fraction, || (), read, keep, progress)?;
        Ok(Self {
            dataset: dataset.subset(&good),
            skipped,
            channels: options.channels,
            rate: options.rate.filter(|_| dataset.media() == Media::Sounds),
            store: store.finish()?,
        })
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dataset.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dataset.is_empty()
    }

    /// Channels of every signal.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The signal of sample `i`.
    ///
    /// # Errors
    /// [`DataError::Index`], or [`DataError::Spill`] if the spill file cannot be read.
    pub fn signal(&self, i: usize) -> Result<Signal, DataError> {
        let [channels, _] = self.store.size(i)?;
        let bytes = self.store.bytes(i)?;
        let (words, _) = bytes.as_chunks();
        let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok(Signal { channels, rate: self.rate, values })
    }

    /// Steps of the signal of sample `i`, which is not read for it.
    ///
    /// # Errors
    /// [`DataError::Index`].
    pub fn steps(&self, i: usize) -> Result<usize, DataError> {
        self.store.size(i).map(|[_, steps]| steps)
    }

    /// Bytes of values, in memory and on disk together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.in_memory() + self.store.on_disk()
    }

    /// Mean and standard deviation of each channel over all samples.
    ///
    /// # Errors
    /// As [`signal`](Self::signal).
    pub fn moments(&self) -> Result<(Vec<f32>, Vec<f32>), DataError> {
        let mut sums = vec![[0.0f64; 3]; self.channels];
        for i in 0..self.len() {
            for (sums, channel) in sums.iter_mut().zip(self.signal(i)?.each_channel()) {
                sums[0] += channel.len() as f64;
                sums[1] += channel.iter().map(|&x| f64::from(x)).sum::<f64>();
                sums[2] += channel.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            }
        }
        let moments = sums.into_iter().map(|[count, sum, squares]| {
            let mean = sum / count;
            (mean as f32, (squares / count - mean * mean).max(0.0).sqrt() as f32)
        });
        Ok(moments.unzip())
    }
}

/// A signal with the wanted channels, at the wanted rate.
fn fitted(dataset: &Dataset, i: usize, options: &SignalOptions) -> Result<Signal, DataError> {
    let mut signal = dataset.signal(i)?;
    if dataset.media() == Media::Sounds && options.channels == 1 {
        signal = signal.mixed_down();
    }
    if signal.channels != options.channels {
        let sample = dataset.sample(i);
        return Err(DataError::Sound {
            path: sample.path.clone().unwrap_or_else(|| (&sample.id).into()),
            problem: format!("{} channels, wanted {}", signal.channels, options.channels),
        });
    }
    Ok(match options.rate {
        Some(rate) => signal.resampled(rate),
        None => signal,
    })
}
