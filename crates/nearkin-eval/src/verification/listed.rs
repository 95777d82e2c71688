//! Verification over a list of pairs, as on Labeled Faces in the Wild.

use nearkin_sweep::{Metric, Vectors, pair_scores};
use serde::Serialize;

use super::bins::nearness;
use super::{OperatingPoint, RocPoint, check_rates, equal_error_rate, undefined};
use crate::bootstrap;
use crate::error::{EvalError, Side};
use crate::labeled::check_finite;

/// Points of a curve, at most.
const CURVE: usize = 512;

/// How to verify listed pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct PairVerificationOptions {
    /// How near two vectors are. Default: cosine.
    pub metric: Metric,
    /// The false-accept rates wanted, each above 0 and at most 1. Default: 0.1, 0.01, 0.001.
    pub false_accept_rates: Vec<f64>,
    /// Folds of the cross-validation, at least 2. Default: 10.
    pub folds: usize,
}

impl Default for PairVerificationOptions {
    fn default() -> Self {
        Self { metric: Metric::default(), false_accept_rates: vec![1e-1, 1e-2, 1e-3], folds: 10 }
    }
}

/// Verification over listed pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairVerification {
    /// Listed pairs of kin.
    pub kin_pairs: u64,
    /// Listed pairs of strangers.
    pub stranger_pairs: u64,
    /// Accuracy by cross-validation.
    pub accuracy: PairAccuracy,
    /// One a wanted false-accept rate, in the order asked for, over all pairs. Intervals resample pairs.
    pub operating_points: Vec<OperatingPoint>,
    /// Where as many strangers are accepted as kin are refused, in [0, 1].
    pub equal_error_rate: f64,
    /// The chance that a pair of kin is nearer than a pair of strangers, ties counting half: exact.
    pub area_under_curve: f64,
    /// The ROC curve, up to 513 points in order of rising rates.
    pub curve: Vec<RocPoint>,
}

/// Accuracy with a threshold that was chosen on other pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairAccuracy {
    /// The mean over folds of the share of pairs told right, in [0, 1].
    pub mean: f64,
    /// Its standard error, `s / √folds`: what LFW reports beside it (Huang et al. 2007, *Labeled Faces in the Wild*).
    pub standard_error: f64,
    /// The accuracy of each fold.
    pub folds: Vec<f64>,
    /// The threshold of each fold, in the metric's units.
    pub thresholds: Vec<f32>,
}

