//! Verification against all pairs, written down.

use nearkin_eval::{
    EvalError, Labeled, PairVerificationOptions, Verification, VerificationOptions, verify, verify_pairs,
};
use nearkin_sweep::{Metric, RowFold, Vectors, fold_rows};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn labeled<'a>(values: &'a [f32], dim: usize, labels: &'a [u32]) -> Labeled<'a> {
    Labeled { vectors: Vectors::new(values, dim).unwrap(), labels }
}

/// About normal: mean 0, variance 1.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

/// `classes` clouds of `size` vectors around random centres.
fn clouds(seed: u64, classes: u32, size: u32, dim: usize, spread: f32) -> (Vec<f32>, Vec<u32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for class in 0..classes {
        let centre: Vec<f32> = (0..dim).map(|_| normal(&mut rng)).collect();
        for _ in 0..size {
            points.extend(centre.iter().map(|c| c + spread * normal(&mut rng)));
            labels.push(class * 3 + 1);
        }
    }
    (points, labels)
}

/// All scores of a row.
struct Whole;

impl RowFold for Whole {
    type Row = Vec<f32>;
    fn start(&self, _: usize) -> Vec<f32> {
        Vec::new()
    }
    fn tile(&self, _: usize, _: usize, scores: &[f32], row: &mut Vec<f32>) {
        row.extend_from_slice(scores);
    }
}

/// Nearness of kin and of strangers over all pairs, nearest first.
fn all_pairs(set: Labeled<'_>, metric: Metric) -> (Vec<f32>, Vec<f32>) {
    let rows = fold_rows(set.vectors, set.vectors, metric, &Whole).unwrap();
    let (mut kin, mut strangers) = (Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        for (j, &score) in row[..i].iter().enumerate() {
            let near = if metric.larger_is_nearer() { score } else { -score };
            if set.labels[i] == set.labels[j] { kin.push(near) } else { strangers.push(near) }
        }
    }
    for part in [&mut kin, &mut strangers] {
        part.sort_by(|a, b| b.partial_cmp(a).unwrap());
    }
    (kin, strangers)
}

fn share_from(sorted: &[f32], near: f32) -> f64 {
    sorted.partition_point(|x| *x >= near) as f64 / sorted.len() as f64
}

fn agrees(set: Labeled<'_>, metric: Metric, rates: &[f64]) -> Verification {
    let options = VerificationOptions { metric, false_accept_rates: rates.to_vec() };
    let found = verify(set, &options).unwrap();
    let (kin, strangers) = all_pairs(set, metric);
    assert_eq!((found.kin_pairs, found.stranger_pairs), (kin.len() as u64, strangers.len() as u64));
    let near = |threshold: f32| if metric.larger_is_nearer() { threshold } else { -threshold };
    for (point, &wanted) in found.operating_points.iter().zip(rates) {
        assert_eq!(point.wanted_false_accept_rate, wanted);
        // The rates are those of the threshold.
        assert_eq!(point.true_accept_rate, share_from(&kin, near(point.threshold)), "{metric} {point:?}");
        assert_eq!(
            point.false_accept_rate,
            share_from(&strangers, near(point.threshold)),
            "{metric} {point:?}"
        );
        assert!(point.false_accept_rate <= wanted + 1e-12);
        // The best that any threshold can do.
        let allowed = (wanted * strangers.len() as f64 + 1e-9) as usize;
        let best = match strangers.get(allowed) {
            None => 1.0,
            Some(stranger) => kin.partition_point(|x| x > stranger) as f64 / kin.len() as f64,
        };
        assert!(point.true_accept_rate <= best && best <= point.true_accept_rate_limit, "{best} {point:?}");
        let exact = point.true_accept_rate == best;
        assert!(exact || point.true_accept_rate_limit - point.true_accept_rate <= 1e-4, "{best} {point:?}");
    }
    let mut area = 0.0;
    for stranger in &strangers {
        let nearer = kin.partition_point(|x| x > stranger);
        let ties = kin.partition_point(|x| x >= stranger) - nearer;
        area += nearer as f64 + 0.5 * ties as f64;
    }
    area /= kin.len() as f64 * strangers.len() as f64;
    assert!(
        (found.area_under_curve - area).abs() <= found.area_under_curve_error + 1e-12,
        "{area} {found:?}"
    );
    let last = found.curve.last().unwrap();
    assert_eq!((last.false_accept_rate, last.true_accept_rate), (1.0, 1.0));
    for two in found.curve.windows(2) {
        assert!(two[0].false_accept_rate <= two[1].false_accept_rate);
        assert!(two[0].true_accept_rate <= two[1].true_accept_rate);
    }
    for point in &found.curve[..found.curve.len() - 1] {
        assert_eq!(point.true_accept_rate, share_from(&kin, near(point.threshold)));
        assert_eq!(point.false_accept_rate, share_from(&strangers, near(point.threshold)));
    }
    found
}

