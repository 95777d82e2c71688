//! Batch-hard triplets: each anchor with its farthest kin and its nearest stranger.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, eq. 5:
//!
//! ```text
//! ℓ_a = φ( max_p d(a, p) − min_n d(a, n) ),   φ(x) = max(0, m + x)  or  ln(1 + e^x)
//! ```
//!
//! averaged over the anchors that have both a kin and a stranger.

use nearkin_sweep::{
    Kin, Metric, Pull, Reduction, Relation, Settled, SweepError, Tile, TupleSprings, Vectors, pull_tuples,
};
use serde::{Deserialize, Serialize};

use crate::loss::{Loss, LossError};

/// How far beyond the farthest kin the nearest stranger must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Margin {
    /// `max(0, m + x)`: no pull once the gap is `m`, in units of the metric.
    Hinge(f32),
    /// `ln(1 + e^x)`: pulls less the wider the gap, but always. Hermans et al. find it best.
    Soft,
}

/// The batch-hard triplet loss.
///
/// With a similarity (dot, cosine), `d = −s`. Among equally hard references the one with the lowest index is taken.
/// For the hinge, a term is active when it is above zero; for the soft margin, when the stranger is not yet farther
/// than the kin, which is what a reader of the progress line wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchHard {
    margin: Margin,
    metric: Metric,
    reduction: Reduction,
}

impl BatchHard {
    /// With the published reduction, the mean over all anchors.
    ///
    /// # Errors
    /// When a hinge's margin is negative or not finite.
    pub fn new(margin: Margin, metric: Metric) -> Result<Self, LossError> {
        if let Margin::Hinge(m) = margin
            && !(m.is_finite() && m >= 0.0)
        {
            return Err(LossError::OutOfRange {
                name: "margin",
                found: m.into(),
                wanted: "zero or more, and finite",
            });
        }
        Ok(Self { margin, metric, reduction: Reduction::Mean })
    }

    /// With another reduction, such as the mean over active triplets, pytorch-metric-learning's default.
    pub fn with_reduction(self, reduction: Reduction) -> Self {
        Self { reduction, ..self }
    }

    fn sign(&self) -> f32 {
        if self.metric.larger_is_nearer() { -1.0 } else { 1.0 }
    }
}

impl Loss for BatchHard {
    fn pull(
        &self,
        queries: Vectors<'_>,
        references: Option<Vectors<'_>>,
        kin: &dyn Kin,
    ) -> Result<Pull, SweepError> {
        pull_tuples(queries, references, self.metric, kin, self, self.reduction)
    }
}

/// The hardest of a row so far, as distances.
#[derive(Debug, Default)]
pub struct Hardest {
    kin: Option<(f32, usize)>,
    stranger: Option<(f32, usize)>,
}

