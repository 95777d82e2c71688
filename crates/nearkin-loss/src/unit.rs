//! Losses on the unit sphere.

use nearkin_sweep::Vectors;
use rayon::prelude::*;

use crate::classes::ProxyInit;
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::tuples::Tuples;

/// A loss of the vectors scaled to unit length, `x / ‖x‖`, with the gradient of the vectors as given: FaceNet's, and what
/// pytorch-metric-learning's distances do unless told otherwise. A zero vector stays one and has no gradient.
///
/// For the cosine this changes nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnSphere<L>(pub L);

impl<L: Loss> OnSphere<L> {
    pub(crate) fn through(
        sides: &Sides<'_>,
        pull: impl FnOnce(&Sides<'_>) -> Result<Pull, LossError>,
    ) -> Result<Pull, LossError> {
        let dim = sides.queries.dim();
        let queries = Unit::of(sides.queries);
        let references = sides.references.map(|r| (Unit::of(r), r.dim()));
        let on_sphere = Sides {
            queries: Vectors::new(&queries.vectors, dim)?.on(sides.queries.accelerator()),
            references: match &references {
                Some((unit, dim)) => Some(Vectors::new(&unit.vectors, *dim)?),
                None => None,
            },
            ..*sides
        };
        let mut found = pull(&on_sphere)?;
        queries.chain(dim, &mut found.query_gradient);
        if let Some((references, dim)) = &references {
            references.chain(*dim, &mut found.reference_gradient);
        }
        Ok(found)
    }
}

impl<L: Loss> Loss for OnSphere<L> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        Self::through(sides, |sides| self.0.pull(sides))
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        Self::through(sides, |sides| self.0.pull_mined(sides, tuples))
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.0.proxies()
    }
}

/// Vectors of unit length, and the lengths they had.
pub(crate) struct Unit {
    pub(crate) vectors: Vec<f32>,
    lengths: Vec<f32>,
}

impl Unit {
    pub(crate) fn of(vectors: Vectors<'_>) -> Self {
        let rows = || vectors.data().chunks_exact(vectors.dim());
        let length = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
        let lengths: Vec<f32> = rows().map(length).collect();
        let mut unit = vectors.data().to_vec();
        for (row, length) in unit.chunks_exact_mut(vectors.dim()).zip(&lengths) {
            if *length > 0.0 {
                row.iter_mut().for_each(|x| *x /= length);
            }
        }
        Self { vectors: unit, lengths }
    }

    /// From the gradient of the unit vectors to that of the given ones: what is left across the vector, over its length.
    pub(crate) fn chain(&self, dim: usize, gradient: &mut [f32]) {
        let rows =
            gradient.par_chunks_exact_mut(dim).zip(self.vectors.par_chunks_exact(dim)).zip(&self.lengths);
        rows.for_each(|((g, u), length)| {
            let along: f32 = g.iter().zip(u).map(|(g, u)| g * u).sum();
            let scale = if *length > 0.0 { 1.0 / length } else { 0.0 };
            g.iter_mut().zip(u).for_each(|(g, u)| *g = (*g - along * u) * scale);
        });
    }
}
