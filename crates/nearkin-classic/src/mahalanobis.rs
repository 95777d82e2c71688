//! The Mahalanobis metric as a value.

use serde::{Deserialize, Serialize};

use crate::algebra::{Eigen, Matrix};
use crate::error::ClassicError;

/// `d(a, b) = √((a − b)ᵀ M (a − b))` with a symmetric positive semi-definite `M`: P. C. Mahalanobis, 1936, had the inverse
/// covariance there. With `M = LᵀL` it is the Euclidean distance between `L a` and `L b`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mahalanobis {
    matrix: Matrix,
}

impl Mahalanobis {
    /// The metric nearest to a matrix: its symmetric part with negative eigenvalues set to 0, which is the nearest positive
    /// semi-definite matrix by Frobenius norm (N. Higham, "Computing a nearest symmetric positive semidefinite matrix", 1988).
    ///
    /// # Errors
    /// When the matrix is not square, or not finite.
    pub fn nearest(matrix: &Matrix) -> Result<Self, ClassicError> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        if rows != columns || rows == 0 {
            let found = format!("{rows} x {columns}");
            return Err(ClassicError::Shape { what: "a metric", found, wanted: "a square matrix".into() });
        }
        let symmetric = matrix.symmetric();
        let eigen = Eigen::new(&symmetric)?;
        if eigen.values.iter().all(|value| *value >= 0.0) {
            return Ok(Self { matrix: symmetric });
        }
        Ok(Self::of_factor(&eigen.vectors.scale_rows(|r| eigen.values[r].max(0.0).sqrt())))
    }

    /// `M = LᵀL`.
    pub(crate) fn of_factor(factor: &Matrix) -> Self {
        Self { matrix: factor.squared().symmetric() }
    }

    /// `M`, d × d.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// `L` with `LᵀL = M`: as many rows as `M` has rank (at least one), the most telling direction first.
    ///
    /// # Errors
    /// When the matrix is not finite.
    pub fn factor(&self) -> Result<Matrix, ClassicError> {
        let eigen = Eigen::new(&self.matrix)?;
        let rank = eigen.rank().max(1);
        Ok(eigen.vectors.head(rank).scale_rows(|r| eigen.values[r].max(0.0).sqrt()))
    }

    /// The distance of two samples.
    ///
    /// # Errors
    /// When they differ in dimension from the metric.
    pub fn distance(&self, a: &[f32], b: &[f32]) -> Result<f64, ClassicError> {
        let dims = self.matrix.rows();
        if a.len() != dims || b.len() != dims {
            let found = format!("{} and {} dimensions", a.len(), b.len());
            return Err(ClassicError::Shape { what: "two samples", found, wanted: format!("{dims}") });
        }
        let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        let image = (0..dims).map(|r| crate::algebra::dot(self.matrix.row(r), &difference));
        Ok(image.zip(&difference).map(|(y, d)| y * d).sum::<f64>().max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_metric_has_its_distance_and_its_factor() {
        let metric = Mahalanobis::nearest(&Matrix::new(2, 2, vec![4.0, 0.0, 0.0, 9.0]).unwrap()).unwrap();
        assert_eq!(metric.distance(&[0.0, 0.0], &[2.0, 1.0]).unwrap(), 5.0);
        let factor = metric.factor().unwrap();
        assert_eq!(factor.data().iter().map(|x| x.round()).collect::<Vec<_>>(), [0.0, 3.0, 2.0, 0.0]);
        assert!(metric.distance(&[0.0], &[2.0, 1.0]).is_err());
    }

    #[test]
    fn the_nearest_metric_drops_negative_eigenvalues() {
        // Eigenvalues 3 and −1 along (1, 1) and (1, −1): what stays is 3/2 everywhere.
        let metric = Mahalanobis::nearest(&Matrix::new(2, 2, vec![1.0, 2.0, 2.0, 1.0]).unwrap()).unwrap();
        assert!(metric.matrix().data().iter().all(|x| (x - 1.5).abs() < 1e-12));
        assert_eq!(metric.factor().unwrap().rows(), 1);
        assert!(Mahalanobis::nearest(&Matrix::zeros(1, 2)).is_err());
        assert!(Mahalanobis::nearest(&Matrix::new(1, 1, vec![f64::NAN]).unwrap()).is_err());
    }
}
