//! Batch hard: each anchor with its farthest kin and its nearest stranger.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, eq. 5.

use nearkin_sweep::{Kin, Metric, Relation, RowFold, fold_rows};

use super::Miner;
use crate::loss::{LossError, Sides};
use crate::tuples::Tuples;

/// The batch-hard miner: a triplet for each anchor that has both a kin and a stranger.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchHardMiner {
    /// What far and near mean.
    pub metric: Metric,
}

impl Miner for BatchHardMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let fold = Hardest { kin: sides.kin, sign: if self.metric.larger_is_nearer() { -1.0 } else { 1.0 } };
        let rows = fold_rows(sides.queries, sides.others(), self.metric, &fold)?;
        let triplets = (0u32..).zip(&rows).filter_map(|(anchor, row)| {
            let ((_, kin), (_, stranger)) = (row.kin?, row.stranger?);
            Some([anchor, kin, stranger])
        });
        Ok(Tuples::Triplets(triplets.collect()))
    }
}

struct Hardest<'a> {
    kin: &'a dyn Kin,
    /// 1 for distances, −1 for similarities.
    sign: f32,
}

/// The hardest of a row so far, as distances.
#[derive(Default)]
struct Pair {
    kin: Option<(f32, u32)>,
    stranger: Option<(f32, u32)>,
    relations: Vec<Relation>,
}

impl RowFold for Hardest<'_> {
    type Row = Pair;

    fn start(&self, _query: usize) -> Pair {
        Pair::default()
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Pair) {
        row.relations.resize(scores.len(), Relation::default());
        self.kin.relate(query, first, &mut row.relations);
        for (j, (score, relation)) in scores.iter().zip(&row.relations).enumerate() {
            let d = self.sign * score;
            let place = (first + j) as u32;
            match relation {
                Relation::Kin if row.kin.is_none_or(|(hardest, _)| d > hardest) => row.kin = Some((d, place)),
                Relation::Stranger if row.stranger.is_none_or(|(hardest, _)| d < hardest) => {
                    row.stranger = Some((d, place));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn the_hardest_of_a_hand_worked_batch() {
        // 0 and 3 are kin, 1 and 7 are kin, 20 is alone.
        let kin = SameLabel::within(&[0, 0, 1, 1, 2]);
        let points = [0.0, 3.0, 1.0, 7.0, 20.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = BatchHardMiner { metric: Metric::Euclidean }.mine(&sides).unwrap();
        assert_eq!(found, Tuples::Triplets(vec![[0, 1, 2], [1, 0, 2], [2, 3, 0], [3, 2, 1]]));
    }
}
