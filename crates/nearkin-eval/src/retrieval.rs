//! Ranks of every same-class reference, and the retrieval metrics read off them.

use std::collections::{BTreeMap, HashMap};

use nearkin_sweep::{Metric, RowFold, fold_rows};
use rayon::prelude::*;
use serde::Serialize;

use crate::bootstrap;
use crate::error::EvalError;
use crate::labeled::{Labeled, rows, sides};

/// Positives held at once, 12 bytes each: about 200 MB.
const POSITIVES_HELD: usize = 1 << 24;
/// Queries ranked together at least, so that a pass over the references is worth its cost.
const FEWEST_QUERIES: usize = 64;

/// How to rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrievalOptions {
    /// How near two vectors are. Default: cosine.
    pub metric: Metric,
    /// The `k` of `recall_at_k`, each at least 1. Default: 1, 2, 4, 8. A `k` beyond the number of references
    /// counts them all.
    pub recall_at: Vec<usize>,
}

impl Default for RetrievalOptions {
    fn default() -> Self {
        Self { metric: Metric::default(), recall_at: vec![1, 2, 4, 8] }
    }
}

/// How well the nearest references of a query are its kin.
///
/// For a query with `R` references of its own class (itself not counted), let `rel_i` be 1 when the `i`-th
/// nearest reference is of its class, and `P@i` the share of its class among the first `i`. All values are
/// means over queries with `R ≥ 1`, in [0, 1], larger is better. Equal scores go to the lowest reference
/// index.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retrieval {
    /// Queries measured.
    pub queries: usize,
    /// Queries left out because no reference is of their class.
    pub lone_queries: usize,
    /// `rel_1`.
    pub precision_at_1: f64,
    /// For each `k`: 1 when any of the `k` nearest is of the class (Jégou et al. 2011), not the share found
    /// of the class.
    pub recall_at_k: BTreeMap<usize, f64>,
    /// `P@R`.
    pub r_precision: f64,
    /// `MAP@R = (1/R) Σ_{i≤R} P@i · rel_i` (Musgrave et al. 2020, *A Metric Learning Reality Check*).
    pub mean_average_precision_at_r: f64,
    /// 95 % bootstrap interval of `precision_at_1`: queries resampled 1,000 times, seed fixed, references
    /// fixed.
    pub precision_at_1_interval: (f64, f64),
    /// 95 % bootstrap interval of `mean_average_precision_at_r`, over the same resamples.
    pub mean_average_precision_at_r_interval: (f64, f64),
    /// The same by class of the query, in ascending order of label; classes with lone queries only are
    /// absent.
    pub per_class: Vec<ClassRetrieval>,
}

/// Retrieval of the queries of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassRetrieval {
    /// The class.
    pub label: u32,
    /// Its queries measured.
    pub queries: usize,
    /// Their mean `precision_at_1`.
    pub precision_at_1: f64,
    /// Their mean `MAP@R`.
    pub map_at_r: f64,
}

/// Measures retrieval of `query` among `reference`, or, without one, of each query among all the others.
///
/// Ranks are exact for classes of any size: a first sweep collects each query's same-class scores, a second
/// counts, for each of them, the other classes' scores that are nearer. Nothing is limited to the k nearest.
///
/// Cost: two sweeps of queries × references. Memory beside the sweep's: 12 bytes a same-class pair for as
/// many queries at once as fit in about 200 MB, but at least 64 queries, so `12 · max(2^24, 64 R)` bytes for
/// the largest class.
///
/// With a single class every value is 1: there is nothing to confuse it with.
///
/// # Errors
/// An empty side, a label count that differs from the vector count, dimensions that differ, a value that is
/// not finite (its row is named), scores beyond f32, a `k` of 0, and queries that are all lone.
pub fn retrieval(
    query: Labeled<'_>,
    reference: Option<Labeled<'_>>,
    options: &RetrievalOptions,
) -> Result<Retrieval, EvalError> {
    retrieval_in_blocks(query, reference, options, POSITIVES_HELD)
}

