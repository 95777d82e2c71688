//! Springs among one set whose force on a pair depends on its score and on a few numbers of each end: every pair is then
//! visited once rather than twice.
//!
//! Blocks of vectors meet in rounds, as teams do in a league: in a round each block meets one other, so the meetings of a
//! round can run side by side and each still has both its blocks to itself. The order in which a block meets the others is
//! fixed, and with it every bit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::kin::{Kin, Relation};
use crate::metric::{Metric, Ready, score_tile_among};
use crate::product::{add_weighted_columns, add_weighted_rows};
use crate::springs::{Row, chain, per_squared_distance};
use crate::vectors::{SweepError, Vectors};
use crate::wide::wide;

/// Vectors a block. Fewer vectors make smaller blocks, so that several threads have work.
const LARGEST_BLOCK: usize = 256;
const SMALLEST_BLOCK: usize = 32;
/// The same where much is kept of each vector: the longer two blocks meet, the less of that moves in and out of the cache.
pub(crate) const LARGEST_HEAVY_BLOCK: usize = 512;
/// Scores a tile: 256 KiB.
const TILE: usize = 1 << 16;
const BLOCKS: usize = 16;

/// How much a pair counts: as kin, or as strangers. At most one of the two is above 0; both are 0 when no spring joins it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bond {
    /// 1 (or the pair's weight) for kin, else 0.
    pub kin: f32,
    /// 1 (or the pair's weight) for strangers, else 0.
    pub stranger: f32,
}

/// Springs whose rows need only sums over their pairs. `SUMS` is how many sums, `ENDS` how many numbers of a row its forces
/// depend on.
///
/// Both functions are called for every pair, so they should be `#[inline]` and without branches: then they run in vectors.
pub trait PairSprings<const SUMS: usize, const ENDS: usize>: Sync {
    /// What a pair adds to the sums of its row.
    fn add(&self, score: f32, bond: Bond) -> [f32; SUMS];

    /// `∂ℓ_i/∂s_ij` for a pair, given the numbers of row `i`.
    fn force(&self, score: f32, bond: Bond, end: [f32; ENDS]) -> f32;
}

