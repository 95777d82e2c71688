//! Sparse matrices by rows, and the Cholesky factor of a symmetric one.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::sparse::linalg::cholesky::{LltRef, SymbolicCholesky, factorize_symbolic_cholesky};
use faer::sparse::{SparseColMatRef, SymbolicSparseColMatRef};
use faer::{Conj, MatMut, Par, Side};
use rayon::prelude::*;

use crate::error::ClassicError;

/// Rows that one thread multiplies at a time.
const ROWS: usize = 256;

/// A matrix; row `i` holds `values[starts[i]..starts[i + 1]]` in `columns`, ascending.
pub(crate) struct Sparse {
    pub(crate) starts: Vec<usize>,
    pub(crate) columns: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Sparse {
    /// From the entries of each row.
    pub(crate) fn from_rows(rows: Vec<Vec<(usize, f64)>>) -> Self {
        let mut starts = Vec::with_capacity(rows.len() + 1);
        starts.push(0);
        starts.extend(rows.iter().scan(0, |sum, row| {
            *sum += row.len();
            Some(*sum)
        }));
        let columns = rows.iter().flatten().map(|entry| entry.0).collect();
        let values = rows.iter().flatten().map(|entry| entry.1).collect();
        Self { starts, columns, values }
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Columns and values of row `i`.
    pub(crate) fn row(&self, i: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.starts[i]..self.starts[i + 1];
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// `y = A x`.
    pub(crate) fn multiply(&self, x: &[f64], y: &mut [f64]) {
        y.par_chunks_mut(ROWS).enumerate().for_each(|(chunk, y)| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = self.row(chunk * ROWS + i).map(|(j, value)| value * x[j]).sum();
            }
        });
    }

    /// Sums of the rows.
    pub(crate) fn row_sums(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.row(i).map(|entry| entry.1).sum()).collect()
    }

    /// Multiplies each entry by a factor of its row and column.
    pub(crate) fn scale(&mut self, factor: impl Fn(usize, usize) -> f64) {
        for i in 0..self.len() {
            for at in self.starts[i]..self.starts[i + 1] {
                self.values[at] *= factor(i, self.columns[at]);
            }
        }
    }

    fn transposed(&self, width: usize) -> Self {
        let mut rows = vec![Vec::new(); width];
        for i in 0..self.len() {
            self.row(i).for_each(|(j, value)| rows[j].push((i, value)));
        }
        Self::from_rows(rows)
    }

    /// The lower triangle, diagonal included, of `Aᵀ A`, where `A` has `n` columns.
    pub(crate) fn gram(&self, n: usize) -> Self {
        let transposed = self.transposed(n);
        let rows = (0..n).into_par_iter().map_init(
            || vec![0.0; n],
            |sums, j| {
                let mut columns: Vec<usize> = Vec::new();
                for (i, factor) in transposed.row(j) {
                    for (column, value) in self.row(i).take_while(|entry| entry.0 <= j) {
                        columns.push(column);
                        sums[column] += factor * value;
                    }
                }
                columns.sort_unstable();
                columns.dedup();
                columns.into_iter().map(|c| (c, std::mem::take(&mut sums[c]))).collect()
            },
        );
        Self::from_rows(rows.collect())
    }
}

/// The most bytes that a factor may take.
const LARGEST_FACTOR: usize = 6 << 30;

/// `A = L Lᵀ`, its rows and columns reordered to keep `L` sparse.
pub(crate) struct Cholesky {
    symbolic: SymbolicCholesky<usize>,
    values: Vec<f64>,
}

impl Cholesky {
    /// Of the symmetric positive semidefinite matrix with this lower triangle; `ε` times its mean diagonal is added to the diagonal,
    /// with the least ε of 10⁻¹², 10⁻¹¹ … 10⁻⁶ that makes it definite in the arithmetic of f64.
    pub(crate) fn new(mut lower: Sparse) -> Result<Self, ClassicError> {
        let n = lower.len();
        let generic = |error: &dyn std::fmt::Debug| ClassicError::Factor(format!("{error:?}"));
        // The rows of a lower triangle are the columns of an upper one.
        let pattern = SymbolicSparseColMatRef::new_checked(n, n, &lower.starts, None, &lower.columns);
        let symbolic =
            factorize_symbolic_cholesky(pattern, Side::Upper, Default::default(), Default::default())
                .map_err(|e| generic(&e))?;
        let bytes = symbolic.len_val() * size_of::<f64>();
        if bytes > LARGEST_FACTOR {
            return Err(ClassicError::TooDense { needed: bytes >> 20, limit: LARGEST_FACTOR >> 20 });
        }
        let diagonal: Vec<f64> = (0..n).map(|i| lower.values[lower.starts[i + 1] - 1]).collect();
        let mean = diagonal.iter().sum::<f64>() / n as f64;
        // One thread: the bits of the factor must not depend on their number.
        let scratch = symbolic.factorize_numeric_llt_scratch::<f64>(Par::Seq, Default::default());
        let mut memory = MemBuffer::try_new(scratch).map_err(|e| generic(&e))?;
        let mut values = vec![0.0; symbolic.len_val()];
        let mut refused = None;
        for exponent in -12..=-6 {
            let shift = mean * 10f64.powi(exponent);
            for (i, diagonal) in diagonal.iter().enumerate() {
                lower.values[lower.starts[i + 1] - 1] = diagonal + shift;
            }
            let matrix = SparseColMatRef::new(pattern, &lower.values);
            values.fill(0.0);
            let stack = MemStack::new(&mut memory);
            let (side, plain) = (Side::Upper, Default::default());
            match symbolic.factorize_numeric_llt(
                &mut values,
                matrix,
                side,
                plain,
                Par::Seq,
                stack,
                Default::default(),
            ) {
                Ok(_) => return Ok(Self { symbolic, values }),
                Err(error) => refused = Some(error),
            }
        }
        Err(generic(&refused))
    }

    /// Solves `A x = b` in place.
    pub(crate) fn solve(&self, b: &mut [f64]) {
        let mut memory = MemBuffer::new(self.symbolic.solve_in_place_scratch::<f64>(1, Par::Seq));
        let rows = b.len();
        LltRef::new(&self.symbolic, &self.values).solve_in_place_with_conj(
            Conj::No,
            MatMut::from_column_major_slice_mut(b, rows, 1),
            Par::Seq,
            MemStack::new(&mut memory),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_the_gram_matrix_and_its_factor_of_a_hand_worked_matrix() {
        // 1 2 0
        // 0 3 0
        // 4 0 5
        let a = Sparse::from_rows(vec![vec![(0, 1.0), (1, 2.0)], vec![(1, 3.0)], vec![(0, 4.0), (2, 5.0)]]);
        let mut y = [0.0; 3];
        a.multiply(&[1.0, 2.0, 3.0], &mut y);
        assert_eq!(y, [5.0, 6.0, 19.0]);
        let gram = a.gram(3);
        assert_eq!(gram.columns, [0, 0, 1, 0, 2]);
        assert_eq!(gram.values, [17.0, 2.0, 13.0, 20.0, 25.0]);
        // 17 2 20 / 2 13 0 / 20 0 25 times (1, −1, 2).
        let mut b = [55.0, -11.0, 70.0];
        Cholesky::new(gram).unwrap().solve(&mut b);
        for (found, wanted) in b.iter().zip([1.0, -1.0, 2.0]) {
            assert!((found - wanted).abs() < 1e-8, "{found} for {wanted}");
        }
    }
}
