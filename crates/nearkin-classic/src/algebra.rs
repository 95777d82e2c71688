//! Linear algebra in `f64`: the only place that knows faer. Products with samples read the `f32` table in strips, whose shape
//! depends on the table alone, and add their sums in order.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par, Side};
use nearkin_sweep::Vectors;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ClassicError;

/// A matrix of `f64`, row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

/// What a matrix is read from, before its shape is checked.
#[derive(Deserialize)]
struct Parts {
    rows: usize,
    columns: usize,
    data: Vec<f64>,
}

impl TryFrom<Parts> for Matrix {
    type Error = ClassicError;

    fn try_from(parts: Parts) -> Result<Self, ClassicError> {
        Self::new(parts.rows, parts.columns, parts.data)
    }
}

impl Matrix {
    /// From its values, row by row.
    ///
    /// # Errors
    /// When there are not `rows * columns` values.
    pub fn new(rows: usize, columns: usize, data: Vec<f64>) -> Result<Self, ClassicError> {
        if rows.checked_mul(columns) != Some(data.len()) {
            let found = format!("{} values", data.len());
            return Err(ClassicError::Shape {
                what: "a matrix",
                found,
                wanted: format!("{rows} x {columns}"),
            });
        }
        Ok(Self { rows, columns, data })
    }

    /// From a function of row and column.
    pub(crate) fn from_fn(rows: usize, columns: usize, mut value: impl FnMut(usize, usize) -> f64) -> Self {
        let data = (0..rows * columns).map(|at| value(at / columns, at % columns)).collect();
        Self { rows, columns, data }
    }

    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, data: vec![0.0; rows * columns] }
    }

    /// Ones on the diagonal, also where it is not square.
    pub fn identity(rows: usize, columns: usize) -> Self {
        Self::from_fn(rows, columns, |r, c| f64::from(u8::from(r == c)))
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All values, row by row.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// A row.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &[f64] {
        &self.data[r * self.columns..(r + 1) * self.columns]
    }

    #[inline(always)]
    pub(crate) fn row_mut(&mut self, r: usize) -> &mut [f64] {
        &mut self.data[r * self.columns..(r + 1) * self.columns]
    }

    /// The first rows.
    pub(crate) fn head(&self, rows: usize) -> Self {
        Self { rows, columns: self.columns, data: self.data[..rows * self.columns].to_vec() }
    }

    /// `Aᵀ`.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self::from_fn(self.columns, self.rows, |r, c| self.data[c * self.columns + r])
    }

    /// `A B`.
    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut out = Self::zeros(self.rows, other.columns);
        multiply(out.view_mut(), Accum::Replace, self.view(), other.view());
        out
    }

    /// `Aᵀ A`.
    pub(crate) fn squared(&self) -> Self {
        let mut out = Self::zeros(self.columns, self.columns);
        multiply(out.view_mut(), Accum::Replace, self.view().transpose(), self.view());
        out
    }

    /// `A B Aᵀ` for a symmetric `B`, symmetric to the last bit.
    pub(crate) fn around(&self, other: &Self) -> Self {
        self.times(other).times(&self.transposed()).symmetric()
    }

    /// `(A + Aᵀ) / 2`.
    pub(crate) fn symmetric(&self) -> Self {
        Self::from_fn(self.rows, self.columns, |r, c| {
            0.5 * (self.data[r * self.columns + c] + self.data[c * self.columns + r])
        })
    }

    /// `A + factor · B`.
    pub(crate) fn plus(&self, factor: f64, other: &Self) -> Self {
        let data = self.data.iter().zip(&other.data).map(|(a, b)| a + factor * b).collect();
        Self { data, ..*self }
    }

    /// Each row times a number of its own.
    pub(crate) fn scale_rows(mut self, by: impl Fn(usize) -> f64) -> Self {
        for r in 0..self.rows {
            let factor = by(r);
            self.row_mut(r).iter_mut().for_each(|x| *x *= factor);
        }
        self
    }

    pub(crate) fn trace(&self) -> f64 {
        (0..self.rows.min(self.columns)).map(|i| self.data[i * self.columns + i]).sum()
    }

    fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_row_major_slice(&self.data, self.rows, self.columns)
    }

    fn view_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_row_major_slice_mut(&mut self.data, self.rows, self.columns)
    }
}

