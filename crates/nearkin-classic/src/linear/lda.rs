//! Linear discriminant analysis.
//!
//! R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936; C. R. Rao, 1948, for several classes. With
//! class means `m_c` of `n_c` samples and the mean `m` of all,
//!
//! ```text
//! S_w = Σ_c Σ_{i∈c} (x_i − m_c)(x_i − m_c)ᵀ     S_b = Σ_c n_c (m_c − m)(m_c − m)ᵀ
//! ```
//!
//! the map solves `S_b a = λ S_w a`, and is scaled so that the covariance within classes becomes the identity.
//!
//! Cost: `4 n d² + O(d³)`; memory d × d.
//!
//! When to use it: classes are labelled, and each is one cluster.
//!
//! ```
//! use nearkin_classic::Lda;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let fitted = Lda::new().fit(x, &[0, 0, 0, 1, 1, 1])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix, mean, point, scatter};
use crate::error::ClassicError;
use crate::input::{Classes, check, dims, gather, not_negative};
use crate::linear::{Fitted, LinearMap, Spectrum};

/// Settings of LDA.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lda {
    dims: Option<usize>,
    ridge: f64,
}

impl Lda {
    /// To as many dimensions as there are: classes − 1, or fewer where the samples span fewer.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this many dimensions.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// Adds this part of the mean variance to the covariance within classes, in all directions that vary: for fewer samples
    /// than dimensions. 0 or more.
    #[must_use]
    pub fn ridge(self, ridge: f64) -> Self {
        Self { ridge, ..self }
    }

    /// Finds the map. Constant columns count nothing. Cost: `4 n d² + O(d³)`; memory: d × d.
    ///
    /// # Errors
    /// Values that are not finite; fewer than two classes; one sample a class, or another singular scatter within classes
    /// with no ridge; more dimensions than classes − 1.
    pub fn fit(&self, vectors: Vectors<'_>, labels: &[u32]) -> Result<Fitted<Spectrum>, ClassicError> {
        check(vectors, 2, "classes are compared")?;
        let classes = Classes::new(vectors.len(), labels)?;
        let offset = mean(vectors);
        let total = scatter(vectors, &offset);
        let within = scatter_within(vectors, &classes)?;
        let between = total.plus(-1.0, &within);
        let fisher = Fisher { total: &total, within: &within, between: &between };
        let solved = fisher.solve(self.ridge, "the scatter within classes")?;
        let most = solved.values.len().min(classes.len() - 1);
        let k = dims(
            self.dims,
            most,
            "between n classes there are n - 1 directions, and no more than samples span",
        )?;
        let freedom = (vectors.len() - classes.len()).max(1) as f64;
        let matrix = solved.vectors.head(k).scale_rows(|_| freedom.sqrt());
        let how = Spectrum {
            total: solved.values.iter().map(|v| v.max(0.0)).sum(),
            values: solved.values[..k].to_vec(),
        };
        Ok(Fitted { map: LinearMap::of(offset, matrix), how })
    }
}

/// The sum over classes of their scatter about their own means.
pub(crate) fn scatter_within(vectors: Vectors<'_>, classes: &Classes) -> Result<Matrix, ClassicError> {
    let mut within = Matrix::zeros(vectors.dim(), vectors.dim());
    for members in &classes.members {
        let samples = gather(vectors, members);
        let samples = Vectors::new(&samples, vectors.dim())?;
        within = within.plus(1.0, &scatter(samples, &mean(samples)));
    }
    Ok(within)
}

/// Fisher's criterion: the directions of most scatter between for their scatter within.
pub(crate) struct Fisher<'a> {
    pub(crate) total: &'a Matrix,
    pub(crate) within: &'a Matrix,
    pub(crate) between: &'a Matrix,
}

impl Fisher<'_> {
    /// Solves `S_b a = λ S_w a` where the samples vary: λ in descending order, and each `a` with `aᵀ S_w a = 1`.
    pub(crate) fn solve(&self, ridge: f64, what: &'static str) -> Result<Eigen, ClassicError> {
        not_negative("ridge", ridge)?;
        let spanned = Eigen::new(self.total)?;
        let rank = spanned.rank();
        if rank == 0 {
            return Err(ClassicError::NoVariance);
        }
        // Where the total has variance 1, what is small is small in every unit of the columns.
        let span = spanned.vectors.head(rank).scale_rows(|r| 1.0 / spanned.values[r].sqrt());
        let added = ridge * self.total.trace() / self.total.rows() as f64;
        let in_span = |matrix: &Matrix| span.around(matrix);
        let within = Eigen::new(&in_span(
            &self.within.plus(added, &Matrix::identity(self.total.rows(), self.total.rows())),
        ))?;
        let certain = within.values.iter().take_while(|value| **value > SINGULAR).count();
        if certain < rank {
            return Err(ClassicError::Singular { what, rank: certain, dims: rank });
        }
        let white = within.vectors.scale_rows(|r| 1.0 / within.values[r].sqrt()).times(&span);
        let between = Eigen::new(&white.around(self.between))?;
        let mut vectors = between.vectors.times(&white);
        (0..rank).for_each(|r| point(vectors.row_mut(r)));
        Ok(Eigen { values: between.values, vectors })
    }
}

