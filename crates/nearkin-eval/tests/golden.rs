//! The figures of pytorch-metric-learning 2.9.0's `AccuracyCalculator`, made by `golden/make.py`, and of scikit-learn 1.9.1's
//! `trustworthiness` and `LinearSVC`, made by `golden/neighbourhoods.py` and `golden/linear_svm.py`.

use nearkin_eval::{Labeled, LinearSvmOptions, RetrievalOptions, linear_svm, neighbourhoods, retrieval};
use nearkin_sweep::{Metric, Vectors};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    distance: Metric,
    dim: usize,
    query: Vec<f32>,
    query_labels: Vec<u32>,
    reference: Option<Vec<f32>>,
    reference_labels: Option<Vec<u32>>,
    precision_at_1: f64,
    r_precision: f64,
    mean_average_precision_at_r: f64,
}

#[test]
fn retrieval_has_the_figures_of_its_peer() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/retrieval.json")).unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let vectors = |values| Vectors::new(values, case.dim).unwrap();
        let query = Labeled { vectors: vectors(&case.query), labels: &case.query_labels };
        let reference = case.reference.as_ref().zip(case.reference_labels.as_ref());
        let reference = reference.map(|(values, labels)| Labeled { vectors: vectors(values), labels });
        let options = RetrievalOptions { metric: case.distance, ..RetrievalOptions::default() };
        let found = retrieval(query, reference, &options).unwrap();
        let figures = [
            (found.precision_at_1, case.precision_at_1),
            (found.r_precision, case.r_precision),
            (found.mean_average_precision_at_r, case.mean_average_precision_at_r),
        ];
        for (found, wanted) in figures {
            assert!((found - wanted).abs() < 1e-6, "{}: {found} for {wanted}", case.name);
        }
    }
}

#[derive(Deserialize)]
struct Spaces {
    dim: usize,
    k: usize,
    input: Vec<f32>,
    map: Vec<f32>,
    trustworthiness: f64,
    continuity: f64,
}

#[test]
fn neighbourhoods_have_the_figures_of_scikit_learn() {
    let cases: Vec<Spaces> = serde_json::from_str(include_str!("golden/neighbourhoods.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (input, map) =
            (Vectors::new(&case.input, case.dim).unwrap(), Vectors::new(&case.map, 2).unwrap());
        let found = neighbourhoods(input, map, case.k).unwrap();
        assert!((found.trustworthiness - case.trustworthiness).abs() < 1e-9, "{found:?}");
        assert!((found.continuity - case.continuity).abs() < 1e-9, "{found:?}");
    }
}

#[derive(Deserialize)]
struct Machines {
    dim: usize,
    c: f64,
    fit: Vec<f32>,
    fit_labels: Vec<u32>,
    test: Vec<f32>,
    test_labels: Vec<u32>,
    objective: f64,
    fitted_accuracy: f64,
    accuracy: f64,
}

#[test]
fn linear_svms_have_the_figures_of_scikit_learn() {
    let cases: Vec<Machines> = serde_json::from_str(include_str!("golden/linear_svm.json")).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let labelled = |values, labels| Labeled { vectors: Vectors::new(values, case.dim).unwrap(), labels };
        let (fit, test) = (labelled(&case.fit, &case.fit_labels), labelled(&case.test, &case.test_labels));
        let options = LinearSvmOptions { c: case.c, passes: 100_000, tolerance: 1e-9 };
        let found = linear_svm(fit, test, &options).unwrap();
        assert!((found.objective / case.objective - 1.0).abs() < 1e-6, "{found:?} for {}", case.objective);
        assert!((found.fitted_accuracy - case.fitted_accuracy).abs() < 1e-9, "{found:?}");
        assert!((found.accuracy - case.accuracy).abs() < 1e-9, "{found:?} for {}", case.accuracy);
    }
}
