//! The lifted structure loss.
//!
//! H. Oh Song, Y. Xiang, S. Jegelka, S. Savarese, "Deep Metric Learning via Lifted Structured Feature Embedding", 2016,
//! eq. 4. For a distance `d` (a similarity counts as `−s`), an anchor `a`, its kin `p`, and the strangers `n` of either:
//!
//! ```text
//! J_ap = ln( Σ_n e^{m⁻ − d_an} + Σ_n e^{m⁻ − d_pn} ) + d_ap − m⁺      ℓ_ap = ½ max(0, J_ap)²
//! ```
//!
//! one term a pair of kin; it is 0 for a pair without strangers. The paper has `m⁺ = 0`.

use nearkin_sweep::{Kin, Metric, Relation, Row, RowSprings, map_rows, pull_rows};

use crate::exps::{Exps, exps, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};

/// The lifted structure loss, among one set. Reduced to the mean over pairs of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiftedStructure {
    metric: Metric,
    kin_margin: f32,
    stranger_margin: f32,
    /// 1 for distances, −1 for similarities.
    sign: f32,
}

impl Default for LiftedStructure {
    /// The paper's and pytorch-metric-learning's: the Euclidean distance, `m⁺ = 0`, `m⁻ = 1`.
    fn default() -> Self {
        Self { metric: Metric::Euclidean, kin_margin: 0.0, stranger_margin: 1.0, sign: 1.0 }
    }
}

impl LiftedStructure {
    /// With the margins m⁺ and m⁻, in units of the metric. Only how far they lie apart matters.
    ///
    /// # Errors
    /// When a margin is not finite.
    pub fn new(metric: Metric, kin_margin: f32, stranger_margin: f32) -> Result<Self, LossError> {
        Ok(Self {
            metric,
            kin_margin: check("kin margin", kin_margin, |_| true, "finite")?,
            stranger_margin: check("stranger margin", stranger_margin, |_| true, "finite")?,
            sign: if metric.larger_is_nearer() { -1.0 } else { 1.0 },
        })
    }

    /// `Σ_n e^{m⁻ − d_an}` of a row; each exponential over the highest is left in `forces`.
    fn strangers(&self, row: &Row<'_>, forces: &mut [f32]) -> Exps {
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Stranger => self.sign * (self.stranger_margin - row.scores[j]) + row.weight(j).ln(),
                _ => f32::NEG_INFINITY,
            };
        }
        exps(forces)
    }
}

impl Loss for LiftedStructure {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let &Sides { queries, references: None, kin, .. } = sides else {
            let why = "the strangers of a reference are not known; put both sides into one set";
            return Err(LossError::undefined("the lifted structure loss", why));
        };
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        let ends = map_rows(queries, None, self.metric, kin, |row, forces| {
            let count: f64 = row.kin().map(|(p, _)| f64::from(row.weight(p))).sum();
            let by_anchor = *reducer == Reducer::PerAnchor && count > 0.0;
            End { log: self.strangers(row, forces).log(), factor: if by_anchor { 1.0 / count } else { 1.0 } }
        })?;
        let mut lifted = Lifted { loss: self, reducer, kin, ends: &ends, from_others: None };
        // Where `p` may be kin of `a` but not `a` of `p`, what falls on a vector as another's kin is not in its own row. Such
        // relations are lists of pairs, so this holds no more than they do.
        if !kin.is_symmetric() {
            let falls = map_rows(queries, None, self.metric, kin, |row, _| {
                let mut terms = lifted.terms(row.query);
                let fall = |(p, s)| (p, lifted.term(row.query, p, s, row.weight(p), &mut terms)[2]);
                row.kin().map(fall).collect::<Vec<(usize, f64)>>()
            })?;
            let mut from_others = vec![0.0; queries.len()];
            falls.into_iter().flatten().for_each(|(p, fall)| from_others[p] += fall);
            lifted.from_others = Some(from_others);
        }
        let (gradients, rows) = pull_rows(queries, None, self.metric, kin, &lifted)?;
        let mut total = Tally::default();
        rows.iter().for_each(|row| total.add(row));
        let scale = total.scale(reducer, queries.len());
        Ok(Pull {
            loss: total.energy * scale,
            terms: total.terms.round() as usize,
            active: total.active.round() as usize,
            query_gradient: gradients.scaled(scale).0,
            reference_gradient: Vec::new(),
        })
    }
}

/// What other rows must know of a vector.
struct End {
    /// `ln Σ_n e^{m⁻ − d}` over its strangers.
    log: f64,
    /// What its terms are multiplied by: not 1 for a mean by anchor.
    factor: f64,
}

/// The loss with what is known of all vectors.
struct Lifted<'a> {
    loss: &'a LiftedStructure,
    reducer: &'a Reducer,
    kin: &'a dyn Kin,
    ends: &'a [End],
    /// What falls on a vector's strangers as other anchors' kin; `None` where its own kin are just these anchors.
    from_others: Option<Vec<f64>>,
}

