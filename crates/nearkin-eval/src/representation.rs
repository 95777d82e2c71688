//! Judging an embedding without labels: by views of the same samples, and by how much of the space it uses.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use nearkin_sweep::Vectors;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;
use crate::scatter::{Centred, eigen};
use crate::spectrum::Spectrum;

/// What a logarithm of a share may not fall below, as in RankMe's and LiDAR's formulas.
const EPSILON: f64 = 1e-7;
/// δ of LiDAR: the least scatter within a sample.
const WITHIN: f64 = 1e-4;

/// `E ‖x − x⁺‖²` over pairs of views of the same sample, on the unit sphere: from 0, all views agree, to 4 (T. Wang, P. Isola,
/// *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere*, 2020, with α = 2).
///
/// `vectors` hold `views` views of each sample, view-major.
///
/// # Errors
/// Fewer than two views, a count that is no multiple of them, no vectors, and a value that is not finite.
pub fn alignment(vectors: Vectors<'_>, views: usize) -> Result<f64, EvalError> {
    let samples = samples(vectors, views)?;
    let unit = vectors.to_unit_length();
    let unit = Vectors::new(&unit, vectors.dim())?;
    let of_sample = |i: usize| -> f64 {
        let pairs = (0..views).flat_map(|a| (a + 1..views).map(move |b| (a, b)));
        pairs.map(|(a, b)| squared_distance(&unit, a * samples + i, b * samples + i)).sum()
    };
    let all: Vec<f64> = (0..samples).into_par_iter().map(of_sample).collect();
    Ok(all.iter().sum::<f64>() / (samples * views * (views - 1) / 2) as f64)
}

/// `ln E e^{−2 ‖x − y‖²}` over pairs of different samples, on the unit sphere: 0 when all are one point, lower the more evenly they
/// lie (Wang and Isola 2020, with t = 2). In `d` dimensions the uniform distribution comes to about −4 for large `d`.
///
/// Costs `n² d`: give some thousand vectors.
///
/// # Errors
/// Fewer than two vectors, and a value that is not finite.
pub fn uniformity(vectors: Vectors<'_>) -> Result<f64, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    let n = vectors.len();
    if n < 2 {
        return Err(EvalError::Undefined {
            measure: "uniformity",
            reason: "it is of pairs: give two vectors".into(),
        });
    }
    let unit = vectors.to_unit_length();
    let unit = Vectors::new(&unit, vectors.dim())?;
    let of_row = |i: usize| (0..i).map(|j| (-2.0 * squared_distance(&unit, i, j)).exp()).sum::<f64>();
    let rows: Vec<f64> = (1..n).into_par_iter().map(of_row).collect();
    Ok((rows.iter().sum::<f64>() / (n * (n - 1) / 2) as f64).ln())
}

/// RankMe: `exp(−Σ p ln p)` with `p_i = σ_i / Σ σ + ε` over the singular values of the embeddings, uncentred (Q. Garrido, R. Balestriero,
/// L. Najman, Y. LeCun, *RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank*,
/// 2023, eq. 1). Between networks trained alike, a higher one tends to serve better.
///
/// # Errors
/// As [`spectrum`](crate::spectrum).
pub fn rank_me(vectors: Vectors<'_>) -> Result<f64, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    let values = Centred::at_origin(vectors).principal(false)?.values;
    Ok(smooth_rank(&values.iter().map(|value| value.sqrt()).collect::<Vec<_>>()))
}

