//! Sparse distance metric learning.
//!
//! G. Qi, J. Tang, Z. Zha, T. Chua, H. Zhang, "An Efficient Sparse Metric Learning in High-Dimensional Space via ℓ1-Penalized
//! Log-Determinant Regularization", 2009. Near `M_0` by the divergence of [ITML](crate::Itml), with kin near and strangers far, and
//! with few entries off the diagonal:
//!
//! ```text
//! min_{M ≻ 0} tr(M M_0⁻¹) − ln det M + (η / p) Σ_pairs δ ‖x_i − x_j‖²_M + λ Σ_{i≠j} |M_ij|
//! ```
//!
//! with `δ = 1` for kin, −1 for strangers, and `p` pairs (the paper's η is η / p here, so that it means the same for any number of
//! them). This is a graphical lasso of `M_0⁻¹ + (η / p) Σ δ v vᵀ`. That matrix must be positive definite, or be made so by λ: else
//! strangers outweigh all, and the least is at infinity. It is solved by block coordinate descent, to a duality gap that tells how
//! far from the optimum the metric may be.
//!
//! Cost: `2 p d²` operations, and about `d³` a round. Memory: a few d × d.
//!
//! When to use it: pairs are few, columns are many, and most have little to do with each other.
//!
//! ```
//! use nearkin_classic::{Pairs, Sdml};
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let pairs = Pairs { kin: vec![(0, 1), (1, 2), (3, 4), (4, 5)], strangers: vec![(0, 3), (1, 4), (2, 5)] };
//! let fitted = Sdml::new().sparsity(0.1).fit(Vectors::new(&table, 2)?, &pairs)?;
//! assert!(fitted.how.gap < 1e-6);
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use crate::algebra::{Eigen, Matrix, add, mean};
use crate::error::ClassicError;
use crate::input::{check, check_labels, not_negative, positive_definite, setting};
use crate::linear::graphical_lasso::graphical_lasso;
use crate::linear::{Fitted, LinearMap};
use crate::mahalanobis::Mahalanobis;
use crate::observer::Observer;
use crate::supervision::{Pairs, Sides, difference};

/// Settings of SDML.
#[derive(Debug, Clone, PartialEq)]
pub struct Sdml {
    balance: Option<f64>,
    sparsity: f64,
    prior: Option<Matrix>,
    rounds: usize,
    tolerance: f64,
    observer: Observer,
}

/// How well a sparse metric was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// The objective at the end.
    pub objective: f64,
    /// It is above the least there is by no more than this.
    pub gap: f64,
    /// The weight η of the pairs.
    pub balance: f64,
    /// Rounds over all columns.
    pub rounds: usize,
    /// Entries off the diagonal of `M` that are 0.
    pub zeros: usize,
}

impl Default for Sdml {
    fn default() -> Self {
        Self {
            balance: None,
            sparsity: 0.01,
            prior: None,
            rounds: 200,
            tolerance: 1e-8,
            observer: Observer::default(),
        }
    }
}

impl Sdml {
    /// With half the η at which strangers would outweigh `M_0`, λ = 0.01 and `M_0` the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// The weight η of the pairs together, 0 or more.
    #[must_use]
    pub fn balance(self, balance: f64) -> Self {
        Self { balance: Some(balance), ..self }
    }

    /// The price λ of an entry off the diagonal, 0 or more: the larger, the more of them are 0.
    #[must_use]
    pub fn sparsity(self, sparsity: f64) -> Self {
        Self { sparsity, ..self }
    }

    /// The matrix `M_0` to stay near, positive definite.
    #[must_use]
    pub fn prior(self, prior: Matrix) -> Self {
        Self { prior: Some(prior), ..self }
    }

    /// Stops after so many rounds, or when the gap is no more than the tolerance.
    #[must_use]
    pub fn stop(self, rounds: usize, tolerance: f64) -> Self {
        Self { rounds, tolerance, ..self }
    }

