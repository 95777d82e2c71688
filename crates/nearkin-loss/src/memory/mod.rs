//! One file a memory: vectors of earlier batches that a loss compares new ones with.
//!
//! A memory is plain data that goes into checkpoints; one that is read back is checked. What it holds has no gradient.

mod bank;
mod cross_batch_memory;
mod queue;

pub use bank::Bank;
pub use cross_batch_memory::CrossBatchMemory;
pub use queue::Queue;

use nearkin_sweep::Vectors;

/// Why a memory cannot take something in.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A memory of nothing.
    #[error(
        "a memory of {capacity} vectors of {dim} dimensions can hold nothing: both must be above zero, and not vast"
    )]
    Shape {
        /// Vectors that it was to hold.
        capacity: usize,
        /// Their dimension.
        dim: usize,
    },
    /// More vectors at once than it holds.
    #[error("{found} vectors at once do not fit into a memory of {capacity}: it must hold at least a batch")]
    Capacity {
        /// Vectors given.
        found: usize,
        /// Vectors that it holds.
        capacity: usize,
    },
    /// Vectors of another dimension.
    #[error("vectors of {found} dimensions do not fit into a memory of vectors of {wanted}")]
    Dimension {
        /// Dimension of the vectors given.
        found: usize,
        /// Dimension of those that it holds.
        wanted: usize,
    },
    /// Labels or slots that are not one a vector.
    #[error("{found} {what} were given for {wanted} vectors")]
    Count {
        /// Labels, or slots.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many vectors there are.
        wanted: usize,
    },
    /// A slot that does not exist.
    #[error("slot {found} does not exist: there are {slots}, counted from 0")]
    NoSuchSlot {
        /// The slot named.
        found: u32,
        /// Slots that there are.
        slots: usize,
    },
    /// A value that would spoil every batch to come.
    #[error("vector {vector} has a component that is not finite, and was not remembered")]
    NotFinite {
        /// The vector's place in the batch.
        vector: usize,
    },
    /// A momentum that lets a memory stand still or run away.
    #[error("a momentum of {found} must be from 0 to below 1")]
    Momentum {
        /// Its value.
        found: f32,
    },
    /// A saved memory whose parts contradict each other.
    #[error("a saved memory contradicts itself: {0}")]
    Saved(String),
}

/// Whether vectors may be remembered.
fn check_vectors(vectors: Vectors<'_>, dim: usize) -> Result<(), MemoryError> {
    if vectors.dim() != dim {
        return Err(MemoryError::Dimension { found: vectors.dim(), wanted: dim });
    }
    match vectors.data().iter().position(|x| !x.is_finite()) {
        Some(place) => Err(MemoryError::NotFinite { vector: place / dim }),
        None => Ok(()),
    }
}

/// Whether there are as many `what` as vectors.
pub(crate) fn check_count(what: &'static str, found: usize, vectors: Vectors<'_>) -> Result<(), MemoryError> {
    if found == vectors.len() {
        Ok(())
    } else {
        Err(MemoryError::Count { what, found, wanted: vectors.len() })
    }
}

/// Whether all slots exist.
pub(crate) fn check_slots(slots: &[u32], count: usize) -> Result<(), MemoryError> {
    match slots.iter().find(|slot| **slot as usize >= count) {
        Some(&found) => Err(MemoryError::NoSuchSlot { found, slots: count }),
        None => Ok(()),
    }
}

/// Whether a memory of this shape can be; its number of values.
fn check_shape(capacity: usize, dim: usize) -> Result<usize, MemoryError> {
    match capacity.checked_mul(dim) {
        Some(values) if values > 0 && capacity <= u32::MAX as usize && values <= isize::MAX as usize / 4 => {
            Ok(values)
        }
        _ => Err(MemoryError::Shape { capacity, dim }),
    }
}
