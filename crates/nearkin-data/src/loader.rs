//! Batches, made ahead of the training step by threads of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::ahead::Ahead;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::prepare::Prepared;
use crate::random::{Purpose, stream};
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
        let len = prepared.len();
        if let Some(&index) = batches.iter().flatten().find(|&&index| index >= len) {
            return Err(DataError::Index { index, len });
        }

        let stop = Arc::new(AtomicBool::new(false));
        let pool = pool_of_views(threads, first_batch)?;
        let work = Work { prepared, views, seed, epoch, pool, stop: Arc::clone(&stop) };
        let make = move |number: usize| work.make(batches[number].clone());
        Ahead::start(first_batch, count, ahead, stop, make).map(Self).map_err(cannot_start(first_batch))
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

/// Threads that make views.
pub(crate) fn pool_of_views(threads: usize, first_batch: usize) -> Result<ThreadPool, DataError> {
    let builder = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("views-{i}"));
    builder.build().map_err(cannot_start(first_batch))
}

pub(crate) fn cannot_start<E: std::error::Error>(batch: usize) -> impl Fn(E) -> DataError {
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
pub(crate) fn first_views(samples: &[usize], views: usize) -> Vec<u32> {
    let mut seen: HashMap<usize, u32> = HashMap::new();
    let first = |&sample: &usize| {
        let next = seen.entry(sample).or_insert(0);
        let this = *next;
        *next += views as u32;
        this
    };
    samples.iter().map(first).collect()
}

struct Work {
    prepared: Arc<Prepared>,
    views: Vec<Arc<Views>>,
    seed: u64,
    epoch: u64,
    pool: ThreadPool,
    stop: Arc<AtomicBool>,
}

impl Work {
    /// One batch, or nothing when told to stop.
    fn make(&self, samples: Vec<usize>) -> Option<Result<Batch, DataError>> {
        let first = &self.views[0];
        let (count, values) = (samples.len(), first.values());
        let mut pixels = vec![0.0; self.views.len() * count * values];
        // The views of a sample lie far apart in the batch, but are made together so that its image
        // is fetched once.
        let mut outs: Vec<Vec<&mut [f32]>> = (0..count).map(|_| Vec::new()).collect();
        for (at, out) in pixels.chunks_exact_mut(values).enumerate() {
            outs[at % count].push(out);
        }
        let first_views = first_views(&samples, self.views.len());
        let result = self.pool.install(|| {
            (&samples, &first_views, outs).into_par_iter().try_for_each(|(&sample, &first_view, outs)| {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(None);
                }
                self.make_sample(sample, first_view, outs).map_err(Some)
            })
        });
        match result {
            Ok(()) => {}
            Err(None) => return None,
            Err(Some(error)) => return Some(Err(error)),
        }
        Some(Ok(Batch {
            labels: labels(&self.prepared, &samples),
            views: self.views.len(),
            shape: [self.views.len() * count, first.channels(), first.size(), first.size()],
            samples,
            pixels,
        }))
    }

    fn make_sample(&self, sample: usize, first_view: u32, outs: Vec<&mut [f32]>) -> Result<(), DataError> {
        let image = self.prepared.image(sample)?;
        let origin = self.prepared.dataset.origin(sample) as u64;
        for ((number, views), out) in (first_view..).zip(&self.views).zip(outs) {
            let mut rng = stream(self.seed, self.epoch, origin, number, Purpose::View);
            views.apply(&image, &mut rng, out)?;
        }
        Ok(())
    }
}
