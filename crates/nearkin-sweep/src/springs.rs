//! A loss as a system of springs: energies and forces, functions of rows of the score matrix.
//!
//! With `ℓ_i` a function of row `i` of the scores `s(i, j)`, a loss is `L = (1/Z) Σ_i ℓ_i`, and the force of the spring
//! between `i` and `j` is `g_ij = ∂ℓ_i/∂s_ij`. The engine computes `s` tile by tile, lets the springs turn it into `g`
//! in place, and adds up `∂L/∂q_i = Σ_j g_ij ∂s_ij/∂q_i` and `∂L/∂r_j = Σ_i g_ij ∂s_ij/∂r_j`. The matrix is never
//! stored. A loss that joins few pairs of a row (a mined triplet) is a [`TupleSprings`] and pays for those pairs only.

use rayon::prelude::*;

use crate::kin::{Kin, Relation};
use crate::metric::{Metric, Ready, score_tile};
use crate::product::{add_weighted_columns, add_weighted_rows};
use crate::rows::{RowFold, fold_rows};
use crate::vectors::{SweepError, Vectors};

/// Queries whose scores are held at once: rows of one band are settled before the next begins.
const BAND: usize = 256;
/// References held at once. Up to this many, scores are computed once; beyond it, twice.
const TILE: usize = 4096;
/// Rows (of queries or references) that one task owns.
const PANEL: usize = 32;

/// Part of one query's row.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// The query.
    pub query: usize,
    /// The reference of the first value.
    pub first: usize,
    /// What each reference is to the query.
    pub relations: &'a [Relation],
}

/// What one row adds to the loss.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Settled {
    /// The sum of the row's terms.
    pub energy: f64,
    /// How many terms the row has.
    pub terms: usize,
    /// How many of them are above zero.
    pub active: usize,
}

/// Springs between a query and many references.
pub trait Springs: Sync {
    /// What must be known of a whole row before its forces are.
    type Row: Default + Send + Sync;

    /// Takes in a tile of scores. Tiles come in ascending order of reference.
    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut Self::Row);

    /// The row's energy, once all of it has been observed.
    fn settle(&self, row: &Self::Row) -> Settled;

    /// Turns scores into forces, `∂(row's energy)/∂s`, in place.
    fn force(&self, tile: Tile<'_>, row: &Self::Row, scores: &mut [f32]);
}

/// Springs between a query and the few references that a miner picks from its row.
pub trait TupleSprings: Sync {
    /// What the miner keeps of a row.
    type Row: Default + Send;

    /// Takes in a tile of scores. Tiles come in ascending order of reference.
    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut Self::Row);

    /// Appends the references that the row's springs end at; none when the row has no term.
    fn attach(&self, row: &Self::Row, references: &mut Vec<usize>);

    /// The energy of the springs to the attached references, given their scores (recomputed from the vectors'
    /// differences, not taken from a tile), and its derivative for each.
    fn settle(&self, scores: &[f32], forces: &mut [f32]) -> Settled;
}

/// What `Z` is in `L = (1/Z) Σ ℓ_i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// The number of terms.
    #[default]
    Mean,
    /// The number of terms above zero.
    MeanActive,
    /// One.
    Sum,
}

impl Reduction {
    /// `1/Z`; 0 where there is no term to average.
    fn scale(self, total: Settled) -> f64 {
        let z = match self {
            Reduction::Mean => total.terms,
            Reduction::MeanActive => total.active,
            Reduction::Sum => 1,
        };
        if z == 0 { 0.0 } else { 1.0 / z as f64 }
    }
}

/// A loss, its gradient, and how many of its terms pulled.
#[derive(Debug, Clone, PartialEq)]
pub struct Pull {
    /// The loss; 0 when there is no term.
    pub loss: f64,
    /// Number of terms.
    pub terms: usize,
    /// Number of terms above zero.
    pub active: usize,
    /// `∂L/∂queries`, row-major. Among one set (`references: None`) it holds both ends of every spring.
    pub query_gradient: Vec<f32>,
    /// `∂L/∂references`; empty among one set.
    pub reference_gradient: Vec<f32>,
}

