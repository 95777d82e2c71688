//! Re-identification: does a query find its identity under other cameras?

mod rerank;

use std::collections::{BTreeMap, HashSet};

use nearkin_sweep::{Kin, Metric, Relation, map_rows};
use serde::Serialize;

use crate::bootstrap;
use crate::error::{EvalError, Side};
use crate::labeled::Labeled;

use rerank::Reciprocal;
pub use rerank::Reranking;

/// Embeddings with their identities, and the camera that saw each.
#[derive(Debug, Clone, Copy)]
pub struct Sightings<'a> {
    /// The embeddings; labels are identities.
    pub embeddings: Labeled<'a>,
    /// One camera a vector; `None` when there are none. Queries and gallery share one numbering.
    pub cameras: Option<&'a [u32]>,
}

/// How to rank a gallery.
#[derive(Debug, Clone, PartialEq)]
pub struct ReidentificationOptions {
    /// How near two vectors are. Default: cosine.
    pub metric: Metric,
    /// The `k` of `cmc_at_k`, each at least 1. Default: 1, 5, 10.
    pub cmc_at: Vec<usize>,
    /// Identities of the gallery that are neither right nor wrong and are taken out of every ranking, as Market-1501's label −1. An
    /// identity that no query has and that is not junk is a distractor: a wrong answer. Default: none.
    pub junk: Vec<u32>,
    /// k-reciprocal re-ranking. Default: none.
    pub reranking: Option<Reranking>,
}

impl Default for ReidentificationOptions {
    fn default() -> Self {
        Self { metric: Metric::default(), cmc_at: vec![1, 5, 10], junk: Vec::new(), reranking: None }
    }
}

/// How well queries find their identity in the gallery. All are means over the queries measured, in [0, 1].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reidentification {
    /// Queries measured.
    pub queries: usize,
    /// Queries left out: the gallery has no picture of them that counts.
    pub lone_queries: usize,
    /// For each `k`: the share of queries with a right answer among the first `k` (cumulative matching characteristic).
    pub cmc_at_k: BTreeMap<usize, f64>,
    /// Mean average precision, `(1/R) Σ_r r / rank_r` over the `R` right answers of a query.
    pub mean_average_precision: f64,
    /// 95 % bootstrap interval of CMC@1: queries resampled 1,000 times, seed fixed, gallery fixed.
    pub cmc_at_1_interval: (f64, f64),
    /// 95 % bootstrap interval of the mean average precision, over the same resamples.
    pub mean_average_precision_interval: (f64, f64),
}

/// Ranks the gallery for each query (Zheng et al. 2015, *Scalable Person Re-identification: A Benchmark*; Hermans, Beyer, Leibe 2017,
/// *In Defense of the Triplet Loss*).
///
/// A gallery picture of the query's identity *and* camera is neither right nor wrong: it is taken out of that query's ranking, so that
/// only other views of an identity count. Junk is taken out of all. Equal distances go to the lowest place in the gallery. Average
/// precision is the mean of the precision at each right answer, as Hermans et al. compute it; the code published with Market-1501
/// takes trapezoids instead, which gives slightly other figures.
///
/// Pool several queries of one identity and camera first, with [`pool`](crate::pool), for the multi-query protocol.
///
/// Cost: one sweep of queries × gallery, and a search among the right answers a pair; re-ranking adds a sweep of all pairs of both.
/// Memory: the sweep's, and what [`Reranking`] states.
///
/// # Errors
/// An empty side, labels or cameras that do not name every vector, cameras on one side alone, dimensions that differ, a value that is
/// not finite, scores beyond f32, a `k` of 0, settings of the re-ranking out of range, and queries that are all lone.
pub fn reidentification(
    query: Sightings<'_>,
    gallery: Sightings<'_>,
    options: &ReidentificationOptions,
) -> Result<Reidentification, EvalError> {
    query.check(Side::Queries)?;
    gallery.check(Side::References)?;
    if query.cameras.is_some() != gallery.cameras.is_some() {
        return Err(EvalError::Undefined {
            measure: "re-identification across cameras",
            reason: "one side has cameras and the other has none; give them for both or for neither"
                .to_owned(),
        });
    }
    if options.cmc_at.contains(&0) {
        return Err(EvalError::Setting {
            field: "cmc_at",
            found: "0".to_owned(),
            wanted: "every k at least 1",
        });
    }
    if u32::try_from(gallery.embeddings.labels.len()).is_err() {
        return Err(EvalError::TooManyReferences { found: gallery.embeddings.labels.len() });
    }
    let reciprocal = match &options.reranking {
        None => None,
        Some(reranking) => {
            let (queries, gallery) = (query.embeddings.vectors, gallery.embeddings.vectors);
            Some(Reciprocal::of(queries, gallery, options.metric, reranking)?)
        }
    };
    let junk: HashSet<u32> = options.junk.iter().copied().collect();
    let kin = Identities { query, gallery, junk };
    let sign = if options.metric.larger_is_nearer() { -1.0 } else { 1.0 };
    let (queries, references) = (query.embeddings.vectors, gallery.embeddings.vectors);
    let outcomes = map_rows(queries, Some(references), options.metric, &kin, |row, scratch| {
        let sound =
            row.scores.iter().zip(row.relations).all(|(s, r)| *r == Relation::Excluded || s.is_finite());
        match &reciprocal {
            None => scratch.iter_mut().zip(row.scores).for_each(|(d, s)| *d = sign * s),
            Some(reciprocal) => reciprocal.distances(row.query, row.scores, scratch),
        }
        sound.then(|| Ranked::of(scratch, row.relations))
    })?;
    let mut ranked = Vec::with_capacity(outcomes.len());
    for (query, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            None => return Err(EvalError::ScoreOverflow { metric: options.metric, query }),
            Some(outcome) => ranked.extend(outcome),
        }
    }
    if ranked.is_empty() {
        return Err(EvalError::AllLone { queries: queries.len(), references: references.len() });
    }
    let n = ranked.len() as f64;
    let within = |k: usize| ranked.iter().filter(|r| r.first <= k).count() as f64 / n;
    let values: Vec<[f64; 2]> =
        ranked.iter().map(|r| [f64::from(u8::from(r.first == 1)), r.average_precision]).collect();
    let [cmc_at_1_interval, mean_average_precision_interval] = bootstrap::mean_intervals(&values);
    Ok(Reidentification {
        queries: ranked.len(),
        lone_queries: queries.len() - ranked.len(),
        cmc_at_k: options.cmc_at.iter().map(|&k| (k, within(k))).collect(),
        mean_average_precision: ranked.iter().map(|r| r.average_precision).sum::<f64>() / n,
        cmc_at_1_interval,
        mean_average_precision_interval,
    })
}

