//! Rows of the score matrix, fed to a fold.

use rayon::prelude::*;

use crate::metric::{Metric, Ready, score_tile};
use crate::vectors::{SweepError, Vectors};

/// Queries a panel, and references a tile: 512 KiB of scores a thread, near enough to square that packing the vectors costs
/// little beside multiplying them.
const PANEL: usize = 128;
const TILE: usize = 1024;

/// A function of one row of the score matrix, fed tile by tile.
pub trait RowFold: Sync {
    /// What is kept of a row.
    type Row: Send;

    /// The state of query `query` before its first tile.
    fn start(&self, query: usize) -> Self::Row;

    /// Takes in `scores[j] = s(query, first + j)`. Tiles come in ascending order of `first` and cover every reference
    /// once.
    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Self::Row);
}

/// Feeds each query's scores with all references to `fold`; returns the rows in order of the queries.
///
/// Cost: one product of `queries × references`; memory: one tile a thread, and what the rows keep. A score has the same
/// bits in every call with the same vectors and metric.
///
/// # Errors
/// When queries and references differ in dimension.
pub fn fold_rows<F: RowFold>(
    queries: Vectors<'_>,
    references: Vectors<'_>,
    metric: Metric,
    fold: &F,
) -> Result<Vec<F::Row>, SweepError> {
    queries.check_same_dim(&references)?;
    Ok(fold_ready(&Ready::new(queries, metric), &Ready::new(references, metric), metric, fold))
}

/// The same for vectors made ready already.
pub(crate) fn fold_ready<F: RowFold>(
    queries: &Ready<'_>,
    references: &Ready<'_>,
    metric: Metric,
    fold: &F,
) -> Vec<F::Row> {
    let panels: Vec<Vec<F::Row>> = (0..queries.len().div_ceil(PANEL))
        .into_par_iter()
        .map_init(Vec::new, |scores: &mut Vec<f32>, panel| {
            let first_query = panel * PANEL;
            let count = PANEL.min(queries.len() - first_query);
            let mut rows: Vec<F::Row> = (first_query..first_query + count).map(|q| fold.start(q)).collect();
            for first in (0..references.len()).step_by(TILE) {
                let width = TILE.min(references.len() - first);
                scores.resize(count * width, 0.0);
                score_tile(metric, queries, first_query, references, first, width, scores);
                for (i, (row, scores)) in rows.iter_mut().zip(scores.chunks_exact(width)).enumerate() {
                    fold.tile(first_query + i, first, scores, row);
                }
            }
            rows
        })
        .collect();
    panels.into_iter().flatten().collect()
}
