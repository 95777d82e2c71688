//! Watching a fit, step by step.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Where an iterative fit stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Iterations made, from 1.
    pub iteration: usize,
    /// Iterations that there may be at most.
    pub at_most: usize,
    /// What the method lowers, as its `fit` says.
    pub objective: f64,
}

type Watch = dyn FnMut(Progress) -> ControlFlow<()> + Send;

/// Is told of every iteration of a fit, and may end it: then the fit returns the best it has. A setting of every iterative
/// method; by default nobody watches.
///
/// It is called on the thread that fits. Copies of settings share their observer.
///
/// ```
/// use nearkin_classic::{Nca, Observer};
/// use nearkin_sweep::Vectors;
/// use std::ops::ControlFlow;
///
/// let table = [0.0, 9.0, 0.3, -7.0, 0.1, 2.0, 1.0, 8.0, 1.2, -8.0, 1.1, 1.0];
/// let observer = Observer::new(|progress| {
///     eprintln!("{} of at most {}: {}", progress.iteration, progress.at_most, progress.objective);
///     if progress.iteration < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
/// });
/// let fitted = Nca::new().observer(observer).fit(Vectors::new(&table, 2)?, &[0, 0, 0, 1, 1, 1])?;
/// assert!(fitted.how.iterations <= 3);
/// # Ok::<(), nearkin_classic::ClassicError>(())
/// ```
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Mutex<Watch>>>);

impl Observer {
    /// That calls a function, and ends the fit when it breaks.
    pub fn new(watch: impl FnMut(Progress) -> ControlFlow<()> + Send + 'static) -> Self {
        Self(Some(Arc::new(Mutex::new(watch))))
    }

    /// Tells of an iteration; whether to go on.
    pub(crate) fn goes_on(&self, iteration: usize, at_most: usize, objective: f64) -> bool {
        self.0.as_ref().is_none_or(|watch| {
            // A watch that panicked once is asked again: its state is its own affair.
            let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            watch(Progress { iteration, at_most, objective }).is_continue()
        })
    }
}

/// The same when both tell the same watch, or nobody.
impl PartialEq for Observer {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Observer(watching)" } else { "Observer(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_on_for_ever_and_a_watch_decides() {
        assert!(Observer::default().goes_on(1, 2, 0.0));
        let watch = |progress: Progress| match progress.iteration {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let observer = Observer::new(watch);
        assert!(observer.goes_on(1, 2, 0.0) && !observer.goes_on(2, 2, 0.0));
        assert_eq!(observer, observer.clone());
        assert!(observer != Observer::default() && observer != Observer::new(watch));
    }
}
