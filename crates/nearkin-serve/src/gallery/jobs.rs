//! Work that takes longer than a request: begun by the first that asks, and kept.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use hyper::StatusCode;

use crate::error::ApiError;

/// Results by key, each worked out once on a thread of its own.
pub(crate) struct Jobs<K, V> {
    name: &'static str,
    jobs: Arc<Mutex<HashMap<K, Job<V>>>>,
}

enum Job<V> {
    Running,
    Done(Arc<V>),
    Failed(String),
}

impl<K: Eq + Hash + Copy + Send + 'static, V: Send + Sync + 'static> Jobs<K, V> {
    pub fn new(name: &'static str) -> Self {
        Self { name, jobs: Arc::default() }
    }

    /// The result, or `None` while it is worked out, which begins now if it has not.
    ///
    /// # Errors
    /// What the work said when it failed; it is not tried again.
    pub fn get(
        &self,
        key: K,
        work: impl FnOnce() -> Result<V, String> + Send + 'static,
    ) -> Result<Option<Arc<V>>, ApiError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match jobs.get(&key) {
            Some(Job::Done(found)) => return Ok(Some(Arc::clone(found))),
            Some(Job::Running) => return Ok(None),
            Some(Job::Failed(why)) => {
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "cannot_be_made", why.clone()));
            }
            None => {}
        }
        let shared = Arc::clone(&self.jobs);
        let run = move || {
            let found = catch_unwind(AssertUnwindSafe(work));
            let job = match found {
                Ok(Ok(found)) => Job::Done(Arc::new(found)),
                Ok(Err(why)) => Job::Failed(why),
                Err(_) => Job::Failed("the server failed at it".to_owned()),
            };
            let mut jobs = shared.lock().unwrap_or_else(PoisonError::into_inner);
            // Forgotten meanwhile: nobody will ask again.
            if let Some(entry) = jobs.get_mut(&key) {
                *entry = job;
            }
        };
        let started = thread::Builder::new().name(self.name.into()).spawn(run);
        started.map_err(|e| ApiError::internal(format!("cannot start a thread: {e}")))?;
        jobs.insert(key, Job::Running);
        Ok(None)
    }

    /// Drops results that nobody can ask for any more.
    pub fn forget(&self, outdated: impl Fn(&K) -> bool) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| !outdated(key));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wait<V: Send + Sync + 'static>(
        jobs: &Jobs<u32, V>,
        key: u32,
        work: impl Fn() -> Result<V, String> + Send + Clone + 'static,
    ) -> Result<Arc<V>, ApiError> {
        for _ in 0..1000 {
            if let Some(found) = jobs.get(key, work.clone())? {
                return Ok(found);
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("waited in vain");
    }

    #[test]
    fn work_is_done_once_and_kept_and_failures_are_told() {
        let jobs = Jobs::new("test");
        assert!(jobs.get(1, || Ok(7)).unwrap().is_none());
        assert_eq!(*wait(&jobs, 1, || Err("a second time".into())).unwrap(), 7);
        let failed = wait(&jobs, 2, || Err("no classes".into())).unwrap_err();
        assert_eq!((failed.status.as_u16(), failed.message.as_str()), (422, "no classes"));
        assert!(wait(&jobs, 3, || panic!("a bug")).unwrap_err().message.contains("failed"));
        jobs.forget(|key| *key == 1);
        assert_eq!(*wait(&jobs, 1, || Ok(8)).unwrap(), 8);
    }
}
