//! Discriminative component analysis.
//!
//! S. Hoi, W. Liu, M. Lyu, W. Ma, "Learning Distance Metrics with Contextual Constraints for Image Retrieval", 2006. Beside
//! *chunklets* of kin, as [RCA](crate::Rca) has them, it is told which chunklets are apart, of different classes. With chunklet means `m_j`
//! of `n_j` samples, and the set `D_j` of those apart from `j`,
//!
//! ```text
//! C_b = (1/n_b) Σ_j Σ_{i∈D_j} (m_j − m_i)(m_j − m_i)ᵀ     n_b = Σ_j |D_j|
//! C_w = (1/m) Σ_j (1/n_j) Σ_{i∈j} (x_i − m_j)(x_i − m_j)ᵀ
//! ```
//!
//! for `m` chunklets, the map has most of `C_b` for its `C_w`: first the directions without `C_b` are dropped and the others
//! brought to `C_b = I`, then those of least `C_w` come first, scaled so that `C_w = I`.
//!
//! Cost: `2 n d² + 2 n_b d² + O(d³)`; memory d × d.
//!
//! When to use it: small groups of kin are known, and which of them differ. With all samples labelled it is near [LDA](crate::Lda).
//!
//! ```
//! use nearkin_classic::Dca;
//! use nearkin_sweep::Vectors;
//!
//! // Four chunklets of two; 0 and 1 are apart, and 2 and 3. They differ along the first column.
//! let table = [0.0, 3.0, 0.2, -2.0, 1.0, 2.5, 1.2, -3.0, 0.1, 1.0, 0.0, 4.0, 1.1, 0.0, 1.0, 5.0];
//! let fitted = Dca::new().dims(1).fit(Vectors::new(&table, 2)?, &[0, 0, 1, 1, 2, 2, 3, 3], &[(0, 1), (2, 3)])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix, add, mean, point, scatter};
use crate::error::ClassicError;
use crate::input::{Classes, check, dims, gather, not_negative};
use crate::linear::{Fitted, LinearMap, Spectrum};

/// Settings of DCA.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dca {
    dims: Option<usize>,
    ridge: f64,
}

impl Dca {
    /// To all directions in which chunklets apart differ.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this many dimensions.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// Adds this part of the mean variance of all samples to `C_w`; 0 or more.
    #[must_use]
    pub fn ridge(self, ridge: f64) -> Self {
        Self { ridge, ..self }
    }

    /// From labels: each class is a chunklet, apart from all others.
    ///
    /// # Errors
    /// Fewer than two classes; and as [`fit`](Self::fit).
    pub fn fit_labels(&self, vectors: Vectors<'_>, labels: &[u32]) -> Result<Fitted<Spectrum>, ClassicError> {
        check(vectors, 2, "classes are compared")?;
        let names: Vec<u32> =
            Classes::new(vectors.len(), labels)?.members.iter().map(|m| labels[m[0]]).collect();
        let apart: Vec<(u32, u32)> = (1..names.len())
            .flat_map(|later| names[..later].iter().map(move |&earlier| (earlier, later)))
            .map(|(earlier, later)| (earlier, names[later]))
            .collect();
        self.fit(vectors, labels, &apart)
    }

