//! The angular loss.
//!
//! J. Wang, F. Zhou, S. Wen, X. Liu, Y. Lin, "Deep Metric Learning with Angular Loss", 2017, eqs. 6 and 7. It bounds the angle at
//! the stranger of the triangle with an anchor `a` and its kin `p`, by α; over the strangers `n` of `a`:
//!
//! ```text
//! ℓ_ap = ln( 1 + Σ_n e^{4 tan²α (x_a + x_p)·x_n − 2 (1 + tan²α) x_a·x_p} )
//! ```
//!
//! one term a pair of kin. The paper also adds it to the N-pair loss: [`Pull::add`] does.

use nearkin_sweep::{Kin, Metric, Relation, Row, RowSprings, Vectors, pair_scores, pull_list, pull_rows};

use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};
use crate::tuples::Tuples;

/// The angular loss. Reduced to the mean over pairs of kin.
///
/// The formula is derived for vectors of unit length: wrap it as [`OnSphere`](crate::OnSphere)`(Angular)`. Of tuples it takes
/// the pairs of kin, each with all strangers of its anchor. pytorch-metric-learning normalises anchors and kin but, by mistake,
/// not the strangers.
///
/// A pair of kin costs `O(N d)`: `N` times more than in other losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Angular {
    /// tan²α
    steepness: f32,
}

impl Default for Angular {
    /// pytorch-metric-learning's: α = 40°.
    fn default() -> Self {
        Self { steepness: steepness(40.0) }
    }
}

/// tan²α
fn steepness(degrees: f32) -> f32 {
    f64::from(degrees).to_radians().tan().powi(2) as f32
}

impl Angular {
    /// With the angle α in degrees.
    ///
    /// # Errors
    /// When α does not lie between 0 and 90.
    pub fn new(degrees: f32) -> Result<Self, LossError> {
        let degrees = check("angle", degrees, |a| a > 0.0 && a < 90.0, "between 0 and 90 degrees")?;
        Ok(Self { steepness: steepness(degrees) })
    }

    /// Of the pairs that `positives` calls kin, with the strangers that `sides.kin` names.
    fn over(&self, sides: &Sides<'_>, positives: &dyn Kin) -> Result<Pull, LossError> {
        let (n, m) = (sides.queries.len(), sides.others().len());
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        let mut sum = Pull::none(sides);
        let mut total = Tally::default();
        let mut held = Vec::new();
        let (mut relations, mut weights) = (vec![Relation::default(); m], vec![1.0; m]);
        for anchor in 0..n {
            positives.relate(anchor, 0, &mut relations);
            let weighed = positives.weigh(anchor, 0, &mut weights);
            let kin = || (0..m).filter(|p| relations[*p] == Relation::Kin);
            let weight = |p: usize| if weighed { weights[p] } else { 1.0 };
            let count: f64 = kin().map(|p| f64::from(weight(p))).sum();
            let factor = if *reducer == Reducer::PerAnchor && count > 0.0 { 1.0 / count } else { 1.0 };
            held.extend(kin().map(|p| Pair { ends: (anchor as u32, p as u32), weight: weight(p), factor }));
            if held.len() >= HELD || anchor + 1 == n {
                self.add(sides, reducer, &held, &mut sum, &mut total)?;
                held.clear();
            }
        }
        let scale = total.scale(reducer, n);
        for gradient in [&mut sum.query_gradient, &mut sum.reference_gradient] {
            gradient.iter_mut().for_each(|g| *g *= scale as f32);
        }
        Ok(Pull {
            loss: total.energy * scale,
            terms: total.terms.round() as usize,
            active: total.active.round() as usize,
            ..sum
        })
    }

