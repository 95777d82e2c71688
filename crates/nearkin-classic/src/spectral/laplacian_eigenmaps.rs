//! Laplacian eigenmaps.
//!
//! M. Belkin, P. Niyogi, "Laplacian Eigenmaps for Dimensionality Reduction and Data Representation", 2003. Neighbours are to
//! stay near, in the measure of the graph's weights `w`:
//!
//! ```text
//! w_ij = e^{−‖x_i − x_j‖² / t}, or 1 for t = ∞, if i is among the k nearest of j or j of i;   D_ii = Σ_j w_ij
//! Y = argmin ½ Σ_ij w_ij ‖y_i − y_j‖²      Yᵀ D Y = I,  Σ_i D_ii y_i = 0
//! ```
//!
//! `Y` holds the eigenvectors of `(D − W) y = λ D y` with the smallest eigenvalues, but for the constant one.
//!
//! Cost: neighbours `n² d / 2`, and products with the sparse matrix, `n k` each: tens to thousands, the more the longer the
//! manifold. Memory: the graph.
//!
//! When to use it: clusters and their neighbourhood matter more than distances.
//!
//! ```
//! use nearkin_classic::spectral::LaplacianEigenmaps;
//! use nearkin_sweep::Vectors;
//!
//! // Two clusters and a bridge: the first coordinate tells them apart.
//! let points: Vec<f32> = (0..60).map(|i| i as f32 * if (25..35).contains(&i) { 0.1 } else { 0.01 }).collect();
//! let points: Vec<f32> = points.iter().scan(0.0, |sum, step| { *sum += step; Some(*sum) }).collect();
//! let settings = LaplacianEigenmaps { neighbors: 4, dims: 1, ..LaplacianEigenmaps::default() };
//! let map = settings.fit(Vectors::new(&points, 1)?)?;
//! assert!(map.embedding()[0] * map.embedding()[59] < 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use nearkin_sweep::{Neighbor, Vectors};
use serde::{Deserialize, Serialize};

use super::graph::NeighborGraph;
use super::markov::{check_bandwidth, extend, heat, walk, weights};
use crate::error::ClassicError;
use crate::input::{check_dims, check_new};

/// Settings of Laplacian eigenmaps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LaplacianEigenmaps {
    /// Neighbours of each point, k; an edge joins two points if either is among the other's nearest.
    pub neighbors: usize,
    /// Dimensions of the map.
    pub dims: usize,
    /// The heat kernel's `t`, in the unit of squared distances; `None` for `t = ∞`: binary weights.
    pub bandwidth: Option<f64>,
}

impl Default for LaplacianEigenmaps {
    /// 12 neighbours, 2 dimensions, binary weights.
    fn default() -> Self {
        Self { neighbors: 12, dims: 2, bandwidth: None }
    }
}

/// The map of some points, which places others by a step of the graph's random walk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedLaplacianEigenmaps {
    settings: LaplacianEigenmaps,
    points: Vec<f32>,
    dim: usize,
    embedding: Vec<f32>,
    /// `1 − λ`.
    values: Vec<f64>,
}

impl LaplacianEigenmaps {
    /// Maps the points.
    ///
    /// # Errors
    /// When a value is not finite or a setting out of range, the graph of neighbours is in pieces, or the kernel so narrow that a
    /// point's weights vanish.
    pub fn fit(&self, points: Vectors<'_>) -> Result<FittedLaplacianEigenmaps, ClassicError> {
        let bandwidth = check_bandwidth(self.bandwidth.unwrap_or(f64::INFINITY))?;
        let graph = NeighborGraph::symmetric(points, self.neighbors)?;
        let n = graph.len();
        check_dims(self.dims, n - 1)?;
        graph.require_whole()?;
        let walk = walk(weights(&graph, |d| heat(d, bandwidth), 0.0), self.dims, bandwidth)?;
        let embedding = (0..n).flat_map(|i| walk.vectors.iter().map(move |v| v[i] as f32)).collect();
        Ok(FittedLaplacianEigenmaps {
            settings: *self,
            points: points.data().to_vec(),
            dim: points.dim(),
            embedding,
            values: walk.values,
        })
    }
}

impl FittedLaplacianEigenmaps {
    /// The map of the points fitted: a row of [`LaplacianEigenmaps::dims`] values each.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// The eigenvalues `λ` of the normalised Laplacian, smallest first, in (0, 2].
    pub fn eigenvalues(&self) -> Vec<f64> {
        self.values.iter().map(|value| 1.0 - value).collect()
    }

    /// Places points at the weighted mean of their neighbours among those fitted, over `1 − λ` (Y. Bengio and others, 2004). A row
    /// of [`LaplacianEigenmaps::dims`] values each.
    ///
    /// # Errors
    /// When the points have another dimension than those fitted, or a value is not finite.
    pub fn transform(&self, points: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        check_new(points, self.dim)?;
        let fitted = Vectors::new(&self.points, self.dim)?;
        let bandwidth = self.settings.bandwidth.unwrap_or(f64::INFINITY);
        let weight = |near: &Neighbor| heat(near.score, bandwidth);
        extend(points, fitted, self.settings.neighbors, &self.embedding, &self.values, weight)
    }
}