/// Exactly where the two rates of error meet, in steps.
fn equal_error(kin: &[f32], strangers: &[f32]) -> (f64, f64) {
    let mut all: Vec<f32> = kin.iter().chain(strangers).copied().collect();
    all.sort_by(|a, b| b.partial_cmp(a).unwrap());
    let mut before = (0.0f64, 1.0f64);
    for near in all {
        let (far, frr) = (share_from(strangers, near), 1.0 - share_from(kin, near));
        if far >= frr {
            return (before.0.min(frr), far.max(before.1));
        }
        before = (far, frr);
    }
    (1.0, 1.0)
}

#[test]
fn rates_are_those_of_all_pairs_under_every_metric() {
    let (points, labels) = clouds(1, 60, 12, 8, 0.8);
    let set = labeled(&points, 8, &labels);
    for metric in Metric::ALL {
        let found = agrees(set, metric, &[1e-1, 1e-2, 1e-3, 1e-4, 1.0, 0.5]);
        let (kin, strangers) = all_pairs(set, metric);
        let (low, high) = equal_error(&kin, &strangers);
        let eer = found.equal_error_rate;
        assert!(low - 1e-3 <= eer && eer <= high + 1e-3, "{metric}: {eer} not in {low} {high}");
        assert!(found.area_under_curve_error < 1e-3, "{}", found.area_under_curve_error);
        for point in &found.operating_points {
            let (low, high) = point.true_accept_rate_interval.unwrap();
            assert!(
                low <= point.true_accept_rate + 1e-3 && point.true_accept_rate <= high + 1e-3,
                "{metric} {point:?}"
            );
            let (low, high) = point.false_accept_rate_interval.unwrap();
            assert!(
                low <= point.false_accept_rate && point.false_accept_rate <= high + 1e-9,
                "{metric} {point:?}"
            );
        }
    }
}

#[test]
fn ties_a_collapsed_embedding_and_an_outlier_do_no_harm() {
    // Whole numbers: every bin's pairs are ties.
    let grid: Vec<f32> = (0..600u32).map(|i| (i * 7919 % 5) as f32).collect();
    let labels: Vec<u32> = (0..300).map(|i| i % 30).collect();
    for metric in [Metric::SquaredEuclidean, Metric::Dot] {
        agrees(labeled(&grid, 2, &labels), metric, &[0.3, 1e-1, 1e-2, 1e-3]);
    }
    // All cosines within a millionth of 1.
    let (mut points, labels) = clouds(2, 30, 10, 4, 0.5);
    points.iter_mut().for_each(|x| *x = *x * 3e-4 + 1.0);
    agrees(labeled(&points, 4, &labels), Metric::Cosine, &[1e-1, 1e-2, 1e-3]);
    // One vector a million times as far as all others.
    let (mut points, labels) = clouds(3, 30, 10, 4, 0.5);
    points[17] = 1e6;
    for metric in [Metric::Euclidean, Metric::Dot, Metric::Cosine] {
        agrees(labeled(&points, 4, &labels), metric, &[1e-1, 1e-2, 1e-3]);
    }
    // Copies: the nearest strangers are equal to the last bit.
    let points: Vec<f32> = (0..40).map(|i| (i / 4) as f32).collect();
    let labels: Vec<u32> = (0..40).map(|i| i % 20).collect();
    let found = agrees(labeled(&points, 1, &labels), Metric::Euclidean, &[1e-3]);
    assert_eq!(
        (found.operating_points[0].false_accepts, found.operating_points[0].true_accept_rate),
        (0, 0.0)
    );
}

