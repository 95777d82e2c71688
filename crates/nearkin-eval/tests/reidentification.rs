//! Re-identification against sorted rankings, and re-ranking against its definition on whole matrices.

use std::collections::BTreeSet;

use nearkin_eval::{
    EvalError, Labeled, Pooling, ReidentificationOptions, Reranking, Sightings, pool, reidentification,
};
use nearkin_sweep::{Metric, Vectors};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Debug)]
struct Set {
    points: Vec<f32>,
    identities: Vec<u32>,
    cameras: Vec<u32>,
}

impl Set {
    fn sightings(&self, dim: usize, with_cameras: bool) -> Sightings<'_> {
        Sightings {
            embeddings: Labeled {
                vectors: Vectors::new(&self.points, dim).unwrap(),
                labels: &self.identities,
            },
            cameras: with_cameras.then_some(&self.cameras),
        }
    }
}

/// CMC and mAP off a sorted ranking by `distance(query, gallery)`.
fn naive(
    query: &Set,
    gallery: &Set,
    with_cameras: bool,
    junk: &[u32],
    at: &[usize],
    distance: &dyn Fn(usize, usize) -> f32,
) -> Option<(Vec<f64>, f64, usize)> {
    let (mut hits, mut precision, mut measured) = (vec![0.0; at.len()], 0.0, 0);
    for q in 0..query.identities.len() {
        let mut order: Vec<usize> = (0..gallery.identities.len())
            .filter(|&g| {
                let same = gallery.identities[g] == query.identities[q];
                let seen = with_cameras && gallery.cameras[g] == query.cameras[q];
                !(junk.contains(&gallery.identities[g]) || same && seen)
            })
            .collect();
        order.sort_by(|&a, &b| distance(q, a).partial_cmp(&distance(q, b)).unwrap());
        let right: Vec<usize> = order
            .iter()
            .enumerate()
            .filter(|(_, g)| gallery.identities[**g] == query.identities[q])
            .map(|(rank, _)| rank + 1)
            .collect();
        if right.is_empty() {
            continue;
        }
        measured += 1;
        hits.iter_mut().zip(at).for_each(|(hit, k)| *hit += f64::from(u8::from(right[0] <= *k)));
        precision += right.iter().enumerate().map(|(i, rank)| (i + 1) as f64 / *rank as f64).sum::<f64>()
            / right.len() as f64;
    }
    let n = f64::from(measured);
    (measured > 0).then(|| (hits.iter().map(|h| h / n).collect(), precision / n, measured as usize))
}

fn signed(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let score = metric.score(a, b);
    if metric.larger_is_nearer() { -score } else { score }
}

