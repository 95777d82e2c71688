//! Metric learning for clustering with side information.
//!
//! E. Xing, A. Ng, M. Jordan, S. Russell, "Distance Metric Learning, with Application to Clustering with Side-Information", 2002,
//! also called MMC. Strangers are to be far, by distances that are not squared, while kin stay near:
//!
//! ```text
//! max Σ_strangers ‖x_i − x_j‖_M     subject to   Σ_kin ‖x_i − x_j‖²_M ≤ 1,  M ⪰ 0
//! ```
//!
//! or the same with a diagonal `M`. The authors climb with projections onto the two constraints. Here `M = LᵀL`, which is always
//! positive semi-definite, and instead of the other constraint the authors' own function for the diagonal case is minimised,
//!
//! ```text
//! g(L) = Σ_kin ‖L (x_i − x_j)‖² − ln Σ_strangers ‖L (x_i − x_j)‖
//! ```
//!
//! At its least the first sum is ½: the program's solution is `2 M`. It is found by L-BFGS.
//!
//! Cost: an evaluation takes `4 n d² + 4 p d` operations for `p` pairs of strangers, or `4 p d` for a diagonal metric; memory
//! `16 n d` bytes.
//!
//! When to use it: pairs of kin and of strangers, and clusters or neighbours are wanted afterwards. The solution is mostly of low
//! rank: the map is a reduction, too.
//!
//! ```
//! use nearkin_classic::{Mmc, Pairs};
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let pairs = Pairs { kin: vec![(0, 1), (1, 2), (3, 4), (4, 5)], strangers: vec![(0, 3), (1, 4), (2, 5)] };
//! let fitted = Mmc::diagonal().fit(Vectors::new(&table, 2)?, &pairs)?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix, add, dot, mean, project, pull_back, scatter};
use crate::error::ClassicError;
use crate::input::{check, check_labels, not_negative};
use crate::lbfgs::{Descent, Lbfgs};
use crate::linear::{Fitted, LinearMap};
use crate::mahalanobis::Mahalanobis;
use crate::observer::Observer;
use crate::supervision::{Pairs, Sides, difference, pull_together, square};

/// Settings of MMC.
#[derive(Debug, Clone, PartialEq)]
pub struct Mmc {
    diagonal: bool,
    ridge: f64,
    descent: Lbfgs,
    observer: Observer,
}

impl Mmc {
    /// A full matrix, by at most 1,000 steps.
    pub fn full() -> Self {
        let descent = Lbfgs { iterations: 1000, tolerance: 1e-9 };
        Self { diagonal: false, ridge: 0.0, descent, observer: Observer::default() }
    }

    /// A weight for each column, by at most 1,000 steps.
    pub fn diagonal() -> Self {
        Self { diagonal: true, ..Self::full() }
    }

    /// Adds this part of the mean variance of all samples, times the pairs of kin, to the scatter of kin; 0 or more. It lets
    /// directions pass in which no kin differ.
    #[must_use]
    pub fn ridge(self, ridge: f64) -> Self {
        Self { ridge, ..self }
    }

    /// By these steps.
    #[must_use]
    pub fn descent(self, descent: Lbfgs) -> Self {
        Self { descent, ..self }
    }

    /// Watched, step by step; the objective is `g`.
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
    ) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        check_labels(vectors, labels)?;
        self.fit(vectors, &Pairs::of_labels(labels, count, seed)?.parted(vectors))
    }

    /// From pairs. The map has as many rows as `M` has rank; the squared distances of kin, and the ridge, sum to 1 under it.
    ///
    /// # Errors
    /// Values that are not finite; no pairs of kin, or none of strangers; pairs of samples that are not there; strangers that are
    /// equal; a direction (of a diagonal metric: a column) in which no kin differ, with no ridge; settings out of range.
    pub fn fit(&self, vectors: Vectors<'_>, pairs: &Pairs) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        self.descent.check()?;
        not_negative("ridge", self.ridge)?;
        let problem = Problem::new(self, vectors, pairs)?;
        let d = vectors.dim();
        let start = problem.start();
        let mut entries =
            if self.diagonal { (0..d).map(|c| start.row(c)[c]).collect() } else { start.data().to_vec() };
        let how = self.descent.minimise(&mut entries, &self.observer, |entries| {
            if self.diagonal { Ok(problem.pull_diagonal(entries)) } else { problem.pull(entries) }
        })?;
        let factor = if self.diagonal { diagonal(&entries) } else { Matrix::new(d, d, entries)? };
        // On the constraint, which the least meets up to the descent's tolerance.
        let kin = problem.kin_sum(&factor).sqrt();
        let factor = Mahalanobis::of_factor(&factor.scale_rows(|_| 1.0 / kin)).factor()?;
        Ok(Fitted { map: LinearMap::of(problem.offset, factor), how })
    }
}

fn diagonal(entries: &[f64]) -> Matrix {
    Matrix::from_fn(entries.len(), entries.len(), |r, c| if r == c { entries[r] } else { 0.0 })
}

