//! W-MSE: whitened views of a sample lie in one direction.
//!
//! A. Ermolov, A. Siarohin, E. Sangineto, N. Sebe, "Whitening for Self-Supervised Representation Learning", 2021, eq. 3 to 6. Each
//! view's vectors are whitened in slices of a batch, by the Cholesky factor of the slice's covariance, and compared on the sphere:
//!
//! ```text
//! z = W (x − μ),   W = L⁻¹,   Σ = L Lᵀ          ℓ = 2 − 2 cos(z_i, z_j) over pairs of views of a sample
//! ```
//!
//! Whitened vectors have the identity for covariance, so they cannot all be the same.

use nearkin_sweep::Vectors;

use crate::loss::{LossError, Pull, check};
use crate::random::Stream;

/// The loss of W-MSE. Reduced to the mean over pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WhiteningMse {
    slice: usize,
    shrinkage: f64,
}

impl WhiteningMse {
    /// With slices of so many samples, 128 for 64 dimensions in the paper (about twice as many as dimensions); and with covariances
    /// `(1 − shrinkage) Σ + shrinkage (tr Σ / d) I`: 0 in the authors' code, which then needs slices of full rank. A share of the mean
    /// variance rather than a fixed one, which the network could outdo by making its outputs small.
    ///
    /// # Errors
    /// When a slice has fewer than 2 samples, or the shrinkage is not from 0 to below 1.
    pub fn new(slice: usize, shrinkage: f32) -> Result<Self, LossError> {
        if slice < 2 {
            return Err(LossError::OutOfRange { name: "slice", found: slice as f64, wanted: "at least 2" });
        }
        let shrinkage = check("shrinkage", shrinkage, |s| (0.0..1.0).contains(&s), "0 to below 1")?;
        Ok(Self { slice, shrinkage: shrinkage.into() })
    }

    /// The value, and the gradient as `query_gradient`, of `views` views of the same samples, view-major. `seed` draws which samples
    /// are whitened together; it should be another one each step.
    ///
    /// # Errors
    /// When there are fewer than two views, rows are no multiple of them, or a slice's covariance has no Cholesky factor.
    pub fn pull(&self, views: usize, vectors: Vectors<'_>, seed: u64) -> Result<Pull, LossError> {
        let (rows, d) = (vectors.len(), vectors.dim());
        if views < 2 || !rows.is_multiple_of(views) {
            return Err(LossError::undefined("W-MSE", format!("{rows} vectors are not two or more views")));
        }
        let n = rows / views;
        let mut order: Vec<usize> = (0..n).collect();
        let stream = Stream::new(seed);
        for last in (1..n).rev() {
            order.swap(last, stream.below(last as u64, last + 1));
        }
        // A short rest goes to the slice before it: alone it may have no full rank.
        let slices = (n / self.slice).max(1);
        let pairs = (n * views * (views - 1) / 2) as f64;
        let mut found = Pull {
            terms: n * views * (views - 1) / 2,
            query_gradient: vec![0.0; vectors.data().len()],
            ..Pull::default()
        };
        for at in 0..slices {
            let end = if at + 1 == slices { n } else { (at + 1) * self.slice };
            let members = &order[at * self.slice..end];
            let whitened: Vec<Whitened> = (0..views)
                .map(|view| {
                    let row = |i: &usize| vectors.row(view * n + i).iter().map(|x| f64::from(*x));
                    Whitened::of(members.iter().flat_map(row).collect(), d, self.shrinkage)
                })
                .collect::<Result<_, LossError>>()?;
            let mut pulls = vec![vec![0.0; members.len() * d]; views];
            for one in 0..views {
                for other in one + 1..views {
                    for i in 0..members.len() {
                        let row = i * d..(i + 1) * d;
                        let (a, b) = (&whitened[one].z[row.clone()], &whitened[other].z[row.clone()]);
                        let (energy, at_a, at_b) = directions(a, b);
                        found.loss += energy / pairs;
                        found.active += usize::from(energy > 0.0 || energy.is_nan());
                        let add = |sum: &mut [f64], pull: Vec<f64>| {
                            sum.iter_mut().zip(pull).for_each(|(s, p)| *s += p / pairs);
                        };
                        add(&mut pulls[one][row.clone()], at_a);
                        add(&mut pulls[other][row], at_b);
                    }
                }
            }
            for (view, (whitened, pull)) in whitened.iter().zip(&pulls).enumerate() {
                let gradient = whitened.back(pull);
                for (row, i) in gradient.chunks_exact(d).zip(members) {
                    let out = &mut found.query_gradient[(view * n + i) * d..][..d];
                    out.iter_mut().zip(row).for_each(|(out, g)| *out = *g as f32);
                }
            }
        }
        Ok(found)
    }
}

