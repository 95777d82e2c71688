//! Does a map keep neighbourhoods?
//!
//! J. Venna, S. Kaski, "Neighborhood Preservation in Nonlinear Projection Methods: An Experimental Study", 2001. With `r(i, j)` the
//! rank of `j` among the neighbours of `i` in the input space, from 1, `s(i, j)` that on the map, and `k` neighbours,
//!
//! ```text
//! trustworthiness = 1 − c Σ_i Σ_{j near i on the map, not in the input} (r(i, j) − k)
//! continuity      = 1 − c Σ_i Σ_{j near i in the input, not on the map} (s(i, j) − k)        c = 2 / (n k (2n − 3k − 1))
//! ```
//!
//! What the map shows near is trustworthy if it was near; what was near is continuous if it stays so.

use nearkin_sweep::{Metric, RowFold, Vectors, fold_rows};
use rayon::prelude::*;
use serde::Serialize;

use crate::error::{EvalError, Side};
use crate::labeled::{check_finite, rows};

/// Scores held at once, 4 bytes each: about 64 MB for either space.
const SCORES_HELD: usize = 1 << 24;

/// How well a map keeps neighbourhoods, both in [0, 1], larger is better. A map at random has about ½.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Neighbourhoods {
    /// How near in the input space the map's neighbours are.
    pub trustworthiness: f64,
    /// How near on the map the input space's neighbours are.
    pub continuity: f64,
}

/// Compares the `k` nearest neighbours of every vector in two spaces by their Euclidean distance; row `i` of both is one
/// sample. Ties go to the lowest index.
///
/// Cost: a sweep of both spaces and `n² log k` comparisons; memory: about 128 MB beside the sweep's.
///
/// # Errors
/// No vectors, different numbers of vectors, a value that is not finite, a distance beyond f32, and a `k` of 0 or of half the
/// vectors or more, for which the measures are not defined.
pub fn neighbourhoods(input: Vectors<'_>, map: Vectors<'_>, k: usize) -> Result<Neighbourhoods, EvalError> {
    in_blocks(input, map, k, SCORES_HELD)
}

fn in_blocks(
    input: Vectors<'_>,
    map: Vectors<'_>,
    k: usize,
    held: usize,
) -> Result<Neighbourhoods, EvalError> {
    check_finite(input, Side::Queries)?;
    check_finite(map, Side::Embeddings)?;
    let n = input.len();
    if map.len() != n {
        return Err(EvalError::Pairing { input: n, map: map.len() });
    }
    if k == 0 || 2 * k >= n {
        let found = format!("{k} for {n} vectors");
        return Err(EvalError::Setting {
            field: "k",
            found,
            wanted: "1 or more, and fewer than half the vectors",
        });
    }
    let step = (held / n).max(1);
    let (mut intruders, mut lost) = (0usize, 0usize);
    for first in (0..n).step_by(step) {
        let end = (first + step).min(n);
        let near = distances(rows(input, first, end)?, input)?;
        let shown = distances(rows(map, first, end)?, map)?;
        let penalties = near.par_iter().zip(&shown).enumerate().map(|(at, (near, shown))| {
            let own = first + at;
            if !(near.iter().chain(shown).all(|score| score.is_finite())) {
                return Err(EvalError::ScoreOverflow { metric: Metric::SquaredEuclidean, query: own });
            }
            let (in_input, on_map) = (nearest(near, own, k), nearest(shown, own, k));
            Ok((beyond(near, own, k, &on_map), beyond(shown, own, k, &in_input)))
        });
        for (of_map, of_input) in penalties.collect::<Result<Vec<_>, _>>()? {
            intruders += of_map;
            lost += of_input;
        }
    }
    let (n, k) = (n as f64, k as f64);
    let scale = 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0));
    Ok(Neighbourhoods {
        trustworthiness: 1.0 - scale * intruders as f64,
        continuity: 1.0 - scale * lost as f64,
    })
}

/// All squared distances of some vectors.
fn distances(queries: Vectors<'_>, all: Vectors<'_>) -> Result<Vec<Vec<f32>>, EvalError> {
    struct Keep(usize);
    impl RowFold for Keep {
        type Row = Vec<f32>;

        fn start(&self, _query: usize) -> Vec<f32> {
            vec![0.0; self.0]
        }

        fn tile(&self, _query: usize, first: usize, scores: &[f32], row: &mut Vec<f32>) {
            row[first..first + scores.len()].copy_from_slice(scores);
        }
    }
    Ok(fold_rows(queries, all, Metric::SquaredEuclidean, &Keep(all.len()))?)
}

/// The `k` nearest of a row but for its own sample.
fn nearest(row: &[f32], own: usize, k: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..row.len()).filter(|&j| j != own).collect();
    let by_distance = |a: &usize, b: &usize| row[*a].total_cmp(&row[*b]).then(a.cmp(b));
    others.select_nth_unstable_by(k - 1, by_distance);
    others.truncate(k);
    others
}

