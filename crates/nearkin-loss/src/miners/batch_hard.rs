//! Batch hard: each anchor with its farthest kin and its nearest stranger.
//!
//! A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017, eq. 5.

use nearkin_sweep::{Kin, Metric, Relation, RowFold, fold_rows, wide};

use super::{Miner, sign};
use crate::loss::{LossError, Sides};
#[cfg(feature = "burn")]
use crate::on_device::{DeviceSides, DeviceTriplets, hardest_triplets};
use crate::tuples::Tuples;

/// The batch-hard miner: a triplet for each anchor that has both a kin and a stranger. Costs little more than the scores.
///
/// ```
/// use nearkin_loss::losses::{Margin, TripletMargin};
/// use nearkin_loss::miners::BatchHardMiner;
/// use nearkin_loss::{Loss, Mined, Sides};
/// use nearkin_sweep::{Metric, SameLabel, Vectors};
///
/// let loss = Mined {
///     miner: BatchHardMiner { metric: Metric::Euclidean },
///     loss: TripletMargin::new(Metric::Euclidean, Margin::Soft)?,
/// };
/// let kin = SameLabel::within(&[0, 0, 1, 1]);
/// let points = [0.0, 3.0, 1.0, 7.0];
/// let found = loss.pull(&Sides::within(Vectors::new(&points, 1)?, &kin))?;
/// assert_eq!(found.terms, 4);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchHardMiner {
    /// What far and near mean.
    pub metric: Metric,
}

impl Miner for BatchHardMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let fold = Hardest { kin: sides.kin, sign: sign(self.metric) };
        let rows = fold_rows(sides.queries, sides.others(), self.metric, &fold)?;
        let triplets = (0u32..).zip(&rows).filter_map(|(anchor, row)| {
            let ((_, kin), (_, stranger)) = (row.kin?, row.stranger?);
            Some([anchor, kin, stranger])
        });
        Ok(Tuples::Triplets(triplets.collect()))
    }

    #[cfg(feature = "burn")]
    fn mine_on_device(&self, sides: &DeviceSides<'_>) -> Option<DeviceTriplets> {
        Some(hardest_triplets(self.metric, sides))
    }
}

struct Hardest<'a> {
    kin: &'a dyn Kin,
    /// 1 for distances, −1 for similarities.
    sign: f32,
}

/// The hardest of a row so far, the higher the harder. What is not a number, once found, is hardest.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    kin: Option<(f32, u32)>,
    stranger: Option<(f32, u32)>,
}

/// References whose relations are held at once.
const HELD: usize = 1024;

impl RowFold for Hardest<'_> {
    type Row = Pair;

    fn start(&self, _query: usize) -> Pair {
        Pair::default()
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Pair) {
        let mut relations = [Relation::default(); HELD];
        for (first, scores) in (first..).step_by(HELD).zip(scores.chunks(HELD)) {
            let relations = &mut relations[..scores.len()];
            self.kin.relate(query, first, relations);
            let [kin, stranger] = wide(
                #[inline(always)]
                || hardest(scores, relations, self.sign),
            );
            let place = |wanted, sign, of_tile: &OfTile| {
                let place = wide(
                    #[inline(always)]
                    || first_place(scores, relations, wanted, sign, of_tile),
                )?;
                Some((if of_tile.nan { f32::NAN } else { of_tile.hardest }, (first + place) as u32))
            };
            if kin.is_harder(row.kin) {
                row.kin = place(Relation::Kin, self.sign, &kin).or(row.kin);
            }
            if stranger.is_harder(row.stranger) {
                row.stranger = place(Relation::Stranger, -self.sign, &stranger).or(row.stranger);
            }
        }
    }
}

/// The hardest of one kind in a tile.
#[derive(Debug, Clone, Copy)]
struct OfTile {
    hardest: f32,
    /// Whether there is any of the kind.
    any: bool,
    /// Whether a score is not a number.
    nan: bool,
}

impl OfTile {
    fn is_harder(&self, than: Option<(f32, u32)>) -> bool {
        self.any && than.is_none_or(|(hardest, _)| !hardest.is_nan() && (self.nan || self.hardest > hardest))
    }
}

/// Values that are compared side by side.
const LANES: usize = 16;

