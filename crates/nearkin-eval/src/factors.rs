//! How much of a map's variance known factors explain.

use std::collections::BTreeMap;

use faer::linalg::solvers::SelfAdjointEigen;
use faer::{Mat, Side as Triangle};
use nearkin_sweep::Vectors;
use serde::Serialize;

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;

/// Levels of all factors together, at most: the additive model solves a system of that many unknowns.
const MOST_LEVELS: usize = 1_000;
/// Eigenvalues below this part of the largest belong to levels that other levels determine.
const DEPENDENT: f64 = 1e-10;

/// What one factor explains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FactorEffect {
    /// `η² = SS_between / SS_total`: the share of the variance that lies between the means of the factor's levels, in [0, 1]. A
    /// factor that explains nothing has about `(levels − 1) / (n − 1)`, not 0.
    pub eta_squared: f64,
    /// `SS_factor / (SS_factor + SS_residual)`, in [0, 1]: of the variance that the other factors leave over, the share that this one
    /// explains. `SS_factor` is what the factor adds to the additive model of all others (type II), so it is right for
    /// designs that are not balanced too. 0 when the others leave nothing over.
    pub partial_eta_squared: f64,
    /// Levels of the factor.
    pub levels: usize,
}

/// Shares of a map's variance explained by categorical factors, one entry a factor, in their order.
///
/// Sums of squares are multivariate: `SS = Σ_i ‖x_i − x̄‖²`, the trace of the scatter matrix, so that a share does not depend on the map's
/// rotation, position or scale (Cohen 1973 for η² and partial η²; Anderson 2001, *A new method for non-parametric multivariate analysis
/// of variance*, for the distances' form of it). The residual of the partial shares is that of the additive model of all
/// factors, fitted by least squares in f64; interactions belong to it.
///
/// Cost: `O(n (f² + f · dim) + levels³)` for `f` factors. Memory: `O(levels · (levels + dim))`.
///
/// # Errors
/// No vectors, a value that is not finite, no factor, a factor that does not name every vector, more than 1,000 levels in all, and
/// vectors that are all equal.
pub fn variance_explained(vectors: Vectors<'_>, factors: &[&[u32]]) -> Result<Vec<FactorEffect>, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    if factors.is_empty() {
        return Err(EvalError::Setting {
            field: "factors",
            found: "none".to_owned(),
            wanted: "at least one",
        });
    }
    let mut numbered = Vec::with_capacity(factors.len());
    for factor in factors {
        if factor.len() != vectors.len() {
            return Err(EvalError::Count {
                what: "levels of a factor",
                found: factor.len(),
                wanted: vectors.len(),
            });
        }
        numbered.push(Levels::of(factor));
    }
    let all: usize = numbered.iter().map(|factor| factor.count).sum();
    if all > MOST_LEVELS {
        return Err(EvalError::Setting {
            field: "levels of all factors together",
            found: all.to_string(),
            wanted: "at most 1,000; group the levels of a fine factor",
        });
    }
    let centred = Rows::centred(vectors);
    let total: f64 = centred.data.iter().map(|x| x * x).sum();
    if total == 0.0 {
        return Err(EvalError::Undefined {
            measure: "the share of variance explained",
            reason: "all vectors are equal, so there is no variance".to_owned(),
        });
    }
    let full = explained(&centred, &numbered.iter().collect::<Vec<_>>())?;
    let residual = (total - full).max(0.0);
    let mut effects = Vec::with_capacity(factors.len());
    for (f, factor) in numbered.iter().enumerate() {
        let others: Vec<&Levels> =
            numbered.iter().enumerate().filter(|(other, _)| *other != f).map(|(_, factor)| factor).collect();
        let without = if others.is_empty() { 0.0 } else { explained(&centred, &others)? };
        let own = (full - without).max(0.0);
        // What is left of rounding is no variance.
        let left = own + residual;
        let partial = if left > 1e-12 * total { own / left } else { 0.0 };
        effects.push(FactorEffect {
            eta_squared: between(&centred, factor) / total,
            partial_eta_squared: partial,
            levels: factor.count,
        });
    }
    Ok(effects)
}

/// A factor whose levels are numbered from 0.
struct Levels {
    of: Vec<usize>,
    count: usize,
}

