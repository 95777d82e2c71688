//! k-reciprocal re-ranking.
//!
//! Z. Zhong, L. Zheng, D. Cao, S. Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", 2017.

use nearkin_sweep::{Metric, SameLabel, Vectors, map_rows};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// The settings of k-reciprocal re-ranking (Zhong et al. 2017).
///
/// With `N(p, k)` the `k` nearest of `p` among all queries and all of the gallery, `p` itself not counted, two pictures are k-reciprocal
/// neighbours when each is among the other's nearest: `R(p, k) = {g ∈ N(p, k) : p ∈ N(g, k)}`. `R(p, k1)`, with `p` itself, takes in
/// `R(q, k1/2)` of each member `q` of which it holds more than two thirds. Members weigh `exp(−d(p, g))`, normalised to a sum of 1,
/// and each picture's weights are replaced by the mean over its `k2` nearest, itself one of them. From the Jaccard distance
/// `J(p, g) = 1 − Σ min(V_p, V_g) / Σ max(V_p, V_g)` the final distance is `(1 − λ) J + λ d`, `d` the squared Euclidean
/// distance (under the cosine, of vectors of unit length) over the largest of `p`'s, as in the code that the authors published.
///
/// Only non-zero weights are kept, some hundred bytes to a few kilobytes a picture; no matrix of all pairs is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reranking {
    /// Neighbours that are asked whether they are reciprocal, at least 1. Default: 20.
    pub k1: usize,
    /// Neighbours, itself included, whose weights are averaged, at least 1. Default: 6.
    pub k2: usize,
    /// How much of the original distance stays, in [0, 1]. Default: 0.3.
    pub lambda: f32,
}

impl Default for Reranking {
    fn default() -> Self {
        Self { k1: 20, k2: 6, lambda: 0.3 }
    }
}

/// Sparse weights of every picture, ready to be compared with a query's.
pub(super) struct Reciprocal {
    lambda: f32,
    metric: Metric,
    /// Of each query: the largest distance of all pictures.
    largest: Vec<f32>,
    /// Of each query, ascending by picture.
    weights: Vec<Vec<(u32, f32)>>,
    /// Of each picture: the members of the gallery that hold it, and how much it weighs for them.
    holders: Vec<Vec<(u32, f32)>>,
}

/// A picture's nearest, itself first, and how far the farthest is.
struct Near {
    nearest: Vec<(u32, f32)>,
    largest: f32,
}

impl Reciprocal {
    pub(super) fn of(
        queries: Vectors<'_>,
        gallery: Vectors<'_>,
        metric: Metric,
        settings: &Reranking,
    ) -> Result<Self, EvalError> {
        let setting = |field, found: String, wanted| Err(EvalError::Setting { field, found, wanted });
        let &Reranking { k1, k2, lambda } = settings;
        if k1 == 0 || k2 == 0 {
            let field = if k1 == 0 { "k1" } else { "k2" };
            return setting(field, "0".to_owned(), "at least 1");
        }
        if !(0.0..=1.0).contains(&lambda) {
            return setting("lambda", lambda.to_string(), "from 0 to 1");
        }
        if metric == Metric::Dot {
            return setting(
                "metric",
                metric.to_string(),
                "cosine or a Euclidean metric: re-ranking needs distances",
            );
        }
        if queries.dim() != gallery.dim() {
            let (queries, references) = (queries.dim(), gallery.dim());
            return Err(nearkin_sweep::SweepError::DimensionMismatch { queries, references }.into());
        }
        let together: Vec<f32> = queries.data().iter().chain(gallery.data()).copied().collect();
        let all = Vectors::new(&together, queries.dim())?;
        let n = all.len();
        let kept = (k1 + 1).max(k2).min(n);
        let near = nearest(all, metric, kept)?;

        let k1 = k1.min(n - 1);
        let half = (k1 as f64 / 2.0).round_ties_even() as usize;
        let sparse: Vec<Vec<(u32, f32)>> =
            (0..n).into_par_iter().map(|p| encode(all, metric, &near, p, (k1, half))).collect();
        let averaged: Vec<Vec<(u32, f32)>> = if k2 == 1 {
            sparse
        } else {
            (0..n)
                .into_par_iter()
                .map(|p| average(near[p].nearest[..k2.min(n)].iter().map(|(g, _)| &sparse[*g as usize])))
                .collect()
        };
        let mut holders: Vec<Vec<(u32, f32)>> = vec![Vec::new(); n];
        for (place, weights) in averaged[queries.len()..].iter().enumerate() {
            weights.iter().for_each(|&(of, weight)| holders[of as usize].push((place as u32, weight)));
        }
        let mut weights = averaged;
        weights.truncate(queries.len());
        Ok(Self {
            lambda,
            metric,
            largest: near[..queries.len()].iter().map(|near| near.largest).collect(),
            weights,
            holders,
        })
    }

