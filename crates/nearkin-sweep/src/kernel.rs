//! Products of vectors with vectors, in registers.
//!
//! References are stored as columns: sixteen vectors side by side, one dimension after the other. A few queries are then
//! multiplied with sixteen references at a time, in accumulators that never leave the registers: 6 × 16 with AVX2 and NEON,
//! 16 × 16 with AVX-512, 2 × 16 otherwise. (The scheme is that of K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication", 2008.)
//!
//! Every product is one sum over the dimensions, in their order: its bits depend on the two vectors alone, neither on what is
//! multiplied beside them nor on which of them is the query.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::vectors::Vectors;
use crate::wide::widest;

/// References a panel.
const WIDTH: usize = 16;
/// Bytes.
const CACHE_LINE: usize = 64;

/// Vectors laid out to be multiplied with others.
#[derive(Debug)]
pub(crate) struct Columns {
    /// From `start` on: panels of `WIDTH` vectors, each `dim` rows of `WIDTH` values; the last is filled up with zeros.
    panels: Vec<f32>,
    /// Where a cache line begins: rows that lie across two take longer to read.
    start: usize,
    dim: usize,
}

impl Columns {
    pub(crate) fn new(vectors: Vectors<'_>) -> Self {
        let dim = vectors.dim();
        let values = vectors.len().next_multiple_of(WIDTH) * dim;
        let mut panels = vec![0.0; values + CACHE_LINE / size_of::<f32>()];
        let start = panels.as_ptr().align_offset(CACHE_LINE).min(panels.len() - values);
        let of_panels = panels[start..][..values].par_chunks_exact_mut(WIDTH * dim);
        let of_panels = of_panels.zip(vectors.data().par_chunks(WIDTH * dim));
        of_panels.for_each(|(panel, vectors)| {
            for (lane, vector) in vectors.chunks_exact(dim).enumerate() {
                for (value, row) in vector.iter().zip(panel.chunks_exact_mut(WIDTH)) {
                    row[lane] = *value;
                }
            }
        });
        Self { panels, start, dim }
    }

    /// The panels from that of vector `first` to that of vector `end - 1`.
    fn panels(&self, first: usize, end: usize) -> &[f32] {
        &self.panels[self.start..][first * self.dim..end.next_multiple_of(WIDTH) * self.dim]
    }

    /// `out[i, j] = query_i · column_(first + j)`, row-major with rows of `width`. `first` is the beginning of a panel.
    pub(crate) fn products(&self, queries: Vectors<'_>, first: usize, width: usize, out: &mut [f32]) {
        assert!(
            first.is_multiple_of(WIDTH) && queries.dim() == self.dim && out.len() == queries.len() * width,
            "products of mismatched shapes"
        );
        let panels = self.panels(first, first + width);
        let queries = Queries::Rows(queries);
        widest().dispatch(Tile { queries, dim: self.dim, panels, width, out });
    }

    /// The same where the queries are vectors `query..query + count` of these columns: they need not be laid out again.
    /// `query` too is the beginning of a panel.
    pub(crate) fn products_among(
        &self,
        (query, count): (usize, usize),
        first: usize,
        width: usize,
        out: &mut [f32],
    ) {
        assert!(
            first.is_multiple_of(WIDTH) && query.is_multiple_of(WIDTH) && out.len() == count * width,
            "products of mismatched shapes"
        );
        let (queries, panels) = (self.panels(query, query + count), self.panels(first, first + width));
        let queries = Queries::Panels(queries);
        widest().dispatch(Tile { queries, dim: self.dim, panels, width, out });
    }
}

