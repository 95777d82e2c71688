//! Which classes mix, and which samples do not look like their class.

use std::collections::BTreeMap;

use nearkin_sweep::{Metric, top_k};
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::labeled::{Labeled, rows, sides};

/// Samples searched together: a pass over all vectors for so many.
const TOGETHER: usize = 4096;

/// How the neighbours of a sample vote.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The sample.
    pub sample: usize,
    /// The class that most of its neighbours are of; of tied ones that of the nearest.
    pub winner: u32,
    /// The share of its neighbours that are of that class.
    pub winner_share: f32,
    /// The share of its neighbours that are of its own class.
    pub own_share: f32,
    /// How many neighbours are nearer than the first of its own class: `k` if none of them is.
    pub before_own: u32,
    /// The mean of its neighbours' own shares, 0 to 1: whether it lies among samples that look like *their* class.
    pub clarity: f32,
}

impl Verdict {
    /// How much it looks like a label error, −1 to 1: its neighbours agree on another class, and are at home in theirs. A sample
    /// where classes mix scores low however many of its neighbours are of other classes.
    pub fn suspicion(&self) -> f32 {
        (self.winner_share - self.own_share) * self.clarity
    }
}

/// Two classes that mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mixed {
    /// The samples' class.
    pub class: u32,
    /// The class that their neighbours voted for.
    pub taken_for: u32,
    /// How many samples.
    pub count: usize,
}

/// What the neighbours of all samples say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Neighbours asked: fewer than wished for where there are fewer samples.
    pub k: usize,
    /// Every class taken for itself or another, in the order of class and taken-for; what never happened is left out.
    pub counts: Vec<Mixed>,
    /// A verdict a sample, in order.
    pub verdicts: Vec<Verdict>,
}

impl Confusion {
    /// The share of samples whose neighbours vote for their class.
    pub fn accuracy(&self) -> f64 {
        let right: usize = self.counts.iter().filter(|m| m.class == m.taken_for).map(|m| m.count).sum();
        right as f64 / self.verdicts.len() as f64
    }

    /// Pairs of different classes that are taken for one another, those of most samples first.
    pub fn mixed(&self) -> Vec<Mixed> {
        let mut mixed: Vec<Mixed> = self.counts.iter().copied().filter(|m| m.class != m.taken_for).collect();
        mixed.sort_by_key(|m| (std::cmp::Reverse(m.count), m.class, m.taken_for));
        mixed
    }

    /// Samples that are hardest to find by their class, worst first: whose own class comes last and least among their neighbours.
    pub fn worst(&self) -> Vec<Verdict> {
        let mut worst: Vec<Verdict> = self.verdicts.iter().copied().filter(|v| v.before_own > 0).collect();
        worst.sort_by(|a, b| {
            let by_share = a.own_share.total_cmp(&b.own_share).then(b.before_own.cmp(&a.before_own));
            by_share.then(b.winner_share.total_cmp(&a.winner_share)).then(a.sample.cmp(&b.sample))
        });
        worst
    }

    /// Samples that look like label errors, the likeliest first: those whose neighbours agree on another class.
    pub fn suspects(&self) -> Vec<Verdict> {
        let mut suspects: Vec<Verdict> =
            self.verdicts.iter().copied().filter(|v| v.winner_share > v.own_share).collect();
        suspects.sort_by(|a, b| b.suspicion().total_cmp(&a.suspicion()).then(a.sample.cmp(&b.sample)));
        suspects
    }
}

/// Lets the `k` nearest others of each sample vote.
///
/// A tie of scores goes to the lowest index. Cost: one sweep of all samples against all. Memory: `k` neighbours a sample.
///
/// # Errors
/// Fewer than two samples, a label count that differs from the vector count, a value that is not finite (its row is named), scores
/// beyond f32, and `k` = 0.
pub fn confusion(samples: Labeled<'_>, metric: Metric, k: usize) -> Result<Confusion, EvalError> {
    sides(samples, None)?;
    if k == 0 {
        return Err(EvalError::Setting { field: "k", found: "0".to_owned(), wanted: "at least 1" });
    }
    let (n, labels) = (samples.labels.len(), samples.labels);
    if n < 2 {
        return Err(EvalError::AllLone { queries: n, references: n.saturating_sub(1) });
    }
    let k = k.min(n - 1);
    let mut neighbours: Vec<u32> = Vec::with_capacity(n * k);
    for first in (0..n).step_by(TOGETHER) {
        let end = (first + TOGETHER).min(n);
        // The sample itself may be among its nearest: ask for one more and drop it.
        let near = top_k(rows(samples.vectors, first, end)?, samples.vectors, metric, k + 1, false)?;
        for (query, near) in (first..).zip(near) {
            let before = neighbours.len();
            let others = near.iter().filter(|near| near.index != query && near.score.is_finite()).take(k);
            neighbours.extend(others.map(|near| near.index as u32));
            if neighbours.len() != before + k {
                return Err(EvalError::ScoreOverflow { metric, query });
            }
        }
    }
    let own_share = |sample: usize| {
        let near = &neighbours[sample * k..][..k];
        near.iter().filter(|near| labels[**near as usize] == labels[sample]).count() as f32 / k as f32
    };
    let own: Vec<f32> = (0..n).map(own_share).collect();
    let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    let verdict = |sample: usize| {
        let near = &neighbours[sample * k..][..k];
        let (winner, votes) = winner(near, labels);
        *counts.entry((labels[sample], winner)).or_default() += 1;
        let first_own = near.iter().position(|near| labels[*near as usize] == labels[sample]);
        Verdict {
            sample,
            winner,
            winner_share: votes as f32 / k as f32,
            own_share: own[sample],
            before_own: first_own.unwrap_or(k) as u32,
            clarity: near.iter().map(|near| own[*near as usize]).sum::<f32>() / k as f32,
        }
    };
    let verdicts = (0..n).map(verdict).collect();
    let counts = counts.into_iter().map(|((class, taken_for), count)| Mixed { class, taken_for, count });
    Ok(Confusion { k, counts: counts.collect(), verdicts })
}