impl Levels {
    fn of(factor: &[u32]) -> Self {
        let mut numbers: BTreeMap<u32, usize> = factor.iter().map(|&level| (level, 0)).collect();
        numbers.values_mut().enumerate().for_each(|(number, slot)| *slot = number);
        Self { of: factor.iter().map(|level| numbers[level]).collect(), count: numbers.len() }
    }
}

/// Vectors less their mean, in f64.
struct Rows {
    data: Vec<f64>,
    dim: usize,
}

impl Rows {
    fn centred(vectors: Vectors<'_>) -> Self {
        let dim = vectors.dim();
        let mut mean = vec![0.0; dim];
        for row in vectors.data().chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x));
        }
        mean.iter_mut().for_each(|m| *m /= vectors.len() as f64);
        let rows = vectors.data().chunks_exact(dim);
        Self {
            data: rows.flat_map(|row| row.iter().zip(&mean).map(|(x, m)| f64::from(*x) - m)).collect(),
            dim,
        }
    }

    /// The sum of the rows of each level, row-major, and how many they are.
    fn sums(&self, factor: &Levels) -> (Vec<f64>, Vec<f64>) {
        let (mut sums, mut counts) = (vec![0.0; factor.count * self.dim], vec![0.0; factor.count]);
        for (row, &level) in self.data.chunks_exact(self.dim).zip(&factor.of) {
            counts[level] += 1.0;
            sums[level * self.dim..][..self.dim].iter_mut().zip(row).for_each(|(s, x)| *s += x);
        }
        (sums, counts)
    }
}

/// `Σ_level n_level ‖mean of the level‖²` of centred rows.
fn between(rows: &Rows, factor: &Levels) -> f64 {
    let (sums, counts) = rows.sums(factor);
    sums.chunks_exact(rows.dim).zip(&counts).map(|(sum, n)| sum.iter().map(|s| s * s).sum::<f64>() / n).sum()
}

