//! Rows of the score matrix, fed to a fold.

use rayon::prelude::*;

use crate::metric::{Metric, Ready, score_tile};
use crate::vectors::{SweepError, Vectors};

/// Queries a panel, and references a tile: 256 KiB of scores a thread.
const PANEL: usize = 64;
const TILE: usize = 1024;
/// Values of references that are laid out for products at once: 16 MiB.
const BAND: usize = 1 << 22;

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
/// Cost: one product of `queries × references`; memory: one tile a thread, 16 MiB of references, and what the rows keep. A score has the same
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
    let mut rows: Vec<F::Row> = (0..queries.len()).map(|q| fold.start(q)).collect();
    if rows.is_empty() {
        // The references need not be laid out.
        return rows;
    }
    let band = (BAND / queries.vectors().dim()).next_multiple_of(TILE);
    for first_of_band in (0..references.len()).step_by(band) {
        let end = (first_of_band + band).min(references.len());
        let references = references.columns(first_of_band, end - first_of_band);
        rows.par_chunks_mut(PANEL).enumerate().for_each_init(
            Vec::new,
            |scores: &mut Vec<f32>, (panel, rows)| {
                let first_query = panel * PANEL;
                for first in (first_of_band..end).step_by(TILE) {
                    let width = TILE.min(end - first);
                    scores.resize(rows.len() * width, 0.0);
                    score_tile(metric, queries, first_query, &references, first, width, scores);
                    for (i, (row, scores)) in rows.iter_mut().zip(scores.chunks_exact(width)).enumerate() {
                        fold.tile(first_query + i, first, scores, row);
                    }
                }
            },
        );
    }
    rows
}
