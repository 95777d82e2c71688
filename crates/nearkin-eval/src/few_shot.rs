//! Few-shot classification: episodes of classes that the model never saw.

use std::collections::BTreeMap;

use nearkin_sweep::{Metric, Vectors};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{EvalError, Side};
use crate::labeled::Labeled;

/// How a query of an episode is classified by the support set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FewShotClassifier {
    /// By the nearest mean of a class (Snell, Swersky, Zemel 2017, *Prototypical Networks for Few-shot Learning*, eq. 1). Under the
    /// cosine, which knows no length, means are taken of vectors of unit length.
    #[default]
    NearestMean,
    /// By the nearest of the support vectors.
    NearestNeighbor,
}

/// What an episode is, and how many.
#[derive(Debug, Clone, PartialEq)]
pub struct FewShotOptions {
    /// How near two vectors are. Default: cosine.
    pub metric: Metric,
    /// Classes an episode, N. Default: 5.
    pub ways: usize,
    /// Support vectors a class, K. Default: 1.
    pub shots: usize,
    /// Queries a class. Default: 5.
    pub queries: usize,
    /// Episodes, at least 2. Default: 1,000.
    pub episodes: usize,
    /// Seed of the draws. Default: 0.
    pub seed: u64,
    /// The classifier. Default: the nearest mean.
    pub classifier: FewShotClassifier,
}

impl Default for FewShotOptions {
    fn default() -> Self {
        Self {
            metric: Metric::default(),
            ways: 5,
            shots: 1,
            queries: 5,
            episodes: 1_000,
            seed: 0,
            classifier: FewShotClassifier::default(),
        }
    }
}

/// Accuracy over episodes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FewShot {
    /// The mean over episodes of the share of queries classified right, in [0, 1]. Chance is `1 / ways`.
    pub accuracy: f64,
    /// `accuracy ± 1.96 s / √episodes`, `s` the standard deviation of an episode's accuracy: the 95 % interval that the field states.
    /// It covers the draw of episodes from these classes, not the choice of the classes.
    pub interval: (f64, f64),
    /// Classes with at least `shots + queries` vectors: those that episodes draw from.
    pub classes: usize,
}

/// Mean accuracy over seeded episodes of N-way K-shot classification (Lake et al. 2011; Vinyals et al. 2016, *Matching Networks for
/// One Shot Learning*: 5-way and 20-way on Omniglot).
///
/// An episode draws `ways` classes without replacement among those with enough vectors, and of each `shots + queries` vectors without
/// replacement: the first are the support, each of the others is classified. Ties go to the class drawn first. Each episode has its
/// own random stream, so the result does not depend on the number of threads.
///
/// Cost: `episodes · ways² · queries` scores under the nearest mean, times `shots` under the nearest neighbour.
///
/// # Errors
/// No vectors, a label count that differs from the vector count, a value that is not finite, ways below 2, shots or queries of 0,
/// fewer than 2 episodes, fewer than `ways` classes that are large enough, and scores beyond f32.
pub fn few_shot(embeddings: Labeled<'_>, options: &FewShotOptions) -> Result<FewShot, EvalError> {
    embeddings.check(Side::Embeddings)?;
    let at_least = |field, found: usize, least: usize, wanted| {
        if found < least {
            return Err(EvalError::Setting { field, found: found.to_string(), wanted });
        }
        Ok(())
    };
    at_least("ways", options.ways, 2, "at least 2")?;
    at_least("shots", options.shots, 1, "at least 1")?;
    at_least("queries", options.queries, 1, "at least 1")?;
    at_least("episodes", options.episodes, 2, "at least 2")?;

    let a_class = options.shots.saturating_add(options.queries);
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, &label) in embeddings.labels.iter().enumerate() {
        members.entry(label).or_default().push(i);
    }
    let all = members.len();
    let classes: Vec<Vec<usize>> = members.into_values().filter(|class| class.len() >= a_class).collect();
    if classes.len() < options.ways {
        return Err(EvalError::Undefined {
            measure: "few-shot accuracy",
            reason: format!(
                "{} of {all} classes have at least {a_class} vectors (shots + queries), and {} are wanted; \
                 ask for fewer ways, shots or queries",
                classes.len(),
                options.ways
            ),
        });
    }

    let accuracies: Vec<Option<f64>> = (0..options.episodes as u64)
        .into_par_iter()
        .map(|episode| {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            rng.set_stream(episode);
            let drawn: Vec<Vec<usize>> = draw(classes.len(), options.ways, &mut rng)
                .into_iter()
                .map(|c| {
                    draw(classes[c].len(), a_class, &mut rng).into_iter().map(|m| classes[c][m]).collect()
                })
                .collect();
            accuracy_of(embeddings.vectors, &drawn, options)
        })
        .collect();
    let accuracies: Option<Vec<f64>> = accuracies.into_iter().collect();
    let Some(accuracies) = accuracies else {
        return Err(EvalError::Undefined {
            measure: "few-shot accuracy",
            reason: format!(
                "some {} score is not finite: values are too large for f32; normalise the embeddings",
                options.metric
            ),
        });
    };
    let n = accuracies.len() as f64;
    let accuracy = accuracies.iter().sum::<f64>() / n;
    let variance = accuracies.iter().map(|a| (a - accuracy).powi(2)).sum::<f64>() / (n - 1.0);
    let half = 1.959_963_985 * (variance / n).sqrt();
    Ok(FewShot { accuracy, interval: (accuracy - half, accuracy + half), classes: classes.len() })
}

