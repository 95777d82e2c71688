//! Queries, checked at the door.

use std::borrow::Cow;
use std::path::Path;

use fixedbitset::FixedBitSet;
use nearkin_sweep::{Metric, Vectors};

use super::{Hit, exact};
use crate::build::find_too_long;
use crate::error::IndexError;
use crate::storage::Stored;

/// Rows that an exact search brings home beyond those asked for: sums in f32 may order near-equal rows otherwise than the scores, which
/// are summed in f64.
const SLACK: usize = 8;

/// Rows that it brings home for each one asked for, where vectors are rounded: for cosine, these have no longer quite unit length, and the
/// order of products is that of cosines only nearly.
const ROUNDED: usize = 4;

/// Queries that an index can answer.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    queries: Vectors<'a>,
    /// For cosine, of unit length.
    prepared: Cow<'a, [f32]>,
    metric: Metric,
    pub(crate) k: usize,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        path: &Path,
        dim: usize,
        metric: Metric,
        queries: Vectors<'a>,
        k: usize,
    ) -> Result<Self, IndexError> {
        if k == 0 {
            return Err(IndexError::NoNeighbors);
        }
        let found = queries.dim();
        if found != dim {
            return Err(IndexError::QueryDimension { path: path.to_owned(), found, wanted: dim });
        }
        if let Some(i) = queries.data().iter().position(|x| !x.is_finite()) {
            let (query, position, value) = (i / found, i % found, queries.data()[i]);
            return Err(IndexError::QueryNotFinite { query, position, value });
        }
        if let Some(which) = find_too_long(queries, metric) {
            return Err(IndexError::TooLong { what: "query", which, metric });
        }
        // Squares of a long query would overflow, and for cosine its length does not matter.
        let prepared = match metric {
            Metric::Cosine => Cow::Owned(queries.to_unit_length()),
            _ => Cow::Borrowed(queries.data()),
        };
        Ok(Self { queries, prepared, metric, k })
    }

    pub(crate) fn len(&self) -> usize {
        self.queries.len()
    }

    /// One of the queries.
    pub(crate) fn only(&self, query: usize) -> Asked<'_> {
        let values = query * self.queries.dim()..(query + 1) * self.queries.dim();
        let queries = Vectors::new(&self.queries.data()[values.clone()], self.queries.dim());
        let queries = queries.expect("a query is a whole vector");
        Asked { queries, prepared: Cow::Borrowed(&self.prepared[values]), ..*self }
    }

    /// The queries as rows are stored: for cosine, of unit length.
    pub(crate) fn prepared(&self) -> Vectors<'_> {
        Vectors::new(&self.prepared, self.queries.dim()).expect("as many values as the queries have")
    }

    /// Rows near each query, in no order, the `k` nearest among them; only rows of `keep`, if given.
    pub(crate) fn scan(
        &self,
        rows: Stored<'_>,
        keep: Option<&FixedBitSet>,
    ) -> Result<Vec<Vec<usize>>, IndexError> {
        let near = if rows.is_rounded() { self.k.saturating_mul(ROUNDED) } else { self.k };
        Ok(exact::nearest(self.prepared(), rows, self.metric, near.saturating_add(SLACK), keep)?)
    }

    /// The score of a query with a row.
    pub(crate) fn score(&self, query: usize, row: &[f32]) -> f32 {
        // Adding 0 turns −0 into 0, so that equal scores tie.
        self.metric.score(self.queries.row(query), row) + 0.0
    }

    /// The `k` nearest of some hits, nearest first; ties go to the lowest row.
    pub(crate) fn nearest<'h>(&self, hits: impl Iterator<Item = Hit<'h>>) -> Vec<Hit<'h>> {
        let mut hits: Vec<Hit<'h>> = hits.collect();
        hits.sort_unstable_by(|a, b| {
            let by_score = a.score.total_cmp(&b.score);
            let by_score = if self.metric.larger_is_nearer() { by_score.reverse() } else { by_score };
            by_score.then(a.index.cmp(&b.index))
        });
        hits.truncate(self.k);
        hits
    }
}
