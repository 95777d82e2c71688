//! How near two vectors are, and what each definition means for products and gradients.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::kernel::Columns;
use crate::vectors::Vectors;
use crate::wide::wide;

/// The score `s(a, b)` of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// `a · b`; larger is nearer.
    Dot,
    /// `a · b / (‖a‖ ‖b‖)`, in [-1, 1]; larger is nearer. A zero vector scores 0 with everything.
    #[default]
    Cosine,
    /// `‖a − b‖`; smaller is nearer. Its gradient at distance 0 is defined as 0.
    Euclidean,
    /// `‖a − b‖²`; smaller is nearer.
    SquaredEuclidean,
}

impl Metric {
    /// All metrics, in the order they are documented.
    pub const ALL: [Metric; 4] = [Metric::Dot, Metric::Cosine, Metric::Euclidean, Metric::SquaredEuclidean];

    /// Whether a larger score means a nearer pair (similarities) rather than a farther one (distances).
    pub fn larger_is_nearer(self) -> bool {
        matches!(self, Metric::Dot | Metric::Cosine)
    }

    /// The name used in recipes, files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Dot => "dot",
            Metric::Cosine => "cosine",
            Metric::Euclidean => "euclidean",
            Metric::SquaredEuclidean => "squared-euclidean",
        }
    }

    /// The score of one pair, accumulated in f64 and rounded once.
    ///
    /// The engine's tiles take distances from `‖a‖² + ‖b‖² − 2 a·b`, whose error is about `1e-7 (‖a‖² + ‖b‖²)`, but those
    /// below a hundredth of `‖a‖² + ‖b‖²` from the differences, as here: near-duplicates keep their precision.
    pub fn score(self, a: &[f32], b: &[f32]) -> f32 {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let squared = || {
            a.iter()
                .zip(b)
                .map(|(x, y)| {
                    let d = f64::from(*x) - f64::from(*y);
                    d * d
                })
                .sum::<f64>()
        };
        let score = match self {
            Metric::Dot => dot(a, b),
            Metric::Cosine => {
                let norms = (dot(a, a) * dot(b, b)).sqrt();
                if norms == 0.0 { 0.0 } else { dot(a, b) / norms }
            }
            Metric::Euclidean => squared().sqrt(),
            Metric::SquaredEuclidean => squared(),
        };
        score as f32
    }

    /// `(∂s/∂a, ∂s/∂b)` at a pair whose score is `s`.
    pub(crate) fn slopes(self, a: &[f32], b: &[f32], s: f32, (da, db): &mut (Vec<f32>, Vec<f32>)) {
        match self {
            Metric::Dot => {
                da.copy_from_slice(b);
                db.copy_from_slice(a);
            }
            Metric::Cosine => {
                let square = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>();
                let (aa, bb) = (square(a), square(b));
                if aa == 0.0 || bb == 0.0 {
                    da.fill(0.0);
                    db.fill(0.0);
                    return;
                }
                let norms = aa.sqrt() * bb.sqrt();
                for i in 0..a.len() {
                    da[i] = b[i] / norms - s * a[i] / aa;
                    db[i] = a[i] / norms - s * b[i] / bb;
                }
            }
            Metric::Euclidean | Metric::SquaredEuclidean => {
                let scale = match self {
                    Metric::SquaredEuclidean => 2.0,
                    _ if s > 0.0 => 1.0 / s,
                    _ => 0.0,
                };
                for i in 0..a.len() {
                    da[i] = scale * (a[i] - b[i]);
                    db[i] = -da[i];
                }
            }
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metric's name that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric '{0}': choose dot, cosine, euclidean or squared-euclidean")]
pub struct ParseMetricError(String);

impl FromStr for Metric {
    type Err = ParseMetricError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Metric::ALL.into_iter().find(|m| m.name() == name).ok_or_else(|| ParseMetricError(name.to_owned()))
    }
}

/// Vectors made ready for tiles of one metric: unit length for cosine, squared norms for distances.
#[derive(Debug)]
pub(crate) struct Ready<'a> {
    data: Cow<'a, [f32]>,
    dim: usize,
    /// `‖x‖²` for distances, `‖x‖` for cosine, empty for dot.
    norms: Vec<f32>,
}

impl<'a> Ready<'a> {
    pub(crate) fn new(vectors: Vectors<'a>, metric: Metric) -> Self {
        let dim = vectors.dim();
        let squared = |row: &[f32]| row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        let rows = || vectors.data().chunks_exact(dim);
        match metric {
            Metric::Dot => Self { data: Cow::Borrowed(vectors.data()), dim, norms: Vec::new() },
            Metric::Euclidean | Metric::SquaredEuclidean => {
                let norms = rows().map(|row| squared(row) as f32).collect();
                Self { data: Cow::Borrowed(vectors.data()), dim, norms }
            }
            Metric::Cosine => {
                let norms: Vec<f32> = rows().map(|row| squared(row).sqrt() as f32).collect();
                let mut unit = vectors.data().to_vec();
                for (row, &norm) in unit.chunks_exact_mut(dim).zip(&norms) {
                    let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
                    row.iter_mut().for_each(|x| *x *= scale);
                }
                Self { data: Cow::Owned(unit), dim, norms }
            }
        }
    }