impl TupleSprings for BatchHard {
    type Row = Hardest;

    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut Hardest) {
        let sign = self.sign();
        for (j, (score, relation)) in scores.iter().zip(tile.relations).enumerate() {
            let d = sign * score;
            match relation {
                Relation::Kin if row.kin.is_none_or(|(hardest, _)| d > hardest) => {
                    row.kin = Some((d, tile.first + j));
                }
                Relation::Stranger if row.stranger.is_none_or(|(hardest, _)| d < hardest) => {
                    row.stranger = Some((d, tile.first + j));
                }
                _ => {}
            }
        }
    }

    fn attach(&self, row: &Hardest, references: &mut Vec<usize>) {
        if let (Some((_, kin)), Some((_, stranger))) = (row.kin, row.stranger) {
            references.extend([kin, stranger]);
        }
    }

    fn settle(&self, scores: &[f32], forces: &mut [f32]) -> Settled {
        let sign = self.sign();
        let gap = f64::from(sign) * (f64::from(scores[0]) - f64::from(scores[1]));
        let (energy, slope, active) = match self.margin {
            Margin::Hinge(m) => {
                let energy = (f64::from(m) + gap).max(0.0);
                (energy, if energy > 0.0 { 1.0 } else { 0.0 }, energy > 0.0)
            }
            // max(x, 0) + ln(1 + e^−|x|) does not overflow.
            Margin::Soft => {
                let energy = gap.max(0.0) + (-gap.abs()).exp().ln_1p();
                (energy, 1.0 / (1.0 + (-gap).exp()), gap >= 0.0)
            }
        };
        forces[0] = sign * slope as f32;
        forces[1] = -forces[0];
        Settled { energy, terms: 1, active: usize::from(active || energy.is_nan()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    /// Points on a line: 0 and 3 are kin, 1 and 7 are kin.
    const POINTS: [f32; 4] = [0.0, 3.0, 1.0, 7.0];
    const LABELS: [u32; 4] = [0, 0, 1, 1];

    fn pull(loss: BatchHard) -> Pull {
        loss.pull(Vectors::new(&POINTS, 1).unwrap(), None, &SameLabel::within(&LABELS)).unwrap()
    }

    #[test]
    fn a_hand_worked_batch_with_a_hinge() {
        // Anchor 0: kin at 3, stranger at 1: 1 + 3 − 1 = 3. Anchor 3: kin at 3, stranger at 2: 2.
        // Anchor 1: kin at 6, stranger at 1: 6. Anchor 7: kin at 6, stranger at 4: 3. Mean 14/4.
        let found = pull(BatchHard::new(Margin::Hinge(1.0), Metric::Euclidean).unwrap());
        assert_eq!((found.loss, found.terms, found.active), (3.5, 4, 4));
        // ∂/∂x at point 0: kin springs of anchors 0 and 3 pull it right, −2; the stranger springs that end at it
        // (its own and that of the anchor at 1) push it left, +2.
        assert_eq!(found.query_gradient[0], 0.0);
    }

    #[test]
    fn a_satisfied_hinge_pulls_nothing_and_a_soft_margin_still_does() {
        let points = [0.0, 0.1, 9.0, 9.1];
        let pull = |margin| {
            let loss = BatchHard::new(margin, Metric::Euclidean).unwrap();
            loss.pull(Vectors::new(&points, 1).unwrap(), None, &SameLabel::within(&LABELS)).unwrap()
        };
        let hinge = pull(Margin::Hinge(0.5));
        assert_eq!((hinge.loss, hinge.active, hinge.terms), (0.0, 0, 4));
        assert!(hinge.query_gradient.iter().all(|g| *g == 0.0));
        let soft = pull(Margin::Soft);
        assert!(soft.loss > 0.0 && soft.query_gradient.iter().any(|g| *g != 0.0));
    }

    #[test]
    fn an_anchor_without_kin_or_without_strangers_has_no_term() {
        let loss = BatchHard::new(Margin::Soft, Metric::Euclidean).unwrap();
        let pull = |labels: &[u32]| {
            let v = Vectors::new(&POINTS, 1).unwrap();
            loss.pull(v, None, &SameLabel::within(labels)).unwrap()
        };
        assert_eq!(pull(&[0, 0, 1, 2]).terms, 2);
        let one_class = pull(&[0; 4]);
        assert_eq!((one_class.loss, one_class.terms), (0.0, 0));
        assert!(one_class.query_gradient.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn identical_points_have_a_finite_loss_and_a_zero_gradient() {
        let points = [2.0; 8];
        let loss = BatchHard::new(Margin::Hinge(0.3), Metric::Euclidean).unwrap();
        let v = Vectors::new(&points, 2).unwrap();
        let found = loss.pull(v, None, &SameLabel::within(&LABELS)).unwrap();
        assert!((found.loss - 0.3).abs() < 1e-7);
        assert!(found.query_gradient.iter().all(|g| *g == 0.0));
    }

    #[test]
    fn a_negative_margin_is_refused() {
        let error = BatchHard::new(Margin::Hinge(-0.1), Metric::Cosine).unwrap_err();
        assert!(error.to_string().starts_with("margin = -0.1"), "{error}");
    }
}
