//! Exact search: every row that may be found is compared with every query.

use std::collections::BinaryHeap;

use fixedbitset::FixedBitSet;
use nearkin_sweep::{Metric, RowFold, SweepError, Vectors, fold_rows, top_k};
use rayon::prelude::*;

use super::distance::{Query, farness};
use crate::storage::{Stored, Values};

/// Queries up to which rows are compared where they lie. Beyond, laying them out for the sweep pays, but not for i8, whose whole numbers are
/// multiplied faster than the sweep's.
const FEW: usize = 8;
/// Bytes of rows that are compared at a time.
const BLOCK: usize = 1 << 17;
/// Values that are decoded for the sweep at a time.
const PANEL: usize = 1 << 22;

/// The `k` rows nearest to each query in f32, in no order; ties go to the lowest row. Only rows of `keep`, if given. For cosine,
/// queries and rows have unit length.
pub(crate) fn nearest(
    queries: Vectors<'_>,
    rows: Stored<'_>,
    metric: Metric,
    k: usize,
    keep: Option<&FixedBitSet>,
) -> Result<Vec<Vec<usize>>, SweepError> {
    let k = k.min(keep.map_or(rows.len(), |keep| keep.count_ones(..)));
    if k == 0 {
        return Ok(vec![Vec::new(); queries.len()]);
    }
    if queries.len() <= FEW || matches!(rows.values, Values::I8 { .. }) {
        return Ok(scan(queries, rows, metric.larger_is_nearer(), k, keep));
    }
    // Of unit vectors, products rank alike and need not be scaled again.
    let metric = if metric == Metric::Cosine { Metric::Dot } else { metric };
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    let panel_rows = if rows.is_rounded() { (PANEL / rows.dim).max(1) } else { rows.len() };
    let mut found = vec![Nearest::new(k); queries.len()];
    let mut room = Vec::new();
    for first in (0..rows.len()).step_by(panel_rows) {
        let panel = rows.slice(first..(first + panel_rows).min(rows.len())).to_f32_in(&mut room);
        let panel = Vectors::new(panel, rows.dim)?;
        match keep {
            None => {
                let near = top_k(queries, panel, metric, k, false)?;
                for (found, near) in found.iter_mut().zip(near) {
                    near.iter().for_each(|near| found.offer(sign * near.score, first + near.index));
                }
            }
            Some(keep) => {
                let near = fold_rows(queries, panel, metric, &Kept { k, sign, keep, first })?;
                found.iter_mut().zip(near).for_each(|(found, near)| found.merge(near));
            }
        }
    }
    Ok(found.into_iter().map(Nearest::rows).collect())
}

fn scan(
    queries: Vectors<'_>,
    rows: Stored<'_>,
    larger_is_nearer: bool,
    k: usize,
    keep: Option<&FixedBitSet>,
) -> Vec<Vec<usize>> {
    let block_rows = (BLOCK / size_of::<f32>() / rows.dim).max(1);
    let none = || vec![Nearest::new(k); queries.len()];
    let asked: Vec<Query<'_>> =
        (0..queries.len()).map(|query| Query::new(queries.row(query), &rows)).collect();
    // Which rows are nearest does not depend on the order in which they are seen.
    let found = (0..rows.len().div_ceil(block_rows)).into_par_iter().fold(
        || (none(), Vec::new(), Vec::new()),
        |(mut found, mut of_block, mut far), block| {
            let first = block * block_rows;
            let block = rows.slice(first..(first + block_rows).min(rows.len()));
            of_block.clear();
            of_block.extend(
                (0..block.len())
                    .filter(|row| keep.is_none_or(|k| k.contains(first + row)))
                    .map(|row| row as u32),
            );
            for (query, nearest) in asked.iter().zip(&mut found) {
                farness(larger_is_nearer, query, block, &of_block, &mut far);
                for (row, far) in of_block.iter().zip(&far) {
                    nearest.offer(*far, first + *row as usize);
                }
            }
            (found, of_block, far)
        },
    );
    let found = found.map(|(found, ..)| found).reduce(none, |mut all, part| {
        all.iter_mut().zip(part).for_each(|(all, part)| all.merge(part));
        all
    });
    found.into_iter().map(Nearest::rows).collect()
}

