//! Classical multidimensional scaling.
//!
//! W. Torgerson, "Multidimensional scaling: I. Theory and method", 1952. From all distances `d_ij`,
//!
//! ```text
//! B = −½ J D J,   D_ij = d_ij²,   J = I − (1/n) 1 1ᵀ;      B v_k = λ_k v_k;      y_ik = √λ_k v_ki
//! ```
//!
//! If the distances are Euclidean, `B` holds the inner products of the centred points, and the map in enough dimensions has exactly
//! those distances. A further point with distances `d` to the others goes to (J. Gower, "Adding a point to vector diagrams in
//! multivariate analysis", 1968)
//!
//! ```text
//! y_k = −½ Σ_i (v_ki / √λ_k) (d_i² − (1/n) Σ_j d_ij²)
//! ```
//!
//! Cost: some tens of products with `D`, `n²` each; from points, `n d` each, and no matrix. `B` is never made.
//!
//! When to use it: distances that are all there is (from points it is PCA), or as the start of [`Smacof`](super::Smacof).
//!
//! ```
//! use nearkin_classic::spectral::ClassicalMds;
//!
//! // Three towns on a road, and a fourth between the first two.
//! let roads = [0.0, 2.0, 5.0, 2.0, 0.0, 3.0, 5.0, 3.0, 0.0];
//! let map = ClassicalMds { dims: 1 }.fit(&roads)?;
//! let place = map.embedding();
//! assert!(((place[0] - place[2]).abs() - 5.0).abs() < 1e-5);
//! let fourth = map.transform(nearkin_sweep::Vectors::new(&[1.0, 1.0, 4.0], 3)?)?;
//! assert!((fourth[0] - 0.5 * (place[0] + place[1])).abs() < 1e-5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use nearkin_sweep::Vectors;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::lanczos::{Eigenpairs, largest};
use crate::algebra::{add, dot};
use crate::error::ClassicError;
use crate::input::{check_columns, check_dims, check_finite};

/// Settings of classical multidimensional scaling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicalMds {
    /// Dimensions of the map.
    pub dims: usize,
}

/// The map of some points, which places others by their distances to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedMds {
    embedding: Vec<f32>,
    eigenvalues: Vec<f64>,
    triangulation: Triangulation,
}

impl ClassicalMds {
    /// Maps points with these distances: all pairs, row by row.
    ///
    /// # Errors
    /// When the matrix is not square, not symmetric, or holds what is no distance; when `dims` is not between 1 and the points less 1;
    /// when the points have no extent in so many directions.
    pub fn fit(&self, distances: &[f32]) -> Result<FittedMds, ClassicError> {
        let n = check_distances(distances)?;
        let (eigenvalues, triangulation) = classical_scaling(distances, n, self.dims)?;
        let embedding = triangulation.place_rows(n, |i| &distances[i * n..(i + 1) * n]);
        Ok(FittedMds { embedding, eigenvalues, triangulation })
    }

    /// Maps points of given coordinates by their Euclidean distances, without their matrix: principal components.
    ///
    /// # Errors
    /// When a value is not finite, or `dims` as in [`fit`](Self::fit).
    pub fn fit_points(&self, points: Vectors<'_>) -> Result<FittedMds, ClassicError> {
        check_finite(points)?;
        let (n, d) = (points.len(), points.dim());
        check_dims(self.dims, n.saturating_sub(1))?;
        let rows = || points.data().chunks_exact(d);
        let mut mean = vec![0.0; d];
        rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x) / n as f64));
        let centred: Vec<Vec<f64>> =
            rows().map(|row| row.iter().zip(&mean).map(|(&x, m)| f64::from(x) - m).collect()).collect();
        let found = largest(n, self.dims, &[constant(n)], |x, y| {
            let mut sum = vec![0.0; d];
            centred.iter().zip(x).for_each(|(row, &x)| add(&mut sum, x, row));
            y.iter_mut().zip(&centred).for_each(|(y, row)| *y = dot(row, &sum));
        })?;
        check_extent(&found.values, 1e-10)?;
        let squares: Vec<f64> = centred.iter().map(|row| dot(row, row)).collect();
        let mean_square = squares.iter().sum::<f64>() / n as f64;
        let place = |i| {
            let along = |(v, value): (&Vec<f64>, &f64)| (v[i] * value.sqrt()) as f32;
            found.vectors.iter().zip(&found.values).map(along).collect::<Vec<f32>>()
        };
        let embedding = (0..n).flat_map(place).collect();
        let means = squares.into_iter().map(|square| square + mean_square).collect();
        let eigenvalues = found.values.clone();
        Ok(FittedMds { embedding, eigenvalues, triangulation: Triangulation::new(found, means) })
    }
}

impl FittedMds {
    /// The map of the points fitted: a row of [`ClassicalMds::dims`] values each, of mean 0, uncorrelated.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// The eigenvalues `λ`, largest first: the sum of squares along each dimension of the map.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// Places points by their distances to the points fitted: a row of as many distances each in, a row of
    /// [`ClassicalMds::dims`] values each out.
    ///
    /// # Errors
    /// When a row is not as long as there are points, or holds what is no distance.
    pub fn transform(&self, distances: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        let wanted = self.triangulation.means.len();
        check_columns(distances, wanted)?;
        check_entries(distances.data(), wanted)?;
        Ok(self.triangulation.place_rows(distances.len(), |i| distances.row(i)))
    }
}

