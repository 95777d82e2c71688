//! Locally linear embedding.
//!
//! S. Roweis, L. Saul, "Nonlinear Dimensionality Reduction by Locally Linear Embedding", 2000. Each point `x_i` is written as a
//! weighted mean of its neighbours, and the map is what those weights reconstruct best:
//!
//! ```text
//! W = argmin Σ_i ‖x_i − Σ_j w_ij x_j‖²      Σ_j w_ij = 1,  w_ij = 0 unless j is a neighbour of i
//! Y = argmin Σ_i ‖y_i − Σ_j w_ij y_j‖²      Σ_i y_i = 0,   (1/n) Σ_i y_i y_iᵀ = I
//! ```
//!
//! `Y` is `√n` times the eigenvectors of `(I − W)ᵀ(I − W)` with the smallest eigenvalues, but for the constant one.
//!
//! Cost: neighbours `n² d / 2`, weights `n k² (d + k)`, and the sparse factor, which is what grows: near linear in `n` for points
//! on a surface, near `n³ / 3` for points that fill many dimensions. Memory: the factor, of at most 6 GiB, refused beyond.
//!
//! [`Lle::modified`] replaces a point's weights by several.
//!
//! Copies of a point are one point, and share its place: as each other's neighbours they would be tied to nothing else.
//!
//! When to use it: one smooth sheet, evenly sampled, little noise. Clusters pull it into corners.
//!
//! ```
//! use nearkin_classic::spectral::Lle;
//! use nearkin_sweep::Vectors;
//!
//! // A grid on a tilted plane in three dimensions, and a point between its nodes.
//! let grid = (0..100).map(|i| ((i % 10) as f32, (i / 10) as f32 * 1.1));
//! let points: Vec<f32> = grid.flat_map(|(x, y)| [x + y, x - y, 0.5 * x]).collect();
//! let map = Lle::default().fit(Vectors::new(&points, 3)?)?;
//! assert_eq!(map.embedding().len(), 100 * 2);
//! let unseen = map.transform(Vectors::new(&[8.0, -0.1, 1.9], 3)?)?;
//! assert!(unseen.iter().all(|y| y.abs() < 1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use nearkin_sweep::{Neighbor, Vectors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::graph::{NeighborGraph, distinct, nearest};
use super::lanczos::largest;
use super::modified_lle::all_weights;
use super::sparse::{Cholesky, Sparse};
use crate::algebra::{dot, solve};
use crate::error::ClassicError;
use crate::input::{check_dims, check_finite, check_new};

/// Settings of locally linear embedding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lle {
    /// Neighbours of each point, k.
    pub neighbors: usize,
    /// Dimensions of the map.
    pub dims: usize,
    /// What is added to the diagonal of each local Gram matrix, as a part of its trace. Above zero: with more neighbours than
    /// dimensions the weights are not unique without it.
    pub regularization: f64,
    /// Whether a point has several weights instead of one (Z. Zhang, J. Wang, "MLLE: Modified Locally Linear Embedding Using Multiple
    /// Weights", 2006): bends less, at some times the cost. The neighbours must be more than the dimensions.
    pub modified: bool,
}

impl Default for Lle {
    /// 12 neighbours, 2 dimensions, 10⁻³ of the trace, one weight a neighbour.
    fn default() -> Self {
        Self { neighbors: 12, dims: 2, regularization: 1e-3, modified: false }
    }
}

/// The map of some points, which places others by the weights over their neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedLle {
    settings: Lle,
    /// The distinct points.
    points: Vec<f32>,
    dim: usize,
    /// Their map.
    places: Vec<f32>,
    embedding: Vec<f32>,
    reconstruction_error: f64,
}

impl Lle {
    /// Maps the points.
    ///
    /// # Errors
    /// When a value is not finite or a setting out of range, among the distinct points; when the graph of neighbours is in pieces, or several groups of points
    /// have all their neighbours among themselves: the map would show those groups and nothing else; when the factor would be too
    /// large.
    pub fn fit(&self, points: Vectors<'_>) -> Result<FittedLle, ClassicError> {
        check_regularization(self.regularization)?;
        check_finite(points)?;
        let (firsts, place_of) = distinct(points);
        let data: Vec<f32> = firsts.iter().flat_map(|&i| points.row(i)).copied().collect();
        let points = Vectors::new(&data, points.dim())?;
        let graph = NeighborGraph::directed(points, self.neighbors)?;
        let n = graph.len();
        // A point's several weights are those that its map's dimensions leave free among its neighbours.
        check_dims(self.dims, if self.modified { self.neighbors - 1 } else { n - 1 })?;
        graph.require_one_closed_group()?;
        let rows: Vec<&[f32]> = (0..n).map(|i| points.row(i)).collect();
        let neighbors: Vec<Vec<&[f32]>> =
            (0..n).map(|i| graph.edges(i).map(|(j, _)| points.row(j)).collect()).collect();
        let weights = if self.modified {
            all_weights(&rows, &neighbors, self.dims, self.regularization)?
        } else {
            let plain = |(point, neighbors): (&&[f32], &Vec<&[f32]>)| {
                vec![weights(point, neighbors, self.regularization)]
            };
            rows.par_iter().zip(&neighbors).map(plain).collect()
        };
        // I − W: for each point and each of its weights what they leave of it.
        let left = |i: usize, weights: &[f64]| {
            let mut row: Vec<(usize, f64)> =
                graph.edges(i).zip(weights).map(|((j, _), weight)| (j, -weight)).collect();
            row.push((i, 1.0));
            row.sort_unstable_by_key(|entry| entry.0);
            row
        };
        let rows = weights.iter().enumerate().flat_map(|(i, all)| all.iter().map(move |w| left(i, w)));
        let residual = Sparse::from_rows(rows.collect());
        // The smallest eigenvalues of a matrix are the largest of its inverse.
        let factor = Cholesky::new(residual.gram(n))?;
        let constant = vec![(1.0 / n as f64).sqrt(); n];
        let found = largest(n, self.dims, &[constant], |x, y| {
            y.copy_from_slice(x);
            factor.solve(y);
        })?;
        let mut left = vec![0.0; residual.len()];
        let errors = found.vectors.iter().map(|vector| {
            residual.multiply(vector, &mut left);
            dot(&left, &left)
        });
        let reconstruction_error = errors.sum();
        let scale = (n as f64).sqrt();
        let places: Vec<f32> =
            (0..n).flat_map(|i| found.vectors.iter().map(move |v| (scale * v[i]) as f32)).collect();
        let place = |&i: &usize| &places[i * self.dims..(i + 1) * self.dims];
        Ok(FittedLle {
            settings: *self,
            dim: points.dim(),
            points: data,
            embedding: place_of.iter().flat_map(place).copied().collect(),
            places,
            reconstruction_error,
        })
    }
}