/// The sweep's rows, of which only some may be found.
struct Kept<'a> {
    k: usize,
    /// 1 for distances, −1 for similarities.
    sign: f32,
    keep: &'a FixedBitSet,
    /// The sweep's first row.
    first: usize,
}

impl RowFold for Kept<'_> {
    type Row = Nearest;

    fn start(&self, _: usize) -> Nearest {
        Nearest::new(self.k)
    }

    fn tile(&self, _: usize, first: usize, scores: &[f32], row: &mut Nearest) {
        for (place, score) in scores.iter().enumerate() {
            let far = self.sign * score;
            let index = self.first + first + place;
            if far <= row.worst && self.keep.contains(index) {
                row.offer(far, index);
            }
        }
    }
}

/// The nearest rows so far.
#[derive(Debug, Clone)]
struct Nearest {
    k: usize,
    /// Distance and row in one number that compares as they do; the farthest is on top.
    found: BinaryHeap<u64>,
    /// What is farther than this is not among the nearest.
    worst: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, found: BinaryHeap::with_capacity(k + 1), worst: f32::INFINITY }
    }

    /// Takes a row in if it is near enough. What is not a number is not.
    #[inline]
    fn offer(&mut self, far: f32, row: usize) {
        if far <= self.worst {
            self.take(ordered(far) << 32 | row as u64);
        }
    }

    fn take(&mut self, candidate: u64) {
        if self.found.len() == self.k {
            match self.found.peek_mut() {
                Some(mut farthest) if candidate < *farthest => *farthest = candidate,
                _ => return,
            }
        } else {
            self.found.push(candidate);
        }
        if self.found.len() == self.k
            && let Some(farthest) = self.found.peek()
        {
            self.worst = unordered(farthest >> 32);
        }
    }

    fn merge(&mut self, other: Self) {
        other.found.into_iter().for_each(|candidate| self.take(candidate));
    }

    fn rows(self) -> Vec<usize> {
        self.found.into_iter().map(|candidate| candidate as u32 as usize).collect()
    }
}

/// The bits of a number, as a number that compares alike.
fn ordered(x: f32) -> u64 {
    // 0 + x turns −0 into 0, so that both tie.
    let bits = (0.0 + x).to_bits();
    u64::from(if bits >> 31 == 0 { bits | 1 << 31 } else { !bits })
}

fn unordered(bits: u64) -> f32 {
    let bits = bits as u32;
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, modulus: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + i / 3) % modulus) as f32 - modulus as f32 / 2.0).collect()
    }

    #[test]
    fn few_queries_and_many_find_what_sorting_all_rows_finds() {
        let dim = 5;
        // Few distinct values: many ties.
        let data = values(700 * dim, 4);
        let rows = Vectors::new(&data, dim).unwrap();
        let mut some = FixedBitSet::with_capacity(700);
        (0..700).filter(|row| row % 3 == 1).for_each(|row| some.insert(row));
        for count in [1, 3, 20] {
            let asked = values(count * dim, 3);
            let queries = Vectors::new(&asked, dim).unwrap();
            for metric in [Metric::Dot, Metric::Euclidean, Metric::SquaredEuclidean] {
                for keep in [None, Some(&some)] {
                    for k in [1, 10, 1000] {
                        let found = nearest(queries, Stored::of(rows), metric, k, keep).unwrap();
                        for (query, mut found) in found.into_iter().enumerate() {
                            let mut all: Vec<usize> =
                                (0..700).filter(|&row| keep.is_none_or(|keep| keep.contains(row))).collect();
                            let score = |row: &usize| {
                                let score = metric.score(queries.row(query), rows.row(*row)) + 0.0;
                                if metric.larger_is_nearer() { -score } else { score }
                            };
                            all.sort_by(|a, b| score(a).total_cmp(&score(b)).then(a.cmp(b)));
                            all.truncate(k);
                            all.sort_unstable();
                            found.sort_unstable();
                            assert_eq!(found, all, "{metric}, {count} queries, k {k}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_kept_is_nothing_found() {
        let data = [1.0, 2.0];
        let v = Vectors::new(&data, 1).unwrap();
        let none = FixedBitSet::with_capacity(2);
        let found = nearest(v, Stored::of(v), Metric::Dot, 3, Some(&none)).unwrap();
        assert!(found.len() == 2 && found.iter().all(Vec::is_empty));
    }
}