/// The sums of every row.
///
/// `kin` must be symmetric. Cost: `n² d` operations. Memory: a tile and its relations a thread.
///
/// # Errors
/// None today; the signature is that of its neighbours.
pub fn sum_pairs<P: PairSprings<SUMS, ENDS>, K: Kin + ?Sized, const SUMS: usize, const ENDS: usize>(
    vectors: Vectors<'_>,
    metric: Metric,
    kin: &K,
    springs: &P,
) -> Result<Vec<[f64; SUMS]>, SweepError> {
    let ready = Ready::new(vectors, metric);
    let league = League::new(vectors.len(), LARGEST_BLOCK);
    let sums: Vec<Mutex<Vec<[f64; SUMS]>>> =
        (0..league.blocks()).map(|b| Mutex::new(vec![[0.0; SUMS]; league.len(b)])).collect();
    league.play(&ready, metric, Some(kin), |tile| {
        let width = tile.width;
        let mut of_columns = vec![[[0.0f32; LANES]; SUMS]; width.div_ceil(LANES)];
        let mut of_rows = vec![[0.0f64; SUMS]; tile.scores.len() / width];
        for (i, own) in of_rows.iter_mut().enumerate() {
            let (scores, bonds) = tile.row(i);
            wide(
                #[inline(always)]
                || add_row(springs, scores, bonds, own, &mut of_columns),
            );
        }
        let add = |block: usize, first: usize, found: &[[f64; SUMS]]| {
            for (sum, found) in lock(&sums[block])[first..].iter_mut().zip(found) {
                sum.iter_mut().zip(found).for_each(|(s, f)| *s += f);
            }
        };
        add(tile.row_block, tile.first_row, &of_rows);
        if tile.row_block != tile.column_block {
            let of_column =
                |j: usize| std::array::from_fn(|s| f64::from(of_columns[j / LANES][s][j % LANES]));
            add(tile.column_block, 0, &(0..width).map(of_column).collect::<Vec<_>>());
        }
    });
    Ok(sums
        .into_iter()
        .flat_map(|block| block.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect())
}

/// The sums of one row: the same springs where pairs cannot be visited once, such as between two sets.
pub fn sum_row<P: PairSprings<SUMS, ENDS>, const SUMS: usize, const ENDS: usize>(
    springs: &P,
    row: &Row<'_>,
) -> [f64; SUMS] {
    let mut sums = [0.0; SUMS];
    wide(
        #[inline(always)]
        || add_row(springs, row.scores, Bonds::of(row), &mut sums, &mut []),
    );
    sums
}

/// The forces of one row, given the numbers that they depend on.
pub fn pull_row<P: PairSprings<SUMS, ENDS>, const SUMS: usize, const ENDS: usize>(
    springs: &P,
    row: &Row<'_>,
    end: [f32; ENDS],
    forces: &mut [f32],
) {
    let bonds = Bonds::of(row);
    wide(
        #[inline(always)]
        || {
            for (chunk, (forces, scores)) in
                forces.chunks_mut(LANES).zip(row.scores.chunks(LANES)).enumerate()
            {
                let (kin, stranger) = bonds.chunk(chunk * LANES);
                let mut found = padded(scores);
                for lane in 0..LANES {
                    found[lane] =
                        springs.force(found[lane], Bond { kin: kin[lane], stranger: stranger[lane] }, end);
                }
                forces.copy_from_slice(&found[..forces.len()]);
            }
        },
    );
}

/// Values of a row that are added up side by side.
const LANES: usize = 16;

/// Adds a row's pairs to its own sums, and to those of the columns unless there are none.
#[inline(always)]
fn add_row<P: PairSprings<SUMS, ENDS>, const SUMS: usize, const ENDS: usize>(
    springs: &P,
    scores: &[f32],
    bonds: Bonds<'_>,
    own: &mut [f64; SUMS],
    of_columns: &mut [[[f32; LANES]; SUMS]],
) {
    // Chunks that may be added up in f32; what is long is added up in f64.
    const STRETCH: usize = 256;
    let mut lanes = [[0.0f32; LANES]; SUMS];
    let mut settle = |lanes: &mut [[f32; LANES]; SUMS]| {
        for (own, lanes) in own.iter_mut().zip(lanes) {
            *own += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
            *lanes = [0.0; LANES];
        }
    };
    for (chunk, scores) in scores.chunks(LANES).enumerate() {
        let scores = padded(scores);
        let (kin, stranger) = bonds.chunk(chunk * LANES);
        let mut found = [[0.0f32; LANES]; SUMS];
        for lane in 0..LANES {
            let added = springs.add(scores[lane], Bond { kin: kin[lane], stranger: stranger[lane] });
            for s in 0..SUMS {
                found[s][lane] = added[s];
            }
        }
        for s in 0..SUMS {
            for lane in 0..LANES {
                lanes[s][lane] += found[s][lane];
            }
            if let Some(columns) = of_columns.get_mut(chunk) {
                for lane in 0..LANES {
                    columns[s][lane] += found[s][lane];
                }
            }
        }
        if chunk % STRETCH == STRETCH - 1 {
            settle(&mut lanes);
        }
    }
    settle(&mut lanes);
}

/// The last chunk of a row may be short: the rest takes part in nothing.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; LANES] {
    match <[f32; LANES]>::try_from(values) {
        Ok(values) => values,
        Err(_) => {
            let mut padded = [0.0; LANES];
            padded[..values.len()].copy_from_slice(values);
            padded
        }
    }
}