/// The vectors on the left of a product.
#[derive(Clone, Copy)]
enum Queries<'a> {
    Rows(Vectors<'a>),
    Panels(&'a [f32]),
}

impl Queries<'_> {
    /// Lays out queries `first..` dimension by dimension, as many as there are columns of `group`; those beyond the last
    /// query are left as they are.
    #[inline(always)]
    fn lay_out<const QUERIES: usize>(&self, first: usize, dim: usize, group: &mut [[f32; QUERIES]]) {
        match self {
            Self::Rows(rows) => {
                for lane in 0..QUERIES.min(rows.len() - first) {
                    for (row, value) in group.iter_mut().zip(rows.row(first + lane)) {
                        row[lane] = *value;
                    }
                }
            }
            Self::Panels(panels) => {
                let mut lane = 0;
                // A group may lie across two panels.
                while lane < QUERIES {
                    let (panel, within) = ((first + lane) / WIDTH, (first + lane) % WIDTH);
                    let Some(panel) = panels.chunks_exact(WIDTH * dim).nth(panel) else { break };
                    let count = (QUERIES - lane).min(WIDTH - within);
                    for (row, values) in group.iter_mut().zip(panel.as_chunks::<WIDTH>().0) {
                        row[lane..lane + count].copy_from_slice(&values[within..within + count]);
                    }
                    lane += count;
                }
            }
        }
    }
}

/// A tile of products.
struct Tile<'a> {
    queries: Queries<'a>,
    dim: usize,
    panels: &'a [f32],
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Vectors a panel is wide, and queries whose accumulators then fit in the registers.
        match S::F32_LANES {
            16 => self.multiply::<S, 1, 16>(simd),
            8 => self.multiply::<S, 2, 6>(simd),
            4 => self.multiply::<S, 4, 6>(simd),
            _ => self.multiply::<S, WIDTH, 2>(simd),
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const VECTORS: usize, const QUERIES: usize>(self, simd: S) {
        let Self { queries, dim, panels, width, out } = self;
        let mut group = vec![[0.0f32; QUERIES]; dim];
        let mut found = [[0.0f32; WIDTH]; QUERIES];
        for (number, out) in out.chunks_mut(QUERIES * width).enumerate() {
            // What is left in a last, smaller group is multiplied and thrown away.
            queries.lay_out(number * QUERIES, dim, &mut group);
            for (panel, first) in panels.chunks_exact(WIDTH * dim).zip((0..width).step_by(WIDTH)) {
                let (panel, _) = S::as_simd_f32s(panel);
                let sums = products::<S, VECTORS, QUERIES>(simd, &group, panel);
                for (found, sums) in found.iter_mut().zip(&sums) {
                    let (found, _) = S::as_mut_simd_f32s(found);
                    found.copy_from_slice(sums);
                }
                for (row, found) in out.chunks_exact_mut(width).zip(&found) {
                    match row[first..].first_chunk_mut::<WIDTH>() {
                        Some(row) => *row = *found,
                        None => row[first..].copy_from_slice(&found[..width - first]),
                    }
                }
            }
        }
    }
}

