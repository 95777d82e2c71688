//! Triplets with a wide angle at the stranger.
//!
//! J. Wang, F. Zhou, S. Wen, X. Liu, Y. Lin, "Deep Metric Learning with Angular Loss", 2017; as a miner,
//! pytorch-metric-learning's. With the centre `c = (a + p)/2` of a pair of kin, the angle under which a stranger `n` sees half
//! of it is
//!
//! ```text
//! α = atan( ‖a − p‖ / (2 ‖n − c‖) )
//! ```
//!
//! and the loss pulls where `α` is above its bound.

use nearkin_sweep::{Metric, Relation, Vectors, map_rows};

use super::{Miner, OfAnchors, check_same_dim, has_nan};
use crate::loss::{LossError, Sides, check};
use crate::tuples::Tuples;

/// The angular miner: every triplet whose angle is above a bound, measured between the vectors as they are given.
///
/// Every pair of kin meets every reference: an anchor with `P` kin costs `O(P N d)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AngularMiner {
    /// `2 tan α`
    slope: f32,
}

/// Pairs of kin whose centres are held at once.
const HELD: usize = 1024;

impl AngularMiner {
    /// With the bound in degrees; pytorch-metric-learning's is 20.
    ///
    /// # Errors
    /// When the angle is not between 0 and 90 degrees.
    pub fn new(degrees: f32) -> Result<Self, LossError> {
        let degrees = check("angle", degrees, |a| 0.0 < a && a < 90.0, "between 0 and 90 degrees")?;
        Ok(Self { slope: (2.0 * f64::from(degrees).to_radians().tan()) as f32 })
    }

    /// The triplets of some pairs of kin.
    fn of_pairs(&self, sides: &Sides<'_>, pairs: &[(u32, u32)]) -> Result<Vec<[u32; 3]>, LossError> {
        let (queries, others, dim) = (sides.queries, sides.others(), sides.queries.dim());
        let ends = |&(a, p): &(u32, u32)| (queries.row(a as usize), others.row(p as usize));
        let centre = |pair| {
            let (a, p) = ends(pair);
            a.iter().zip(p).map(|(x, y)| 0.5 * (x + y))
        };
        let centres: Vec<f32> = pairs.iter().flat_map(centre).collect();
        let anchors: Vec<u32> = pairs.iter().map(|(a, _)| *a).collect();
        let kin = OfAnchors { kin: sides.kin, anchors: &anchors };
        let found =
            map_rows(Vectors::new(&centres, dim)?, Some(others), Metric::Euclidean, &kin, |row, _| {
                let (a, p) = pairs[row.query];
                let triplet = |(n, _)| [a, p, n as u32];
                if has_nan(row) {
                    return row.strangers().find(|(_, s)| s.is_nan()).map(triplet).into_iter().collect();
                }
                let (x, y) = ends(&(a, p));
                let long = Metric::Euclidean.score(x, y);
                row.strangers().filter(|(_, s)| long > self.slope * s).map(triplet).collect::<Vec<_>>()
            })?;
        Ok(found.into_iter().flatten().collect())
    }
}

impl Miner for AngularMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        check_same_dim(sides)?;
        let mut relations = vec![Relation::default(); sides.others().len()];
        let (mut held, mut found) = (Vec::new(), Vec::new());
        for anchor in 0..sides.queries.len() {
            sides.kin.relate(anchor, 0, &mut relations);
            let kin = (0u32..).zip(&relations).filter(|(_, r)| **r == Relation::Kin);
            held.extend(kin.map(|(p, _)| (anchor as u32, p)));
            while held.len() >= HELD {
                let rest = held.split_off(HELD);
                found.append(&mut self.of_pairs(sides, &held)?);
                held = rest;
            }
        }
        found.append(&mut self.of_pairs(sides, &held)?);
        Ok(Tuples::Triplets(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn the_angles_of_a_hand_worked_batch() {
        // a = (−1, 0) and p = (1, 0); strangers 1 and 3 above their centre: atan 1 = 45° and atan 1/3 = 18.4°.
        let kin = SameLabel::within(&[0, 0, 1, 2]);
        let points = [-1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 3.0];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let mine = |degrees| AngularMiner::new(degrees).unwrap().mine(&sides).unwrap().triplets();
        assert_eq!(mine(18.0), [[0, 1, 2], [0, 1, 3], [1, 0, 2], [1, 0, 3]]);
        assert_eq!(mine(19.0), [[0, 1, 2], [1, 0, 2]]);
        assert_eq!(mine(44.9).len(), 2);
        assert_eq!(mine(45.1).len(), 0);
    }

    #[test]
    fn an_angle_out_of_range_is_refused() {
        assert!(AngularMiner::new(0.0).is_err());
        assert!(AngularMiner::new(90.0).is_err());
    }
}
