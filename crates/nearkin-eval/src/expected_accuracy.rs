//! The expected accuracy of a classifier that picks a neighbour by chance.

use nearkin_sweep::{Metric, RowFold, fold_rows};
use serde::Serialize;

use crate::bootstrap;
use crate::error::EvalError;
use crate::labeled::{Labeled, sides};

/// How likely stochastic neighbours are kin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExpectedAccuracy {
    /// The mean of `p_i` over all queries, in [0, 1].
    pub expected_accuracy: f64,
    /// Its 95 % bootstrap interval: queries resampled 1,000 times, seed fixed, references fixed.
    pub interval: (f64, f64),
}

/// The expected accuracy of stochastic neighbours, `(1/n) Σ_i p_i` with `p_i = Σ_{j kin of i} p_ij` and
/// `p_ij = exp(−d_ij / τ) / Σ_{k ≠ i} exp(−d_ik / τ)`: what neighbourhood components analysis maximises (Goldberger, Roweis, Hinton,
/// Salakhutdinov 2004, *Neighbourhood Components Analysis*, eq. 1–3, with squared Euclidean distances and τ = 1).
///
/// For a similarity `s`, `exp(s / τ)` stands for `exp(−d / τ)`. Without `reference` each query picks among all the others. A query
/// without kin counts with `p_i = 0`, as in the paper: its pick is always wrong. Sums are relative to the nearest, in f64, so
/// no temperature overflows.
///
/// Cost: one sweep of queries × references. Memory: the sweep's, and 32 bytes a query.
///
/// # Errors
/// An empty side, a label count that differs from the vector count, dimensions that differ, a value that is not finite (its row is
/// named), scores beyond f32, a temperature not above 0, and a single vector without references.
pub fn expected_accuracy(
    query: Labeled<'_>,
    reference: Option<Labeled<'_>>,
    metric: Metric,
    temperature: f64,
) -> Result<ExpectedAccuracy, EvalError> {
    let leave_one_out = reference.is_none();
    let reference = sides(query, reference)?;
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(EvalError::Setting {
            field: "temperature",
            found: temperature.to_string(),
            wanted: "a finite number above 0; 1 is the paper's",
        });
    }
    if leave_one_out && query.labels.len() == 1 {
        return Err(EvalError::AllLone { queries: 1, references: 0 });
    }
    let sign = if metric.larger_is_nearer() { 1.0 } else { -1.0 };
    let fold = Stochastic {
        query_labels: query.labels,
        reference_labels: reference.labels,
        leave_one_out,
        scale: sign / temperature,
    };
    let rows = fold_rows(query.vectors, reference.vectors, metric, &fold)?;
    if let Some(query) = rows.iter().position(|row| !row.finite) {
        return Err(EvalError::ScoreOverflow { metric, query });
    }
    let chances: Vec<[f64; 2]> = rows.iter().map(|row| [row.kin / row.all, 0.0]).collect();
    let expected_accuracy = chances.iter().map(|chance| chance[0]).sum::<f64>() / chances.len() as f64;
    Ok(ExpectedAccuracy { expected_accuracy, interval: bootstrap::mean_intervals(&chances)[0] })
}

struct Stochastic<'a> {
    query_labels: &'a [u32],
    reference_labels: &'a [u32],
    leave_one_out: bool,
    /// Turns a score into a logit.
    scale: f64,
}

/// Sums of `exp(logit − largest)`.
struct Chances {
    largest: f64,
    all: f64,
    kin: f64,
    finite: bool,
}

