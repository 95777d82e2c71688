//! Linear maps, and the methods that find one: a page a method, with its formula, source, cost, and an example.

pub mod dca;
mod graphical_lasso;
pub mod itml;
pub mod lda;
pub mod lfda;
pub mod lmnn;
pub mod lsml;
pub mod mlkr;
pub mod mmc;
pub mod nca;
mod neighbours;
pub mod pca;
pub mod projection;
pub mod rca;
pub mod scml;
pub mod sdml;
pub mod start;
pub mod whitening;

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use crate::algebra::{Matrix, dot, project};
use crate::error::ClassicError;
use crate::input::check_columns;
use crate::mahalanobis::Mahalanobis;
use crate::scaler::Scaler;

/// `z = A (x − offset)`: what every linear method learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct LinearMap {
    offset: Vec<f64>,
    matrix: Matrix,
}

/// What a map is read from, before its shape is checked.
#[derive(Deserialize)]
struct Parts {
    offset: Vec<f64>,
    matrix: Matrix,
}

impl TryFrom<Parts> for LinearMap {
    type Error = ClassicError;

    fn try_from(parts: Parts) -> Result<Self, ClassicError> {
        Self::new(parts.offset, parts.matrix)
    }
}

impl LinearMap {
    /// From what is subtracted, one value an input dimension, and the matrix `A`, out × in.
    ///
    /// # Errors
    /// When the two do not fit, or there is a dimension of 0.
    pub fn new(offset: Vec<f64>, matrix: Matrix) -> Result<Self, ClassicError> {
        if offset.len() != matrix.columns() || matrix.rows() == 0 || matrix.columns() == 0 {
            let found = format!("{} x {}", matrix.rows(), matrix.columns());
            let wanted = format!("at least 1 x {}, as the offset has", offset.len());
            return Err(ClassicError::Shape { what: "the matrix of a linear map", found, wanted });
        }
        Ok(Self { offset, matrix })
    }

    /// The same where the shapes are known to fit.
    pub(crate) fn of(offset: Vec<f64>, matrix: Matrix) -> Self {
        debug_assert_eq!(offset.len(), matrix.columns());
        Self { offset, matrix }
    }

    /// What is subtracted from a sample.
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// `A`, out × in.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// The images of samples, row-major. Cost: `2 n d k` operations.
    ///
    /// # Errors
    /// When the samples have another dimension than those of the fit.
    pub fn transform(&self, vectors: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        check_columns(vectors, self.offset.len())?;
        Ok(project(vectors, &self.offset, &self.matrix).into_iter().map(|z| z as f32).collect())
    }

    /// The metric on samples that is the Euclidean distance of their images: `M = AᵀA`.
    pub fn metric(&self) -> Mahalanobis {
        Mahalanobis::of_factor(&self.matrix)
    }

    /// The map of samples that are scaled first, as one map.
    ///
    /// # Errors
    /// When the scaler has another number of columns.
    pub fn after(&self, scaler: &Scaler) -> Result<Self, ClassicError> {
        let (mean, scale) = (scaler.mean(), scaler.scale());
        if mean.len() != self.offset.len() {
            let found = format!("{} columns", mean.len());
            return Err(ClassicError::Shape {
                what: "a scaler",
                found,
                wanted: self.offset.len().to_string(),
            });
        }
        let offset = (0..mean.len()).map(|c| mean[c] + scale[c] * self.offset[c]).collect();
        let (rows, columns) = (self.matrix.rows(), self.matrix.columns());
        let matrix = Matrix::from_fn(rows, columns, |r, c| self.matrix.row(r)[c] / scale[c]);
        Ok(Self { offset, matrix })
    }

    /// How much each input column counts: the length of its column of `A`, most telling first, as (column, length). Columns
    /// must be of one scale for this to compare them.
    pub fn telling_columns(&self) -> Vec<(usize, f64)> {
        let columns = self.matrix.transposed();
        let mut found: Vec<(usize, f64)> =
            (0..columns.rows()).map(|c| (c, dot(columns.row(c), columns.row(c)).sqrt())).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found
    }
}

/// A map, and how it was found: a [`Spectrum`], a [`Descent`](crate::Descent), ITML's [`Projections`](crate::Projections),
/// or SDML's [`Certified`](crate::Certified).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fitted<How> {
    /// What was learned.
    pub map: LinearMap,
    /// How.
    pub how: How,
}

/// The eigenvalues behind a map, one an output dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// In descending order: variances, or ratios of scatter between to scatter within classes.
    pub values: Vec<f64>,
    /// The sum over all directions, also those that were left out.
    pub total: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_map_moves_samples_and_measures_as_its_metric_does() {
        let map = LinearMap::new(vec![1.0, 0.0], Matrix::new(1, 2, vec![2.0, -1.0]).unwrap()).unwrap();
        let table = [1.0, 0.0, 3.0, 1.0];
        let vectors = Vectors::new(&table, 2).unwrap();
        assert_eq!(map.transform(vectors).unwrap(), [0.0, 3.0]);
        assert_eq!(map.metric().matrix().data(), [4.0, -2.0, -2.0, 1.0]);
        assert_eq!(map.metric().distance(vectors.row(0), vectors.row(1)).unwrap(), 3.0);
        assert_eq!(map.telling_columns(), [(0, 2.0), (1, 1.0)]);
        assert!(map.transform(Vectors::new(&table, 4).unwrap()).is_err());
    }

    #[test]
    fn a_map_after_a_scaler_is_one_map() {
        let table = [1.0, 0.5, 3.0, 1.0, -2.0, 4.0];
        let vectors = Vectors::new(&table, 2).unwrap();
        let scaler = Scaler::standardise(vectors).unwrap();
        let map = LinearMap::new(vec![0.25, -1.0], Matrix::new(1, 2, vec![2.0, -1.0]).unwrap()).unwrap();
        let scaled = scaler.transform(vectors).unwrap();
        let twice = map.transform(Vectors::new(&scaled, 2).unwrap()).unwrap();
        let once = map.after(&scaler).unwrap().transform(vectors).unwrap();
        assert!(once.iter().zip(&twice).all(|(a, b)| (a - b).abs() < 1e-5), "{once:?} {twice:?}");
    }

    #[test]
    fn a_map_survives_being_written_and_a_torn_one_is_refused() {
        let map = LinearMap::new(vec![1.0, 0.1], Matrix::new(1, 2, vec![0.3, -1.0]).unwrap()).unwrap();
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<LinearMap>(&text).unwrap(), map);
        assert!(serde_json::from_str::<LinearMap>(&text.replace("[1.0,0.1]", "[1.0]")).is_err());
        assert!(LinearMap::new(vec![], Matrix::zeros(1, 0)).is_err());
    }
}
