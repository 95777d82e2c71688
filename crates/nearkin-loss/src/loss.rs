//! What every loss is.

use nearkin_sweep::{Kin, Pull, SweepError, Vectors};

/// A function of embeddings and of which of them are kin, with its gradient.
///
/// `references: None` means that queries and references are one set (a batch against itself); then `kin` must exclude
/// each vector from its own row.
pub trait Loss: Send + Sync {
    /// The value, the gradient on both sides and the share of terms that pulled.
    ///
    /// # Errors
    /// When the two sides differ in dimension.
    fn pull(
        &self,
        queries: Vectors<'_>,
        references: Option<Vectors<'_>>,
        kin: &dyn Kin,
    ) -> Result<Pull, SweepError>;
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
    /// A tensor that could not be read as 32-bit floats.
    #[error("embeddings could not be read from the device as 32-bit floats: {0}")]
    Read(String),
}
