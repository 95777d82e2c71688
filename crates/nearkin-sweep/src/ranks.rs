//! Ranks of the kin of every query, by counting: without a list of the nearest, and so without a limit to its length.
//!
//! A query's scores with its kin come first, from products within classes. The rank of a kin is then one more than the kin
//! before it and the strangers nearer than it, and a stranger is found its place among the kin by binary search.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::kin::SameLabel;
use crate::metric::{Metric, Ready, score_tile};
use crate::pairs::{LARGEST_HEAVY_BLOCK, League};
use crate::rows::{RowFold, fold_ready};
use crate::scan::{COLUMN, ROW, within};
use crate::vectors::{SweepError, Vectors};
use crate::wide::wide;

/// Kin held at once, 12 bytes each: about 200 MB.
const HELD: usize = 1 << 24;
/// Queries ranked together at least, so that a pass over the references is worth its cost.
const FEWEST_QUERIES: usize = 64;
/// Queries and references of one class that are scored at once.
const TILE: usize = 512;

/// The ranks of one query's kin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KinRanks {
    /// References of the query's label, itself not counted.
    pub kin: usize,
    /// Ranks of the kin among all references, from 1, ascending; those beyond the depth are left out.
    pub ranks: Vec<u32>,
    /// Whether a score with a kin, or one with a stranger that was looked at, was not finite: then the ranks mean nothing.
    pub not_finite: bool,
}

