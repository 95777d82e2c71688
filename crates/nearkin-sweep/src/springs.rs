//! A loss as a system of springs: energies and forces, functions of one row of the score matrix.
//!
//! With `ℓ_i` a function of row `i` of the scores `s(i, j)`, a loss is `L = Σ_i ℓ_i`, and the force of the spring between
//! `i` and `j` is `g_ij = ∂ℓ_i/∂s_ij`. The engine makes rows band by band, lets the springs turn each into forces, and adds
//! up `∂L/∂q_i = Σ_j g_ij ∂s_ij/∂q_i` and `∂L/∂r_j = Σ_i g_ij ∂s_ij/∂r_j`. The matrix is never stored.

use rayon::prelude::*;

use crate::accelerator::{Accelerator, Panels};
use crate::kin::{Kin, Relation};
use crate::metric::{Metric, Ready, from_products, score_tile};
use crate::product::{add_weighted_columns, add_weighted_rows};
use crate::vectors::{SweepError, Vectors};
use crate::wide::{sum, wide};

/// References a tile: the columns that one task multiplies.
const TILE: usize = 512;
/// Rows of scores that are held at once: as many as fit in this many values, within bounds.
const HELD: usize = 1 << 21;
const FEWEST_ROWS: usize = 16;
const MOST_ROWS: usize = 256;

/// One query's whole row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The query.
    pub query: usize,
    /// Its score with each reference.
    pub scores: &'a [f32],
    /// What each reference is to it.
    pub relations: &'a [Relation],
    /// How much each pair counts; empty when all count 1.
    pub weights: &'a [f32],
}

impl Row<'_> {
    /// The kin: reference and score.
    pub fn kin(&self) -> impl Iterator<Item = (usize, f32)> + Clone + '_ {
        self.of(Relation::Kin)
    }

    /// The strangers: reference and score.
    pub fn strangers(&self) -> impl Iterator<Item = (usize, f32)> + Clone + '_ {
        self.of(Relation::Stranger)
    }

    fn of(&self, wanted: Relation) -> impl Iterator<Item = (usize, f32)> + Clone + '_ {
        let pairs = self.relations.iter().zip(self.scores).enumerate();
        pairs.filter(move |(_, (relation, _))| **relation == wanted).map(|(j, (_, score))| (j, *score))
    }

    /// How much the pair with reference `j` counts.
    pub fn weight(&self, j: usize) -> f32 {
        self.weights.get(j).copied().unwrap_or(1.0)
    }

    /// How many references are kin and how many are strangers.
    pub fn counts(&self) -> (usize, usize) {
        wide(
            #[inline(always)]
            || {
                let count = |wanted| self.relations.iter().filter(|r| **r == wanted).count();
                (count(Relation::Kin), count(Relation::Stranger))
            },
        )
    }
}

/// Springs between a query and the references of its row.
pub trait RowSprings: Sync {
    /// What is kept of a row.
    type Kept: Send;

    /// Writes `∂ℓ/∂s` for each reference into `forces`, which come as zeros.
    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Self::Kept;
}

/// The gradient that springs exert, before it is scaled.
#[derive(Debug)]
pub struct Gradients<'a> {
    metric: Metric,
    sides: Sides<'a>,
    sums: Sums,
}

impl Gradients<'_> {
    /// `scale · ∂L/∂queries` and `scale · ∂L/∂references`, row-major. Among one set the first holds both ends of every
    /// spring and the second is empty.
    pub fn scaled(self, scale: f64) -> (Vec<f32>, Vec<f32>) {
        let (Self { metric, sides, mut sums }, scale) = (self, scale as f32);
        if sides.references.is_none() {
            sums.at_queries.iter_mut().zip(&sums.at_references).for_each(|(q, r)| *q += r);
            sums.query_weights.iter_mut().zip(&sums.reference_weights).for_each(|(q, r)| *q += r);
            sums.at_references.clear();
        }
        chain(metric, scale, &sides.queries, &sums.query_weights, &mut sums.at_queries);
        if let Some(references) = &sides.references {
            chain(metric, scale, references, &sums.reference_weights, &mut sums.at_references);
        }
        (sums.at_queries, sums.at_references)
    }
}