    /// Finds the map; `chunklets` names each sample's, and `apart` names pairs of them. A chunklet of one sample tells of `C_b`
    /// alone. The spectrum holds `C_b` for `C_w` along each dimension.
    ///
    /// # Errors
    /// Values that are not finite; no chunklet of two; no pairs apart, or of one chunklet or of one that is not there; chunklets
    /// apart that all have one mean; a direction that tells them apart and in which no chunklet varies, with no ridge; more
    /// dimensions than tell them apart.
    pub fn fit(
        &self,
        vectors: Vectors<'_>,
        chunklets: &[u32],
        apart: &[(u32, u32)],
    ) -> Result<Fitted<Spectrum>, ClassicError> {
        check(vectors, 2, "a chunklet has two samples")?;
        not_negative("ridge", self.ridge)?;
        let groups = Classes::of_chunklets(vectors.len(), chunklets, "chunklets")?;
        groups.check_kin("chunklet")?;
        let d = vectors.dim();
        let (mut within, mut means, mut families) = (Matrix::zeros(d, d), Vec::new(), 0);
        for members in &groups.members {
            let samples = gather(vectors, members);
            let samples = Vectors::new(&samples, d)?;
            let own = mean(samples);
            if members.len() > 1 {
                within = within.plus(1.0 / members.len() as f64, &scatter(samples, &own));
                families += 1;
            }
            means.push(own);
        }
        let offset = mean(vectors);
        let variance = scatter(vectors, &offset).trace() / (d * vectors.len()) as f64;
        let within = Matrix::zeros(d, d)
            .plus(1.0 / families as f64, &within)
            .plus(self.ridge * variance, &Matrix::identity(d, d));
        let place = |chunklet: u32| {
            let found = groups.members.binary_search_by_key(&chunklet, |members| chunklets[members[0]]);
            found.map_err(|_| ClassicError::NoSuchChunklet { chunklet })
        };
        if apart.is_empty() {
            return Err(ClassicError::NoTuples { what: "chunklets that are apart" });
        }
        let mut between = Matrix::zeros(d, d);
        for &(a, b) in apart {
            if a == b {
                return Err(ClassicError::ApartFromItself { chunklet: a });
            }
            let (a, b) = (&means[place(a)?], &means[place(b)?]);
            let v: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            (0..d).for_each(|r| add(between.row_mut(r), v[r] / apart.len() as f64, &v));
        }
        self.solve(offset, &within.symmetric(), &between.symmetric())
    }

    fn solve(
        &self,
        offset: Vec<f64>,
        within: &Matrix,
        between: &Matrix,
    ) -> Result<Fitted<Spectrum>, ClassicError> {
        let eigen = Eigen::new(between)?;
        let rank = eigen.rank();
        if rank == 0 {
            return Err(ClassicError::NoVariance);
        }
        let k = dims(self.dims, rank, "chunklets apart differ in no more directions")?;
        let white = eigen.vectors.head(rank).scale_rows(|r| 1.0 / eigen.values[r].sqrt());
        let spread = Eigen::new(&white.around(within))?;
        let certain = spread.values.iter().take_while(|value| **value > SINGULAR).count();
        if certain < rank {
            let what = "the covariance within chunklets, where those apart differ,";
            return Err(ClassicError::Singular { what, rank: certain, dims: rank });
        }
        // The least spread first.
        let turned = spread.vectors.times(&white);
        let mut matrix = Matrix::from_fn(k, within.rows(), |r, c| {
            turned.row(rank - 1 - r)[c] / spread.values[rank - 1 - r].sqrt()
        });
        (0..k).for_each(|r| point(matrix.row_mut(r)));
        let ratios: Vec<f64> = spread.values.iter().rev().map(|value| 1.0 / value).collect();
        let how = Spectrum { total: ratios.iter().sum(), values: ratios[..k].to_vec() };
        Ok(Fitted { map: LinearMap::of(offset, matrix), how })
    }
}