#[test]
fn the_smallest_sets_are_verified() {
    let found = agrees(labeled(&[0.0, 1.0, 5.0], 1, &[4, 4, 9]), Metric::Euclidean, &[0.1, 1.0]);
    assert_eq!((found.kin_pairs, found.stranger_pairs, found.classes), (1, 2, 2));
    let [strict, loose] = &found.operating_points[..] else { panic!() };
    assert_eq!((strict.true_accept_rate, strict.false_accepts), (1.0, 0));
    assert_eq!((loose.true_accept_rate, loose.false_accepts), (1.0, 2));
    assert_eq!((found.area_under_curve, found.equal_error_rate), (1.0, 0.0));
    assert!(
        strict.true_accept_rate_interval.is_none() && found.predicted_false_accept_rate(strict, 5).is_none()
    );
}

#[test]
fn intervals_are_those_of_a_plain_bootstrap_of_classes() {
    let (points, labels) = clouds(4, 40, 8, 6, 0.9);
    let set = labeled(&points, 6, &labels);
    let options = VerificationOptions { metric: Metric::Euclidean, false_accept_rates: vec![1e-1, 1e-2] };
    let found = verify(set, &options).unwrap();
    let rows = fold_rows(set.vectors, set.vectors, Metric::Euclidean, &Whole).unwrap();
    let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        pairs.extend(row[..i].iter().enumerate().map(|(j, &d)| (d, i / 8, j / 8)));
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    let mut drawn: [Vec<[f64; 3]>; 2] = Default::default();
    for _ in 0..1_000 {
        let mut times = [0.0; 40];
        (0..40).for_each(|_| times[rng.random_range(0..40)] += 1.0);
        let weight = |a: usize, b: usize| if a == b { times[a] } else { times[a] * times[b] };
        let total =
            |same: bool| pairs.iter().filter(|p| (p.1 == p.2) == same).map(|p| weight(p.1, p.2)).sum::<f64>();
        let (all_kin, all_strangers) = (total(true), total(false));
        for (p, point) in found.operating_points.iter().enumerate() {
            let (mut kin, mut strangers, mut at_own, mut at) = (0.0, 0.0, 0.0, 0.0);
            for &(d, a, b) in &pairs {
                if a == b {
                    if strangers <= point.wanted_false_accept_rate * all_strangers {
                        kin += weight(a, b);
                        at = d;
                    }
                } else {
                    strangers += weight(a, b);
                    if d <= point.threshold {
                        at_own = strangers;
                    }
                }
            }
            drawn[p].push([kin / all_kin, at_own / all_strangers, f64::from(at)]);
        }
    }
    for (point, drawn) in found.operating_points.iter().zip(&drawn) {
        let threshold = point.threshold_interval.map(|(a, b)| (f64::from(a), f64::from(b)));
        let intervals = [
            point.true_accept_rate_interval.unwrap(),
            point.false_accept_rate_interval.unwrap(),
            threshold.unwrap(),
        ];
        for (which, (low, high)) in intervals.into_iter().enumerate() {
            let mut values: Vec<f64> = drawn.iter().map(|d| d[which]).collect();
            values.sort_by(f64::total_cmp);
            // Ends of two bootstraps of 1,000 differ by about a tenth of the width.
            let (wanted_low, wanted_high) = (values[25], values[974]);
            let within = 0.2 * (wanted_high - wanted_low);
            assert!(
                (low - wanted_low).abs() < within && (high - wanted_high).abs() < within,
                "{which}: {low} {high} for {wanted_low} {wanted_high}"
            );
        }
    }
}