/// Verifies listed pairs: `kin[p]` says whether pair `p` is to be accepted.
///
/// Folds are consecutive stretches of the list, equal within one pair, as LFW's lists are ordered. A fold's threshold is the one with
/// the best accuracy on the pairs of all other folds: halfway between the two scores it parts, the strictest of equally good ones.
///
/// Scores are taken from the vectors in f64 and rounded once; every rate is exact. Intervals are those of 1,000 resamples of the
/// pairs, since a list says nothing of classes: pairs that share a class make them too narrow.
///
/// Cost: `O(pairs · (d + folds + log pairs))`, and 1,000 resamples. Memory: about 40 bytes a pair, and 4 a pair and thread.
///
/// # Errors
/// No vectors, a value that is not finite, lists of different lengths, a pair that names no vector, a list without kin or without
/// strangers, fewer than 2 folds or more than pairs, a rate outside (0, 1], and scores beyond f32.
pub fn verify_pairs(
    vectors: Vectors<'_>,
    pairs: &[(u32, u32)],
    kin: &[bool],
    options: &PairVerificationOptions,
) -> Result<PairVerification, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    check_rates(&options.false_accept_rates)?;
    if kin.len() != pairs.len() {
        return Err(EvalError::Count { what: "answers to pairs", found: kin.len(), wanted: pairs.len() });
    }
    if options.folds < 2 || options.folds > pairs.len() {
        return Err(EvalError::Setting {
            field: "folds",
            found: options.folds.to_string(),
            wanted: "at least 2, and at most one a pair",
        });
    }
    for (pair, &(a, b)) in pairs.iter().enumerate() {
        if let Some(found) = [a, b].into_iter().find(|v| *v as usize >= vectors.len()) {
            return Err(EvalError::NoSuchVector { pair, found, vectors: vectors.len() });
        }
    }
    let larger_is_nearer = options.metric.larger_is_nearer();
    let scores = pair_scores(vectors, None, options.metric, pairs)?;
    if let Some(pair) = scores.iter().position(|s| !s.is_finite()) {
        return Err(EvalError::ScoreOverflow { metric: options.metric, query: pairs[pair].0 as usize });
    }
    let mut sorted: Vec<Pair> = scores
        .iter()
        .zip(kin)
        .enumerate()
        .map(|(place, (score, kin))| Pair { near: nearness(*score, larger_is_nearer), kin: *kin, place })
        .collect();
    // Nearest first. Minus zero and zero are one score.
    sorted.iter_mut().for_each(|pair| pair.near += 0.0);
    sorted.sort_unstable_by(|a, b| b.near.total_cmp(&a.near).then(a.place.cmp(&b.place)));
    let kin_pairs = kin.iter().filter(|kin| **kin).count() as u64;
    let stranger_pairs = pairs.len() as u64 - kin_pairs;
    if kin_pairs == 0 || stranger_pairs == 0 {
        return Err(undefined("the list needs pairs of kin and pairs of strangers"));
    }

    let steps = steps(&sorted);
    let (all_kin, all_strangers) = (kin_pairs as f64, stranger_pairs as f64);
    let rates = |step: &Step| (step.strangers / all_strangers, step.kin / all_kin);
    let mut operating_points = point_estimates(&steps, &options.false_accept_rates, larger_is_nearer);
    with_intervals(&mut operating_points, &sorted, larger_is_nearer);
    let mut area_under_curve = 0.0;
    for two in steps.windows(2) {
        area_under_curve += (two[1].strangers - two[0].strangers) * 0.5 * (two[1].kin + two[0].kin);
    }
    let every = steps.len().div_ceil(CURVE);
    let last = steps.len() - 1;
    let curve =
        steps.iter().enumerate().skip(1).filter(|(i, _)| i % every == 0 || *i == last).map(|(_, step)| {
            let (false_accept_rate, true_accept_rate) = rates(step);
            RocPoint { threshold: nearness(step.near, larger_is_nearer), false_accept_rate, true_accept_rate }
        });
    Ok(PairVerification {
        kin_pairs,
        stranger_pairs,
        accuracy: cross_validate(&sorted, options.folds, larger_is_nearer),
        operating_points,
        equal_error_rate: equal_error_rate(steps.iter().skip(1).map(rates)),
        area_under_curve: area_under_curve / (all_kin * all_strangers),
        curve: curve.collect(),
    })
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    near: f32,
    kin: bool,
    /// In the list.
    place: usize,
}

/// What is accepted from one nearness on; the first accepts nothing.
#[derive(Debug, Clone, Copy)]
struct Step {
    near: f32,
    kin: f64,
    strangers: f64,
}

/// One step a distinct nearness.
fn steps(sorted: &[Pair]) -> Vec<Step> {
    let mut steps = vec![Step { near: f32::MAX, kin: 0.0, strangers: 0.0 }];
    for tied in sorted.chunk_by(|a, b| a.near == b.near) {
        let before = steps[steps.len() - 1];
        let kin = tied.iter().filter(|pair| pair.kin).count();
        steps.push(Step {
            near: tied[0].near,
            kin: before.kin + kin as f64,
            strangers: before.strangers + (tied.len() - kin) as f64,
        });
    }
    steps
}

/// The last step that keeps the rate: its place.
fn last_within(steps: &[Step], wanted: f64) -> usize {
    let all = steps[steps.len() - 1].strangers;
    // 0.1 of 30 is 3, whatever the rounding of a product says.
    let allowed = wanted * all * (1.0 + 1e-12);
    steps.partition_point(|step| step.strangers <= allowed) - 1
}

fn point_estimates(steps: &[Step], rates: &[f64], larger_is_nearer: bool) -> Vec<OperatingPoint> {
    let all = steps[steps.len() - 1];
    rates
        .iter()
        .map(|&wanted| {
            let place = last_within(steps, wanted);
            let step = steps[place];
            // Where nothing may be accepted: just above the nearest pair.
            let near = if place == 0 { steps[1].near.next_up() } else { step.near };
            OperatingPoint {
                wanted_false_accept_rate: wanted,
                threshold: nearness(near, larger_is_nearer),
                false_accepts: step.strangers as u64,
                false_accept_rate: step.strangers / all.strangers,
                true_accept_rate: step.kin / all.kin,
                true_accept_rate_limit: step.kin / all.kin,
                true_accept_rate_interval: None,
                false_accept_rate_interval: None,
                threshold_interval: None,
            }
        })
        .collect()
}