/// Evaluates springs between all queries and all references, or among one set when `references` is `None`.
///
/// Cost: `6 n m d` operations up to 4,096 references, `8 n m d` beyond. Memory beside inputs and gradients: 256 rows of
/// up to 4,096 scores and relations, 5 MiB.
///
/// # Errors
/// When queries and references differ in dimension.
pub fn pull<S: Springs, K: Kin + ?Sized>(
    queries: Vectors<'_>,
    references: Option<Vectors<'_>>,
    metric: Metric,
    kin: &K,
    springs: &S,
    reduction: Reduction,
) -> Result<Pull, SweepError> {
    let others = references.unwrap_or(queries);
    queries.check_same_dim(&others)?;
    let mut ends = Ends::new(queries, references, metric);
    let (n, m, dim) = (queries.len(), others.len(), queries.dim());
    let mut total = Settled::default();
    let mut scores = vec![0.0; BAND.min(n) * TILE.min(m)];
    let mut relations = vec![Relation::default(); scores.len()];
    for band in (0..n).step_by(BAND) {
        let count = BAND.min(n - band);
        let mut rows: Vec<S::Row> = (0..count).map(|_| S::Row::default()).collect();
        for first in (0..m).step_by(TILE) {
            let width = TILE.min(m - first);
            let (scores, relations) = (&mut scores[..count * width], &mut relations[..count * width]);
            fill(&ends, metric, kin, (band, first, width), scores, relations);
            let tiles = scores.par_chunks(width).zip(relations.par_chunks(width)).zip(&mut rows).enumerate();
            tiles.for_each(|(i, ((scores, relations), row))| {
                springs.observe(Tile { query: band + i, first, relations }, scores, row)
            });
        }
        for row in &rows {
            let settled = springs.settle(row);
            total.energy += settled.energy;
            total.terms += settled.terms;
            total.active += settled.active;
        }
        for first in (0..m).step_by(TILE) {
            let width = TILE.min(m - first);
            let (scores, relations) = (&mut scores[..count * width], &mut relations[..count * width]);
            if m > TILE {
                fill(&ends, metric, kin, (band, first, width), scores, relations);
            }
            let tiles = scores.par_chunks_mut(width).zip(relations.par_chunks(width)).zip(&rows).enumerate();
            tiles.for_each_init(Vec::new, |kept, (i, ((scores, relations), row))| {
                if metric == Metric::Euclidean {
                    kept.clear();
                    kept.extend_from_slice(scores);
                }
                springs.force(Tile { query: band + i, first, relations }, row, scores);
                if metric == Metric::Euclidean {
                    // With h = g / 2s, the gradient of √(d²) is that of d² under h; 0 at distance 0 by definition.
                    scores
                        .iter_mut()
                        .zip(kept.iter())
                        .for_each(|(g, s)| *g = if *s > 0.0 { *g / (2.0 * s) } else { 0.0 });
                }
            });
            ends.add(band, first, width, scores);
        }
    }
    let scale = reduction.scale(total);
    let (query_gradient, reference_gradient) = ends.finish(metric, scale as f32);
    debug_assert_eq!(query_gradient.len(), n * dim);
    Ok(Pull {
        loss: total.energy * scale,
        terms: total.terms,
        active: total.active,
        query_gradient,
        reference_gradient,
    })
}

/// Scores and relations of one tile, each panel by one task.
fn fill<K: Kin + ?Sized>(
    ends: &Ends<'_>,
    metric: Metric,
    kin: &K,
    (band, first, width): (usize, usize, usize),
    scores: &mut [f32],
    relations: &mut [Relation],
) {
    let panels =
        scores.par_chunks_mut(PANEL * width).zip(relations.par_chunks_mut(PANEL * width)).enumerate();
    panels.for_each(|(p, (scores, relations))| {
        let query = band + p * PANEL;
        score_tile(metric, &ends.queries, query, ends.references(), first, width, scores);
        for (i, row) in relations.chunks_exact_mut(width).enumerate() {
            kin.relate(query + i, first, row);
        }
    });
}

