//! Below which distance a pair is taken for kin.

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use crate::error::ClassicError;
use crate::input::{above_zero, check, setting};
use crate::mahalanobis::Mahalanobis;
use crate::supervision::{Pairs, Sides};

/// What a threshold is to be best at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// The share of pairs that are told rightly.
    Accuracy,
    /// `F_β = (1 + β²) precision · recall / (β² precision + recall)` of kin, β above 0: how many times recall counts.
    FBeta(f64),
    /// The share of kin that are accepted, while no more than this share of strangers is; in [0, 1].
    AcceptedKin {
        /// Strangers accepted at most.
        strangers: f64,
    },
}

/// Pairs at this distance or below are taken for kin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The distance, midway between those of the pairs that it parts.
    pub distance: f64,
    /// What the goal measures, on the pairs given.
    pub reached: f64,
}

impl Mahalanobis {
    /// The threshold that is best on these pairs; of several, the least. They should not be those that the metric was learned
    /// from. Cost: `O(p d² + p log p)` for `p` pairs.
    ///
    /// # Errors
    /// Values that are not finite; no kin or no strangers; a pair of a sample with itself or with one that is not there; a goal
    /// out of its range, or that none meets since strangers are at distance 0.
    pub fn calibrate(
        &self,
        vectors: Vectors<'_>,
        pairs: &Pairs,
        goal: Goal,
    ) -> Result<Threshold, ClassicError> {
        check(vectors, 2, "pairs are compared")?;
        match goal {
            Goal::Accuracy => {}
            Goal::FBeta(beta) => above_zero("beta", beta)?,
            Goal::AcceptedKin { strangers } => {
                setting("strangers", strangers, (0.0..=1.0).contains(&strangers), "0 to 1")?;
            }
        }
        pairs.check(vectors.len(), Sides::Both { why: "a threshold is to part the two: give both" })?;
        let mut distances = Vec::with_capacity(pairs.kin.len() + pairs.strangers.len());
        for (pair, delta) in pairs.iter() {
            let (a, b) = (pair.0 as usize, pair.1 as usize);
            distances.push((self.distance(vectors.row(a), vectors.row(b))?, delta > 0.0));
        }
        distances.sort_by(|a, b| a.0.total_cmp(&b.0));
        best(&distances, goal).ok_or(ClassicError::NoThreshold)
    }
}

