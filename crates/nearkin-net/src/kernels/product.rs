//! Matrix product on slices: the one place of this crate that calls `gemm`, and the only `unsafe` one.

/// A strided view of an f32 matrix: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows × cols` values stored row after row.
    pub fn row_major(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols, 1)
    }

    /// Rows of `cols` values, each beginning `row_stride` values after the one before.
    pub fn rows(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self::strided(data, rows, cols, row_stride, 1)
    }

    /// The transpose of a row-major `cols × rows` matrix, without moving it.
    pub fn transposed(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::columns(data, rows, cols, rows)
    }

    /// Columns of `rows` values, each beginning `col_stride` values after the one before.
    pub fn columns(data: &'a [f32], rows: usize, cols: usize, col_stride: usize) -> Self {
        Self::strided(data, rows, cols, 1, col_stride)
    }

    /// # Panics
    ///
    /// If an element of the view lies outside `data`.
    fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1)
                .checked_mul(row_stride)
                .zip((cols - 1).checked_mul(col_stride))
                .and_then(|(i, j)| i.checked_add(j));
            assert!(
                last.is_some_and(|last| last < data.len()),
                "a {rows}x{cols} matrix with strides {row_stride}, {col_stride} does not fit {} values",
                data.len()
            );
        }
        Self { data, rows, cols, row_stride, col_stride }
    }
}

/// `out = lhs · rhs`, or `out += lhs · rhs` with `accumulate`.
///
/// The rows of `out` begin `out_stride` values apart; values between them are left alone. Runs on
/// the calling thread, so that the bits depend on the shapes alone.
///
/// # Panics
///
/// If the inner dimensions differ, rows of `out` overlap, or `out` is too short.
pub(crate) fn product(out: &mut [f32], out_stride: usize, lhs: Matrix, rhs: Matrix, accumulate: bool) {
    let (m, n, k) = (lhs.rows, rhs.cols, lhs.cols);
    assert_eq!(k, rhs.rows, "inner dimensions of a matrix product");
    if m == 0 || n == 0 {
        return;
    }
    assert!(n <= out_stride, "rows of a matrix product overlap");
    let end = (m - 1).checked_mul(out_stride).and_then(|i| i.checked_add(n));
    assert!(end.is_some_and(|end| end <= out.len()), "size of a matrix product");
    // A slice of f32 holds fewer than isize::MAX / 4 values, and `strided` has checked every
    // index against its slice, so a stride only leaves isize's range where it is never used
    // (one row or one column): clamp it there.
    let stride = |s: usize| isize::try_from(s).unwrap_or(0);
    // SAFETY: `gemm` reads `lhs` at i·row_stride + j·col_stride for i < m, j < k and `rhs` likewise
    // for k × n: `Matrix::strided` has checked that the largest such index is inside the slice, and
    // all strides are non-negative. It writes (and with `accumulate` reads) `out` at
    // i·out_stride + j for i < m, j < n: these are distinct because n ≤ out_stride, and at most
    // (m − 1)·out_stride + n − 1 < out.len(), both checked above. `out` is an exclusive borrow, so
    // it overlaps neither input. The call returns before any borrow ends.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride(out_stride),
            accumulate,
            lhs.data.as_ptr(),
            stride(lhs.col_stride),
            stride(lhs.row_stride),
            rhs.data.as_ptr(),
            stride(rhs.col_stride),
            stride(rhs.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_matches_its_definition_in_every_layout() {
        let a: Vec<f32> = (0..6).map(|v| v as f32).collect(); // 2 x 3
        let b: Vec<f32> = (0..12).map(|v| (v as f32) - 4.0).collect(); // 3 x 4
        let mut want = [0.0; 8];
        for i in 0..2 {
            for j in 0..4 {
                want[i * 4 + j] = (0..3).map(|k| a[i * 3 + k] * b[k * 4 + j]).sum();
            }
        }
        let mut out = [7.0; 8];
        product(&mut out, 4, Matrix::row_major(&a, 2, 3), Matrix::row_major(&b, 3, 4), false);
        assert_eq!(out, want);

        let at: Vec<f32> = (0..6).map(|v| a[(v % 2) * 3 + v / 2]).collect();
        product(&mut out, 4, Matrix::transposed(&at, 2, 3), Matrix::row_major(&b, 3, 4), true);
        assert_eq!(out, want.map(|v| 2.0 * v));
    }

    #[test]
    fn a_strided_output_leaves_the_values_between_its_rows() {
        let mut out = [9.0; 5];
        let one = Matrix::row_major(&[1.0, 2.0], 2, 1);
        product(&mut out, 3, one, Matrix::row_major(&[3.0, 4.0], 1, 2), false);
        assert_eq!(out, [3.0, 4.0, 9.0, 6.0, 8.0]);
    }

    #[test]
    #[should_panic(expected = "size of a matrix product")]
    fn an_output_that_is_too_short_is_refused() {
        let one = Matrix::row_major(&[1.0, 2.0], 2, 1);
        product(&mut [0.0; 4], 3, one, Matrix::row_major(&[3.0, 4.0], 1, 2), false);
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_view_beyond_its_slice_is_refused() {
        Matrix::row_major(&[0.0; 5], 2, 3);
    }
}
