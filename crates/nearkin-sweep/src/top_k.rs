//! The k nearest references of each query.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use crate::kin::SameLabel;
use crate::metric::{Metric, Ready};
use crate::pairs::League;
use crate::rows::{RowFold, fold_rows};
use crate::scan::{COLUMN, ROW, within};
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
/// Cost: one product of `queries × references`; half of it where both are the same slice. Memory: a tile a thread, and up to
/// `2 k` candidates of each query.
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
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    let one_set = std::ptr::eq(queries.data(), references.data()) && queries.dim() == references.dim();
    let rows = if one_set {
        among_one_set(queries, metric, k, exclude_self, sign)
    } else {
        fold_rows(queries, references, metric, &TopK { k, sign, exclude_self })?
    };
    Ok(rows.into_iter().map(|row| row.nearest_first(sign)).collect())
}

/// The nearest of a row so far.
struct Nearest {
    k: usize,
    /// What is farther than this is not among the k nearest.
    worst: f32,
    /// Fewer than `2 k`, in no order; the k nearest are among them.
    found: Vec<(f32, u32)>,
    /// Room to work in.
    flags: Vec<u8>,
}

fn by_distance(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self {
            k,
            worst: if k == 0 { f32::NEG_INFINITY } else { f32::INFINITY },
            found: Vec::new(),
            flags: Vec::new(),
        }
    }

    /// Takes in a candidate that is not farther than `worst`.
    fn take(&mut self, distance: f32, index: u32) {
        self.found.push((distance, index));
        if self.found.len() == 2 * self.k {
            self.found.select_nth_unstable_by(self.k - 1, by_distance);
            self.found.truncate(self.k);
            self.worst = self.found[self.k - 1].0;
        }
    }

    fn nearest_first(mut self, sign: f32) -> Vec<Neighbor> {
        self.found.sort_unstable_by(by_distance);
        self.found.truncate(self.k);
        // Adding 0 turns the −0 that the sign makes of a zero score back into 0.
        self.found
            .into_iter()
            .map(|(distance, index)| Neighbor { index: index as usize, score: sign * distance + 0.0 })
            .collect()
    }
}

struct TopK {
    k: usize,
    /// 1 for distances, −1 for similarities.
    sign: f32,
    exclude_self: bool,
}

impl RowFold for TopK {
    type Row = Nearest;

    fn start(&self, _query: usize) -> Nearest {
        Nearest::new(self.k)
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Nearest) {
        let mut flags = std::mem::take(&mut row.flags);
        within(scores, self.sign, row.worst, &[], &mut flags, |place, distance, _| {
            let index = first + place;
            if distance <= row.worst && !(self.exclude_self && index == query) {
                row.take(distance, index as u32);
            }
        });
        row.flags = flags;
    }
}

/// The nearest of each vector of a block.
struct Block {
    rows: Vec<Nearest>,
    /// `worst` of each row, side by side.
    worst: Vec<f32>,
}

/// Every pair of vectors is scored once, and offered to both.
fn among_one_set(
    vectors: Vectors<'_>,
    metric: Metric,
    k: usize,
    exclude_self: bool,
    sign: f32,
) -> Vec<Nearest> {
    let ready = Ready::new(vectors, metric);
    let league = League::new(vectors.len());
    let of_block = |block: usize| {
        let rows: Vec<Nearest> = (0..league.len(block)).map(|_| Nearest::new(k)).collect();
        Mutex::new(Block { worst: rows.iter().map(|row| row.worst).collect(), rows })
    };
    let blocks: Vec<Mutex<Block>> = (0..league.blocks()).map(of_block).collect();
    // A block is only ever locked by the meeting that has it to itself; a panic elsewhere left it whole.
    let lock = |block: usize| blocks[block].lock().unwrap_or_else(PoisonError::into_inner);
    league.play(&ready, metric, None::<&SameLabel<'_>>, |meeting| {
        let (first_row, first_column) = (league.first(meeting.row_block), league.first(meeting.column_block));
        let mut rows = lock(meeting.row_block);
        let alone = meeting.row_block == meeting.column_block;
        let mut columns = if alone { None } else { Some(lock(meeting.column_block)) };
        let width = meeting.width;
        let (mut flags, mut bounds) = (Vec::new(), Vec::new());
        for (i, scores) in meeting.scores.chunks_exact(width).enumerate() {
            let bound = rows.worst[i];
            // A copy: the bounds shrink while the row is gone through.
            bounds.clear();
            bounds.extend(columns.iter().flat_map(|c| &c.worst));
            within(scores, sign, bound, &bounds, &mut flags, |j, distance, flag| {
                let (row, column) = (first_row + i, first_column + j);
                if flag & ROW != 0 && distance <= rows.worst[i] && !(exclude_self && row == column) {
                    rows.take(i, distance, column);
                }
                if flag & COLUMN != 0
                    && let Some(columns) = &mut columns
                    && distance <= columns.worst[j]
                {
                    columns.take(j, distance, row);
                }
            });
        }
    });
    let rows = blocks.into_iter().map(|b| b.into_inner().unwrap_or_else(PoisonError::into_inner).rows);
    rows.flatten().collect()
}

impl Block {
    fn take(&mut self, i: usize, distance: f32, index: usize) {
        self.rows[i].take(distance, index as u32);
        self.worst[i] = self.rows[i].worst;
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
    fn among_one_set_pairs_are_scored_once_and_agree_with_brute_force() {
        let dim = 2;
        // Small integers: many ties, and scores that are exact.
        let points: Vec<f32> = (0..700 * dim).map(|i| ((i * 7919 + i / 5) % 13) as f32).collect();
        let v = Vectors::new(&points, dim).unwrap();
        for metric in [Metric::Dot, Metric::SquaredEuclidean] {
            for (k, exclude) in [(1, true), (7, false), (7, true), (900, true), (0, false)] {
                assert_eq!(top_k(v, v, metric, k, exclude).unwrap(), brute_force(v, v, metric, k, exclude));
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
