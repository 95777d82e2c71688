//! From springs to a loss: terms are reduced, forces scaled, gradients gathered.

use nearkin_sweep::{
    Metric, PairSprings, Row, RowSprings, map_rows, pull_pairs, pull_row, pull_rows, sum_pairs, sum_row,
};

use crate::loss::{LossError, Pull, Sides};
use crate::reducer::{PARTS, Reducer, Tally, Terms};

/// A loss as springs between a query and the references of its row: the one thing that a loss of pairs has to say.
///
/// A row's terms go into `terms`, which says what each is multiplied by; `forces[j]` then gets that times the term's
/// `∂energy/∂s_j`. A loss of this shape becomes a [`Loss`](crate::Loss) through [`pull_springs`].
pub trait Springs: Sync {
    /// Whether there are two kinds of terms, each reduced by itself: parts 0 and 1.
    const TWO_PARTS: bool = false;

    /// Takes in a row. `forces` come as zeros.
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]);
}

/// Evaluates springs: value, gradient and counts. `reducer` is the loss's own, used unless `sides` names another.
///
/// # Errors
/// When the two sides differ in dimension.
pub fn pull_springs<S: Springs>(
    springs: &S,
    metric: Metric,
    reducer: &Reducer,
    sides: &Sides<'_>,
) -> Result<Pull, LossError> {
    let reducer = sides.reducer.unwrap_or(reducer);
    let &Sides { queries, references, kin, .. } = sides;
    let pulled = |scales: &(dyn Fn(usize) -> [f64; PARTS] + Sync)| {
        pull_rows(queries, references, metric, kin, &Pulling { springs, reducer, sides, scales })
    };
    // What a term counts depends on all terms: with one kind that is one factor for the whole gradient, applied last. With
    // two kinds, or a mean by anchor, the counts must come first.
    if !S::TWO_PARTS && *reducer != Reducer::PerAnchor {
        let (gradients, rows) = pulled(&|_| [1.0; PARTS])?;
        let total = total(&rows);
        let scale = total[0].scale(reducer, queries.len());
        let (query_gradient, reference_gradient) = gradients.scaled(scale);
        return Ok(Pull {
            loss: total[0].energy * scale,
            query_gradient,
            reference_gradient,
            ..counts(&total)
        });
    }
    let counted = map_rows(queries, references, metric, kin, |row, forces| {
        let mut terms = Terms::new(reducer, kin.label(row.query), [1.0; PARTS]);
        springs.row(row, &mut terms, forces);
        terms.tallies
    })?;
    let scales = scales(&counted, reducer, queries.len());
    let (gradients, rows) = pulled(&scales)?;
    let total = total(&rows);
    let (query_gradient, reference_gradient) = gradients.scaled(1.0);
    Ok(Pull {
        loss: total.iter().map(|t| t.energy).sum(),
        query_gradient,
        reference_gradient,
        ..counts(&total)
    })
}

/// What the terms of each row are multiplied by, once all are counted.
pub(crate) fn scales(
    counted: &[[Tally; PARTS]],
    reducer: &Reducer,
    anchors: usize,
) -> impl Fn(usize) -> [f64; PARTS] + Sync {
    let scales = total(counted).map(|tally| tally.scale(reducer, anchors));
    let by_anchor = *reducer == Reducer::PerAnchor;
    move |query| {
        let of_row = |part: usize| match counted[query][part].terms {
            terms if by_anchor && terms > 0.0 => scales[part] / terms,
            _ => scales[part],
        };
        std::array::from_fn(of_row)
    }
}

pub(crate) fn total(rows: &[[Tally; PARTS]]) -> [Tally; PARTS] {
    let mut total = [Tally::default(); PARTS];
    for row in rows {
        total.iter_mut().zip(row).for_each(|(total, row)| total.add(row));
    }
    total
}

pub(crate) fn counts(total: &[Tally; PARTS]) -> Pull {
    let count = |of: fn(&Tally) -> f64| total.iter().map(of).sum::<f64>().round() as usize;
    Pull { terms: count(|t| t.terms), active: count(|t| t.active), ..Pull::default() }
}

/// Springs with their reducer, as the engine wants them.
struct Pulling<'a, S> {
    springs: &'a S,
    reducer: &'a Reducer,
    sides: &'a Sides<'a>,
    scales: &'a (dyn Fn(usize) -> [f64; PARTS] + Sync),
}

impl<S: Springs> RowSprings for Pulling<'_, S> {
    type Kept = [Tally; PARTS];

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Self::Kept {
        let label = self.sides.kin.label(row.query);
        let mut terms = Terms::new(self.reducer, label, (self.scales)(row.query));
        self.springs.row(row, &mut terms, forces);
        terms.tallies
    }
}

/// Springs whose rows need only sums over their pairs, so that among one set every pair is visited once: two thirds of the
/// cost. See [`PairSprings`] for what a pair adds and how it pulls.
pub trait SumSprings<const SUMS: usize, const ENDS: usize>: PairSprings<SUMS, ENDS> {
    /// The terms of a row with these sums, and the numbers that its forces depend on.
    fn settle(&self, sums: &[f64; SUMS], terms: &mut Terms<'_>) -> [f32; ENDS];
}

/// Whether every pair may be visited once: among one set, `i` is to `j` what `j` is to `i`, and the products are taken here
/// (an accelerator gives whole rows).
pub(crate) fn pairs_meet_once(sides: &Sides<'_>) -> bool {
    sides.references.is_none() && sides.kin.is_symmetric() && sides.queries.accelerator().is_none()
}

/// Evaluates springs by sums, whose terms are one a row. As [`pull_springs`], but faster among one set.
///
/// # Errors
/// When the two sides differ in dimension.
pub fn pull_sums<S: SumSprings<SUMS, ENDS>, const SUMS: usize, const ENDS: usize>(
    springs: &S,
    metric: Metric,
    reducer: &Reducer,
    sides: &Sides<'_>,
) -> Result<Pull, LossError> {
    if !pairs_meet_once(sides) {
        return pull_springs(&ByRows(springs), metric, reducer, sides);
    }
    let reducer = sides.reducer.unwrap_or(reducer);
    let (vectors, kin) = (sides.queries, sides.kin);
    let sums = sum_pairs(vectors, metric, kin, springs)?;
    let settle = |scales: [f64; PARTS]| {
        let settled = sums.iter().enumerate().map(|(query, sums)| {
            let mut terms = Terms::new(reducer, kin.label(query), scales);
            let end = springs.settle(sums, &mut terms);
            (end, terms.tallies)
        });
        settled.unzip::<_, _, Vec<[f32; ENDS]>, Vec<_>>()
    };
    let counted = total(&settle([1.0; PARTS]).1);
    let (ends, rows) = settle(counted.map(|tally| tally.scale(reducer, vectors.len())));
    let total = total(&rows);
    let query_gradient = pull_pairs(vectors, metric, kin, springs, &ends)?;
    Ok(Pull { loss: total.iter().map(|t| t.energy).sum(), query_gradient, ..counts(&total) })
}

/// Sum springs on whole rows: between two sets, or under a kin relation that is not symmetric.
struct ByRows<'a, S, const SUMS: usize, const ENDS: usize>(&'a S);

impl<S: SumSprings<SUMS, ENDS>, const SUMS: usize, const ENDS: usize> Springs for ByRows<'_, S, SUMS, ENDS> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let end = self.0.settle(&sum_row(self.0, row), terms);
        pull_row(self.0, row, end, forces);
    }
}
