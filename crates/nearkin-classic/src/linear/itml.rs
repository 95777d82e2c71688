//! Information-theoretic metric learning.
//!
//! J. Davis, B. Kulis, P. Jain, S. Sra, I. Dhillon, "Information-Theoretic Metric Learning", 2007. Of all Mahalanobis matrices
//! the one nearest to `M_0`, by the divergence `D(M, M_0) = tr(M M_0⁻¹) − ln det(M M_0⁻¹) − d`, for which
//!
//! ```text
//! (x_i − x_j)ᵀ M (x_i − x_j) ≤ u for kin        ≥ l for strangers
//! ```
//!
//! where each bound may move to `ξ`, at the price `γ D(ξ, bound)`. The constraints are met in turn, each by a Bregman projection,
//! `M ← M + β M v vᵀ M` with `v = x_i − x_j`, and returned to until the multipliers settle. With `p = vᵀ M v` and `δ = 1` for kin,
//! −1 for strangers, a projection is
//!
//! ```text
//! α = min(λ, δ γ/(γ + 1) (1/p − 1/ξ))    β = δ α / (1 − δ α p)    ξ ← γ ξ / (γ + δ α ξ)    λ ← λ − α
//! ```
//!
//! The factor `γ/(γ + 1)`, which the authors' program has too, makes `p` and `ξ` meet exactly.
//!
//! Cost: `6 d²` a pair and round; more at [`Itml::fit`].
//!
//! When to use it: all that is known are pairs, with an idea of how near is near.
//!
//! ```
//! use nearkin_classic::{Itml, Pairs};
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let pairs = Pairs { kin: vec![(0, 1), (1, 2), (3, 4)], strangers: vec![(0, 3), (1, 4), (2, 5)] };
//! let fitted = Itml::new().bounds(0.5, 2.0).fit(x, &pairs)?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::{Vectors, wide};
use serde::{Deserialize, Serialize};

use crate::algebra::{Matrix, dot, mean};
use crate::error::ClassicError;
use crate::input::{above_zero, check, check_labels, positive_definite, setting};
use crate::linear::{Fitted, LinearMap};
use crate::mahalanobis::Mahalanobis;
use crate::observer::Observer;
use crate::supervision::{Pairs, Sides, difference};

/// Settings of ITML.
#[derive(Debug, Clone, PartialEq)]
pub struct Itml {
    gamma: f64,
    bounds: Option<(f64, f64)>,
    prior: Option<Matrix>,
    rounds: usize,
    tolerance: f64,
    observer: Observer,
}

/// How the projections went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Projections {
    /// Times that every pair was visited.
    pub rounds: usize,
    /// By how much the multipliers still changed in the last round, as a part of their size.
    pub change: f64,
    /// `u` and `l`, squared distances.
    pub bounds: (f64, f64),
}

impl Default for Itml {
    fn default() -> Self {
        Self {
            gamma: 1.0,
            bounds: None,
            prior: None,
            rounds: 1000,
            tolerance: 1e-3,
            observer: Observer::default(),
        }
    }
}

impl Itml {
    /// As published: `M_0` the identity, γ = 1, and bounds at the 5th and 95th hundredth of the pairs' squared distances.
    pub fn new() -> Self {
        Self::default()
    }

    /// The price γ of moving a bound, above 0: the larger, the harder the bounds.
    #[must_use]
    pub fn gamma(self, gamma: f64) -> Self {
        Self { gamma, ..self }
    }

    /// The squared distance `u` that kin are to keep below, and `l` that strangers are to keep above.
    #[must_use]
    pub fn bounds(self, u: f64, l: f64) -> Self {
        Self { bounds: Some((u, l)), ..self }
    }

    /// The matrix `M_0` to stay near, positive definite.
    #[must_use]
    pub fn prior(self, prior: Matrix) -> Self {
        Self { prior: Some(prior), ..self }
    }

    /// Stops after so many rounds, or when the multipliers change by no more than this part of their size.
    #[must_use]
    pub fn stop(self, rounds: usize, tolerance: f64) -> Self {
        Self { rounds, tolerance, ..self }
    }

