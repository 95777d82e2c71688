//! Losses over explicit triplets: mined ones, and those whose terms need the third side.

use nearkin_sweep::{Metric, Relation, Row, pair_scores, pull_list};

use crate::loss::{LossError, Pull, Sides};
use crate::reducer::{PARTS, Reducer, Tally, Terms};
use crate::springs::{Springs, pull_springs};

/// What a triplet does, as a function of its scores.
pub trait TripletSprings: Sync {
    /// Whether a term needs the score of kin and stranger with each other.
    fn needs_third_side(&self) -> bool {
        false
    }

    /// Whether a triplet of these scores and this energy counts as active in reports.
    fn is_active(&self, _scores: [f32; 3], energy: f64) -> bool {
        energy > 0.0
    }

    /// The energy of a triplet, and its derivative for each score: anchor–kin, anchor–stranger, kin–stranger (0 unless it
    /// is needed).
    fn triplet(&self, scores: [f32; 3]) -> (f64, [f32; 3]);
}

/// Triplets whose scores are held at once.
const HELD: usize = 1 << 18;

/// Evaluates triplets: one term each.
///
/// Few triplets, and those that need their third side, pay for their own pairs only, `O(d)` each; many pay for the whole
/// matrix of scores. Memory is bounded either way.
///
/// # Errors
/// When the two sides differ in dimension, or a triplet names a vector that does not exist.
pub fn pull_triplets<T: TripletSprings>(
    springs: &T,
    metric: Metric,
    reducer: &Reducer,
    sides: &Sides<'_>,
    triplets: &[[u32; 3]],
) -> Result<Pull, LossError> {
    let (n, m) = (sides.queries.len(), sides.others().len());
    if let Some(t) = triplets.iter().find(|[a, p, s]| *a as usize >= n || (*p).max(*s) as usize >= m) {
        return Err(LossError::undefined(
            "a triplet",
            format!("it names {t:?}, but there are {n} queries and {m} references, counted from 0"),
        ));
    }
    let mut triplets = triplets.to_vec();
    triplets.sort_by_key(|t| t[0]);
    if springs.needs_third_side() || triplets.len() <= 4 * n {
        return pull_listed(springs, metric, reducer, sides, &triplets);
    }
    let mut starts = vec![0; n + 1];
    triplets.iter().for_each(|t| starts[t[0] as usize + 1] += 1);
    for i in 0..n {
        starts[i + 1] += starts[i];
    }
    pull_springs(&ByRows { springs, triplets: &triplets, starts: &starts }, metric, reducer, sides)
}

/// Evaluates every triplet of an anchor, a kin and a stranger, a few anchors at a time: for terms that need the third side.
///
/// # Errors
/// As [`pull_triplets`].
pub fn pull_all<T: TripletSprings>(
    springs: &T,
    metric: Metric,
    reducer: &Reducer,
    sides: &Sides<'_>,
) -> Result<Pull, LossError> {
    let mut parts = Listing::new(sides);
    let (n, m) = (sides.queries.len(), sides.others().len());
    let mut relations = vec![Relation::default(); m];
    let mut held: Vec<[u32; 3]> = Vec::new();
    for anchor in 0..n {
        sides.kin.relate(anchor, 0, &mut relations);
        let of =
            |wanted: Relation| (0u32..).zip(&relations).filter(move |(_, r)| **r == wanted).map(|(j, _)| j);
        held.extend(
            of(Relation::Kin).flat_map(|p| of(Relation::Stranger).map(move |s| [anchor as u32, p, s])),
        );
        if held.len() > HELD {
            parts.add(springs, metric, reducer, sides, &held)?;
            held.clear();
        }
    }
    parts.add(springs, metric, reducer, sides, &held)?;
    Ok(parts.finish(reducer, sides))
}

/// Triplets of each anchor, looked up in its row.
struct ByRows<'a, T> {
    springs: &'a T,
    triplets: &'a [[u32; 3]],
    starts: &'a [usize],
}

impl<T: TripletSprings> Springs for ByRows<'_, T> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for &[_, kin, stranger] in &self.triplets[self.starts[row.query]..self.starts[row.query + 1]] {
            let (kin, stranger) = (kin as usize, stranger as usize);
            let scores = [row.scores[kin], row.scores[stranger], 0.0];
            let (energy, [near, far, _]) = self.springs.triplet(scores);
            let c = terms.add_as(energy, self.springs.is_active(scores, energy));
            forces[kin] += c * near;
            forces[stranger] += c * far;
        }
    }
}