impl Lifted<'_> {
    fn terms(&self, anchor: usize) -> Terms<'_> {
        Terms::new(self.reducer, self.kin.label(anchor), [self.ends[anchor].factor; PARTS])
    }

    /// Takes in the term of anchor `a` and kin `p`. Returns `∂ℓ/∂J` and how much of it falls on the strangers of `a` and `p`.
    fn term(&self, a: usize, p: usize, score: f32, weight: f32, terms: &mut Terms<'_>) -> [f64; 3] {
        let (own, other) = (self.ends[a].log, self.ends[p].log);
        let log = if own == f64::NEG_INFINITY { other } else { own + softplus(other - own) };
        let lifted = log + f64::from(self.loss.sign * (score - self.loss.kin_margin));
        if lifted <= 0.0 {
            terms.add_part(0, 0.0, weight);
            return [0.0; 3];
        }
        let slope = f64::from(terms.add_part(0, 0.5 * lifted * lifted, weight)) * lifted;
        [slope, slope * (own - log).exp(), slope * (other - log).exp()]
    }
}

impl RowSprings for Lifted<'_> {
    type Kept = Tally;

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Tally {
        let (anchor, sign) = (row.query, f64::from(self.loss.sign));
        let strangers = self.loss.strangers(row, forces);
        let mut terms = self.terms(anchor);
        let mut falls = self.from_others.as_ref().map_or(0.0, |falls| falls[anchor]);
        for (p, score) in row.kin() {
            let [slope, own, _] = self.term(anchor, p, score, row.weight(p), &mut terms);
            forces[p] = (sign * slope) as f32;
            falls += own;
            if self.from_others.is_none() {
                falls += self.term(p, anchor, score, row.weight(p), &mut self.terms(p))[2];
            }
        }
        let push = (sign * falls * strangers.share()) as f32;
        for (g, relation) in forces.iter_mut().zip(row.relations) {
            if *relation == Relation::Stranger {
                *g *= -push;
            }
        }
        terms.tallies[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuples::Tuples;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_pair_and_a_stranger() {
        // Kin 0 and 2, a stranger at 3, so at 3 and 1 from them: J = ln(e^{−2} + e^0) + 2.
        let kin = SameLabel::within(&[0, 0, 1]);
        let points = [0.0, 2.0, 3.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = LiftedStructure::default().pull(&sides).unwrap();
        let lifted = (1.0 + (-2f64).exp()).ln() + 2.0;
        assert!((found.loss - 0.5 * lifted * lifted).abs() < 1e-5, "{}", found.loss);
        assert_eq!(found.terms, 2);
        // ∂ℓ/∂x: J times ∂J/∂x, and the farther stranger's share is e^{−2}/(1 + e^{−2}).
        let far = (-2f64).exp() / (1.0 + (-2f64).exp());
        let wanted = [-1.0 + far, 1.0 + (1.0 - far), -1.0];
        for (found, wanted) in found.query_gradient.iter().zip(wanted) {
            assert!((f64::from(*found) - lifted * wanted).abs() < 1e-5, "{found}");
        }
    }

    #[test]
    fn all_pairs_listed_are_all_pairs() {
        let labels = [0, 0, 1, 1, 0];
        let points = [0.0, 2.0, 3.0, 1.2, 0.4];
        let kin = SameLabel::within(&labels);
        let pairs = |same: bool| {
            let of = |i: u32| (0..5u32).map(move |j| (i, j));
            let wanted =
                move |&(i, j): &(u32, u32)| i != j && (labels[i as usize] == labels[j as usize]) == same;
            (0..5).flat_map(of).filter(wanted).collect::<Vec<_>>()
        };
        let tuples = Tuples::Pairs { kin: pairs(true), strangers: pairs(false) };
        for reducer in [Reducer::Mean, Reducer::PerAnchor, Reducer::ClassWeighted(vec![0.5, 2.0])] {
            let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
            let sides = Sides { reducer: Some(&reducer), ..sides };
            let (all, listed) = (
                LiftedStructure::default().pull(&sides).unwrap(),
                LiftedStructure::default().pull_mined(&sides, &tuples).unwrap(),
            );
            assert!((all.loss - listed.loss).abs() < 1e-9);
            for (a, b) in all.query_gradient.iter().zip(&listed.query_gradient) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
    }

    #[test]
    fn two_sets_are_refused() {
        let kin = SameLabel::between(&[0], &[0]);
        let one = Vectors::new(&[1.0], 1).unwrap();
        let error = LiftedStructure::default().pull(&Sides::between(one, one, &kin)).unwrap_err();
        assert!(error.to_string().contains("one set"), "{error}");
    }
}
