//! Retrieval against hand-worked rankings and against plain sorting.

use std::collections::BTreeMap;

use nearkin_eval::{EvalError, Labeled, Retrieval, RetrievalOptions, retrieval};
use nearkin_sweep::{Metric, RowFold, Vectors, fold_rows};
use proptest::prelude::*;

fn labeled<'a>(data: &'a [f32], dim: usize, labels: &'a [u32]) -> Labeled<'a> {
    Labeled { vectors: Vectors::new(data, dim).unwrap(), labels }
}

fn euclidean(recall_at: &[usize]) -> RetrievalOptions {
    RetrievalOptions { metric: Metric::Euclidean, recall_at: recall_at.to_vec() }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}

#[test]
fn a_query_among_references_by_hand() {
    // Order of the references by distance from 0: A B A A B A. R = 4: ranks 1, 3, 4, 6.
    let references = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let found = retrieval(
        labeled(&[0.0], 1, &[0]),
        Some(labeled(&references, 1, &[0, 1, 0, 0, 1, 0])),
        &euclidean(&[1, 2]),
    )
    .unwrap();
    assert_eq!((found.queries, found.lone_queries), (1, 0));
    close(found.precision_at_1, 1.0);
    close(found.r_precision, 3.0 / 4.0);
    close(found.mean_average_precision_at_r, (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 4.0);
    assert_eq!(found.precision_at_1_interval, (1.0, 1.0));
}

#[test]
fn leave_one_out_by_hand_with_a_lone_query() {
    // On a line: 0 A, 1 B, 2 A, 9 C. For A at 0: B then A, so R = 1 and nothing is found. For A at 2: B (1),
    // A (2).
    let found =
        retrieval(labeled(&[0.0, 1.0, 2.0, 9.0], 1, &[0, 1, 0, 2]), None, &euclidean(&[1, 2, 100])).unwrap();
    assert_eq!((found.queries, found.lone_queries), (2, 2));
    close(found.precision_at_1, 0.0);
    close(found.mean_average_precision_at_r, 0.0);
    assert_eq!(found.recall_at_k, BTreeMap::from([(1, 0.0), (2, 1.0), (100, 1.0)]));
    assert_eq!(found.per_class.len(), 1);
    assert_eq!((found.per_class[0].label, found.per_class[0].queries), (0, 2));
}

#[test]
fn ties_go_to_the_lowest_index_and_not_to_the_right_class() {
    // All references stand at one place; only their order decides.
    let same = [1.0; 4];
    let of = |labels: [u32; 4]| {
        retrieval(labeled(&[0.0], 1, &[7]), Some(labeled(&same, 1, &labels)), &euclidean(&[1])).unwrap()
    };
    close(of([7, 0, 0, 0]).precision_at_1, 1.0);
    close(of([0, 7, 0, 0]).precision_at_1, 0.0);
    // Ranks 2 and 3, R = 2: half of (1/2).
    close(of([0, 7, 7, 0]).mean_average_precision_at_r, 0.25);
    close(of([0, 7, 7, 0]).r_precision, 0.5);
}

#[test]
fn zero_and_minus_zero_are_a_tie() {
    // Dot products: -0 for the first reference, 0 for the second.
    let options = RetrievalOptions { metric: Metric::Dot, recall_at: vec![] };
    let found =
        retrieval(labeled(&[0.0], 1, &[1]), Some(labeled(&[-1.0, 1.0], 1, &[1, 0])), &options).unwrap();
    close(found.precision_at_1, 1.0);
    let found =
        retrieval(labeled(&[0.0], 1, &[1]), Some(labeled(&[1.0, -1.0], 1, &[0, 1])), &options).unwrap();
    close(found.precision_at_1, 0.0);
}

#[test]
fn one_class_is_perfect_and_labels_may_be_any_number() {
    // Labels that differ only beyond the precision of f32.
    let found = retrieval(
        labeled(&[0.0, 1.0, 5.0, 6.0], 1, &[16_777_216, 16_777_216, 16_777_217, 16_777_217]),
        None,
        &euclidean(&[]),
    )
    .unwrap();
    close(found.mean_average_precision_at_r, 1.0);
    assert_eq!(found.per_class.len(), 2);
    let found = retrieval(labeled(&[3.0, 1.0, 2.0], 1, &[u32::MAX; 3]), None, &euclidean(&[1])).unwrap();
    close(found.mean_average_precision_at_r, 1.0);
    close(found.r_precision, 1.0);
}

#[test]
fn bad_input_is_named() {
    let options = RetrievalOptions::default();
    let error =
        |query, reference, options: &RetrievalOptions| retrieval(query, reference, options).unwrap_err();
    let good = labeled(&[1.0, 0.0, 0.0, 1.0], 2, &[0, 0]);

    let nan = error(good, Some(labeled(&[0.0, 1.0, 2.0, f32::NAN], 2, &[0, 0])), &options).to_string();
    assert!(nan.contains("references: row 1") && nan.contains("NaN") && nan.contains("dimension 1"), "{nan}");
    let infinite = error(labeled(&[f32::INFINITY, 0.0], 2, &[0]), Some(good), &options).to_string();
    assert!(infinite.contains("queries: row 0") && infinite.contains("inf"), "{infinite}");

    assert!(matches!(error(labeled(&[], 2, &[]), Some(good), &options), EvalError::Empty { .. }));
    assert!(matches!(error(good, Some(labeled(&[], 2, &[])), &options), EvalError::Empty { .. }));
    assert!(matches!(
        error(labeled(&[1.0, 0.0], 2, &[0, 1]), None, &options),
        EvalError::LabelCount { labels: 2, vectors: 1, .. }
    ));
    assert!(matches!(error(good, Some(labeled(&[1.0], 1, &[0])), &options), EvalError::Sweep(_)));
    assert!(matches!(
        error(labeled(&[1.0, 0.0, 0.0, 1.0], 2, &[0, 1]), None, &options),
        EvalError::AllLone { queries: 2, references: 2 }
    ));
    assert!(matches!(
        error(good, None, &RetrievalOptions { recall_at: vec![1, 0], ..options.clone() }),
        EvalError::Setting { .. }
    ));
    let dot = RetrievalOptions { metric: Metric::Dot, ..options };
    assert!(matches!(
        error(labeled(&[1.0, 3e38, 3e38], 1, &[0; 3]), None, &dot),
        EvalError::ScoreOverflow { query: 1, .. }
    ));
}

#[test]
fn it_serialises_under_the_names_of_the_field() {
    let found = retrieval(labeled(&[0.0, 1.0, 5.0, 6.0], 1, &[0, 0, 1, 1]), None, &euclidean(&[1])).unwrap();
    let json = serde_json::to_value(&found).unwrap();
    for name in ["precision_at_1", "r_precision", "mean_average_precision_at_r"] {
        assert_eq!(json[name], 1.0);
    }
    assert_eq!(json["recall_at_k"]["1"], 1.0);
}

/// All scores of a row: what the crate under test never stores.
struct Whole;

impl RowFold for Whole {
    type Row = Vec<f32>;
    fn start(&self, _: usize) -> Vec<f32> {
        Vec::new()
    }
    fn tile(&self, _: usize, first: usize, scores: &[f32], row: &mut Vec<f32>) {
        assert_eq!(row.len(), first);
        row.extend_from_slice(scores);
    }
}

/// Sorts every row and reads the definitions off it.
fn naive(
    query: Labeled<'_>,
    reference: Option<Labeled<'_>>,
    options: &RetrievalOptions,
) -> Option<Retrieval> {
    let among = reference.unwrap_or(query);
    let sign = if options.metric.larger_is_nearer() { -1.0 } else { 1.0 };
    let (mut first, mut precision, mut map) = (Vec::new(), 0.0, 0.0);
    for (q, row) in
        fold_rows(query.vectors, among.vectors, options.metric, &Whole).unwrap().into_iter().enumerate()
    {
        let mut order: Vec<usize> = (0..row.len()).filter(|&r| reference.is_some() || r != q).collect();
        // A stable sort: ties stay in order of index.
        order.sort_by(|&a, &b| (sign * row[a]).partial_cmp(&(sign * row[b])).unwrap());
        let right: Vec<bool> = order.iter().map(|&r| among.labels[r] == query.labels[q]).collect();
        let size = right.iter().filter(|&&x| x).count();
        if size > 0 {
            first.push(right.iter().position(|&x| x).unwrap());
            let precision_at = |i: usize| right[..i].iter().filter(|&&x| x).count() as f64 / i as f64;
            precision += precision_at(size);
            map += (1..=size).filter(|&i| right[i - 1]).map(precision_at).sum::<f64>() / size as f64;
        }
    }
    let n = first.len() as f64;
    let recall = |k: usize| first.iter().filter(|&&f| f < k).count() as f64 / n;
    (!first.is_empty()).then(|| Retrieval {
        queries: first.len(),
        lone_queries: query.labels.len() - first.len(),
        precision_at_1: recall(1),
        recall_at_k: options.recall_at.iter().map(|&k| (k, recall(k))).collect(),
        r_precision: precision / n,
        mean_average_precision_at_r: map / n,
        precision_at_1_interval: (0.0, 0.0),
        mean_average_precision_at_r_interval: (0.0, 0.0),
        per_class: Vec::new(),
    })
}

fn agree(query: Labeled<'_>, reference: Option<Labeled<'_>>, options: &RetrievalOptions) {
    let found = retrieval(query, reference, options);
    let Some(wanted) = naive(query, reference, options) else {
        assert!(matches!(found, Err(EvalError::AllLone { .. })));
        return;
    };
    let found = found.unwrap();
    assert_eq!((found.queries, found.lone_queries), (wanted.queries, wanted.lone_queries));
    close(found.precision_at_1, wanted.precision_at_1);
    close(found.r_precision, wanted.r_precision);
    close(found.mean_average_precision_at_r, wanted.mean_average_precision_at_r);
    for (k, value) in &wanted.recall_at_k {
        close(found.recall_at_k[k], *value);
    }
    assert_eq!(found.per_class.iter().map(|c| c.queries).sum::<usize>(), found.queries);
    close(
        found.per_class.iter().map(|c| c.map_at_r * c.queries as f64).sum::<f64>() / found.queries as f64,
        wanted.mean_average_precision_at_r,
    );
    for (value, (low, high)) in [
        (found.precision_at_1, found.precision_at_1_interval),
        (found.mean_average_precision_at_r, found.mean_average_precision_at_r_interval),
    ] {
        assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0 + 1e-12 && value.is_finite());
    }
}

