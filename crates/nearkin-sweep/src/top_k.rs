//! The k nearest references of each query.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::kin::SameLabel;
use crate::metric::{Metric, Ready};
use crate::pairs::{LARGEST_HEAVY_BLOCK, League};
use crate::rows::{RowFold, fold_ready};
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
    queries.check_same_dim(&references)?;
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    let one_set = std::ptr::eq(queries.data(), references.data()) && queries.dim() == references.dim();
    let ready = Ready::new(queries, metric);
    let others = if one_set { None } else { Some(Ready::new(references, metric)) };
    let others = others.as_ref().unwrap_or(&ready);
    let guess = Guess::of(k, others.len());
    let bounds = guess.map(|guess| guess.bounds(&ready, others, metric, sign));
    let mut all = TopK { k, references: others.len(), sign, exclude_self, bounds, queries: None };
    let found = if one_set {
        among_one_set(&ready, metric, &all)
    } else {
        fold_ready(&ready, others, metric, &all).into_iter().map(|row| row.nearest).collect()
    };
    let rows: Vec<Vec<Vec<Neighbor>>> =
        found.into_par_iter().map(|nearest| nearest.nearest_first(sign)).collect();
    let mut rows: Vec<Vec<Neighbor>> = rows.into_iter().flatten().collect();
    if all.bounds.take().is_some() {
        // A guess that was too near has cost its row some neighbours.
        let fewest = k.min(others.len() - usize::from(exclude_self));
        let short: Vec<u32> =
            (0u32..).zip(&rows).filter(|(_, row)| row.len() < fewest).map(|(i, _)| i).collect();
        let again = fold_ready(&ready.gather(&short), others, metric, &TopK { queries: Some(&short), ..all });
        for (row, found) in short.iter().zip(again) {
            rows[*row as usize] = found.nearest.nearest_first(sign).remove(0);
        }
    }
    Ok(rows)
}

/// A guess of how far a query's k-th neighbour is, from a sample of the references. Without one, every row takes in and
/// throws out several times k candidates until it knows.
#[derive(Clone, Copy)]
struct Guess {
    /// The place in the sample whose distance is the guess.
    place: usize,
}

impl Guess {
    const SAMPLE: usize = 1024;
    /// References below which a guess does not pay.
    const FEWEST: usize = 16 * Self::SAMPLE;

    fn of(k: usize, references: usize) -> Option<Self> {
        // The k nearest lie in the sample as often as a Poisson variable says; four deviations make misses rare.
        let expected = k as f64 * Self::SAMPLE as f64 / references as f64;
        let place = (expected + 4.0 * expected.sqrt() + 2.0).ceil() as usize;
        let pays = k > 0 && references >= Self::FEWEST && place < Self::SAMPLE / 4;
        pays.then_some(Self { place })
    }

    /// One reference of each stretch, at a place that no order of the references is in step with.
    fn sample(references: usize) -> Vec<u32> {
        let stretch = references as f64 / Self::SAMPLE as f64;
        let place = |i: u32| {
            let hash = (i + 1).wrapping_mul(0x9E37_79B9);
            let within = f64::from(hash ^ hash >> 16) / (f64::from(u32::MAX) + 1.0);
            ((f64::from(i) + within) * stretch) as u32
        };
        (0..Self::SAMPLE as u32).map(place).collect()
    }

    /// A distance for each query that is hardly ever smaller than its k-th neighbour's.
    fn bounds(self, queries: &Ready<'_>, references: &Ready<'_>, metric: Metric, sign: f32) -> Vec<f32> {
        let (k, references) = (self.place, references.gather(&Self::sample(references.len())));
        let fold =
            TopK { k, references: Self::SAMPLE, sign, exclude_self: false, bounds: None, queries: None };
        let rows = fold_ready(queries, &references, metric, &fold);
        let bound = |row: TopKRow| {
            let found = row.nearest.nearest_first(sign).remove(0);
            found.get(k - 1).map_or(f32::INFINITY, |last| sign * last.score)
        };
        rows.into_par_iter().map(bound).collect()
    }
}

/// The nearest of a few rows so far.
struct Nearest {
    k: usize,
    /// Candidates a row has room for.
    room: usize,
    /// `room` candidates a row, of which the first `count` are there, in no order; the k nearest are among them.
    found: Vec<u64>,
    count: Vec<u32>,
    /// What is farther than this is not among the k nearest.
    worst: Vec<f32>,
}

/// Distance and index in one number that compares as they do: nearest first, then lowest index.
fn candidate(distance: f32, index: u32) -> u64 {
    let bits = distance.to_bits();
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered) << 32 | u64::from(index)
}