/// Evaluates springs between all queries and all references, or among one set when `references` is `None`.
///
/// Returns the gradient and what the springs kept of each row. Cost: `6 n m d` operations. Memory beside inputs and
/// gradients: bands of whole rows, about 16 MiB, and up to 32 rows a thread.
///
/// # Errors
/// When queries and references differ in dimension.
pub fn pull_rows<'a, S: RowSprings, K: Kin + ?Sized>(
    queries: Vectors<'a>,
    references: Option<Vectors<'a>>,
    metric: Metric,
    kin: &K,
    springs: &S,
) -> Result<(Gradients<'a>, Vec<S::Kept>), SweepError> {
    queries.check_same_dim(&references.unwrap_or(queries))?;
    let (sides, mut sums) = (Sides::new(queries, references, metric), Sums::new(queries, references));
    let kept = sweep(&sides, queries.accelerator(), metric, kin, Some(&mut sums), &|row, forces| {
        springs.pull(row, forces)
    })?;
    Ok((Gradients { metric, sides, sums }, kept))
}

/// A function of each whole row, without a gradient: for what must be known of all rows before springs can pull. The second
/// argument is a row of zeros to work in.
///
/// Cost: `2 n m d` operations. Memory as [`pull_rows`].
///
/// # Errors
/// When queries and references differ in dimension.
pub fn map_rows<T: Send, K: Kin + ?Sized>(
    queries: Vectors<'_>,
    references: Option<Vectors<'_>>,
    metric: Metric,
    kin: &K,
    of_row: impl Fn(&Row<'_>, &mut [f32]) -> T + Sync,
) -> Result<Vec<T>, SweepError> {
    queries.check_same_dim(&references.unwrap_or(queries))?;
    sweep(&Sides::new(queries, references, metric), queries.accelerator(), metric, kin, None, &of_row)
}

/// What one thread holds of a row.
#[derive(Default)]
struct Scratch {
    scores: Vec<f32>,
    relations: Vec<Relation>,
    weights: Vec<f32>,
    forces: Vec<f32>,
}

fn sweep<T: Send, K: Kin + ?Sized>(
    sides: &Sides<'_>,
    accelerator: Option<&dyn Accelerator>,
    metric: Metric,
    kin: &K,
    mut sums: Option<&mut Sums>,
    of_row: &(impl Fn(&Row<'_>, &mut [f32]) -> T + Sync),
) -> Result<Vec<T>, SweepError> {
    let (queries, references) = (&sides.queries, sides.references());
    let (n, m) = (queries.len(), references.len());
    let mut panels = match accelerator {
        None => None,
        Some(accelerator) => {
            let others = sides.references.as_ref().map(Ready::vectors);
            let queries = queries.vectors();
            Some(accelerator.load(queries.data(), others.map(|r| r.data()), queries.dim())?)
        }
    };
    let columns = if panels.is_some() { references.columns(0, 0) } else { references.all_columns() };
    // An accelerator gives whole rows.
    let tile_width = if panels.is_some() { m.max(1) } else { TILE };
    let rows = (HELD / m.max(1)).clamp(FEWEST_ROWS, MOST_ROWS).min(n.max(1));
    // Tile after tile, each a block of `rows` × TILE: a task multiplies into what is its own.
    let mut band = vec![0.0; rows * m];
    let mut kept = Vec::with_capacity(n);
    for first_query in (0..n).step_by(rows) {
        let count = rows.min(n - first_query);
        let band = &mut band[..count * m];
        match &mut panels {
            Some(panels) => {
                panels.scores(first_query, count, band)?;
                let rows = band.par_chunks_mut(tile_width).enumerate();
                rows.for_each(|(i, row)| {
                    from_products(metric, queries, first_query + i, references, 0, row.len(), row);
                });
            }
            None => band.par_chunks_mut(count * TILE).enumerate().for_each(|(tile, scores)| {
                let width = scores.len() / count;
                score_tile(metric, queries, first_query, &columns, tile * TILE, width, scores);
            }),
        }
        // The row of a query is a piece of each tile. Tasks own whole rows: they take their pieces out, and put forces back.
        let mut pieces: Vec<Vec<&mut [f32]>> =
            (0..count).map(|_| Vec::with_capacity(m.div_ceil(tile_width))).collect();
        for tile in band.chunks_mut(count * tile_width) {
            let width = tile.len() / count;
            for (row, piece) in pieces.iter_mut().zip(tile.chunks_exact_mut(width)) {
                row.push(piece);
            }
        }
        let pulls = sums.is_some();
        let found =
            pieces.into_par_iter().enumerate().map_init(Scratch::default, |scratch, (i, mut pieces)| {
                let query = first_query + i;
                scratch.scores.clear();
                for piece in &pieces {
                    scratch.scores.extend_from_slice(piece);
                }
                scratch.relations.resize(m, Relation::default());
                kin.relate(query, 0, &mut scratch.relations);
                scratch.weights.resize(m, 1.0);
                if !kin.weigh(query, 0, &mut scratch.weights) {
                    scratch.weights.clear();
                }
                scratch.forces.clear();
                scratch.forces.resize(m, 0.0);
                let Scratch { scores, relations, weights, forces } = scratch;
                let kept = of_row(&Row { query, scores, relations, weights }, forces);
                if pulls {
                    if metric == Metric::Euclidean {
                        per_squared_distance(forces, scores);
                    }
                    let mut forces = &forces[..];
                    for piece in &mut pieces {
                        let (own, rest) = forces.split_at(piece.len());
                        piece.copy_from_slice(own);
                        forces = rest;
                    }
                }
                kept
            });
        kept.par_extend(found);
        match (&mut sums, &mut panels) {
            (Some(sums), Some(panels)) => {
                panels.pull(first_query, count, band)?;
                sums.add_weights(metric, first_query, band, m);
            }
            (Some(sums), None) => sums.add(sides, metric, first_query, count, band),
            (None, _) => {}
        }
    }
    if let (Some(sums), Some(panels)) = (sums, panels) {
        sums.take(panels)?;
    }
    Ok(kept)
}

/// With `h = g / 2s`, the gradient of `√(d²)` is that of `d²` under `h`; 0 at distance 0 by definition.
pub(crate) fn per_squared_distance(forces: &mut [f32], scores: &[f32]) {
    wide(
        #[inline(always)]
        || {
            for (g, s) in forces.iter_mut().zip(scores) {
                *g = if *s > 0.0 { *g / (2.0 * *s) } else { 0.0 };
            }
        },
    );
}

/// The two ends of the springs.
#[derive(Debug)]
struct Sides<'a> {
    queries: Ready<'a>,
    /// `None` among one set.
    references: Option<Ready<'a>>,
}

impl<'a> Sides<'a> {
    fn new(queries: Vectors<'a>, references: Option<Vectors<'a>>, metric: Metric) -> Self {
        Self { queries: Ready::new(queries, metric), references: references.map(|r| Ready::new(r, metric)) }
    }

    fn references(&self) -> &Ready<'a> {
        self.references.as_ref().unwrap_or(&self.queries)
    }
}

/// The gradient that gathers at the ends.
#[derive(Debug)]
struct Sums {
    /// `Σ_j g_ij r_j` for each query.
    at_queries: Vec<f32>,
    /// `Σ_i g_ij q_i` for each reference.
    at_references: Vec<f32>,
    /// `Σ_j g_ij` for each query: what distances need beside the sums above.
    query_weights: Vec<f64>,
    reference_weights: Vec<f64>,
}

impl Sums {
    fn new(queries: Vectors<'_>, references: Option<Vectors<'_>>) -> Self {
        let references = references.unwrap_or(queries);
        Self {
            at_queries: vec![0.0; queries.data().len()],
            at_references: vec![0.0; references.data().len()],
            query_weights: vec![0.0; queries.len()],
            reference_weights: vec![0.0; references.len()],
        }
    }

    /// Adds the forces of a band. Each sum has one owner and takes its parts in order of band and tile.
    fn add(&mut self, sides: &Sides<'_>, metric: Metric, first_query: usize, count: usize, forces: &[f32]) {
        let distances = !metric.larger_is_nearer();
        let band = sides.queries.vectors().block(first_query, count);
        let references = sides.references().vectors();
        let (dim, m) = (references.dim(), references.len());
        let tiles = forces.par_chunks(count * TILE).enumerate();
        let at_references = self.at_references.par_chunks_mut(TILE * dim);
        let reference_weights = self.reference_weights.par_chunks_mut(TILE);
        // Every tile makes its share of the queries' sums; they are added up in order below.
        let shares: Vec<(Vec<f32>, Vec<f64>)> = tiles
            .zip(at_references.zip(reference_weights))
            .map(|((tile, forces), (at_references, weights))| {
                let width = forces.len() / count;
                let mut share = vec![0.0; count * dim];
                add_weighted_rows(forces, references.block(tile * TILE, width), &mut share);
                add_weighted_columns(forces, width, 0, band, at_references);
                let mut query_weights = Vec::new();
                if distances {
                    query_weights = forces
                        .chunks_exact(width)
                        .map(|row| {
                            wide(
                                #[inline(always)]
                                || sum(row),
                            )
                        })
                        .collect();
                    for row in forces.chunks_exact(width) {
                        wide(
                            #[inline(always)]
                            || weights.iter_mut().zip(row).for_each(|(w, g)| *w += f64::from(*g)),
                        );
                    }
                }
                (share, query_weights)
            })
            .collect();
        debug_assert_eq!(shares.len(), m.div_ceil(TILE));
        let at_queries = &mut self.at_queries[first_query * dim..(first_query + count) * dim];
        for (share, query_weights) in &shares {
            wide(
                #[inline(always)]
                || at_queries.iter_mut().zip(share).for_each(|(q, s)| *q += s),
            );
            let weights = &mut self.query_weights[first_query..first_query + count];
            weights.iter_mut().zip(query_weights).for_each(|(w, share)| *w += share);
        }
    }

    /// Adds up the forces of a band alone, where an accelerator has the rest.
    fn add_weights(&mut self, metric: Metric, first_query: usize, forces: &[f32], width: usize) {
        if metric.larger_is_nearer() || width == 0 {
            return;
        }
        for (i, row) in forces.chunks_exact(width).enumerate() {
            self.query_weights[first_query + i] += wide(
                #[inline(always)]
                || sum(row),
            );
            self.reference_weights.iter_mut().zip(row).for_each(|(w, g)| *w += f64::from(*g));
        }
    }

    /// What an accelerator has added up.
    fn take(&mut self, panels: Box<dyn Panels>) -> Result<(), SweepError> {
        let (at_queries, at_references) = panels.finish()?;
        let wanted = (self.at_queries.len(), self.at_references.len());
        if (at_queries.len(), at_references.len()) != wanted {
            return Err(SweepError::Accelerator("its sums have another shape than the vectors".into()));
        }
        (self.at_queries, self.at_references) = (at_queries, at_references);
        Ok(())
    }
}

/// In place: `Σ g x'` becomes `scale · ∂L/∂x`, for each `x`.
pub(crate) fn chain(metric: Metric, scale: f32, ready: &Ready<'_>, weights: &[f64], sums: &mut [f32]) {
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