fn retrieval_in_blocks(
    query: Labeled<'_>,
    reference: Option<Labeled<'_>>,
    options: &RetrievalOptions,
    positives_held: usize,
) -> Result<Retrieval, EvalError> {
    let leave_one_out = reference.is_none();
    let reference = sides(query, reference)?;
    if options.recall_at.contains(&0) {
        return Err(EvalError::Setting {
            field: "recall_at",
            found: "0".to_owned(),
            wanted: "every k at least 1",
        });
    }
    if u32::try_from(reference.labels.len()).is_err() {
        return Err(EvalError::TooManyReferences { found: reference.labels.len() });
    }

    let ranking = Ranking {
        members: members(reference.labels),
        reference_labels: reference.labels,
        leave_one_out,
        deepest: options.recall_at.iter().copied().max().unwrap_or(1),
        sign: if options.metric.larger_is_nearer() { 1.0 } else { -1.0 },
    };
    let mut found = Vec::with_capacity(query.labels.len());
    let mut first = 0;
    while first < query.labels.len() {
        let end = ranking.block_end(query.labels, first, positives_held);
        let block = Block { ranking: &ranking, first, labels: &query.labels[first..end] };
        let queries = rows(query.vectors, first, end)?;
        let collected = fold_rows(queries, reference.vectors, options.metric, &Positives(&block))?;
        if let Some(at) = collected.iter().position(|row| row.overflow) {
            return Err(EvalError::ScoreOverflow { metric: options.metric, query: first + at });
        }
        let mut positives: Vec<Vec<Ranked>> = collected.into_iter().map(|row| row.positives).collect();
        positives.par_iter_mut().for_each(|row| row.sort_unstable_by(Ranked::nearest_first));
        let counted = fold_rows(
            queries,
            reference.vectors,
            options.metric,
            &Negatives { block: &block, positives: &positives },
        )?;
        found.extend(
            block
                .labels
                .iter()
                .zip(&positives)
                .zip(&counted)
                .map(|((&label, positives), row)| (label, row.outcome(positives.len()))),
        );
        first = end;
    }
    summarise(&found, reference.labels.len(), &options.recall_at)
}

/// References of each label, in ascending order.
fn members(labels: &[u32]) -> HashMap<u32, Vec<u32>> {
    let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
    for (index, &label) in (0u32..).zip(labels) {
        members.entry(label).or_default().push(index);
    }
    members
}

/// What every query's ranking shares.
struct Ranking<'a> {
    members: HashMap<u32, Vec<u32>>,
    reference_labels: &'a [u32],
    leave_one_out: bool,
    /// Largest `k` of `recall_at_k`: ranks beyond it and beyond R matter to no metric.
    deepest: usize,
    /// Turns a score into a nearness: larger is nearer.
    sign: f32,
}

impl Ranking<'_> {
    fn members_of(&self, label: u32) -> &[u32] {
        self.members.get(&label).map_or(&[], Vec::as_slice)
    }

    /// End of the block of queries that starts at `first`.
    fn block_end(&self, labels: &[u32], first: usize, positives_held: usize) -> usize {
        let mut held = 0;
        for (count, &label) in labels[first..].iter().enumerate() {
            held += self.members_of(label).len();
            if held > positives_held && count >= FEWEST_QUERIES {
                return first + count;
            }
        }
        labels.len()
    }
}

/// Consecutive queries ranked together.
struct Block<'a> {
    ranking: &'a Ranking<'a>,
    first: usize,
    labels: &'a [u32],
}

/// A reference as its query sees it.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    nearness: f32,
    index: u32,
}

impl Ranked {
    fn is_nearer_than(&self, other: &Ranked) -> bool {
        self.nearness > other.nearness || (self.nearness == other.nearness && self.index < other.index)
    }

    fn nearest_first(&self, other: &Ranked) -> std::cmp::Ordering {
        // Not `total_cmp`: 0 and -0 are a tie. Finite by then, so never unordered.
        other
            .nearness
            .partial_cmp(&self.nearness)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then(self.index.cmp(&other.index))
    }
}

/// First sweep: the references of the query's own class.
struct Positives<'a>(&'a Block<'a>);

struct PositiveRow {
    positives: Vec<Ranked>,
    /// Members of the class met so far.
    met: usize,
    overflow: bool,
}

impl RowFold for Positives<'_> {
    type Row = PositiveRow;

    fn start(&self, query: usize) -> PositiveRow {
        let size = self.0.ranking.members_of(self.0.labels[query]).len();
        PositiveRow { positives: Vec::with_capacity(size), met: 0, overflow: false }
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut PositiveRow) {
        let ranking = self.0.ranking;
        // Without a short cut, so that it runs as wide as the machine.
        row.overflow |= !scores.iter().fold(true, |finite, s| finite & s.is_finite());
        for &index in &ranking.members_of(self.0.labels[query])[row.met..] {
            let Some(&score) = scores.get(index as usize - first) else { break };
            row.met += 1;
            if !(ranking.leave_one_out && index as usize == self.0.first + query) {
                row.positives.push(Ranked { nearness: ranking.sign * score, index });
            }
        }
    }
}

/// Second sweep: for each positive, the references of other classes that are nearer.
struct Negatives<'a> {
    block: &'a Block<'a>,
    /// Of each query, nearest first.
    positives: &'a [Vec<Ranked>],
}

struct NegativeRow {
    /// `nearer[p]`: negatives nearer than positive `p` but not nearer than positive `p - 1`.
    nearer: Vec<u32>,
    /// Positives that may still rank within `depth`; those behind them no metric reads.
    live: usize,
    depth: usize,
}

