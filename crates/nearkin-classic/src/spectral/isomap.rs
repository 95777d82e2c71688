//! Isomap, whole and with landmarks.
//!
//! J. Tenenbaum, V. de Silva, J. Langford, "A Global Geometric Framework for Nonlinear Dimensionality Reduction", 2000:
//! distances along the manifold are lengths of shortest paths through the graph of neighbours, and [classical
//! scaling](super::ClassicalMds) maps them:
//!
//! ```text
//! d_G(i, j) = min over paths i = p_0, p_1 … p_m = j of Σ ‖x_p(s) − x_p(s+1)‖;      Y = classical scaling of d_G
//! ```
//!
//! With landmarks (V. de Silva, J. Tenenbaum, "Global Versus Local Methods in Nonlinear Dimensionality Reduction", 2002) only they
//! are scaled, and all points are placed by their distances to them.
//!
//! Cost: Dijkstra's `n k log n` a landmark, on all threads. Memory: 4 bytes for each landmark and point, so `4 n²` without landmarks:
//! 1.6 GB for 20,000 points; with 500 landmarks, 40 MB.
//!
//! When to use it: a manifold that unrolls into a convex sheet. One edge across a gap shortens many paths: keep k small.
//!
//! ```
//! use nearkin_classic::spectral::Isomap;
//! use nearkin_sweep::Vectors;
//!
//! // Two turns of a spiral, as long as they are.
//! let spiral = (0..200).map(|i| 3.0 + i as f32 / 16.0);
//! let points: Vec<f32> = spiral.flat_map(|t| [t * t.cos(), t * t.sin()]).collect();
//! let map = Isomap { neighbors: 2, dims: 1, landmarks: Some(20), ..Isomap::default() };
//! let map = map.fit(Vectors::new(&points, 2)?)?;
//! assert!(map.residual_variance() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use nearkin_sweep::Vectors;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::graph::{NeighborGraph, nearest};
use super::mds::{Triangulation, classical_scaling};
use crate::error::ClassicError;
use crate::input::{check_dims, check_new};

/// Settings of Isomap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isomap {
    /// Neighbours of each point, k; an edge joins two points if either is among the other's nearest.
    pub neighbors: usize,
    /// Dimensions of the map.
    pub dims: usize,
    /// Points drawn as landmarks; all if `None`. At least one more than `dims`.
    pub landmarks: Option<usize>,
    /// What the draw depends on.
    pub seed: u64,
}

impl Default for Isomap {
    /// 5 neighbours, 2 dimensions, no landmarks.
    fn default() -> Self {
        Self { neighbors: 5, dims: 2, landmarks: None, seed: 0 }
    }
}

/// The map of some points, which places others by their paths to the landmarks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedIsomap {
    settings: Isomap,
    points: Vec<f32>,
    dim: usize,
    landmarks: Vec<usize>,
    /// From each landmark to each point.
    distances: Vec<f32>,
    triangulation: Triangulation,
    embedding: Vec<f32>,
}

impl Isomap {
    /// Maps the points.
    ///
    /// # Errors
    /// When a value is not finite or a setting out of range, the graph of neighbours is in pieces, or the points have no
    /// extent in as many directions as the map has dimensions.
    pub fn fit(&self, points: Vectors<'_>) -> Result<FittedIsomap, ClassicError> {
        let graph = NeighborGraph::symmetric(points, self.neighbors)?;
        let n = graph.len();
        check_dims(self.dims, n - 1)?;
        graph.require_whole()?;
        let landmarks = self.landmarks(n)?;
        let count = landmarks.len();
        let mut distances = vec![0.0; count * n];
        let rows = distances.par_chunks_mut(n).zip(&landmarks);
        rows.for_each(|(row, &landmark)| shortest_paths(&graph, landmark, row));
        let among_landmarks = if count == n {
            mirror(&mut distances, n);
            Cow::Borrowed(&distances[..])
        } else {
            let row = |row: &[f32]| landmarks.iter().map(|&j| row[j]).collect::<Vec<f32>>();
            let mut square: Vec<f32> = distances.chunks_exact(n).flat_map(row).collect();
            mirror(&mut square, count);
            Cow::Owned(square)
        };
        let (_, triangulation) = classical_scaling(&among_landmarks, count, self.dims)?;
        let to_landmarks = |i: usize| match &among_landmarks {
            Cow::Borrowed(rows) => Cow::Borrowed(&rows[i * n..(i + 1) * n]),
            Cow::Owned(_) => Cow::Owned(distances.chunks_exact(n).map(|row| row[i]).collect()),
        };
        let embedding = triangulation.place_rows(n, to_landmarks);
        Ok(FittedIsomap {
            settings: *self,
            points: points.data().to_vec(),
            dim: points.dim(),
            landmarks,
            distances,
            triangulation,
            embedding,
        })
    }