/// For each query, where its kin stand when all references are put in order, nearest first; equal scores go to the lowest
/// index. Without `references`, each query is ranked against all the others.
///
/// Ranks beyond `max(deepest, number of kin)` are left out: R-precision, MAP@R and Recall@`deepest` do not read them.
///
/// Cost: one product of queries × references, half of it without `references`, and the products within classes. Memory: 12
/// bytes a pair of kin, of as many queries at once as fit in about 200 MB.
///
/// # Errors
/// When the sides differ in dimension, or labels do not name every vector.
pub fn kin_ranks(
    queries: (Vectors<'_>, &[u32]),
    references: Option<(Vectors<'_>, &[u32])>,
    metric: Metric,
    deepest: usize,
) -> Result<Vec<KinRanks>, SweepError> {
    kin_ranks_holding(queries, references, metric, deepest, HELD)
}

fn kin_ranks_holding(
    queries: (Vectors<'_>, &[u32]),
    references: Option<(Vectors<'_>, &[u32])>,
    metric: Metric,
    deepest: usize,
    held: usize,
) -> Result<Vec<KinRanks>, SweepError> {
    let (others, other_labels) = references.unwrap_or(queries);
    queries.0.check_same_dim(&others)?;
    for (vectors, labels) in [queries, (others, other_labels)] {
        if vectors.len() != labels.len() {
            return Err(SweepError::LabelCount { found: labels.len(), wanted: vectors.len() });
        }
    }
    let ready = Ready::new(queries.0, metric);
    let ready_references = references.map(|(r, _)| Ready::new(r, metric));
    let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
    for (index, &label) in (0u32..).zip(other_labels) {
        members.entry(label).or_default().push(index);
    }
    let ranking = Ranking {
        metric,
        sign: if metric.larger_is_nearer() { -1.0 } else { 1.0 },
        members,
        reference_labels: other_labels,
        one_set: references.is_none(),
        deepest,
    };
    let references = ready_references.as_ref().unwrap_or(&ready);
    let kin_of = |label: &u32| ranking.members.get(label).map_or(0, Vec::len);
    if ranking.one_set && queries.1.iter().map(kin_of).sum::<usize>() <= held {
        return Ok(ranking.among_one_set(&ready, queries.1));
    }
    let mut found = Vec::with_capacity(queries.1.len());
    let mut first = 0;
    while first < queries.1.len() {
        let mut sum = 0;
        let fits = queries.1[first..].iter().take_while(|label| {
            sum += kin_of(label);
            sum <= held
        });
        let end = (first + fits.count().max(FEWEST_QUERIES)).min(queries.1.len());
        found.extend(ranking.of_block(&ready, references, first, &queries.1[first..end]));
        first = end;
    }
    Ok(found)
}

/// What every query's ranking shares.
struct Ranking<'a> {
    metric: Metric,
    /// 1 for distances, −1 for similarities.
    sign: f32,
    /// References of each label, ascending.
    members: HashMap<u32, Vec<u32>>,
    reference_labels: &'a [u32],
    one_set: bool,
    deepest: usize,
}

/// A reference as its query sees it: distance, then index.
type Seen = (f32, u32);

/// Whether a stranger comes before a kin.
fn comes_before(a: Seen, b: Seen) -> bool {
    a.0 < b.0 || (a.0 == b.0 && a.1 < b.1)
}

/// A query whose strangers are being counted.
struct Counting {
    /// The kin, nearest first.
    kin: Vec<Seen>,
    /// Strangers before kin `p` but not before kin `p − 1`.
    before: Vec<u32>,
    /// Kin that may still rank within the depth; the others no one reads.
    live: usize,
    depth: usize,
    /// The distance beyond which a stranger comes before no live kin.
    bound: f32,
    /// Strangers counted since kin were last let go of.
    fresh: usize,
    not_finite: bool,
    /// Room to work in.
    flags: Vec<u8>,
}

impl Counting {
    fn new(mut kin: Vec<Seen>, deepest: usize) -> Self {
        let not_finite = kin.iter().any(|(d, _)| !d.is_finite());
        // Not `total_cmp`: 0 and −0 are a tie. Finite, or the ranks mean nothing.
        kin.sort_unstable_by(|a, b| {
            a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1))
        });
        let live = kin.len();
        let mut counting = Self {
            before: vec![0; live],
            live,
            depth: live.max(deepest),
            bound: 0.0,
            fresh: 0,
            not_finite,
            flags: Vec::new(),
            kin,
        };
        counting.set_bound();
        counting
    }

    fn set_bound(&mut self) {
        self.bound = self.kin[..self.live].last().map_or(f32::NEG_INFINITY, |(d, _)| *d);
    }

    fn stranger(&mut self, seen: Seen) {
        // The bound may have shrunk since the stranger was found within it.
        if seen.0 > self.bound {
            return;
        }
        let ahead = self.kin[..self.live].partition_point(|kin| !comes_before(seen, *kin));
        if let Some(before) = self.before[..self.live].get_mut(ahead) {
            *before += 1;
        }
        self.fresh += 1;
        // Half as many again as may rank: by then the farthest kin are likely behind.
        if self.fresh > self.depth + self.depth / 2 {
            self.prune();
        }
    }

    fn ranks(&self) -> impl Iterator<Item = usize> + '_ {
        let mut strangers = 0;
        self.before[..self.live].iter().enumerate().map(move |(p, before)| {
            strangers += *before as usize;
            p + 1 + strangers
        })
    }

    /// Lets go of kin that have fallen behind.
    fn prune(&mut self) {
        self.fresh = 0;
        let behind = self.ranks().position(|rank| rank > self.depth);
        if let Some(behind) = behind {
            self.live = behind;
            self.set_bound();
        }
    }

    fn finish(self) -> KinRanks {
        let ranks = self.ranks().take_while(|rank| *rank <= self.depth).map(|rank| rank as u32).collect();
        KinRanks { kin: self.kin.len(), ranks, not_finite: self.not_finite }
    }
}

/// Whether all are finite; without a short cut, so that it runs as wide as the machine.
fn all_finite(scores: &[f32]) -> bool {
    wide(
        #[inline(always)]
        || scores.iter().fold(true, |all, s| all & s.is_finite()),
    )
}