    /// Writes the final distances of a query to the gallery, given its scores; `out` comes as zeros.
    pub(super) fn distances(&self, query: usize, scores: &[f32], out: &mut [f32]) {
        // Σ min first; with sums of 1, Σ max is 2 less that.
        for &(of, weight) in &self.weights[query] {
            for &(holder, other) in &self.holders[of as usize] {
                out[holder as usize] += weight.min(other);
            }
        }
        let scale = if self.largest[query] > 0.0 { self.largest[query].recip() } else { 0.0 };
        for (out, score) in out.iter_mut().zip(scores) {
            let jaccard = 1.0 - *out / (2.0 - *out);
            *out = (1.0 - self.lambda) * jaccard + self.lambda * scale * squared(self.metric, *score);
        }
    }
}

/// The squared Euclidean distance of a score, or half of it.
fn squared(metric: Metric, score: f32) -> f32 {
    match metric {
        Metric::Euclidean => score * score,
        Metric::Cosine => (1.0 - score).max(0.0),
        _ => score,
    }
}

/// For each picture, `kept` nearest: itself first, then by distance and place.
fn nearest(all: Vectors<'_>, metric: Metric, kept: usize) -> Result<Vec<Near>, EvalError> {
    // Relations are not read: any labels will do.
    let labels = vec![0; all.len()];
    let near = map_rows(all, None, metric, &SameLabel::within(&labels), |row, distances| {
        for (distance, score) in distances.iter_mut().zip(row.scores) {
            *distance = squared(metric, *score);
        }
        let own = row.query;
        distances[own] = 0.0;
        if distances.iter().any(|d| !d.is_finite()) {
            return None;
        }
        let largest = distances.iter().copied().fold(0.0, f32::max);
        let order = |a: &u32, b: &u32| {
            let key = |g: u32| (g as usize != own, distances[g as usize]);
            let ((a_other, a_far), (b_other, b_far)) = (key(*a), key(*b));
            a_other.cmp(&b_other).then(a_far.total_cmp(&b_far)).then(a.cmp(b))
        };
        let mut places: Vec<u32> = (0..distances.len() as u32).collect();
        if kept < places.len() {
            places.select_nth_unstable_by(kept - 1, order);
            places.truncate(kept);
        }
        places.sort_unstable_by(order);
        Some(Near { nearest: places.iter().map(|&g| (g, distances[g as usize])).collect(), largest })
    })?;
    near.into_iter()
        .enumerate()
        .map(|(query, near)| near.ok_or(EvalError::ScoreOverflow { metric, query }))
        .collect()
}

/// `R(p, k)` with `p` itself, nearest first.
fn reciprocal(near: &[Near], p: usize, k: usize) -> impl Iterator<Item = u32> + '_ {
    let within = move |g: usize| &near[g].nearest[..k + 1];
    within(p)
        .iter()
        .map(|(g, _)| *g)
        .filter(move |g| within(*g as usize).iter().any(|(back, _)| *back as usize == p))
}

/// The normalised weights of `p`, ascending by picture.
fn encode(
    all: Vectors<'_>,
    metric: Metric,
    near: &[Near],
    p: usize,
    (k1, half): (usize, usize),
) -> Vec<(u32, f32)> {
    let core: Vec<u32> = reciprocal(near, p, k1).collect();
    let mut members = core.clone();
    for &candidate in &core {
        let others: Vec<u32> = reciprocal(near, candidate as usize, half).collect();
        let shared = others.iter().filter(|other| core.contains(other)).count();
        if 3 * shared > 2 * others.len() {
            members.extend(others);
        }
    }
    members.sort_unstable();
    members.dedup();
    let scale = if near[p].largest > 0.0 { near[p].largest.recip() } else { 0.0 };
    let weigh = |g: u32| {
        // A member that came in through another may be none of the nearest that are kept.
        let distance = if g as usize == p {
            0.0
        } else {
            squared(metric, metric.score(all.row(p), all.row(g as usize)))
        };
        (-distance * scale).exp()
    };
    let mut weights: Vec<(u32, f32)> = members.into_iter().map(|g| (g, weigh(g))).collect();
    let sum: f32 = weights.iter().map(|(_, weight)| weight).sum();
    weights.iter_mut().for_each(|(_, weight)| *weight /= sum);
    weights
}

/// The mean of sparse rows, ascending by picture.
fn average<'a>(rows: impl ExactSizeIterator<Item = &'a Vec<(u32, f32)>>) -> Vec<(u32, f32)> {
    let share = 1.0 / rows.len() as f32;
    let mut entries: Vec<(u32, f32)> = rows.flatten().copied().collect();
    // A stable sort: weights of one picture are added up in order of the rows.
    entries.sort_by_key(|(of, _)| *of);
    let mut sums: Vec<(u32, f32)> = Vec::with_capacity(entries.len());
    for (of, weight) in entries {
        match sums.last_mut() {
            Some((last, sum)) if *last == of => *sum += weight * share,
            _ => sums.push((of, weight * share)),
        }
    }
    sums
}