/// The sum of squares that the additive model of `factors` explains: with `A` the indicators of all levels and `Y` the centred rows,
/// `tr(Yᵀ A (AᵀA)⁺ Aᵀ Y)`.
fn explained(rows: &Rows, factors: &[&Levels]) -> Result<f64, EvalError> {
    if let [factor] = factors {
        return Ok(between(rows, factor));
    }
    let starts: Vec<usize> = factors
        .iter()
        .scan(0, |next, factor| {
            *next += factor.count;
            Some(*next - factor.count)
        })
        .collect();
    let levels: usize = factors.iter().map(|factor| factor.count).sum();
    let mut gram = Mat::<f64>::zeros(levels, levels);
    for i in 0..rows.data.len() / rows.dim {
        for (factor, start) in factors.iter().zip(&starts) {
            for (other, other_start) in factors.iter().zip(&starts) {
                gram[(start + factor.of[i], other_start + other.of[i])] += 1.0;
            }
        }
    }
    let sums: Vec<f64> = factors.iter().flat_map(|factor| rows.sums(factor).0).collect();
    // Levels of one factor add up to those of another, so the matrix is singular: its own directions tell which part is there.
    let eigen = SelfAdjointEigen::new(gram.as_ref(), Triangle::Lower)
        .map_err(|_| EvalError::NoConvergence { size: levels })?;
    let (values, directions) = (eigen.S(), eigen.U());
    let largest = values[levels - 1];
    let mut sum = 0.0;
    for k in (0..levels).filter(|&k| values[k] > DEPENDENT * largest) {
        let mut along = vec![0.0; rows.dim];
        for (level, sums) in sums.chunks_exact(rows.dim).enumerate() {
            along.iter_mut().zip(sums).for_each(|(a, s)| *a += directions[(level, k)] * s);
        }
        sum += along.iter().map(|a| a * a).sum::<f64>() / values[k];
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    fn of(points: &[f32], dim: usize, factors: &[&[u32]]) -> Vec<FactorEffect> {
        variance_explained(Vectors::new(points, dim).unwrap(), factors).unwrap()
    }

    #[test]
    fn one_way_by_hand() {
        // Groups {1, 3} and {5, 7}: means 2 and 6, grand mean 4. Between: 2·4 + 2·4 = 16; total: 9 + 1 + 1 + 9 = 20.
        let found = of(&[1.0, 3.0, 5.0, 7.0], 1, &[&[4, 4, 9, 9]]);
        close(found[0].eta_squared, 0.8);
        close(found[0].partial_eta_squared, 0.8);
        assert_eq!(found[0].levels, 2);
        // A second dimension that adds 20 of variance and nothing between: 16 / 40.
        close(of(&[1.0, 1.0, 3.0, 7.0, 5.0, 5.0, 7.0, 3.0], 2, &[&[4, 4, 9, 9]])[0].eta_squared, 0.4);
    }

    #[test]
    fn two_balanced_ways_by_hand() {
        // x = 10 a + 2 b + an interaction of ±1. a: SS 4·25 = 100; b: 4·1 = 4; residual 4; total 108.
        let points = [1.0, 1.0, 9.0, 13.0];
        let found = of(&points, 1, &[&[0, 0, 1, 1], &[0, 1, 0, 1]]);
        close(found[0].eta_squared, 100.0 / 108.0);
        close(found[0].partial_eta_squared, 100.0 / 104.0);
        close(found[1].eta_squared, 4.0 / 108.0);
        close(found[1].partial_eta_squared, 0.5);
    }

    #[test]
    fn an_unbalanced_factor_that_only_goes_with_another_explains_nothing_more() {
        // x follows a alone; b mostly goes with a.
        let a = [0, 0, 0, 0, 1, 1, 1, 1];
        let b = [0, 0, 0, 1, 1, 1, 1, 0];
        let noise = [0.1, -0.1, 0.0, 0.0, 0.1, -0.1, 0.0, 0.0];
        let points: Vec<f32> = a.iter().zip(noise).map(|(&a, e)| a as f32 * 4.0 + e).collect();
        let found = of(&points, 1, &[&a, &b]);
        assert!(found[1].eta_squared > 0.2 && found[1].partial_eta_squared < 1e-6, "{found:?}");
        assert!(found[0].partial_eta_squared > 0.99);
    }

    #[test]
    fn nested_and_repeated_factors_are_no_trouble() {
        let coarse = [0, 0, 0, 1, 1, 1];
        let fine = [0, 1, 1, 2, 3, 3];
        let points = [0.0, 1.0, 3.0, 10.0, 12.0, 13.0];
        let found = of(&points, 1, &[&coarse, &fine, &coarse]);
        // The finer one determines the coarse: nothing of its own is left to it.
        close(found[0].partial_eta_squared, 0.0);
        close(found[2].partial_eta_squared, 0.0);
        // Residual of fine: {1, 3} and {12, 13}: 2 + 0.5. Of coarse: 14/3 + 14/3.
        close(found[1].partial_eta_squared, 1.0 - 2.5 / (28.0 / 3.0));
    }

    #[test]
    fn the_share_is_the_same_after_a_rotation_a_move_and_another_scale() {
        let points: Vec<f32> = (0..60u32).map(|i| (i * 7919 % 101) as f32 / 10.0).collect();
        let factor: Vec<u32> = (0..30).map(|i| i % 4).collect();
        let turned: Vec<f32> = points
            .chunks(2)
            .flat_map(|p| [30.0 + 3.0 * (0.6 * p[0] - 0.8 * p[1]), -7.0 + 3.0 * (0.8 * p[0] + 0.6 * p[1])])
            .collect();
        let (a, b) = (of(&points, 2, &[&factor]), of(&turned, 2, &[&factor]));
        assert!((a[0].eta_squared - b[0].eta_squared).abs() < 1e-5);
    }

    #[test]
    fn bad_input_is_named() {
        let error = |points: &[f32], factors: &[&[u32]]| {
            variance_explained(Vectors::new(points, 1).unwrap(), factors).unwrap_err().to_string()
        };
        assert!(error(&[0.0, 1.0], &[]).contains("factors is none"));
        assert!(error(&[0.0, 1.0], &[&[0]]).contains("found 1, wanted 2"));
        assert!(error(&[2.0, 2.0], &[&[0, 1]]).contains("no variance"));
        assert!(error(&[f32::NAN, 2.0], &[&[0, 1]]).contains("row 0"));
        let many: Vec<u32> = (0..1001).collect();
        assert!(error(&vec![0.0; 1001], &[&many]).contains("1001"));
    }
}
