//! Principal component analysis.
//!
//! K. Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space", 1901. The rows of the map are the `k`
//! orthonormal eigenvectors of largest eigenvalue of the covariance
//!
//! ```text
//! C = (1 / (n − 1)) Σ_i (x_i − x̄)(x_i − x̄)ᵀ
//! ```
//!
//! Cost: `2 n d²` exactly, `20 n d (k + 10)` randomised; more at [`Solver`].
//!
//! When to use it: columns are many and correlated, or before a method whose cost grows with them.
//!
//! ```
//! use nearkin_classic::Pca;
//! use nearkin_sweep::Vectors;
//!
//! // Points near a line.
//! let table = [0.0, 0.1, 1.0, 0.9, 2.0, 2.1, 3.0, 2.9];
//! let fitted = Pca::new(1).fit(Vectors::new(&table, 2)?)?;
//! assert!(fitted.how.values[0] > 0.99 * fitted.how.total);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix, gram, mean, orthonormal_rows, point, project, pull_back, scatter};
use crate::error::ClassicError;
use crate::input::{check, dims};
use crate::linear::{Fitted, LinearMap, Spectrum};
use crate::random::{normals, stream};

/// How the components are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Solver {
    /// All eigenvectors of the d × d covariance, or of the n × n matrix of products where there are fewer samples than
    /// dimensions. Cost: `2 n d² + O(d³)` (or with n and d exchanged); memory: a few of the smaller matrix, 4 at least while it is summed up.
    #[default]
    Exact,
    /// The span of the products with `k + 10` random vectors, after 4 rounds of power iteration (N. Halko, P. Martinsson,
    /// J. Tropp, "Finding Structure with Randomness", 2011, algorithms 4.4 and 5.1). Cost: `20 n d (k + 10)`; memory:
    /// `8 (n + d) (k + 10)` bytes. For few components of many dimensions.
    Randomised {
        /// Of the random vectors.
        seed: u64,
    },
}

/// Settings of PCA. The variances are those of the samples, divided by `n − 1`.
///
/// Directions without variance may be asked for: their coordinate is 0 for every sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pca {
    dims: usize,
    solver: Solver,
}

/// Random vectors beyond those asked for, and rounds of power iteration.
const SPARE: usize = 10;
const ROUNDS: usize = 4;

impl Pca {
    /// To this many dimensions.
    pub fn new(dims: usize) -> Self {
        Self { dims, solver: Solver::Exact }
    }

    /// Found in this way.
    #[must_use]
    pub fn solver(self, solver: Solver) -> Self {
        Self { solver, ..self }
    }

    /// Finds the components. Each has its entry of largest magnitude positive.
    ///
    /// # Errors
    /// Fewer than two samples; values that are not finite; more dimensions than samples or columns.
    pub fn fit(&self, vectors: Vectors<'_>) -> Result<Fitted<Spectrum>, ClassicError> {
        check(vectors, 2, "a variance is taken")?;
        let (n, d) = (vectors.len(), vectors.dim());
        let k = dims(Some(self.dims), n.min(d), "there are no more directions than samples or columns")?;
        let offset = mean(vectors);
        let (mut squares, components, total) = match self.solver {
            Solver::Exact if n >= d => {
                let eigen = Eigen::new(&scatter(vectors, &offset))?;
                let total = eigen.values.iter().sum();
                (eigen.values, eigen.vectors.head(k), total)
            }
            Solver::Exact => of_gram(vectors, &offset, k)?,
            Solver::Randomised { seed } => randomised(vectors, &offset, k, seed)?,
        };
        let variance = |square: &mut f64| *square = square.max(0.0) / (n - 1) as f64;
        squares.truncate(k);
        squares.iter_mut().for_each(variance);
        let spectrum = Spectrum { values: squares, total: total / (n - 1) as f64 };
        Ok(Fitted { map: LinearMap::of(offset, components), how: spectrum })
    }
}

/// `X Xᵀ u = σ² u` gives the component `Xᵀ u / σ`.
fn of_gram(vectors: Vectors<'_>, offset: &[f64], k: usize) -> Result<(Vec<f64>, Matrix, f64), ClassicError> {
    let eigen = Eigen::new(&gram(vectors, offset))?;
    let (rank, n) = (eigen.rank(), vectors.len());
    let known = k.min(rank);
    let u = eigen.vectors.head(known).transposed();
    let components = pull_back(u.data(), known.max(1), vectors, offset);
    // The products are orthogonal up to rounding; directions of no variance, if asked for, complete the basis.
    let padded = Matrix::from_fn(k, vectors.dim(), |r, c| match r < known {
        true => components.row(r)[c] / eigen.values[r].sqrt(),
        false => 0.0,
    });
    let mut components = complete(padded, known);
    (0..k).for_each(|r| point(components.row_mut(r)));
    let total = eigen.values.iter().take(n).sum();
    Ok((eigen.values, components, total))
}

