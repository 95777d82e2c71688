//! The margin based loss.
//!
//! C.-Y. Wu, R. Manmatha, A. Smola, P. Krähenbühl, "Sampling Matters in Deep Embedding Learning", 2017, section 4, as
//! pytorch-metric-learning has it. For a distance `d` (a similarity counts as `−s`, and so does β), every triplet of an
//! anchor, a kin `p` and a stranger `n` has two terms:
//!
//! ```text
//! ℓ_p = max(0, α + d_p − β)      ℓ_n = max(0, α + β − d_n)
//! ```
//!
//! β, the boundary between kin and strangers, is one number or one a class of anchors, fixed or learned. To keep a learned β
//! from growing, ν times it is added: once if it is shared, once a triplet if each class has its own.

use nearkin_sweep::{Metric, Relation, Row, RowSprings, pull_rows};
use serde::{Deserialize, Serialize};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};
use crate::tuples::Tuples;
use crate::unit::OnSphere;

/// The boundary between kin and strangers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Betas {
    /// One for all.
    Shared(f32),
    /// One for each class: that of an anchor's label.
    PerClass(Vec<f32>),
}

impl Betas {
    /// The values, to read.
    pub fn values(&self) -> &[f32] {
        match self {
            Betas::Shared(beta) => std::slice::from_ref(beta),
            Betas::PerClass(betas) => betas,
        }
    }

    /// The values, for an optimiser to step.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match self {
            Betas::Shared(beta) => std::slice::from_mut(beta),
            Betas::PerClass(betas) => betas,
        }
    }

    /// The place of an anchor's value; `None` when it has none.
    fn place(&self, label: Option<u32>) -> Option<usize> {
        match self {
            Betas::Shared(_) => Some(0),
            Betas::PerClass(betas) => label.map(|l| l as usize).filter(|l| *l < betas.len()),
        }
    }
}

/// The margin based loss. Reduced to the mean over active terms; a pair counts once for each triplet it is in.
///
/// All triplets are never listed: an anchor costs `O(N)`.
#[derive(Debug, Clone, PartialEq)]
pub struct MarginBased {
    metric: Metric,
    margin: f32,
    nu: f32,
    /// 1 for distances, −1 for similarities.
    sign: f32,
    /// Where the boundary lies; a learned one changes between evaluations.
    pub betas: Betas,
}

impl Default for MarginBased {
    /// The paper's and pytorch-metric-learning's, for unit vectors: the Euclidean distance, α = 0.2, β = 1.2.
    fn default() -> Self {
        Self { metric: Metric::Euclidean, margin: 0.2, nu: 0.0, sign: 1.0, betas: Betas::Shared(1.2) }
    }
}

/// Value and gradient of a [`MarginBased`] loss, with the gradient of its β.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BetaPull {
    /// What [`Loss::pull`] gives.
    pub pull: Pull,
    /// `∂L/∂β`, one for each of [`Betas::values`].
    pub betas: Vec<f32>,
}

impl MarginBased {
    /// With the margin α and the boundaries β, in units of the metric.
    ///
    /// # Errors
    /// When α is negative, or a number is not finite.
    pub fn new(metric: Metric, margin: f32, betas: Betas) -> Result<Self, LossError> {
        let margin = check("margin", margin, |m| m >= 0.0, "zero or more, and finite")?;
        betas.values().iter().try_for_each(|beta| check("beta", *beta, |_| true, "finite").map(drop))?;
        let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
        Ok(Self { metric, margin, nu: 0.0, sign, betas })
    }

    /// With the weight ν of β in the loss, 0 otherwise. It matters only to a learned β, but its term is always in the value.
    ///
    /// # Errors
    /// When ν is negative or not finite.
    pub fn with_nu(self, nu: f32) -> Result<Self, LossError> {
        Ok(Self { nu: check("nu", nu, |n| n >= 0.0, "zero or more, and finite")?, ..self })
    }

