//! Borrowed row-major vectors, checked once at the door.

use rayon::prelude::*;

use crate::accelerator::Accelerator;

/// What can be wrong with the input of a sweep.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The dimension is zero.
    #[error("vectors need at least one dimension, found 0")]
    NoDimensions,
    /// The buffer does not hold a whole number of vectors.
    #[error("a buffer of {len} values is not a whole number of {dim}-dimensional vectors")]
    Ragged {
        /// Values in the buffer.
        len: usize,
        /// Values a vector.
        dim: usize,
    },
    /// Queries and references differ in dimension.
    #[error(
        "queries have {queries} dimensions but references have {references}: both must come from one model"
    )]
    DimensionMismatch {
        /// Dimensions of a query.
        queries: usize,
        /// Dimensions of a reference.
        references: usize,
    },
    /// A pair names a query that does not exist.
    #[error("a pair names query {found}, but there are {queries}, counted from 0")]
    NoSuchQuery {
        /// The query named.
        found: usize,
        /// Queries given.
        queries: usize,
    },
    /// A pair's weight is negative or not finite.
    #[error("a pair of query {query} weighs {found}, but a weight must be zero or more, and finite")]
    Weight {
        /// The query.
        query: usize,
        /// Its weight.
        found: f32,
    },
    /// An accelerator failed.
    #[error("the accelerator failed: {0}")]
    Accelerator(String),
    /// More clusters than vectors, or none.
    #[error("{wanted} clusters of {vectors} vectors: wanted at least 1, and at most one a vector")]
    Clusters {
        /// Clusters asked for.
        wanted: usize,
        /// Vectors given.
        vectors: usize,
    },
    /// A histogram without bins or without width.
    #[error(
        "a histogram of {bins} bins from {low} to {high}: wanted at least one bin, and the first end below the second"
    )]
    Bins {
        /// Bins asked for.
        bins: usize,
        /// Where they begin.
        low: f32,
        /// Where they end.
        high: f32,
    },
    /// A list that must name every vector does not.
    #[error("{found} labels for {wanted} vectors")]
    LabelCount {
        /// Labels given.
        found: usize,
        /// Vectors given.
        wanted: usize,
    },
}

/// `n` vectors of `dim` values each, row-major and contiguous.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    data: &'a [f32],
    dim: usize,
    accelerator: Option<&'a dyn Accelerator>,
}

impl<'a> Vectors<'a> {
    /// Views `data` as vectors of `dim` values. An empty buffer is zero vectors.
    ///
    /// # Errors
    /// When `dim` is 0 or `data` does not divide into whole vectors.
    pub fn new(data: &'a [f32], dim: usize) -> Result<Self, SweepError> {
        if dim == 0 {
            return Err(SweepError::NoDimensions);
        }
        if !data.len().is_multiple_of(dim) {
            return Err(SweepError::Ragged { len: data.len(), dim });
        }
        Ok(Self { data, dim, accelerator: None })
    }

    /// The same vectors, whose products as queries are taken on an accelerator by [`pull_rows`](crate::pull_rows) and
    /// [`map_rows`](crate::map_rows); `None` for this processor.
    #[must_use]
    pub fn on(self, accelerator: Option<&'a dyn Accelerator>) -> Self {
        Self { accelerator, ..self }
    }

    /// Where products with these vectors as queries are taken; `None` for this processor.
    pub fn accelerator(&self) -> Option<&'a dyn Accelerator> {
        self.accelerator
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    /// Whether there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Values a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Vector `i`.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    /// All values, row-major.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// All values, each vector scaled to length 1; vectors of zeros stay. Lengths are taken in f64, where no square of an f32 overflows
    /// or vanishes.
    #[must_use]
    pub fn to_unit_length(&self) -> Vec<f32> {
        let mut unit = self.data.to_vec();
        unit.par_chunks_exact_mut(self.dim).for_each(|row| {
            let length = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
            }
        });
        unit
    }

    /// Vectors `first..first + count`, fewer at the end.
    pub(crate) fn block(&self, first: usize, count: usize) -> Vectors<'a> {
        let end = (first + count).min(self.len());
        Vectors { data: &self.data[first * self.dim..end * self.dim], ..*self }
    }

    pub(crate) fn check_same_dim(&self, references: &Vectors<'_>) -> Result<(), SweepError> {
        if self.dim == references.dim {
            Ok(())
        } else {
            Err(SweepError::DimensionMismatch { queries: self.dim, references: references.dim })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_lengths_survive_values_whose_squares_overflow_or_vanish() {
        let data = [3e38, 1e38, 3e-42, 4e-42, 0.0, 0.0];
        let unit = Vectors::new(&data, 2).unwrap().to_unit_length();
        for row in unit.chunks(2).take(2) {
            assert!(((row[0] * row[0] + row[1] * row[1]) - 1.0).abs() < 1e-6, "{row:?}");
        }
        assert_eq!(unit[4..], [0.0, 0.0]);
    }
}