impl Ranking<'_> {
    /// The scores of each of some queries with its kin, and nothing counted yet.
    fn start(
        &self,
        queries: &Ready<'_>,
        references: &Ready<'_>,
        first: usize,
        labels: &[u32],
    ) -> Vec<Counting> {
        let mut askers: HashMap<u32, Vec<u32>> = HashMap::new();
        for (query, &label) in (first as u32..).zip(labels) {
            if self.members.contains_key(&label) {
                askers.entry(label).or_default().push(query);
            }
        }
        let classes: Vec<(u32, Vec<u32>)> = askers.into_iter().collect();
        let scored: Vec<Vec<(u32, Vec<Seen>)>> = classes
            .par_iter()
            .map(|(label, askers)| {
                let members = &self.members[label];
                let gathered = references.gather(members);
                let gathered = gathered.all_columns();
                let mut scores = Vec::new();
                let mut rows = Vec::with_capacity(askers.len());
                for askers in askers.chunks(TILE) {
                    let own = queries.gather(askers);
                    let mut of_askers: Vec<Vec<Seen>> = vec![Vec::with_capacity(members.len()); askers.len()];
                    for (tile, members) in members.chunks(TILE).enumerate() {
                        scores.resize(askers.len() * members.len(), 0.0);
                        score_tile(self.metric, &own, 0, &gathered, tile * TILE, members.len(), &mut scores);
                        for ((asker, row), kin) in
                            askers.iter().zip(scores.chunks_exact(members.len())).zip(&mut of_askers)
                        {
                            let seen = row.iter().zip(members).map(|(s, index)| (self.sign * s, *index));
                            kin.extend(seen.filter(|(_, index)| !(self.one_set && index == asker)));
                        }
                    }
                    rows.extend(askers.iter().copied().zip(of_askers));
                }
                rows
            })
            .collect();
        let mut kin: Vec<Vec<Seen>> = vec![Vec::new(); labels.len()];
        for (query, seen) in scored.into_iter().flatten() {
            kin[query as usize - first] = seen;
        }
        kin.into_par_iter().map(|kin| Counting::new(kin, self.deepest)).collect()
    }

    /// Among one set: every pair of strangers is scored once and counted at both ends.
    fn among_one_set(&self, ready: &Ready<'_>, labels: &[u32]) -> Vec<KinRanks> {
        struct Block {
            rows: Vec<Counting>,
            /// `bound` of each row, side by side.
            bounds: Vec<f32>,
        }
        let league = League::new(labels.len(), LARGEST_HEAVY_BLOCK);
        let mut rows = self.start(ready, ready, 0, labels).into_iter();
        let blocks: Vec<Mutex<Block>> = (0..league.blocks())
            .map(|block| {
                let rows: Vec<Counting> = rows.by_ref().take(league.len(block)).collect();
                Mutex::new(Block { bounds: rows.iter().map(|row| row.bound).collect(), rows })
            })
            .collect();
        // A block is only ever locked by the meeting that has it to itself; a panic elsewhere left it whole.
        let lock = |block: usize| blocks[block].lock().unwrap_or_else(PoisonError::into_inner);
        let (sign, tame) = (self.sign, ready.is_tame());
        league.play(ready, self.metric, None::<&SameLabel<'_>>, |meeting| {
            let (first_row, first_column) =
                (league.first(meeting.row_block), league.first(meeting.column_block));
            let alone = meeting.row_block == meeting.column_block;
            let mut rows = lock(meeting.row_block);
            let mut columns = if alone { None } else { Some(lock(meeting.column_block)) };
            let width = meeting.width;
            let (mut flags, of_columns) = (Vec::new(), &labels[first_column..]);
            for (i, scores) in meeting.scores.chunks_exact(width).enumerate() {
                let i = meeting.first_row + i;
                let Block { rows, bounds } = &mut *rows;
                let (row, bound, index) = (&mut rows[i], bounds[i], (first_row + i) as u32);
                row.not_finite |= !tame && !all_finite(scores);
                let label = labels[first_row + i];
                let (bounds, mut columns) = match columns.as_deref_mut() {
                    Some(Block { rows, bounds }) => (&bounds[..], Some(rows)),
                    None => (&[][..], None),
                };
                within(scores, sign, bound, bounds, &mut flags, |j, distance, flag| {
                    if of_columns[j] == label {
                        return;
                    }
                    if flag & ROW != 0 {
                        row.stranger((distance, (first_column + j) as u32));
                    }
                    if flag & COLUMN != 0
                        && let Some(columns) = &mut columns
                    {
                        columns[j].stranger((distance, index));
                    }
                });
            }
            for block in [Some(&mut rows), columns.as_mut()].into_iter().flatten() {
                let Block { rows, bounds } = &mut **block;
                for (row, bound) in rows.iter_mut().zip(bounds) {
                    row.prune();
                    *bound = row.bound;
                }
            }
        });
        let rows = blocks.into_iter().map(|b| b.into_inner().unwrap_or_else(PoisonError::into_inner).rows);
        rows.flatten().map(Counting::finish).collect()
    }

    /// Consecutive queries against all references.
    fn of_block(
        &self,
        queries: &Ready<'_>,
        references: &Ready<'_>,
        first: usize,
        labels: &[u32],
    ) -> Vec<KinRanks> {
        let started = self.start(queries, references, first, labels);
        let own: Vec<u32> = (first as u32..(first + labels.len()) as u32).collect();
        let started: Vec<Mutex<Option<Counting>>> =
            started.into_iter().map(|c| Mutex::new(Some(c))).collect();
        let fold = Strangers { ranking: self, labels, started: &started };
        let rows = fold_ready(&queries.gather(&own), references, self.metric, &fold);
        rows.into_iter().map(|row| row.map_or_else(KinRanks::default, Counting::finish)).collect()
    }
}

