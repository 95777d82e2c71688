//! Embeddings on a plane.

use nearkin_sweep::Vectors;

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;
use crate::scatter::Centred;

/// Points whose coordinate is within this of the largest count as largest, so that rounding does not choose a
/// sign.
const SAME: f64 = 1e-9;

/// The first two principal components of `vectors` (Pearson 1901), one point a vector, in the units of the
/// vectors.
///
/// An axis without variance (one dimension, one vector, all on a line) is 0. Each axis points so that its
/// coordinate of largest magnitude is positive, the lowest row deciding ties; so the picture does not flip
/// from run to run. Two components of equal variance span a plane, and any rotation of it may be returned.
///
/// Cost: as [`spectrum`](crate::spectrum), with eigenvectors.
///
/// # Errors
/// No vectors, or a value that is not finite (its row is named).
pub fn pca_2d(vectors: Vectors<'_>) -> Result<Vec<[f32; 2]>, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    let centred = Centred::new(vectors);
    let principal = centred.principal(true)?;
    let mut points = vec![[0.0; 2]; vectors.len()];
    for (axis, &variance) in principal.values.iter().take(2).enumerate() {
        if variance == 0.0 {
            continue;
        }
        let direction = principal.vectors.col(axis);
        let mut coordinates: Vec<f64> = if centred.is_tall() {
            (0..vectors.len())
                .map(|i| centred.row(i).zip(direction.iter()).map(|(x, v)| x * v).sum())
                .collect()
        } else {
            // X Xᵀ u = σ² u: the coordinates are σ u.
            direction.iter().map(|u| u * variance.sqrt()).collect()
        };
        let largest = coordinates.iter().fold(0f64, |largest, c| largest.max(c.abs()));
        if coordinates.iter().find(|c| c.abs() >= largest * (1.0 - SAME)).is_some_and(|c| *c < 0.0) {
            coordinates.iter_mut().for_each(|c| *c = -*c);
        }
        points.iter_mut().zip(coordinates).for_each(|(point, c)| point[axis] = c as f32);
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &[f32], dim: usize) -> Vec<[f32; 2]> {
        pca_2d(Vectors::new(data, dim).unwrap()).unwrap()
    }

    fn close(found: &[[f32; 2]], wanted: &[[f32; 2]]) {
        assert_eq!(found.len(), wanted.len());
        for (a, b) in found.iter().flatten().zip(wanted.iter().flatten()) {
            assert!((a - b).abs() < 1e-5, "{found:?} is not {wanted:?}");
        }
    }

    #[test]
    fn a_shifted_cross_comes_back_centred_with_the_long_axis_first() {
        let cross = [5.0, 5.0, 5.0, -1.0, 6.0, 2.0, 4.0, 2.0];
        close(&of(&cross, 2), &[[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]);
    }

    #[test]
    fn the_wide_path_gives_the_same_points_as_the_tall_one() {
        let cross: Vec<f32> = [[5.0, 5.0], [5.0, -1.0], [6.0, 2.0], [4.0, 2.0]]
            .iter()
            .flat_map(|&[x, y]| [x, 0.0, y, 1.0, 2.0, 3.0])
            .collect();
        close(&of(&cross, 6), &[[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]);
    }

    #[test]
    fn axes_without_variance_are_zero() {
        close(&of(&[1.0, 3.0, 2.0], 1), &[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]);
        assert_eq!(of(&[4.0, 5.0, 6.0], 3), [[0.0, 0.0]]);
        assert_eq!(of(&[7.0; 8], 2), [[0.0, 0.0]; 4]);
    }

    #[test]
    fn the_points_are_the_same_on_any_number_of_threads() {
        let data: Vec<f32> = (0..150 * 70u64).map(|i| (i * 2_654_435_761 % 1009) as f32 / 1009.0).collect();
        let on = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| of(&data, 70))
        };
        assert_eq!(on(1), on(4));
    }
}