    /// Watched, round by round; the objective is the change of the multipliers.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// From labels: by `count` pairs of kin and as many of strangers. Equal samples of two classes are left out.
    ///
    /// # Errors
    /// As [`Pairs::of_labels`] and [`fit`](Self::fit).
    pub fn fit_labels(
        &self,
        vectors: Vectors<'_>,
        labels: &[u32],
        count: usize,
        seed: u64,
    ) -> Result<Fitted<Projections>, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        check_labels(vectors, labels)?;
        self.fit(vectors, &Pairs::of_labels(labels, count, seed)?.parted(vectors))
    }

    /// From pairs. The map is d × d, or of the rank of `M`.
    ///
    /// Cost: `6 d²` operations a pair and round, one after the other; memory: d × d, and d values a pair.
    ///
    /// # Errors
    /// Values that are not finite; no pairs; a pair of a sample with itself or with one that is not there; strangers that are
    /// equal; settings out of range; a prior that is not positive definite.
    pub fn fit(&self, vectors: Vectors<'_>, pairs: &Pairs) -> Result<Fitted<Projections>, ClassicError> {
        let mut state = State::new(self, vectors, pairs)?;
        let (mut rounds, mut change) = (0, f64::INFINITY);
        while rounds < self.rounds && change > self.tolerance {
            change = state.round(self.gamma);
            rounds += 1;
            if !self.observer.goes_on(rounds, self.rounds, change) {
                break;
            }
        }
        if !state.metric.data().iter().all(|m| m.is_finite()) {
            return Err(ClassicError::Overflow { what: "the metric" });
        }
        let factor = Mahalanobis::nearest(&state.metric)?.factor()?;
        let how = Projections { rounds, change, bounds: state.bounds };
        Ok(Fitted { map: LinearMap::of(mean(vectors), factor), how })
    }
}

struct State {
    metric: Matrix,
    bounds: (f64, f64),
    constraints: Vec<Constraint>,
    /// `M v`, to work in.
    image: Vec<f64>,
}

struct Constraint {
    /// `x_i − x_j`.
    v: Vec<f64>,
    /// 1 for kin, −1 for strangers.
    delta: f64,
    /// ξ.
    bound: f64,
    /// λ.
    multiplier: f64,
}

impl State {
    fn new(settings: &Itml, vectors: Vectors<'_>, pairs: &Pairs) -> Result<Self, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        above_zero("gamma", settings.gamma)?;
        setting("rounds", settings.rounds as f64, settings.rounds > 0, "1 or more")?;
        setting("tolerance", settings.tolerance, settings.tolerance >= 0.0, "0 or more")?;
        let d = vectors.dim();
        let metric = match &settings.prior {
            None => Matrix::identity(d, d),
            Some(prior) => positive_definite(prior, d)?,
        };
        pairs.check(vectors.len(), Sides::Any)?;
        let mut constraints = Vec::new();
        for (pair, delta) in pairs.iter() {
            let v = difference(vectors, pair);
            match v.iter().all(|x| *x == 0.0) {
                true if delta < 0.0 => return Err(ClassicError::EqualStrangers { pair }),
                // Equal kin are as near as can be.
                true => {}
                false => constraints.push(Constraint { v, delta, bound: 0.0, multiplier: 0.0 }),
            }
        }
        if constraints.is_empty() {
            return Err(ClassicError::NoTuples { what: "pairs of different samples" });
        }
        let mut state = Self { metric, bounds: (0.0, 0.0), constraints, image: vec![0.0; d] };
        state.bounds = settings.bounds.unwrap_or_else(|| state.spread());
        let (u, l) = state.bounds;
        above_zero("u", u)?;
        above_zero("l", l)?;
        for constraint in &mut state.constraints {
            constraint.bound = if constraint.delta > 0.0 { u } else { l };
        }
        Ok(state)
    }