/// Fills the rows from `known` on with unit vectors orthogonal to all before: Gram and Schmidt on the axes, twice over.
fn complete(mut basis: Matrix, known: usize) -> Matrix {
    let mut axis = 0;
    for r in known..basis.rows() {
        loop {
            let mut row = vec![0.0; basis.columns()];
            row[axis] = 1.0;
            axis += 1;
            for _ in 0..2 {
                for other in 0..r {
                    let along = crate::algebra::dot(basis.row(other), &row);
                    row.iter_mut().zip(basis.row(other)).for_each(|(x, b)| *x -= along * b);
                }
            }
            let length = crate::algebra::dot(&row, &row).sqrt();
            // Some axis sticks out of every proper subspace by at least 1/√d.
            if length * (basis.columns() as f64).sqrt() > 0.5 {
                basis.row_mut(r).iter_mut().zip(&row).for_each(|(b, x)| *b = x / length);
                break;
            }
        }
    }
    basis
}

/// The components within the span that power iteration finds.
fn randomised(
    vectors: Vectors<'_>,
    offset: &[f64],
    k: usize,
    seed: u64,
) -> Result<(Vec<f64>, Matrix, f64), ClassicError> {
    let (n, d) = (vectors.len(), vectors.dim());
    let width = (k + SPARE).min(n.min(d));
    let mut basis = Matrix::new(width, d, normals(&mut stream(seed), width * d))?;
    for _ in 0..=ROUNDS {
        basis = orthonormal_rows(&pull_back(&project(vectors, offset, &basis), width, vectors, offset));
    }
    // Within the span, exact: the covariance of the coordinates.
    let coordinates = Matrix::new(n, width, project(vectors, offset, &basis))?;
    let eigen = Eigen::new(&coordinates.squared().symmetric())?;
    let mut components = eigen.vectors.head(k).times(&basis);
    (0..k).for_each(|r| point(components.row_mut(r)));
    let squares = vectors.data().chunks_exact(d);
    let total =
        squares.flat_map(|row| row.iter().zip(offset)).map(|(x, o)| (f64::from(*x) - o).powi(2)).sum();
    Ok((eigen.values, components, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_cross_has_its_axes() {
        // Variances: (9 + 9) / 3 along the second axis, (1 + 1) / 3 along the first.
        let cross = [5.0, 5.0, 5.0, -1.0, 6.0, 2.0, 4.0, 2.0];
        let vectors = Vectors::new(&cross, 2).unwrap();
        let fitted = Pca::new(2).fit(vectors).unwrap();
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(&fitted.how.values, &[6.0, 2.0 / 3.0]), "{:?}", fitted.how);
        assert!((fitted.how.total - 20.0 / 3.0).abs() < 1e-12);
        assert!(close(fitted.map.matrix().data(), &[0.0, 1.0, 1.0, 0.0]));
        assert_eq!(fitted.map.offset(), [5.0, 2.0]);
    }

    fn table(n: usize, d: usize) -> Vec<f32> {
        let noise = normals(&mut stream(1), n * d);
        (0..n * d).map(|at| (noise[at] / (1.0 + (at % d) as f64)) as f32).collect()
    }

    #[test]
    fn all_three_ways_agree() {
        for (n, d) in [(60, 20), (20, 60)] {
            let table = table(n, d);
            let vectors = Vectors::new(&table, d).unwrap();
            let exact = Pca::new(4).fit(vectors).unwrap();
            let random = Pca::new(4).solver(Solver::Randomised { seed: 3 }).fit(vectors).unwrap();
            // By the covariance, also where there are fewer samples than dimensions.
            let eigen = Eigen::new(&scatter(vectors, &mean(vectors))).unwrap();
            assert!((random.how.total - exact.how.total).abs() < 1e-9);
            for k in 0..4 {
                let wanted = eigen.values[k] / (n - 1) as f64;
                assert!((exact.how.values[k] - wanted).abs() < 1e-9 * wanted);
                assert!((random.how.values[k] - wanted).abs() < 1e-4 * wanted, "{k}: {:?}", random.how);
                let along = |fitted: &Fitted<Spectrum>| {
                    crate::algebra::dot(fitted.map.matrix().row(k), eigen.vectors.row(k))
                };
                assert!((along(&exact) - 1.0).abs() < 1e-9 && along(&random) > 0.999, "{}", along(&random));
            }
        }
    }

    #[test]
    fn directions_of_no_variance_stay_orthonormal() {
        // Three samples on a line, in four dimensions: one direction varies.
        let table = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0];
        let fitted = Pca::new(3).fit(Vectors::new(&table, 4).unwrap()).unwrap();
        let a = fitted.map.matrix();
        let products = a.times(&a.transposed());
        assert!(
            products.data().iter().zip(Matrix::identity(3, 3).data()).all(|(a, b)| (a - b).abs() < 1e-12)
        );
        assert!(fitted.how.values[1].abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let table = [1.0, 2.0, f32::NAN, 4.0];
        let two = Vectors::new(&table, 2).unwrap();
        assert!(matches!(Pca::new(1).fit(two), Err(ClassicError::NotFinite { row: 1, column: 0, .. })));
        assert!(matches!(
            Pca::new(3).fit(Vectors::new(&table[..2], 1).unwrap()),
            Err(ClassicError::Dims { most: 1, .. })
        ));
        assert!(matches!(
            Pca::new(1).fit(Vectors::new(&table[..2], 2).unwrap()),
            Err(ClassicError::TooFew { .. })
        ));
    }
}
