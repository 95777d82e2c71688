//! The figures of scikit-learn and the trees of SciPy, made by `golden/make_clustering.py`.

use nearkin_eval::{Cut, Linkage, agglomerate, clustering_scores};
use nearkin_sweep::{Metric, Vectors};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    scores: Vec<Scores>,
    linkages: Vec<Tree>,
}

#[derive(Deserialize)]
struct Scores {
    name: String,
    labels: Vec<u32>,
    clusters: Vec<u32>,
    nmi: f64,
    ami: f64,
    ari: f64,
    pairwise_precision: Option<f64>,
    pairwise_recall: Option<f64>,
}

#[derive(Deserialize)]
struct Tree {
    name: String,
    metric: Metric,
    linkage: Linkage,
    dim: usize,
    points: Vec<f32>,
    distances: Vec<f32>,
    cut: usize,
    clusters: Vec<u32>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/clustering.json")).unwrap()
}

#[test]
fn scores_have_the_figures_of_their_peer() {
    let cases = golden().scores;
    assert_eq!(cases.len(), 9);
    for case in cases {
        let found = clustering_scores(&case.labels, &case.clusters).unwrap();
        let figures = [
            (found.nmi, Some(case.nmi)),
            (found.ami, Some(case.ami)),
            (found.ari, Some(case.ari)),
            (found.pairwise_precision, case.pairwise_precision),
            (found.pairwise_recall, case.pairwise_recall),
        ];
        for (which, (found, wanted)) in figures.into_iter().enumerate() {
            if let Some(wanted) = wanted {
                assert!((found - wanted).abs() < 1e-9, "{} {which}: {found} for {wanted}", case.name);
            }
        }
    }
}

#[test]
fn trees_have_the_distances_and_the_clusters_of_their_peer() {
    let cases = golden().linkages;
    assert_eq!(cases.len(), 20);
    for case in cases {
        let vectors = Vectors::new(&case.points, case.dim).unwrap();
        let found = agglomerate(vectors, case.metric, case.linkage).unwrap();
        // The sweep's squared distances are off by about 1e-7 (‖a‖² + ‖b‖²), its cosines by about 1e-7.
        let norm =
            case.points.chunks(case.dim).map(|p| p.iter().map(|x| x * x).sum::<f32>()).fold(0.0, f32::max);
        for (merger, wanted) in found.mergers().iter().zip(&case.distances) {
            let (off, most) = match case.metric {
                Metric::Euclidean => ((merger.distance.powi(2) - wanted.powi(2)).abs(), 2e-7 * 2.0 * norm),
                Metric::SquaredEuclidean => ((merger.distance - wanted).abs(), 2e-7 * 2.0 * norm),
                _ => ((merger.distance - wanted).abs(), 5e-7),
            };
            // Means of many distances, and Ward's sums of squares, round at their own size.
            let most = most + 4.0 * f32::EPSILON * wanted.powi(2).max(*wanted);
            assert!(off < most, "{}: {} for {wanted}", case.name, merger.distance);
        }
        assert_eq!(found.cut(Cut::Clusters(case.cut)).unwrap(), case.clusters, "{}", case.name);
    }
}
