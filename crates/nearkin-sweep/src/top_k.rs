//! The k nearest references of each query.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::metric::Metric;
use crate::rows::{RowFold, fold_rows};
use crate::vectors::{SweepError, Vectors};

/// A reference found near a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// The reference.
    pub index: usize,
    /// Its score under the metric asked for.
    pub score: f32,
}

/// The `k` nearest references of each query, nearest first; ties go to the lowest index.
///
/// With `exclude_self`, reference `i` is no neighbour of query `i` (retrieval among one set). Fewer than `k` are
/// returned when there are fewer references; a pair whose score is not a number is never a neighbour.
///
/// # Errors
/// When queries and references differ in dimension.
pub fn top_k(
    queries: Vectors<'_>,
    references: Vectors<'_>,
    metric: Metric,
    k: usize,
    exclude_self: bool,
) -> Result<Vec<Vec<Neighbor>>, SweepError> {
    let fold = TopK { k, larger_is_nearer: metric.larger_is_nearer(), exclude_self };
    let rows = fold_rows(queries, references, metric, &fold)?;
    Ok(rows.into_iter().map(|row| fold.nearest_first(row)).collect())
}

struct TopK {
    k: usize,
    larger_is_nearer: bool,
    exclude_self: bool,
}

/// A candidate ordered by farness, so that a max-heap has the one to drop at its top.
#[derive(PartialEq)]
struct Candidate {
    distance: f32,
    index: usize,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TopK {
    fn sign(&self) -> f32 {
        if self.larger_is_nearer { -1.0 } else { 1.0 }
    }

    fn nearest_first(&self, row: BinaryHeap<Candidate>) -> Vec<Neighbor> {
        let sign = self.sign();
        // Adding 0 turns the −0 that the sign makes of a zero score back into 0.
        row.into_sorted_vec()
            .into_iter()
            .map(|c| Neighbor { index: c.index, score: sign * c.distance + 0.0 })
            .collect()
    }
}

impl RowFold for TopK {
    type Row = BinaryHeap<Candidate>;

    fn start(&self, _query: usize) -> Self::Row {
        BinaryHeap::with_capacity(self.k.min(4096))
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Self::Row) {
        let sign = self.sign();
        let mut worst = if row.len() < self.k {
            f32::INFINITY
        } else {
            row.peek().map_or(f32::NEG_INFINITY, |c| c.distance)
        };
        for (j, &score) in scores.iter().enumerate() {
            // 0.0 + normalises −0, so that equal scores tie.
            let distance = 0.0 + sign * score;
            // References come in ascending order: an equal distance later loses the tie, so a full heap needs `<`.
            let enters = if row.len() < self.k { !distance.is_nan() } else { distance < worst };
            if !enters || (self.exclude_self && first + j == query) {
                continue;
            }
            row.push(Candidate { distance, index: first + j });
            if row.len() > self.k {
                row.pop();
            }
            if row.len() == self.k {
                worst = row.peek().map_or(f32::NEG_INFINITY, |c| c.distance);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn brute_force(
        queries: Vectors<'_>,
        references: Vectors<'_>,
        metric: Metric,
        k: usize,
        exclude_self: bool,
    ) -> Vec<Vec<Neighbor>> {
        (0..queries.len())
            .map(|q| {
                let mut all: Vec<Neighbor> = (0..references.len())
                    .filter(|&r| !(exclude_self && r == q))
                    .map(|index| Neighbor {
                        index,
                        score: metric.score(queries.row(q), references.row(index)),
                    })
                    .collect();
                all.sort_by(|a, b| {
                    let order = if metric.larger_is_nearer() {
                        b.score.partial_cmp(&a.score)
                    } else {
                        a.score.partial_cmp(&b.score)
                    };
                    order.unwrap().then(a.index.cmp(&b.index))
                });
                all.truncate(k);
                all
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        // Small integers make every score exact, so ties are real ties and indices must agree.
        #[test]
        fn neighbours_agree_with_brute_force_ties_included(
            dim in 1usize..6, n in 0usize..80, m in 0usize..80, k in 0usize..9, exclude in any::<bool>(), seed in any::<u64>()
        ) {
            let mut state = seed;
            let mut next = |_| { state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); ((state >> 33) % 5) as f32 - 2.0 };
            let (q, r): (Vec<f32>, Vec<f32>) = ((0..n * dim).map(&mut next).collect(), (0..m * dim).map(&mut next).collect());
            let (q, r) = (Vectors::new(&q, dim).unwrap(), Vectors::new(&r, dim).unwrap());
            for metric in [Metric::Dot, Metric::SquaredEuclidean, Metric::Euclidean] {
                prop_assert_eq!(top_k(q, r, metric, k, exclude).unwrap(), brute_force(q, r, metric, k, exclude));
            }
        }
    }

    #[test]
    fn many_tiles_and_panels_agree_with_brute_force() {
        let dim = 3;
        let value = |i: usize| ((i * 7919 + i / 3 * 104729) % 1009) as f32;
        let references: Vec<f32> = (0..5000 * dim).map(value).collect();
        let queries: Vec<f32> = (0..130 * dim).map(|i| value(i + 77)).collect();
        let (q, r) = (Vectors::new(&queries, dim).unwrap(), Vectors::new(&references, dim).unwrap());
        assert_eq!(
            top_k(q, r, Metric::SquaredEuclidean, 10, false).unwrap(),
            brute_force(q, r, Metric::SquaredEuclidean, 10, false)
        );
        let found = top_k(q, r, Metric::Cosine, 10, false).unwrap();
        for (found, wanted) in found.iter().zip(brute_force(q, r, Metric::Cosine, 10, false)) {
            for (f, w) in found.iter().zip(&wanted) {
                assert!((f.score - w.score).abs() < 1e-6, "{f:?} for {w:?}");
            }
        }
    }

    #[test]
    fn a_score_that_is_not_a_number_is_no_neighbour() {
        let references = [1.0, f32::NAN, 3.0];
        let found = top_k(
            Vectors::new(&[1.0], 1).unwrap(),
            Vectors::new(&references, 1).unwrap(),
            Metric::Dot,
            3,
            false,
        )
        .unwrap();
        assert_eq!(found[0].iter().map(|n| n.index).collect::<Vec<_>>(), [2, 0]);
    }

    #[test]
    fn vectors_of_two_dimensions_are_refused() {
        let error = top_k(
            Vectors::new(&[1.0, 2.0], 2).unwrap(),
            Vectors::new(&[1.0], 1).unwrap(),
            Metric::Dot,
            1,
            false,
        )
        .unwrap_err();
        assert_eq!(error, SweepError::DimensionMismatch { queries: 2, references: 1 });
    }
}