#[test]
fn the_rate_on_other_classes_lies_where_it_was_predicted() {
    // Of 100 thresholds set on some classes, how many keep their promise on others?
    let kept = (0..100).filter(|seed| {
        let (points, labels) = clouds(1000 + seed, 150, 5, 6, 0.7);
        let (own, other) = points.split_at(75 * 5 * 6);
        let set = labeled(own, 6, &labels[..75 * 5]);
        let options = VerificationOptions { metric: Metric::Euclidean, false_accept_rates: vec![1e-2] };
        let found = verify(set, &options).unwrap();
        let point = &found.operating_points[0];
        let (low, high) = found.predicted_false_accept_rate(point, 75).unwrap();
        let (_, strangers) = all_pairs(labeled(other, 6, &labels[75 * 5..]), Metric::Euclidean);
        let rate = share_from(&strangers, -point.threshold);
        low <= rate && rate <= high
    });
    let kept = kept.count();
    assert!(kept >= 90, "{kept} of 100");
}

#[test]
fn the_result_is_the_same_on_any_number_of_threads() {
    let (points, labels) = clouds(5, 90, 6, 5, 0.6);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| verify(labeled(&points, 5, &labels), &VerificationOptions::default()).unwrap())
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn bad_input_is_named() {
    let error = |points: &[f32], labels: &[u32], metric, rates: &[f64]| {
        let options = VerificationOptions { metric, false_accept_rates: rates.to_vec() };
        verify(labeled(points, 1, labels), &options).unwrap_err()
    };
    let text =
        |points: &[f32], labels: &[u32], rates: &[f64]| error(points, labels, Metric::Dot, rates).to_string();
    assert!(text(&[1.0, 2.0], &[0, 1], &[0.1]).contains("no pair of kin"));
    assert!(text(&[1.0, 2.0], &[1, 1], &[0.1]).contains("no pair of strangers"));
    assert!(text(&[1.0, 2.0, 3.0], &[0, 0, 1], &[0.0]).contains("false_accept_rates is 0"));
    assert!(text(&[1.0, 2.0, 3.0], &[0, 0, 1], &[1.5]).contains("false_accept_rates is 1.5"));
    assert!(text(&[1.0, 2.0, 3.0], &[0, 0, 1], &[f64::NAN]).contains("NaN"));
    assert!(text(&[1.0, f32::NAN, 3.0], &[0, 0, 1], &[0.1]).contains("row 1"));
    assert!(matches!(
        error(&[1.0, 3e38, 3e38], &[0, 0, 1], Metric::Dot, &[0.1]),
        EvalError::ScoreOverflow { query: 2, .. }
    ));
    assert!(matches!(error(&[1.0], &[0, 0], Metric::Dot, &[0.1]), EvalError::LabelCount { .. }));
}

#[test]
fn listed_pairs_by_hand() {
    // Distances 1, 2, 3, 4; kin, kin, stranger, stranger, twice over: two folds alike.
    let points = [0.0, 1.0, 2.0, 3.0, 4.0];
    let pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (0, 1), (2, 0), (0, 3), (4, 0)];
    let kin = [true, true, false, false, true, true, false, false];
    let options =
        PairVerificationOptions { metric: Metric::Euclidean, false_accept_rates: vec![0.1, 0.5], folds: 2 };
    let found = verify_pairs(Vectors::new(&points, 1).unwrap(), &pairs, &kin, &options).unwrap();
    assert_eq!(found.accuracy.folds, [1.0, 1.0]);
    assert_eq!((found.accuracy.mean, found.accuracy.standard_error), (1.0, 0.0));
    // Halfway between 2 and 3.
    assert_eq!(found.accuracy.thresholds, [2.5, 2.5]);
    let [strict, loose] = &found.operating_points[..] else { panic!() };
    assert_eq!((strict.threshold, strict.false_accepts, strict.true_accept_rate), (2.0, 0, 1.0));
    assert_eq!((loose.threshold, loose.false_accepts, loose.true_accept_rate), (3.0, 2, 1.0));
    assert_eq!((found.area_under_curve, found.equal_error_rate), (1.0, 0.0));
    assert_eq!(found.curve.len(), 4);
}

