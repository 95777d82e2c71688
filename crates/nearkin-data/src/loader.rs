//! Batches, made ahead of the training step by threads of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::ahead::Ahead;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::prepare::Prepared;
use crate::random::{Purpose, keyed, stream};
use crate::views::{Draw, Views};

/// One step's data.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Indices into the prepared data set.
    pub samples: Vec<usize>,
    /// The label of every sample; `u32::MAX` where there is none.
    pub labels: Vec<u32>,
    /// The number of views of each sample.
    pub views: usize,
    /// `[views * samples, channels, height, width]`, view-major: view 0 of all samples, then view 1
    /// of all samples, and so on.
    pub shape: [usize; 4],
    /// The values, in the order of `shape`.
    pub pixels: Vec<f32>,
}

/// Makes the batches of an epoch in order, ahead of whoever iterates over it.
///
/// Dropping it stops the threads within the time of one view.
pub struct Loader(Ahead<Batch>);

impl Loader {
    /// Starts making `batches[first_batch..]`; a run that resumes within an epoch starts there.
    ///
    /// `views` holds one pipeline for each view of a sample. `threads` threads make the views; at most
    /// `ahead` finished batches wait for the consumer. The random stream of a view is keyed by seed,
    /// epoch, the sample's index in the data set that was opened ([`crate::Dataset::origin`]) and the
    /// number of the view, so the bits depend on nothing else. A sample that stands in a batch more
    /// than once gets new views each time, as if they were further views of it: numbers
    /// `occurrence * views.len() + view`.
    ///
    /// # Errors
    /// [`DataError::Setting`] for no views, views of different shapes, no threads, `ahead` = 0 or
    /// `first_batch` beyond the end; [`DataError::Index`] for a sample that is not there;
    /// [`DataError::LoaderStopped`] if the threads cannot start.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of an epoch")]
    pub fn start(
        prepared: Arc<Prepared>,
        views: Vec<Arc<Views>>,
        batches: Vec<Vec<usize>>,
        seed: u64,
        epoch: u64,
        first_batch: usize,
        threads: usize,
        ahead: usize,
    ) -> Result<Self, DataError> {
        let shape = |views: &Views| (views.channels(), views.size());
        let Some(first) = views.first() else {
            return Err(DataError::setting("views", 0, "at least 1"));
        };
        if let Some(other) = views.iter().find(|other| shape(other) != shape(first)) {
            let text = |(channels, size): (usize, usize)| format!("{channels}x{size}x{size}");
            return Err(DataError::setting(
                "views",
                text(shape(other)),
                format!("{}, the shape of the first view", text(shape(first))),
            ));
        }
        let [channels, size, values] = [first.channels(), first.size(), first.values()];
        let len = prepared.len();
        let make = move |epoch: &Epoch, samples: Vec<usize>| {
            let pixels = epoch.views(&prepared.dataset, &samples, views.len(), values, |sample, outs| {
                let image = prepared.image(sample)?;
                let mut views = views.iter().zip(outs);
                views.try_for_each(|(views, (mut rng, out))| views.apply(&image, &mut rng, out))
            });
            let batch = |pixels| Batch {
                labels: labels(&prepared, &samples),
                views: views.len(),
                shape: [views.len() * samples.len(), channels, size, size],
                samples,
                pixels,
            };
            Some(pixels?.map(batch))
        };
        Epoch::start(len, batches, (seed, epoch), first_batch, threads, ahead, make).map(Self)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    /// The next batch; after an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// What makes the batches of an epoch, whatever they are made of.
pub(crate) struct Epoch {
    seed: u64,
    epoch: u64,
    pool: ThreadPool,
    stop: Arc<AtomicBool>,
}

impl Epoch {
    /// Starts making `batches[first_batch..]` of a set of `len` samples; `make` gives nothing when it is told to stop.
    ///
    /// # Errors
    /// As [`Loader::start`], but for views.
    pub(crate) fn start<B: Send + 'static>(
        len: usize,
        batches: Vec<Vec<usize>>,
        (seed, epoch): (u64, u64),
        first_batch: usize,
        threads: usize,
        ahead: usize,
        make: impl Fn(&Self, Vec<usize>) -> Option<Result<B, DataError>> + Send + 'static,
    ) -> Result<Ahead<B>, DataError> {
        if threads == 0 {
            return Err(DataError::setting("threads", 0, "at least 1"));
        }
        if ahead == 0 {
            return Err(DataError::setting("ahead", 0, "at least 1 batch"));
        }
        let count = batches.len();
        if first_batch > count {
            return Err(DataError::setting(
                "first_batch",
                first_batch,
                format!("at most {count}, the number of batches"),
            ));
        }
        if let Some(&index) = batches.iter().flatten().find(|&&index| index >= len) {
            return Err(DataError::Index { index, len });
        }
        let builder = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("views-{i}"));
        let pool = builder.build().map_err(cannot_start(first_batch))?;
        let stop = Arc::new(AtomicBool::new(false));
        let this = Self { seed, epoch, pool, stop: Arc::clone(&stop) };
        let make = move |number: usize| make(&this, batches[number].clone());
        Ahead::start(first_batch, count, ahead, stop, make).map_err(cannot_start(first_batch))
    }