fn multiply(out: MatMut<'_, f64>, accumulate: Accum, a: MatRef<'_, f64>, b: MatRef<'_, f64>) {
    matmul(out, accumulate, a, b, 1.0, Par::Seq);
}

/// Eigenvalues in descending order, and their eigenvectors as rows.
#[derive(Debug)]
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Matrix,
}

/// Eigenvalues below this part of the largest count as 0, times the number of rows. Samples are `f32`, so what is smaller is
/// rounding.
const RANK: f64 = 1e-12;

impl Eigen {
    /// Of a symmetric matrix. Each eigenvector has its component of largest magnitude positive.
    pub(crate) fn new(matrix: &Matrix) -> Result<Self, ClassicError> {
        let overflow = ClassicError::Overflow { what: "a covariance matrix" };
        if !matrix.data.iter().all(|x| x.is_finite()) {
            return Err(overflow);
        }
        let n = matrix.rows;
        let found = matrix.view().self_adjoint_eigen(Side::Lower).map_err(|_| overflow)?;
        let values = (0..n).rev().map(|i| found.S()[i]).collect();
        let mut vectors = Matrix::from_fn(n, n, |r, c| found.U()[(c, n - 1 - r)]);
        for r in 0..n {
            point(vectors.row_mut(r));
        }
        Ok(Self { values, vectors })
    }

    /// The power of the matrix that it is of, which is positive definite.
    pub(crate) fn power(&self, exponent: f64) -> Matrix {
        let scaled = self.vectors.clone().scale_rows(|r| self.values[r].powf(exponent));
        self.vectors.transposed().times(&scaled).symmetric()
    }

    /// How many eigenvalues are above 0 by more than rounding.
    pub(crate) fn rank(&self) -> usize {
        let floor =
            self.values.first().map_or(0.0, |largest| largest.abs() * RANK * self.values.len() as f64);
        self.values.iter().take_while(|value| **value > floor).count()
    }
}

/// Turns a direction so that its component of largest magnitude, the first of several, is positive.
pub(crate) fn point(direction: &mut [f64]) {
    let largest = direction.iter().fold(0f64, |most, x| most.max(x.abs()));
    // Equal but for rounding counts as equal, so that rounding does not choose the sign.
    if direction.iter().find(|x| x.abs() >= largest * (1.0 - 1e-9)).is_some_and(|x| *x < 0.0) {
        direction.iter_mut().for_each(|x| *x = -*x);
    }
}

/// An orthonormal basis of the rows' span, as rows.
pub(crate) fn orthonormal_rows(matrix: &Matrix) -> Matrix {
    let basis = matrix.view().transpose().qr().compute_thin_Q();
    Matrix::from_fn(basis.ncols(), basis.nrows(), |r, c| basis[(c, r)])
}

/// Samples that are read and multiplied together.
const STRIP: usize = 256;
/// Sums that are held side by side: as many as fit in this many values (64 MiB), within bounds.
const HELD: usize = 1 << 23;
const FEWEST_SUMS: usize = 4;
const MOST_SUMS: usize = 32;

/// The rows `first..first + count`, less the offset, as `f64`.
fn strip(vectors: Vectors<'_>, offset: &[f64], first: usize, count: usize, out: &mut Vec<f64>) {
    out.clear();
    let d = vectors.dim();
    for row in vectors.data()[first * d..(first + count) * d].chunks_exact(d) {
        out.extend(row.iter().zip(offset).map(|(x, o)| f64::from(*x) - o));
    }
}

