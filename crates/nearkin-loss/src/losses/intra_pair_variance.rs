//! The intra-pair variance loss.
//!
//! B. Yu, D. Tao, "Deep Metric Learning with Tuplet Margin Loss", 2019, where it joins
//! [`TupletMargin`](super::TupletMargin). For a similarity `s` (a distance counts as `−d`), kin `p`, strangers `n`, and the
//! means `s̄⁺`, `s̄⁻` over all pairs of each:
//!
//! ```text
//! ℓ_p = max(0, (1 − ε⁺) s̄⁺ − s_p)²      ℓ_n = max(0, s_n − (1 + ε⁻) s̄⁻)²
//! ```
//!
//! and for a distance `max(0, d_p − (1 + ε⁺) d̄⁺)²` and `max(0, (1 − ε⁻) d̄⁻ − d_n)²`; one term a pair. Kin and strangers are
//! reduced each by themselves, and added. The gradient flows through the means.

use nearkin_sweep::{Metric, Relation, Row, RowSprings, map_rows, pull_rows};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};

/// The intra-pair variance loss. Kin and strangers are each reduced to the mean over all their pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntraPairVariance {
    metric: Metric,
    /// What the mean of each kind is multiplied by.
    factors: [f64; PARTS],
    /// What tells too near from too far: a pair of each kind pulls where `direction · (s − factor · mean)` is above zero.
    directions: [f64; PARTS],
}

/// Kin are part 0, strangers part 1.
fn part(relation: Relation) -> Option<usize> {
    match relation {
        Relation::Kin => Some(0),
        Relation::Stranger => Some(1),
        Relation::Excluded => None,
    }
}

impl IntraPairVariance {
    /// With the slack of each kind as a part of its mean: 0.01 and 0.01, with the cosine, are the paper's and
    /// pytorch-metric-learning's.
    ///
    /// # Errors
    /// When a slack is negative or not finite.
    pub fn new(metric: Metric, kin_slack: f32, stranger_slack: f32) -> Result<Self, LossError> {
        let slack = |name, slack| check(name, slack, |s| s >= 0.0, "zero or more, and finite").map(f64::from);
        let (kin, stranger) = (slack("kin slack", kin_slack)?, slack("stranger slack", stranger_slack)?);
        let (factors, directions) = match metric.larger_is_nearer() {
            true => ([1.0 - kin, 1.0 + stranger], [-1.0, 1.0]),
            false => ([1.0 + kin, 1.0 - stranger], [1.0, -1.0]),
        };
        Ok(Self { metric, factors, directions })
    }
}

impl Loss for IntraPairVariance {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        let &Sides { queries, references, kin, .. } = sides;
        let sums = map_rows(queries, references, self.metric, kin, |row, _| {
            let mut sums = [[0.0; 2]; PARTS];
            for (j, relation) in row.relations.iter().enumerate() {
                if let Some(part) = part(*relation) {
                    let weight = f64::from(row.weight(j));
                    sums[part][0] += weight;
                    sums[part][1] += weight * f64::from(row.scores[j]);
                }
            }
            sums
        })?;
        let mut all = [[0.0; 2]; PARTS];
        for row in &sums {
            all.iter_mut().flatten().zip(row.iter().flatten()).for_each(|(all, row)| *all += row);
        }
        let counts = sums.iter().map(|row| row.map(|[count, _]| count)).collect();
        let thresholds = std::array::from_fn(|part| match all[part] {
            [count, sum] if count > 0.0 => self.factors[part] * sum / count,
            _ => 0.0,
        });
        let mut springs = Pairs {
            loss: self,
            reducer,
            sides,
            counts,
            thresholds,
            scales: [1.0; PARTS],
            leans: [0.0; PARTS],
        };
        // How the terms lean on the means depends on all of them, so they come once for that, and once to pull.
        let found = map_rows(queries, references, self.metric, kin, |row, forces| springs.pull(row, forces))?;
        let (total, leans) = total(&found);
        springs.scales = total.map(|tally| tally.scale(reducer, queries.len()));
        springs.leans = std::array::from_fn(|part| match all[part] {
            [count, _] if count > 0.0 => -self.factors[part] * springs.scales[part] * leans[part] / count,
            _ => 0.0,
        });
        let (gradients, found) = pull_rows(queries, references, self.metric, kin, &springs)?;
        let total = self::total(&found).0;
        let count = |of: fn(&Tally) -> f64| total.iter().map(of).sum::<f64>().round() as usize;
        let (query_gradient, reference_gradient) = gradients.scaled(1.0);
        Ok(Pull {
            loss: total.iter().map(|t| t.energy).sum(),
            terms: count(|t| t.terms),
            active: count(|t| t.active),
            query_gradient,
            reference_gradient,
        })
    }
}

