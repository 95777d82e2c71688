//! The graphical lasso: a sparse inverse of a covariance.
//!
//! J. Friedman, T. Hastie, R. Tibshirani, "Sparse inverse covariance estimation with the graphical lasso", 2008. For a symmetric `S`
//! and `λ ≥ 0`,
//!
//! ```text
//! min_{Θ ≻ 0} tr(S Θ) − ln det Θ + λ Σ_{i≠j} |Θ_ij|
//! ```
//!
//! whose dual is `max ln det W + d` over `W` with `W_ii = S_ii`, `|W_ij − S_ij| ≤ λ`. A column of `W` at a time is brought to its
//! best, which is a lasso, solved coordinate by coordinate; so `ln det W` never falls and `W` stays positive definite. The
//! difference of the two objectives, the *gap*, bounds how far either is from its optimum, and tells when to stop.
//!
//! Cost: about `d³` operations a round and coordinate pass; memory: three d × d matrices.

use crate::algebra::{Eigen, Matrix, add, dot};
use crate::error::ClassicError;
use crate::observer::Observer;

/// What was found.
pub(crate) struct Sparse {
    /// Θ.
    pub(crate) precision: Matrix,
    pub(crate) objective: f64,
    pub(crate) gap: f64,
    pub(crate) rounds: usize,
}

/// Passes over the coordinates of one lasso, at most.
const PASSES: usize = 1000;

/// Stops when the gap is no more than `tolerance`, after `rounds`, or when the observer says so: then with the best so far.
///
/// # Errors
/// When no start is found, since `S` with its entries off the diagonal shrunk by λ is not positive definite.
pub(crate) fn graphical_lasso(
    s: &Matrix,
    lambda: f64,
    rounds: usize,
    tolerance: f64,
    observer: &Observer,
) -> Result<Sparse, ClassicError> {
    let d = s.rows();
    let shrunk = |x: f64| x.signum() * (x.abs() - lambda).max(0.0);
    let mut w = Matrix::from_fn(d, d, |r, c| if r == c { s.row(r)[c] } else { shrunk(s.row(r)[c]) });
    let least = Eigen::new(&w)?.values[d - 1];
    if least <= 1e-12 * s.trace().abs() / d as f64 {
        return Err(ClassicError::Unbounded { least });
    }
    // The lasso's coefficients of each column.
    let mut betas = Matrix::zeros(d, d);
    let mut best: Option<Sparse> = None;
    for round in 1..=rounds {
        for j in 0..d {
            lasso(&w, s.row(j), lambda, j, betas.row_mut(j));
            let beta = betas.row(j);
            let column: Vec<f64> =
                (0..d).map(|k| if k == j { w.row(j)[j] } else { dot(w.row(k), beta) }).collect();
            for (k, value) in column.into_iter().enumerate() {
                w.row_mut(j)[k] = value;
                w.row_mut(k)[j] = value;
            }
        }
        let found = Sparse { rounds: round, ..primal(&w, &betas, s, lambda)? };
        let objective = found.objective;
        if best.as_ref().is_none_or(|best| found.objective <= best.objective) {
            best = Some(found);
        }
        let gap = best.as_ref().map_or(f64::INFINITY, |best| best.gap);
        if !observer.goes_on(round, rounds, objective) || gap <= tolerance {
            break;
        }
    }
    best.ok_or(ClassicError::Overflow { what: "the sparse inverse" })
}

/// `min_β ½ βᵀ W β − sᵀ β + λ ‖β‖₁` over all coordinates but `j`, which stays 0.
fn lasso(w: &Matrix, s: &[f64], lambda: f64, j: usize, beta: &mut [f64]) {
    let d = beta.len();
    // W β, kept up with β.
    let mut image = vec![0.0; d];
    for (k, weight) in beta.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
        add(&mut image, *weight, w.row(k));
    }
    for _ in 0..PASSES {
        let (mut moved, mut size) = (0.0f64, 0.0f64);
        for k in (0..d).filter(|&k| k != j) {
            let own = w.row(k)[k];
            let rest = s[k] - image[k] + own * beta[k];
            let next = rest.signum() * (rest.abs() - lambda).max(0.0) / own;
            let step = next - beta[k];
            if step != 0.0 {
                beta[k] = next;
                add(&mut image, step, w.row(k));
            }
            (moved, size) = (moved.max((step * own).abs()), size.max((next * own).abs()));
        }
        if moved <= 1e-14 * size.max(lambda) {
            break;
        }
    }
}

