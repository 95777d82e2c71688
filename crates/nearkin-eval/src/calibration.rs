//! From when on a neighbour counts: a threshold at a false-accept rate, and answers that may be "unknown".

use std::collections::BTreeMap;

use nearkin_sweep::{Metric, SameLabel, map_rows};
use serde::{Deserialize, Serialize};

use crate::error::{EvalError, Side};
use crate::labeled::Labeled;
use crate::verification::{VerificationOptions, nearness, verify};

/// Points of the curve of false-accept rates differ by at least this factor: up to 16 in a decade.
const STEP: f64 = 1.155;
/// Nearest scores that are kept.
const KEPT: usize = 1_000;
/// Live queries below which a drift could not be told from chance.
const FEWEST_LIVE: usize = 8;

/// A threshold on scores, chosen on held-out samples at a false-accept rate, and what is needed to use it.
///
/// All rates of pairs are those of held-out pairs, and hold for samples of the same kind: other classes, but as diverse and as well
/// photographed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Calibration {
    /// Hash of the model that made the vectors. It says nothing of vectors of another.
    pub model: String,
    /// How scores were taken.
    pub metric: Metric,
    /// Fingerprint of the samples.
    pub data: String,
    /// How many there were.
    pub samples: usize,
    /// Of how many classes.
    pub classes: usize,
    /// The rate asked for.
    pub wanted_false_accept_rate: f64,
    /// Pairs at least this near are accepted: from it on for similarities, up to it for distances.
    pub threshold: f32,
    /// The share of pairs of strangers that is accepted: the largest not above the wanted one.
    pub false_accept_rate: f64,
    /// How many pairs of strangers that are. A rate from fewer than about ten is luck.
    pub false_accepts: u64,
    /// Where that rate lies on as many *other* classes of the same kind, 19 times of 20: see [`calibrate`].
    pub false_accept_rate_interval: (f64, f64),
    /// The share of pairs of kin that is accepted.
    pub true_accept_rate: f64,
    /// 95 % interval of the true-accept rate at the wanted false-accept rate, over classes.
    pub true_accept_rate_interval: (f64, f64),
    /// The share of samples that would be accepted although their class is not there: those whose nearest stranger, of all the samples, is
    /// near enough. A search among more rows of other classes goes wrong more often, among fewer less.
    pub unknown_accept_rate: f64,
    /// Scores of samples with their nearest other sample, nearest first: quantiles, evenly spaced, where there are more than 1,000.
    pub nearest: Vec<f32>,
    /// As many independent samples would say as much of the distribution of nearest scores: fewer than there are, since those of one
    /// class are alike. See [`drift`](Self::drift).
    pub effective_samples: f64,
    /// False-accept rates at scores, nearest score first.
    pub curve: Vec<Rate>,
}

/// A point of a [`Calibration`]'s curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rate {
    /// A score.
    pub score: f32,
    /// The share of pairs of strangers at least as near.
    pub false_accept_rate: f64,
}

/// Whether live queries look like those of calibration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drift {
    /// The largest distance between the two distributions of nearest scores, in [0, 1].
    pub statistic: f64,
    /// How probable a distance at least as large is when both are samples of one distribution.
    pub p_value: f64,
    /// Live queries.
    pub live: usize,
    /// Samples of the calibration.
    pub calibration: usize,
}