/// The class of most neighbours, and how many they are. `near` is not empty and comes nearest first.
fn winner(near: &[u32], labels: &[u32]) -> (u32, usize) {
    let mut votes: Vec<(u32, usize)> = Vec::new();
    for neighbour in near {
        let label = labels[*neighbour as usize];
        match votes.iter_mut().find(|(voted, _)| *voted == label) {
            Some((_, votes)) => *votes += 1,
            None => votes.push((label, 1)),
        }
    }
    // Classes stand in order of their nearest neighbour, so only more votes beat an earlier one.
    votes.into_iter().reduce(|best, class| if class.1 > best.1 { class } else { best }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;

    fn on_a_line(places: &[f32], labels: &[u32], k: usize) -> Confusion {
        let vectors = Vectors::new(places, 1).unwrap();
        confusion(Labeled { vectors, labels }, Metric::Euclidean, k).unwrap()
    }

    #[test]
    fn a_hand_worked_line_with_a_sample_among_strangers() {
        // Class 0 at 0, 1, 2.5; class 1 at 10, 11, 12.5; and one more called 0 at 11.4.
        let found = on_a_line(&[0.0, 1.0, 2.5, 10.0, 11.0, 12.5, 11.4], &[0, 0, 0, 1, 1, 1, 0], 2);
        let odd = found.verdicts[6];
        // Its neighbours are 11 and 12.5, each of which has it and one of its own kind beside it.
        assert_eq!((odd.winner, odd.winner_share, odd.own_share, odd.before_own), (1, 1.0, 0.0, 2));
        assert_eq!(odd.clarity, 0.5);
        assert_eq!(found.suspects()[0].sample, 6);
        assert_eq!(found.worst()[0].sample, 6);
        // 11 has 11.4 for its nearest: a tie of votes, which the nearest wins.
        assert_eq!(found.verdicts[4].winner, 0);
        // So has 12.5.
        let mixed = |class, taken_for, count| Mixed { class, taken_for, count };
        assert_eq!(found.mixed(), [mixed(1, 0, 2), mixed(0, 1, 1)]);
        assert_eq!(found.accuracy(), 4.0 / 7.0);
        assert_eq!(found.counts.iter().map(|m| m.count).sum::<usize>(), 7);
    }

    #[test]
    fn a_mislabelled_sample_in_a_clear_class_is_more_suspect_than_one_where_classes_mix() {
        // Ten of class 0 close together with one called 1 in their midst; and five of each alternating far away.
        let places: Vec<f32> =
            (0..11).map(|i| i as f32 * 0.1).chain((0..10).map(|i| 50.0 + i as f32)).collect();
        let labels: Vec<u32> = (0..11).map(|i| u32::from(i == 5)).chain((0..10).map(|i| 2 + i % 2)).collect();
        let found = on_a_line(&places, &labels, 4);
        assert_eq!(found.suspects()[0].sample, 5);
        assert!(found.suspects()[0].suspicion() > 0.7, "{:?}", found.suspects());
        assert!(found.suspects()[1..].iter().all(|v| v.suspicion() < 0.5));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let refused = |places: &[f32], labels: &[u32], k| {
            let vectors = Vectors::new(places, 1).unwrap();
            confusion(Labeled { vectors, labels }, Metric::Euclidean, k).unwrap_err()
        };
        assert!(matches!(refused(&[1.0, 2.0], &[0, 0], 0), EvalError::Setting { .. }));
        assert!(matches!(refused(&[1.0], &[0], 3), EvalError::AllLone { .. }));
        assert!(refused(&[1.0, f32::NAN], &[0, 0], 1).to_string().contains('1'));
        // k beyond the others asks them all.
        assert_eq!(on_a_line(&[0.0, 1.0, 2.0], &[0, 0, 1], 9).k, 2);
    }
}
