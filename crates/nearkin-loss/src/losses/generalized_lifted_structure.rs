//! The generalised lifted structure loss.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017: the lifted
//! structure loss with all kin of an anchor in place of one. For a distance `d` (a similarity counts as `−s`), kin `p` and
//! strangers `n`:
//!
//! ```text
//! ℓ = max(0, ln Σ_p e^{d_p − m⁺} + ln Σ_n e^{m⁻ − d_n})
//! ```
//!
//! one term an anchor; it is 0 for one that lacks kin or strangers.

use nearkin_sweep::{Metric, Relation, Row, wide};

use crate::exps::exps_apart;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The generalised lifted structure loss. Reduced to the mean over all anchors.
///
/// pytorch-metric-learning takes the sum over no pairs for 1, so that there an anchor without kin is pushed all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneralizedLiftedStructure {
    metric: Metric,
    kin_margin: f32,
    stranger_margin: f32,
    /// 1 for distances, −1 for similarities.
    sign: f32,
}

impl Default for GeneralizedLiftedStructure {
    /// pytorch-metric-learning's, for unit vectors: the Euclidean distance, `m⁺ = 0`, `m⁻ = 1`.
    fn default() -> Self {
        Self { metric: Metric::Euclidean, kin_margin: 0.0, stranger_margin: 1.0, sign: 1.0 }
    }
}

impl GeneralizedLiftedStructure {
    /// With the margins m⁺ and m⁻, in units of the metric. Only how far they lie apart matters: the paper's one margin is
    /// `m⁻ − m⁺`, or `m⁺ − m⁻` for a similarity.
    ///
    /// # Errors
    /// When a margin is not finite.
    pub fn new(metric: Metric, kin_margin: f32, stranger_margin: f32) -> Result<Self, LossError> {
        Ok(Self {
            metric,
            kin_margin: check("kin margin", kin_margin, |_| true, "finite")?,
            stranger_margin: check("stranger margin", stranger_margin, |_| true, "finite")?,
            sign: if metric.larger_is_nearer() { -1.0 } else { 1.0 },
        })
    }
}

impl Loss for GeneralizedLiftedStructure {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, self.metric, &Reducer::Mean, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull(&Sides { kin: &tuples.as_kin(sides)?.once(), ..*sides })
    }
}

impl Springs for GeneralizedLiftedStructure {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        wide(|| {
            for (x, (s, relation)) in forces.iter_mut().zip(row.scores.iter().zip(row.relations)) {
                let kin = *relation == Relation::Kin;
                *x = self.sign * if kin { s - self.kin_margin } else { self.stranger_margin - s };
            }
        });
        forces.iter_mut().zip(row.weights).for_each(|(x, w)| *x += w.ln());
        let [kin, strangers] = exps_apart(forces, row.relations);
        let lacks = kin.is_empty() || strangers.is_empty();
        let lifted = if lacks { 0.0 } else { kin.log() + strangers.log() };
        // Unlike max(0, x), this lets what is not a number be seen.
        let energy = if lifted <= 0.0 { 0.0 } else { lifted };
        let c = f64::from(terms.add(energy) * self.sign) * if energy == 0.0 { 0.0 } else { 1.0 };
        let (pull, push) = ((c * kin.share()) as f32, (c * strangers.share()) as f32);
        wide(|| {
            for (g, relation) in forces.iter_mut().zip(row.relations) {
                *g *= if *relation == Relation::Kin { pull } else { -push };
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_on_a_line() {
        // Anchor 0: kin at 2, strangers at 1 and 4: 2 + ln(e^{1 − 1} + e^{1 − 4}). Anchor 2: kin at 2, strangers at 1 and 2:
        // 2 + ln(e^0 + e^{−1}). Anchor 1: kin at 3, strangers at 1 and 1: 3 + ln 2. Anchor 4: kin at 3, strangers at 4 and 2:
        // 3 + ln(e^{−3} + e^{−1}).
        let kin = SameLabel::within(&[0, 0, 1, 1]);
        let points = [0.0, 2.0, 1.0, 4.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = GeneralizedLiftedStructure::default().pull(&sides).unwrap();
        let e = |x: f64| x.exp();
        let wanted = [
            2.0 + (1.0 + e(-3.0)).ln(),
            2.0 + (1.0 + e(-1.0)).ln(),
            3.0 + 2f64.ln(),
            3.0 + (e(-3.0) + e(-1.0)).ln(),
        ];
        assert!((found.loss - wanted.iter().sum::<f64>() / 4.0).abs() < 1e-6, "{}", found.loss);
    }

    #[test]
    fn an_anchor_that_lacks_kin_counts_as_zero() {
        let kin = SameLabel::within(&[0, 1]);
        let sides = Sides::within(Vectors::new(&[0.0, 0.1], 1).unwrap(), &kin);
        let found = GeneralizedLiftedStructure::default().pull(&sides).unwrap();
        assert_eq!((found.loss, found.terms, found.active), (0.0, 2, 0));
        assert_eq!(found.query_gradient, [0.0; 2]);
    }

    #[test]
    fn a_margin_that_is_not_finite_is_refused() {
        assert!(GeneralizedLiftedStructure::new(Metric::Cosine, 0.9, f32::INFINITY).is_err());
    }
}
