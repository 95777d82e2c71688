//! The only unsafe code of the crate: matrix products of the `gemm` crate behind checked slices.

#![allow(unsafe_code)]

use crate::vectors::Vectors;

/// A matrix inside a slice: element `(r, c)` lies at `r * row_stride + c * column_stride`.
#[derive(Clone, Copy)]
struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl View<'_> {
    /// Whether every element lies inside the slice.
    fn fits(&self) -> bool {
        self.rows == 0
            || self.columns == 0
            || (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride < self.data.len()
    }
}

/// `out = a b` (or `out += a b`), with `out` row-major and contiguous. One thread: the caller cuts the work, so that
/// the bits depend on shapes alone.
fn multiply(out: &mut [f32], accumulate: bool, a: View<'_>, b: View<'_>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(k == b.rows && out.len() == m * n && a.fits() && b.fits(), "matrix product of mismatched shapes");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the assertion above proves that every element that gemm addresses through these strides lies inside its
    // slice (`out` is m × n contiguous), `out` is borrowed mutably so it overlaps neither input, and f32 has no
    // invalid bit patterns. gemm reads `out` only when `accumulate` is set, and it is always initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn rows_of(v: Vectors<'_>) -> View<'_> {
    View { data: v.data(), rows: v.len(), columns: v.dim(), row_stride: v.dim(), column_stride: 1 }
}

/// Dimensions multiplied at once: gemm adds up this many in one order whatever the shape.
const DEPTH: usize = 512;
/// Products of at most this many values, and those of one row or column, gemm adds up in another order.
const SMALL: usize = 256;
/// Rows and columns that small products are padded to.
const PADDED: usize = 17;

/// `out[i, j] = queries_i · references_j`. The bits of a value depend on the two vectors alone, not on what else is
/// multiplied beside them.
pub(crate) fn scores_into(queries: Vectors<'_>, references: Vectors<'_>, out: &mut [f32]) {
    let (n, m, dim) = (queries.len(), references.len(), queries.dim());
    if n == 0 || m == 0 {
        return;
    }
    if n == 1 || m == 1 || n * m <= SMALL {
        let pad = |v: Vectors<'_>| {
            let mut data = v.data().to_vec();
            data.resize(v.len().max(PADDED) * dim, 0.0);
            data
        };
        let (queries, references) = (pad(queries), pad(references));
        let mut padded = vec![0.0; n.max(PADDED) * m.max(PADDED)];
        multiply_deep(&queries, &references, dim, &mut padded);
        for (out, row) in out.chunks_exact_mut(m).zip(padded.chunks_exact(m.max(PADDED))) {
            out.copy_from_slice(&row[..m]);
        }
        return;
    }
    multiply_deep(queries.data(), references.data(), dim, out);
}

/// `out = a bᵀ` for rows of `dim` values, a stretch of dimensions after the other.
fn multiply_deep(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    for first in (0..dim).step_by(DEPTH) {
        let depth = DEPTH.min(dim - first);
        let rows = View {
            data: &a[first..],
            rows: a.len() / dim,
            columns: depth,
            row_stride: dim,
            column_stride: 1,
        };
        let columns = View {
            data: &b[first..],
            rows: depth,
            columns: b.len() / dim,
            row_stride: 1,
            column_stride: dim,
        };
        multiply(out, first > 0, rows, columns);
    }
}

/// `out[i] += Σ_j weights[i, j] vectors_j`, `weights` row-major.
pub(crate) fn add_weighted_rows(weights: &[f32], vectors: Vectors<'_>, out: &mut [f32]) {
    let n = vectors.len();
    let view =
        View { data: weights, rows: weights.len() / n.max(1), columns: n, row_stride: n, column_stride: 1 };
    multiply(out, true, view, rows_of(vectors));
}

/// `out[j] += Σ_i weights[i, first + j] vectors_i`, `weights` row-major with rows of `width`; `out` sets how many `j`.
pub(crate) fn add_weighted_columns(
    weights: &[f32],
    width: usize,
    first: usize,
    vectors: Vectors<'_>,
    out: &mut [f32],
) {
    let count = out.len() / vectors.dim();
    let view = View {
        data: &weights[first.min(weights.len())..],
        rows: count,
        columns: vectors.len(),
        row_stride: 1,
        column_stride: width,
    };
    multiply(out, true, view, rows_of(vectors));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_has_the_same_bits_in_whichever_tile_it_lies() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        for dim in [1, 3, 31, 128, 300, 512, 600, 784, 1030] {
            let (a, b): (Vec<f32>, Vec<f32>) =
                ((0..90 * dim).map(|_| next()).collect(), (0..210 * dim).map(|_| next()).collect());
            let (a, b) = (Vectors::new(&a, dim).unwrap(), Vectors::new(&b, dim).unwrap());
            let mut whole = vec![0.0; 90 * 210];
            scores_into(a, b, &mut whole);
            for n in [1, 2, 3, 7, 16, 17, 60, 90] {
                for m in [1, 2, 5, 13, 16, 17, 64, 128, 210] {
                    let (i, j) = ((90 - n) / 2, (210 - m) / 3);
                    let mut tile = vec![0.0; n * m];
                    scores_into(a.block(i, n), b.block(j, m), &mut tile);
                    for (r, row) in tile.chunks_exact(m).enumerate() {
                        let wanted = &whole[(i + r) * 210 + j..][..m];
                        assert!(row == wanted, "{n} x {m} of {dim} dimensions");
                    }
                }
            }
        }
    }
}