    /// The landmarks, ascending.
    fn landmarks(&self, n: usize) -> Result<Vec<usize>, ClassicError> {
        let mut all: Vec<usize> = (0..n).collect();
        let Some(count) = self.landmarks else { return Ok(all) };
        if count <= self.dims || count > n {
            let wanted = "more than the dimensions, and at most the points";
            return Err(ClassicError::Setting { name: "landmarks", found: count as f64, wanted });
        }
        // The first draws of a shuffle; a number of 64 bits modulo n is as good as uniform.
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        for i in 0..count {
            all.swap(i, i + (random.next_u64() % (n - i) as u64) as usize);
        }
        all.truncate(count);
        all.sort_unstable();
        Ok(all)
    }
}

impl FittedIsomap {
    /// The map of the points fitted: a row of [`Isomap::dims`] values each.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// `1 − R²` between distances along the manifold and in the map, over all landmarks and points: the paper's measure of how
    /// many dimensions are enough.
    pub fn residual_variance(&self) -> f64 {
        let (n, dims) = (self.points.len() / self.dim, self.settings.dims);
        let place = |i: usize| &self.embedding[i * dims..(i + 1) * dims];
        // Sums of a, b, a², ab, b².
        let sums = |(row, &landmark): (&[f32], &usize)| {
            let mut sums = [0.0; 5];
            for (i, &d) in row.iter().enumerate() {
                let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
                let a = f64::from(d);
                let b = place(landmark).iter().zip(place(i)).map(square).sum::<f64>().sqrt();
                sums.iter_mut().zip([a, b, a * a, a * b, b * b]).for_each(|(sum, x)| *sum += x);
            }
            sums
        };
        let rows: Vec<[f64; 5]> = self.distances.par_chunks(n).zip(&self.landmarks).map(sums).collect();
        let count = self.distances.len() as f64;
        let mean = |i: usize| rows.iter().map(|row| row[i]).sum::<f64>() / count;
        let [a, b, aa, ab, bb] = [0, 1, 2, 3, 4].map(mean);
        1.0 - (ab - a * b).powi(2) / ((aa - a * a) * (bb - b * b))
    }

    /// Places points by their distances to the landmarks, along the shortest paths that leave through one of their neighbours among
    /// the points fitted. A row of [`Isomap::dims`] values each.
    ///
    /// # Errors
    /// When the points have another dimension than those fitted, or a value is not finite.
    pub fn transform(&self, points: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        check_new(points, self.dim)?;
        let fitted = Vectors::new(&self.points, self.dim)?;
        let near = nearest(points, fitted, self.settings.neighbors, false)?;
        let to_landmarks = |i: usize| {
            let through = |row: &[f32]| {
                near[i].iter().map(|near| near.score + row[near.index]).fold(f32::INFINITY, f32::min)
            };
            self.distances.chunks_exact(fitted.len()).map(through).collect::<Vec<f32>>()
        };
        Ok(self.triangulation.place_rows(points.len(), to_landmarks))
    }
}

/// Lengths of the shortest paths from one point to all (E. Dijkstra, 1959).
fn shortest_paths(graph: &NeighborGraph, from: usize, lengths: &mut [f32]) {
    let mut best = vec![f64::INFINITY; graph.len()];
    best[from] = 0.0;
    // The bits of numbers that are not negative are in their order.
    let mut open = BinaryHeap::from([Reverse((0, from as u32))]);
    while let Some(Reverse((bits, i))) = open.pop() {
        let (i, length) = (i as usize, f64::from_bits(bits));
        if length > best[i] {
            continue;
        }
        for (j, distance) in graph.edges(i) {
            let longer = length + f64::from(distance);
            if longer < best[j] {
                best[j] = longer;
                open.push(Reverse((longer.to_bits(), j as u32)));
            }
        }
    }
    lengths.iter_mut().zip(best).for_each(|(to, best)| *to = best as f32);
}

/// Copies the upper triangle into the lower: the two differ in the last bit, where sums were taken the other way round.
fn mirror(matrix: &mut [f32], n: usize) {
    /// Rows and columns of a block that stays in the cache.
    const BLOCK: usize = 64;
    for rows in (0..n).step_by(BLOCK) {
        for columns in (0..=rows).step_by(BLOCK) {
            for i in rows..(rows + BLOCK).min(n) {
                for j in columns..(columns + BLOCK).min(i) {
                    matrix[i * n + j] = matrix[j * n + i];
                }
            }
        }
    }
}