/// Counts the strangers of a block of queries.
struct Strangers<'a> {
    ranking: &'a Ranking<'a>,
    labels: &'a [u32],
    /// Taken out by the one task that owns the row.
    started: &'a [Mutex<Option<Counting>>],
}

impl RowFold for Strangers<'_> {
    type Row = Option<Counting>;

    fn start(&self, query: usize) -> Self::Row {
        self.started[query].lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Self::Row) {
        let Some(row) = row else { return };
        let (sign, label) = (self.ranking.sign, self.labels[query]);
        let labels = &self.ranking.reference_labels[first..first + scores.len()];
        row.not_finite |= !all_finite(scores);
        let mut flags = std::mem::take(&mut row.flags);
        within(scores, sign, row.bound, &[], &mut flags, |place, distance, _| {
            if labels[place] != label {
                row.stranger((distance, (first + place) as u32));
            }
        });
        row.flags = flags;
        row.prune();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute_force(
        (q, ql): (Vectors<'_>, &[u32]),
        references: Option<(Vectors<'_>, &[u32])>,
        metric: Metric,
        deepest: usize,
    ) -> Vec<KinRanks> {
        let (r, rl) = references.unwrap_or((q, ql));
        let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
        let of = |i: usize| {
            let others = (0..r.len()).filter(|&j| !(references.is_none() && i == j));
            let mut order: Vec<(f32, usize)> =
                others.map(|j| (sign * metric.score(q.row(i), r.row(j)), j)).collect();
            order.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap().then(a.1.cmp(&b.1)));
            let kin = order.iter().filter(|(_, j)| rl[*j] == ql[i]).count();
            let ranks = (1u32..)
                .zip(&order)
                .filter(|(rank, (_, j))| rl[*j] == ql[i] && *rank as usize <= kin.max(deepest));
            KinRanks { kin, ranks: ranks.map(|(rank, _)| rank).collect(), not_finite: false }
        };
        (0..q.len()).map(of).collect()
    }

    #[test]
    fn ranks_agree_with_brute_force_whichever_way_they_are_counted() {
        // Small integers: many ties, and scores that are exact.
        let point = |i: usize| ((i * 7919 + i / 3 * 31) % 11) as f32;
        let (x, y): (Vec<f32>, Vec<f32>) =
            ((0..600).map(point).collect(), (0..900).map(|i| point(i + 5)).collect());
        let (v, w) = (Vectors::new(&x, 2).unwrap(), Vectors::new(&y, 2).unwrap());
        let label = |i: u32| i * i % 23;
        let (a, b): (Vec<u32>, Vec<u32>) =
            ((0..300).map(label).collect(), (0..450).map(|i| label(i + 1)).collect());
        for metric in [Metric::Dot, Metric::SquaredEuclidean] {
            for deepest in [1, 8, 1000] {
                let wanted = brute_force((v, &a), None, metric, deepest);
                for held in [0, 2000, HELD] {
                    assert_eq!(kin_ranks_holding((v, &a), None, metric, deepest, held).unwrap(), wanted);
                }
                let wanted = brute_force((v, &a), Some((w, &b)), metric, deepest);
                for held in [0, HELD] {
                    let found = kin_ranks_holding((v, &a), Some((w, &b)), metric, deepest, held).unwrap();
                    assert_eq!(found, wanted);
                }
            }
        }
    }

    #[test]
    fn a_score_that_is_not_finite_is_said() {
        let x = [1.0, f32::MAX, f32::MAX, 2.0];
        let found = kin_ranks((Vectors::new(&x, 1).unwrap(), &[0, 1, 1, 0]), None, Metric::Dot, 1).unwrap();
        assert!(found[1].not_finite && found[2].not_finite);
    }
}
