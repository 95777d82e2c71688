//! Batches of sounds or series, made ahead of the training step: what [`Loader`](crate::Loader) is for images.

use std::sync::Arc;

use crate::ahead::Ahead;
use crate::error::DataError;
use crate::loader::{Epoch, labels_in};
use crate::prepare_signals::PreparedSignals;
use crate::signal_views::SignalViews;

/// One step's sounds or series.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalBatch {
    /// Indices into the prepared data set.
    pub samples: Vec<usize>,
    /// The label of every sample; `u32::MAX` where there is none.
    pub labels: Vec<u32>,
    /// The number of views of each sample.
    pub views: usize,
    /// `[views * samples, channels, length]`, view-major: view 0 of all samples, then view 1 of all samples, and so on.
    pub shape: [usize; 3],
    /// The values, in the order of `shape`.
    pub values: Vec<f32>,
}

/// Makes the batches of an epoch in order, ahead of whoever iterates over it; see [`Loader`](crate::Loader).
pub struct SignalLoader(Ahead<SignalBatch>);

impl SignalLoader {
    /// Starts making `batches[first_batch..]`, `views` views of each sample. Random streams are keyed as the images' are, so the
    /// bits depend on nothing but seed, epoch, sample and the number of the view.
    ///
    /// # Errors
    /// [`DataError::Setting`] for no views, no threads, `ahead` = 0, `first_batch` beyond the end, or views of other channels than the
    /// signals have; [`DataError::Index`] for a sample that is not there; [`DataError::LoaderStopped`] if the threads cannot start.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of an epoch")]
    pub fn start(
        prepared: Arc<PreparedSignals>,
        (pipeline, views): (Arc<SignalViews>, usize),
        batches: Vec<Vec<usize>>,
        seed: u64,
        epoch: u64,
        first_batch: usize,
        threads: usize,
        ahead: usize,
    ) -> Result<Self, DataError> {
        if views == 0 {
            return Err(DataError::setting("views", 0, "at least 1"));
        }
        if pipeline.channels() != prepared.channels() {
            let wanted = format!("{}, the channels of the signals", prepared.channels());
            return Err(DataError::setting("channels of a view", pipeline.channels(), wanted));
        }
        let len = prepared.len();
        let make = move |epoch: &Epoch, samples: Vec<usize>| {
            let each = pipeline.values();
            let values = epoch.views(&prepared.dataset, &samples, views, each, |sample, outs| {
                let signals = std::iter::repeat_n(prepared.signal(sample)?, views);
                let mut views = signals.zip(outs);
                views.try_for_each(|(signal, (mut rng, out))| pipeline.apply(signal, &mut rng, out))
            });
            let batch = |values| SignalBatch {
                labels: labels_in(&prepared.dataset, &samples),
                views,
                shape: [views * samples.len(), pipeline.channels(), pipeline.length()],
                samples,
                values,
            };
            Some(values?.map(batch))
        };
        Epoch::start(len, batches, (seed, epoch), first_batch, threads, ahead, make).map(Self)
    }
}

impl Iterator for SignalLoader {
    type Item = Result<SignalBatch, DataError>;

    /// The next batch; after an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