/// A few queries, dimension by dimension, times a panel.
#[inline(always)]
fn products<S: Simd, const VECTORS: usize, const QUERIES: usize>(
    simd: S,
    queries: &[[f32; QUERIES]],
    panel: &[S::f32s],
) -> [[S::f32s; VECTORS]; QUERIES] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; QUERIES];
    for (queries, references) in queries.iter().zip(panel.as_chunks::<VECTORS>().0) {
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = simd.splat_f32s(*query);
            for (sum, reference) in sums.iter_mut().zip(references) {
                *sum = simd.mul_add_e_f32s(query, *reference, *sum);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            })
            .collect()
    }

    fn portable(queries: Vectors<'_>, references: Vectors<'_>) -> Vec<f32> {
        let columns = Columns::new(references);
        let mut out = vec![f32::NAN; queries.len() * references.len()];
        let width = references.len();
        Tile {
            queries: Queries::Rows(queries),
            dim: queries.dim(),
            panels: columns.panels(0, width),
            width,
            out: &mut out,
        }
        .with_simd(pulp::Scalar::new());
        out
    }

    #[test]
    fn a_product_has_the_same_bits_in_whichever_tile_it_lies() {
        for dim in [1, 3, 31, 128, 300, 513] {
            let (a, b) = (random(90 * dim, 1), random(210 * dim, 2));
            let (a, b) = (Vectors::new(&a, dim).unwrap(), Vectors::new(&b, dim).unwrap());
            let columns = Columns::new(b);
            let mut whole = vec![f32::NAN; 90 * 210];
            columns.products(a, 0, 210, &mut whole);
            let mut turned = vec![f32::NAN; 90 * 210];
            Columns::new(a).products(b, 0, 90, &mut turned);
            for i in 0..90 {
                for j in 0..210 {
                    assert_eq!(whole[i * 210 + j].to_bits(), turned[j * 90 + i].to_bits());
                    let wanted = Metric::Dot.score(a.row(i), b.row(j));
                    assert!((whole[i * 210 + j] - wanted).abs() < 1e-5 * dim as f32);
                }
            }
            for (query, count) in [(0, 210), (16, 33), (48, 1), (192, 18)] {
                let mut among = vec![f32::NAN; count * 130];
                columns.products_among((query, count), 32, 130, &mut among);
                let mut apart = vec![f32::NAN; count * 130];
                columns.products(b.block(query, count), 32, 130, &mut apart);
                assert!(among == apart, "{query}..{} of {dim} dimensions", query + count);
            }
            for n in [1, 2, 5, 6, 7, 13, 60, 90] {
                for m in [1, 2, 15, 16, 17, 64, 130] {
                    let (i, j) = ((90 - n) / 2, (210 - m) / 48 * 16);
                    let mut tile = vec![f32::NAN; n * m];
                    columns.products(a.block(i, n), j, m, &mut tile);
                    for (r, row) in tile.chunks_exact(m).enumerate() {
                        assert!(row == &whole[(i + r) * 210 + j..][..m], "{n} x {m} of {dim} dimensions");
                    }
                }
            }
        }
    }

    use crate::metric::Metric;

    #[test]
    fn plain_instructions_agree_with_the_widest_at_every_length() {
        for dim in (1..70).chain([127, 128, 129, 511, 1024, 1025]) {
            // Fused and not, a sum of small whole numbers is exact.
            let whole = |x: Vec<f32>| x.iter().map(|x| (x * 8.0).round()).collect::<Vec<f32>>();
            let (a, b) = (whole(random(5 * dim, 3)), whole(random(19 * dim, 4)));
            let (a, b) = (Vectors::new(&a, dim).unwrap(), Vectors::new(&b, dim).unwrap());
            let mut found = vec![f32::NAN; 5 * 19];
            Columns::new(b).products(a, 0, 19, &mut found);
            assert_eq!(found, portable(a, b), "{dim}");
        }
    }

    #[test]
    fn adversarial_values_go_where_they_go_in_plain_code() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            -1e-45,
            3e-39,
        ];
        let n = values.len();
        // Dimension 2: each value beside a zero.
        let pairs: Vec<f32> = values.iter().flat_map(|v| [*v, 0.0]).collect();
        let v = Vectors::new(&pairs, 2).unwrap();
        let mut found = vec![0.0; n * n];
        Columns::new(v).products(v, 0, n, &mut found);
        for (found, plain) in found.iter().zip(portable(v, v)) {
            assert!(*found == plain || (found.is_nan() && plain.is_nan()), "{found} {plain}");
        }
        for i in 0..n {
            for j in 0..n {
                let wanted = values[i] * values[j];
                let found = found[i * n + j];
                assert!(
                    found == wanted || (found.is_nan() && wanted.is_nan()),
                    "{} {}",
                    values[i],
                    values[j]
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "mismatched shapes")]
    fn shapes_that_do_not_fit_are_refused() {
        let x = [1.0; 8];
        Columns::new(Vectors::new(&x, 4).unwrap()).products(
            Vectors::new(&x, 2).unwrap(),
            0,
            2,
            &mut [0.0; 8],
        );
    }
}