    /// The views of a batch of `each` values, view-major; nothing when told to stop.
    ///
    /// The views of a sample lie far apart in the batch, but are made together so that it is fetched once: `make` gets a sample, and
    /// for each of its views the draws and the place.
    pub(crate) fn views(
        &self,
        dataset: &Dataset,
        samples: &[usize],
        views: usize,
        each: usize,
        make: impl Fn(usize, Vec<(ChaCha8Rng, &mut [f32])>) -> Result<(), DataError> + Sync,
    ) -> Option<Result<Vec<f32>, DataError>> {
        let count = samples.len();
        let mut values = vec![0.0; views * count * each];
        let first_views = first_views(samples, views);
        let mut outs: Vec<Vec<_>> = (0..count).map(|_| Vec::with_capacity(views)).collect();
        for (at, out) in values.chunks_exact_mut(each).enumerate() {
            let (view, at) = (at / count, at % count);
            let (origin, number) = (dataset.origin(samples[at]) as u64, first_views[at] + view as u32);
            outs[at].push((keyed(self.seed, self.epoch, origin, number, Purpose::View), out));
        }
        let result = self.pool.install(|| {
            (samples, outs).into_par_iter().try_for_each(|(&sample, outs)| {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(None);
                }
                make(sample, outs).map_err(Some)
            })
        });
        match result {
            Ok(()) => Some(Ok(values)),
            Err(None) => None,
            Err(Some(error)) => Some(Err(error)),
        }
    }
}

fn cannot_start<E: std::error::Error>(batch: usize) -> impl Fn(E) -> DataError {
    move |error| DataError::LoaderStopped { batch, problem: format!("cannot start its threads: {error}") }
}

/// What is random about the views of a batch that are to be made elsewhere, view-major: what the [`Loader`] would draw
/// for the same batch of the same epoch.
///
/// # Errors
/// [`DataError::Index`] for a sample that is not there.
pub fn draw_batch(
    prepared: &Prepared,
    views: &[Arc<Views>],
    samples: &[usize],
    seed: u64,
    epoch: u64,
) -> Result<Vec<Draw>, DataError> {
    let first_views = first_views(samples, views.len());
    (0..views.len() * samples.len())
        .into_par_iter()
        .map(|at| {
            let (view, sample) = (at / samples.len(), samples[at % samples.len()]);
            let (width, height) = prepared.size(sample)?;
            let number = first_views[at % samples.len()] + view as u32;
            let origin = prepared.dataset.origin(sample) as u64;
            let mut rng = stream(seed, epoch, origin, number, Purpose::View);
            Ok(views[view].draw(width, height, &mut rng))
        })
        .collect()
}

/// The label of every sample; `u32::MAX` where there is none.
pub fn labels(prepared: &Prepared, samples: &[usize]) -> Vec<u32> {
    labels_in(&prepared.dataset, samples)
}

pub(crate) fn labels_in(dataset: &Dataset, samples: &[usize]) -> Vec<u32> {
    samples.iter().map(|&i| dataset.sample(i).label.unwrap_or(u32::MAX)).collect()
}

/// The number of each sample's first view: a sample that comes again goes on where its views ended.
fn first_views(samples: &[usize], views: usize) -> Vec<u32> {
    let mut seen: HashMap<usize, u32> = HashMap::new();
    let first = |&sample: &usize| {
        let next = seen.entry(sample).or_insert(0);
        let this = *next;
        *next += views as u32;
        this
    };
    samples.iter().map(first).collect()
}