/// `∂(Σ_i ℓ_i)/∂vectors`, row-major, given the numbers that each row's forces depend on.
///
/// `kin` must be symmetric. Cost: `3 n² d` operations. Memory as [`sum_pairs`].
///
/// # Errors
/// When there is not one `end` a vector.
pub fn pull_pairs<P: PairSprings<SUMS, ENDS>, K: Kin + ?Sized, const SUMS: usize, const ENDS: usize>(
    vectors: Vectors<'_>,
    metric: Metric,
    kin: &K,
    springs: &P,
    ends: &[[f32; ENDS]],
) -> Result<Vec<f32>, SweepError> {
    if ends.len() != vectors.len() {
        return Err(SweepError::LabelCount { found: ends.len(), wanted: vectors.len() });
    }
    let (ready, dim) = (Ready::new(vectors, metric), vectors.dim());
    let league = League::new(vectors.len(), LARGEST_BLOCK);
    // Only distances need the forces alone beside their sums over vectors.
    let distances = !metric.larger_is_nearer();
    // The numbers of the columns' ends, each in a row of its own.
    let columns: [Vec<f32>; ENDS] = std::array::from_fn(|e| ends.iter().map(|end| end[e]).collect());
    let sums: Vec<Mutex<(Vec<f32>, Vec<f64>)>> = (0..league.blocks())
        .map(|b| Mutex::new((vec![0.0; league.len(b) * dim], vec![0.0; league.len(b)])))
        .collect();
    league.play(&ready, metric, Some(kin), |mut tile| {
        let (first_row, first_column, width) =
            (league.first(tile.row_block) + tile.first_row, league.first(tile.column_block), tile.width);
        let of_columns: [&[f32]; ENDS] =
            std::array::from_fn(|e| &columns[e][first_column..first_column + width]);
        let mut kept = Vec::new();
        let mut any = false;
        let rows = tile.scores.len() / width;
        for i in 0..rows {
            let (scores, bonds) = tile.row_mut(i);
            if metric == Metric::Euclidean {
                kept.clear();
                kept.extend_from_slice(scores);
            }
            any |= wide(
                #[inline(always)]
                || force_row(springs, scores, bonds, ends[first_row + i], of_columns),
            );
            if metric == Metric::Euclidean {
                per_squared_distance(scores, &kept);
            }
        }
        // Where every hinge is at rest there is nothing to add up.
        if !any {
            return;
        }
        let vectors = ready.vectors();
        let forces = &tile.scores[..];
        {
            let (sums, weights) = &mut *lock(&sums[tile.row_block]);
            let own = tile.first_row * dim..(tile.first_row + rows) * dim;
            add_weighted_rows(forces, vectors.block(first_column, width), &mut sums[own]);
            if distances {
                for (weight, row) in weights[tile.first_row..].iter_mut().zip(forces.chunks_exact(width)) {
                    *weight += wide(
                        #[inline(always)]
                        || crate::wide::sum(row),
                    );
                }
            }
        }
        if tile.row_block != tile.column_block {
            let (sums, weights) = &mut *lock(&sums[tile.column_block]);
            add_weighted_columns(forces, width, 0, vectors.block(first_row, rows), sums);
            if distances {
                for row in forces.chunks_exact(width) {
                    wide(
                        #[inline(always)]
                        || weights.iter_mut().zip(row).for_each(|(w, g)| *w += f64::from(*g)),
                    );
                }
            }
        }
    });
    let (mut gradient, mut weights) =
        (Vec::with_capacity(vectors.data().len()), Vec::with_capacity(vectors.len()));
    for block in sums {
        let (sums, of_block) = block.into_inner().unwrap_or_else(PoisonError::into_inner);
        gradient.extend(sums);
        weights.extend(of_block);
    }
    chain(metric, 1.0, &ready, &weights, &mut gradient);
    Ok(gradient)
}