/// Chooses the loosest threshold that keeps a false-accept rate over all pairs of held-out samples.
///
/// Pairs are not independent: those that share a class rise and fall together, and the rate on other classes differs by more than the
/// number of pairs suggests. So the interval resamples classes ([`verify`]) and is widened for the chance in other classes, as many as
/// these ([`predicted_false_accept_rate`](crate::Verification::predicted_false_accept_rate)).
///
/// Cost: a sweep of all pairs, and one more for the nearest.
///
/// # Errors
/// As [`verify`]; also when there are fewer than 5 classes, which say nothing of others.
pub fn calibrate(
    embeddings: Labeled<'_>,
    metric: Metric,
    false_accept_rate: f64,
    model: &str,
    data: &str,
) -> Result<Calibration, EvalError> {
    let options = VerificationOptions { metric, false_accept_rates: vec![false_accept_rate] };
    let verified = verify(embeddings, &options)?;
    let point = &verified.operating_points[0];
    let too_few = || EvalError::Undefined {
        measure: "calibration",
        reason: format!(
            "{} classes say too little of others: give held-out samples of at least 5, better of 50",
            verified.classes
        ),
    };
    let false_accept_rate_interval =
        verified.predicted_false_accept_rate(point, verified.classes).ok_or_else(too_few)?;
    let true_accept_rate_interval = point.true_accept_rate_interval.ok_or_else(too_few)?;

    let larger_is_nearer = metric.larger_is_nearer();
    let kin = SameLabel::within(embeddings.labels);
    // Of each sample the nearest other one, and the nearest stranger.
    let nearest = map_rows(embeddings.vectors, None, metric, &kin, |row, _| {
        let nearest = |nearest: f32, (_, score)| nearness(score, larger_is_nearer).max(nearest);
        let stranger = row.strangers().fold(f32::NEG_INFINITY, nearest);
        (row.kin().fold(stranger, nearest), stranger)
    })?;
    let threshold = nearness(point.threshold, larger_is_nearer);
    let accepted = nearest.iter().filter(|(_, stranger)| *stranger >= threshold).count();
    let mut all: Vec<(f32, u32)> =
        nearest.iter().zip(embeddings.labels).map(|((any, _), &label)| (*any, label)).collect();
    all.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let kept = all.len().min(KEPT);
    let quantile = |i: usize| nearness(all[(2 * i + 1) * all.len() / (2 * kept)].0, larger_is_nearer);

    let mut curve: Vec<Rate> = Vec::new();
    // The last point of the ROC curve accepts every pair, whatever its score.
    for point in &verified.curve[..verified.curve.len() - 1] {
        let least = curve.last().map_or(0.0, |last| last.false_accept_rate * STEP);
        if point.false_accept_rate > least {
            curve.push(Rate { score: point.threshold, false_accept_rate: point.false_accept_rate });
        }
    }
    Ok(Calibration {
        model: model.to_owned(),
        metric,
        data: data.to_owned(),
        samples: embeddings.labels.len(),
        classes: verified.classes,
        wanted_false_accept_rate: false_accept_rate,
        threshold: point.threshold,
        false_accept_rate: point.false_accept_rate,
        false_accepts: point.false_accepts,
        false_accept_rate_interval,
        true_accept_rate: point.true_accept_rate,
        true_accept_rate_interval,
        unknown_accept_rate: accepted as f64 / nearest.len() as f64,
        curve,
        nearest: (0..kept).map(quantile).collect(),
        effective_samples: effective_samples(&all),
    })
}

impl Calibration {
    /// Whether two vectors with this score count as kin. A search whose nearest hit is not accepted found nothing it knows.
    pub fn accepts(&self, score: f32) -> bool {
        self.near(score) >= self.near(self.threshold)
    }

    /// The estimated share of pairs of strangers that are at least as near as this score: what to expect of accepting it. Between the
    /// points of the curve, its logarithm is linear. Nearer than all strangers were, it is the lowest rate that could be measured.
    pub fn false_accept_rate_at(&self, score: f32) -> f64 {
        let near = self.near(score);
        let after = self.curve.partition_point(|rate| self.near(rate.score) > near);
        match (after.checked_sub(1).map(|before| self.curve[before]), self.curve.get(after)) {
            (None, Some(first)) => first.false_accept_rate,
            (Some(_), None) | (None, None) => 1.0,
            (Some(a), Some(b)) => {
                let (from, to) = (f64::from(self.near(a.score)), f64::from(self.near(b.score)));
                let part = (from - f64::from(near)) / (from - to);
                let (low, high) = (a.false_accept_rate.ln(), b.false_accept_rate.ln());
                (low + part * (high - low)).exp()
            }
        }
    }

