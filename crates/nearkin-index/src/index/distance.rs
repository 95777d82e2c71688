//! Distances of single pairs, for walks through a graph.
//!
//! Sums run in a fixed number of lanes that compilers turn into vector instructions. Multiplications and additions
//! are not fused, so the bits do not depend on the processor.

use pulp::Arch;

const LANES: usize = 16;

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
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
    block: &[f32],
    rows: &[u32],
    out: &mut Vec<f32>,
) {
    out.clear();
    let row = |row: &u32| &block[*row as usize * query.len()..][..query.len()];
    Arch::new().dispatch(
        #[inline(always)]
        || match larger_is_nearer {
            true => out.extend(rows.iter().map(|r| -sum(query, row(r), |a, b| a * b))),
            false => out.extend(rows.iter().map(|r| sum(query, row(r), |a, b| (a - b) * (a - b)))),
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_agree_with_single_pairs() {
        for dim in [1, 15, 16, 40] {
            let block: Vec<f32> = (0..9 * dim).map(|i| (i % 11) as f32 - 5.0).collect();
            let query: Vec<f32> = (0..dim).map(|i| (i % 7) as f32 - 3.0).collect();
            let row = |r: u32| &block[r as usize * dim..][..dim];
            let (rows, mut out) = ([8, 0, 3], Vec::new());
            farness(true, &query, &block, &rows, &mut out);
            assert_eq!(out, rows.map(|r| -dot(&query, row(r))));
            farness(false, &query, &block, &rows, &mut out);
            assert_eq!(out, rows.map(|r| squared(&query, row(r))));
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