/// Places points by their distances to those of a classical scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Triangulation {
    /// `v_k / √λ_k`.
    directions: Vec<Vec<f64>>,
    /// `(1/n) Σ_j d_ij²`.
    means: Vec<f64>,
}

impl Triangulation {
    fn new(pairs: Eigenpairs, means: Vec<f64>) -> Self {
        let mut directions = pairs.vectors;
        for (direction, value) in directions.iter_mut().zip(pairs.values) {
            direction.iter_mut().for_each(|x| *x /= value.sqrt());
        }
        Self { directions, means }
    }

    /// Points with distances `rows(0)..rows(count)`.
    pub(crate) fn place_rows<R: AsRef<[f32]>>(
        &self,
        count: usize,
        rows: impl Fn(usize) -> R + Sync,
    ) -> Vec<f32> {
        let place = |i| {
            let row = rows(i);
            let past = |(&d, mean): (&f32, &f64)| -0.5 * (f64::from(d) * f64::from(d) - mean);
            let past: Vec<f64> = row.as_ref().iter().zip(&self.means).map(past).collect();
            self.directions.iter().map(|direction| dot(direction, &past) as f32).collect::<Vec<f32>>()
        };
        let places: Vec<Vec<f32>> = (0..count).into_par_iter().map(place).collect();
        places.concat()
    }
}

/// The eigenvalues and the triangulation of `n` points with these distances.
pub(crate) fn classical_scaling(
    distances: &[f32],
    n: usize,
    dims: usize,
) -> Result<(Vec<f64>, Triangulation), ClassicError> {
    check_dims(dims, n.saturating_sub(1))?;
    let row = |i: usize| &distances[i * n..(i + 1) * n];
    // J is the projection that the search makes anyway.
    let found = largest(n, dims, &[constant(n)], |x, y| {
        y.par_iter_mut().enumerate().for_each(|(i, y)| *y = -0.5 * squares_times(row(i), x));
    })?;
    check_extent(&found.values, 1e-6)?;
    let ones = vec![1.0; n];
    let means = (0..n).into_par_iter().map(|i| squares_times(row(i), &ones) / n as f64).collect();
    Ok((found.values.clone(), Triangulation::new(found, means)))
}

/// The unit vector of equal entries.
pub(crate) fn constant(n: usize) -> Vec<f64> {
    vec![(1.0 / n as f64).sqrt(); n]
}

/// `Σ_j d_j² x_j`, in eight sums so that it runs in vectors.
fn squares_times(d: &[f32], x: &[f64]) -> f64 {
    let square = |d: f32| f64::from(d) * f64::from(d);
    let (d, x) = (d.chunks_exact(8), x.chunks_exact(8));
    let rest: f64 = d.remainder().iter().zip(x.remainder()).map(|(&d, x)| square(d) * x).sum();
    let mut sums = [0.0; 8];
    for (d, x) in d.zip(x) {
        (0..8).for_each(|lane| sums[lane] += square(d[lane]) * x[lane]);
    }
    sums.iter().sum::<f64>() + rest
}

/// Refuses eigenvalues that are no more than rounding beside the first.
fn check_extent(values: &[f64], rounding: f64) -> Result<(), ClassicError> {
    let found = values.iter().filter(|&&value| value > rounding * values[0].max(0.0)).count();
    if found < values.len() { Err(ClassicError::Flat { found, wanted: values.len() }) } else { Ok(()) }
}

/// Refuses what is no matrix of distances; the number of points otherwise.
pub(crate) fn check_distances(distances: &[f32]) -> Result<usize, ClassicError> {
    let n = distances.len().isqrt();
    if n * n != distances.len() || n == 0 {
        return Err(ClassicError::Shape {
            what: "distances",
            found: format!("{} values", distances.len()),
            wanted: "a square: all pairs, row by row".into(),
        });
    }
    check_entries(distances, n)?;
    let most = distances.iter().fold(0.0, |most: f32, &d| most.max(d));
    for row in 0..n {
        for column in 0..=row {
            let (found, other) = (distances[row * n + column], distances[column * n + row]);
            if row == column && found != 0.0 {
                return Err(ClassicError::Distance {
                    row,
                    column,
                    found,
                    wanted: "0, from a point to itself",
                });
            }
            if (found - other).abs() > 1e-5 * most {
                return Err(ClassicError::Distance { row, column, found, wanted: "the same both ways" });
            }
        }
    }
    Ok(n)
}

fn check_entries(distances: &[f32], width: usize) -> Result<(), ClassicError> {
    match distances.iter().position(|d| !d.is_finite() || *d < 0.0) {
        None => Ok(()),
        Some(i) => Err(ClassicError::Distance {
            row: i / width,
            column: i % width,
            found: distances[i],
            wanted: "zero or more, and finite",
        }),
    }
}