/// The two ends of the springs, and the gradient that gathers at each.
struct Ends<'a> {
    queries: Ready<'a>,
    /// `None` among one set.
    references: Option<Ready<'a>>,
    /// `Σ_j g_ij r_j` for each query.
    at_queries: Vec<f32>,
    /// `Σ_i g_ij q_i` for each reference.
    at_references: Vec<f32>,
    /// `Σ_j g_ij` for each query: what distances need beside the sums above.
    query_weights: Vec<f64>,
    reference_weights: Vec<f64>,
}

impl<'a> Ends<'a> {
    fn new(queries: Vectors<'a>, references: Option<Vectors<'a>>, metric: Metric) -> Self {
        let others = references.unwrap_or(queries);
        Self {
            queries: Ready::new(queries, metric),
            references: references.map(|r| Ready::new(r, metric)),
            at_queries: vec![0.0; queries.data().len()],
            at_references: vec![0.0; others.data().len()],
            query_weights: vec![0.0; queries.len()],
            reference_weights: vec![0.0; others.len()],
        }
    }

    fn references(&self) -> &Ready<'a> {
        self.references.as_ref().unwrap_or(&self.queries)
    }

    /// Adds the forces of one tile. Each sum has one owner and takes its parts in order of the tiles.
    fn add(&mut self, band: usize, first: usize, width: usize, forces: &[f32]) {
        let dim = self.queries.vectors().dim();
        let count = forces.len() / width;
        let queries = self.queries.vectors().block(band, count);
        let references = self.references.as_ref().unwrap_or(&self.queries).vectors().block(first, width);
        let at_queries = self.at_queries[band * dim..(band + count) * dim].par_chunks_mut(PANEL * dim);
        let query_weights = self.query_weights[band..band + count].par_chunks_mut(PANEL);
        at_queries.zip(query_weights).zip(forces.par_chunks(PANEL * width)).for_each(
            |((out, weights), forces)| {
                add_weighted_rows(forces, references, out);
                for (weight, row) in weights.iter_mut().zip(forces.chunks_exact(width)) {
                    *weight += row.iter().map(|g| f64::from(*g)).sum::<f64>();
                }
            },
        );
        let at_references =
            self.at_references[first * dim..(first + width) * dim].par_chunks_mut(PANEL * dim);
        let reference_weights = self.reference_weights[first..first + width].par_chunks_mut(PANEL);
        at_references.zip(reference_weights).enumerate().for_each(|(p, (out, weights))| {
            add_weighted_columns(forces, width, p * PANEL, queries, out);
            for row in forces.chunks_exact(width) {
                for (weight, g) in weights.iter_mut().zip(&row[p * PANEL..]) {
                    *weight += f64::from(*g);
                }
            }
        });
    }

    /// The chain rule from sums over unit or raw vectors to gradients of the input, scaled by `1/Z`.
    fn finish(mut self, metric: Metric, scale: f32) -> (Vec<f32>, Vec<f32>) {
        if self.references.is_none() {
            self.at_queries.iter_mut().zip(&self.at_references).for_each(|(q, r)| *q += r);
            self.query_weights.iter_mut().zip(&self.reference_weights).for_each(|(q, r)| *q += r);
            self.at_references.clear();
        }
        chain(metric, scale, &self.queries, &self.query_weights, &mut self.at_queries);
        if let Some(references) = &self.references {
            chain(metric, scale, references, &self.reference_weights, &mut self.at_references);
        }
        (self.at_queries, self.at_references)
    }
}