/// A direction with less variance within chunklets than this part of that between them has none.
const SINGULAR: f64 = 1e-10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    #[test]
    fn hand_worked_chunklets_have_their_direction() {
        // Means (0, 0) and (2, 1); C_b = (2, 1)(2, 1)ᵀ. C_w = ½ (diag(1, 0) + diag(0, 4)).
        let table = [1.0, 0.0, -1.0, 0.0, 2.0, 3.0, 2.0, -1.0];
        let fitted = Dca::new().fit(Vectors::new(&table, 2).unwrap(), &[4, 4, 9, 9], &[(4, 9)]).unwrap();
        // One direction, a = s (2, 1), with aᵀ C_w a = s² (4 · ½ + 2) = 1; C_b along it is s² 25.
        let wanted = [1.0, 0.5];
        assert!(
            fitted.map.matrix().data().iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12),
            "{fitted:?}"
        );
        assert!((fitted.how.values[0] - 6.25).abs() < 1e-12);
    }

    #[test]
    fn in_all_directions_the_map_solves_the_generalised_eigenproblem() {
        let noise = normals(&mut stream(31), 60 * 3);
        let labels: Vec<u32> = (0..60).map(|i| i % 5).collect();
        let table: Vec<f32> =
            (0..180).map(|at| (noise[at] + f64::from(labels[at / 3] * (at % 3) as u32 % 4)) as f32).collect();
        let vectors = Vectors::new(&table, 3).unwrap();
        let fitted = Dca::new().fit_labels(vectors, &labels).unwrap();
        // C_b and C_w pair by pair and sample by sample.
        let of = |c: u32| -> Vec<usize> { (0..60).filter(|&i| labels[i] == c).collect() };
        let mean_of = |c: u32| -> Vec<f64> {
            (0..3).map(|k| of(c).iter().map(|&i| f64::from(table[3 * i + k])).sum::<f64>() / 12.0).collect()
        };
        let (mut within, mut between) = (Matrix::zeros(3, 3), Matrix::zeros(3, 3));
        for c in 0..5 {
            let m = mean_of(c);
            for i in of(c) {
                let v: Vec<f64> = (0..3).map(|k| f64::from(table[3 * i + k]) - m[k]).collect();
                (0..3).for_each(|r| add(within.row_mut(r), v[r] / 60.0, &v));
            }
            for other in (0..5).filter(|&other| other != c) {
                let v: Vec<f64> = m.iter().zip(mean_of(other)).map(|(a, b)| a - b).collect();
                (0..3).for_each(|r| add(between.row_mut(r), v[r] / 20.0, &v));
            }
        }
        let (a, one) = (fitted.map.matrix(), Matrix::identity(3, 3));
        let close = |a: &Matrix, b: &Matrix| a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close(&a.around(&within), &one));
        assert!(close(&a.around(&between), &one.scale_rows(|r| fitted.how.values[r])));
        assert!(fitted.how.values.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_the_reason() {
        let table = [1.0, 0.0, -1.0, 0.0, 2.0, 3.0, 3.0, 3.0];
        let vectors = Vectors::new(&table, 2).unwrap();
        let fit = |chunklets: &[u32], apart: &[(u32, u32)]| Dca::new().fit(vectors, chunklets, apart);
        assert_eq!(fit(&[0, 0, 1, 1], &[(1, 1)]), Err(ClassicError::ApartFromItself { chunklet: 1 }));
        assert_eq!(fit(&[0, 0, 1, 1], &[(1, 2)]), Err(ClassicError::NoSuchChunklet { chunklet: 2 }));
        assert!(matches!(fit(&[0, 0, 1, 1], &[]), Err(ClassicError::NoTuples { .. })));
        assert!(matches!(fit(&[0, 1, 2, 3], &[(0, 1)]), Err(ClassicError::NoKin { .. })));
        assert!(matches!(fit(&[0, 0, 1], &[(0, 1)]), Err(ClassicError::Count { .. })));
        // Chunklets differ along (2.5, 3), where both vary; along the second column none does.
        assert!(fit(&[0, 0, 1, 1], &[(0, 1)]).is_ok());
        let far = Dca::new().dims(2).fit(vectors, &[0, 0, 1, 1], &[(0, 1)]);
        assert!(matches!(far, Err(ClassicError::Dims { most: 1, .. })));
        let upright = [1.0, 0.0, -1.0, 0.0, 1.0, 3.0, -1.0, 3.0];
        let upright = Vectors::new(&upright, 2).unwrap();
        let found = Dca::new().fit_labels(upright, &[0, 0, 1, 1]);
        assert!(matches!(found, Err(ClassicError::Singular { rank: 0, dims: 1, .. })), "{found:?}");
        assert!(Dca::new().ridge(0.1).fit_labels(upright, &[0, 0, 1, 1]).is_ok());
        let same = [1.0; 8];
        let same = Dca::new().fit_labels(Vectors::new(&same, 2).unwrap(), &[0, 0, 1, 1]);
        assert_eq!(same, Err(ClassicError::NoVariance));
    }
}