    /// Compares the scores of live queries with their nearest hits, one a query, with those of calibration: the two-sample
    /// Kolmogorov–Smirnov statistic (Smirnov 1939) and its asymptotic p-value with the correction of Stephens (1970). The samples of the
    /// calibration count as the independent ones that they are worth (`effective_samples`), each live query as one.
    ///
    /// Nearest scores depend on how many rows there are to be near to: the more, the nearer. So compare with an index of about as many
    /// rows a class as the calibration had samples. A small p-value says that queries or index differ from what was calibrated, and that
    /// the rates may not hold; not how, nor that they are worse. Queries that are not independent, such as many of one class or one scene,
    /// make it too small.
    ///
    /// # Errors
    /// When there are fewer than 8 scores, or one is not finite.
    pub fn drift(&self, nearest: &[f32]) -> Result<Drift, EvalError> {
        if nearest.len() < FEWEST_LIVE {
            let reason = format!("{} queries say nothing: wait for at least {FEWEST_LIVE}", nearest.len());
            return Err(EvalError::Undefined { measure: "drift", reason });
        }
        if let Some(row) = nearest.iter().position(|score| !score.is_finite()) {
            let (side, value) = (Side::Queries, nearest[row]);
            return Err(EvalError::NotFinite { side, row, dimension: 0, value });
        }
        let sorted = |scores: &[f32]| {
            let mut near: Vec<f32> = scores.iter().map(|score| self.near(*score)).collect();
            near.sort_unstable_by(f32::total_cmp);
            near
        };
        let (live, calibration) = (sorted(nearest), sorted(&self.nearest));
        let statistic = largest_distance(&live, &calibration);
        let (n, m) = (live.len() as f64, self.effective_samples);
        let root = (n * m / (n + m)).sqrt();
        Ok(Drift {
            statistic,
            p_value: kolmogorov((root + 0.12 + 0.11 / root) * statistic),
            live: live.len(),
            calibration: self.samples,
        })
    }

    fn near(&self, score: f32) -> f32 {
        nearness(score, self.metric.larger_is_nearer())
    }
}

/// How many independent samples would have a distribution function as uncertain as that of these scores, given sorted and with their
/// classes: Kish's effective size (Kish 1965, *Survey sampling*), for the variance of the distribution function `F`, as that of a sample of
/// whole classes, averaged over the scores. Where `C` classes have `n_c` scores and `k_c` of them up to some point, that variance is
///
/// `C / (C − 1) · Σ_c (k_c − n_c F)² / n²`, and of `n` independent scores `F (1 − F) / n`, on average `1 / (6 n)`.
fn effective_samples(sorted: &[(f32, u32)]) -> f64 {
    let mut classes: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    sorted.iter().for_each(|(_, class)| classes.entry(*class).or_default().0 += 1.0);
    let (n, c) = (sorted.len() as f64, classes.len() as f64);
    let squares: f64 = classes.values().map(|(size, _)| size * size).sum();
    let (mut up_to, mut with_sizes, mut sum) = (0.0, 0.0, 0.0);
    for (i, (_, class)) in sorted.iter().enumerate() {
        let Some((size, count)) = classes.get_mut(class) else { continue };
        up_to += 2.0 * *count + 1.0;
        with_sizes += *size;
        *count += 1.0;
        let part = (i + 1) as f64 / n;
        sum += up_to - 2.0 * part * with_sizes + part * part * squares;
    }
    let variance = c / (c - 1.0) * sum / n / (n * n);
    (1.0 / (6.0 * variance)).min(n)
}

/// The largest distance between the distribution functions of two sorted samples.
fn largest_distance(a: &[f32], b: &[f32]) -> f64 {
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        i += a[i..].iter().take_while(|x| **x <= at).count();
        j += b[j..].iter().take_while(|x| **x <= at).count();
        largest = largest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    largest
}