    /// The value and gradients, that of β among them, over all triplets or those of tuples.
    ///
    /// # Errors
    /// As [`Loss::pull_mined`], and when an anchor's class has no β.
    pub fn pull_with_betas(&self, sides: &Sides<'_>, tuples: Option<&Tuples>) -> Result<BetaPull, LossError> {
        match tuples {
            None => self.over(sides, false),
            Some(tuples) => {
                let listed = tuples.as_kin(sides)?;
                self.over(&Sides { kin: &listed, ..*sides }, matches!(tuples, Tuples::Triplets(_)))
            }
        }
    }

    /// With `listed`, pairs count as often as they weigh, and triplets are those of kin; else every kin meets every stranger.
    fn over(&self, sides: &Sides<'_>, listed: bool) -> Result<BetaPull, LossError> {
        let &Sides { queries, references, kin, .. } = sides;
        let place = |anchor| {
            self.betas.place(kin.label(anchor)).ok_or_else(|| {
                let why = format!(
                    "query {anchor} has the label {:?}, but there are {} betas, counted from 0",
                    kin.label(anchor),
                    self.betas.values().len()
                );
                LossError::undefined("the margin based loss", why)
            })
        };
        let places: Vec<usize> = (0..queries.len()).map(place).collect::<Result<_, _>>()?;
        let reducer = sides.reducer.unwrap_or(&Reducer::MeanActive);
        let springs = Bounded { loss: self, sides, reducer, listed, places: &places };
        let (gradients, rows) = pull_rows(queries, references, self.metric, kin, &springs)?;
        let mut total = Tally::default();
        rows.iter().for_each(|row| total.add(&row.tally));
        let scale = total.scale(reducer, queries.len());
        let (query_gradient, reference_gradient) = gradients.scaled(scale);

        let (values, nu) = (self.betas.values(), f64::from(self.nu));
        let (mut at_betas, mut kept_small) = (vec![0.0; values.len()], 0.0);
        for (row, &place) in rows.iter().zip(&places) {
            at_betas[place] += scale * row.at_beta;
            if let Betas::PerClass(_) = self.betas {
                let weight = nu * scale * row.triplets;
                at_betas[place] += weight;
                kept_small += weight * f64::from(values[place]);
            }
        }
        if let Betas::Shared(beta) = self.betas
            && rows.iter().any(|row| row.triplets > 0.0)
        {
            at_betas[0] += nu;
            kept_small = nu * f64::from(beta);
        }
        Ok(BetaPull {
            pull: Pull {
                loss: total.energy * scale + kept_small,
                terms: total.terms.round() as usize,
                active: total.active.round() as usize,
                query_gradient,
                reference_gradient,
            },
            betas: at_betas.into_iter().map(|g| g as f32).collect(),
        })
    }
}

impl OnSphere<MarginBased> {
    /// As [`MarginBased::pull_with_betas`], of the vectors scaled to unit length.
    ///
    /// # Errors
    /// As there.
    pub fn pull_with_betas(&self, sides: &Sides<'_>, tuples: Option<&Tuples>) -> Result<BetaPull, LossError> {
        let mut betas = Vec::new();
        let pull = Self::through(sides, |sides| {
            let found = self.0.pull_with_betas(sides, tuples)?;
            betas = found.betas;
            Ok(found.pull)
        })?;
        Ok(BetaPull { pull, betas })
    }
}

impl Loss for MarginBased {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        Ok(self.pull_with_betas(sides, None)?.pull)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        Ok(self.pull_with_betas(sides, Some(tuples))?.pull)
    }
}

/// The loss with the place of each anchor's β.
struct Bounded<'a> {
    loss: &'a MarginBased,
    sides: &'a Sides<'a>,
    reducer: &'a Reducer,
    listed: bool,
    places: &'a [usize],
}

/// What is kept of a row.
struct Anchor {
    tally: Tally,
    /// `∂/∂β` of its terms.
    at_beta: f64,
    /// Its triplets, times what each counts.
    triplets: f64,
}