/// `2 − 2 cos(a, b)` and its gradients; without a direction there is no pull.
fn directions(a: &[f64], b: &[f64]) -> (f64, Vec<f64>, Vec<f64>) {
    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (la, lb) = (length(a), length(b));
    if la == 0.0 || lb == 0.0 {
        return (2.0, vec![0.0; a.len()], vec![0.0; b.len()]);
    }
    let cos = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / (la * lb);
    let pull = |x: &[f64], lx: f64, y: &[f64], ly: f64| -> Vec<f64> {
        x.iter().zip(y).map(|(x, y)| -2.0 * (y / (lx * ly) - cos * x / (lx * lx))).collect()
    };
    (2.0 - 2.0 * cos, pull(a, la, b, lb), pull(b, lb, a, la))
}

/// Whitened rows, and what their gradient needs. Matrices are row-major.
struct Whitened {
    d: usize,
    shrinkage: f64,
    /// `x − μ`
    centred: Vec<f64>,
    /// `L`, lower triangular.
    factor: Vec<f64>,
    /// `W = L⁻¹`, lower triangular.
    inverse: Vec<f64>,
    z: Vec<f64>,
}

impl Whitened {
    fn of(mut x: Vec<f64>, d: usize, shrinkage: f64) -> Result<Self, LossError> {
        let s = x.len() / d;
        subtract_means(&mut x, d);
        let mut covariance = transposed_product(&x, &x, d);
        covariance.iter_mut().for_each(|c| *c /= freedom(s));
        shrink(&mut covariance, d, shrinkage);
        let factor = cholesky(&covariance, d).ok_or_else(|| {
            let why = format!(
                "a slice of {s} vectors has no full rank in {d} dimensions: give larger slices or more shrinkage"
            );
            LossError::undefined("W-MSE", why)
        })?;
        let inverse = lower_inverse(&factor, d);
        let z = product(&x, &transposed(&inverse, d), d);
        Ok(Self { d, shrinkage, centred: x, factor, inverse, z })
    }

    /// `∂ℓ/∂x` from `∂ℓ/∂z`, through the whitening matrix too (I. Murray, "Differentiation of the Cholesky decomposition", 2016).
    fn back(&self, pull: &[f64]) -> Vec<f64> {
        let d = self.d;
        let (w, w_t) = (&self.inverse, transposed(&self.inverse, d));
        let at_w = transposed_product(pull, &self.centred, d);
        // L̄ = −tril(Wᵀ W̄ Wᵀ)
        let mut at_l = product(&product(&w_t, &at_w, d), &w_t, d);
        for (at, value) in at_l.iter_mut().enumerate() {
            *value = if at % d <= at / d { -*value } else { 0.0 };
        }
        // Σ̄ = sym(Wᵀ Φ(Lᵀ L̄) W), where Φ takes the lower triangle and half the diagonal.
        let mut phi = transposed_product(&self.factor, &at_l, d);
        for (at, value) in phi.iter_mut().enumerate() {
            let (row, column) = (at / d, at % d);
            *value *= if column < row {
                1.0
            } else if column == row {
                0.5
            } else {
                0.0
            };
        }
        let at_covariance = product(&product(&w_t, &phi, d), w, d);
        let mut symmetric: Vec<f64> =
            (0..d * d).map(|at| at_covariance[at] + at_covariance[at % d * d + at / d]).collect();
        // Shrinking is its own adjoint.
        shrink(&mut symmetric, d, self.shrinkage);
        let weight = 1.0 / freedom(self.centred.len() / d);
        let mut gradient = product(pull, w, d);
        let through = product(&self.centred, &symmetric, d);
        gradient.iter_mut().zip(through).for_each(|(g, t)| *g += weight * t);
        subtract_means(&mut gradient, d);
        gradient
    }
}

/// What the products of so many centred vectors are divided by in their covariance.
fn freedom(vectors: usize) -> f64 {
    (vectors.max(2) - 1) as f64
}

/// `(1 − shrinkage) M + shrinkage (tr M / d) I`
fn shrink(matrix: &mut [f64], d: usize, shrinkage: f64) {
    let mean = (0..d).map(|j| matrix[j * d + j]).sum::<f64>() / d as f64;
    matrix.iter_mut().for_each(|m| *m *= 1.0 - shrinkage);
    (0..d).for_each(|j| matrix[j * d + j] += shrinkage * mean);
}

fn subtract_means(x: &mut [f64], d: usize) {
    let rows = (x.len() / d) as f64;
    for j in 0..d {
        let mean = x.iter().skip(j).step_by(d).sum::<f64>() / rows;
        x.iter_mut().skip(j).step_by(d).for_each(|x| *x -= mean);
    }
}

/// `a b` for `a` of any number of rows and `b` of `d × d`.
fn product(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let mut out = vec![0.0; a.len()];
    for (row, out) in a.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        for (x, of_b) in row.iter().zip(b.chunks_exact(d)) {
            out.iter_mut().zip(of_b).for_each(|(o, b)| *o += x * b);
        }
    }
    out
}

