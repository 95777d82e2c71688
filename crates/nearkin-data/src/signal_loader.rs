//! Batches of sounds or series, made ahead of the training step: what [`Loader`](crate::Loader) is for images.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::ahead::Ahead;
use crate::error::DataError;
use crate::loader::{cannot_start, first_views, labels_in, pool_of_views};
use crate::prepare_signals::PreparedSignals;
use crate::random::{Purpose, stream};
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
        for (field, found) in [("views", views), ("threads", threads), ("ahead", ahead)] {
            if found == 0 {
                return Err(DataError::setting(field, found, "at least 1"));
            }
        }
        if pipeline.channels() != prepared.channels() {
            let wanted = format!("{}, the channels of the signals", prepared.channels());
            return Err(DataError::setting("channels of a view", pipeline.channels(), wanted));
        }
        let (count, len) = (batches.len(), prepared.len());
        if first_batch > count {
            let wanted = format!("at most {count}, the number of batches");
            return Err(DataError::setting("first_batch", first_batch, wanted));
        }
        if let Some(&index) = batches.iter().flatten().find(|&&index| index >= len) {
            return Err(DataError::Index { index, len });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let pool = pool_of_views(threads, first_batch)?;
        let work = Work { prepared, pipeline, views, seed, epoch, pool, stop: Arc::clone(&stop) };
        let make = move |number: usize| work.make(batches[number].clone());
        Ahead::start(first_batch, count, ahead, stop, make).map(Self).map_err(cannot_start(first_batch))
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

struct Work {
    prepared: Arc<PreparedSignals>,
    pipeline: Arc<SignalViews>,
    views: usize,
    seed: u64,
    epoch: u64,
    pool: ThreadPool,
    stop: Arc<AtomicBool>,
}

impl Work {
    /// One batch, or nothing when told to stop.
    fn make(&self, samples: Vec<usize>) -> Option<Result<SignalBatch, DataError>> {
        let (count, each) = (samples.len(), self.pipeline.values());
        let mut values = vec![0.0; self.views * count * each];
        let first_views = first_views(&samples, self.views);
        let result = self.pool.install(|| {
            values.par_chunks_exact_mut(each).enumerate().try_for_each(|(at, out)| {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(None);
                }
                let (view, sample) = (at / count, samples[at % count]);
                let origin = self.prepared.dataset.origin(sample) as u64;
                let number = first_views[at % count] + view as u32;
                let mut rng = stream(self.seed, self.epoch, origin, number, Purpose::View);
                let signal = self.prepared.signal(sample).map_err(Some)?;
                self.pipeline.apply(signal, &mut rng, out).map_err(Some)
            })
        });
        match result {
            Ok(()) => {}
            Err(None) => return None,
            Err(Some(error)) => return Some(Err(error)),
        }
        Some(Ok(SignalBatch {
            labels: labels_in(&self.prepared.dataset, &samples),
            views: self.views,
            shape: [self.views * count, self.pipeline.channels(), self.pipeline.length()],
            samples,
            values,
        }))
    }
}