/// Resamples the pairs.
fn with_intervals(points: &mut [OperatingPoint], sorted: &[Pair], larger_is_nearer: bool) {
    let drawn = bootstrap::resampled(sorted.len(), |drawn| {
        let mut steps = vec![Step { near: f32::MAX, kin: 0.0, strangers: 0.0 }];
        for (pair, &times) in sorted.iter().zip(drawn) {
            let before = steps[steps.len() - 1];
            if before.near != pair.near {
                steps.push(Step { near: pair.near, ..before });
            }
            let last = steps.len() - 1;
            let count = if pair.kin { &mut steps[last].kin } else { &mut steps[last].strangers };
            *count += f64::from(times);
        }
        let all = steps[steps.len() - 1];
        (all.kin > 0.0 && all.strangers > 0.0).then(|| {
            let of_point = |point: &OperatingPoint| {
                let step = steps[last_within(&steps, point.wanted_false_accept_rate)];
                let own = nearness(point.threshold, larger_is_nearer);
                let at_own = steps.partition_point(|step| step.near >= own).max(1) - 1;
                [step.kin / all.kin, steps[at_own].strangers / all.strangers, f64::from(step.near)]
            };
            points.iter().map(of_point).collect::<Vec<_>>()
        })
    });
    let drawn: Vec<Vec<[f64; 3]>> = drawn.into_iter().flatten().collect();
    if drawn.is_empty() {
        return;
    }
    for (p, point) in points.iter_mut().enumerate() {
        let interval = |which: usize| bootstrap::interval(drawn.iter().map(|d| d[p][which]).collect());
        point.true_accept_rate_interval = Some(interval(0));
        point.false_accept_rate_interval = Some(interval(1));
        let ends = interval(2);
        let ends = [ends.0, ends.1].map(|t| nearness(t as f32, larger_is_nearer));
        point.threshold_interval = Some((ends[0].min(ends[1]), ends[0].max(ends[1])));
    }
}

fn cross_validate(sorted: &[Pair], folds: usize, larger_is_nearer: bool) -> PairAccuracy {
    let fold_of = |place: usize| {
        // Fold f is n f / folds .. n (f + 1) / folds.
        ((place as u128 * folds as u128 + folds as u128 - 1) / sorted.len() as u128) as usize
    };
    let (mut accuracies, mut thresholds) = (Vec::with_capacity(folds), Vec::with_capacity(folds));
    for fold in 0..folds {
        let is_tested = |pair: &&Pair| fold_of(pair.place) == fold;
        let trained: Vec<Pair> = sorted.iter().filter(|pair| !is_tested(pair)).copied().collect();
        let near = best_threshold(&trained);
        let (mut right, mut tested) = (0usize, 0usize);
        for pair in sorted.iter().filter(is_tested) {
            right += usize::from((pair.near >= near) == pair.kin);
            tested += 1;
        }
        accuracies.push(right as f64 / tested as f64);
        thresholds.push(nearness(near, larger_is_nearer));
    }
    let n = folds as f64;
    let mean = accuracies.iter().sum::<f64>() / n;
    let variance = accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0);
    PairAccuracy { mean, standard_error: (variance / n).sqrt(), folds: accuracies, thresholds }
}

/// The nearness from which accepting is right most often.
fn best_threshold(sorted: &[Pair]) -> f32 {
    let steps = steps(sorted);
    // Right: kin accepted and strangers refused.
    let mut best = 0;
    for (i, step) in steps.iter().enumerate() {
        if step.kin - step.strangers > steps[best].kin - steps[best].strangers {
            best = i;
        }
    }
    match (best, steps.get(best + 1)) {
        // Nothing is accepted: just above the nearest.
        (0, Some(next)) => next.near.next_up(),
        (_, Some(next)) => {
            let middle = (0.5 * (f64::from(steps[best].near) + f64::from(next.near))) as f32;
            // Two neighbouring floats have no middle.
            if middle > next.near { middle } else { steps[best].near }
        }
        (_, None) => steps[best].near,
    }
}
