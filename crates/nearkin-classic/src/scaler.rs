//! Scaling of columns, which is chosen and not implied.

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use crate::error::ClassicError;
use crate::input::{check, check_columns};
use crate::linear::LinearMap;
use crate::{Matrix, algebra};

/// `(x − mean) / scale`, column by column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaler {
    /// Leaves all as it is.
    pub fn none(dims: usize) -> Self {
        Self { mean: vec![0.0; dims], scale: vec![1.0; dims] }
    }

    /// Mean 0 and standard deviation 1 (of the population: divided by n). A constant column has no deviation to divide by:
    /// it becomes 0.
    ///
    /// # Errors
    /// No samples, or a value that is not finite.
    pub fn standardise(vectors: Vectors<'_>) -> Result<Self, ClassicError> {
        check(vectors, 1, "a mean is taken")?;
        let mean = algebra::mean(vectors);
        let mut squares = vec![0.0; vectors.dim()];
        let mut varies = vec![false; vectors.dim()];
        let first = vectors.row(0);
        for row in vectors.data().chunks_exact(vectors.dim()) {
            for (c, x) in row.iter().enumerate() {
                squares[c] += (f64::from(*x) - mean[c]).powi(2);
                varies[c] |= *x != first[c];
            }
        }
        let deviation = |(square, varies): (f64, bool)| match varies {
            true => (square / vectors.len() as f64).sqrt(),
            false => 1.0,
        };
        // The mean of a constant column is rounded: its value is exact.
        let mean = mean.iter().zip(first).zip(&varies).map(|((m, x), v)| if *v { *m } else { f64::from(*x) });
        Ok(Self { mean: mean.collect(), scale: squares.into_iter().zip(varies).map(deviation).collect() })
    }

    /// What is subtracted from each column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What each column is divided by.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// The scaled samples, row-major.
    ///
    /// # Errors
    /// When the samples have another number of columns.
    pub fn transform(&self, vectors: Vectors<'_>) -> Result<Vec<f32>, ClassicError> {
        check_columns(vectors, self.mean.len())?;
        let scaled = |(at, x): (usize, &f32)| {
            let c = at % self.mean.len();
            ((f64::from(*x) - self.mean[c]) / self.scale[c]) as f32
        };
        Ok(vectors.data().iter().enumerate().map(scaled).collect())
    }

    /// The same as a map.
    pub fn map(&self) -> LinearMap {
        let d = self.mean.len();
        let matrix = Matrix::from_fn(d, d, |r, c| if r == c { 1.0 / self.scale[c] } else { 0.0 });
        LinearMap::of(self.mean.clone(), matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standardised_column_has_mean_0_and_deviation_1_and_a_constant_one_becomes_0() {
        let table = [1.0, 0.1, 3.0, 0.1, 5.0, 0.1, 7.0, 0.1];
        let vectors = Vectors::new(&table, 2).unwrap();
        let scaler = Scaler::standardise(vectors).unwrap();
        assert_eq!((scaler.mean()[0], scaler.scale()[0]), (4.0, 5f64.sqrt()));
        let scaled = scaler.transform(vectors).unwrap();
        assert_eq!(scaled[1], 0.0);
        assert!((scaled[0] + 3.0 / 5f32.sqrt()).abs() < 1e-6);
        assert_eq!(scaler.map().transform(vectors).unwrap(), scaled);
        assert_eq!(Scaler::none(2).transform(vectors).unwrap(), table);
        assert!(scaler.transform(Vectors::new(&[1.0], 1).unwrap()).is_err());
    }

    #[test]
    fn a_missing_value_is_refused_with_its_place() {
        let table = [1.0, 0.1, 3.0, f32::NAN];
        let error = Scaler::standardise(Vectors::new(&table, 2).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("sample 1 holds NaN in column 1"), "{error}");
    }
}
