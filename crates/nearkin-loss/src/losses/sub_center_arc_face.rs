//! Sub-centre ArcFace.
//!
//! J. Deng, J. Guo, T. Liu, M. Gong, S. Zafeiriou, "Sub-center ArcFace: Boosting Face Recognition by Large-Scale Noisy Web
//! Faces", 2020: [`ArcFace`](super::ArcFace) with `K` vectors a class, of which the nearest counts:
//!
//! ```text
//! cos θ_c = max_k cos(x, w_ck)
//! ```
//!
//! one term a sample. The vectors of a class are `K` references in sequence.

use nearkin_sweep::{Metric, Row};

use super::arc_face::{AngularMargin, check_scale};
use crate::classes::{ProxyInit, Spread, check_blocks, cross_entropy, pull_classes};
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::reducer::Terms;
use crate::springs::Springs;
use crate::tuples::Tuples;

/// Sub-centre ArcFace. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SubCenterArcFace {
    margin: AngularMargin,
    scale: f32,
    centers: usize,
}

impl Default for SubCenterArcFace {
    /// pytorch-metric-learning's: m = 28.6°, s = 64, K = 3.
    fn default() -> Self {
        Self { margin: AngularMargin::of(28.6f64.to_radians()), scale: 64.0, centers: 3 }
    }
}

impl SubCenterArcFace {
    /// With the margin m in degrees, the scale s, and the number of vectors a class, K.
    ///
    /// # Errors
    /// When m is not from 0 to 180, s not above zero, or K is 0.
    pub fn new(degrees: f32, scale: f32, centers: usize) -> Result<Self, LossError> {
        Ok(Self {
            margin: AngularMargin::new(degrees)?,
            scale: check_scale(scale)?,
            centers: check_centers(centers)?,
        })
    }

    /// The paper's: m = 0.5 radians, s = 64, K = 3.
    pub fn deng_2020() -> Self {
        Self { margin: AngularMargin::of(0.5), scale: 64.0, centers: 3 }
    }
}

pub(super) fn check_centers(centers: usize) -> Result<usize, LossError> {
    match centers {
        0 => Err(LossError::OutOfRange { name: "centers", found: 0.0, wanted: "at least 1" }),
        _ => Ok(centers),
    }
}

impl Loss for SubCenterArcFace {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        check_blocks(sides, self.centers)?;
        pull_classes(self, Metric::Cosine, sides, &[])
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        check_blocks(sides, self.centers)?;
        let weights = tuples.sample_weights(sides.queries.len(), false);
        pull_classes(self, Metric::Cosine, sides, &weights)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        Some(ProxyInit { per_class: self.centers, spread: Spread::Normal })
    }
}

impl Springs for SubCenterArcFace {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let Some((own, _)) = row.kin().next() else { return };
        let own = own / self.centers;
        // The place of each class's nearest vector; what is not a number counts as nearest, so that it is seen.
        let nearest = |(first, cosines): (usize, &[f32])| {
            let mut best = 0;
            for (k, cos) in cosines.iter().enumerate() {
                if *cos > cosines[best] || cos.is_nan() {
                    best = k;
                }
            }
            first + best
        };
        let classes = (0..).step_by(self.centers).zip(row.scores.chunks(self.centers));
        let nearest: Vec<usize> = classes.map(nearest).collect();
        let mut logits: Vec<f32> = nearest.iter().map(|&j| self.scale * row.scores[j]).collect();
        let (target, slope) = self.margin.target(row.scores[nearest[own]]);
        logits[own] = self.scale * target;
        let c = terms.add(cross_entropy(&mut logits, own)) * self.scale;
        for (j, x) in nearest.iter().zip(&logits) {
            forces[*j] = c * x;
        }
        forces[nearest[own]] *= slope;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_sample_with_two_centres_a_class() {
        // Class 1 has a centre on the sample and one opposite, class 0 one at right angles and one opposite:
        // ℓ = ln(1 + e^{−s·cos 60°}), and the far centres feel nothing.
        let kin = SameLabel::between(&[1], &[0, 0, 1, 1]);
        let (sample, centers) = ([3.0, 0.0], [-1.0, 0.0, 0.0, 1.0, 2.0, 0.0, -1.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&sample, 2).unwrap(), Vectors::new(&centers, 2).unwrap(), &kin);
        let found = Loss::pull(&SubCenterArcFace::new(60.0, 4.0, 2).unwrap(), &sides).unwrap();
        assert!((found.loss - (-2f64).exp().ln_1p()).abs() < 1e-6, "{}", found.loss);
        assert!(
            found.reference_gradient[..2].iter().chain(&found.reference_gradient[6..]).all(|g| *g == 0.0)
        );
        assert!(found.reference_gradient[2] != 0.0);
    }

    #[test]
    fn classes_of_another_size_are_refused() {
        let kin = SameLabel::between(&[1], &[0, 1]);
        let sides =
            Sides::between(Vectors::new(&[1.0], 1).unwrap(), Vectors::new(&[1.0; 2], 1).unwrap(), &kin);
        assert!(Loss::pull(&SubCenterArcFace::default(), &sides).is_err());
        assert!(SubCenterArcFace::new(28.6, 64.0, 0).is_err());
    }
}