    /// Adds the terms of `pairs`: each is a row of its own, whose query is the sum of its ends.
    fn add(
        &self,
        sides: &Sides<'_>,
        reducer: &Reducer,
        pairs: &[Pair],
        sum: &mut Pull,
        total: &mut Tally,
    ) -> Result<(), LossError> {
        let &Sides { queries, references, .. } = sides;
        let (others, dim) = (sides.others(), queries.dim());
        let ends: Vec<(u32, u32)> = pairs.iter().map(|pair| pair.ends).collect();
        let scores = pair_scores(queries, references, Metric::Dot, &ends)?;
        let both: Vec<f32> = ends
            .iter()
            .flat_map(|&(a, p)| {
                queries.row(a as usize).iter().zip(others.row(p as usize)).map(|(x, y)| x + y)
            })
            .collect();
        let both = Vectors::new(&both, dim)?;
        let kin = OfPairs { kin: sides.kin, pairs };
        let springs = Triangles { steepness: self.steepness, reducer, kin: &kin, scores: &scores };
        let (gradients, rows) = pull_rows(both, Some(others), Metric::Dot, &kin, &springs)?;
        rows.iter().for_each(|(tally, _)| total.add(tally));
        let (at_both, at_strangers) = gradients.scaled(1.0);
        let forces: Vec<f32> = rows.iter().map(|(_, force)| *force).collect();
        let (at_anchors, at_kin) = pull_list(queries, references, Metric::Dot, &ends, &scores, &forces)?;

        let add = |sum: &mut [f32], more: &[f32]| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
        let row = |i: u32| i as usize * dim..(i as usize + 1) * dim;
        add(&mut sum.query_gradient, &at_anchors);
        add(&mut sum.reference_gradient, &at_kin);
        for (&(anchor, _), g) in ends.iter().zip(at_both.chunks_exact(dim)) {
            add(&mut sum.query_gradient[row(anchor)], g);
        }
        let at_others = match references {
            Some(_) => &mut sum.reference_gradient,
            None => &mut sum.query_gradient,
        };
        for (&(_, kin), g) in ends.iter().zip(at_both.chunks_exact(dim)) {
            add(&mut at_others[row(kin)], g);
        }
        add(at_others, &at_strangers);
        Ok(())
    }
}

impl Loss for Angular {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.over(sides, sides.kin)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.over(sides, &tuples.as_kin(sides)?)
    }
}

/// Pairs whose rows are evaluated at once, and then those of the last anchor.
const HELD: usize = 1 << 12;

/// A pair of kin.
struct Pair {
    ends: (u32, u32),
    weight: f32,
    /// What its term is multiplied by: not 1 for a mean by anchor.
    factor: f64,
}

/// The relations of pairs to the references: those of their anchors.
struct OfPairs<'a> {
    kin: &'a dyn Kin,
    pairs: &'a [Pair],
}

impl OfPairs<'_> {
    fn anchor(&self, pair: usize) -> usize {
        self.pairs[pair].ends.0 as usize
    }
}

impl Kin for OfPairs<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        self.kin.relate(self.anchor(query), first, out);
    }

    fn weigh(&self, query: usize, first: usize, out: &mut [f32]) -> bool {
        self.kin.weigh(self.anchor(query), first, out)
    }

    fn label(&self, query: usize) -> Option<u32> {
        self.kin.label(self.anchor(query))
    }
}

/// The loss on the rows of pairs.
struct Triangles<'a> {
    steepness: f32,
    reducer: &'a Reducer,
    kin: &'a OfPairs<'a>,
    /// `x_a·x_p` of each pair.
    scores: &'a [f32],
}

impl RowSprings for Triangles<'_> {
    /// And `∂ℓ/∂(x_a·x_p)`.
    type Kept = (Tally, f32);

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Self::Kept {
        let pair = &self.kin.pairs[row.query];
        let (apart, together) = (4.0 * self.steepness, -2.0 * (1.0 + self.steepness));
        let base = together * self.scores[row.query];
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Stranger => apart * row.scores[j] + base + row.weight(j).ln(),
                _ => f32::NEG_INFINITY,
            };
        }
        let strangers = exps(forces);
        let (energy, share) = strangers.log_with_one();
        let mut terms = Terms::new(self.reducer, self.kin.label(row.query), [pair.factor; PARTS]);
        let c = f64::from(terms.add_part(0, energy, pair.weight)) * share;
        let push = c as f32 * apart;
        forces.iter_mut().for_each(|g| *g *= push);
        (terms.tallies[0], (c * strangers.sum) as f32 * together)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn a_hand_worked_batch_at_right_angles() {
        // α = 45°: tan²α = 1. Kin at x·x = 1, the stranger at 0 to both: ℓ = ln(1 + e^{−4}).
        let kin = SameLabel::within(&[0, 0, 1]);
        let points = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let found = Angular::new(45.0).unwrap().pull(&sides).unwrap();
        assert!((found.loss - (-4f64).exp().ln_1p()).abs() < 1e-7, "{}", found.loss);
        assert_eq!(found.terms, 2);
    }

    #[test]
    fn an_angle_of_a_right_one_is_refused() {
        assert!(Angular::new(90.0).unwrap_err().to_string().starts_with("angle = 90"));
        assert!(Angular::new(0.0).is_err());
    }
}