    /// The 5th and the 95th hundredth of the pairs' squared distances.
    fn spread(&self) -> (f64, f64) {
        let mut squares: Vec<f64> = self.constraints.iter().map(|c| square(&self.metric, &c.v)).collect();
        squares.sort_by(f64::total_cmp);
        let at = |part: f64| squares[((squares.len() - 1) as f64 * part).round() as usize];
        (at(0.05), at(0.95))
    }

    /// Visits every pair once; returns the change of the multipliers as a part of their size.
    fn round(&mut self, gamma: f64) -> f64 {
        let (mut changed, mut before, mut after) = (0.0, 0.0, 0.0);
        let share = gamma / (gamma + 1.0);
        for Constraint { v, delta, bound, multiplier } in &mut self.constraints {
            let (metric, image) = (&mut self.metric, &mut self.image);
            wide(
                #[inline(always)]
                || apply(metric, v, image),
            );
            let p = dot(image, v);
            let alpha = multiplier.min(*delta * share * (1.0 / p - 1.0 / *bound));
            before += multiplier.powi(2);
            changed += alpha.abs();
            *multiplier -= alpha;
            after += multiplier.powi(2);
            if alpha == 0.0 {
                continue;
            }
            *bound = gamma * *bound / (gamma + *delta * alpha * *bound);
            let beta = *delta * alpha / (1.0 - *delta * alpha * p);
            wide(
                #[inline(always)]
                || {
                    for (r, y) in image.iter().enumerate() {
                        let factor = beta * y;
                        metric.row_mut(r).iter_mut().zip(image.iter()).for_each(|(m, y)| *m += factor * y);
                    }
                },
            );
        }
        let size = before.sqrt() + after.sqrt();
        if size == 0.0 { 0.0 } else { changed / size }
    }
}

/// `M v` of a symmetric `M`, as a sum of rows: four at a time, in vectors.
#[inline(always)]
fn apply(metric: &Matrix, v: &[f64], image: &mut [f64]) {
    let d = v.len();
    image.fill(0.0);
    let mut rows = metric.data().chunks_exact(4 * d);
    for (rows, v) in (&mut rows).zip(v.chunks_exact(4)) {
        let ((a, b), (c, e)) = (rows[..2 * d].split_at(d), rows[2 * d..].split_at(d));
        for ((((y, a), b), c), e) in image.iter_mut().zip(a).zip(b).zip(c).zip(e) {
            *y += (v[0] * a + v[1] * b) + (v[2] * c + v[3] * e);
        }
    }
    for (row, v) in rows.remainder().chunks_exact(d).zip(v.chunks_exact(4).remainder()) {
        image.iter_mut().zip(row).for_each(|(y, m)| *y += v * m);
    }
}