/// The best cut of ascending distances, each with whether it is one of kin.
fn best(distances: &[(f64, bool)], goal: Goal) -> Option<Threshold> {
    let kin = distances.iter().filter(|(_, kin)| *kin).count() as f64;
    let strangers = distances.len() as f64 - kin;
    let measure = |accepted_kin: f64, accepted_strangers: f64| match goal {
        Goal::Accuracy => Some((accepted_kin + strangers - accepted_strangers) / (kin + strangers)),
        Goal::FBeta(beta) => {
            let weight = beta * beta;
            Some((1.0 + weight) * accepted_kin / (weight * kin + accepted_kin + accepted_strangers))
        }
        Goal::AcceptedKin { strangers: most } => {
            (accepted_strangers <= most * strangers).then_some(accepted_kin / kin)
        }
    };
    let mut found: Option<Threshold> = None;
    let mut consider = |distance: f64, reached: Option<f64>| {
        if let Some(reached) = reached
            && found.is_none_or(|best| reached > best.reached)
        {
            found = Some(Threshold { distance, reached });
        }
    };
    let first = distances.first()?.0;
    // A threshold is a distance: none accepts no pair if there are pairs at 0.
    if first > 0.0 {
        consider(0.5 * first, measure(0.0, 0.0));
    }
    let (mut accepted_kin, mut accepted_strangers) = (0.0, 0.0);
    for (i, (distance, is_kin)) in distances.iter().enumerate() {
        *if *is_kin { &mut accepted_kin } else { &mut accepted_strangers } += 1.0;
        match distances.get(i + 1) {
            // Pairs at one distance are accepted together.
            Some((next, _)) if next == distance => {}
            Some((next, _)) => consider(0.5 * (distance + next), measure(accepted_kin, accepted_strangers)),
            None => consider(*distance, measure(accepted_kin, accepted_strangers)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;

    /// Samples on a line: kin at 1, 2 and 4 from the first, strangers at 3, 5 and 5.
    fn calibrate(goal: Goal) -> Result<Threshold, ClassicError> {
        let samples = [0.0, 1.0, -2.0, 4.0, 3.0, 5.0, -5.0];
        let pairs = Pairs { kin: vec![(0, 1), (0, 2), (0, 3)], strangers: vec![(0, 4), (0, 5), (0, 6)] };
        let metric = Mahalanobis::nearest(&Matrix::identity(1, 1))?;
        metric.calibrate(Vectors::new(&samples, 1)?, &pairs, goal)
    }

    #[test]
    fn hand_worked_pairs_have_their_best_thresholds() {
        // At 2.5 right are 2 kin and 3 strangers, at 4.5 3 and 2: the least of the two.
        assert_eq!(calibrate(Goal::Accuracy).unwrap(), Threshold { distance: 2.5, reached: 5.0 / 6.0 });
        // F_1 at 2.5 is 2 · 2 / (3 + 2), at 4.5 2 · 3 / (3 + 4).
        assert_eq!(calibrate(Goal::FBeta(1.0)).unwrap(), Threshold { distance: 4.5, reached: 6.0 / 7.0 });
        let accepted = |strangers| calibrate(Goal::AcceptedKin { strangers }).unwrap();
        assert_eq!(accepted(0.0), Threshold { distance: 2.5, reached: 2.0 / 3.0 });
        assert_eq!(accepted(0.4), Threshold { distance: 4.5, reached: 1.0 });
    }

    #[test]
    fn the_best_is_that_of_all_cuts_by_brute_force() {
        let mut rng = crate::random::stream(47);
        for round in 0..300 {
            // Few values, so that many pairs are at one distance; some at 0.
            let count = 2 + crate::random::below(&mut rng, 12);
            let mut distances: Vec<(f64, bool)> = (0..count)
                .map(|_| (crate::random::below(&mut rng, 5) as f64, crate::random::below(&mut rng, 2) == 0))
                .collect();
            distances.extend([(1.0, true), (2.0, false)]);
            distances.sort_by(|a, b| a.0.total_cmp(&b.0));
            for goal in [
                Goal::Accuracy,
                Goal::FBeta(0.5),
                Goal::FBeta(2.0),
                Goal::AcceptedKin { strangers: 0.0 },
                Goal::AcceptedKin { strangers: 0.3 },
            ] {
                let measure = |cut: f64| {
                    let count = |accepted: bool, kin: bool| {
                        distances.iter().filter(|(d, k)| (*d <= cut) == accepted && *k == kin).count() as f64
                    };
                    let (hits, misses, wrong, right) =
                        (count(true, true), count(false, true), count(true, false), count(false, false));
                    match goal {
                        Goal::Accuracy => Some((hits + right) / distances.len() as f64),
                        Goal::FBeta(b) if hits > 0.0 => {
                            let (precision, recall) = (hits / (hits + wrong), hits / (hits + misses));
                            Some((1.0 + b * b) * precision * recall / (b * b * precision + recall))
                        }
                        Goal::FBeta(_) => Some(0.0),
                        Goal::AcceptedKin { strangers } => {
                            (wrong <= strangers * (wrong + right)).then_some(hits / (hits + misses))
                        }
                    }
                };
                // A cut below all, one at each distance. None is below 0.
                let cuts = [-0.5, 0.0, 1.0, 2.0, 3.0, 4.0].into_iter().map(|cut| cut + 0.25);
                let wanted = cuts
                    .filter(|cut| *cut > 0.0 || distances[0].0 > 0.0)
                    .filter_map(|cut: f64| measure(cut.max(0.0)));
                let wanted = wanted.max_by(f64::total_cmp);
                let found = best(&distances, goal);
                match (found, wanted) {
                    (Some(found), Some(wanted)) => {
                        assert!(
                            (found.reached - wanted).abs() < 1e-12,
                            "{round} {goal:?}: {found:?} for {wanted}"
                        );
                        assert_eq!(
                            measure(found.distance).map(|m| (m * 1e9).round()),
                            Some((wanted * 1e9).round())
                        );
                    }
                    (found, wanted) => {
                        assert!(found.is_none() && wanted.is_none(), "{round} {goal:?}: {found:?} {wanted:?}")
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_calibrated_is_refused() {
        assert!(
            calibrate(Goal::FBeta(0.0)).is_err() && calibrate(Goal::AcceptedKin { strangers: 1.5 }).is_err()
        );
        let metric = Mahalanobis::nearest(&Matrix::identity(1, 1)).unwrap();
        let samples = [1.0, 1.0, 1.0];
        let of = |kin: &[(u32, u32)], strangers: &[(u32, u32)]| {
            let pairs = Pairs { kin: kin.to_vec(), strangers: strangers.to_vec() };
            metric.calibrate(Vectors::new(&samples, 1).unwrap(), &pairs, Goal::AcceptedKin { strangers: 0.0 })
        };
        assert_eq!(of(&[(0, 1)], &[(0, 2)]), Err(ClassicError::NoThreshold));
        assert!(matches!(of(&[(0, 1)], &[]), Err(ClassicError::OneSided { given: "kin", .. })));
        assert!(matches!(of(&[(0, 3)], &[(0, 1)]), Err(ClassicError::NoSuchSample { .. })));
    }
}