fn total(rows: &[([Tally; PARTS], [f64; PARTS])]) -> ([Tally; PARTS], [f64; PARTS]) {
    let mut total = ([Tally::default(); PARTS], [0.0; PARTS]);
    for (tallies, leans) in rows {
        total.0.iter_mut().zip(tallies).for_each(|(total, row)| total.add(row));
        total.1.iter_mut().zip(leans).for_each(|(total, row)| *total += row);
    }
    total
}

/// The loss with its means found.
struct Pairs<'a> {
    loss: &'a IntraPairVariance,
    reducer: &'a Reducer,
    sides: &'a Sides<'a>,
    /// Pairs of each kind in each row.
    counts: Vec<[f64; PARTS]>,
    /// The slackened mean of each kind.
    thresholds: [f64; PARTS],
    scales: [f64; PARTS],
    /// The force of every pair of a kind through the mean of that kind.
    leans: [f64; PARTS],
}

impl RowSprings for Pairs<'_> {
    /// Tallies, and the sum of the forces of each kind, those through the means apart.
    type Kept = ([Tally; PARTS], [f64; PARTS]);

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Self::Kept {
        let scales = std::array::from_fn(|part| match self.counts[row.query][part] {
            count if *self.reducer == Reducer::PerAnchor && count > 0.0 => self.scales[part] / count,
            _ => self.scales[part],
        });
        let mut terms = Terms::new(self.reducer, self.sides.kin.label(row.query), scales);
        let mut sums = [0.0; PARTS];
        for (j, relation) in row.relations.iter().enumerate() {
            let Some(part) = part(*relation) else { continue };
            let direction = self.loss.directions[part];
            let beyond = direction * (f64::from(row.scores[j]) - self.thresholds[part]);
            // Unlike max(0, x), this lets what is not a number be seen.
            let beyond = if beyond <= 0.0 { 0.0 } else { beyond };
            let c = f64::from(terms.add_part(part, beyond * beyond, row.weight(j)));
            let force = 2.0 * direction * c * beyond;
            sums[part] += force;
            forces[j] = (force + self.leans[part] * f64::from(row.weight(j))) as f32;
        }
        (terms.tallies, sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_on_a_line() {
        // Kin: 0 and 2, 1 and 7: distances 2 and 6, mean 4. Strangers: 1, 7, 1, 5, mean 3.5.
        let kin = SameLabel::within(&[0, 0, 1, 1]);
        let points = [0.0, 2.0, 1.0, 7.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let loss = IntraPairVariance::new(Metric::Euclidean, 0.25, 0.0).unwrap();
        let found = Loss::pull(&loss, &sides).unwrap();
        // Kin beyond 5: 1². Strangers within 3.5: 2.5² twice.
        assert!((found.loss - (1.0 / 2.0 + 12.5 / 4.0)).abs() < 1e-6, "{}", found.loss);
        assert_eq!((found.terms, found.active), (12, 6));
    }

    #[test]
    fn a_negative_slack_is_refused() {
        let error = IntraPairVariance::new(Metric::Cosine, 0.01, -1.0).unwrap_err();
        assert!(error.to_string().starts_with("stranger slack = -1"), "{error}");
    }
}