/// `vᵀ M v`.
fn square(metric: &Matrix, v: &[f64]) -> f64 {
    (0..v.len()).map(|r| v[r] * dot(metric.row(r), v)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    /// Two classes that differ along the first of three columns.
    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(17), n * 3);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
        let x = |at: usize| {
            if at.is_multiple_of(3) { 0.4 * noise[at] + 2.0 * f64::from(labels[at / 3]) } else { noise[at] }
        };
        ((0..3 * n).map(|at| x(at) as f32).collect(), labels)
    }

    #[test]
    fn a_metric_is_applied_row_by_row_at_every_size() {
        for d in 1..10 {
            let metric = Matrix::from_fn(d, d, |r, c| ((r + c) % 5) as f64 - 1.5);
            let v: Vec<f64> = (0..d).map(|c| c as f64 - 2.0).collect();
            let mut image = vec![f64::NAN; d];
            apply(&metric, &v, &mut image);
            assert!((0..d).all(|r| (image[r] - dot(metric.row(r), &v)).abs() < 1e-12), "{d}");
        }
    }

    #[test]
    fn a_hand_worked_pair_is_projected_at_once() {
        // p = 4, u = 1, γ = 1: α = ½ (1/4 − 1) = −3/8, β = −3/8 / (1 + 3/2) = −3/20, p' = 4 − 3/20 · 16 = 8/5; ξ' = 1/(1 − 3/8).
        let samples = [0.0, 2.0];
        let pairs = Pairs { kin: vec![(0, 1)], strangers: vec![] };
        let fitted = Itml::new().bounds(1.0, 9.0).fit(Vectors::new(&samples, 1).unwrap(), &pairs).unwrap();
        assert!((fitted.map.metric().matrix().data()[0] - 0.4).abs() < 1e-12);
        assert!(fitted.how.rounds <= 2);
    }

    #[test]
    fn the_optimality_conditions_hold() {
        let (table, labels) = table(60);
        let vectors = Vectors::new(&table, 3).unwrap();
        let pairs = Pairs::of_labels(&labels, 40, 1).unwrap();
        let settings = Itml::new().gamma(2.0).stop(20_000, 1e-12);
        let mut state = State::new(&settings, vectors, &pairs).unwrap();
        let (u, l) = state.bounds;
        while state.round(2.0) > 1e-12 {}
        // Stationary: M⁻¹ = M_0⁻¹ + Σ δ λ v vᵀ, and 1/ξ = 1/bound − δ λ / γ.
        let mut inverse = Matrix::identity(3, 3);
        for c in &state.constraints {
            assert!(c.multiplier >= 0.0);
            for r in 0..3 {
                inverse
                    .row_mut(r)
                    .iter_mut()
                    .zip(&c.v)
                    .for_each(|(m, x)| *m += c.delta * c.multiplier * c.v[r] * x);
            }
            let bound = if c.delta > 0.0 { u } else { l };
            assert!((1.0 / c.bound - (1.0 / bound - c.delta * c.multiplier / 2.0)).abs() < 1e-8);
            // Feasible, and tight where the multiplier is not 0.
            let slack = c.delta * (c.bound - square(&state.metric, &c.v));
            assert!(slack > -1e-6 * bound && (c.multiplier < 1e-9 || slack.abs() < 1e-6 * bound), "{slack}");
        }
        let one = inverse.times(&state.metric);
        assert!(
            one.data().iter().zip(Matrix::identity(3, 3).data()).all(|(a, b)| (a - b).abs() < 1e-6),
            "{one:?}"
        );
    }

    #[test]
    fn labels_bring_out_the_column_that_tells() {
        let (table, labels) = table(80);
        let fitted = Itml::new().fit_labels(Vectors::new(&table, 3).unwrap(), &labels, 100, 0).unwrap();
        assert_eq!(fitted.map.telling_columns()[0].0, 0);
    }

    #[test]
    fn bad_pairs_are_refused_and_equal_kin_are_not() {
        let samples = [0.0, 0.0, 1.0];
        let vectors = Vectors::new(&samples, 1).unwrap();
        let fit = |kin: &[(u32, u32)], strangers: &[(u32, u32)]| {
            Itml::new().fit(vectors, &Pairs { kin: kin.to_vec(), strangers: strangers.to_vec() })
        };
        assert!(fit(&[(0, 1), (0, 2)], &[]).is_ok());
        assert!(matches!(fit(&[(0, 1)], &[]), Err(ClassicError::NoTuples { .. })));
        assert!(matches!(fit(&[], &[(0, 1)]), Err(ClassicError::EqualStrangers { pair: (0, 1) })));
        assert!(matches!(fit(&[(0, 3)], &[]), Err(ClassicError::NoSuchSample { sample: 3, samples: 3, .. })));
        assert!(matches!(fit(&[(2, 2)], &[]), Err(ClassicError::SameTwice { sample: 2, .. })));
        let pairs = Pairs { kin: vec![(0, 2)], strangers: vec![] };
        assert!(Itml::new().gamma(0.0).fit(vectors, &pairs).is_err());
        assert!(Itml::new().prior(Matrix::zeros(1, 1)).fit(vectors, &pairs).is_err());
        assert!(Itml::new().bounds(-1.0, 1.0).fit(vectors, &pairs).is_err());
    }
}