impl Sightings<'_> {
    fn check(&self, side: Side) -> Result<(), EvalError> {
        self.embeddings.check(side)?;
        match self.cameras {
            Some(cameras) if cameras.len() != self.embeddings.labels.len() => Err(EvalError::Count {
                what: match side {
                    Side::Queries => "cameras of queries",
                    _ => "cameras of the gallery",
                },
                found: cameras.len(),
                wanted: self.embeddings.labels.len(),
            }),
            _ => Ok(()),
        }
    }
}

/// What a picture of the gallery is to a query.
struct Identities<'a> {
    query: Sightings<'a>,
    gallery: Sightings<'a>,
    junk: HashSet<u32>,
}

impl Kin for Identities<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        let identity = self.query.embeddings.labels[query];
        let camera = self.query.cameras.map(|cameras| cameras[query]);
        for (place, relation) in out.iter_mut().enumerate() {
            let other = self.gallery.embeddings.labels[first + place];
            *relation = if !self.junk.is_empty() && self.junk.contains(&other) {
                Relation::Excluded
            } else if other != identity {
                Relation::Stranger
            } else if camera.is_some() && camera == self.gallery.cameras.map(|cameras| cameras[first + place])
            {
                Relation::Excluded
            } else {
                Relation::Kin
            };
        }
    }
}

/// Where a query's right answers stand.
#[derive(Debug)]
struct Ranked {
    /// Rank of the first, from 1.
    first: usize,
    average_precision: f64,
}

impl Ranked {
    /// `None` when there is no right answer.
    fn of(distances: &[f32], relations: &[Relation]) -> Option<Self> {
        let mut kin: Vec<(f32, usize)> = relations
            .iter()
            .enumerate()
            .filter(|(_, relation)| **relation == Relation::Kin)
            .map(|(j, _)| (distances[j], j))
            .collect();
        // Compared as numbers, so that 0 and −0 are one distance.
        let nearer = |a: &(f32, usize), b: &(f32, usize)| a.0 < b.0 || (a.0 == b.0 && a.1 < b.1);
        kin.sort_unstable_by(|a, b| nearer(b, a).cmp(&nearer(a, b)));
        // Strangers before the first kin, between the first and the second, …
        let mut before = vec![0usize; kin.len() + 1];
        for (j, (&distance, relation)) in distances.iter().zip(relations).enumerate() {
            if *relation == Relation::Stranger {
                before[kin.partition_point(|kin| nearer(kin, &(distance, j)))] += 1;
            }
        }
        let (mut strangers, mut precision) = (0, 0.0);
        for (place, count) in before[..kin.len()].iter().enumerate() {
            strangers += count;
            precision += (place + 1) as f64 / (place + 1 + strangers) as f64;
        }
        (!kin.is_empty())
            .then(|| Self { first: before[0] + 1, average_precision: precision / kin.len() as f64 })
    }
}
