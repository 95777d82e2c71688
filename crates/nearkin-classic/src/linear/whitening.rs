//! Whitening: uncorrelated columns of variance 1.
//!
//! With eigenvectors `V` (as rows) and eigenvalues `Λ` of the covariance, PCA whitening is `Λ^{-1/2} V`, and zero-phase (ZCA)
//! whitening turns that back, `Vᵀ Λ^{-1/2} V`: of all whitenings the one that moves samples least (A. Bell, T. Sejnowski,
//! "The 'Independent Components' of Natural Scenes are Edge Filters", 1997).
//!
//! Cost: `2 n d² + O(d³)`; memory d × d.
//!
//! When to use it: scale and correlation of the columns mean nothing.
//!
//! ```
//! use nearkin_classic::Whitening;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let white = Whitening::zca().fit(x)?.map.transform(x)?;
//! let variance = white.iter().step_by(2).map(|z| z * z).sum::<f32>() / 5.0;
//! assert!((variance - 1.0).abs() < 1e-5);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, mean, scatter};
use crate::error::ClassicError;
use crate::input::{check, dims};
use crate::linear::{Fitted, LinearMap, Spectrum};

/// Settings of whitening. Euclidean distance after it is the Mahalanobis distance of the covariance.
///
/// Directions without variance (constant columns, fewer samples than dimensions) cannot be brought to variance 1: they are
/// left out, and by ZCA sent to 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Whitening {
    dims: Option<usize>,
    back: bool,
}

impl Whitening {
    /// To the principal components, all that vary.
    pub fn pca() -> Self {
        Self { dims: None, back: false }
    }

    /// Back to the original axes.
    pub fn zca() -> Self {
        Self { dims: None, back: true }
    }

    /// From this many components of greatest variance.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// Finds the map. Cost: `2 n d² + O(d³)`; memory: d × d.
    ///
    /// # Errors
    /// Fewer than two samples; values that are not finite; more dimensions than vary; samples that are all the same.
    pub fn fit(&self, vectors: Vectors<'_>) -> Result<Fitted<Spectrum>, ClassicError> {
        check(vectors, 2, "a variance is taken")?;
        let offset = mean(vectors);
        let eigen = Eigen::new(&scatter(vectors, &offset))?;
        let rank = eigen.rank();
        if rank == 0 {
            return Err(ClassicError::NoVariance);
        }
        let k = dims(self.dims, rank, "no more directions vary")?;
        let n = (vectors.len() - 1) as f64;
        let variances: Vec<f64> = eigen.values.iter().map(|square| square.max(0.0) / n).collect();
        let components = eigen.vectors.head(k);
        let white = components.clone().scale_rows(|r| 1.0 / variances[r].sqrt());
        let matrix = if self.back { components.transposed().times(&white).symmetric() } else { white };
        let spectrum = Spectrum { total: variances.iter().sum(), values: variances[..k].to_vec() };
        Ok(Fitted { map: LinearMap::of(offset, matrix), how: spectrum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;
    use crate::random::{normals, stream};

    /// Correlated columns, and a constant one.
    fn table() -> Vec<f32> {
        let noise = normals(&mut stream(2), 200);
        noise.chunks_exact(2).flat_map(|x| [x[0] as f32, (x[0] + 0.1 * x[1]) as f32, 7.0]).collect()
    }

    #[test]
    fn what_is_whitened_has_the_covariance_of_noise() {
        let table = table();
        let vectors = Vectors::new(&table, 3).unwrap();
        let fitted = Whitening::pca().fit(vectors).unwrap();
        assert_eq!(fitted.map.matrix().rows(), 2);
        let white = fitted.map.transform(vectors).unwrap();
        let white = Vectors::new(&white, 2).unwrap();
        let covariance = scatter(white, &mean(white));
        let wanted = Matrix::identity(2, 2).scale_rows(|_| 99.0);
        assert!(
            covariance.data().iter().zip(wanted.data()).all(|(a, b)| (a - b).abs() < 1e-3),
            "{covariance:?}"
        );
    }

    #[test]
    fn zca_stays_on_the_axes_and_sends_constants_to_0() {
        let table = table();
        let vectors = Vectors::new(&table, 3).unwrap();
        let map = Whitening::zca().fit(vectors).unwrap().map;
        assert_eq!(map.matrix(), &map.matrix().transposed());
        assert!(map.transform(vectors).unwrap().chunks_exact(3).all(|row| row[2].abs() < 1e-4));
        assert_eq!(map.metric().factor().unwrap().rows(), 2);
    }

    #[test]
    fn samples_that_are_all_the_same_are_refused() {
        let same = [1.0; 6];
        let vectors = Vectors::new(&same, 2).unwrap();
        assert_eq!(Whitening::pca().fit(vectors), Err(ClassicError::NoVariance));
        let table = table();
        let wide = Whitening::pca().dims(3).fit(Vectors::new(&table, 3).unwrap());
        assert!(matches!(wide, Err(ClassicError::Dims { most: 2, .. })));
    }
}