/// The sum over some samples of how far their rank in a row is beyond `k`.
fn beyond(row: &[f32], own: usize, k: usize, samples: &[usize]) -> usize {
    let mut asked: Vec<(f32, usize)> = samples.iter().map(|&j| (row[j], j)).collect();
    asked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // Before which of the samples each other one stands: rank − 1 is the sum of what stands before.
    let mut before = vec![0usize; asked.len() + 1];
    for (j, &score) in row.iter().enumerate().filter(|(j, _)| *j != own) {
        before[asked.partition_point(|&(s, i)| s.total_cmp(&score).then(i.cmp(&j)).is_le())] += 1;
    }
    let mut rank: usize = 0;
    let beyond = before[..asked.len()].iter().map(|count| {
        rank += count;
        // A sample stands before itself nowhere: it is counted with the next.
        (rank + 1).saturating_sub(k)
    });
    beyond.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mix = |i: u64| (i.wrapping_mul(seed).wrapping_add(i * i) % 10_007) as f32 / 10_007.0;
        (0..(n * dim) as u64).map(mix).collect()
    }

    /// The definition, by sorting.
    fn plain(input: Vectors<'_>, map: Vectors<'_>, k: usize) -> [f64; 2] {
        let n = input.len();
        let ranks = |vectors: Vectors<'_>, i: usize| {
            let square = |j: usize| Metric::SquaredEuclidean.score(vectors.row(i), vectors.row(j));
            let mut order: Vec<usize> = (0..n).filter(|j| *j != i).collect();
            order.sort_by(|&a, &b| square(a).total_cmp(&square(b)).then(a.cmp(&b)));
            let mut ranks = vec![0; n];
            (1..).zip(order).for_each(|(rank, j)| ranks[j] = rank);
            ranks
        };
        let mut sums = [0.0; 2];
        for i in 0..n {
            let (r, s) = (ranks(input, i), ranks(map, i));
            for j in (0..n).filter(|j| *j != i) {
                if s[j] <= k && r[j] > k {
                    sums[0] += (r[j] - k) as f64;
                }
                if r[j] <= k && s[j] > k {
                    sums[1] += (s[j] - k) as f64;
                }
            }
        }
        let (n, k) = (n as f64, k as f64);
        sums.map(|sum| 1.0 - 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)) * sum)
    }

    #[test]
    fn the_measures_agree_with_their_definition() {
        for (n, k) in [(30, 1), (57, 5), (64, 31), (200, 12)] {
            let (input, map) = (noise(n, 7, 7919), noise(n, 2, 104_729));
            let (input, map) = (Vectors::new(&input, 7).unwrap(), Vectors::new(&map, 2).unwrap());
            let wanted = plain(input, map, k);
            for held in [1, 3 * n, SCORES_HELD] {
                let found = in_blocks(input, map, k, held).unwrap();
                assert!((found.trustworthiness - wanted[0]).abs() < 1e-12, "{n} {k}: {found:?} {wanted:?}");
                assert!((found.continuity - wanted[1]).abs() < 1e-12, "{n} {k}: {found:?} {wanted:?}");
            }
        }
    }

    #[test]
    fn ties_are_counted_as_the_definition_does() {
        let grid: Vec<f32> = (0..36).flat_map(|i| [(i % 6) as f32, (i / 6) as f32]).collect();
        let line: Vec<f32> = (0..36).map(|i| (i % 6) as f32).collect();
        let (grid, line) = (Vectors::new(&grid, 2).unwrap(), Vectors::new(&line, 1).unwrap());
        let (found, wanted) = (neighbourhoods(grid, line, 4).unwrap(), plain(grid, line, 4));
        assert!(
            (found.trustworthiness - wanted[0]).abs() < 1e-12 && (found.continuity - wanted[1]).abs() < 1e-12
        );
    }

    #[test]
    fn a_space_keeps_its_own_neighbourhoods_and_a_fold_shows_what_it_tears() {
        let line: Vec<f32> = (0..40).map(|i| i as f32 + 0.01 * (i * i % 7) as f32).collect();
        let vectors = Vectors::new(&line, 1).unwrap();
        let same = neighbourhoods(vectors, vectors, 3).unwrap();
        assert_eq!((same.trustworthiness, same.continuity), (1.0, 1.0));
        // Folded in the middle: what is far becomes near, what is near stays near.
        let folded: Vec<f32> = line.iter().map(|x| (x - 20.03).abs()).collect();
        let found = neighbourhoods(vectors, Vectors::new(&folded, 1).unwrap(), 3).unwrap();
        assert!(found.trustworthiness < 0.8 && found.continuity > 0.9, "{found:?}");
    }

    #[test]
    fn what_is_not_defined_is_refused() {
        let values = noise(10, 2, 31);
        let (vectors, short) = (Vectors::new(&values, 2).unwrap(), Vectors::new(&values[..8], 2).unwrap());
        assert!(matches!(neighbourhoods(vectors, vectors, 0), Err(EvalError::Setting { field: "k", .. })));
        assert!(matches!(neighbourhoods(vectors, vectors, 5), Err(EvalError::Setting { field: "k", .. })));
        assert!(matches!(neighbourhoods(vectors, short, 2), Err(EvalError::Pairing { input: 10, map: 4 })));
        let far = [0.0, 0.0, 3e38, 0.0, 0.0, 1.0, 1.0, 0.0];
        let far = Vectors::new(&far, 2).unwrap();
        assert!(matches!(neighbourhoods(far, far, 1), Err(EvalError::ScoreOverflow { .. })));
    }
}
