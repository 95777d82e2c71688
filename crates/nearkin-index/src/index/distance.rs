//! Distances of single pairs, for walks through a graph.
//!
//! Sums run in a fixed number of lanes that compilers turn into vector instructions. Multiplications and additions
//! are not fused, so the bits do not depend on the processor.

use pulp::Arch;

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
    Arch::new().dispatch(
        #[inline(always)]
        || sum(a, b, |a, b| (a - b) * (a - b)),
    )
}

/// `a · b`.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    Arch::new().dispatch(
        #[inline(always)]
        || sum(a, b, |a, b| a * b),
    )
}

/// How far some rows of a block are from a query, smaller is nearer: `−a·b` where larger products are nearer, `‖a − b‖²` otherwise.
pub(crate) fn farness(
    larger_is_nearer: bool,
    query: &[f32],
    block: Stored<'_>,
    rows: &[u32],
    out: &mut Vec<f32>,
) {
    out.clear();
    Arch::new().dispatch(
        #[inline(always)]
        || match block.values {
            Values::F32(values) => each(larger_is_nearer, query, values, rows, out, |_| |x| x),
            Values::F16(values) => each(larger_is_nearer, query, values, rows, out, |_| widen),
            Values::I8 { scales, codes } => each(larger_is_nearer, query, codes, rows, out, |row| {
                let scale = scales[row];
                move |code| scale * f32::from(code)
            }),
        },
    );
}

/// The same of rows whose values are decoded on the way, as `decode` says for each row.
#[inline(always)]
fn each<B: Copy, D: Fn(B) -> f32>(
    larger_is_nearer: bool,
    query: &[f32],
    values: &[B],
    rows: &[u32],
    out: &mut Vec<f32>,
    decode: impl Fn(usize) -> D,
) {
    let row = |row: u32| (&values[row as usize * query.len()..][..query.len()], decode(row as usize));
    match larger_is_nearer {
        true => out.extend(rows.iter().map(|r| {
            let (row, value) = row(*r);
            -sum(query, row, |a, b| a * value(b))
        })),
        false => out.extend(rows.iter().map(|r| {
            let (row, value) = row(*r);
            sum(query, row, |a, b| {
                let difference = a - value(b);
                difference * difference
            })
        })),
    }
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;
    use crate::storage::{Encoded, Storage};

    #[test]
    fn blocks_of_every_storage_agree_with_single_pairs() {
        for dim in [1, 15, 16, 40] {
            let block: Vec<f32> = (0..9 * dim).map(|i| (i * i % 11) as f32 / 3.0 - 1.5).collect();
            let query: Vec<f32> = (0..dim).map(|i| (i % 7) as f32 - 3.0).collect();
            let (rows, mut out) = ([8, 0, 3], Vec::new());
            for storage in [Storage::F32, Storage::F16, Storage::I8] {
                let encoded = Encoded::new(storage, Vectors::new(&block, dim).unwrap()).unwrap();
                let block = encoded.view();
                farness(true, &query, block, &rows, &mut out);
                assert_eq!(out, rows.map(|r| -dot(&query, &block.row(r as usize))));
                farness(false, &query, block, &rows, &mut out);
                assert_eq!(out, rows.map(|r| squared(&query, &block.row(r as usize))));
            }
        }
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
