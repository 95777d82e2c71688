//! Batches in order, made by a thread of its own ahead of whoever iterates over them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::error::DataError;

/// An iterator over `count` items, of which the first is number `next`.
///
/// Dropping it stops the thread as soon as whatever makes an item looks at the flag it is given.
pub(crate) struct Ahead<T> {
    items: Option<Receiver<Result<T, DataError>>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    next: usize,
    count: usize,
}

impl<T: Send + 'static> Ahead<T> {
    /// Starts making items `first..count`; at most `ahead` wait. `make` gives `None` when it is told to stop.
    pub(crate) fn start(
        first: usize,
        count: usize,
        ahead: usize,
        stop: Arc<AtomicBool>,
        mut make: impl FnMut(usize) -> Option<Result<T, DataError>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(ahead);
        let thread = std::thread::Builder::new().name("batches".into()).spawn(move || {
            for number in first..count {
                let Some(item) = make(number) else {
                    return; // stopped
                };
                let failed = item.is_err();
                if sender.send(item).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(Self { items: Some(receiver), thread: Some(thread), stop, next: first, count })
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = Result<T, DataError>;

    /// The next item; after an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        match self.items.as_ref()?.recv() {
            Ok(Ok(item)) => {
                self.next += 1;
                Some(Ok(item))
            }
            Ok(Err(error)) => {
                self.next = self.count;
                Some(Err(error))
            }
            // The channel closed with items due: the thread panicked.
            Err(_) => {
                let batch = self.next;
                self.next = self.count;
                Some(Err(DataError::LoaderStopped {
                    batch,
                    problem: "its thread panicked (see the message above)".into(),
                }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.count - self.next))
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that waits to hand over an item wakes up when nobody can take it any more.
        self.items = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by `next` or concerns nobody any more.
            let _ = thread.join();
        }
    }
}