/// A direction with less of its variance within classes than this has none.
const SINGULAR: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    #[test]
    fn a_hand_worked_pair_of_classes_has_fishers_direction() {
        // S_w = diag(4, 4·(0.5)²·… ): both classes are (±1, 0), (0, ±0.5) about (0, 0) and (1, 1).
        let about = [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]];
        let table: Vec<f32> =
            [0.0, 1.0].iter().flat_map(|m| about.iter().flat_map(move |[x, y]| [x + m, y + m])).collect();
        let labels = [0, 0, 0, 0, 1, 1, 1, 1];
        let fitted = Lda::new().fit(Vectors::new(&table, 2).unwrap(), &labels).unwrap();
        // S_w = diag(4, 1); a ∝ S_w⁻¹ (1, 1) = (1/4, 1); λ = (n₀ n₁ / n) (1, 1) S_w⁻¹ (1, 1)ᵀ = 2 · 5/4.
        let a = fitted.map.matrix();
        assert_eq!(a.rows(), 1);
        assert!((a.row(0)[1] / a.row(0)[0] - 4.0).abs() < 1e-9, "{a:?}");
        assert!((fitted.how.values[0] - 2.5).abs() < 1e-9);
        // The variance within classes becomes 1: aᵀ S_w a = n − classes = 6.
        assert!((4.0 * a.row(0)[0].powi(2) + a.row(0)[1].powi(2) - 6.0).abs() < 1e-9);
    }

    #[test]
    fn the_solution_solves_the_generalised_eigenproblem() {
        let noise = normals(&mut stream(4), 90 * 5);
        let labels: Vec<u32> = (0..90).map(|i| i % 4).collect();
        let table: Vec<f32> =
            (0..450).map(|at| (noise[at] + f64::from(labels[at / 5] * (at % 3) as u32)) as f32).collect();
        let vectors = Vectors::new(&table, 5).unwrap();
        let classes = Classes::new(90, &labels).unwrap();
        let within = scatter_within(vectors, &classes).unwrap();
        let between = scatter(vectors, &mean(vectors)).plus(-1.0, &within);
        let fitted = Lda::new().fit(vectors, &labels).unwrap();
        let a = fitted.map.matrix();
        let (left, right) = (a.times(&between), a.times(&within));
        assert_eq!(a.rows(), 3);
        for r in 0..3 {
            for c in 0..5 {
                let (l, r) = (left.row(r)[c], fitted.how.values[r] * right.row(r)[c]);
                assert!(
                    (l - r).abs() < 1e-6 * left.data().iter().fold(0.0, |m: f64, x| m.max(x.abs())),
                    "{l} {r}"
                );
            }
        }
    }

    #[test]
    fn fewer_samples_than_dimensions_are_refused_and_a_ridge_helps() {
        let noise = normals(&mut stream(5), 6 * 10);
        let table: Vec<f32> = noise.iter().map(|x| *x as f32).collect();
        let (vectors, labels) = (Vectors::new(&table, 10).unwrap(), [0, 0, 0, 1, 1, 1]);
        let error = Lda::new().fit(vectors, &labels).unwrap_err();
        assert!(error.to_string().contains("rank 4 in the 5 dimensions"), "{error}");
        assert!(Lda::new().ridge(0.01).fit(vectors, &labels).is_ok());
        assert!(Lda::new().ridge(-1.0).fit(vectors, &labels).is_err());
    }

    #[test]
    fn constant_columns_count_nothing_and_bad_labels_are_refused() {
        let table = [0.0, 3.0, 1.0, 3.0, 5.0, 3.0, 6.0, 3.0];
        let vectors = Vectors::new(&table, 2).unwrap();
        let fitted = Lda::new().fit(vectors, &[0, 0, 1, 1]).unwrap();
        assert_eq!(fitted.map.matrix().row(0)[1], 0.0);
        assert!(matches!(Lda::new().fit(vectors, &[3; 4]), Err(ClassicError::OneClass { label: 3, .. })));
        assert!(matches!(Lda::new().fit(vectors, &[0, 1]), Err(ClassicError::Count { found: 2, .. })));
        assert!(matches!(
            Lda::new().fit(vectors, &[0, 1, 2, 3]),
            Err(ClassicError::Singular { rank: 0, .. })
        ));
        assert!(matches!(
            Lda::new().dims(2).fit(vectors, &[0, 0, 1, 1]),
            Err(ClassicError::Dims { most: 1, .. })
        ));
        let same = [1.0; 8];
        let same = Vectors::new(&same, 2).unwrap();
        assert_eq!(Lda::new().fit(same, &[0, 0, 1, 1]), Err(ClassicError::NoVariance));
    }
}