/// `2 Σ_{k ≥ 1} (−1)^{k−1} exp(−2 k² x²)`, the chance that Kolmogorov's statistic is at least `x`.
fn kolmogorov(x: f64) -> f64 {
    // Below, the series converges slowly, and the value is 1 to nine digits.
    if x < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * x * x).exp()
    };
    (1..100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Classes of `per_class` points around centres in `dim` dimensions; classes differ in how tight they are.
    fn sample(classes: u32, per_class: usize, dim: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        let mut uniform = || rng.random_range(-1.0f32..1.0);
        for class in 0..classes {
            let centre: Vec<f32> = (0..dim).map(|_| uniform()).collect();
            let spread = 0.3 + 0.2 * uniform();
            for _ in 0..per_class {
                values.extend(centre.iter().map(|c| c + spread * uniform()));
                labels.push(class);
            }
        }
        (values, labels)
    }

    fn calibrated(metric: Metric, far: f64) -> (Vec<f32>, Vec<u32>, Calibration) {
        let (values, labels) = sample(40, 12, 6, 1);
        let vectors = Vectors::new(&values, 6).unwrap();
        let found = calibrate(Labeled { vectors, labels: &labels }, metric, far, "m", "d").unwrap();
        (values, labels, found)
    }

    #[test]
    fn the_threshold_keeps_the_rate_as_counted_pair_by_pair() {
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let (values, labels, found) = calibrated(metric, 1e-2);
            let row = |i: usize| &values[i * 6..(i + 1) * 6];
            let (mut strangers, mut accepted, mut wrong) = (0, 0, 0);
            let mut curve = vec![0usize; found.curve.len()];
            for i in 0..labels.len() {
                let mut any = false;
                for j in (0..labels.len()).filter(|&j| labels[j] != labels[i]) {
                    let score = metric.score(row(i), row(j));
                    any |= found.accepts(score);
                    if j < i {
                        strangers += 1;
                        accepted += u64::from(found.accepts(score));
                        for (count, rate) in curve.iter_mut().zip(&found.curve) {
                            *count += usize::from(found.near(score) >= found.near(rate.score));
                        }
                    }
                }
                wrong += usize::from(any);
            }
            // Scores of the sweep and of single pairs may differ in their last digits.
            assert!(accepted.abs_diff(found.false_accepts) <= 2, "{accepted} and {found:?}");
            assert!(found.false_accept_rate <= 1e-2 && found.false_accept_rate > 0.9e-2, "{found:?}");
            assert!((found.unknown_accept_rate - wrong as f64 / labels.len() as f64).abs() < 0.01);
            for (count, rate) in curve.iter().zip(&found.curve) {
                let measured = *count as f64 / f64::from(strangers);
                assert!((measured - rate.false_accept_rate).abs() < 3e-5, "{measured} and {rate:?}");
                assert!((found.false_accept_rate_at(rate.score) / rate.false_accept_rate - 1.0).abs() < 1e-9);
            }
            let (low, high) = found.false_accept_rate_interval;
            assert!(low < found.false_accept_rate && found.false_accept_rate < high);
        }
    }

    #[test]
    fn nearer_scores_have_lower_rates_and_far_ones_are_accepted_by_chance_alone() {
        let (.., found) = calibrated(Metric::Euclidean, 1e-2);
        let rates: Vec<f64> = (0..200).map(|i| found.false_accept_rate_at(i as f32 * 0.05)).collect();
        assert!(rates.is_sorted(), "{rates:?}");
        assert_eq!((rates[0], rates[199]), (found.curve[0].false_accept_rate, 1.0));
        assert!(found.accepts(found.threshold) && !found.accepts(found.threshold.next_up()));
        assert!((found.false_accept_rate_at(found.threshold) / found.false_accept_rate - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_p_value_is_as_rare_as_it_says_for_independent_queries_of_the_same_kind() {
        // A query of each of 60 other classes.
        let nearest_of = |seed| {
            let (values, _) = sample(60, 12, 6, seed);
            let row = |i: usize| &values[i * 6..(i + 1) * 6];
            let nearest = |i: usize| {
                let others = (0..720).filter(|&j| j != i).map(|j| Metric::Euclidean.score(row(i), row(j)));
                others.fold(f32::INFINITY, f32::min)
            };
            (0..720).step_by(12).map(nearest).collect::<Vec<_>>()
        };
        let p_values: Vec<f64> = (0..100)
            .map(|seed| {
                let (values, labels) = sample(60, 12, 6, 1000 + seed);
                let vectors = Vectors::new(&values, 6).unwrap();
                let samples = Labeled { vectors, labels: &labels };
                let found = calibrate(samples, Metric::Euclidean, 1e-2, "m", "d").unwrap();
                found.drift(&nearest_of(2000 + seed)).unwrap().p_value
            })
            .collect();
        let below = |p: f64| p_values.iter().filter(|found| **found < p).count();
        // Of 100 that are rare by chance alone, more than these are in one seed of 200, and so fewer than 37 of one half.
        let found = [below(0.01), below(0.05), below(0.5)];
        assert!(found[0] <= 4 && found[1] <= 11 && (37..=63).contains(&found[2]), "{found:?}");
    }

    #[test]
    fn queries_that_are_farther_have_drifted() {
        let (.., found) = calibrated(Metric::Euclidean, 1e-2);
        // The calibration's own distribution, and the same three times as far.
        let same = found.drift(&found.nearest).unwrap();
        assert!(same.statistic == 0.0 && same.p_value == 1.0, "{same:?}");
        assert_eq!((same.live, same.calibration), (480, 480));
        let farther: Vec<f32> = found.nearest.iter().step_by(5).map(|score| 3.0 * score).collect();
        let other = found.drift(&farther).unwrap();
        assert!(other.p_value < 1e-4 && other.statistic > 0.4 && other.live == 96, "{other:?}");
        assert!(found.drift(&[1.0; 7]).is_err() && found.drift(&[f32::NAN; 9]).is_err());
    }

    #[test]
    fn samples_of_classes_that_differ_are_worth_as_many_as_there_are_classes() {
        let worth = |score: &dyn Fn(u32, u32) -> u32| {
            let mut all: Vec<(f32, u32)> =
                (0..20).flat_map(|class| (0..30).map(move |i| (score(class, i) as f32, class))).collect();
            all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            effective_samples(&all)
        };
        // Every class has its own stretch of scores: a sample says no more than its class does.
        let apart = worth(&|class, i| 30 * class + i);
        assert!((apart - 20.0).abs() < 2.0, "{apart}");
        // Classes alternate more evenly than by chance.
        assert_eq!(worth(&|class, i| 20 * i + class), 600.0);
        // Scores that know nothing of classes.
        let mixed = worth(&|class, i| (30 * class + i) * 7919 % 601);
        assert!(mixed > 400.0, "{mixed}");
    }

    #[test]
    fn distances_and_probabilities_of_kolmogorov_and_smirnov() {
        assert_eq!(largest_distance(&[1.0, 2.0], &[3.0]), 1.0);
        assert_eq!(largest_distance(&[1.0, 2.0, 3.0, 4.0], &[2.5, 2.5]), 0.5);
        assert_eq!(largest_distance(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]), 0.0);
        // Quantiles of the limiting distribution, by SciPy's `kstwobign`.
        for (x, p) in [(1.223_847_870_217, 0.10), (1.358_098_639_323, 0.05), (1.627_623_611_519, 0.01)] {
            assert!((kolmogorov(x) - p).abs() < 1e-11, "{}", kolmogorov(x));
        }
        assert_eq!(kolmogorov(0.0), 1.0);
        assert!((kolmogorov(0.2) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn few_classes_and_impossible_rates_are_refused() {
        let (values, labels) = sample(4, 10, 3, 1);
        let vectors = Vectors::new(&values, 3).unwrap();
        let asked = Labeled { vectors, labels: &labels };
        let error = calibrate(asked, Metric::Euclidean, 0.1, "m", "d").unwrap_err();
        assert!(error.to_string().contains("4 classes"), "{error}");
        assert!(calibrate(asked, Metric::Euclidean, 0.0, "m", "d").is_err());
    }
}