impl FittedLle {
    /// The map of the points fitted: a row of [`Lle::dims`] values each. Over the distinct points they
    /// have mean 0 and variance 1, and are uncorrelated.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// `(1/n) Σ_i ‖y_i − Σ_j w_ij y_j‖²`: the sum of the eigenvalues.
    pub fn reconstruction_error(&self) -> f64 {
        self.reconstruction_error
    }

    /// Places points by the weights that reconstruct them from their neighbours among those fitted (L. Saul, S. Roweis, "Think
    /// Globally, Fit Locally", 2003, section 6.1). A row of [`Lle::dims`] values each.
    ///
    /// # Errors
    /// When the points have another dimension than those fitted, or a value is not finite.
    pub fn transform(&self, points: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        check_new(points, self.dim)?;
        let (fitted, dims) = (Vectors::new(&self.points, self.dim)?, self.settings.dims);
        let found = nearest(points, fitted, self.settings.neighbors, false)?;
        let place = |(i, near): (usize, &Vec<Neighbor>)| {
            let neighbors: Vec<&[f32]> = near.iter().map(|n| fitted.row(n.index)).collect();
            let weights = weights(points.row(i), &neighbors, self.settings.regularization);
            let mut place = vec![0.0; dims];
            for (near, weight) in near.iter().zip(weights) {
                let row = &self.places[near.index * dims..][..dims];
                place.iter_mut().zip(row).for_each(|(p, &y)| *p += weight * f64::from(y));
            }
            place.into_iter().map(|x| x as f32).collect::<Vec<f32>>()
        };
        let rows: Vec<Vec<f32>> = found.par_iter().enumerate().map(place).collect();
        Ok(rows.concat())
    }
}

/// The weights, of sum 1, whose mean of `neighbors` is nearest to `point`: the solution of
///
/// ```text
/// (G + r tr(G) I) w = 1,   G_ab = (x − x_a)·(x − x_b)
/// ```
///
/// scaled to sum 1, with the regularisation `r`; equal weights where all neighbours coincide with the point.
///
/// # Errors
/// When a neighbour has another dimension than the point, there is none, a value is not finite, or `r` is not above zero.
pub fn barycentric_weights(
    point: &[f32],
    neighbors: Vectors<'_>,
    regularization: f64,
) -> Result<Vec<f64>, ClassicError> {
    check_regularization(regularization)?;
    check_new(neighbors, point.len())?;
    check_new(Vectors::new(point, point.len())?, point.len())?;
    if neighbors.is_empty() {
        return Err(ClassicError::Neighbors { found: 0, samples: 0 });
    }
    let rows: Vec<&[f32]> = (0..neighbors.len()).map(|i| neighbors.row(i)).collect();
    Ok(weights(point, &rows, regularization))
}

fn check_regularization(found: f64) -> Result<(), ClassicError> {
    if found > 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(ClassicError::Setting { name: "regularization", found, wanted: "above zero, and finite" })
}

/// What leads from the point to each neighbour.
pub(crate) fn offsets(point: &[f32], neighbors: &[&[f32]]) -> Vec<Vec<f64>> {
    let away =
        |neighbor: &&[f32]| neighbor.iter().zip(point).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
    neighbors.iter().map(away).collect()
}

pub(crate) fn weights(point: &[f32], neighbors: &[&[f32]], regularization: f64) -> Vec<f64> {
    let k = neighbors.len();
    let away = offsets(point, neighbors);
    // Only the direction of the solution counts, so lengths may be in any unit. This one keeps the squares in range.
    let trace: f64 = away.iter().map(|a| dot(a, a)).sum();
    let unit = if trace > 0.0 { trace } else { 1.0 };
    let mut gram = vec![0.0; k * k];
    for a in 0..k {
        for b in 0..=a {
            gram[a * k + b] = dot(&away[a], &away[b]) / unit;
        }
        gram[a * k + a] += regularization;
    }
    let mut weights = vec![1.0; k];
    let definite = solve(&mut gram, &mut weights);
    let sum: f64 = weights.iter().sum();
    // A regularisation below rounding may leave the matrix singular.
    if !definite || !sum.is_normal() {
        return vec![1.0 / k as f64; k];
    }
    weights.iter_mut().for_each(|w| *w /= sum);
    weights
}
