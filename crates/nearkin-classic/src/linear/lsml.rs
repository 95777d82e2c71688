//! Metric learning from relative comparisons by minimising squared residuals.
//!
//! E. Liu, Z. Guo, X. Zhang, V. Jojic, W. Wang, "Metric Learning from Relative Comparisons by Minimizing Squared Residual", 2012.
//! Of comparisons `(a, b)` nearer than `(c, d)`, with `d_M` the distance that `M` gives, not squared,
//!
//! ```text
//! L(M) = (w / |C|) Σ_C [d_M(a, b) − d_M(c, d)]₊² + tr(M M_0⁻¹) − ln det M
//! ```
//!
//! whose last terms are, up to a constant, the divergence from `M_0` that [ITML](crate::Itml) has too. It is minimised in a factor
//! of `M` by L-BFGS, where the divergence keeps `M` positive definite.
//!
//! Cost: an evaluation takes `4 n d² + 4 |C| d + O(d³)` operations; memory `16 n d` bytes.
//!
//! When to use it: what is known are comparisons ("these two are more alike than those two"), of which some may be wrong.
//!
//! ```
//! use nearkin_classic::{Lsml, Quadruplet, Quadruplets};
//! use nearkin_sweep::Vectors;
//!
//! // What differs in the first column is said to be farther apart than what differs in the second.
//! let table = [0.0, 0.0, 0.1, 2.0, 1.0, 0.2, 1.1, 1.9];
//! let near_far = [((0, 1), (0, 2)), ((2, 3), (1, 3)), ((0, 1), (1, 2))];
//! let quadruplets = Quadruplets(near_far.map(|(near, far)| Quadruplet { near, far }).to_vec());
//! let fitted = Lsml::new().weight(100.0).fit(Vectors::new(&table, 2)?, &quadruplets)?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix, mean, project, pull_back};
use crate::error::ClassicError;
use crate::input::{above_zero, check, check_labels, positive_definite};
use crate::lbfgs::{Descent, Lbfgs};
use crate::linear::{Fitted, LinearMap};
use crate::observer::Observer;
use crate::supervision::{Quadruplets, pull_together, square};

/// Settings of LSML.
#[derive(Debug, Clone, PartialEq)]
pub struct Lsml {
    weight: f64,
    prior: Option<Matrix>,
    descent: Lbfgs,
    observer: Observer,
}

impl Default for Lsml {
    fn default() -> Self {
        let descent = Lbfgs { iterations: 1000, tolerance: 1e-8 };
        Self { weight: 1.0, prior: None, descent, observer: Observer::default() }
    }
}

impl Lsml {
    /// With `w = 1`, `M_0` the identity, and at most 1,000 steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// The weight `w` of the comparisons together, beside the divergence; above 0.
    #[must_use]
    pub fn weight(self, weight: f64) -> Self {
        Self { weight, ..self }
    }

    /// The matrix `M_0` to stay near, positive definite.
    #[must_use]
    pub fn prior(self, prior: Matrix) -> Self {
        Self { prior: Some(prior), ..self }
    }

    /// By these steps.
    #[must_use]
    pub fn descent(self, descent: Lbfgs) -> Self {
        Self { descent, ..self }
    }