impl RowFold for Negatives<'_> {
    type Row = NegativeRow;

    fn start(&self, query: usize) -> NegativeRow {
        let live = self.positives[query].len();
        NegativeRow { nearer: vec![0; live], live, depth: live.max(self.block.ranking.deepest) }
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut NegativeRow) {
        let positives = &self.positives[query][..row.live];
        let Some(&farthest) = positives.last() else { return };
        let (ranking, label) = (self.block.ranking, self.block.labels[query]);
        let mut counted = false;
        for (offset, &score) in scores.iter().enumerate() {
            let nearness = ranking.sign * score;
            // Most references of a good embedding end here.
            if nearness < farthest.nearness || ranking.reference_labels[first + offset] == label {
                continue;
            }
            let negative = Ranked { nearness, index: (first + offset) as u32 };
            let ahead = positives.partition_point(|positive| positive.is_nearer_than(&negative));
            if ahead < positives.len() {
                row.nearer[ahead] += 1;
                counted = true;
            }
        }
        if counted {
            let beyond = row.ranks().position(|rank| rank > row.depth);
            row.live = beyond.unwrap_or(row.live);
        }
    }
}

impl NegativeRow {
    /// Ranks of the live positives, from 1, nearest first.
    fn ranks(&self) -> impl Iterator<Item = usize> + '_ {
        let mut ahead = 0;
        self.nearer[..self.live].iter().enumerate().map(move |(p, &nearer)| {
            ahead += nearer as usize;
            p + 1 + ahead
        })
    }

    /// `None` for a lone query.
    fn outcome(&self, positives: usize) -> Option<Outcome> {
        (positives > 0).then(|| {
            let share = 1.0 / positives as f64;
            let within = || self.ranks().take_while(|&rank| rank <= positives).enumerate();
            Outcome {
                best_rank: self.ranks().next(),
                r_precision: within().count() as f64 * share,
                average_precision: within().map(|(p, rank)| (p + 1) as f64 / rank as f64).sum::<f64>()
                    * share,
            }
        })
    }
}

/// One query's values.
struct Outcome {
    /// Rank of the nearest positive; `None` when it is beyond every rank asked for.
    best_rank: Option<usize>,
    r_precision: f64,
    average_precision: f64,
}

impl Outcome {
    fn hit_within(&self, k: usize) -> f64 {
        f64::from(u8::from(self.best_rank.is_some_and(|rank| rank <= k)))
    }
}

fn summarise(
    found: &[(u32, Option<Outcome>)],
    references: usize,
    recall_at: &[usize],
) -> Result<Retrieval, EvalError> {
    let measured: Vec<(u32, &Outcome)> =
        found.iter().filter_map(|(label, outcome)| Some((*label, outcome.as_ref()?))).collect();
    if measured.is_empty() {
        return Err(EvalError::AllLone { queries: found.len(), references });
    }
    let mean = |value: &dyn Fn(&Outcome) -> f64| {
        measured.iter().map(|(_, outcome)| value(outcome)).sum::<f64>() / measured.len() as f64
    };

    let mut classes: BTreeMap<u32, ClassRetrieval> = BTreeMap::new();
    for &(label, outcome) in &measured {
        let class = classes.entry(label).or_insert(ClassRetrieval {
            label,
            queries: 0,
            precision_at_1: 0.0,
            map_at_r: 0.0,
        });
        class.queries += 1;
        class.precision_at_1 += outcome.hit_within(1);
        class.map_at_r += outcome.average_precision;
    }
    let mut per_class: Vec<ClassRetrieval> = classes.into_values().collect();
    for class in &mut per_class {
        class.precision_at_1 /= class.queries as f64;
        class.map_at_r /= class.queries as f64;
    }

    let values: Vec<[f64; 2]> =
        measured.iter().map(|(_, outcome)| [outcome.hit_within(1), outcome.average_precision]).collect();
    let [precision_at_1_interval, mean_average_precision_at_r_interval] = bootstrap::mean_intervals(&values);
    Ok(Retrieval {
        queries: measured.len(),
        lone_queries: found.len() - measured.len(),
        precision_at_1: mean(&|outcome| outcome.hit_within(1)),
        recall_at_k: recall_at.iter().map(|&k| (k, mean(&|outcome| outcome.hit_within(k)))).collect(),
        r_precision: mean(&|outcome| outcome.r_precision),
        mean_average_precision_at_r: mean(&|outcome| outcome.average_precision),
        precision_at_1_interval,
        mean_average_precision_at_r_interval,
        per_class,
    })
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;

    #[test]
    fn blocks_of_queries_do_not_change_a_bit() {
        let data: Vec<f32> = (0..3 * 300u64).map(|i| (i * 2_654_435_761 % 31) as f32 - 15.0).collect();
        let labels: Vec<u32> = (0..300).map(|i| i * i % 23).collect();
        let set = Labeled { vectors: Vectors::new(&data, 3).unwrap(), labels: &labels };
        let half = Labeled { vectors: rows(set.vectors, 100, 290).unwrap(), labels: &labels[100..290] };
        let options = RetrievalOptions::default();
        for reference in [None, Some(half)] {
            let whole = retrieval(set, reference, &options).unwrap();
            for held in [0, 1_500] {
                assert_eq!(retrieval_in_blocks(set, reference, &options, held).unwrap(), whole);
            }
        }
    }
}