/// `triplets` in order of their anchors.
fn pull_listed<T: TripletSprings>(
    springs: &T,
    metric: Metric,
    reducer: &Reducer,
    sides: &Sides<'_>,
    triplets: &[[u32; 3]],
) -> Result<Pull, LossError> {
    let mut listing = Listing::new(sides);
    let mut left = triplets;
    while !left.is_empty() {
        // Whole anchors, so that a mean by anchor has all of one at hand.
        let mut end = left.len().min(HELD);
        while end < left.len() && left[end][0] == left[end - 1][0] {
            end += 1;
        }
        let (held, rest) = left.split_at(end);
        listing.add(springs, metric, reducer, sides, held)?;
        left = rest;
    }
    Ok(listing.finish(reducer, sides))
}

/// What listed triplets have added up so far.
struct Listing {
    pull: Pull,
    total: Tally,
}

impl Listing {
    fn new(sides: &Sides<'_>) -> Self {
        Self { pull: Pull::none(sides), total: Tally::default() }
    }

    /// Adds triplets of whole anchors, in order of these.
    fn add<T: TripletSprings>(
        &mut self,
        springs: &T,
        metric: Metric,
        reducer: &Reducer,
        sides: &Sides<'_>,
        triplets: &[[u32; 3]],
    ) -> Result<(), LossError> {
        let reducer = sides.reducer.unwrap_or(reducer);
        let (queries, references, others) = (sides.queries, sides.references, sides.others());
        let near: Vec<(u32, u32)> = triplets.iter().flat_map(|&[a, p, s]| [(a, p), (a, s)]).collect();
        let scores = pair_scores(queries, references, metric, &near)?;
        let third: Vec<(u32, u32)> = match springs.needs_third_side() {
            true => triplets.iter().map(|&[_, p, s]| (p, s)).collect(),
            false => Vec::new(),
        };
        let third_scores = pair_scores(others, None, metric, &third)?;
        let (mut forces, mut third_forces) =
            (Vec::with_capacity(near.len()), Vec::with_capacity(third.len()));
        let mut first = 0;
        for group in triplets.chunk_by(|a, b| a[0] == b[0]) {
            let factor = if *reducer == Reducer::PerAnchor { 1.0 / group.len() as f64 } else { 1.0 };
            let mut terms = Terms::new(reducer, sides.kin.label(group[0][0] as usize), [factor; PARTS]);
            for i in first..first + group.len() {
                let third = third_scores.get(i).copied().unwrap_or(0.0);
                let scores = [scores[2 * i], scores[2 * i + 1], third];
                let (energy, slopes) = springs.triplet(scores);
                let c = terms.add_as(energy, springs.is_active(scores, energy));
                forces.extend([c * slopes[0], c * slopes[1]]);
                third_forces.push(c * slopes[2]);
            }
            first += group.len();
            self.total.add(&terms.tallies[0]);
        }
        let add = |sum: &mut [f32], more: Vec<f32>| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
        let (at_queries, at_references) = pull_list(queries, references, metric, &near, &scores, &forces)?;
        add(&mut self.pull.query_gradient, at_queries);
        add(&mut self.pull.reference_gradient, at_references);
        let (at_others, _) = pull_list(others, None, metric, &third, &third_scores, &third_forces)?;
        let ends = if references.is_some() {
            &mut self.pull.reference_gradient
        } else {
            &mut self.pull.query_gradient
        };
        add(ends, at_others);
        Ok(())
    }

    fn finish(self, reducer: &Reducer, sides: &Sides<'_>) -> Pull {
        let Self { mut pull, total } = self;
        let scale = total.scale(sides.reducer.unwrap_or(reducer), sides.queries.len());
        for gradient in [&mut pull.query_gradient, &mut pull.reference_gradient] {
            gradient.iter_mut().for_each(|g| *g *= scale as f32);
        }
        Pull {
            loss: total.energy * scale,
            terms: total.terms as usize,
            active: total.active as usize,
            ..pull
        }
    }
}