/// `aᵀ b`, `d × d`.
fn transposed_product(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let mut out = vec![0.0; d * d];
    for (of_a, of_b) in a.chunks_exact(d).zip(b.chunks_exact(d)) {
        for (x, out) in of_a.iter().zip(out.chunks_exact_mut(d)) {
            out.iter_mut().zip(of_b).for_each(|(o, b)| *o += x * b);
        }
    }
    out
}

fn transposed(a: &[f64], d: usize) -> Vec<f64> {
    (0..d * d).map(|at| a[at % d * d + at / d]).collect()
}

/// The lower factor of a symmetric positive definite matrix; `None` for another.
fn cholesky(a: &[f64], d: usize) -> Option<Vec<f64>> {
    let mut l = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i * d + k] * l[j * d + k]).sum();
            let rest = a[i * d + j] - dot;
            if i != j {
                l[i * d + j] = rest / l[j * d + j];
            } else if rest > f64::EPSILON * a[i * d + i] {
                l[i * d + i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    Some(l)
}

fn lower_inverse(l: &[f64], d: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; d * d];
    for column in 0..d {
        for row in column..d {
            let dot: f64 = (column..row).map(|k| l[row * d + k] * inverse[k * d + column]).sum();
            let wanted = f64::from(u8::from(row == column));
            inverse[row * d + column] = (wanted - dot) / l[row * d + row];
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i + 1) * 2_654_435_761 % 1009) as f32 / 504.0 - 1.0).collect()
    }

    #[test]
    fn whitened_rows_have_the_identity_for_covariance() {
        let x: Vec<f64> = noise(20 * 3).into_iter().map(f64::from).collect();
        let z = Whitened::of(x, 3, 0.0).unwrap().z;
        let covariance = transposed_product(&z, &z, 3);
        for (at, found) in covariance.iter().enumerate() {
            let wanted = if at % 4 == 0 { 19.0 } else { 0.0 };
            assert!((found - wanted).abs() < 1e-9, "{covariance:?}");
        }
    }

    #[test]
    fn views_that_are_linear_maps_of_each_other_by_a_triangle_are_the_same_when_whitened() {
        // Neighbours of `noise` lie on a line, which has no rank to whiten.
        let one: Vec<f32> = (0..24).map(|i| ((i * i * 31 + i * 7) % 101) as f32 / 50.0 - 1.0).collect();
        // (x, y) ↦ (2x, x + 3y): a lower triangular map of positive diagonal is absorbed.
        let other: Vec<f32> = one.chunks(2).flat_map(|v| [2.0 * v[0], v[0] + 3.0 * v[1]]).collect();
        let both = [one, other].concat();
        let found = WhiteningMse::new(12, 0.0).unwrap().pull(2, Vectors::new(&both, 2).unwrap(), 1).unwrap();
        assert!(found.loss.abs() < 1e-6 && found.terms == 12, "{}", found.loss);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (views, n, d) = (3, 11, 3);
        let x = noise(views * n * d);
        let loss = WhiteningMse::new(5, 0.1).unwrap();
        let pull = |x: &[f32]| loss.pull(views, Vectors::new(x, d).unwrap(), 4).unwrap();
        let found = pull(&x).query_gradient;
        for at in 0..x.len() {
            let by = |step: f32| {
                let mut moved = x.clone();
                moved[at] += step;
                (pull(&moved).loss, f64::from(moved[at]))
            };
            let ((high, above), (low, below)) = (by(1e-4), by(-1e-4));
            let wanted = (high - low) / (above - below);
            assert!((f64::from(found[at]) - wanted).abs() < 1e-4, "{at}: {} for {wanted}", found[at]);
        }
    }

    #[test]
    fn what_cannot_be_whitened_is_refused_with_a_way_out() {
        let loss = WhiteningMse::new(4, 0.0).unwrap();
        let same = vec![1.0; 8 * 2];
        let error = loss.pull(2, Vectors::new(&same, 2).unwrap(), 1).unwrap_err().to_string();
        assert!(error.contains("more shrinkage"), "{error}");
        let shrinking = WhiteningMse::new(4, 0.1).unwrap();
        assert!(
            shrinking.pull(2, Vectors::new(&same, 2).unwrap(), 1).is_err(),
            "no variance to shrink towards"
        );
        let line: Vec<f32> = noise(8).into_iter().flat_map(|x| [x, 2.0 * x]).collect();
        assert!(loss.pull(2, Vectors::new(&line, 2).unwrap(), 1).is_err());
        let found = shrinking.pull(2, Vectors::new(&line, 2).unwrap(), 1).unwrap();
        let small: Vec<f32> = line.iter().map(|x| x / 1024.0).collect();
        let of_small = shrinking.pull(2, Vectors::new(&small, 2).unwrap(), 1).unwrap();
        assert!((found.loss - of_small.loss).abs() < 1e-9, "the scale of the outputs is no way out");
        assert!(loss.pull(1, Vectors::new(&same, 2).unwrap(), 1).is_err());
        assert!(WhiteningMse::new(1, 0.0).is_err() && WhiteningMse::new(4, 1.0).is_err());
    }
}