/// Θ of the columns' coefficients, and how good it is.
fn primal(w: &Matrix, betas: &Matrix, s: &Matrix, lambda: f64) -> Result<Sparse, ClassicError> {
    let d = w.rows();
    let diagonal: Vec<f64> = (0..d).map(|j| 1.0 / (w.row(j)[j] - dot(w.row(j), betas.row(j)))).collect();
    // Columns agree with rows at the optimum; before, an entry is 0 where either is.
    let precision = Matrix::from_fn(d, d, |r, c| {
        let (a, b) = (-betas.row(r)[c] * diagonal[r], -betas.row(c)[r] * diagonal[c]);
        match (r == c, a == 0.0 || b == 0.0) {
            (true, _) => diagonal[r],
            (_, true) => 0.0,
            _ => 0.5 * (a + b),
        }
    });
    let (eigen, dual) = (Eigen::new(&precision)?, Eigen::new(w)?);
    let log_det = |values: &[f64]| match values.iter().all(|value| *value > 0.0) {
        true => values.iter().map(|value| value.ln()).sum(),
        false => f64::NEG_INFINITY,
    };
    let off: f64 = precision.data().iter().map(|x| x.abs()).sum::<f64>() - diagonal.iter().sum::<f64>();
    let objective = dot(s.data(), precision.data()) - log_det(&eigen.values) + lambda * off;
    Ok(Sparse { precision, objective, gap: objective - log_det(&dual.values) - d as f64, rounds: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    fn solve(s: &Matrix, lambda: f64) -> Sparse {
        graphical_lasso(s, lambda, 500, 1e-12, &Observer::default()).unwrap()
    }

    #[test]
    fn a_hand_worked_pair_is_shrunk_and_inverted() {
        // W = [2, 0.3; 0.3, 1] for S_12 = 0.8, λ = 0.5; Θ = W⁻¹.
        let found = solve(&Matrix::new(2, 2, vec![2.0, 0.8, 0.8, 1.0]).unwrap(), 0.5);
        let det = 2.0 - 0.09;
        let wanted = [1.0 / det, -0.3 / det, -0.3 / det, 2.0 / det];
        assert!(found.precision.data().iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-10));
        let apart = solve(&Matrix::new(2, 2, vec![2.0, 0.4, 0.4, 1.0]).unwrap(), 0.5);
        assert_eq!(apart.precision.data(), [0.5, 0.0, 0.0, 1.0]);
    }

    /// A covariance of few samples, so nearly singular.
    fn covariance(d: usize, n: usize) -> Matrix {
        let samples = Matrix::new(n, d, normals(&mut stream(37), n * d)).unwrap();
        Matrix::zeros(d, d).plus(1.0 / n as f64, &samples.squared().symmetric())
    }

    #[test]
    fn the_conditions_of_karush_kuhn_and_tucker_hold() {
        // S − Θ⁻¹ is 0 on the diagonal, −λ sign Θ_ij where Θ_ij is not 0, and within λ elsewhere.
        let s = covariance(12, 15);
        for lambda in [0.01, 0.1, 0.3] {
            let found = solve(&s, lambda);
            let eigen = Eigen::new(&found.precision).unwrap();
            assert!(eigen.values.iter().all(|value| *value > 0.0));
            let inverse = eigen.power(-1.0);
            for r in 0..12 {
                for c in 0..12 {
                    let (slope, theta) = (s.row(r)[c] - inverse.row(r)[c], found.precision.row(r)[c]);
                    let wrong = match (r == c, theta == 0.0) {
                        (true, _) => slope.abs(),
                        (_, false) => (slope + lambda * theta.signum()).abs(),
                        _ => slope.abs() - lambda,
                    };
                    assert!(wrong < 1e-5, "λ = {lambda}, ({r}, {c}): {wrong}, gap {}", found.gap);
                }
            }
            assert!(found.gap.abs() < 1e-9, "{}", found.gap);
            let zeros = found.precision.data().iter().filter(|x| **x == 0.0).count();
            assert!(lambda < 0.1 || zeros > 10, "{zeros}");
        }
    }

    #[test]
    fn without_a_penalty_it_is_the_inverse_and_what_has_none_is_refused() {
        let s = covariance(4, 40);
        let one = solve(&s, 0.0).precision.times(&s);
        assert!(one.data().iter().zip(Matrix::identity(4, 4).data()).all(|(a, b)| (a - b).abs() < 1e-6));
        let indefinite = Matrix::new(2, 2, vec![1.0, 3.0, 3.0, 1.0]).unwrap();
        let found = graphical_lasso(&indefinite, 0.1, 9, 0.0, &Observer::default());
        assert!(matches!(found, Err(ClassicError::Unbounded { .. })));
        // Shrunk by enough it has one all the same.
        assert!(solve(&indefinite, 2.5).gap < 1e-9);
    }
}
