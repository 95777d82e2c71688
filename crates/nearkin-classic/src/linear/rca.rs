//! Relevant component analysis.
//!
//! N. Shental, T. Hertz, D. Weinshall, M. Pavel, "Adjustment Learning and Relevant Component Analysis", 2002; A. Bar-Hillel et
//! al., 2005. Of *chunklets*, small groups known to be of one class, whichever that is:
//!
//! ```text
//! C = (1/n) Σ_chunklets Σ_{i∈chunklet} (x_i − m_chunklet)(x_i − m_chunklet)ᵀ        A = C^{−1/2}
//! ```
//!
//! What varies within kin is divided out.
//!
//! Cost: `2 n d² + O(d³)`; memory d × d.
//!
//! When to use it: small groups of kin are known, and nothing about which of them differ. [DCA](crate::Dca) uses that too.
//!
//! ```
//! use nearkin_classic::Rca;
//! use nearkin_sweep::Vectors;
//!
//! // Three chunklets, which vary in the second column.
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let map = Rca::new().fit(x, &[0, 0, 1, 1, 2, 2])?;
//! assert_eq!(map.matrix().rows(), 2);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix, mean, scatter};
use crate::error::ClassicError;
use crate::input::{Classes, check, not_negative};
use crate::linear::LinearMap;
use crate::linear::lda::scatter_within;

/// Settings of RCA.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rca {
    ridge: f64,
}

impl Rca {
    /// As published.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds this part of the mean variance of all samples to the covariance within chunklets; 0 or more. It also lets
    /// constant columns pass.
    #[must_use]
    pub fn ridge(self, ridge: f64) -> Self {
        Self { ridge }
    }

    /// Finds the map; `chunklets` names each sample's. A chunklet of one sample says nothing. Cost: `2 n d² + O(d³)`; memory:
    /// d × d.
    ///
    /// # Errors
    /// Values that are not finite; no chunklet of two; a direction in which no chunklet varies, with no ridge.
    pub fn fit(&self, vectors: Vectors<'_>, chunklets: &[u32]) -> Result<LinearMap, ClassicError> {
        check(vectors, 2, "a chunklet has two samples")?;
        not_negative("ridge", self.ridge)?;
        let mut groups = Classes::of_chunklets(vectors.len(), chunklets, "chunklets")?;
        groups.check_kin("chunklet")?;
        groups.members.retain(|members| members.len() > 1);
        let n = groups.members.iter().map(Vec::len).sum::<usize>() as f64;
        let (offset, d) = (mean(vectors), vectors.dim());
        let added = self.ridge * scatter(vectors, &offset).trace() / (d * vectors.len()) as f64;
        let covariance = Matrix::zeros(d, d).plus(1.0 / n, &scatter_within(vectors, &groups)?);
        let eigen = Eigen::new(&covariance.plus(added, &Matrix::identity(d, d)))?;
        let rank = eigen.rank();
        if rank < d {
            let what = "the covariance within chunklets";
            return Err(ClassicError::Singular { what, rank, dims: d });
        }
        Ok(LinearMap::of(offset, eigen.power(-0.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_chunklets_are_whitened() {
        // About their means: (±2, 0) and (0, ±0.5); C = diag(8, 0.5) / 4. The lone sample says nothing.
        let table = [2.0, 0.0, -2.0, 0.0, 5.0, 5.5, 5.0, 4.5, 90.0, 90.0];
        let map = Rca::new().fit(Vectors::new(&table, 2).unwrap(), &[0, 0, 1, 1, 2]).unwrap();
        let wanted = [0.5f64.sqrt(), 0.0, 0.0, 8f64.sqrt()];
        assert!(map.matrix().data().iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{map:?}");
    }

    #[test]
    fn a_direction_in_which_no_chunklet_varies_is_refused_and_a_ridge_helps() {
        let table = [2.0, 0.0, -2.0, 0.0, 5.0, 3.0, 6.0, 3.0];
        let vectors = Vectors::new(&table, 2).unwrap();
        let found = Rca::new().fit(vectors, &[0, 0, 1, 1]);
        assert!(matches!(found, Err(ClassicError::Singular { rank: 1, dims: 2, .. })));
        assert!(Rca::new().ridge(0.1).fit(vectors, &[0, 0, 1, 1]).is_ok());
        assert!(matches!(Rca::new().fit(vectors, &[0, 1, 2, 3]), Err(ClassicError::NoKin { .. })));
        assert!(matches!(Rca::new().fit(vectors, &[0]), Err(ClassicError::Count { .. })));
    }
}