fn set(size: std::ops::Range<usize>) -> impl Strategy<Value = Set> {
    prop::collection::vec((prop::collection::vec(-2i8..=2, 2), 0u32..5, 0u32..3), size).prop_map(|rows| Set {
        points: rows.iter().flat_map(|(v, _, _)| v.iter().map(|&x| f32::from(x))).collect(),
        identities: rows.iter().map(|row| row.1).collect(),
        cameras: rows.iter().map(|row| row.2).collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn rankings_agree_with_sorting(
        query in set(1..12),
        gallery in set(1..40),
        metric in prop::sample::select(vec![Metric::Euclidean, Metric::SquaredEuclidean, Metric::Dot]),
        with_cameras in any::<bool>(),
        junk in prop::collection::vec(0u32..5, 0..2),
    ) {
        let at = [1, 2, 5, 100];
        let distance = |q: usize, g: usize| {
            signed(metric, &query.points[2 * q..][..2], &gallery.points[2 * g..][..2])
        };
        let wanted = naive(&query, &gallery, with_cameras, &junk, &at, &distance);
        let options = ReidentificationOptions { metric, cmc_at: at.to_vec(), junk, reranking: None };
        let found =
            reidentification(query.sightings(2, with_cameras), gallery.sightings(2, with_cameras), &options);
        match wanted {
            None => {
                let lone = matches!(found, Err(EvalError::AllLone { .. }));
                prop_assert!(lone);
            }
            Some((cmc, map, measured)) => {
                let found = found.unwrap();
                prop_assert_eq!(found.queries, measured);
                prop_assert_eq!(found.lone_queries, query.identities.len() - measured);
                for (k, value) in at.iter().zip(cmc) {
                    prop_assert!((found.cmc_at_k[k] - value).abs() < 1e-9);
                }
                prop_assert!((found.mean_average_precision - map).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn a_hand_worked_ranking() {
    // The query is 1, seen by camera 0. Gallery by distance: same camera (out), junk (out), 2, 1, 3, 1.
    let query = Set { points: vec![0.0], identities: vec![1], cameras: vec![0] };
    let gallery = Set {
        points: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        identities: vec![1, 9, 2, 1, 3, 1],
        cameras: vec![0, 1, 0, 1, 1, 2],
    };
    let options = ReidentificationOptions {
        metric: Metric::Euclidean,
        junk: vec![9],
        cmc_at: vec![1, 2],
        ..Default::default()
    };
    let found = reidentification(query.sightings(1, true), gallery.sightings(1, true), &options).unwrap();
    assert_eq!((found.cmc_at_k[&1], found.cmc_at_k[&2]), (0.0, 1.0));
    // Ranks 2 and 4.
    assert_eq!(found.mean_average_precision, 0.5);
}

/// Clouds of identities; a camera shifts all that it sees.
fn people(queries: usize, gallery: usize, dim: usize) -> (Set, Set) {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut value = || (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
    let centres: Vec<f32> = (0..11 * dim).map(|_| value()).collect();
    let shifts: Vec<f32> = (0..3 * dim).map(|_| 0.3 * value()).collect();
    let mut make = |count: usize| {
        let mut set = Set { points: Vec::new(), identities: Vec::new(), cameras: Vec::new() };
        for i in 0..count {
            let (identity, camera) = (i * 7 % 11, i % 3);
            for d in 0..dim {
                set.points.push(centres[identity * dim + d] + shifts[camera * dim + d] + 0.5 * value());
            }
            set.identities.push(identity as u32);
            set.cameras.push(camera as u32);
        }
        set
    };
    (make(queries), make(gallery))
}

/// Final distances of queries to the gallery, from whole matrices in f64, as the paper's equations say.
fn reranked(all: &[&[f32]], queries: usize, metric: Metric, settings: Reranking) -> Vec<Vec<f64>> {
    let n = all.len();
    let distance = |a: &[f32], b: &[f32]| {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        match metric {
            Metric::Cosine => 2.0 - 2.0 * dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
            _ => dot(a, a) + dot(b, b) - 2.0 * dot(a, b),
        }
    };
    let mut d = vec![vec![0.0; n]; n];
    for (i, row) in d.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            *value = if i == j { 0.0 } else { distance(all[i], all[j]) };
        }
        let largest = row.iter().copied().fold(0.0, f64::max);
        row.iter_mut().for_each(|value| *value /= largest);
    }
    let order: Vec<Vec<usize>> = d
        .iter()
        .map(|row| {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
            order
        })
        .collect();
    let reciprocal = |p: usize, k: usize| -> BTreeSet<usize> {
        order[p][..=k].iter().copied().filter(|&g| order[g][..=k].contains(&p)).collect()
    };
    let half = (settings.k1 as f64 / 2.0).round_ties_even() as usize;
    let mut v = vec![vec![0.0; n]; n];
    for p in 0..n {
        let core = reciprocal(p, settings.k1);
        let mut members = core.clone();
        for &q in &core {
            let others = reciprocal(q, half);
            if core.intersection(&others).count() as f64 > 2.0 / 3.0 * others.len() as f64 {
                members.extend(others);
            }
        }
        let sum: f64 = members.iter().map(|&g| (-d[p][g]).exp()).sum();
        members.iter().for_each(|&g| v[p][g] = (-d[p][g]).exp() / sum);
    }
    let averaged: Vec<Vec<f64>> = (0..n)
        .map(|p| {
            let near = &order[p][..settings.k2];
            (0..n).map(|g| near.iter().map(|&q| v[q][g]).sum::<f64>() / settings.k2 as f64).collect()
        })
        .collect();
    let lambda = f64::from(settings.lambda);
    (0..queries)
        .map(|p| {
            (queries..n)
                .map(|g| {
                    let (mut least, mut most) = (0.0, 0.0);
                    for (a, b) in averaged[p].iter().zip(&averaged[g]) {
                        least += a.min(*b);
                        most += a.max(*b);
                    }
                    (1.0 - lambda) * (1.0 - least / most) + lambda * d[p][g]
                })
                .collect()
        })
        .collect()
}

#[test]
fn reranking_agrees_with_its_definition_on_whole_matrices() {
    let (query, gallery) = people(25, 130, 4);
    let all: Vec<&[f32]> = query.points.chunks(4).chain(gallery.points.chunks(4)).collect();
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::SquaredEuclidean] {
        for (k1, k2, lambda) in [(20, 6, 0.3), (7, 1, 0.0), (5, 3, 0.9), (12, 6, 1.0)] {
            let settings = Reranking { k1, k2, lambda };
            let matrix = reranked(&all, 25, metric, settings);
            let at = [1, 5, 10];
            let (cmc, map, measured) =
                naive(&query, &gallery, true, &[], &at, &|q, g| matrix[q][g] as f32).unwrap();
            let options = ReidentificationOptions { metric, reranking: Some(settings), ..Default::default() };
            let found =
                reidentification(query.sightings(4, true), gallery.sightings(4, true), &options).unwrap();
            assert_eq!(found.queries, measured);
            for (k, value) in at.iter().zip(cmc) {
                assert!((found.cmc_at_k[k] - value).abs() < 1e-9, "{metric} {settings:?} cmc@{k}");
            }
            assert!(
                (found.mean_average_precision - map).abs() < 1e-6,
                "{metric} {settings:?}: {} for {map}",
                found.mean_average_precision
            );
        }
    }
}

#[test]
fn reranking_helps_where_cameras_shift_and_lambda_1_changes_nothing() {
    let (query, gallery) = people(60, 500, 4);
    let of = |reranking| {
        let options = ReidentificationOptions { metric: Metric::Euclidean, reranking, ..Default::default() };
        reidentification(query.sightings(4, true), gallery.sightings(4, true), &options).unwrap()
    };
    let (plain, same) = (of(None), of(Some(Reranking { lambda: 1.0, ..Reranking::default() })));
    assert!((plain.mean_average_precision - same.mean_average_precision).abs() < 1e-6);
    let better = of(Some(Reranking::default()));
    assert!(better.mean_average_precision > plain.mean_average_precision, "{better:?} {plain:?}");
}

#[test]
fn copies_and_tiny_galleries_are_reranked() {
    for count in [1, 2, 5] {
        let query = Set { points: vec![1.0, 2.0], identities: vec![0], cameras: vec![0] };
        let gallery =
            Set { points: [1.0, 2.0].repeat(count), identities: vec![0; count], cameras: vec![1; count] };
        let options = ReidentificationOptions {
            metric: Metric::SquaredEuclidean,
            reranking: Some(Reranking::default()),
            ..Default::default()
        };
        let found = reidentification(query.sightings(2, true), gallery.sightings(2, true), &options).unwrap();
        assert_eq!(found.mean_average_precision, 1.0);
    }
}

#[test]
fn the_result_is_the_same_on_any_number_of_threads() {
    let (query, gallery) = people(30, 300, 4);
    let options = ReidentificationOptions { reranking: Some(Reranking::default()), ..Default::default() };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            reidentification(query.sightings(4, true), gallery.sightings(4, true), &options).unwrap()
        })
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn several_queries_become_one() {
    let (query, gallery) = people(66, 300, 4);
    // Identity and camera make a group: 33 of them.
    let groups: Vec<u64> = query
        .identities
        .iter()
        .zip(&query.cameras)
        .map(|(i, c)| u64::from(*i) << 32 | u64::from(*c))
        .collect();
    let pooled = pool(Vectors::new(&query.points, 4).unwrap(), &groups, Pooling::Mean).unwrap();
    let one = Set {
        identities: pooled.firsts.iter().map(|&i| query.identities[i]).collect(),
        cameras: pooled.firsts.iter().map(|&i| query.cameras[i]).collect(),
        points: pooled.vectors,
    };
    let options = ReidentificationOptions { metric: Metric::Euclidean, ..Default::default() };
    let of =
        |set: &Set| reidentification(set.sightings(4, true), gallery.sightings(4, true), &options).unwrap();
    let (single, multi) = (of(&query), of(&one));
    assert_eq!(multi.queries, 33);
    assert!(multi.mean_average_precision > single.mean_average_precision);
}

#[test]
fn bad_input_is_named() {
    let good = Set { points: vec![0.0, 1.0], identities: vec![0, 0], cameras: vec![0, 1] };
    let short = Set { points: vec![0.0, 1.0], identities: vec![0, 0], cameras: vec![0] };
    let error = |query: Sightings<'_>, gallery: Sightings<'_>, options: &ReidentificationOptions| {
        reidentification(query, gallery, options).unwrap_err().to_string()
    };
    let options = ReidentificationOptions::default();
    let with = |f: &dyn Fn(&mut ReidentificationOptions)| {
        let mut options = options.clone();
        f(&mut options);
        error(good.sightings(1, true), good.sightings(1, true), &options)
    };
    assert!(
        error(short.sightings(1, true), good.sightings(1, true), &options).contains("cameras of queries")
    );
    assert!(
        error(good.sightings(1, true), short.sightings(1, true), &options).contains("cameras of the gallery")
    );
    assert!(
        error(good.sightings(1, false), good.sightings(1, true), &options)
            .contains("for both or for neither")
    );
    assert!(error(good.sightings(1, true), good.sightings(2, true), &options).contains("labels"));
    assert!(with(&|o| o.cmc_at = vec![0]).contains("cmc_at is 0"));
    let reranking = |k1, k2, lambda| Some(Reranking { k1, k2, lambda });
    assert!(with(&|o| o.reranking = reranking(0, 1, 0.3)).contains("k1 is 0"));
    assert!(with(&|o| o.reranking = reranking(1, 0, 0.3)).contains("k2 is 0"));
    assert!(with(&|o| o.reranking = reranking(1, 1, f32::NAN)).contains("lambda is NaN"));
    let dot = with(&|o| {
        o.metric = Metric::Dot;
        o.reranking = Some(Reranking::default());
    });
    assert!(dot.contains("metric is dot"), "{dot}");
    let huge = Set { points: vec![3e38, -3e38], identities: vec![0, 0], cameras: vec![0, 1] };
    let far = ReidentificationOptions { metric: Metric::Euclidean, ..options.clone() };
    assert!(error(huge.sightings(1, true), huge.sightings(1, true), &far).contains("not finite"));
    let far = ReidentificationOptions { reranking: Some(Reranking::default()), ..far };
    assert!(error(huge.sightings(1, true), huge.sightings(1, true), &far).contains("not finite"));
}