/// `(x − offset) Aᵀ` of every sample, row-major. Cost: `2 n d k` operations.
pub(crate) fn project(vectors: Vectors<'_>, offset: &[f64], matrix: &Matrix) -> Vec<f64> {
    let mut out = vec![0.0; vectors.len() * matrix.rows];
    out.par_chunks_mut(STRIP * matrix.rows).enumerate().for_each_init(Vec::new, |samples, (at, out)| {
        let count = out.len() / matrix.rows;
        strip(vectors, offset, at * STRIP, count, samples);
        let samples = MatRef::from_row_major_slice(&samples[..], count, vectors.dim());
        let out = MatMut::from_row_major_slice_mut(out, count, matrix.rows);
        multiply(out, Accum::Replace, samples, matrix.view().transpose());
    });
    out
}

/// `Σ_i g_i (x_i − offset)ᵀ`, for `g` row-major with `dims` values a sample: a gradient with respect to projected samples,
/// chained to the projection. Cost: `2 n d k` operations.
pub(crate) fn pull_back(g: &[f64], dims: usize, vectors: Vectors<'_>, offset: &[f64]) -> Matrix {
    sum_of_strips(vectors, dims, |first, count, samples: &mut Vec<f64>, sum: &mut Matrix| {
        strip(vectors, offset, first, count, samples);
        let g = MatRef::from_row_major_slice(&g[first * dims..(first + count) * dims], count, dims);
        let samples = MatRef::from_row_major_slice(&samples[..], count, vectors.dim());
        multiply(sum.view_mut(), Accum::Add, g.transpose(), samples);
    })
}

/// `Σ_i (x_i − offset)(x_i − offset)ᵀ`. Cost: `2 n d²` operations.
pub(crate) fn scatter(vectors: Vectors<'_>, offset: &[f64]) -> Matrix {
    let sum =
        sum_of_strips(vectors, vectors.dim(), |first, count, samples: &mut Vec<f64>, sum: &mut Matrix| {
            strip(vectors, offset, first, count, samples);
            let samples = MatRef::from_row_major_slice(&samples[..], count, vectors.dim());
            multiply(sum.view_mut(), Accum::Add, samples.transpose(), samples);
        });
    sum.symmetric()
}

/// Adds up what each strip gives, a `rows` × d matrix: strips of a group in order, then the groups in order.
fn sum_of_strips(
    vectors: Vectors<'_>,
    rows: usize,
    add: impl Fn(usize, usize, &mut Vec<f64>, &mut Matrix) + Sync,
) -> Matrix {
    let n = vectors.len();
    let count = (HELD / (rows * vectors.dim()).max(1)).clamp(FEWEST_SUMS, MOST_SUMS);
    let group = n.div_ceil(count).next_multiple_of(STRIP).max(STRIP);
    let sums: Vec<Matrix> = (0..n.div_ceil(group))
        .into_par_iter()
        .map_init(Vec::new, |samples, at| {
            let (mut sum, end) = (Matrix::zeros(rows, vectors.dim()), ((at + 1) * group).min(n));
            for first in (at * group..end).step_by(STRIP) {
                add(first, STRIP.min(end - first), samples, &mut sum);
            }
            sum
        })
        .collect();
    sums.into_iter().reduce(|a, b| a.plus(1.0, &b)).unwrap_or_else(|| Matrix::zeros(rows, vectors.dim()))
}

/// `(x_i − offset) · (x_j − offset)` of all pairs.
pub(crate) fn gram(vectors: Vectors<'_>, offset: &[f64]) -> Matrix {
    let mut samples = Vec::new();
    strip(vectors, offset, 0, vectors.len(), &mut samples);
    Matrix { rows: vectors.len(), columns: vectors.dim(), data: samples }.transposed().squared()
}

/// The mean of each column; zeros of no samples.
pub(crate) fn mean(vectors: Vectors<'_>) -> Vec<f64> {
    let mut sums = vec![0.0; vectors.dim()];
    for row in vectors.data().chunks_exact(vectors.dim()) {
        sums.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
    }
    sums.iter_mut().for_each(|s| *s /= vectors.len().max(1) as f64);
    sums
}

/// `a · b`, in an order that runs in vectors and depends on the length alone: eight partial sums.
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += x * y;
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += x * y;
    }
    lanes.iter().sum()
}

/// `to += factor · vector`.
#[inline(always)]
pub(crate) fn add(to: &mut [f64], factor: f64, vector: &[f64]) {
    to.iter_mut().zip(vector).for_each(|(to, x)| *to += factor * x);
}