/// `count` of `0..n` without replacement, in the order drawn.
fn draw(n: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    // Fisher and Yates, as far as needed; a map stands for the places that were swapped.
    let mut moved: BTreeMap<usize, usize> = BTreeMap::new();
    (0..count)
        .map(|i| {
            let j = rng.random_range(i..n);
            let at =
                |place: usize, moved: &BTreeMap<usize, usize>| moved.get(&place).copied().unwrap_or(place);
            let drawn = at(j, &moved);
            let displaced = at(i, &moved);
            moved.insert(j, displaced);
            drawn
        })
        .collect()
}

/// The share of an episode's queries whose class is right; `None` when a score is not finite.
fn accuracy_of(vectors: Vectors<'_>, drawn: &[Vec<usize>], options: &FewShotOptions) -> Option<f64> {
    let support: Vec<Vec<Vec<f32>>> = drawn
        .iter()
        .map(|class| {
            let shots = class[..options.shots].iter().map(|&i| vectors.row(i));
            match options.classifier {
                FewShotClassifier::NearestNeighbor => shots.map(<[f32]>::to_vec).collect(),
                FewShotClassifier::NearestMean => vec![mean(shots, vectors.dim(), options.metric)],
            }
        })
        .collect();
    let (mut right, mut asked) = (0usize, 0usize);
    for (own, class) in drawn.iter().enumerate() {
        for &query in &class[options.shots..] {
            let mut best: Option<(f32, usize)> = None;
            for (c, of_class) in support.iter().enumerate() {
                for reference in of_class {
                    let score = options.metric.score(vectors.row(query), reference);
                    if !score.is_finite() {
                        return None;
                    }
                    let near = if options.metric.larger_is_nearer() { score } else { -score };
                    if best.is_none_or(|(nearest, _)| near > nearest) {
                        best = Some((near, c));
                    }
                }
            }
            right += usize::from(best.is_some_and(|(_, c)| c == own));
            asked += 1;
        }
    }
    Some(right as f64 / asked as f64)
}

fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, dim: usize, metric: Metric) -> Vec<f32> {
    let count = rows.len() as f64;
    let mut mean = vec![0.0f64; dim];
    for row in rows {
        let norm = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let scale = if metric == Metric::Cosine && norm > 0.0 { norm.recip() } else { 1.0 };
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += scale * f64::from(*x));
    }
    mean.into_iter().map(|m| (m / count) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes of 8 on a line, each `gap` from the next, members within 0.7.
    fn line(classes: usize, gap: f32) -> (Vec<f32>, Vec<u32>) {
        let place = |i: usize| (i / 8) as f32 * gap + (i % 8) as f32 * 0.1;
        ((0..8 * classes).map(place).collect(), (0..8 * classes as u32).map(|i| i / 8).collect())
    }

    fn of(classes: usize, gap: f32, options: &FewShotOptions) -> FewShot {
        let (points, labels) = line(classes, gap);
        few_shot(Labeled { vectors: Vectors::new(&points, 1).unwrap(), labels: &labels }, options).unwrap()
    }

    fn euclidean() -> FewShotOptions {
        FewShotOptions { metric: Metric::Euclidean, episodes: 300, ..FewShotOptions::default() }
    }

    #[test]
    fn classes_apart_are_always_right_and_equal_vectors_are_chance() {
        for classifier in [FewShotClassifier::NearestMean, FewShotClassifier::NearestNeighbor] {
            let found = of(9, 10.0, &FewShotOptions { classifier, shots: 2, ..euclidean() });
            assert_eq!((found.accuracy, found.interval, found.classes), (1.0, (1.0, 1.0), 9));
        }
        // All ties: the class drawn first wins, and it is right for its own queries alone.
        let labels: Vec<u32> = (0..60).map(|i| i % 6).collect();
        let same = Labeled { vectors: Vectors::new(&[1.0; 60], 1).unwrap(), labels: &labels };
        assert!((few_shot(same, &euclidean()).unwrap().accuracy - 0.2).abs() < 1e-12);
    }

    #[test]
    fn one_shot_of_two_classes_has_the_accuracy_of_all_its_episodes() {
        // Two classes of two, one shot and one query: 2 × 2 supports, each leaves the others as queries. All four by hand.
        let points = [0.0, 2.0, 3.0, 9.0];
        let labels = [0, 0, 1, 1];
        let options = FewShotOptions { ways: 2, queries: 1, episodes: 4_000, ..euclidean() };
        let found =
            few_shot(Labeled { vectors: Vectors::new(&points, 1).unwrap(), labels: &labels }, &options)
                .unwrap();
        // Supports (0, 3): 2 → 3 wrong, 9 → 3 right: ½. (0, 9): 2 → right, 3 → 0 wrong: ½. (2, 3): 0, 9 right: 1.
        // (2, 9): 0 → 2 right, 3 → 2 wrong: ½. The mean is 0.625.
        assert!(found.interval.0 < 0.625 && 0.625 < found.interval.1, "{found:?}");
        assert!((found.accuracy - 0.625).abs() < 0.015);
    }

    #[test]
    fn draws_are_without_replacement_uniform_and_seeded() {
        let mut counts = [0; 6];
        for stream in 0..6_000 {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            rng.set_stream(stream);
            let mut drawn = draw(6, 3, &mut rng);
            counts[drawn[2]] += 1;
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 3);
        }
        // 1,000 each, with a standard deviation of 29.
        assert!(counts.iter().all(|&c: &i32| (c - 1_000).abs() < 130), "{counts:?}");
        let options = FewShotOptions { ways: 3, ..euclidean() };
        assert_eq!(of(6, 0.3, &options), of(6, 0.3, &options));
        assert_ne!(of(6, 0.3, &options), of(6, 0.3, &FewShotOptions { seed: 1, ..options.clone() }));
    }

    #[test]
    fn the_result_is_the_same_on_any_number_of_threads() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| of(12, 0.3, &euclidean()))
        };
        assert_eq!(on(1), on(4));
    }

    #[test]
    fn bad_input_is_named() {
        let (points, labels) = line(4, 1.0);
        let set = Labeled { vectors: Vectors::new(&points, 1).unwrap(), labels: &labels };
        let error = |options: FewShotOptions| few_shot(set, &options).unwrap_err().to_string();
        assert!(error(FewShotOptions { ways: 1, ..euclidean() }).contains("ways is 1"));
        assert!(error(FewShotOptions { shots: 0, ..euclidean() }).contains("shots is 0"));
        assert!(error(FewShotOptions { queries: 0, ..euclidean() }).contains("queries is 0"));
        assert!(error(FewShotOptions { episodes: 1, ..euclidean() }).contains("episodes is 1"));
        assert!(error(euclidean()).contains("4 of 4 classes have at least 6 vectors"));
        assert!(
            error(FewShotOptions { shots: usize::MAX, ways: 2, ..euclidean() }).contains("0 of 4 classes")
        );
    }
}
