//! The weights of modified locally linear embedding.
//!
//! Z. Zhang, J. Wang, "MLLE: Modified Locally Linear Embedding Using Multiple Weights", 2006. With more neighbours than the manifold
//! has dimensions, many weights reconstruct a point about as well, and the one of plain LLE depends on the regularisation. Here
//! a point has several: `s_i` of them, the columns of
//!
//! ```text
//! W_i = (1 − α) w_i 1ᵀ + V (I − 2 h hᵀ)      α = ‖Vᵀ1‖ / √s_i,   h ∝ α 1 − Vᵀ1
//! ```
//!
//! with the plain weights `w_i` and, in `V`, the `s_i` eigenvectors of the local Gram matrix with the smallest eigenvalues. Each
//! column sums to one. The number `s_i` is the largest for which those eigenvalues come to less than the part η of the others. η
//! is the median, over all points, of that part for all eigenvalues but as many as the map has dimensions.

use rayon::prelude::*;

use super::lle::{offsets, weights};
use crate::algebra::{Eigen, Matrix, dot, norm};
use crate::error::ClassicError;

/// All weights of each point, from the points of its neighbours.
pub(crate) fn all_weights(
    points: &[&[f32]],
    neighbors: &[Vec<&[f32]>],
    dims: usize,
    regularization: f64,
) -> Result<Vec<Vec<Vec<f64>>>, ClassicError> {
    let spectrum = |(point, neighbors): (&&[f32], &Vec<&[f32]>)| spectrum(&offsets(point, neighbors));
    let spectra: Vec<Eigen> =
        points.par_iter().zip(neighbors).map(spectrum).collect::<Result<_, ClassicError>>()?;
    let mut parts: Vec<f64> = spectra.iter().map(|eigen| part(&eigen.values, dims)).collect();
    parts.sort_by(f64::total_cmp);
    let middle = parts.len() / 2;
    let eta = if parts.len() % 2 == 1 { parts[middle] } else { 0.5 * (parts[middle - 1] + parts[middle]) };
    let all = |((point, neighbors), eigen): ((&&[f32], &Vec<&[f32]>), &Eigen)| {
        let plain = weights(point, neighbors, regularization);
        let k = plain.len();
        let count = (1..k).take_while(|&count| part(&eigen.values, k - count) < eta).count().max(1);
        several(&plain, &last(eigen, count))
    };
    Ok(points.par_iter().zip(neighbors).zip(&spectra).map(all).collect())
}

/// Of the Gram matrix of a point's neighbours about it.
fn spectrum(away: &[Vec<f64>]) -> Result<Eigen, ClassicError> {
    Eigen::new(&Matrix::from_fn(away.len(), away.len(), |a, b| dot(&away[a], &away[b])))
}

/// The eigenvectors of the smallest eigenvalues.
fn last(eigen: &Eigen, count: usize) -> Vec<Vec<f64>> {
    let k = eigen.values.len();
    (k - count..k).map(|r| eigen.vectors.row(r).to_vec()).collect()
}

/// What the eigenvalues but for the first `kept` come to, as a part of those.
fn part(values: &[f64], kept: usize) -> f64 {
    let (kept, rest) = values.split_at(kept);
    let (kept, rest): (f64, f64) = (kept.iter().sum(), rest.iter().sum());
    // All neighbours may coincide with the point.
    if kept > 0.0 { rest / kept } else { 0.0 }
}

/// The columns of `W_i`.
fn several(plain: &[f64], vectors: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let count = vectors.len() as f64;
    let sums: Vec<f64> = vectors.iter().map(|v| v.iter().sum()).collect();
    let alpha = norm(&sums) / count.sqrt();
    let mut h: Vec<f64> = sums.iter().map(|sum| alpha - sum).collect();
    let length = norm(&h);
    // The sums may be equal already.
    h.iter_mut().for_each(|x| *x = if length > 1e-12 { *x / length } else { 0.0 });
    let mirrored = |a: usize| vectors.iter().zip(&h).map(|(v, h)| v[a] * h).sum::<f64>();
    let mirrored: Vec<f64> = (0..plain.len()).map(mirrored).collect();
    let column = |(v, h): (&Vec<f64>, &f64)| {
        let entry = |a: usize| (1.0 - alpha) * plain[a] + v[a] - 2.0 * mirrored[a] * h;
        (0..plain.len()).map(entry).collect()
    };
    vectors.iter().zip(&h).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_a_points_weights_sums_to_one() {
        let point = [0.1f32, 0.2];
        let rows: [&[f32]; 5] = [&[1.0, 0.0], &[0.0, 1.0], &[-1.0, 0.3], &[0.2, -0.9], &[0.5, 0.6]];
        let plain = weights(&point, &rows, 1e-3);
        let found = several(&plain, &last(&spectrum(&offsets(&point, &rows)).unwrap(), 3));
        assert_eq!(found.len(), 3);
        for weights in found {
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            // Three directions are free for two dimensions: each reconstructs the point up to the plain weights' own error.
            let place = |d: usize| weights.iter().zip(&rows).map(|(w, x)| w * f64::from(x[d])).sum::<f64>();
            assert!((0..2).all(|d| (place(d) - f64::from(point[d])).abs() < 1e-3));
        }
    }
}