/// `‖a‖`.
pub(crate) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Solves `A x = b` in place for a small symmetric positive definite `A` of `b.len()` rows, whose lower triangle becomes its
/// Cholesky factor. `false` when `A` is not positive definite.
pub(crate) fn solve(a: &mut [f64], b: &mut [f64]) -> bool {
    let n = b.len();
    let earlier =
        |a: &[f64], i: usize, j: usize| -> f64 { (0..j).map(|p| a[i * n + p] * a[j * n + p]).sum() };
    for j in 0..n {
        let pivot = a[j * n + j] - earlier(a, j, j);
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        a[j * n + j] = pivot.sqrt();
        for i in j + 1..n {
            a[i * n + j] = (a[i * n + j] - earlier(a, i, j)) / a[j * n + j];
        }
    }
    for i in 0..n {
        let sum: f64 = (0..i).map(|p| a[i * n + p] * b[p]).sum();
        b[i] = (b[i] - sum) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|p| a[p * n + i] * b[p]).sum();
        b[i] = (b[i] - sum) / a[i * n + i];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_system() {
        let (mut a, mut b) = ([4.0, 0.0, 2.0, 5.0], [8.0, 16.0]);
        assert!(solve(&mut a, &mut b));
        assert_eq!(b, [0.5, 3.0]);
        assert!(!solve(&mut [1.0, 0.0, 2.0, 1.0], &mut [1.0, 1.0]));
    }

    #[test]
    fn eigenvalues_descend_and_eigenvectors_are_rows_that_point_up() {
        let eigen = Eigen::new(&Matrix::new(2, 2, vec![2.0, 1.0, 1.0, 2.0]).unwrap()).unwrap();
        assert!((eigen.values[0] - 3.0).abs() < 1e-14 && (eigen.values[1] - 1.0).abs() < 1e-14);
        let half = 0.5f64.sqrt();
        for (found, wanted) in eigen.vectors.data().iter().zip([half, half, half, -half]) {
            assert!((found - wanted).abs() < 1e-14, "{:?}", eigen.vectors);
        }
        let singular = Eigen::new(&Matrix::new(2, 2, vec![1.0, 1.0, 1.0, 1.0]).unwrap()).unwrap();
        assert_eq!(singular.rank(), 1);
    }

    #[test]
    fn products_in_strips_agree_with_sums_sample_by_sample() {
        let table: Vec<f32> = (0..3 * 20_000).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let (vectors, offset) = (Vectors::new(&table, 3).unwrap(), [0.5, -0.25, 0.0]);
        let matrix = Matrix::new(2, 3, vec![1.0, 2.0, 3.0, -1.0, 0.5, 0.0]).unwrap();
        let points = project(vectors, &offset, &matrix);
        let (mut back, mut square) = (Matrix::zeros(2, 3), Matrix::zeros(3, 3));
        for i in 0..vectors.len() {
            let x: Vec<f64> = vectors.row(i).iter().zip(offset).map(|(x, o)| f64::from(*x) - o).collect();
            for k in 0..2 {
                assert!((points[2 * i + k] - dot(matrix.row(k), &x)).abs() < 1e-12);
                back.row_mut(k).iter_mut().zip(&x).for_each(|(b, x)| *b += points[2 * i + k] * x);
            }
            for k in 0..3 {
                square.row_mut(k).iter_mut().zip(&x).for_each(|(s, y)| *s += x[k] * y);
            }
        }
        let close = |a: &Matrix, b: &Matrix| a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-7);
        assert!(close(&pull_back(&points, 2, vectors, &offset), &back));
        assert!(close(&scatter(vectors, &offset), &square));
    }

    #[test]
    fn a_matrix_of_another_shape_is_refused_also_when_it_is_read() {
        assert!(Matrix::new(2, 2, vec![0.0; 3]).unwrap_err().to_string().contains("3 values"));
        assert!(serde_json::from_str::<Matrix>(r#"{"rows":1,"columns":2,"data":[1.0]}"#).is_err());
    }
}
