//! The scatter matrix of centred embeddings and its eigenvalues.

use std::ops::Range;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use nearkin_sweep::Vectors;
use rayon::prelude::*;

use crate::error::EvalError;

/// Terms of the scatter sum converted to f64 at a time.
const CHUNK: usize = 512;
/// Columns of the scatter matrix that one thread owns.
const COLUMNS: usize = 64;

/// Embeddings less their mean, in f64.
pub(crate) struct Centred<'a> {
    vectors: Vectors<'a>,
    mean: Vec<f64>,
}

/// Eigenvalues and eigenvectors of `XᵀX` (dim × dim) or `XXᵀ` (n × n), whichever is smaller; the nonzero
/// eigenvalues are the same, and their roots are the singular values of the centred embeddings `X`.
pub(crate) struct Principal {
    /// Descending. Values within rounding of 0 are 0.
    pub(crate) values: Vec<f64>,
    /// Column `i` belongs to `values[i]`.
    pub(crate) vectors: Mat<f64>,
}

impl<'a> Centred<'a> {
    pub(crate) fn new(vectors: Vectors<'a>) -> Self {
        let mut mean = vec![0.0; vectors.dim()];
        for row in vectors.data().chunks_exact(vectors.dim()) {
            mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        mean.iter_mut().for_each(|m| *m /= vectors.len() as f64);
        Self { vectors, mean }
    }

    /// The same embeddings, nothing taken from them.
    pub(crate) fn at_origin(vectors: Vectors<'a>) -> Self {
        Self { vectors, mean: vec![0.0; vectors.dim()] }
    }

    /// Whether the scatter matrix is dim × dim.
    pub(crate) fn is_tall(&self) -> bool {
        self.vectors.len() >= self.vectors.dim()
    }

    /// Row `i`.
    pub(crate) fn row(&self, i: usize) -> impl Iterator<Item = f64> + '_ {
        self.vectors.row(i).iter().zip(&self.mean).map(|(&x, m)| f64::from(x) - m)
    }

    /// Columns of the wide side: rows of `X` when it is tall, else its columns; `side` values each.
    fn terms(&self, range: Range<usize>, terms: &mut Vec<f64>) {
        terms.clear();
        if self.is_tall() {
            range.for_each(|i| terms.extend(self.row(i)));
        } else {
            for d in range {
                terms.extend(
                    (0..self.vectors.len()).map(|i| f64::from(self.vectors.row(i)[d]) - self.mean[d]),
                );
            }
        }
    }

    /// The lower triangle of the scatter matrix, column-major. Each thread owns columns, so the order of
    /// every sum is fixed.
    fn scatter(&self) -> Vec<f64> {
        let (n, dim) = (self.vectors.len(), self.vectors.dim());
        let (side, inner) = (n.min(dim), n.max(dim));
        let mut scatter = vec![0.0; side * side];
        let mut terms = Vec::with_capacity(side * CHUNK.min(inner));
        for first in (0..inner).step_by(CHUNK) {
            let end = (first + CHUNK).min(inner);
            self.terms(first..end, &mut terms);
            let terms = MatRef::from_column_major_slice(&terms, side, end - first);
            scatter.par_chunks_mut(side * COLUMNS).enumerate().for_each(|(owner, columns)| {
                let (top, width) = (owner * COLUMNS, columns.len() / side);
                let below =
                    MatMut::from_column_major_slice_mut(columns, side, width).subrows_mut(top, side - top);
                let (left, right) = (terms.subrows(top, side - top), terms.subrows(top, width).transpose());
                matmul(below, Accum::Add, left, right, 1.0, Par::Seq);
            });
        }
        scatter
    }

    /// Eigenvalues alone when `with_vectors` is false: about three times as fast.
    pub(crate) fn principal(&self, with_vectors: bool) -> Result<Principal, EvalError> {
        let scatter = self.scatter();
        let side = self.vectors.len().min(self.vectors.dim());
        let (ascending, vectors) =
            eigen(MatRef::from_column_major_slice(&scatter, side, side), with_vectors)?;
        let rounding = ascending[side - 1] * side as f64 * f64::EPSILON;
        let values =
            ascending.iter().rev().map(|&value| if value > rounding { value } else { 0.0 }).collect();
        Ok(Principal { values, vectors: vectors.reverse_cols().to_owned() })
    }
}

/// Eigenvalues of a symmetric matrix, of which the lower triangle is read, ascending; and its eigenvectors as columns, if wanted.
pub(crate) fn eigen(matrix: MatRef<'_, f64>, with_vectors: bool) -> Result<(Vec<f64>, Mat<f64>), EvalError> {
    let side = matrix.nrows();
    let mut values = faer::diag::Diag::<f64>::zeros(side);
    let mut vectors = if with_vectors { Mat::zeros(side, side) } else { Mat::new() };
    // Sequential on purpose: faer's parallel reductions depend on the number of threads.
    let wanted = if with_vectors { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
    let mut scratch =
        MemBuffer::new(self_adjoint_evd_scratch::<f64>(side, wanted, Par::Seq, Default::default()));
    self_adjoint_evd(
        matrix,
        values.as_mut(),
        with_vectors.then(|| vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut scratch),
        Default::default(),
    )
    .map_err(|_| EvalError::NoConvergence { size: side })?;
    Ok((values.column_vector().iter().copied().collect(), vectors))
}