#[test]
fn listed_pairs_agree_with_plain_counts() {
    let (points, labels) = clouds(6, 20, 10, 4, 1.0);
    let v = Vectors::new(&points, 4).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut pairs = Vec::new();
    while pairs.len() < 603 {
        let (i, j) = (rng.random_range(0..200u32), rng.random_range(0..200u32));
        // As many kin as strangers.
        if i != j && (labels[i as usize] == labels[j as usize]) == (pairs.len() % 2 == 0) {
            pairs.push((i, j));
        }
    }
    let kin: Vec<bool> = pairs.iter().map(|&(i, j)| labels[i as usize] == labels[j as usize]).collect();
    for metric in Metric::ALL {
        let options = PairVerificationOptions { metric, ..Default::default() };
        let found = verify_pairs(v, &pairs, &kin, &options).unwrap();
        let sign = if metric.larger_is_nearer() { 1.0 } else { -1.0 };
        let near: Vec<f32> =
            pairs.iter().map(|&(i, j)| sign * metric.score(v.row(i as usize), v.row(j as usize))).collect();
        let of = |wanted: bool| {
            let mut part: Vec<f32> =
                near.iter().zip(&kin).filter(|(_, k)| **k == wanted).map(|(x, _)| *x).collect();
            part.sort_by(|a, b| b.total_cmp(a));
            part
        };
        let (kin_near, strangers) = (of(true), of(false));
        for point in &found.operating_points {
            let best = near
                .iter()
                .filter(|t| share_from(&strangers, **t) <= point.wanted_false_accept_rate)
                .map(|t| share_from(&kin_near, *t))
                .fold(0.0, f64::max);
            assert_eq!(point.true_accept_rate, best);
            assert_eq!(share_from(&kin_near, sign * point.threshold), best);
            assert!(share_from(&strangers, sign * point.threshold) <= point.wanted_false_accept_rate);
            let (low, high) = point.true_accept_rate_interval.unwrap();
            assert!(low <= best && best <= high);
        }
        let (low, high) = equal_error(&kin_near, &strangers);
        assert!(low <= found.equal_error_rate && found.equal_error_rate <= high);

        // Ten consecutive folds of 60 or 61 pairs.
        for fold in 0..10 {
            let tested = 603 * fold / 10..603 * (fold + 1) / 10;
            let right = |t: f32, p: usize| (near[p] >= t) == kin[p];
            let trained = |t: f32| (0..603).filter(|p| !tested.contains(p) && right(t, *p)).count();
            let chosen = sign * found.accuracy.thresholds[fold];
            let best = near.iter().map(|t| trained(*t)).max().unwrap();
            assert!(trained(chosen) >= best, "{metric} fold {fold}");
            let share = tested.clone().filter(|p| right(chosen, *p)).count() as f64 / tested.len() as f64;
            assert_eq!(found.accuracy.folds[fold], share);
        }
    }
}

#[test]
fn bad_lists_are_named() {
    let v = Vectors::new(&[0.0, 1.0, 2.0], 1).unwrap();
    let error = |pairs: &[(u32, u32)], kin: &[bool], folds| {
        let options = PairVerificationOptions { folds, ..Default::default() };
        verify_pairs(v, pairs, kin, &options).unwrap_err().to_string()
    };
    assert!(error(&[(0, 1), (0, 3)], &[true, false], 2).contains("pair 1 names vector 3, but there are 3"));
    assert!(error(&[(0, 1)], &[true, false], 2).contains("found 2, wanted 1"));
    assert!(error(&[(0, 1), (0, 2)], &[true, false], 1).contains("folds is 1"));
    assert!(error(&[(0, 1), (0, 2)], &[true, false], 3).contains("folds is 3"));
    assert!(error(&[(0, 1), (0, 2)], &[true, true], 2).contains("pairs of strangers"));
}
