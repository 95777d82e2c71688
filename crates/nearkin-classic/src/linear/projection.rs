//! Gaussian random projection.
//!
//! W. Johnson, J. Lindenstrauss, "Extensions of Lipschitz Mappings into a Hilbert Space", 1984; S. Dasgupta, A. Gupta, "An
//! Elementary Proof of a Theorem of Johnson and Lindenstrauss", 2003. Entries are drawn from `N(0, 1/k)`, so that squared
//! distances keep their mean; with `k ≥ 4 ln n / (ε²/2 − ε³/3)` dimensions some such map keeps all of them within `1 ± ε`.
//!
//! Cost: `2 n d k` to transform; the fit sees no samples.
//!
//! When to use it: dimensions are very many, and distances are all that counts.
//!
//! ```
//! use nearkin_classic::RandomProjection;
//!
//! // 10,000 samples of 100,000 columns, within a fifth.
//! let dims = RandomProjection::enough_dims(10_000, 0.2)?;
//! assert!(dims < 2200);
//! let map = RandomProjection::new(3).seed(7).fit(100)?;
//! assert_eq!(map.matrix().columns(), 100);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use crate::algebra::Matrix;
use crate::error::ClassicError;
use crate::input::setting;
use crate::linear::LinearMap;
use crate::random::{normals, stream};

/// Settings of a random projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomProjection {
    dims: usize,
    seed: u64,
}

impl RandomProjection {
    /// To this many dimensions.
    pub fn new(dims: usize) -> Self {
        Self { dims, seed: 0 }
    }

    /// Drawn with this seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How many dimensions keep all squared distances of `samples` within `1 ± error`, as the theorem has it; error in (0, 1).
    ///
    /// # Errors
    /// When the error is out of its range.
    pub fn enough_dims(samples: usize, error: f64) -> Result<usize, ClassicError> {
        setting("error", error, error > 0.0 && error < 1.0, "above 0 and below 1")?;
        let least = 4.0 * (samples.max(1) as f64).ln() / (error.powi(2) / 2.0 - error.powi(3) / 3.0);
        Ok(least.ceil().max(1.0) as usize)
    }

    /// The map of samples of `columns` dimensions, of which it needs to know nothing else.
    ///
    /// # Errors
    /// When either dimension is 0.
    pub fn fit(&self, columns: usize) -> Result<LinearMap, ClassicError> {
        let scale = 1.0 / (self.dims as f64).sqrt();
        let entries = normals(&mut stream(self.seed), self.dims * columns);
        let matrix = Matrix::new(self.dims, columns, entries.into_iter().map(|x| scale * x).collect())?;
        LinearMap::new(vec![0.0; columns], matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_kept_on_average_and_the_seed_decides() {
        let map = RandomProjection::new(2000).seed(5).fit(3).unwrap();
        let square: f64 = map.matrix().transposed().row(1).iter().map(|x| x * x).sum();
        assert!((square - 1.0).abs() < 0.1, "{square}");
        assert_eq!(map, RandomProjection::new(2000).seed(5).fit(3).unwrap());
        assert_ne!(map, RandomProjection::new(2000).seed(6).fit(3).unwrap());
    }

    #[test]
    fn the_theorem_gives_the_dimensions() {
        // 4 ln 1000 / (0.125 − 0.041 6…) = 331.6…
        assert_eq!(RandomProjection::enough_dims(1000, 0.5).unwrap(), 332);
        assert!(RandomProjection::enough_dims(1000, 1.0).is_err());
        assert!(RandomProjection::new(0).fit(3).is_err() && RandomProjection::new(3).fit(0).is_err());
    }
}