impl RowFold for Stochastic<'_> {
    type Row = Chances;

    fn start(&self, _query: usize) -> Chances {
        Chances { largest: f64::NEG_INFINITY, all: 0.0, kin: 0.0, finite: true }
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Chances) {
        let own = if self.leave_one_out { query.wrapping_sub(first) } else { usize::MAX };
        let others = || scores.iter().enumerate().filter(|(j, _)| *j != own);
        if others().any(|(_, score)| !score.is_finite()) {
            row.finite = false;
            return;
        }
        let logit = |score: &f32| self.scale * f64::from(*score);
        let largest = others().map(|(_, score)| logit(score)).fold(row.largest, f64::max);
        if largest == f64::NEG_INFINITY {
            return;
        }
        let shrink = (row.largest - largest).exp();
        (row.all, row.kin, row.largest) = (row.all * shrink, row.kin * shrink, largest);
        for (j, score) in others() {
            let chance = (logit(score) - largest).exp();
            row.all += chance;
            if self.reference_labels[first + j] == self.query_labels[query] {
                row.kin += chance;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;

    fn labeled<'a>(values: &'a [f32], dim: usize, labels: &'a [u32]) -> Labeled<'a> {
        Labeled { vectors: Vectors::new(values, dim).unwrap(), labels }
    }

    #[test]
    fn a_hand_worked_line() {
        // From 0: kin at 1, stranger at 2; squared distances 1 and 4.
        let points = labeled(&[0.0, 1.0, 2.0], 1, &[0, 0, 1]);
        let found = expected_accuracy(points, None, Metric::SquaredEuclidean, 1.0).unwrap();
        let (e1, e4) = ((-1f64).exp(), (-4f64).exp());
        let wanted = (e1 / (e1 + e4) + 0.5 + 0.0) / 3.0;
        assert!((found.expected_accuracy - wanted).abs() < 1e-12);
        assert!(found.interval.0 <= wanted && wanted <= found.interval.1);
    }

    #[test]
    fn it_agrees_with_plain_sums_over_tiles_and_between_sets() {
        let value = |i: u64| (i * 2_654_435_761 % 1009) as f32 / 300.0;
        let data: Vec<f32> = (0..3 * 1500).map(value).collect();
        let labels: Vec<u32> = (0..1500).map(|i| i % 7).collect();
        for metric in Metric::ALL {
            for (queries, apart) in [(1500, false), (40, true)] {
                let query = labeled(&data[..3 * queries], 3, &labels[..queries]);
                let all = labeled(&data, 3, &labels);
                let found = expected_accuracy(query, apart.then_some(all), metric, 0.7).unwrap();
                let mut sum = 0.0;
                for i in 0..queries {
                    let (mut kin, mut total) = (0.0, 0.0);
                    for j in (0..1500).filter(|&j| apart || j != i) {
                        let score = f64::from(metric.score(query.vectors.row(i), all.vectors.row(j)));
                        let chance = (if metric.larger_is_nearer() { score } else { -score } / 0.7).exp();
                        total += chance;
                        kin += if labels[i] == labels[j] { chance } else { 0.0 };
                    }
                    sum += kin / total;
                }
                let wanted = sum / queries as f64;
                assert!(
                    (found.expected_accuracy - wanted).abs() < 1e-5,
                    "{metric} {}",
                    found.expected_accuracy - wanted
                );
            }
        }
    }

    #[test]
    fn a_small_temperature_is_the_nearest_neighbour_and_nothing_overflows() {
        let points = labeled(&[0.0, 100.0, 250.0, 1000.0], 1, &[0, 0, 1, 1]);
        let found = expected_accuracy(points, None, Metric::SquaredEuclidean, 1e-3).unwrap();
        // Nearest: 1 of 0, 0 of 1, 1 of 2 (wrong), 2 of 3.
        assert_eq!(found.expected_accuracy, 0.75);
    }

    #[test]
    fn bad_input_is_named() {
        let points = labeled(&[0.0, 1.0], 1, &[0, 0]);
        let error = |t| expected_accuracy(points, None, Metric::Dot, t).unwrap_err().to_string();
        assert!(error(0.0).contains("temperature is 0") && error(f64::NAN).contains("NaN"));
        let one = labeled(&[0.0], 1, &[0]);
        assert!(matches!(
            expected_accuracy(one, None, Metric::Dot, 1.0),
            Err(EvalError::AllLone { references: 0, .. })
        ));
        let huge = labeled(&[1.0, 3e38, 3e38], 1, &[0, 0, 1]);
        assert!(matches!(
            expected_accuracy(huge, None, Metric::Dot, 1.0),
            Err(EvalError::ScoreOverflow { query: 1, .. })
        ));
    }
}
