//! Diffusion maps.
//!
//! R. Coifman, S. Lafon, "Diffusion maps", 2006. A random walk steps to near points, and the map's distances are how unlike the
//! walks from two points are after `t` steps:
//!
//! ```text
//! k_ij = e^{−‖x_i − x_j‖² / ε}     q_i = Σ_j k_ij     k'_ij = k_ij / (q_i q_j)^α     p_ij = k'_ij / Σ_l k'_il
//! P ψ_m = λ_m ψ_m,  1 = λ_0 ≥ λ_1 ≥ …               y_i = (λ_1ᵗ ψ_1(i), …, λ_dᵗ ψ_d(i))
//! ```
//!
//! with `Σ_i π_i ψ_m(i)² = 1` for the walk's stationary `π`, and `k` on the graph of nearest neighbours alone, each point its own
//! neighbour too. α is how much of the points' density is taken out: 0 none (the graph Laplacian), ½ Fokker–Planck, 1 all
//! (the manifold's own Laplacian).
//!
//! Cost and memory: as [Laplacian eigenmaps](super::LaplacianEigenmaps).
//!
//! When to use it: progressions and clusters at a chosen scale of time, with noise; uneven sampling (α = 1).
//!
//! ```
//! use nearkin_classic::spectral::DiffusionMaps;
//! use nearkin_sweep::Vectors;
//!
//! // Samples along a process, taken ever more densely.
//! let points: Vec<f32> = (0..200).map(|i| (i as f32 / 20.0).sqrt()).collect();
//! let settings = DiffusionMaps { dims: 1, ..DiffusionMaps::default() };
//! let map = settings.fit(Vectors::new(&points, 1)?)?;
//! let order = map.embedding();
//! assert!(order.is_sorted() || order.iter().rev().is_sorted());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use nearkin_sweep::{Neighbor, Vectors};
use serde::{Deserialize, Serialize};

use super::graph::NeighborGraph;
use super::markov::{check_bandwidth, extend, heat, walk, weights};
use crate::error::ClassicError;
use crate::input::{check_dims, check_new};

/// Settings of diffusion maps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiffusionMaps {
    /// Neighbours of each point, k; an edge joins two points if either is among the other's nearest.
    pub neighbors: usize,
    /// Dimensions of the map.
    pub dims: usize,
    /// α, in [0, 1].
    pub alpha: f64,
    /// Steps of the walk, t.
    pub steps: u32,
    /// ε, in the unit of squared distances; the median squared length of the graph's edges if `None`.
    pub bandwidth: Option<f64>,
}

impl Default for DiffusionMaps {
    /// 12 neighbours, 2 dimensions, α = 1, one step, the median bandwidth.
    fn default() -> Self {
        Self { neighbors: 12, dims: 2, alpha: 1.0, steps: 1, bandwidth: None }
    }
}

/// The map of some points, which places others by a step of the walk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedDiffusionMaps {
    settings: DiffusionMaps,
    bandwidth: f64,
    points: Vec<f32>,
    dim: usize,
    /// `q_i^{−α}`.
    thinning: Vec<f64>,
    embedding: Vec<f32>,
    eigenvalues: Vec<f64>,
}

impl DiffusionMaps {
    /// Maps the points.
    ///
    /// # Errors
    /// When a value is not finite or a setting out of range, the graph of neighbours is in pieces, or no bandwidth is given and half of
    /// all neighbours coincide.
    pub fn fit(&self, points: Vectors<'_>) -> Result<FittedDiffusionMaps, ClassicError> {
        if !(0.0..=1.0).contains(&self.alpha) {
            let (name, found) = ("alpha", self.alpha);
            return Err(ClassicError::Setting { name, found, wanted: "a number from 0 to 1" });
        }
        let graph = NeighborGraph::symmetric(points, self.neighbors)?;
        let n = graph.len();
        check_dims(self.dims, n - 1)?;
        graph.require_whole()?;
        let median = || {
            let mut lengths = graph.distances().to_vec();
            let middle = lengths.len() / 2;
            f64::from(*lengths.select_nth_unstable_by(middle, f32::total_cmp).1).powi(2)
        };
        let bandwidth = check_bandwidth(self.bandwidth.unwrap_or_else(median))?;
        let mut kernel = weights(&graph, |d| heat(d, bandwidth), 1.0);
        let thinning: Vec<f64> = kernel.row_sums().iter().map(|q| q.powf(-self.alpha)).collect();
        kernel.scale(|i, j| thinning[i] * thinning[j]);
        let total: f64 = kernel.row_sums().iter().sum();
        let walk = walk(kernel, self.dims, bandwidth)?;
        let scales: Vec<f64> =
            walk.values.iter().map(|value| total.sqrt() * value.powf(f64::from(self.steps))).collect();
        let place = |i: usize| walk.vectors.iter().zip(&scales).map(move |(v, scale)| (scale * v[i]) as f32);
        let embedding = (0..n).flat_map(place).collect();
        Ok(FittedDiffusionMaps {
            settings: *self,
            bandwidth,
            points: points.data().to_vec(),
            dim: points.dim(),
            thinning,
            embedding,
            eigenvalues: walk.values,
        })
    }
}

impl FittedDiffusionMaps {
    /// The map of the points fitted: a row of [`DiffusionMaps::dims`] values each.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// The walk's eigenvalues `λ_1 ≥ λ_2 ≥ …`, at most 1.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// The bandwidth ε, as given or found.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth
    }

    /// Places points by Nyström's extension: `ψ(x) = (1/λ) Σ_j p(x, j) ψ_j` over the neighbours among the points fitted. A row of
    /// [`DiffusionMaps::dims`] values each.
    ///
    /// # Errors
    /// When the points have another dimension than those fitted, or a value is not finite.
    pub fn transform(&self, points: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        check_new(points, self.dim)?;
        let fitted = Vectors::new(&self.points, self.dim)?;
        // The new point's own q cancels.
        let weight = |near: &Neighbor| heat(near.score, self.bandwidth) * self.thinning[near.index];
        extend(points, fitted, self.settings.neighbors, &self.embedding, &self.eigenvalues, weight)
    }
}