    /// Watched, step by step; the objective is `L`.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// From labels: by `count` comparisons of a pair of kin with a pair of strangers.
    ///
    /// # Errors
    /// As [`Quadruplets::of_labels`] and [`fit`](Self::fit).
    pub fn fit_labels(
        &self,
        vectors: Vectors<'_>,
        labels: &[u32],
        count: usize,
        seed: u64,
    ) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        check_labels(vectors, labels)?;
        self.fit(vectors, &Quadruplets::of_labels(labels, count, seed)?)
    }

    /// From comparisons. The map is d × d, and invertible.
    ///
    /// # Errors
    /// Values that are not finite; no comparisons, or of samples that are not there; settings out of range; a prior that is not
    /// positive definite.
    pub fn fit(
        &self,
        vectors: Vectors<'_>,
        quadruplets: &Quadruplets,
    ) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        self.descent.check()?;
        above_zero("weight", self.weight)?;
        quadruplets.check(vectors.len())?;
        let d = vectors.dim();
        let prior = match &self.prior {
            None => Matrix::identity(d, d),
            Some(prior) => positive_definite(prior, d)?,
        };
        let eigen = Eigen::new(&prior)?;
        let problem = Problem {
            vectors,
            offset: mean(vectors),
            quadruplets,
            inverse: eigen.power(-1.0),
            weight: self.weight / quadruplets.0.len() as f64,
        };
        let mut entries = eigen.power(0.5).data().to_vec();
        let how = self.descent.minimise(&mut entries, &self.observer, |entries| {
            let (value, gradient) = problem.pull(&Matrix::new(d, d, entries.to_vec())?)?;
            Ok((value, gradient.data().to_vec()))
        })?;
        Ok(Fitted { map: LinearMap::of(problem.offset, Matrix::new(d, d, entries)?), how })
    }
}

struct Problem<'a> {
    vectors: Vectors<'a>,
    offset: Vec<f64>,
    quadruplets: &'a Quadruplets,
    /// `M_0⁻¹`.
    inverse: Matrix,
    /// Of a comparison.
    weight: f64,
}

