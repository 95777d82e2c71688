//! Classification by the votes of the nearest references.

use nearkin_sweep::{Metric, Neighbor, top_k};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::labeled::{Labeled, rows, sides};

/// Neighbours held at once, 16 bytes each: about 64 MB.
const NEIGHBORS_HELD: usize = 1 << 22;
/// Queries searched together at least, so that a pass over the references is worth its cost.
const FEWEST_QUERIES: usize = 64;

/// What a neighbour's vote counts.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1, whatever the score.
    #[default]
    Uniform,
    /// `exp(s / τ)` for a similarity `s`, `exp(−d / τ)` for a distance `d` (Wu et al. 2018, *Unsupervised
    /// Feature Learning via Non-Parametric Instance Discrimination*, section 3.4, with k = 200 and τ = 0.07).
    Exp {
        /// τ, above 0, in the units of the score.
        temperature: f64,
    },
}

/// The share of queries, in [0, 1], whose class wins the vote of their `k` nearest references.
///
/// Without `reference`, each query is classified by all the others. A tie of votes goes to the class of the
/// nearest neighbour among the tied; a tie of scores to the lowest index. `k` beyond the number of references
/// asks them all. A query whose class has no reference counts as wrong: a classifier would get it wrong too.
///
/// Cost: one sweep of queries × references. Memory beside the sweep's: about 64 MB of neighbours at a time.
///
/// # Errors
/// An empty side, a label count that differs from the vector count, dimensions that differ, a value that is
/// not finite (its row is named), scores beyond f32, `k` = 0, a temperature not above 0, and a single vector
/// without references.
pub fn knn_accuracy(
    query: Labeled<'_>,
    reference: Option<Labeled<'_>>,
    metric: Metric,
    k: usize,
    weighting: Weighting,
) -> Result<f64, EvalError> {
    knn_in_blocks(query, reference, metric, k, weighting, NEIGHBORS_HELD)
}

fn knn_in_blocks(
    query: Labeled<'_>,
    reference: Option<Labeled<'_>>,
    metric: Metric,
    k: usize,
    weighting: Weighting,
    neighbors_held: usize,
) -> Result<f64, EvalError> {
    let leave_one_out = reference.is_none();
    let reference = sides(query, reference)?;
    if k == 0 {
        return Err(EvalError::Setting { field: "k", found: "0".to_owned(), wanted: "at least 1" });
    }
    if let Weighting::Exp { temperature } = weighting
        && !(temperature > 0.0 && temperature.is_finite())
    {
        return Err(EvalError::Setting {
            field: "temperature",
            found: temperature.to_string(),
            wanted: "a finite number above 0, such as 0.07",
        });
    }
    let available = reference.labels.len() - usize::from(leave_one_out);
    if available == 0 {
        return Err(EvalError::AllLone { queries: query.labels.len(), references: available });
    }

    let k = k.min(available);
    // The query itself may be among its nearest: ask for one more and drop it.
    let asked = k + usize::from(leave_one_out);
    let step = (neighbors_held / asked).max(FEWEST_QUERIES);
    let mut right = 0;
    for first in (0..query.labels.len()).step_by(step) {
        let end = (first + step).min(query.labels.len());
        let near = top_k(rows(query.vectors, first, end)?, reference.vectors, metric, asked, false)?;
        let votes: Vec<Option<bool>> = near
            .into_par_iter()
            .enumerate()
            .map(|(at, mut near)| {
                near.retain(|n| !(leave_one_out && n.index == first + at));
                near.truncate(k);
                // The sweep leaves out scores that are not numbers, so a short list is an overflow too.
                let sound = near.len() == k && near.iter().all(|n| n.score.is_finite());
                sound.then(|| winner(&near, reference.labels, metric, weighting) == query.labels[first + at])
            })
            .collect();
        for (at, vote) in votes.into_iter().enumerate() {
            right += usize::from(vote.ok_or(EvalError::ScoreOverflow { metric, query: first + at })?);
        }
    }
    Ok(right as f64 / query.labels.len() as f64)
}

