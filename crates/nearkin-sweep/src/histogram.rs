//! How scores of kin and of strangers are distributed: what verification at a false-accept rate is read from.

use rayon::prelude::*;

use crate::kin::{Kin, Relation};
use crate::metric::{Metric, Ready, score_tile};
use crate::vectors::{SweepError, Vectors};

/// Counts of scores in bins of equal width from `low` to `high`. The first and the last bin also hold what lies beyond.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreHistogram {
    /// Where the first bin begins.
    pub low: f32,
    /// Where the last bin ends.
    pub high: f32,
    /// Pairs of kin in each bin.
    pub kin: Vec<u64>,
    /// Pairs of strangers in each bin.
    pub strangers: Vec<u64>,
    /// Pairs whose score is not a number; they stand in no bin.
    pub not_numbers: u64,
}

impl ScoreHistogram {
    /// For each edge between bins, from `low` to `high`: the edge, and the shares of kin and of strangers in the bins on its
    /// *near* side. With scores accepted from the edge on, these are the true-accept and the false-accept rate.
    pub fn rates(&self, larger_is_nearer: bool) -> Vec<(f32, f64, f64)> {
        let bins = self.kin.len();
        let total = |counts: &[u64]| counts.iter().sum::<u64>().max(1) as f64;
        let (all_kin, all_strangers) = (total(&self.kin), total(&self.strangers));
        let near = |edge: usize| if larger_is_nearer { edge..bins } else { 0..edge };
        let share = |counts: &[u64], all: f64, edge| counts[near(edge)].iter().sum::<u64>() as f64 / all;
        let width = (self.high - self.low) / bins as f32;
        (0..=bins)
            .map(|edge| {
                let at = self.low + edge as f32 * width;
                (at, share(&self.kin, all_kin, edge), share(&self.strangers, all_strangers, edge))
            })
            .collect()
    }
}

/// The histogram of all pairs that `kin` relates. Counts are whole numbers, so they are exact.
///
/// Cost: one product of queries × references. Memory: a tile and the bins a thread.
///
/// # Errors
/// When queries and references differ in dimension, there is no bin, or `low` is not below `high`.
pub fn score_histogram(
    queries: Vectors<'_>,
    references: Option<Vectors<'_>>,
    metric: Metric,
    kin: &dyn Kin,
    (low, high): (f32, f32),
    bins: usize,
) -> Result<ScoreHistogram, SweepError> {
    if bins == 0 || low >= high || !(high - low).is_finite() {
        return Err(SweepError::Bins { bins, low, high });
    }
    let others = references.unwrap_or(queries);
    queries.check_same_dim(&others)?;
    let ready = Ready::new(queries, metric);
    let ready_references = references.map(|r| Ready::new(r, metric));
    let columns = ready_references.as_ref().unwrap_or(&ready).all_columns();
    let none = || ScoreHistogram { low, high, kin: vec![0; bins], strangers: vec![0; bins], not_numbers: 0 };
    let (last, per_bin) = ((bins - 1) as f32, bins as f32 / (high - low));
    // Whole numbers may be added up in any order.
    let found = (0..queries.len().div_ceil(PANEL)).into_par_iter().fold(none, |mut found, panel| {
        let first_query = panel * PANEL;
        let rows = PANEL.min(queries.len() - first_query);
        let (mut scores, mut relations) = (Vec::new(), Vec::new());
        for first in (0..others.len()).step_by(TILE) {
            let width = TILE.min(others.len() - first);
            scores.resize(rows * width, 0.0);
            relations.resize(width, Relation::default());
            score_tile(metric, &ready, first_query, &columns, first, width, &mut scores);
            for (i, row) in scores.chunks_exact(width).enumerate() {
                kin.relate(first_query + i, first, &mut relations);
                for (score, relation) in row.iter().zip(&relations) {
                    let bin = ((score - low) * per_bin).clamp(0.0, last) as usize;
                    match relation {
                        Relation::Excluded => {}
                        _ if score.is_nan() => found.not_numbers += 1,
                        Relation::Kin => found.kin[bin] += 1,
                        Relation::Stranger => found.strangers[bin] += 1,
                    }
                }
            }
        }
        found
    });
    Ok(found.reduce(none, |mut sum, part| {
        let add = |sum: &mut [u64], part: &[u64]| sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
        add(&mut sum.kin, &part.kin);
        add(&mut sum.strangers, &part.strangers);
        sum.not_numbers += part.not_numbers;
        sum
    }))
}

/// Queries and references scored at once.
const PANEL: usize = 128;
const TILE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kin::SameLabel;

    #[test]
    fn counts_and_rates_of_a_hand_worked_batch() {
        // Kin: 0 and 1 at distance 1, 5 and 7 at 2; strangers at 4, 5, 6 and 7; each pair twice.
        let points = [0.0, 1.0, 5.0, 7.0];
        let kin = SameLabel::within(&[0, 0, 1, 1]);
        let v = Vectors::new(&points, 1).unwrap();
        let found = score_histogram(v, None, Metric::Euclidean, &kin, (0.0, 6.0), 3).unwrap();
        assert_eq!((found.kin.clone(), found.strangers.clone()), (vec![2, 2, 0], vec![0, 0, 8]));
        let rates = found.rates(false);
        assert_eq!(rates, [(0.0, 0.0, 0.0), (2.0, 0.5, 0.0), (4.0, 1.0, 0.0), (6.0, 1.0, 1.0)]);
        assert_eq!(found.rates(true)[1], (2.0, 0.5, 1.0));
        assert!(score_histogram(v, None, Metric::Dot, &kin, (1.0, 1.0), 3).is_err());
    }

    #[test]
    fn every_pair_is_counted_once_over_many_tiles() {
        let points: Vec<f32> = (0..1500).map(|i| (i % 37) as f32).collect();
        let labels: Vec<u32> = (0..1500).map(|i| i % 5).collect();
        let v = Vectors::new(&points, 1).unwrap();
        let kin = SameLabel::within(&labels);
        let found = score_histogram(v, None, Metric::Euclidean, &kin, (0.0, 37.0), 37).unwrap();
        assert_eq!(found.kin.iter().sum::<u64>(), 1500 * 299);
        assert_eq!(found.strangers.iter().sum::<u64>(), 1500 * 1200);
        let at_three = (0..1500).flat_map(|i| (0..1500).map(move |j| (i, j)));
        let at_three =
            at_three.filter(|&(i, j)| i % 5 != j % 5 && (points[i] - points[j]).abs() == 3.0).count();
        assert_eq!(found.strangers[3], at_three as u64);
    }
}