struct Problem<'a> {
    vectors: Vectors<'a>,
    offset: Vec<f64>,
    strangers: &'a [(u32, u32)],
    /// `Σ_kin (x_i − x_j)(x_i − x_j)ᵀ`, with the ridge.
    kin: Matrix,
}

impl<'a> Problem<'a> {
    fn new(settings: &Mmc, vectors: Vectors<'a>, pairs: &'a Pairs) -> Result<Self, ClassicError> {
        pairs.check(
            vectors.len(),
            Sides::Both { why: "kin alone would shrink all, strangers alone grow without end; give both" },
        )?;
        let (offset, d) = (mean(vectors), vectors.dim());
        let mut kin = Matrix::zeros(d, d);
        for pair in &pairs.kin {
            let v = difference(vectors, *pair);
            (0..d).for_each(|r| add(kin.row_mut(r), v[r], &v));
        }
        let variance = scatter(vectors, &offset).trace() / (d * vectors.len()) as f64;
        let added = settings.ridge * variance * pairs.kin.len() as f64;
        let kin = kin.plus(added, &Matrix::identity(d, d)).symmetric();
        let what = "the scatter of kin";
        let rank = match settings.diagonal {
            true => (0..d).filter(|&c| kin.row(c)[c] > 0.0).count(),
            false => Eigen::new(&kin)?.rank(),
        };
        if rank < d {
            return Err(ClassicError::Singular { what, rank, dims: d });
        }
        if let Some(pair) =
            pairs.strangers.iter().find(|&&(a, b)| vectors.row(a as usize) == vectors.row(b as usize))
        {
            return Err(ClassicError::EqualStrangers { pair: *pair });
        }
        Ok(Self { vectors, offset, strangers: &pairs.strangers, kin })
    }

    /// The identity at the scale where kin sum to ½, as they do at the least.
    fn start(&self) -> Matrix {
        let d = self.kin.rows();
        Matrix::identity(d, d).scale_rows(|_| (0.5 / self.kin.trace()).sqrt())
    }

    /// `tr(L S Lᵀ)` for the scatter `S` of kin.
    fn kin_sum(&self, l: &Matrix) -> f64 {
        dot(l.times(&self.kin).data(), l.data())
    }

    /// `g` and its gradient.
    fn pull(&self, entries: &[f64]) -> Result<(f64, Vec<f64>), ClassicError> {
        let d = self.kin.rows();
        let l = Matrix::new(d, d, entries.to_vec())?;
        let z = project(self.vectors, &self.offset, &l);
        let distances: Vec<f64> = self.strangers.iter().map(|pair| square(&z, d, *pair).sqrt()).collect();
        let sum: f64 = distances.iter().sum();
        let mut at_z = vec![0.0; z.len()];
        for (pair, distance) in self.strangers.iter().zip(&distances) {
            // A metric of low rank may send strangers to one place: no direction is better then.
            if *distance > 0.0 {
                pull_together(&mut at_z, &z, d, *pair, -0.5 / (sum * distance));
            }
        }
        let near = l.times(&self.kin);
        let gradient = pull_back(&at_z, d, self.vectors, &self.offset).plus(2.0, &near);
        Ok((dot(near.data(), l.data()) - sum.ln(), gradient.data().to_vec()))
    }

    /// The same for the diagonal of a diagonal `L`.
    fn pull_diagonal(&self, scales: &[f64]) -> (f64, Vec<f64>) {
        let (mut sum, mut pushes) = (0.0, vec![0.0; scales.len()]);
        for pair in self.strangers {
            let v = difference(self.vectors, *pair);
            let distance = v.iter().zip(scales).map(|(v, s)| (v * s).powi(2)).sum::<f64>().sqrt();
            sum += distance;
            if distance > 0.0 {
                pushes
                    .iter_mut()
                    .zip(v.iter().zip(scales))
                    .for_each(|(p, (v, s))| *p += v * v * s / distance);
            }
        }
        let kin = |c: usize| self.kin.row(c)[c];
        let value = scales.iter().enumerate().map(|(c, s)| kin(c) * s * s).sum::<f64>() - sum.ln();
        (value, scales.iter().enumerate().map(|(c, s)| 2.0 * kin(c) * s - pushes[c] / sum).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(29), n * 4);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let x = |at: usize| noise[at] + if at % 4 == 1 { 2.5 * f64::from(labels[at / 4]) } else { 0.0 };
        ((0..4 * n).map(|at| x(at) as f32).collect(), labels)
    }

