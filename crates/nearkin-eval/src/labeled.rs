//! Vectors with a label each, checked once at the door.

use nearkin_sweep::Vectors;

use crate::error::{EvalError, Side};

/// Vectors and the class of each: row `i` has label `labels[i]`.
#[derive(Debug, Clone, Copy)]
pub struct Labeled<'a> {
    /// The embeddings.
    pub vectors: Vectors<'a>,
    /// One class number a vector. Queries and references share one numbering.
    pub labels: &'a [u32],
}

impl Labeled<'_> {
    /// Refuses an empty set, a missing label and a value that is no number.
    pub(crate) fn check(&self, side: Side) -> Result<(), EvalError> {
        if self.labels.len() != self.vectors.len() {
            return Err(EvalError::LabelCount {
                side,
                labels: self.labels.len(),
                vectors: self.vectors.len(),
            });
        }
        check_finite(self.vectors, side)
    }
}

/// Refuses an empty set and a value that is no number, naming the first one's row.
pub(crate) fn check_finite(vectors: Vectors<'_>, side: Side) -> Result<(), EvalError> {
    if vectors.is_empty() {
        return Err(EvalError::Empty { side });
    }
    match vectors.data().iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(EvalError::NotFinite {
            side,
            row: at / vectors.dim(),
            dimension: at % vectors.dim(),
            value: vectors.data()[at],
        }),
    }
}

/// Both sides of an evaluation, checked. Without references the queries are searched among themselves.
pub(crate) fn sides<'a>(
    query: Labeled<'a>,
    reference: Option<Labeled<'a>>,
) -> Result<Labeled<'a>, EvalError> {
    query.check(Side::Queries)?;
    if let Some(reference) = reference {
        reference.check(Side::References)?;
    }
    Ok(reference.unwrap_or(query))
}

/// Vectors `first..end`, for work done a block of queries at a time.
pub(crate) fn rows<'a>(vectors: Vectors<'a>, first: usize, end: usize) -> Result<Vectors<'a>, EvalError> {
    Ok(Vectors::new(&vectors.data()[first * vectors.dim()..end * vectors.dim()], vectors.dim())?)
}