/// Turns a row of scores into the forces of both ends. Tells whether there are any.
#[inline(always)]
fn force_row<P: PairSprings<SUMS, ENDS>, const SUMS: usize, const ENDS: usize>(
    springs: &P,
    scores: &mut [f32],
    bonds: Bonds<'_>,
    row: [f32; ENDS],
    columns: [&[f32]; ENDS],
) -> bool {
    // The bits of all forces but their signs, laid over each other: without a comparison a lane.
    let mut any = [0u32; LANES];
    for (chunk, scores) in scores.chunks_mut(LANES).enumerate() {
        let first = chunk * LANES;
        let (kin, stranger) = bonds.chunk(first);
        let columns: [[f32; LANES]; ENDS] =
            std::array::from_fn(|e| padded(&columns[e][first..first + scores.len()]));
        let mut forces = padded(scores);
        for lane in 0..LANES {
            let bond = Bond { kin: kin[lane], stranger: stranger[lane] };
            let column: [f32; ENDS] = std::array::from_fn(|e| columns[e][lane]);
            forces[lane] = springs.force(forces[lane], bond, row) + springs.force(forces[lane], bond, column);
            any[lane] |= forces[lane].to_bits() << 1;
        }
        scores.copy_from_slice(&forces[..scores.len()]);
    }
    any.iter().any(|bits| *bits != 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A block is only ever locked by the meeting that has it to itself; a panic elsewhere left it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bonds of a row.
#[derive(Clone, Copy)]
struct Bonds<'a> {
    relations: &'a [Relation],
    /// Empty when all pairs count 1.
    weights: &'a [f32],
}

impl<'a> Bonds<'a> {
    fn of(row: &Row<'a>) -> Self {
        Self { relations: row.relations, weights: row.weights }
    }

    /// How much the pairs of a chunk count, as kin and as strangers; nothing beyond the row's end.
    #[inline(always)]
    fn chunk(&self, first: usize) -> ([f32; LANES], [f32; LANES]) {
        let relations = &self.relations[first..];
        let relations = match relations.first_chunk::<LANES>() {
            Some(relations) => *relations,
            None => {
                let mut padded = [Relation::Excluded; LANES];
                padded[..relations.len()].copy_from_slice(relations);
                padded
            }
        };
        let of = |wanted: Relation| relations.map(|r| f32::from(u8::from(r as u8 == wanted as u8)));
        let (mut kin, mut stranger) = (of(Relation::Kin), of(Relation::Stranger));
        if !self.weights.is_empty() {
            let weights = &self.weights[first..];
            let weights = padded(&weights[..weights.len().min(LANES)]);
            for lane in 0..LANES {
                kin[lane] *= weights[lane];
                stranger[lane] *= weights[lane];
            }
        }
        (kin, stranger)
    }
}

/// The scores of two blocks, or of some rows of the first with all of the second.
pub(crate) struct Meeting<'a> {
    pub(crate) row_block: usize,
    /// Of the block's.
    pub(crate) first_row: usize,
    pub(crate) column_block: usize,
    pub(crate) width: usize,
    pub(crate) scores: &'a mut [f32],
    relations: &'a [Relation],
    weights: &'a [f32],
}

impl Meeting<'_> {
    fn bonds(&self, i: usize) -> Bonds<'_> {
        let row = i * self.width..(i + 1) * self.width;
        Bonds { relations: &self.relations[row.clone()], weights: self.weights.get(row).unwrap_or(&[]) }
    }

    fn row(&self, i: usize) -> (&[f32], Bonds<'_>) {
        (&self.scores[i * self.width..(i + 1) * self.width], self.bonds(i))
    }

    fn row_mut(&mut self, i: usize) -> (&mut [f32], Bonds<'_>) {
        let row = i * self.width..(i + 1) * self.width;
        let bonds = Bonds {
            relations: &self.relations[row.clone()],
            weights: self.weights.get(row.clone()).unwrap_or(&[]),
        };
        (&mut self.scores[row], bonds)
    }
}

/// Which blocks there are, and in what order they meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct League {
    vectors: usize,
    block: usize,
}

impl League {
    pub(crate) fn new(vectors: usize, largest_block: usize) -> Self {
        let block = vectors.div_ceil(BLOCKS).next_multiple_of(16).clamp(SMALLEST_BLOCK, largest_block);
        Self { vectors, block }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.vectors.div_ceil(self.block)
    }