/// The hardest kin and stranger, without branches.
#[inline(always)]
fn hardest(scores: &[f32], relations: &[Relation], sign: f32) -> [OfTile; 2] {
    let mut so_far =
        SoFar { kin: [f32::NEG_INFINITY; LANES], stranger: [f32::NEG_INFINITY; LANES], nan: [0; LANES] };
    let ((whole, rest), (whole_relations, rest_relations)) =
        (scores.as_chunks::<LANES>(), relations.as_chunks::<LANES>());
    for (scores, relations) in whole.iter().zip(whole_relations) {
        so_far.take(scores, relations, sign);
    }
    let (mut last, mut last_relations) = ([0.0; LANES], [Relation::Excluded; LANES]);
    last[..rest.len()].copy_from_slice(rest);
    last_relations[..rest.len()].copy_from_slice(rest_relations);
    so_far.take(&last, &last_relations, sign);
    let some_nan = so_far.nan.contains(&1);
    let of_tile = |wanted: Relation, best: [f32; LANES]| OfTile {
        hardest: best.into_iter().fold(f32::NEG_INFINITY, f32::max),
        any: relations.iter().fold(false, |any, r| any | (*r == wanted)),
        nan: some_nan && scores.iter().zip(relations).any(|(s, r)| s.is_nan() && *r == wanted),
    };
    [of_tile(Relation::Kin, so_far.kin), of_tile(Relation::Stranger, so_far.stranger)]
}

/// The hardest of each lane.
struct SoFar {
    kin: [f32; LANES],
    stranger: [f32; LANES],
    nan: [u32; LANES],
}

impl SoFar {
    #[inline(always)]
    fn take(&mut self, scores: &[f32; LANES], relations: &[Relation; LANES], sign: f32) {
        for lane in 0..LANES {
            let (relation, far) = (relations[lane], sign * scores[lane]);
            let kin = if relation == Relation::Kin { far } else { f32::NEG_INFINITY };
            let stranger = if relation == Relation::Stranger { -far } else { f32::NEG_INFINITY };
            self.kin[lane] = if kin > self.kin[lane] { kin } else { self.kin[lane] };
            self.stranger[lane] = if stranger > self.stranger[lane] { stranger } else { self.stranger[lane] };
            self.nan[lane] |= u32::from(far.is_nan());
        }
    }
}

/// The first place of the hardest.
#[inline(always)]
fn first_place(
    scores: &[f32],
    relations: &[Relation],
    wanted: Relation,
    sign: f32,
    of_tile: &OfTile,
) -> Option<usize> {
    /// Values that are looked through at once, before one is looked for.
    const BLOCK: usize = 64;
    let is = |(score, relation): (&f32, &Relation)| {
        let found = if of_tile.nan { score.is_nan() } else { sign * score == of_tile.hardest };
        found & (*relation == wanted)
    };
    let mut blocks = scores.chunks(BLOCK).zip(relations.chunks(BLOCK)).enumerate();
    blocks.find_map(|(block, (scores, relations))| {
        let any = scores.iter().zip(relations).fold(false, |any, pair| any | is(pair));
        let place = || scores.iter().zip(relations).position(is);
        if any { place().map(|place| block * BLOCK + place) } else { None }
    })
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

    #[test]
    fn the_first_of_ties_is_found_wherever_it_lies() {
        for n in [1, 15, 16, 17, 63, 65, 200] {
            for first in 0..n {
                let relation = |j| if j % 3 == first % 3 { Relation::Kin } else { Relation::Stranger };
                let relations: Vec<Relation> = (0..n).map(relation).collect();
                let scores: Vec<f32> = (0..n).map(|j| if j < first { 1.0 } else { 2.0 }).collect();
                let [kin, _] = hardest(&scores, &relations, 1.0);
                assert!(kin.any && !kin.nan && kin.hardest == 2.0);
                assert_eq!(first_place(&scores, &relations, Relation::Kin, 1.0, &kin), Some(first));
            }
        }
    }

    #[test]
    fn what_is_not_a_number_is_hardest_in_whichever_tile_it_lies() {
        let labels: Vec<u32> = (0..3000).map(|i| i % 2).collect();
        let kin = SameLabel::within(&labels);
        for nan in [2, 1500, 2998] {
            let mut points: Vec<f32> = (0..3000).map(|i| i as f32).collect();
            points[nan] = f32::NAN;
            let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
            let found = BatchHardMiner { metric: Metric::Euclidean }.mine(&sides).unwrap().triplets();
            assert_eq!(found.len(), 3000);
            for triplet in found.iter().filter(|t| t[0] != nan as u32) {
                assert!(triplet[1..].contains(&(nan as u32)), "{triplet:?}");
            }
        }
    }
}
