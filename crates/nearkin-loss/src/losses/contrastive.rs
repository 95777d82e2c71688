//! The contrastive loss with linear hinges, as pytorch-metric-learning has it. DrLIM's, with squares, is
//! [`DrLim`](super::DrLim).
//!
//! For a distance `d` (a similarity counts as `−s`), kin `p` and strangers `n`:
//!
//! ```text
//! ℓ_p = max(0, d_p − m⁺)      ℓ_n = max(0, m⁻ − d_n)
//! ```
//!
//! one term a pair; kin and strangers are reduced each by themselves, and added.

use nearkin_sweep::{Bond, Metric, PairSprings, Relation, Row};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms, sums_suffice};
use crate::springs::{Springs, SumSprings, pairs_meet_once, pull_springs, pull_sums};

/// The linear contrastive loss. Kin and strangers are each reduced to the mean over active pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrastive {
    metric: Metric,
    kin_margin: f32,
    stranger_margin: f32,
    /// 1 for distances, −1 for similarities.
    sign: f32,
}

impl Contrastive {
    /// Pulls kin to within `kin_margin` and pushes strangers beyond `stranger_margin`, in units of the metric:
    /// pytorch-metric-learning's defaults are 0 and 1 for the Euclidean distance of unit vectors. For a similarity the first
    /// is the larger one.
    ///
    /// # Errors
    /// When a margin is not finite, or a similarity's margins would let kin lie beyond strangers.
    pub fn new(metric: Metric, kin_margin: f32, stranger_margin: f32) -> Result<Self, LossError> {
        let kin_margin = check("kin margin", kin_margin, |_| true, "finite")?;
        let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
        let (in_order, wanted) = if sign > 0.0 {
            (kin_margin <= stranger_margin, "at least the kin margin, for a distance")
        } else {
            (kin_margin >= stranger_margin, "at most the kin margin, for a similarity")
        };
        let stranger_margin = check("stranger margin", stranger_margin, |_| in_order, wanted)?;
        Ok(Self { metric, kin_margin, stranger_margin, sign })
    }

    /// How far a score is beyond the margin of its relation; the term is this where it is above zero.
    #[inline(always)]
    fn beyond(&self, score: f32, kin: bool) -> f32 {
        self.sign * if kin { score - self.kin_margin } else { self.stranger_margin - score }
    }
}

/// Kin are part 0, strangers part 1.
const KIN: usize = 0;
const STRANGERS: usize = 1;

impl Loss for Contrastive {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let reducer = sides.reducer.unwrap_or(&Reducer::MeanActive);
        if pairs_meet_once(sides) && sums_suffice(reducer) {
            pull_sums(self, self.metric, reducer, sides)
        } else {
            pull_springs(self, self.metric, reducer, sides)
        }
    }
}

impl Springs for Contrastive {
    const TWO_PARTS: bool = true;

    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for (j, (&score, relation)) in row.scores.iter().zip(row.relations).enumerate() {
            let (part, direction) = match relation {
                Relation::Kin => (KIN, self.sign),
                Relation::Stranger => (STRANGERS, -self.sign),
                Relation::Excluded => continue,
            };
            let beyond = self.beyond(score, part == KIN);
            // Unlike max(0, x), this lets what is not a number be seen.
            let energy = if beyond <= 0.0 { 0.0 } else { beyond };
            let c = terms.add_part(part, energy.into(), row.weight(j));
            forces[j] = if energy == 0.0 { 0.0 } else { direction * c };
        }
    }
}

/// Sums: energy, count and count of active pairs, of kin and of strangers. Ends: what a pair of each weighs.
impl PairSprings<6, 2> for Contrastive {
    #[inline(always)]
    fn add(&self, score: f32, bond: Bond) -> [f32; 6] {
        let (kin, stranger) = (self.beyond(score, true), self.beyond(score, false));
        let active = |beyond: f32| if beyond <= 0.0 { 0.0 } else { 1.0f32 };
        let (near, far) = (active(kin) * bond.kin, active(stranger) * bond.stranger);
        [kin * near, bond.kin, near, stranger * far, bond.stranger, far]
    }

    #[inline(always)]
    fn force(&self, score: f32, bond: Bond, [kin, stranger]: [f32; 2]) -> f32 {
        let pull = if self.beyond(score, true) > 0.0 { bond.kin * kin } else { 0.0 };
        let push = if self.beyond(score, false) > 0.0 { bond.stranger * stranger } else { 0.0 };
        self.sign * (pull - push)
    }
}

impl SumSprings<6, 2> for Contrastive {
    fn settle(&self, sums: &[f64; 6], terms: &mut Terms<'_>) -> [f32; 2] {
        let [kin, kin_terms, kin_active, strangers, stranger_terms, strangers_active] = *sums;
        [
            terms.add_sum(KIN, kin, kin_terms, kin_active),
            terms.add_sum(STRANGERS, strangers, stranger_terms, strangers_active),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_on_a_line() {
        // Kin: 0 and 3, 1 and 7: distances 3 and 6. Strangers: 1, 7, 2, 4, of which 1 and 2 are below 2.5.
        let kin = SameLabel::within(&[0, 0, 1, 1]);
        let points = [0.0, 3.0, 1.0, 7.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let loss = Contrastive::new(Metric::Euclidean, 0.5, 2.5).unwrap();
        let found = Loss::pull(&loss, &sides).unwrap();
        // Kin: mean of 2.5 and 5.5. Strangers: mean of the active 1.5 and 0.5.
        assert!((found.loss - (4.0 + 1.0)).abs() < 1e-6, "{}", found.loss);
        assert_eq!((found.terms, found.active), (12, 8));
        let mean = Loss::pull(&loss, &Sides { reducer: Some(&Reducer::Mean), ..sides }).unwrap();
        assert!((mean.loss - (4.0 + 2.0 / 4.0)).abs() < 1e-6, "{}", mean.loss);
    }

    #[test]
    fn margins_that_contradict_each_other_are_refused() {
        assert!(Contrastive::new(Metric::Euclidean, 1.0, 0.5).is_err());
        let error = Contrastive::new(Metric::Cosine, 0.0, 1.0).unwrap_err();
        assert!(error.to_string().contains("stranger margin = 1"), "{error}");
    }
}
