//! The retrieval metrics, read off the ranks of every same-class reference.

use std::collections::BTreeMap;

use nearkin_sweep::{KinRanks, Metric, kin_ranks};
use serde::Serialize;

use crate::bootstrap;
use crate::error::EvalError;
use crate::labeled::{Labeled, sides};

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
/// Ranks are exact for classes of any size, and nothing is limited to the k nearest: see [`kin_ranks`] for how they are
/// counted, and at what cost.
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
    let searched = reference;
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
    let deepest = options.recall_at.iter().copied().max().unwrap_or(1);
    let searched = searched.map(|r| (r.vectors, r.labels));
    let ranks = kin_ranks((query.vectors, query.labels), searched, options.metric, deepest)?;
    if let Some(query) = ranks.iter().position(|row| row.not_finite) {
        return Err(EvalError::ScoreOverflow { metric: options.metric, query });
    }
    let found: Vec<(u32, Option<Outcome>)> =
        query.labels.iter().zip(&ranks).map(|(&label, ranks)| (label, Outcome::of(ranks))).collect();
    summarise(&found, reference.labels.len(), &options.recall_at)
}

/// One query's values.
struct Outcome {
    /// Rank of the nearest positive; `None` when it is beyond every rank asked for.
    best_rank: Option<usize>,
    r_precision: f64,
    average_precision: f64,
}

impl Outcome {
    /// `None` for a lone query.
    fn of(KinRanks { kin, ranks, .. }: &KinRanks) -> Option<Self> {
        (*kin > 0).then(|| {
            let share = 1.0 / *kin as f64;
            let within =
                || ranks.iter().map(|&rank| rank as usize).take_while(|rank| rank <= kin).enumerate();
            Self {
                best_rank: ranks.first().map(|&rank| rank as usize),
                r_precision: within().count() as f64 * share,
                average_precision: within().map(|(p, rank)| (p + 1) as f64 / rank as f64).sum::<f64>()
                    * share,
            }
        })
    }

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
