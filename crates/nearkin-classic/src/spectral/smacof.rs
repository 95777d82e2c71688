//! Metric multidimensional scaling by majorisation.
//!
//! J. de Leeuw, "Applications of convex analysis to multidimensional scaling", 1977 (SMACOF). For given distances `δ_ij` it lowers
//! the stress of a map with distances `d_ij`
//!
//! ```text
//! σ = Σ_{i<j} (δ_ij − d_ij)²
//! ```
//!
//! by Guttman's transform, which never raises it, starting at [classical scaling](super::ClassicalMds):
//!
//! ```text
//! x_i ← (1/n) Σ_j (δ_ij / d_ij) (x_i − x_j)
//! ```
//!
//! Cost: `n² d` an iteration. Memory: the caller's distances.
//!
//! When to use it: distances that are not Euclidean, or a map of few dimensions that should be true to distances rather than to their
//! squares.
//!
//! ```
//! use nearkin_classic::spectral::Smacof;
//!
//! // Four towns at the corners of a square block, by road: on no map are the diagonals that long.
//! let roads = [0.0, 1.0, 2.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 1.0, 1.0, 2.0, 1.0, 0.0];
//! let map = Smacof::default().fit(&roads)?;
//! assert_eq!(map.embedding().len(), 4 * 2);
//! let stresses = map.stresses();
//! assert!(stresses[stresses.len() - 1] < stresses[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::mds::ClassicalMds;
use crate::error::ClassicError;
use crate::observer::Observer;

/// Settings of metric scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Smacof {
    /// Dimensions of the map.
    pub dims: usize,
    /// The most iterations.
    pub iterations: usize,
    /// Stops when an iteration lowers the stress `σ` by less than this part of it. Zero or more.
    pub tolerance: f64,
    /// Watches each iteration; the objective is the last of [`FittedSmacof::stresses`] at that point.
    #[serde(skip)]
    pub observer: Observer,
}

impl Default for Smacof {
    /// 2 dimensions, at most 300 iterations, tolerance 10⁻⁶.
    fn default() -> Self {
        Self { dims: 2, iterations: 300, tolerance: 1e-6, observer: Observer::default() }
    }
}

/// The map of some points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedSmacof {
    embedding: Vec<f32>,
    stresses: Vec<f64>,
}

impl Smacof {
    /// Maps points with these distances: all pairs, row by row.
    ///
    /// # Errors
    /// As [`ClassicalMds::fit`]; or when the tolerance is negative.
    pub fn fit(&self, distances: &[f32]) -> Result<FittedSmacof, ClassicError> {
        if self.tolerance.is_nan() || self.tolerance < 0.0 {
            let (name, found) = ("tolerance", self.tolerance);
            return Err(ClassicError::Setting { name, found, wanted: "zero or more" });
        }
        let start = ClassicalMds { dims: self.dims }.fit(distances)?;
        let n = distances.len().isqrt();
        let squares: Vec<f64> =
            distances.par_chunks(n).map(|row| row.iter().map(|&d| f64::from(d).powi(2)).sum()).collect();
        let scale: f64 = squares.iter().sum();
        let mut places: Vec<f64> = start.embedding().iter().copied().map(f64::from).collect();
        let mut stresses = Vec::new();
        loop {
            let (stress, next) = guttman(distances, n, &places, self.dims);
            let stress = stress / scale;
            let settled = stresses.last().is_some_and(|&last| last - stress <= self.tolerance * last);
            stresses.push(stress);
            let made = stresses.len() - 1;
            let told = made == 0 || self.observer.goes_on(made, self.iterations, stress.sqrt());
            if settled || !told || made >= self.iterations {
                break;
            }
            places = next;
        }
        let embedding = places.iter().map(|&x| x as f32).collect();
        stresses.iter_mut().for_each(|stress| *stress = stress.sqrt());
        Ok(FittedSmacof { embedding, stresses })
    }
}

impl FittedSmacof {
    /// The map of the points: a row of [`Smacof::dims`] values each, of mean 0.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// `√(Σ (δ − d)² / Σ δ²)` of the start and after each iteration; the last is the map's.
    pub fn stresses(&self) -> &[f64] {
        &self.stresses
    }
}

/// Twice the stress of some places, and Guttman's transform of them.
fn guttman(distances: &[f32], n: usize, places: &[f64], dims: usize) -> (f64, Vec<f64>) {
    let row = |(i, wanted): (usize, &[f32])| {
        let here = &places[i * dims..(i + 1) * dims];
        let (mut stress, mut pull) = (0.0, vec![0.0; dims]);
        for (there, &wanted) in places.chunks_exact(dims).zip(wanted) {
            let square: f64 = here.iter().zip(there).map(|(a, b)| (a - b) * (a - b)).sum();
            let (found, wanted) = (square.sqrt(), f64::from(wanted));
            stress += (wanted - found) * (wanted - found);
            // Points at one place do not pull each other: any direction would do.
            let factor = if found > 0.0 { wanted / found } else { 0.0 };
            pull.iter_mut().zip(here.iter().zip(there)).for_each(|(p, (a, b))| *p += factor * (a - b));
        }
        pull.iter_mut().for_each(|p| *p /= n as f64);
        (stress, pull)
    };
    let rows: Vec<(f64, Vec<f64>)> = distances.par_chunks(n).enumerate().map(row).collect();
    let stress = rows.iter().map(|row| row.0).sum();
    (stress, rows.into_iter().flat_map(|row| row.1).collect())
}
