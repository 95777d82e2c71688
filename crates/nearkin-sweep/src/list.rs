//! Springs between listed pairs only: what a miner leaves of a row.

use rayon::prelude::*;

use crate::metric::Metric;
use crate::vectors::{SweepError, Vectors};

/// The score of each pair `(query, reference)`, taken from the vectors in f64 and rounded once.
///
/// # Errors
/// When queries and references differ in dimension.
///
/// # Panics
/// When a pair names a vector that does not exist.
pub fn pair_scores(
    queries: Vectors<'_>,
    references: Option<Vectors<'_>>,
    metric: Metric,
    pairs: &[(u32, u32)],
) -> Result<Vec<f32>, SweepError> {
    let others = references.unwrap_or(queries);
    queries.check_same_dim(&others)?;
    Ok(pairs
        .par_iter()
        .map(|&(q, r)| metric.score(queries.row(q as usize), others.row(r as usize)))
        .collect())
}

/// `(∂L/∂queries, ∂L/∂references)` of springs between listed pairs, given their scores and their forces `∂L/∂s`; the second
/// is empty among one set.
///
/// # Errors
/// When queries and references differ in dimension.
///
/// # Panics
/// When a pair names a vector that does not exist.
pub fn pull_list(
    queries: Vectors<'_>,
    references: Option<Vectors<'_>>,
    metric: Metric,
    pairs: &[(u32, u32)],
    scores: &[f32],
    forces: &[f32],
) -> Result<(Vec<f32>, Vec<f32>), SweepError> {
    let others = references.unwrap_or(queries);
    queries.check_same_dim(&others)?;
    let dim = queries.dim();
    let mut at_queries = vec![0.0; queries.data().len()];
    let mut at_references = vec![0.0; references.map_or(0, |r| r.data().len())];
    let mut slopes = (vec![0.0; dim], vec![0.0; dim]);
    for ((&(q, r), &s), &g) in pairs.iter().zip(scores).zip(forces) {
        if g == 0.0 {
            continue;
        }
        let (q, r) = (q as usize, r as usize);
        metric.slopes(queries.row(q), others.row(r), s, &mut slopes);
        let add = |gradient: &mut [f32], i: usize, slope: &[f32]| {
            gradient[i * dim..(i + 1) * dim].iter_mut().zip(slope).for_each(|(d, x)| *d += g * x);
        };
        add(&mut at_queries, q, &slopes.0);
        add(if references.is_some() { &mut at_references } else { &mut at_queries }, r, &slopes.1);
    }
    Ok((at_queries, at_references))
}
