//! The only unsafe code of the crate: sums of vectors weighted by tiles, as products of the `gemm` crate behind checked slices.

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

/// `out += a b`, with `out` row-major and contiguous. One thread: the caller cuts the work, so that
/// the bits depend on shapes alone.
fn multiply(out: &mut [f32], a: View<'_>, b: View<'_>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(k == b.rows && out.len() == m * n && a.fits() && b.fits(), "matrix product of mismatched shapes");
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the assertion above proves that every element that gemm addresses through these strides lies inside its
    // slice (`out` is m × n contiguous), `out` is borrowed mutably so it overlaps neither input, and f32 has no
    // invalid bit patterns.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            true,
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

/// `out[i] += Σ_j weights[i, j] vectors_j`, `weights` row-major.
pub(crate) fn add_weighted_rows(weights: &[f32], vectors: Vectors<'_>, out: &mut [f32]) {
    let n = vectors.len();
    let view =
        View { data: weights, rows: weights.len() / n.max(1), columns: n, row_stride: n, column_stride: 1 };
    multiply(out, view, rows_of(vectors));
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
    multiply(out, view, rows_of(vectors));
}