/// In place: `Σ g x'` becomes `∂L/∂x`, for each `x`.
fn chain(metric: Metric, scale: f32, ready: &Ready<'_>, weights: &[f64], sums: &mut [f32]) {
    let dim = ready.vectors().dim();
    debug_assert_eq!(sums.len(), ready.len() * dim);
    sums.par_chunks_exact_mut(dim).enumerate().for_each(|(i, sum)| {
        let x = ready.vectors().row(i);
        match metric {
            Metric::Dot => sum.iter_mut().for_each(|s| *s *= scale),
            // ds/dx of x·r/(‖x‖‖r‖): what is left of the sum across the unit vector, over the length.
            Metric::Cosine => {
                let norm = ready.norm(i);
                let along: f32 = sum.iter().zip(x).map(|(s, u)| s * u).sum();
                let scale = if norm > 0.0 { scale / norm } else { 0.0 };
                sum.iter_mut().zip(x).for_each(|(s, u)| *s = (*s - along * u) * scale);
            }
            // d‖x − r‖²/dx = 2 (x − r)
            Metric::Euclidean | Metric::SquaredEuclidean => {
                let weight = weights[i] as f32;
                sum.iter_mut().zip(x).for_each(|(s, x)| *s = 2.0 * scale * (weight * x - *s));
            }
        }
    });
}

/// Evaluates mined springs between queries and references, or among one set when `references` is `None`.
///
/// Cost: one product `2 n m d` for the miner, and a few operations for each mined pair. Memory: tiles, and what a row
/// keeps.
///
/// # Errors
/// When queries and references differ in dimension.
pub fn pull_tuples<S: TupleSprings, K: Kin + ?Sized>(
    queries: Vectors<'_>,
    references: Option<Vectors<'_>>,
    metric: Metric,
    kin: &K,
    springs: &S,
    reduction: Reduction,
) -> Result<Pull, SweepError> {
    let others = references.unwrap_or(queries);
    let rows = fold_rows(queries, others, metric, &Mine { kin, springs })?;
    let dim = queries.dim();
    let mut total = Settled::default();
    let mut query_gradient = vec![0.0; queries.data().len()];
    let mut reference_gradient = vec![0.0; references.map_or(0, |r| r.data().len())];
    let (mut ends, mut scores, mut forces) = (Vec::new(), Vec::new(), Vec::new());
    let mut slopes = (vec![0.0; dim], vec![0.0; dim]);
    for (q, (row, _)) in rows.iter().enumerate() {
        ends.clear();
        springs.attach(row, &mut ends);
        scores.clear();
        scores.extend(ends.iter().map(|&r| metric.score(queries.row(q), others.row(r))));
        forces.clear();
        forces.resize(scores.len(), 0.0);
        if ends.is_empty() {
            continue;
        }
        let settled = springs.settle(&scores, &mut forces);
        total.energy += settled.energy;
        total.terms += settled.terms;
        total.active += settled.active;
        for ((&r, &s), &g) in ends.iter().zip(&scores).zip(&forces) {
            if g == 0.0 {
                continue;
            }
            metric.slopes(queries.row(q), others.row(r), s, &mut slopes);
            let add = |gradient: &mut [f32], i: usize, slope: &[f32]| {
                gradient[i * dim..(i + 1) * dim].iter_mut().zip(slope).for_each(|(d, x)| *d += g * x);
            };
            add(&mut query_gradient, q, &slopes.0);
            let far = if references.is_some() { &mut reference_gradient } else { &mut query_gradient };
            add(far, r, &slopes.1);
        }
    }
    let scale = reduction.scale(total);
    for gradient in [&mut query_gradient, &mut reference_gradient] {
        gradient.iter_mut().for_each(|g| *g *= scale as f32);
    }
    Ok(Pull {
        loss: total.energy * scale,
        terms: total.terms,
        active: total.active,
        query_gradient,
        reference_gradient,
    })
}

/// Relates each tile before the miner sees it.
struct Mine<'a, S, K: ?Sized> {
    kin: &'a K,
    springs: &'a S,
}

impl<S: TupleSprings, K: Kin + ?Sized> RowFold for Mine<'_, S, K> {
    type Row = (S::Row, Vec<Relation>);

    fn start(&self, _query: usize) -> Self::Row {
        Default::default()
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], (row, relations): &mut Self::Row) {
        relations.resize(scores.len(), Relation::default());
        self.kin.relate(query, first, relations);
        self.springs.observe(Tile { query, first, relations }, scores, row);
    }
}
