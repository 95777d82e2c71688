//! Many askers, one worker: what waits is answered together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::metrics::Histogram;

/// How much of a batch a question takes.
pub(crate) trait Weighed {
    fn weight(&self) -> usize;
}

/// A bounded queue before a thread of its own, which takes what has come meanwhile as one batch. Nothing waits for a batch to
/// fill: a lone question is answered at once, and batches grow with the load.
pub(crate) struct Batcher<Q, A> {
    queue: SyncSender<Job<Q, A>>,
    waiting: Arc<AtomicUsize>,
    /// Weights of the batches so far.
    pub batches: Arc<Histogram>,
}

struct Job<Q, A> {
    question: Q,
    answer: oneshot::Sender<Result<A, ApiError>>,
}

impl<Q: Weighed + Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts the worker. At most `capacity` questions wait, and a batch takes no further question once it weighs `most`.
    /// `work` answers each question of a batch, in order; the thread ends with the batcher.
    pub fn start(
        name: &str,
        capacity: usize,
        most: usize,
        work: impl FnMut(Vec<Q>) -> Vec<Result<A, ApiError>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(capacity);
        let waiting = Arc::new(AtomicUsize::new(0));
        let batches = Arc::new(Histogram::of_sizes());
        let (left, seen) = (Arc::clone(&waiting), Arc::clone(&batches));
        thread::Builder::new().name(name.into()).spawn(move || serve(&jobs, most, work, &left, &seen))?;
        Ok(Self { queue, waiting, batches })
    }

    /// Asks, and waits for the answer. Whoever stops waiting takes the question back.
    ///
    /// # Errors
    /// At once when the queue is full; and whatever the worker says.
    pub async fn ask(&self, question: Q) -> Result<A, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        match self.queue.try_send(Job { question, answer }) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(ApiError::worker_failed())),
            Err(error) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                Err(match error {
                    TrySendError::Full(_) => ApiError::busy("too many requests wait already"),
                    TrySendError::Disconnected(_) => ApiError::worker_failed(),
                })
            }
        }
    }

    /// Questions in the queue.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

fn serve<Q: Weighed, A>(
    jobs: &Receiver<Job<Q, A>>,
    most: usize,
    mut work: impl FnMut(Vec<Q>) -> Vec<Result<A, ApiError>>,
    waiting: &AtomicUsize,
    batches: &Histogram,
) {
    while let Ok(first) = jobs.recv() {
        let mut weight = 0;
        let (mut questions, mut answers) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(job) = next {
            waiting.fetch_sub(1, Ordering::Relaxed);
            // A client that has gone, or waited too long, has no use for an answer.
            if !job.answer.is_closed() {
                weight += job.question.weight();
                questions.push(job.question);
                answers.push(job.answer);
            }
            next = if weight < most { jobs.try_recv().ok() } else { None };
        }
        if questions.is_empty() {
            continue;
        }
        batches.observe(weight as f64);
        // A bug that one batch brings to light must not silence the worker for all that come after.
        let found = catch_unwind(AssertUnwindSafe(|| work(questions))).unwrap_or_default();
        let found = found.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (answer, found) in answers.into_iter().zip(found) {
            // Nobody waits any more: as well.
            let _ = answer.send(found.unwrap_or_else(|| Err(ApiError::worker_failed())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    impl Weighed for u32 {
        fn weight(&self) -> usize {
            1
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    /// A batcher, what lets it go on, and the batches that it got.
    type Held = (Arc<Batcher<u32, u32>>, mpsc::Sender<()>, Receiver<Vec<u32>>);

    /// A worker that notes each batch and waits for a sign before it answers.
    fn held(capacity: usize) -> Held {
        let (go, sign) = mpsc::channel();
        let (note, noted) = mpsc::channel();
        let work = move |batch: Vec<u32>| {
            note.send(batch.clone()).unwrap();
            sign.recv().unwrap();
            batch.into_iter().map(|x| Ok(10 * x)).collect()
        };
        (Arc::new(Batcher::start("test", capacity, 4, work).unwrap()), go, noted)
    }

    fn spawn(
        runtime: &tokio::runtime::Runtime,
        batcher: &Arc<Batcher<u32, u32>>,
        question: u32,
    ) -> tokio::task::JoinHandle<Result<u32, ApiError>> {
        let batcher = Arc::clone(batcher);
        runtime.spawn(async move { batcher.ask(question).await })
    }

    fn until(condition: impl Fn() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("waited in vain");
    }

    #[test]
    fn what_waits_is_one_batch_up_to_the_most_and_beyond_the_capacity_is_refused() {
        let (runtime, (batcher, go, noted)) = (runtime(), held(5));
        let first = spawn(&runtime, &batcher, 1);
        assert_eq!(noted.recv().unwrap(), [1]);
        let mut others = Vec::new();
        for question in 2..=6 {
            others.push(spawn(&runtime, &batcher, question));
            until(|| batcher.waiting() == question as usize - 1);
        }
        let refused = runtime.block_on(batcher.ask(7)).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.code), (503, "busy"));
        (0..3).for_each(|_| go.send(()).unwrap());
        assert_eq!(noted.recv().unwrap(), [2, 3, 4, 5]);
        assert_eq!(noted.recv().unwrap(), [6]);
        assert_eq!(runtime.block_on(first).unwrap().unwrap(), 10);
        for (question, other) in (2..).zip(others) {
            assert_eq!(runtime.block_on(other).unwrap().unwrap(), 10 * question);
        }
        assert_eq!(batcher.waiting(), 0);
    }

    #[test]
    fn a_question_taken_back_is_not_worked_on() {
        let (runtime, (batcher, go, noted)) = (runtime(), held(5));
        let _first = spawn(&runtime, &batcher, 1);
        assert_eq!(noted.recv().unwrap(), [1]);
        let gone = spawn(&runtime, &batcher, 2);
        until(|| batcher.waiting() == 1);
        gone.abort();
        assert!(runtime.block_on(gone).is_err());
        let third = spawn(&runtime, &batcher, 3);
        until(|| batcher.waiting() == 2);
        (0..2).for_each(|_| go.send(()).unwrap());
        assert_eq!(noted.recv().unwrap(), [3]);
        assert_eq!(runtime.block_on(third).unwrap().unwrap(), 30);
    }

    #[test]
    fn a_batch_that_panics_fails_alone() {
        let runtime = runtime();
        let work = |batch: Vec<u32>| {
            assert_ne!(batch, [13]);
            batch.into_iter().map(Ok).collect()
        };
        let batcher: Batcher<u32, u32> = Batcher::start("test", 4, 4, work).unwrap();
        assert_eq!(runtime.block_on(batcher.ask(13)).unwrap_err().status.as_u16(), 500);
        assert_eq!(runtime.block_on(batcher.ask(14)).unwrap(), 14);
    }
}
