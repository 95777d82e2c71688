//! One file a regulariser: a function of vectors alone, without kin.
//!
//! [`OnQueries`] and [`OnReferences`] make one a [`Loss`], so that a [`WeightedSum`](crate::WeightedSum) can hold it beside
//! others.

mod ko_leo;
mod lp;
mod spherical_embedding;
mod zero_mean;

pub use ko_leo::KoLeo;
pub use lp::Lp;
pub use spherical_embedding::SphericalEmbedding;
pub use zero_mean::ZeroMean;

use nearkin_sweep::Vectors;
use rayon::prelude::*;

use crate::loss::{Loss, LossError, Pull, Sides};
use crate::tuples::Tuples;

/// A function of vectors, with its gradient.
pub trait Regularizer: Send + Sync {
    /// The value, and the gradient as `query_gradient`. A term is a vector; they are reduced to the mean.
    ///
    /// # Errors
    /// When the vectors cannot be compared.
    fn pull(&self, vectors: Vectors<'_>) -> Result<Pull, LossError>;
}

/// A regulariser of queries: of embeddings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnQueries<R>(pub R);

impl<R: Regularizer> Loss for OnQueries<R> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        Ok(Pull { reference_gradient: Pull::none(sides).reference_gradient, ..self.0.pull(sides.queries)? })
    }

    /// Of all queries, mined or not.
    fn pull_mined(&self, sides: &Sides<'_>, _tuples: &Tuples) -> Result<Pull, LossError> {
        Loss::pull(self, sides)
    }
}

/// A regulariser of references: of class vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnReferences<R>(pub R);

impl<R: Regularizer> Loss for OnReferences<R> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let references = sides
            .references
            .ok_or_else(|| LossError::undefined("a regulariser of references", "there are none"))?;
        let found = self.0.pull(references)?;
        Ok(Pull {
            query_gradient: Pull::none(sides).query_gradient,
            reference_gradient: found.query_gradient,
            ..found
        })
    }

    /// Of all references, mined or not.
    fn pull_mined(&self, sides: &Sides<'_>, _tuples: &Tuples) -> Result<Pull, LossError> {
        Loss::pull(self, sides)
    }
}

/// The mean of a function of each vector, which returns its value and writes its gradient.
fn mean_of_each(vectors: Vectors<'_>, of_vector: impl Fn(&[f32], &mut [f64]) -> f64 + Sync) -> Pull {
    let (n, dim) = (vectors.len(), vectors.dim());
    let mut query_gradient = vec![0.0; vectors.data().len()];
    let scale = 1.0 / n.max(1) as f64;
    let rows = query_gradient.par_chunks_exact_mut(dim).zip(vectors.data().par_chunks_exact(dim));
    let energies: Vec<f64> = rows
        .map_init(
            || vec![0.0; dim],
            |wide, (gradient, vector)| {
                wide.fill(0.0);
                let energy = of_vector(vector, wide);
                gradient.iter_mut().zip(wide).for_each(|(g, w)| *g = (scale * *w) as f32);
                energy
            },
        )
        .collect();
    Pull {
        loss: scale * energies.iter().sum::<f64>(),
        terms: n,
        active: energies.iter().filter(|e| **e > 0.0 || e.is_nan()).count(),
        query_gradient,
        reference_gradient: Vec::new(),
    }
}

fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn a_regulariser_pulls_at_its_own_side() {
        let kin = SameLabel::between(&[0], &[0, 1]);
        let (q, r) = ([3.0, 4.0], [0.0, 2.0, 0.0, 0.0]);
        let sides = Sides::between(Vectors::new(&q, 2).unwrap(), Vectors::new(&r, 2).unwrap(), &kin);
        let found = Loss::pull(&OnQueries(Lp::default()), &sides).unwrap();
        assert_eq!((found.loss, found.terms), (5.0, 1));
        assert_eq!((found.query_gradient, found.reference_gradient), (vec![0.6, 0.8], vec![0.0; 4]));
        let found = Loss::pull(&OnReferences(Lp::default()), &sides).unwrap();
        assert_eq!((found.loss, found.terms, found.active), (1.0, 2, 1));
        assert_eq!(
            (found.query_gradient, found.reference_gradient),
            (vec![0.0; 2], vec![0.0, 0.5, 0.0, 0.0])
        );
        let alone = Sides::within(sides.queries, &kin);
        assert!(Loss::pull(&OnReferences(Lp::default()), &alone).is_err());
    }
}