/// Small whole numbers, so that there are many ties; few classes, so that some queries are lone.
fn set(dim: usize) -> impl Strategy<Value = (Vec<f32>, Vec<u32>)> {
    prop::collection::vec((prop::collection::vec(-2i8..=2, dim), 0u32..6), 1..40).prop_map(|rows| {
        (
            rows.iter().flat_map(|(v, _)| v.iter().map(|&x| f32::from(x))).collect(),
            rows.iter().map(|(_, l)| *l).collect(),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn ranks_agree_with_sorting(
        (query, query_labels) in set(3),
        (reference, reference_labels) in set(3),
        metric in prop::sample::select(Metric::ALL.to_vec()),
        recall_at in prop::collection::vec(1usize..50, 0..4),
    ) {
        let options = RetrievalOptions { metric, recall_at };
        let (query, reference) = (labeled(&query, 3, &query_labels), labeled(&reference, 3, &reference_labels));
        agree(query, None, &options);
        agree(query, Some(reference), &options);
    }
}

#[test]
fn ranks_agree_with_sorting_across_tiles_and_panels() {
    // More references than a tile is wide and more queries than a panel is high.
    let value = |i: usize| ((i * 7919 + i / 3) % 23) as f32 - 11.0;
    let data: Vec<f32> = (0..4 * 2500).map(value).collect();
    let labels: Vec<u32> = (0..2500u32).map(|i| i * i % 17 % 9).collect();
    for metric in [Metric::Cosine, Metric::SquaredEuclidean] {
        agree(
            labeled(&data[..4 * 150], 4, &labels[..150]),
            Some(labeled(&data, 4, &labels)),
            &RetrievalOptions { metric, recall_at: vec![1, 4, 3000] },
        );
    }
}

#[test]
fn the_result_is_the_same_on_any_number_of_threads() {
    let data: Vec<f32> = (0..8 * 400u64).map(|i| (i * 2_654_435_761 % 1009) as f32 / 1009.0).collect();
    let labels: Vec<u32> = (0..400).map(|i| i % 11).collect();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| retrieval(labeled(&data, 8, &labels), None, &RetrievalOptions::default()).unwrap())
    };
    assert_eq!(on(1), on(3));
}
