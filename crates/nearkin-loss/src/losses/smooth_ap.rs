//! Smooth-AP.
//!
//! A. Brown, W. Xie, V. Kalogeiton, A. Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval", 2020.
//! For a query `q`, the members `i` of its class and all references `k`, with cosine similarities `s`:
//!
//! ```text
//! rank(i) = 1 + Σ_{k≠i} σ((s_k − s_i)/τ)      rank⁺(i): the same over members k only
//! ℓ_q = 1 − (1/|class|) Σ_i rank⁺(i)/rank(i)
//! ```
//!
//! one term a query that has a class. Among one set the query is a member of its own class and a reference, at similarity 1,
//! as in the authors' code, so every query has one. Classes may differ in size.
//!
//! Mined tuples weigh queries: each term is multiplied by how often its query occurs, over the most that any does.
//! Weights of pairs have no effect.

use nearkin_sweep::{Metric, Relation, Row};

use super::sharpness;
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::ranks::{Ahead, ahead, members};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The Smooth-AP loss. Reduced to the mean over queries. Costs `O(n)` for each pair of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SmoothAp {
    /// 1/τ
    sharpness: f32,
}

impl SmoothAp {
    /// With temperature τ: 0.01 is the paper's and pytorch-metric-learning's.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)? })
    }
}

impl Loss for SmoothAp {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let among_one_set = sides.references.is_none();
        let springs = Weighted { loss: self, among_one_set, weights: &[] };
        pull_springs(&springs, Metric::Cosine, &Reducer::Mean, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let among_one_set = sides.references.is_none();
        let weights = tuples.sample_weights(sides.queries.len(), !among_one_set);
        let springs = Weighted { loss: self, among_one_set, weights: &weights };
        pull_springs(&springs, Metric::Cosine, &Reducer::Mean, sides)
    }
}

/// The loss with a weight a query.
struct Weighted<'a> {
    loss: &'a SmoothAp,
    among_one_set: bool,
    /// Empty when all weigh 1.
    weights: &'a [f32],
}

impl Springs for Weighted<'_> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let sharpness = self.loss.sharpness;
        let weight = self.weights.get(row.query).copied().unwrap_or(1.0);
        let members = members(row, self.among_one_set);
        if members.is_empty() {
            return;
        }
        let size = members.len() as f64;
        let mut missing = 0.0;
        for (i, s) in members {
            let kin = Ahead::of(row, Relation::Kin, s, i, sharpness);
            let strangers = Ahead::of(row, Relation::Stranger, s, i, sharpness);
            // The query itself, which no force moves, may be ahead too.
            let own = if self.among_one_set && i.is_some() { ahead(sharpness * (1.0 - s)) } else { 0.0 };
            let (near, far) = (1.0 + kin.count() + f64::from(own), strangers.count());
            let all = near + far;
            missing += far / all / size;
            // ∂(far/all)/∂near = −far/all², ∂(far/all)/∂far = near/all²
            let (of_near, of_far) = (-far / (all * all * size), near / (all * all * size));
            let mut pushed = kin.push(of_near, sharpness, forces);
            pushed += strangers.push(of_far, sharpness, forces);
            pushed += of_near as f32 * sharpness * own * (1.0 - own);
            if let Some(i) = i {
                forces[i] -= pushed;
            }
        }
        let c = terms.add(f64::from(weight) * missing) * weight;
        forces.iter_mut().for_each(|g| *g *= c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_query_with_its_stranger_ahead() {
        // Cosines: kin 0, strangers 1 and −1; at τ = ½, σ(2) and σ(−2) are ahead of the kin, 1 together.
        let kin = SameLabel::between(&[0], &[0, 1, 1]);
        let (query, references) = ([1.0, 0.0], [0.0, 3.0, 2.0, 0.0, -1.0, 0.0]);
        let sides =
            Sides::between(Vectors::new(&query, 2).unwrap(), Vectors::new(&references, 2).unwrap(), &kin);
        let found = SmoothAp::new(0.5).unwrap().pull(&sides).unwrap();
        assert!((found.loss - 0.5).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 1);
    }

    #[test]
    fn among_one_set_the_query_is_a_member_of_its_class() {
        // One vector and a stranger at right angles: σ(−2) is ahead of the query itself.
        let kin = SameLabel::within(&[0, 1]);
        let sides = Sides::within(Vectors::new(&[1.0, 0.0, 0.0, 1.0], 2).unwrap(), &kin);
        let found = SmoothAp::new(0.5).unwrap().pull(&sides).unwrap();
        let ahead = 1.0 / (1.0 + 2f64.exp());
        assert!((found.loss - ahead / (1.0 + ahead)).abs() < 1e-6, "{}", found.loss);
        // Both terms are alike; the second query occurs half as often as the first.
        let tuples = Tuples::Pairs { kin: vec![(0, 0)], strangers: vec![(0, 1), (0, 1)] };
        let mined = SmoothAp::new(0.5).unwrap().pull_mined(&sides, &tuples).unwrap();
        assert!((mined.loss - 0.75 * found.loss).abs() < 1e-6, "{}", mined.loss);
    }

    #[test]
    fn a_temperature_of_zero_is_refused() {
        assert!(SmoothAp::new(0.0).is_err());
    }
}