/// LiDAR: the smooth rank of `Σ_w^{−½} Σ_b Σ_w^{−½}`, the scatter between samples measured in that of a sample's views (V. Thilak et al.,
/// *LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL Architectures*, 2024, eq. 1 to 4). Directions that only tell views
/// apart count for nothing.
///
/// `vectors` hold `views` views of each sample, view-major: 1,000 samples and 10 to 50 views in the paper.
///
/// # Errors
/// As [`alignment`]; and when eigenvalues do not converge.
pub fn lidar(vectors: Vectors<'_>, views: usize) -> Result<f64, EvalError> {
    let (samples, dim) = (samples(vectors, views)?, vectors.dim());
    let row = |view: usize, i: usize| vectors.row(view * samples + i).iter().map(|x| f64::from(*x));
    let mut means = vec![0.0; samples * dim];
    for view in 0..views {
        for (i, mean) in means.chunks_exact_mut(dim).enumerate() {
            mean.iter_mut().zip(row(view, i)).for_each(|(m, x)| *m += x / views as f64);
        }
    }
    let mut centre = vec![0.0; dim];
    for mean in means.chunks_exact(dim) {
        centre.iter_mut().zip(mean).for_each(|(c, m)| *c += m / samples as f64);
    }
    let off: Vec<f64> = (0..views * samples)
        .flat_map(|at| {
            let (view, i) = (at / samples, at % samples);
            row(view, i).zip(&means[i * dim..(i + 1) * dim]).map(|(x, m)| x - m).collect::<Vec<_>>()
        })
        .collect();
    let between: Vec<f64> =
        means.chunks_exact(dim).flat_map(|mean| mean.iter().zip(&centre).map(|(m, c)| m - c)).collect();
    let mut within = scatter(&off, dim);
    (0..dim).for_each(|d| within[(d, d)] += WITHIN);
    let (values, basis) = eigen(within.as_ref(), true)?;
    // In the basis of Σ_w its root is a diagonal; the eigenvalues are those of the symmetric form.
    let scales: Vec<f64> = values.iter().map(|value| value.max(WITHIN).sqrt().recip()).collect();
    let turned =
        product(basis.transpose(), product(scatter(&between, dim).as_ref(), basis.as_ref()).as_ref());
    let measured = Mat::from_fn(dim, dim, |i, j| scales[i] * turned[(i, j)] * scales[j]);
    let (values, _) = eigen(measured.as_ref(), false)?;
    Ok(smooth_rank(&values.iter().map(|value| value.max(0.0)).collect::<Vec<_>>()))
}

/// `a b`, on one thread: a fixed order of every sum.
fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    matmul(out.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// `xᵀ x / n`
fn scatter(x: &[f64], dim: usize) -> Mat<f64> {
    let n = x.len() / dim;
    let x = MatRef::from_row_major_slice(x, n, dim);
    let sum = product(x.transpose(), x);
    Mat::from_fn(dim, dim, |i, j| sum[(i, j)] / n as f64)
}

fn smooth_rank(values: &[f64]) -> f64 {
    let total: f64 = values.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    values.iter().map(|value| value / total + EPSILON).map(|p| -p * p.ln()).sum::<f64>().exp()
}

fn samples(vectors: Vectors<'_>, views: usize) -> Result<usize, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    if views < 2 || !vectors.len().is_multiple_of(views) {
        return Err(EvalError::Count {
            what: "vectors of two or more views of each sample",
            found: vectors.len(),
            wanted: vectors.len().next_multiple_of(views.max(2)),
        });
    }
    Ok(vectors.len() / views)
}

fn squared_distance(unit: &Vectors<'_>, i: usize, j: usize) -> f64 {
    unit.row(i).iter().zip(unit.row(j)).map(|(a, b)| f64::from((a - b) * (a - b))).sum()
}

/// How an embedding has collapsed (L. Jing, P. Vincent, Y. LeCun, Y. Tian, *Understanding Dimensional Collapse in Contrastive
/// Self-Supervised Learning*, 2022).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collapse {
    /// All embeddings point the same way: the spread on the sphere is below 0.05, where 1 is even.
    Complete,
    /// They lie in few of their dimensions: the effective rank is below a twentieth of the rank that they could have.
    Dimensional,
}

impl Collapse {
    /// Of `n` embeddings of `dim` dimensions with this spectrum; `None` when there is none, or too little room to tell: a map of few
    /// dimensions, or fewer than 40 embeddings.
    pub fn of(found: &Spectrum, n: usize, dim: usize) -> Option<Self> {
        let room = n.min(dim) as f64;
        if found.spread < 0.05 {
            Some(Self::Complete)
        } else if room >= 40.0 && found.effective_rank < room / 20.0 {
            Some(Self::Dimensional)
        } else {
            None
        }
    }