fn distance_of(candidate: u64) -> f32 {
    let ordered = (candidate >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

impl Nearest {
    /// Rows whose neighbours are not farther than `worst`.
    fn new(worst: Vec<f32>, k: usize, references: usize) -> Self {
        let (rows, room) = (worst.len(), k.saturating_mul(2).min(references));
        Self { k, room, found: vec![0; rows * room], count: vec![0; rows], worst }
    }

    /// Takes in a candidate of a row that is not farther than the row's `worst`.
    #[inline]
    fn take(&mut self, row: usize, distance: f32, index: usize) {
        let count = self.count[row] as usize;
        self.found[row * self.room + count] = candidate(distance, index as u32);
        self.count[row] += 1;
        if count + 1 == self.room && self.room > self.k {
            self.shrink(row);
        }
    }

    /// Makes room again.
    #[cold]
    fn shrink(&mut self, row: usize) {
        let found = &mut self.found[row * self.room..][..self.room];
        let (_, worst, _) = found.select_nth_unstable(self.k - 1);
        self.worst[row] = distance_of(*worst);
        self.count[row] = self.k as u32;
    }

    fn nearest_first(mut self, sign: f32) -> Vec<Vec<Neighbor>> {
        let rows = self.count.iter().enumerate().map(|(row, count)| {
            let found = &mut self.found[row * self.room..][..*count as usize];
            found.sort_unstable();
            // Adding 0 turns the −0 that the sign makes of a zero score back into 0.
            let of = |c: &u64| Neighbor { index: *c as u32 as usize, score: sign * distance_of(*c) + 0.0 };
            found.iter().take(self.k).map(of).collect()
        });
        rows.collect()
    }
}

struct TopK<'a> {
    k: usize,
    references: usize,
    /// 1 for distances, −1 for similarities.
    sign: f32,
    exclude_self: bool,
    /// The distance of each query beyond which nothing is taken in.
    bounds: Option<Vec<f32>>,
    /// The numbers of the queries, where they are not all.
    queries: Option<&'a [u32]>,
}

impl TopK<'_> {
    fn bound(&self, query: usize) -> f32 {
        match &self.bounds {
            _ if self.k == 0 => f32::NEG_INFINITY,
            Some(bounds) => bounds[query],
            None => f32::INFINITY,
        }
    }
}

struct TopKRow {
    nearest: Nearest,
    /// Room to work in.
    flags: Vec<u8>,
}

impl RowFold for TopK<'_> {
    type Row = TopKRow;

    fn start(&self, query: usize) -> TopKRow {
        TopKRow { nearest: Nearest::new(vec![self.bound(query)], self.k, self.references), flags: Vec::new() }
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut TopKRow) {
        let TopKRow { nearest, flags } = row;
        let query = self.queries.map_or(query, |queries| queries[query] as usize);
        within(scores, self.sign, nearest.worst[0], &[], flags, |place, distance, _| {
            let index = first + place;
            if distance <= nearest.worst[0] && !(self.exclude_self && index == query) {
                nearest.take(0, distance, index);
            }
        });
    }
}

/// Every pair of vectors is scored once, and offered to both. The nearest of each block of vectors.
fn among_one_set(ready: &Ready<'_>, metric: Metric, all: &TopK<'_>) -> Vec<Nearest> {
    let &TopK { k, sign, exclude_self, .. } = all;
    let league = League::new(ready.len(), LARGEST_HEAVY_BLOCK);
    let of_block = |block: usize| {
        let rows = league.first(block)..league.first(block) + league.len(block);
        Mutex::new(Nearest::new(rows.map(|row| all.bound(row)).collect(), k, ready.len()))
    };
    let blocks: Vec<Mutex<Nearest>> = (0..league.blocks()).map(of_block).collect();
    // A block is only ever locked by the meeting that has it to itself; a panic elsewhere left it whole.
    let lock = |block: usize| blocks[block].lock().unwrap_or_else(PoisonError::into_inner);
    league.play(ready, metric, None::<&SameLabel<'_>>, |meeting| {
        let (first_row, first_column) = (league.first(meeting.row_block), league.first(meeting.column_block));
        let mut rows = lock(meeting.row_block);
        let alone = meeting.row_block == meeting.column_block;
        let mut columns = if alone { None } else { Some(lock(meeting.column_block)) };
        let (mut flags, mut bounds) = (Vec::new(), Vec::new());
        for (i, scores) in meeting.scores.chunks_exact(meeting.width).enumerate() {
            let i = meeting.first_row + i;
            // Copies: the bounds shrink while the row is gone through.
            let bound = rows.worst[i];
            bounds.clear();
            if let Some(columns) = &columns {
                bounds.extend_from_slice(&columns.worst);
            }
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
    blocks.into_iter().map(|b| b.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
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
    fn a_guess_changes_no_neighbour() {
        let (dim, n) = (2, Guess::FEWEST + 77);
        let hash = |i: usize| (i as u32).wrapping_mul(2_654_435_769) >> 23;
        let mut points: Vec<f32> = (0..n * dim).map(|i| hash(i) as f32).collect();
        // Whoever looks from the first reference's place finds the whole sample nearer than anything else, and guesses too
        // near: the sample ends before the k nearest do.
        for i in Guess::sample(n) {
            points[i as usize * dim..][..dim].copy_from_slice(&[2000.0, 2000.0]);
        }
        let v = Vectors::new(&points, dim).unwrap();
        let queries: Vec<f32> = points[..60 * dim].iter().copied().chain([2000.0, 2000.0]).collect();
        let q = Vectors::new(&queries, dim).unwrap();
        let k = 2000;
        let guess = Guess::of(k, n).expect("large enough for a guess");
        let metric = Metric::SquaredEuclidean;
        let bounds = guess.bounds(&Ready::new(q, metric), &Ready::new(v, metric), metric, 1.0);
        let wanted = brute_force(q, v, metric, k, false);
        assert!(bounds[60] < wanted[60][k - 1].score, "this guess was to be too near");
        assert_eq!(top_k(q, v, metric, k, false).unwrap(), wanted);
        for k in [1, 50] {
            let among = top_k(v, v, metric, k, true).unwrap();
            assert_eq!(
                among[..60],
                brute_force(q, v, metric, k + 1, false)[..60]
                    .iter()
                    .enumerate()
                    .map(|(i, row)| {
                        let mut row = row.clone();
                        row.retain(|found| found.index != i);
                        row.truncate(k);
                        row
                    })
                    .collect::<Vec<_>>()
            );
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
