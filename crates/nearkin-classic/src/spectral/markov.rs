//! Random walks on a graph of neighbours: what Laplacian eigenmaps and diffusion maps share.

use nearkin_sweep::{Neighbor, Vectors};

use super::graph::{NeighborGraph, nearest};
use super::lanczos::largest;
use super::sparse::Sparse;
use crate::algebra::norm;
use crate::error::ClassicError;

/// The weight of an edge of length `d` under a heat kernel of bandwidth `ε`: `e^{−d²/ε}`.
pub(crate) fn heat(distance: f32, bandwidth: f64) -> f64 {
    (-f64::from(distance).powi(2) / bandwidth).exp()
}

/// Refuses bandwidths that are not above zero.
pub(crate) fn check_bandwidth(found: f64) -> Result<f64, ClassicError> {
    if found > 0.0 && !found.is_nan() { Ok(found) } else { Err(ClassicError::Bandwidth { found }) }
}

/// The matrix of the graph's weights, with `own` on the diagonal unless it is zero.
pub(crate) fn weights(graph: &NeighborGraph, weight: impl Fn(f32) -> f64, own: f64) -> Sparse {
    let row = |i| {
        let mut row: Vec<(usize, f64)> = graph.edges(i).map(|(j, d)| (j, weight(d))).collect();
        if own > 0.0 {
            row.push((i, own));
            row.sort_unstable_by_key(|entry| entry.0);
        }
        row
    };
    Sparse::from_rows((0..graph.len()).map(row).collect())
}

/// The eigenpairs of a random walk.
pub(crate) struct Walk {
    /// The largest eigenvalues of `P`, but for the first, which is 1.
    pub(crate) values: Vec<f64>,
    /// Their right eigenvectors `ψ`, with `Σ_i d_i ψ_i² = 1`.
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// The slowest modes of the walk `P = D⁻¹ K` with symmetric weights `K` and their sums `D`; through `D^{−½} K D^{−½}`, which is
/// symmetric and has the same eigenvalues.
///
/// # Errors
/// When a point has no weight, or the modes are not found. `bandwidth` is for the message.
pub(crate) fn walk(mut kernel: Sparse, dims: usize, bandwidth: f64) -> Result<Walk, ClassicError> {
    let mut roots = kernel.row_sums();
    if !roots.iter().all(|&sum| sum.is_normal()) {
        return Err(ClassicError::Bandwidth { found: bandwidth });
    }
    roots.iter_mut().for_each(|sum| *sum = sum.sqrt());
    kernel.scale(|i, j| 1.0 / (roots[i] * roots[j]));
    let length = norm(&roots);
    let first = roots.iter().map(|root| root / length).collect();
    let found = largest(roots.len(), dims, &[first], |x, y| kernel.multiply(x, y))?;
    let mut vectors = found.vectors;
    for vector in &mut vectors {
        vector.iter_mut().zip(&roots).for_each(|(x, root)| *x /= root);
    }
    Ok(Walk { values: found.values, vectors })
}

/// Places points by a step of the walk to their neighbours among those fitted (Y. Bengio and others, "Out-of-sample extensions for
/// LLE, Isomap, MDS, eigenmaps, and spectral clustering", 2004): `ψ(x) = (1/λ) Σ_j p(x, j) ψ_j`, with `p` in proportion to
/// `weight`. Where all weights vanish, the nearest point's place.
pub(crate) fn extend(
    points: Vectors<'_>,
    fitted: Vectors<'_>,
    neighbors: usize,
    embedding: &[f32],
    values: &[f64],
    weight: impl Fn(&Neighbor) -> f64,
) -> Result<Vec<f32>, ClassicError> {
    let found = nearest(points, fitted, neighbors, false)?;
    let dims = values.len();
    let mut places = Vec::with_capacity(points.len() * dims);
    for near in &found {
        let mut weights: Vec<f64> = near.iter().map(&weight).collect();
        let mut sum: f64 = weights.iter().sum();
        if !sum.is_normal() {
            weights.fill(0.0);
            (weights[0], sum) = (1.0, 1.0);
        }
        for (dim, value) in values.iter().enumerate() {
            let there = near.iter().map(|n| f64::from(embedding[n.index * dims + dim]));
            let mean = there.zip(&weights).map(|(y, w)| y * w / sum).sum::<f64>();
            places.push((mean / value) as f32);
        }
    }
    Ok(places)
}