    /// What usually mends it (R. Balestriero et al., *A Cookbook of Self-Supervised Learning*, 2023, sections 3 and 4).
    pub fn advice(self) -> &'static str {
        match self {
            Self::Complete => {
                "complete collapse: all embeddings point the same way. Lower the learning rate or warm it up for longer; check that \
                 targets get no gradient, that the head has its batch norms and the predictor a rate of its own; raise what keeps \
                 views apart (a twin's momentum, the weight of variance, centring, the temperature)"
            }
            Self::Dimensional => {
                "dimensional collapse: embeddings use few of their dimensions. Use larger batches or more strangers, a wider or \
                 deeper head, weaker augmentation, more weight on covariance, or less weight decay; features in front of the head \
                 suffer less"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::spectrum;

    fn vectors(values: &[f32], dim: usize) -> Vectors<'_> {
        Vectors::new(values, dim).unwrap()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn alignment_and_uniformity_of_a_cross_by_hand() {
        // Two samples at right angles, their second views opposite and equal: (4 + 0) / 2.
        let cross = [1.0, 0.0, 0.0, 3.0, -2.0, 0.0, 0.0, 1.0];
        close(alignment(vectors(&cross, 2), 2).unwrap(), 2.0);
        // Of the six pairs one is equal, one opposite, four at right angles.
        let mean = (1.0 + (-8f64).exp() + 4.0 * (-4f64).exp()) / 6.0;
        close(uniformity(vectors(&cross, 2)).unwrap(), mean.ln());
        close(uniformity(vectors(&[1.0, 1.0, 2.0, 2.0], 2)).unwrap(), 0.0);
        assert!(alignment(vectors(&cross, 2), 3).is_err() && uniformity(vectors(&[1.0], 1)).is_err());
    }

    #[test]
    fn rank_me_counts_equal_directions_and_does_not_centre() {
        close(rank_me(vectors(&[2.0, 0.0, 0.0, 2.0], 2)).unwrap(), 2.0);
        // Two equal vectors: one direction, though centred there is none.
        let same = rank_me(vectors(&[3.0, 4.0, 3.0, 4.0], 2)).unwrap();
        assert!((same - 1.0).abs() < 1e-4, "{same}");
        assert_eq!(rank_me(vectors(&[0.0; 6], 3)).unwrap(), 0.0);
    }

    #[test]
    fn lidar_does_not_count_what_only_tells_views_apart() {
        // Samples differ in two directions, views in a third by much.
        let sample = |i: usize| [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]][i % 4];
        let of = |noise: f32| -> Vec<f32> {
            (0..8)
                .flat_map(|at| [sample(at)[0], sample(at)[1], if at < 4 { noise } else { -noise }])
                .collect()
        };
        let (calm, noisy) = (of(0.0), of(1.0));
        for data in [&calm, &noisy] {
            let found = lidar(vectors(data, 3), 2).unwrap();
            assert!((found - 2.0).abs() < 1e-3, "{found}");
        }
        let counted = spectrum(vectors(&noisy, 3)).unwrap().effective_rank;
        assert!(counted > 2.1, "the plain rank counts the third: {counted}");
    }

    #[test]
    fn each_kind_of_collapse_is_named() {
        let n = 200;
        let value = |i: usize| ((i + 1) * 2_654_435_761 % 1009) as f32 / 504.0 - 1.0;
        let of = |data: &[f32], dim: usize| Collapse::of(&spectrum(vectors(data, dim)).unwrap(), n, dim);
        let healthy: Vec<f32> = (0..n * 64).map(value).collect();
        assert_eq!(of(&healthy, 64), None);
        let point: Vec<f32> = (0..n * 64).map(|i| 5.0 + 0.01 * value(i)).collect();
        assert_eq!(of(&point, 64), Some(Collapse::Complete));
        let plane: Vec<f32> = (0..n * 64)
            .map(|at| {
                let (i, d) = (at / 64, at % 64);
                value(2 * i) * value(d + 7) + value(2 * i + 1) * value(d + 900)
            })
            .collect();
        assert_eq!(of(&plane, 64), Some(Collapse::Dimensional));
        // On a map of two dimensions there is nothing to collapse from.
        let map: Vec<f32> = (0..n * 2).map(value).collect();
        assert_eq!(of(&map, 2), None);
        assert!(
            Collapse::Complete.advice().starts_with("complete")
                && Collapse::Dimensional.advice().contains("covariance")
        );
    }
}
