//! KoLeo: vectors spread over the sphere.
//!
//! A. Sablayrolles, M. Douze, C. Schmid, H. Jégou, "Spreading Vectors for Similarity Search", 2019, after the entropy
//! estimator of Kozachenko and Leonenko. For vectors `u` of unit length:
//!
//! ```text
//! −ln ( ‖u − u' + ε‖ + ε ),   u' the nearest other vector, ε = 1e−8 also added to each component
//! ```
//!
//! one term a vector; lightly and DINOv2 add ε so. Both ends are pushed.

use nearkin_sweep::{Metric, Vectors, top_k};
use rayon::prelude::*;

use super::{Regularizer, length};
use crate::loss::{LossError, Pull};

/// The KoLeo regulariser. Equal vectors push in no direction: their term, about 17, has no gradient.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct KoLeo;

const EPSILON: f64 = 1e-8;

impl Regularizer for KoLeo {
    fn pull(&self, vectors: Vectors<'_>) -> Result<Pull, LossError> {
        let (n, dim) = (vectors.len(), vectors.dim());
        let mut query_gradient = vec![0.0f32; vectors.data().len()];
        if n < 2 {
            return Ok(Pull { query_gradient, ..Pull::default() });
        }
        let nearest = top_k(vectors, vectors, Metric::Cosine, 1, true)?;
        let unit = |i: usize| {
            let row = vectors.row(i);
            let length = length(row);
            let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
            row.iter().map(move |x| f64::from(*x) * scale)
        };
        // How far each is from its nearest, ε included, and that distance.
        let apart = |i: usize| -> Option<(usize, Vec<f64>, f64)> {
            // A vector that is not a number has no neighbour.
            let nearest = nearest[i].first()?.index;
            let mut apart: Vec<f64> = unit(i).zip(unit(nearest)).map(|(a, b)| a - b).collect();
            let equal = apart.iter().all(|x| *x == 0.0);
            apart.iter_mut().for_each(|x| *x += EPSILON);
            let distance = apart.iter().map(|x| x * x).sum::<f64>().sqrt();
            if equal {
                apart.fill(0.0);
            }
            Some((nearest, apart, distance))
        };
        let found: Vec<Option<(usize, Vec<f64>, f64)>> = (0..n).into_par_iter().map(apart).collect();
        let scale = 1.0 / n as f64;
        let (mut loss, mut active) = (0.0, 0);
        let mut pulls = vec![0.0; vectors.data().len()];
        for (i, found) in found.iter().enumerate() {
            let Some((nearest, apart, distance)) = found else {
                loss = f64::NAN;
                continue;
            };
            let energy = -(distance + EPSILON).ln();
            loss += energy;
            active += usize::from(energy > 0.0);
            let slope = -scale / (distance + EPSILON) / distance;
            for (d, x) in apart.iter().enumerate() {
                pulls[i * dim + d] += slope * x;
                pulls[nearest * dim + d] -= slope * x;
            }
        }
        let rows = query_gradient.par_chunks_exact_mut(dim).zip(pulls.par_chunks_exact(dim)).enumerate();
        rows.for_each(|(i, (gradient, pulls))| {
            let length = length(vectors.row(i));
            if length > 0.0 {
                let along: f64 = pulls.iter().zip(unit(i)).map(|(p, u)| p * u).sum();
                for ((g, p), u) in gradient.iter_mut().zip(pulls).zip(unit(i)) {
                    *g = ((p - along * u) / length) as f32;
                }
            }
        });
        Ok(Pull { loss: loss * scale, terms: n, active, query_gradient, ..Pull::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_directions() {
        // East, north, west: the nearest is √2 away, and to the first of two that are alike.
        let points = [2.0, 0.0, 0.0, 1.0, -3.0, 0.0];
        let found = KoLeo.pull(Vectors::new(&points, 2).unwrap()).unwrap();
        assert!((found.loss + 2f64.sqrt().ln()).abs() < 1e-6, "{}", found.loss);
        assert_eq!((found.terms, found.active), (3, 0));
        // East feels its own push and that of north, each 1/√2 per unit along (1, −1)/√2, which is −½ across it; over 3 and
        // its length of 2.
        assert!((found.query_gradient[1] - 2.0 * 0.5 / 3.0 / 2.0).abs() < 1e-6, "{:?}", found.query_gradient);
    }

    #[test]
    fn one_vector_alone_has_no_term() {
        assert_eq!(KoLeo.pull(Vectors::new(&[1.0, 0.0], 2).unwrap()).unwrap().terms, 0);
    }
}