    /// Watched, round by round.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// From labels: by `count` pairs of kin and as many of strangers.
    ///
    /// # Errors
    /// As [`Pairs::of_labels`] and [`fit`](Self::fit).
    pub fn fit_labels(
        &self,
        vectors: Vectors<'_>,
        labels: &[u32],
        count: usize,
        seed: u64,
    ) -> Result<Fitted<Certified>, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        check_labels(vectors, labels)?;
        self.fit(vectors, &Pairs::of_labels(labels, count, seed)?)
    }

    /// From pairs. The map is a factor of the sparse `M`, d × d.
    ///
    /// # Errors
    /// Values that are not finite; no pairs of kin, or none of strangers; pairs of samples that are not there; settings out of range;
    /// a prior that is not positive definite; strangers that outweigh the prior.
    pub fn fit(&self, vectors: Vectors<'_>, pairs: &Pairs) -> Result<Fitted<Certified>, ClassicError> {
        let (metric, how) = self.metric(vectors, pairs)?;
        Ok(Fitted { map: LinearMap::of(mean(vectors), Mahalanobis::nearest(&metric)?.factor()?), how })
    }

    /// The sparse `M` itself.
    fn metric(&self, vectors: Vectors<'_>, pairs: &Pairs) -> Result<(Matrix, Certified), ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        not_negative("balance", self.balance.unwrap_or(0.0))?;
        not_negative("sparsity", self.sparsity)?;
        not_negative("tolerance", self.tolerance)?;
        setting("rounds", self.rounds as f64, self.rounds > 0, "1 or more")?;
        pairs.check(
            vectors.len(),
            Sides::Both { why: "kin alone would shrink all, strangers alone stretch all; give both" },
        )?;
        let (s, balance) = self.weighted(vectors, pairs)?;
        let found = graphical_lasso(&s, self.sparsity, self.rounds, self.tolerance, &self.observer)?;
        let zeros = found.precision.data().iter().filter(|m| **m == 0.0).count();
        let how =
            Certified { objective: found.objective, gap: found.gap, balance, rounds: found.rounds, zeros };
        Ok((found.precision, how))
    }

    /// `M_0⁻¹ + (η / p) Σ δ v vᵀ`, and η.
    fn weighted(&self, vectors: Vectors<'_>, pairs: &Pairs) -> Result<(Matrix, f64), ClassicError> {
        let d = vectors.dim();
        let prior = match &self.prior {
            None => Matrix::identity(d, d),
            Some(prior) => positive_definite(prior, d)?,
        };
        let mut sum = Matrix::zeros(d, d);
        let share = 1.0 / (pairs.kin.len() + pairs.strangers.len()) as f64;
        for (pair, delta) in pairs.iter() {
            let v = difference(vectors, pair);
            (0..d).for_each(|r| add(sum.row_mut(r), share * delta * v[r], &v));
        }
        let eigen = Eigen::new(&prior)?;
        let root = eigen.vectors.clone().scale_rows(|r| eigen.values[r].sqrt());
        // In the metric of the prior, how much the pairs take from it where they take most.
        let relative = Eigen::new(&root.around(&sum.symmetric()))?.values;
        let most = match (relative[0], relative[d - 1]) {
            (_, least) if least < 0.0 => -least,
            (largest, _) if largest > 0.0 => largest,
            _ => 1.0,
        };
        let balance = self.balance.unwrap_or(0.5 / most);
        Ok((eigen.power(-1.0).plus(balance, &sum).symmetric(), balance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(41), n * 5);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 2).collect();
        let x = |at: usize| noise[at] + if at % 5 == 2 { f64::from(labels[at / 5]) } else { 0.0 };
        ((0..5 * n).map(|at| x(at) as f32).collect(), labels)
    }

    #[test]
    fn hand_worked_columns_have_their_weights() {
        // S = I + ½ (½ diag(1, 0) − ½ diag(0, 1)) = diag(1.25, 0.75); half of η = 2, at which it would be singular, is 1.
        let table = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let pairs = Pairs { kin: vec![(0, 1)], strangers: vec![(0, 2)] };
        let vectors = Vectors::new(&table, 2).unwrap();
        assert!((Sdml::new().fit(vectors, &pairs).unwrap().how.balance - 1.0).abs() < 1e-12);
        let fitted = Sdml::new().balance(0.5).fit(vectors, &pairs).unwrap();
        let metric = fitted.map.metric();
        for (found, wanted) in metric.matrix().data().iter().zip([0.8, 0.0, 0.0, 4.0 / 3.0]) {
            assert!((found - wanted).abs() < 1e-12, "{metric:?}");
        }
        assert_eq!(fitted.how.zeros, 2);
    }

    #[test]
    fn no_symmetric_step_from_the_solution_leads_down() {
        let (table, labels) = table(50);
        let vectors = Vectors::new(&table, 5).unwrap();
        let pairs = Pairs::of_labels(&labels, 80, 1).unwrap();
        let settings = Sdml::new().sparsity(0.05);
        let (metric, how) = settings.metric(vectors, &pairs).unwrap();
        let (s, _) = settings.weighted(vectors, &pairs).unwrap();
        let objective = |m: &Matrix| {
            let eigen = Eigen::new(m).unwrap();
            let off: f64 = m.data().iter().map(|x| x.abs()).sum::<f64>() - m.trace();
            crate::algebra::dot(s.data(), m.data()) - eigen.values.iter().map(|v| v.ln()).sum::<f64>()
                + 0.05 * off
        };
        assert!(
            (objective(&metric) - how.objective).abs() < 1e-9 && how.gap < 1e-8 && how.zeros > 0,
            "{how:?}"
        );
        for seed in 0..30 {
            let way = Matrix::new(5, 5, normals(&mut stream(seed), 25)).unwrap().symmetric();
            assert!(objective(&metric.plus(1e-3, &way)) > how.objective - 1e-8, "{seed}");
        }
        assert_eq!(settings.fit(vectors, &pairs).unwrap().map.telling_columns()[0].0, 2);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_the_reason() {
        let (table, labels) = table(30);
        let vectors = Vectors::new(&table, 5).unwrap();
        let error = Sdml::new().balance(50.0).fit_labels(vectors, &labels, 30, 0).unwrap_err();
        assert!(matches!(error, ClassicError::Unbounded { least } if least < 0.0), "{error}");
        assert!(error.to_string().contains("lower the balance"), "{error}");
        assert!(matches!(
            Sdml::new().sparsity(-1.0).fit_labels(vectors, &labels, 9, 0),
            Err(ClassicError::Setting { .. })
        ));
        let one = Pairs { kin: vec![(0, 2)], strangers: vec![] };
        assert!(matches!(
            Sdml::new().fit(vectors, &one),
            Err(ClassicError::OneSided { missing: "strangers", .. })
        ));
        let prior = Sdml::new().prior(Matrix::zeros(5, 5)).fit_labels(vectors, &labels, 9, 0);
        assert!(matches!(prior, Err(ClassicError::Singular { .. })));
        // Constant columns and copies have their prior's weight.
        let constant = [0.0, 3.0, 1.0, 3.0, 1.0, 3.0, 0.0, 3.0];
        let pairs = Pairs { kin: vec![(0, 3), (1, 2)], strangers: vec![(0, 1)] };
        let map = Sdml::new().fit(Vectors::new(&constant, 2).unwrap(), &pairs).unwrap().map;
        assert!((map.metric().matrix().data()[3] - 1.0).abs() < 1e-12);
    }
}