    pub(crate) fn first(&self, block: usize) -> usize {
        block * self.block
    }

    pub(crate) fn len(&self, block: usize) -> usize {
        self.block.min(self.vectors - self.first(block))
    }

    /// Rows a tile: whole panels of the kernel.
    fn rows(&self) -> usize {
        TILE / self.block / 16 * 16
    }

    /// The meetings, round by round; first each block with itself. Every pair of blocks meets once, the lower one first.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = Vec<(usize, usize)>> + use<> {
        let blocks = self.blocks();
        // With an odd number, one block rests in each round.
        let seats = blocks.next_multiple_of(2);
        let alone = std::iter::once((0..blocks).map(|b| (b, b)).collect());
        alone.chain((0..seats.saturating_sub(1)).map(move |round| {
            let circle = seats - 1;
            let opposite = (1..seats / 2).map(|k| ((round + k) % circle, (round + circle - k) % circle));
            std::iter::once((circle, round))
                .chain(opposite)
                .map(|(a, b)| (a.min(b), a.max(b)))
                .filter(|&(_, b)| b < blocks)
                .collect()
        }))
    }

    /// Plays all meetings. Without `kin`, relations and weights are left empty.
    pub(crate) fn play<K: Kin + ?Sized>(
        &self,
        ready: &Ready<'_>,
        metric: Metric,
        kin: Option<&K>,
        meet: impl Fn(Meeting<'_>) + Sync,
    ) {
        // Room to work in is handed on from meeting to meeting: to allocate it anew costs more than a short meeting.
        let rooms: Mutex<Vec<Room>> = Mutex::new(Vec::new());
        let columns = ready.all_columns();
        for round in self.rounds() {
            round.into_par_iter().for_each(|(row_block, column_block)| {
                let mut room = lock(&rooms).pop().unwrap_or_default();
                let Room { scores, relations, weights } = &mut room;
                let (first, width) = (self.first(column_block), self.len(column_block));
                for first_row in (0..self.len(row_block)).step_by(self.rows()) {
                    let rows = self.rows().min(self.len(row_block) - first_row);
                    let query = self.first(row_block) + first_row;
                    scores.resize(rows * width, 0.0);
                    score_tile_among(metric, &columns, query, first, width, scores);
                    let mut weighed = false;
                    if let Some(kin) = kin {
                        relations.resize(rows * width, Relation::default());
                        for i in 0..rows {
                            let row = i * width..(i + 1) * width;
                            kin.relate(query + i, first, &mut relations[row.clone()]);
                            // Pairs are weighed all or not at all.
                            if i == 0 || weighed {
                                weights.resize(rows * width, 1.0);
                                weighed = kin.weigh(query + i, first, &mut weights[row]);
                            }
                        }
                    }
                    let weights = if weighed { &weights[..] } else { &[] };
                    meet(Meeting { row_block, first_row, column_block, width, scores, relations, weights });
                }
                lock(&rooms).push(room);
            });
        }
    }
}

/// What a meeting needs to work in.
#[derive(Default)]
struct Room {
    scores: Vec<f32>,
    relations: Vec<Relation>,
    weights: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_blocks_meets_once_and_no_block_twice_in_a_round() {
        for vectors in [1, 31, 33, 64, 97, 512, 513, 4096, 5000] {
            let league = League::new(vectors, LARGEST_BLOCK);
            let blocks = league.blocks();
            assert_eq!((0..blocks).map(|b| league.len(b)).sum::<usize>(), vectors);
            let mut met = std::collections::BTreeSet::new();
            for round in league.rounds() {
                let mut busy = std::collections::BTreeSet::new();
                for (a, b) in round {
                    assert!(a <= b && met.insert((a, b)));
                    assert!(busy.insert(a) && (a == b || busy.insert(b)));
                }
            }
            assert_eq!(met.len(), blocks * (blocks + 1) / 2, "{vectors}");
        }
    }
}