impl RowSprings for Bounded<'_> {
    type Kept = Anchor;

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Anchor {
        let &MarginBased { margin, sign, .. } = self.loss;
        let beta = self.loss.betas.values()[self.places[row.query]];
        let count = |(j, _)| f64::from(row.weight(j));
        let (kin, strangers): (f64, f64) = (row.kin().map(count).sum(), row.strangers().map(count).sum());
        let triplets = if self.listed { kin } else { kin * strangers };
        // A kin is in as many triplets as there are strangers, and the other way round.
        let (of_kin, of_stranger) = if self.listed { (1.0, 1.0) } else { (strangers as f32, kin as f32) };
        let by_anchor = *self.reducer == Reducer::PerAnchor && triplets > 0.0;
        let factor = if by_anchor { 0.5 / triplets } else { 1.0 };
        let mut terms = Terms::new(self.reducer, self.sides.kin.label(row.query), [factor; PARTS]);
        let mut at_beta = 0.0;
        if triplets == 0.0 {
            return Anchor { tally: terms.tallies[0], at_beta, triplets };
        }
        for (j, (&score, relation)) in row.scores.iter().zip(row.relations).enumerate() {
            let (direction, count) = match relation {
                Relation::Kin => (sign, of_kin),
                Relation::Stranger => (-sign, of_stranger),
                Relation::Excluded => continue,
            };
            let beyond = margin + direction * (score - beta);
            // Unlike max(0, x), this lets what is not a number be seen.
            let energy = if beyond <= 0.0 { 0.0 } else { beyond };
            let c = terms.add_part(0, energy.into(), count * row.weight(j));
            if energy != 0.0 {
                forces[j] = direction * c;
                at_beta -= f64::from(direction * c);
            }
        }
        Anchor { tally: terms.tallies[0], at_beta, triplets: triplets * factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_on_a_line() {
        // Kin at 0 and 3, a stranger at 1; α = 1, β = 2. Anchor 0: the kin at 3 has 1 + 3 − 2 = 2, the stranger at 1 has
        // 1 + 2 − 1 = 2. Anchor 3: the kin has 2, the stranger at 2 has 1. Anchor 1 is in no triplet.
        let kin = SameLabel::within(&[0, 0, 1]);
        let points = [0.0, 3.0, 1.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let loss = MarginBased::new(Metric::Euclidean, 1.0, Betas::Shared(2.0)).unwrap();
        let found = loss.pull_with_betas(&sides, None).unwrap();
        assert!((found.pull.loss - 7.0 / 4.0).abs() < 1e-6, "{}", found.pull.loss);
        assert_eq!((found.pull.terms, found.pull.active), (4, 4));
        // Two kin pull β up as much as two strangers push it down.
        assert_eq!(found.betas, [0.0]);
        // Each triplet's ν β of class 0 over the four active terms.
        let loss = MarginBased { betas: Betas::PerClass(vec![2.0, 9.0]), ..loss }.with_nu(0.5).unwrap();
        let found = loss.pull_with_betas(&sides, None).unwrap();
        assert!((found.pull.loss - (7.0 + 2.0) / 4.0).abs() < 1e-6, "{}", found.pull.loss);
        assert_eq!(found.betas, [0.25, 0.0]);
    }

    #[test]
    fn a_class_without_beta_is_refused() {
        let kin = SameLabel::within(&[0, 2]);
        let sides = Sides::within(Vectors::new(&[0.0, 1.0], 1).unwrap(), &kin);
        let loss = MarginBased { betas: Betas::PerClass(vec![1.0, 1.0]), ..MarginBased::default() };
        assert!(loss.pull(&sides).unwrap_err().to_string().contains("there are 2 betas"));
        assert!(MarginBased::default().with_nu(-1.0).is_err());
        assert!(MarginBased::new(Metric::Euclidean, 0.2, Betas::Shared(f32::NAN)).is_err());
    }
}
