//! The contrastive loss as first published.
//!
//! R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006, eq. 4. With the
//! Euclidean distance `d`, each pair is a spring:
//!
//! ```text
//! kin:        ½ k d²               attracts, at any distance
//! strangers:  ½ max(0, m − d)²     repel within the margin m
//! ```
//!
//! one term a pair, kin and strangers together. The paper's stiffness `k` of kin is 1, and what weighs kin against strangers is how
//! many pairs of each are drawn. A batch compares all its samples, so that most of its pairs are strangers; `k` makes up for it.

use nearkin_sweep::{Bond, Metric, PairSprings, Relation, Row};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms, sums_suffice};
use crate::springs::{Springs, SumSprings, pairs_meet_once, pull_springs, pull_sums};

/// DrLIM's contrastive loss. Reduced to the mean over all pairs; the paper takes the sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrLim {
    margin: f32,
    stiffness: f32,
}

impl DrLim {
    /// With the margin `m`, in units of the embedding: the length at which strangers cease to repel each other. Kin have the
    /// stiffness 1.
    ///
    /// # Errors
    /// When the margin is not above zero.
    pub fn new(margin: f32) -> Result<Self, LossError> {
        Ok(Self { margin: check("margin", margin, |m| m > 0.0, "above zero, and finite")?, stiffness: 1.0 })
    }

    /// With another stiffness `k` of kin, where that of strangers is 1.
    ///
    /// # Errors
    /// When it is not above zero.
    pub fn with_stiffness(self, stiffness: f32) -> Result<Self, LossError> {
        Ok(Self { stiffness: check("stiffness", stiffness, |k| k > 0.0, "above zero, and finite")?, ..self })
    }

    /// The force of one pair at this distance, before terms are reduced: `k d` between kin, which draws them together;
    /// `−max(0, m − d)` between strangers, which pushes them apart.
    pub fn force(&self, distance: f32, kin: bool) -> f32 {
        let bond = if kin { Bond { kin: 1.0, stranger: 0.0 } } else { Bond { kin: 0.0, stranger: 1.0 } };
        self.spring(distance, bond).1
    }

    /// Energy and force of a pair.
    #[inline(always)]
    fn spring(&self, distance: f32, bond: Bond) -> (f32, f32) {
        let short = self.margin - distance;
        let short = if short < 0.0 { 0.0 } else { short };
        let kin = bond.kin * self.stiffness;
        (
            0.5 * (kin * distance * distance + bond.stranger * short * short),
            kin * distance - bond.stranger * short,
        )
    }
}

impl Loss for DrLim {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        if pairs_meet_once(sides) && sums_suffice(reducer) {
            pull_sums(self, Metric::Euclidean, reducer, sides)
        } else {
            pull_springs(self, Metric::Euclidean, reducer, sides)
        }
    }
}

impl Springs for DrLim {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for (j, (&distance, relation)) in row.scores.iter().zip(row.relations).enumerate() {
            let bond = match relation {
                Relation::Kin => Bond { kin: 1.0, stranger: 0.0 },
                Relation::Stranger => Bond { kin: 0.0, stranger: 1.0 },
                Relation::Excluded => continue,
            };
            let (energy, force) = self.spring(distance, bond);
            forces[j] = terms.add_part(0, energy.into(), row.weight(j)) * force;
        }
    }
}

/// Sums: energy, count, count of pairs that pull. End: what a pair weighs.
impl PairSprings<3, 1> for DrLim {
    #[inline(always)]
    fn add(&self, score: f32, bond: Bond) -> [f32; 3] {
        let (energy, _) = self.spring(score, bond);
        let both = bond.kin + bond.stranger;
        [energy, both, if energy == 0.0 { 0.0 } else { both }]
    }

    #[inline(always)]
    fn force(&self, score: f32, bond: Bond, [weight]: [f32; 1]) -> f32 {
        weight * self.spring(score, bond).1
    }
}

impl SumSprings<3, 1> for DrLim {
    fn settle(&self, &[energy, count, active]: &[f64; 3], terms: &mut Terms<'_>) -> [f32; 1] {
        [terms.add_sum(0, energy, count, active)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{Graph, Vectors};

    #[test]
    fn a_hand_worked_chain_of_springs() {
        // Kin: 0 and 2 at distance 2: ½·4. Strangers: 2 and 3 at 1: ½·(1.5 − 1)²; 0 and 3 at 3: beyond the margin.
        let points = [0.0, 2.0, 3.0];
        let kin = Graph::within(3, [(0, 1)]).unwrap();
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = Loss::pull(&DrLim::new(1.5).unwrap(), &sides).unwrap();
        let energy = [2.0, 0.125, 0.0];
        assert!((found.loss - energy.iter().sum::<f64>() / 3.0).abs() < 1e-6);
        assert_eq!((found.terms, found.active), (6, 4));
        // Kin attract at any distance; strangers repel within the margin only.
        let loss = DrLim::new(1.5).unwrap();
        let forces = [(2.0, true), (1.0, false), (3.0, false)].map(|(d, kin)| loss.force(d, kin));
        assert_eq!(forces, [2.0, -0.5, 0.0]);
        let stiff = loss.with_stiffness(5.0).unwrap();
        assert_eq!((stiff.force(2.0, true), stiff.force(1.0, false)), (10.0, -0.5));
        let pulled = Loss::pull(&stiff, &sides).unwrap();
        assert!((pulled.loss - (5.0 * energy[0] + energy[1]) / 3.0).abs() < 1e-6);
        assert!(loss.with_stiffness(0.0).is_err());
        // Forces at the points: the kin spring pulls 2 each way, the strangers' pushes ½; each pair counts twice among 6.
        for (found, wanted) in found.query_gradient.iter().zip([-2.0, 2.5, -0.5]) {
            assert!((found - wanted / 3.0).abs() < 1e-6, "{found}");
        }
    }
}