    pub(crate) fn vectors(&self) -> Vectors<'_> {
        // Made from valid vectors of the same shape.
        Vectors::new(&self.data, self.dim).expect("same shape as the vectors it was made from")
    }

    /// Some of the vectors, in the order of `rows`.
    pub(crate) fn gather(&self, rows: &[u32]) -> Ready<'static> {
        let vectors = self.vectors();
        let data: Vec<f32> = rows.iter().flat_map(|&i| vectors.row(i as usize)).copied().collect();
        let norms = if self.norms.is_empty() { &[][..] } else { rows };
        let norms = norms.iter().map(|&i| self.norms[i as usize]).collect();
        Ready { data: Cow::Owned(data), dim: self.dim, norms }
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    /// Whether no score among such vectors can leave the range of f32. Tells `false` for all that might.
    pub(crate) fn is_tame(&self) -> bool {
        // The largest score is a squared distance, at most 4 dim max².
        let most = (f32::MAX / 8.0 / self.dim as f32).sqrt();
        wide(
            #[inline(always)]
            || self.data.iter().fold(true, |tame, x| tame & (x.abs() < most)),
        )
    }

    /// Some of the vectors laid out as references of [`score_tile`]. `first` must be a multiple of 16.
    pub(crate) fn columns(&self, first: usize, count: usize) -> References<'_> {
        References { ready: self, first, columns: Columns::new(self.vectors().block(first, count)) }
    }

    /// All of them.
    pub(crate) fn all_columns(&self) -> References<'_> {
        self.columns(0, self.len())
    }

    pub(crate) fn norm(&self, i: usize) -> f32 {
        self.norms[i]
    }
}

/// Vectors that others are scored with.
pub(crate) struct References<'a> {
    ready: &'a Ready<'a>,
    /// The vector in the first column.
    first: usize,
    columns: Columns,
}

/// Below this part of `‖a‖² + ‖b‖²`, `‖a‖² + ‖b‖² − 2 a·b` has lost too many digits, and a squared distance is taken from
/// the differences.
const NEAR: f32 = 0.01;

/// Scores of queries `query..` (as many as `out` has rows of `width`) with references `reference..reference + width`,
/// row-major into `out`. `reference` must be a multiple of 16.
pub(crate) fn score_tile(
    metric: Metric,
    queries: &Ready<'_>,
    query: usize,
    references: &References<'_>,
    reference: usize,
    width: usize,
    out: &mut [f32],
) {
    let queries_of_tile = queries.vectors().block(query, out.len() / width);
    references.columns.products(queries_of_tile, reference - references.first, width, out);
    from_products(metric, queries, query, references.ready, reference, width, out);
}

/// The same among all vectors of one set, laid out; `query` too must be a multiple of 16.
pub(crate) fn score_tile_among(
    metric: Metric,
    all: &References<'_>,
    query: usize,
    reference: usize,
    width: usize,
    out: &mut [f32],
) {
    all.columns.products_among((query, out.len() / width), reference, width, out);
    from_products(metric, all.ready, query, all.ready, reference, width, out);
}

/// Turns products, in place, into scores.
pub(crate) fn from_products(
    metric: Metric,
    queries: &Ready<'_>,
    query: usize,
    references: &Ready<'_>,
    reference: usize,
    width: usize,
    out: &mut [f32],
) {
    if metric.larger_is_nearer() {
        return;
    }
    let reference_norms = &references.norms[reference..reference + width];
    for (i, row) in out.chunks_exact_mut(width).enumerate() {
        let query_norm = queries.norms[query + i];
        let near = wide(
            #[inline(always)]
            || {
                let mut near = false;
                for (s, reference_norm) in row.iter_mut().zip(reference_norms) {
                    let norms = query_norm + reference_norm;
                    *s = norms - 2.0 * *s;
                    near |= *s < NEAR * norms;
                }
                near
            },
        );
        if near {
            let a = queries.vectors().row(query + i);
            for (j, s) in row.iter_mut().enumerate() {
                if *s < NEAR * (query_norm + reference_norms[j]) {
                    let b = references.vectors().row(reference + j);
                    *s = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
                }
            }
        }
        if metric == Metric::Euclidean {
            wide(
                #[inline(always)]
                || row.iter_mut().for_each(|s| *s = s.sqrt()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_parses_from_its_own_name() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse::<Metric>(), Ok(metric));
        }
        assert!("l2".parse::<Metric>().unwrap_err().to_string().contains("squared-euclidean"));
    }

    #[test]
    fn scores_of_a_hand_worked_pair() {
        let (a, b) = ([3.0, 4.0], [0.0, 1.0]);
        assert_eq!(Metric::Dot.score(&a, &b), 4.0);
        assert_eq!(Metric::Cosine.score(&a, &b), 0.8);
        assert_eq!(Metric::SquaredEuclidean.score(&a, &b), 18.0);
        assert_eq!(Metric::Euclidean.score(&a, &b), 18f32.sqrt());
        assert_eq!(Metric::Cosine.score(&a, &[0.0, 0.0]), 0.0);
    }
}