    #[test]
    fn hand_worked_columns_have_their_weights() {
        // Kin differ by (1, 0) and (0, 2): a + 4 b ≤ 1. Strangers differ by (1, 0) and (0, 1): √a + √b is largest where
        // √a = 4 √b: a = 4/5, b = 1/20.
        let table = [0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 1.0, 1.0, 0.0, 1.0];
        let pairs = Pairs { kin: vec![(0, 1), (0, 2)], strangers: vec![(3, 4), (0, 4)] };
        let fitted = Mmc::diagonal().fit(Vectors::new(&table, 2).unwrap(), &pairs).unwrap();
        let metric = fitted.map.metric();
        for (found, wanted) in metric.matrix().data().iter().zip([0.8, 0.0, 0.0, 0.05]) {
            assert!((found - wanted).abs() < 1e-6, "{metric:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (table, labels) = table(30);
        let vectors = Vectors::new(&table, 4).unwrap();
        let pairs = Pairs::of_labels(&labels, 40, 1).unwrap();
        type Pull<'a> = &'a dyn Fn(&[f64]) -> (f64, Vec<f64>);
        let check = |x: Vec<f64>, of: Pull<'_>| {
            let (_, gradient) = of(&x);
            for at in 0..x.len() {
                let moved = |by: f64| {
                    let mut x = x.clone();
                    x[at] += by;
                    of(&x).0
                };
                let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                assert!((gradient[at] - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{at}: {wanted}");
            }
        };
        let problem = Problem::new(&Mmc::full(), vectors, &pairs).unwrap();
        check(normals(&mut stream(2), 16), &|x| problem.pull(x).unwrap());
        check(normals(&mut stream(3), 4), &|x| problem.pull_diagonal(x));
    }

    #[test]
    fn the_optimality_conditions_hold() {
        // For max Σ d subject to tr(M S) ≤ 1, M ⪰ 0: with the multiplier μ of the first, μ S − ½ Σ v vᵀ / d ⪰ 0, and 0 along M.
        let (table, labels) = table(60);
        let vectors = Vectors::new(&table, 4).unwrap();
        let pairs = Pairs::of_labels(&labels, 150, 1).unwrap();
        for settings in [Mmc::full(), Mmc::diagonal()] {
            let exact = Lbfgs { iterations: 5000, tolerance: 1e-15 };
            let fitted = settings.clone().descent(exact).fit(vectors, &pairs).unwrap();
            let metric = fitted.map.metric();
            let problem = Problem::new(&settings, vectors, &pairs).unwrap();
            assert!((problem.kin_sum(fitted.map.matrix()) - 1.0).abs() < 1e-9);
            assert!(Eigen::new(metric.matrix()).unwrap().values.iter().all(|value| *value > -1e-12));
            let (mut push, mut sum) = (Matrix::zeros(4, 4), 0.0);
            for &(a, b) in &pairs.strangers {
                let distance = metric.distance(vectors.row(a as usize), vectors.row(b as usize)).unwrap();
                let v = difference(vectors, (a, b));
                (0..4).for_each(|r| add(push.row_mut(r), 0.5 * v[r] / distance, &v));
                sum += distance;
            }
            // Multiplied by M, the condition gives μ = ½ Σ d.
            let slack = Matrix::zeros(4, 4).plus(0.5 * sum, &problem.kin).plus(-1.0, &push);
            let size = problem.kin.trace() * sum;
            if settings.diagonal {
                for c in 0..4 {
                    let (slack, weight) = (slack.row(c)[c] / size, metric.matrix().row(c)[c]);
                    assert!(slack > -1e-5 && (weight * slack).abs() < 1e-5, "{c}: {slack} {weight}");
                }
            } else {
                let least = *Eigen::new(&slack.symmetric()).unwrap().values.last().unwrap();
                assert!(least > -1e-5 * size, "{least} of {size}: {:?}", fitted.how);
                let along = dot(slack.data(), metric.matrix().data());
                assert!(along.abs() < 1e-6 * sum, "{along} of {sum}");
            }
            assert_eq!(fitted.map.telling_columns()[0].0, 1);
        }
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_the_reason() {
        let table = [0.0, 3.0, 1.0, 3.0, 5.0, 3.0, 0.0, 3.0];
        let vectors = Vectors::new(&table, 2).unwrap();
        let pairs = |kin: &[(u32, u32)], strangers: &[(u32, u32)]| Pairs {
            kin: kin.to_vec(),
            strangers: strangers.to_vec(),
        };
        for settings in [Mmc::full(), Mmc::diagonal()] {
            // The second column is constant.
            let found = settings.fit(vectors, &pairs(&[(0, 1)], &[(0, 2)]));
            assert!(matches!(found, Err(ClassicError::Singular { rank: 1, dims: 2, .. })), "{found:?}");
            assert!(settings.clone().ridge(0.1).fit(vectors, &pairs(&[(0, 1)], &[(0, 2)])).is_ok());
            assert!(matches!(
                settings.fit(vectors, &pairs(&[(0, 1)], &[])),
                Err(ClassicError::OneSided { .. })
            ));
            let equal = settings.ridge(0.1).fit(vectors, &pairs(&[(0, 1)], &[(0, 3)]));
            assert!(matches!(equal, Err(ClassicError::EqualStrangers { pair: (0, 3) })));
        }
        assert!(Mmc::full().ridge(-1.0).fit(vectors, &pairs(&[(0, 1)], &[(0, 2)])).is_err());
    }
}
