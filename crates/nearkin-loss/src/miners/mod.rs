//! One file a miner: which pairs or triplets of a batch a loss should look at.
//!
//! Hard means far for kin and near for strangers, under the miner's metric. To mine on the unit sphere with a distance, put
//! [`OnSphere`](crate::OnSphere) around [`Mined`].
//!
//! ```
//! use nearkin_loss::losses::{Margin, TripletMargin};
//! use nearkin_loss::miners::SemiHardMiner;
//! use nearkin_loss::{Loss, Mined, OnSphere, Sides};
//! use nearkin_sweep::{Metric, SameLabel, Vectors};
//!
//! // FaceNet: semi-hard triplets under the squared distance of unit vectors.
//! let loss = OnSphere(Mined {
//!     miner: SemiHardMiner::new(Metric::SquaredEuclidean, 0.2)?,
//!     loss: TripletMargin::new(Metric::SquaredEuclidean, Margin::Hinge(0.2))?,
//! });
//! let points = [1.0, 0.0, 0.9, 0.3, 0.8, 0.4, 0.0, 1.0];
//! let kin = SameLabel::within(&[0, 0, 1, 1]);
//! let found = loss.pull(&Sides::within(Vectors::new(&points, 2)?, &kin))?;
//! // 0 and its kin: the stranger 2 is a little farther. 1 has a nearer one; 2 and 3 have none within the margin.
//! assert_eq!((found.terms, found.active), (1, 1));
//! # Ok::<(), nearkin_loss::LossError>(())
//! ```

mod all;
mod angular;
mod batch_easy_hard;
mod batch_hard;
mod capped;
mod census;
mod distance_weighted;
mod hardness_range;
mod hdc;
mod multi_similarity;
mod pair_margin;
mod semi_hard;
mod triplet_margin;
mod uniform_histogram;

pub use all::{AllPairsMiner, AllTripletsMiner};
pub use angular::AngularMiner;
pub use batch_easy_hard::{BatchEasyHardMiner, Strategy};
pub use batch_hard::BatchHardMiner;
pub use capped::{Cap, Capped};
pub use census::Census;
pub use distance_weighted::DistanceWeightedMiner;
pub use hardness_range::HardnessRangeMiner;
pub use hdc::HdcMiner;
pub use multi_similarity::MultiSimilarityMiner;
pub use pair_margin::PairMarginMiner;
pub use semi_hard::{Otherwise, SemiHardMiner};
pub use triplet_margin::{Difficulty, TripletMarginMiner};
pub use uniform_histogram::UniformHistogramMiner;

use std::ops::Range;

use nearkin_sweep::{Kin, Metric, Relation, Row, SweepError, Vectors, map_rows, wide};

use crate::classes::ProxyInit;
use crate::loss::{Loss, LossError, Pull, Sides};
#[cfg(feature = "burn")]
use crate::on_device::{DevicePull, DeviceSides, DeviceTriplets};
use crate::tuples::Tuples;

/// Picks pairs or triplets. A miner has no gradient: it only chooses.
pub trait Miner: Send + Sync {
    /// The tuples of these sides. Ties go to the lowest index; an anchor without what is wanted gives none.
    ///
    /// A score that is not a number is not passed over: its anchor gives a tuple with it, so that the loss shows it. (Only a
    /// cap may drop it by chance.)
    ///
    /// # Errors
    /// When the two sides differ in dimension, or the miner is not defined for them.
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError>;

    /// One triplet a query, found on a device; `None` where only [`mine`](Self::mine) knows how.
    #[cfg(feature = "burn")]
    fn mine_on_device(&self, _sides: &DeviceSides<'_>) -> Option<DeviceTriplets> {
        None
    }
}

impl<M: Miner + ?Sized> Miner for Box<M> {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        (**self).mine(sides)
    }

    #[cfg(feature = "burn")]
    fn mine_on_device(&self, sides: &DeviceSides<'_>) -> Option<DeviceTriplets> {
        (**self).mine_on_device(sides)
    }
}

/// A loss over what a miner picks.
#[derive(Debug, Clone, Copy)]
pub struct Mined<M, L> {
    /// What chooses.
    pub miner: M,
    /// What pulls.
    pub loss: L,
}

impl<M: Miner, L: Loss> Loss for Mined<M, L> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.loss.pull_mined(sides, &self.miner.mine(sides)?)
    }

    #[cfg(feature = "burn")]
    fn pull_on_device(&self, sides: &DeviceSides<'_>) -> Option<DevicePull> {
        self.loss.pull_mined_on_device(sides, &self.miner.mine_on_device(sides)?)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.loss.proxies()
    }
}

/// For miners that do not begin with scores.
fn check_same_dim(sides: &Sides<'_>) -> Result<(), LossError> {
    let (queries, references) = (sides.queries.dim(), sides.others().dim());
    match queries == references {
        true => Ok(()),
        false => Err(SweepError::DimensionMismatch { queries, references }.into()),
    }
}