/// The class with the most votes. `near` is not empty and comes nearest first.
fn winner(near: &[Neighbor], labels: &[u32], metric: Metric, weighting: Weighting) -> u32 {
    let best = near[0].score;
    let mut votes: Vec<(u32, f64)> = Vec::new();
    for neighbor in near {
        let weight = match weighting {
            Weighting::Uniform => 1.0,
            // Relative to the nearest: the same winner, and no overflow at a small temperature.
            Weighting::Exp { temperature } => {
                let behind = f64::from(neighbor.score) - f64::from(best);
                (if metric.larger_is_nearer() { behind } else { -behind } / temperature).exp()
            }
        };
        let label = labels[neighbor.index];
        match votes.iter_mut().find(|(voted, _)| *voted == label) {
            Some((_, votes)) => *votes += weight,
            None => votes.push((label, weight)),
        }
    }
    // Classes stand in order of their nearest neighbour, so only more votes beat an earlier one.
    votes
        .into_iter()
        .reduce(|best, class| if class.1 > best.1 { class } else { best })
        .map_or(labels[near[0].index], |(label, _)| label)
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;

    fn on_a_line<'a>(places: &'a [f32], labels: &'a [u32]) -> Labeled<'a> {
        Labeled { vectors: Vectors::new(places, 1).unwrap(), labels }
    }

    fn accuracy(query: (&[f32], &[u32]), reference: (&[f32], &[u32]), k: usize, weighting: Weighting) -> f64 {
        knn_accuracy(
            on_a_line(query.0, query.1),
            Some(on_a_line(reference.0, reference.1)),
            Metric::Euclidean,
            k,
            weighting,
        )
        .unwrap()
    }

    #[test]
    fn the_majority_of_the_k_nearest_wins() {
        let reference: (&[f32], &[u32]) = (&[1.0, 2.0, 3.0, 9.0], &[7, 8, 8, 7]);
        let zero: &[f32] = &[0.0];
        assert_eq!(accuracy((zero, &[7]), reference, 1, Weighting::Uniform), 1.0);
        assert_eq!(accuracy((zero, &[8]), reference, 3, Weighting::Uniform), 1.0);
        // Two against two: the class of the nearest.
        assert_eq!(accuracy((zero, &[7]), reference, 4, Weighting::Uniform), 1.0);
        // Beyond all references is all of them.
        assert_eq!(accuracy((zero, &[7]), reference, 200, Weighting::Uniform), 1.0);
    }

    #[test]
    fn the_tie_goes_to_the_nearest_among_the_tied_only() {
        // 5 is nearest but has one vote; 6 and 7 have two each, and 7 has the nearer one.
        let reference: (&[f32], &[u32]) = (&[1.0, 2.0, 3.0, 4.0, 5.0], &[5, 7, 6, 6, 7]);
        assert_eq!(accuracy((&[0.0], &[7]), reference, 5, Weighting::Uniform), 1.0);
    }

    #[test]
    fn a_low_temperature_lets_the_nearest_outvote_the_many() {
        let reference: (&[f32], &[u32]) = (&[1.0, 2.0, 2.0, 2.0], &[0, 1, 1, 1]);
        // Relative to the nearest, three votes of exp(-1/τ) against 1: they lose when τ < 1 / ln 3 = 0.91.
        assert_eq!(accuracy((&[0.0], &[0]), reference, 4, Weighting::Exp { temperature: 0.9 }), 1.0);
        assert_eq!(accuracy((&[0.0], &[1]), reference, 4, Weighting::Exp { temperature: 0.92 }), 1.0);
        assert_eq!(accuracy((&[0.0], &[0]), reference, 4, Weighting::Exp { temperature: 1e-300 }), 1.0);
    }

    #[test]
    fn without_references_a_query_does_not_vote_for_itself() {
        let set = on_a_line(&[0.0, 0.1, 5.0, 5.1, 9.0], &[0, 0, 1, 1, 2]);
        // The lone class 2 is wrong.
        assert_eq!(knn_accuracy(set, None, Metric::Euclidean, 1, Weighting::Uniform).unwrap(), 0.8);
        // Duplicates: the query's own row is dropped by number, not by place.
        let twins = on_a_line(&[1.0, 1.0, 1.0], &[3, 3, 4]);
        assert_eq!(knn_accuracy(twins, None, Metric::Cosine, 1, Weighting::Uniform).unwrap(), 2.0 / 3.0);
    }

    #[test]
    fn blocks_of_queries_agree_with_a_vote_over_sorted_scores() {
        // Whole numbers, so that scores are exact and often tie.
        let data: Vec<f32> = (0..2 * 200u64).map(|i| (i * 2_654_435_761 % 13) as f32 - 6.0).collect();
        let labels: Vec<u32> = (0..200).map(|i| i * i % 7).collect();
        let set = Labeled { vectors: Vectors::new(&data, 2).unwrap(), labels: &labels };
        for k in [1, 5, 1_000] {
            let right = (0..200).filter(|&q| {
                let mut order: Vec<usize> = (0..200).filter(|&r| r != q).collect();
                let distance =
                    |r: usize| Metric::SquaredEuclidean.score(set.vectors.row(q), set.vectors.row(r));
                order.sort_by(|&a, &b| distance(a).partial_cmp(&distance(b)).unwrap());
                order.truncate(k);
                let votes = |label| order.iter().filter(|&&r| labels[r] == label).count();
                // `max_by_key` takes the last of equals, so from the farthest to the nearest.
                order.iter().rev().map(|&r| labels[r]).max_by_key(|&label| votes(label)) == Some(labels[q])
            });
            let wanted = right.count() as f64 / 200.0;
            for held in [0, NEIGHBORS_HELD] {
                assert_eq!(
                    knn_in_blocks(set, None, Metric::SquaredEuclidean, k, Weighting::Uniform, held).unwrap(),
                    wanted
                );
            }
        }
    }

    #[test]
    fn bad_settings_and_bad_input_are_named() {
        let set = on_a_line(&[0.0, 1.0], &[0, 0]);
        let refuse =
            |k, weighting| knn_accuracy(set, None, Metric::Dot, k, weighting).unwrap_err().to_string();
        assert!(refuse(0, Weighting::Uniform).contains("k is 0"));
        assert!(refuse(1, Weighting::Exp { temperature: 0.0 }).contains("temperature is 0"));
        assert!(refuse(1, Weighting::Exp { temperature: f64::NAN }).contains("temperature is NaN"));
        let one = on_a_line(&[1.0], &[0]);
        assert!(matches!(
            knn_accuracy(one, None, Metric::Dot, 1, Weighting::Uniform),
            Err(EvalError::AllLone { .. })
        ));
        let huge = on_a_line(&[1.0, 3e38, 3e38], &[0, 0, 0]);
        assert!(matches!(
            knn_accuracy(huge, None, Metric::Dot, 1, Weighting::Uniform),
            Err(EvalError::ScoreOverflow { query: 1, .. })
        ));
    }
}