impl Problem<'_> {
    /// The objective at `M = LᵀL`, and its gradient with respect to `L`.
    fn pull(&self, l: &Matrix) -> Result<(f64, Matrix), ClassicError> {
        let (z, k) = (project(self.vectors, &self.offset, l), l.rows());
        let (mut value, mut at_z) = (0.0, vec![0.0; z.len()]);
        for quadruplet in &self.quadruplets.0 {
            let [near, far] = [quadruplet.near, quadruplet.far].map(|pair| square(&z, k, pair).sqrt());
            let residual = near - far;
            if residual > 0.0 {
                value += self.weight * residual * residual;
                pull_together(&mut at_z, &z, k, quadruplet.near, self.weight * residual / near);
                // Equal samples are at distance 0 under every metric.
                if far > 0.0 {
                    pull_together(&mut at_z, &z, k, quadruplet.far, -self.weight * residual / far);
                }
            }
        }
        // ln det LᵀL and its gradient 2 L⁻ᵀ, by way of the eigenvectors of M.
        let eigen = Eigen::new(&l.squared().symmetric())?;
        if eigen.values.iter().any(|value| *value <= 0.0) {
            return Ok((f64::INFINITY, Matrix::zeros(k, k)));
        }
        let log_det: f64 = eigen.values.iter().map(|value| value.ln()).sum();
        let metric_inverse = eigen.power(-1.0);
        let pulled = l.times(&self.inverse);
        value += crate::algebra::dot(pulled.data(), l.data()) - log_det;
        let gradient = pull_back(&at_z, k, self.vectors, &self.offset)
            .plus(2.0, &pulled)
            .plus(-2.0, &l.times(&metric_inverse));
        Ok((value, gradient))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stop;
    use crate::random::{normals, stream};
    use crate::supervision::Quadruplet;

    #[test]
    fn a_hand_worked_line_has_its_metric() {
        // One column: 0, 2, 1. |0 − 2| is to be below |0 − 1|. With M = s²: L = (2s − s)² + s² − ln s², so L' = 4s − 2/s: s² = ½.
        let samples = [0.0, 2.0, 1.0];
        let quadruplets = Quadruplets(vec![Quadruplet { near: (0, 1), far: (0, 2) }]);
        let fitted = Lsml::new().fit(Vectors::new(&samples, 1).unwrap(), &quadruplets).unwrap();
        assert!((fitted.map.metric().matrix().data()[0] - 0.5).abs() < 1e-6, "{fitted:?}");
        assert!((fitted.how.objective - (0.5 + 0.5 + 2f64.ln())).abs() < 1e-9);
    }

    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(23), n * 3);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
        let x =
            |at: usize| noise[at] + if at.is_multiple_of(3) { 3.0 * f64::from(labels[at / 3]) } else { 0.0 };
        ((0..3 * n).map(|at| x(at) as f32).collect(), labels)
    }

    fn prior() -> Matrix {
        Matrix::new(3, 3, vec![2.0, 0.5, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.5]).unwrap()
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences_and_is_0_at_the_solution() {
        let (table, labels) = table(40);
        let vectors = Vectors::new(&table, 3).unwrap();
        let quadruplets = Quadruplets::of_labels(&labels, 60, 2).unwrap();
        let eigen = Eigen::new(&prior()).unwrap();
        let inverse = eigen.power(-1.0);
        let problem = Problem {
            vectors,
            offset: mean(vectors),
            quadruplets: &quadruplets,
            inverse,
            weight: 30.0 / 60.0,
        };
        let l = normals(&mut stream(5), 9);
        let at = |l: &[f64]| problem.pull(&Matrix::new(3, 3, l.to_vec()).unwrap()).unwrap();
        let (_, gradient) = at(&l);
        for entry in 0..9 {
            let moved = |by: f64| {
                let mut l = l.clone();
                l[entry] += by;
                at(&l).0
            };
            let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            let found = gradient.data()[entry];
            assert!((found - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{entry}: {found} for {wanted}");
        }
        let exact = Lbfgs { iterations: 10_000, tolerance: 1e-15 };
        let fitted =
            Lsml::new().weight(30.0).prior(prior()).descent(exact).fit(vectors, &quadruplets).unwrap();
        let (value, gradient) = at(fitted.map.matrix().data());
        assert!((value - fitted.how.objective).abs() < 1e-9 * value.abs().max(1.0));
        assert!(gradient.data().iter().all(|g| g.abs() < 1e-5), "{gradient:?} {:?}", fitted.how);
        let plain = Lsml::new().weight(30.0).fit_labels(vectors, &labels, 2000, 2).unwrap();
        assert_eq!(plain.map.telling_columns()[0].0, 0, "{:?}", plain.map.metric());
    }

    #[test]
    fn comparisons_that_hold_leave_the_prior() {
        let samples = [0.0, 1.0, 5.0];
        let quadruplets = Quadruplets(vec![Quadruplet { near: (0, 1), far: (0, 2) }]);
        let prior = Matrix::new(1, 1, vec![4.0]).unwrap();
        let fitted = Lsml::new().prior(prior).fit(Vectors::new(&samples, 1).unwrap(), &quadruplets).unwrap();
        assert_eq!(fitted.how.stop, Stop::Gradient);
        assert!((fitted.map.metric().matrix().data()[0] - 4.0).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_and_copies_are_not() {
        let samples = [1.0, 1.0, 2.0, 1.0];
        let vectors = Vectors::new(&samples, 1).unwrap();
        let one = |near, far| Quadruplets(vec![Quadruplet { near, far }]);
        // Equal samples can be no farther than others: the metric shrinks as far as the prior lets it.
        let shrunk = Lsml::new().fit(vectors, &one((0, 2), (0, 1))).unwrap();
        assert!(shrunk.map.metric().matrix().data()[0] < 0.51);
        assert!(matches!(
            Lsml::new().weight(0.0).fit(vectors, &one((0, 1), (0, 2))),
            Err(ClassicError::Setting { .. })
        ));
        assert!(matches!(Lsml::new().fit(vectors, &Quadruplets(vec![])), Err(ClassicError::NoTuples { .. })));
        let singular = Lsml::new().prior(Matrix::zeros(1, 1)).fit(vectors, &one((0, 1), (0, 2)));
        assert!(matches!(singular, Err(ClassicError::Singular { .. })));
    }
}
