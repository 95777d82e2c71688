//! What every loss is.

use nearkin_sweep::{Kin, SweepError, Vectors};

use crate::classes::ProxyInit;
use crate::memory::MemoryError;
#[cfg(feature = "burn")]
use crate::on_device::{DevicePull, DeviceSides, DeviceTriplets};
use crate::reducer::Reducer;
use crate::tuples::Tuples;

/// What a loss is evaluated on.
#[derive(Clone, Copy)]
pub struct Sides<'a> {
    /// The vectors that ask: the anchors.
    pub queries: Vectors<'a>,
    /// The vectors they are compared with; `None` when queries and references are one set (a batch against itself).
    pub references: Option<Vectors<'a>>,
    /// Which pairs belong together. Among one set it must exclude each vector from its own row.
    pub kin: &'a dyn Kin,
    /// How terms become one number, in place of the loss's own way.
    pub reducer: Option<&'a Reducer>,
}

impl<'a> Sides<'a> {
    /// A batch against itself.
    pub fn within(vectors: Vectors<'a>, kin: &'a dyn Kin) -> Self {
        Self { queries: vectors, references: None, kin, reducer: None }
    }

    /// Queries against references: proxies, a memory bank, a gallery.
    pub fn between(queries: Vectors<'a>, references: Vectors<'a>, kin: &'a dyn Kin) -> Self {
        Self { queries, references: Some(references), kin, reducer: None }
    }

    /// The vectors that queries are compared with.
    pub fn others(&self) -> Vectors<'a> {
        self.references.unwrap_or(self.queries)
    }
}

/// A loss's value and gradient.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pull {
    /// The loss; 0 when there is no term.
    pub loss: f64,
    /// Number of terms.
    pub terms: usize,
    /// Number of terms above zero.
    pub active: usize,
    /// `∂L/∂queries`, row-major. Among one set it holds both ends of every spring.
    pub query_gradient: Vec<f32>,
    /// `∂L/∂references`; empty among one set.
    pub reference_gradient: Vec<f32>,
}

impl Pull {
    /// No term, no gradient.
    pub fn none(sides: &Sides<'_>) -> Self {
        Self {
            query_gradient: vec![0.0; sides.queries.data().len()],
            reference_gradient: vec![0.0; sides.references.map_or(0, |r| r.data().len())],
            ..Self::default()
        }
    }

    /// Adds `weight` times another loss on the same sides.
    pub fn add(&mut self, weight: f64, other: &Pull) {
        self.loss += weight * other.loss;
        self.terms += other.terms;
        self.active += other.active;
        let add = |sum: &mut [f32], more: &[f32]| {
            sum.iter_mut().zip(more).for_each(|(s, m)| *s += weight as f32 * m);
        };
        add(&mut self.query_gradient, &other.query_gradient);
        add(&mut self.reference_gradient, &other.reference_gradient);
    }
}

/// A function of embeddings and of which of them are kin, with its gradient.
pub trait Loss: Send + Sync {
    /// The value and gradient over every pair that `sides.kin` relates.
    ///
    /// # Errors
    /// When the two sides differ in dimension, or the loss cannot be taken of such sides.
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError>;

    /// The value and gradient over mined tuples only. Losses of pairs take tuples as a kin relation of just those pairs; losses
    /// of triplets, and of samples and classes, do otherwise.
    ///
    /// # Errors
    /// As [`pull`](Self::pull), and when a tuple names a vector that does not exist.
    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let listed = tuples.as_kin(sides)?;
        self.pull(&Sides { kin: &listed, ..*sides })
    }

    /// The same as tensor operations on a device, so that a step need not wait for it; `None` where only
    /// [`pull`](Self::pull) knows the loss, with these hyper-parameters or this reducer.
    #[cfg(feature = "burn")]
    fn pull_on_device(&self, _sides: &DeviceSides<'_>) -> Option<DevicePull> {
        None
    }

    /// [`pull_mined`](Self::pull_mined) on a device.
    #[cfg(feature = "burn")]
    fn pull_mined_on_device(
        &self,
        _sides: &DeviceSides<'_>,
        _triplets: &DeviceTriplets,
    ) -> Option<DevicePull> {
        None
    }

    /// How the class vectors that it takes as references begin; `None` when it needs none.
    fn proxies(&self) -> Option<ProxyInit> {
        None
    }
}

impl<L: Loss + ?Sized> Loss for Box<L> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        (**self).pull(sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        (**self).pull_mined(sides, tuples)
    }

    #[cfg(feature = "burn")]
    fn pull_on_device(&self, sides: &DeviceSides<'_>) -> Option<DevicePull> {
        (**self).pull_on_device(sides)
    }

    #[cfg(feature = "burn")]
    fn pull_mined_on_device(&self, sides: &DeviceSides<'_>, triplets: &DeviceTriplets) -> Option<DevicePull> {
        (**self).pull_mined_on_device(sides, triplets)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        (**self).proxies()
    }
}

/// Why a loss could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A hyper-parameter outside its range.
    #[error("{name} = {found}, but it must be {wanted}")]
    OutOfRange {
        /// The hyper-parameter.
        name: &'static str,
        /// Its value.
        found: f64,
        /// The range.
        wanted: &'static str,
    },
    /// Embeddings that do not fit together.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// A memory that cannot take something in.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A loss, a miner or a reducer on sides that it is not defined for.
    #[error("{what} cannot be taken here: {why}")]
    Undefined {
        /// The loss, miner or reducer.
        what: &'static str,
        /// Why, and what would do.
        why: String,
    },
    /// A tensor that could not be read as 32-bit floats.
    #[error("embeddings could not be read from the device as 32-bit floats: {0}")]
    Read(String),
}

impl LossError {
    /// For sides that a loss is not defined for.
    pub fn undefined(what: &'static str, why: impl Into<String>) -> Self {
        Self::Undefined { what, why: why.into() }
    }
}

/// `value`, if it lies in `range`.
///
/// # Errors
/// Names the hyper-parameter, its value and `wanted`.
pub(crate) fn check(
    name: &'static str,
    value: f32,
    in_range: impl FnOnce(f32) -> bool,
    wanted: &'static str,
) -> Result<f32, LossError> {
    if value.is_finite() && in_range(value) {
        Ok(value)
    } else {
        Err(LossError::OutOfRange { name, found: value.into(), wanted })
    }
}