/// What turns a score into a distance: 1 for distances, −1 for similarities.
fn sign(metric: Metric) -> f32 {
    if metric.larger_is_nearer() { -1.0 } else { 1.0 }
}

/// References and their distances, nearest first; ties in order of index. Adding 0 makes −0 and 0 tie.
fn nearest_first(pairs: impl Iterator<Item = (usize, f32)>, sign: f32) -> Vec<(f32, u32)> {
    let mut sorted: Vec<(f32, u32)> = pairs.map(|(j, s)| (sign * s + 0.0, j as u32)).collect();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    sorted
}

/// Whether a score of the row is not a number.
fn has_nan(row: &Row<'_>) -> bool {
    wide(|| row.scores.iter().fold(false, |nan, s| nan | s.is_nan()))
        && row.kin().chain(row.strangers()).any(|(_, s)| s.is_nan())
}

/// The triplets of each row, in order of the anchors. Of a row with a score that is not a number, one triplet with it.
fn triplets_by_row(
    sides: &Sides<'_>,
    metric: Metric,
    of_row: impl Fn(&Row<'_>, &mut Vec<[u32; 3]>) + Sync,
) -> Result<Tuples, LossError> {
    let rows = map_rows(sides.queries, sides.references, metric, sides.kin, |row, _| {
        if has_nan(row) {
            return nan_triplet(row).into_iter().collect();
        }
        let mut found = Vec::new();
        of_row(row, &mut found);
        found
    })?;
    Ok(Tuples::Triplets(rows.into_iter().flatten().collect()))
}

/// A triplet with a score that is not a number, where the anchor has one.
fn nan_triplet(row: &Row<'_>) -> Option<[u32; 3]> {
    let pairs = nan_pairs(row);
    let or_first = |nan: &[(u32, u32)], first: Option<(usize, f32)>| match nan.first() {
        Some((_, j)) => Some(*j),
        None => first.map(|(j, _)| j as u32),
    };
    let kin = or_first(&pairs.kin, row.kin().next())?;
    Some([row.query as u32, kin, or_first(&pairs.strangers, row.strangers().next())?])
}

/// Pairs of kin and of strangers.
#[derive(Debug, Default)]
struct Pairs {
    kin: Vec<(u32, u32)>,
    strangers: Vec<(u32, u32)>,
}

impl Pairs {
    fn tuples(self) -> Tuples {
        Tuples::Pairs { kin: self.kin, strangers: self.strangers }
    }

    fn append(&mut self, mut other: Pairs) {
        self.kin.append(&mut other.kin);
        self.strangers.append(&mut other.strangers);
    }
}

/// The pairs of each row, in order of the anchors. Of a row with scores that are not numbers, pairs with such.
fn pairs_by_row(
    sides: &Sides<'_>,
    metric: Metric,
    of_row: impl Fn(&Row<'_>, &mut Pairs) + Sync,
) -> Result<Tuples, LossError> {
    let rows = map_rows(sides.queries, sides.references, metric, sides.kin, |row, _| {
        if has_nan(row) {
            return nan_pairs(row);
        }
        let mut found = Pairs::default();
        of_row(row, &mut found);
        found
    })?;
    let mut all = Pairs::default();
    rows.into_iter().for_each(|row| all.append(row));
    Ok(all.tuples())
}

/// The first pair of each kind whose score is not a number.
fn nan_pairs(row: &Row<'_>) -> Pairs {
    let pair = |(j, _)| (row.query as u32, j as u32);
    Pairs {
        kin: row.kin().find(|(_, s)| s.is_nan()).map(pair).into_iter().collect(),
        strangers: row.strangers().find(|(_, s)| s.is_nan()).map(pair).into_iter().collect(),
    }
}

/// Rows that are mined together, where what is found in one bears on the next.
const BAND: usize = 256;

/// A function of the rows of some anchors only.
fn map_band<T: Send>(
    sides: &Sides<'_>,
    metric: Metric,
    anchors: Range<usize>,
    of_row: impl Fn(&Row<'_>) -> T + Sync,
) -> Result<Vec<T>, SweepError> {
    let (first, dim) = (anchors.start, sides.queries.dim());
    let queries = Vectors::new(&sides.queries.data()[first * dim..anchors.end * dim], dim)?;
    let anchors: Vec<u32> = anchors.map(|i| i as u32).collect();
    let kin = OfAnchors { kin: sides.kin, anchors: &anchors };
    map_rows(queries, Some(sides.others()), metric, &kin, |row, _| {
        of_row(&Row { query: first + row.query, ..*row })
    })
}

/// The bands of the queries, in order.
fn bands(queries: usize) -> impl Iterator<Item = Range<usize>> {
    (0..queries).step_by(BAND).map(move |first| first..(first + BAND).min(queries))
}

/// The relations of some anchors, each a query of its own.
struct OfAnchors<'a> {
    kin: &'a dyn Kin,
    anchors: &'a [u32],
}

impl Kin for OfAnchors<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        self.kin.relate(self.anchors[query] as usize, first, out);
    }
}
