//! Distances of single pairs, for walks through a graph.
//!
//! Sums run in a fixed number of lanes that compilers turn into vector instructions. Multiplications and additions
//! are not fused, so the bits do not depend on the processor.

use pulp::{Arch, Simd, WithSimd};

use crate::storage::{Stored, Values, widen};

const LANES: usize = 16;

#[inline(always)]
fn sum<B: Copy>(a: &[f32], b: &[B], term: impl Fn(f32, B) -> f32) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(a, b);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += term(a, b);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        (0..width).for_each(|i| sums[i] += sums[i + width]);
    }
    sums[0]
}

/// `‖a − b‖²`.
pub(crate) fn squared(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(Squared(a, b))
}

/// `a · b`.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(Dot(a, b))
}

// Types and not closures: a closure that is called once, but could be called again, is not inlined where the wide instructions are.

struct Squared<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Squared<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        sum(self.0, self.1, |a, b| (a - b) * (a - b))
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        sum(self.0, self.1, |a, b| a * b)
    }
}

/// A query as rows are compared with it.
pub(crate) struct Query<'a> {
    values: &'a [f32],
    /// For rows of i8, what the values are in steps, to sixteen bits. That is far finer than the rows are; fewer bits where the sum over a very long row would
    /// not fit in 32.
    codes: Vec<i16>,
    step: f32,
}

impl<'a> Query<'a> {
    pub(crate) fn new(values: &'a [f32], rows: &Stored<'_>) -> Self {
        if !matches!(rows.values, Values::I8 { .. }) {
            return Self { values, codes: Vec::new(), step: 0.0 };
        }
        let largest = values.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        let most = (i32::MAX as f32 / 128.0 / values.len() as f32).min(f32::from(i16::MAX)).floor();
        // Of a zero query, 0/0 becomes 0.
        let codes = values.iter().map(|x| (x / largest * most).round() as i16).collect();
        Self { values, codes, step: largest / most }
    }
}

/// How far some rows of a block are from a query, smaller is nearer: `−a·b` where larger products are nearer, `‖a − b‖²` otherwise. For i8,
/// nearly so, and without the square of the query, which is the same for all rows.
pub(crate) fn farness(
    larger_is_nearer: bool,
    query: &Query<'_>,
    block: Stored<'_>,
    rows: &[u32],
    out: &mut Vec<f32>,
) {
    out.clear();
    out.reserve(rows.len());
    Arch::new().dispatch(Farness { larger_is_nearer, query, block, rows, out });
}

struct Farness<'a> {
    larger_is_nearer: bool,
    query: &'a Query<'a>,
    block: Stored<'a>,
    rows: &'a [u32],
    out: &'a mut Vec<f32>,
}

impl WithSimd for Farness<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { larger_is_nearer, query, block, rows, out } = self;
        match block.values {
            Values::F32(values) => each(larger_is_nearer, query.values, values, rows, out, |x| x),
            Values::F16(values) => each(larger_is_nearer, query.values, values, rows, out, widen),
            Values::I8 { scales, codes } => of_codes(larger_is_nearer, query, scales, codes, rows, out),
        }
    }
}

/// The same of rows whose values are decoded on the way.
#[inline(always)]
fn each<B: Copy>(
    larger_is_nearer: bool,
    query: &[f32],
    values: &[B],
    rows: &[u32],
    out: &mut Vec<f32>,
    decode: impl Fn(B) -> f32 + Copy,
) {
    for row in rows {
        let row = &values[*row as usize * query.len()..][..query.len()];
        out.push(if larger_is_nearer {
            -sum(query, row, |a, b| a * decode(b))
        } else {
            sum(query, row, |a, b| (a - decode(b)) * (a - decode(b)))
        });
    }
}

/// The same of rows of i8 in whole numbers: `s²‖c‖² − 2 s a·c` for distances.
#[inline(always)]
fn of_codes(
    larger_is_nearer: bool,
    query: &Query<'_>,
    scales: &[f32],
    codes: &[i8],
    rows: &[u32],
    out: &mut Vec<f32>,
) {
    for row in rows {
        let row = *row as usize;
        let (scale, row) = (scales[row], &codes[row * query.codes.len()..][..query.codes.len()]);
        let mut product = 0;
        for (a, c) in query.codes.iter().zip(row) {
            product += i32::from(*a) * i32::from(*c);
        }
        let product = product as f32 * (scale * query.step);
        out.push(if larger_is_nearer {
            -product
        } else {
            let mut square = 0;
            for c in row {
                square += i32::from(*c) * i32::from(*c);
            }
            scale * scale * square as f32 - 2.0 * product
        });
    }
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;
    use crate::storage::{Encoded, Storage};

    #[test]
    fn blocks_of_every_storage_agree_with_single_pairs() {
        for dim in [1, 15, 16, 40, 3_000] {
            let block: Vec<f32> = (0..9 * dim).map(|i| (i * i % 11) as f32 / 3.0 - 1.5).collect();
            let query: Vec<f32> = (0..dim).map(|i| (i % 7) as f32 / 3.0 - 0.9).collect();
            let (rows, mut out) = ([8, 0, 3], Vec::new());
            for storage in [Storage::F32, Storage::F16, Storage::I8] {
                let encoded = Encoded::new(storage, Vectors::new(&block, dim).unwrap()).unwrap();
                let block = encoded.view();
                let asked = Query::new(&query, &block);
                // What is left out for i8, and how near it comes: half a step of each value of the query, times that of the row.
                let (offset, error) = match storage {
                    Storage::I8 => (dot(&query, &query), dim as f32 * 1e-4),
                    Storage::F32 | Storage::F16 => (0.0, 0.0),
                };
                farness(true, &asked, block, &rows, &mut out);
                for (far, row) in out.iter().zip(rows) {
                    let wanted = -dot(&query, &block.row(row as usize));
                    assert!((far - wanted).abs() <= error, "{storage}, {dim}: {far} for {wanted}");
                }
                farness(false, &asked, block, &rows, &mut out);
                for (far, row) in out.iter().zip(rows) {
                    let wanted = squared(&query, &block.row(row as usize));
                    assert!(
                        (far + offset - wanted).abs() <= 2.0 * error,
                        "{storage}, {dim}: {far} for {wanted}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_zero_query_is_as_far_as_the_rows_are_long() {
        let data = [3.0, 4.0, 0.0, 0.0];
        let encoded = Encoded::new(Storage::I8, Vectors::new(&data, 2).unwrap()).unwrap();
        let mut out = Vec::new();
        let zero = Query::new(&[0.0, 0.0], &encoded.view());
        farness(false, &zero, encoded.view(), &[0, 1], &mut out);
        assert!((out[0] - 25.0).abs() < 0.1 && out[1] == 0.0, "{out:?}");
        farness(true, &zero, encoded.view(), &[0, 1], &mut out);
        assert_eq!(out, [0.0, 0.0]);
    }

    #[test]
    fn sums_agree_with_the_plain_formula_at_every_length() {
        for length in 0..70 {
            let a: Vec<f32> = (0..length).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..length).map(|i| (i % 5) as f32 - 2.0).collect();
            assert_eq!(dot(&a, &b), a.iter().zip(&b).map(|(a, b)| a * b).sum::<f32>());
            assert_eq!(squared(&a, &b), a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
        }
    }
}
