//! Values and gradients of pytorch-metric-learning 2.9.0 and lightly 1.5.26, made by `golden/make.py`.

use nearkin_loss::{BatchHard, Loss, Margin, NtXent};
use nearkin_sweep::{Metric, Reduction, SameLabel, Vectors};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    settings: Settings,
    labels: Vec<u32>,
    dim: usize,
    embeddings: Vec<f32>,
    value: f64,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(default)]
    temperature: f32,
    #[serde(default)]
    margin: f32,
    #[serde(default)]
    normalize: bool,
    #[serde(default)]
    reducer: String,
    #[serde(default)]
    soft: bool,
}

fn cases(text: &str) -> Vec<Case> {
    serde_json::from_str(text).unwrap()
}

/// 1e-5 relative for the value, 1e-4 of the largest component for the gradient.
fn assert_same(case: &Case, value: f64, gradient: &[f32]) {
    let name = &case.name;
    assert!(
        (value - case.value).abs() <= 1e-5 * case.value.abs().max(1e-3),
        "{name}: {value}, wanted {}",
        case.value
    );
    let scale = case.gradient.iter().fold(1e-3, |m: f64, g| m.max(g.abs()));
    for (i, (found, wanted)) in gradient.iter().zip(&case.gradient).enumerate() {
        let difference = (f64::from(*found) - wanted).abs();
        assert!(difference <= 1e-4 * scale, "{name}: gradient {i} is {found}, wanted {wanted}");
    }
    assert_eq!(gradient.len(), case.gradient.len());
}

#[test]
fn nt_xent_has_the_values_and_gradients_of_its_peers() {
    let peers = [include_str!("golden/nt_xent.json"), include_str!("golden/nt_xent_two_views.json")];
    for case in peers.iter().flat_map(|text| cases(text)) {
        let v = Vectors::new(&case.embeddings, case.dim).unwrap();
        let loss = NtXent::new(case.settings.temperature).unwrap();
        let found = loss.pull(v, None, &SameLabel::within(&case.labels)).unwrap();
        assert_same(&case, found.loss, &found.query_gradient);
    }
}

#[test]
fn batch_hard_has_the_values_and_gradients_of_the_batch_hard_miner_with_the_triplet_margin_loss() {
    let mut checked = 0;
    for case in cases(include_str!("golden/triplet_margin_batch_hard.json")) {
        let settings = &case.settings;
        // Softplus with a margin inside is a peer's own; Hermans et al. define the soft margin without.
        if settings.soft && settings.margin != 0.0 {
            continue;
        }
        let margin = if settings.soft { Margin::Soft } else { Margin::Hinge(settings.margin) };
        let reduction = if settings.reducer == "mean" { Reduction::Mean } else { Reduction::MeanActive };
        let loss = BatchHard::new(margin, Metric::Euclidean).unwrap().with_reduction(reduction);
        let norms: Vec<f32> = case
            .embeddings
            .chunks(case.dim)
            .map(|row| if settings.normalize { row.iter().map(|x| x * x).sum::<f32>().sqrt() } else { 1.0 })
            .collect();
        let points: Vec<f32> =
            case.embeddings.iter().enumerate().map(|(i, x)| x / norms[i / case.dim]).collect();
        let v = Vectors::new(&points, case.dim).unwrap();
        let mut found = loss.pull(v, None, &SameLabel::within(&case.labels)).unwrap();
        if settings.normalize {
            // Through x / ‖x‖: what is left of the gradient across the unit vector, over the length.
            let rows = found.query_gradient.chunks_mut(case.dim).zip(points.chunks(case.dim)).zip(&norms);
            for ((g, u), norm) in rows {
                let along: f32 = g.iter().zip(u).map(|(g, u)| g * u).sum();
                g.iter_mut().zip(u).for_each(|(g, u)| *g = (*g - along * u) / norm);
            }
        }
        assert_same(&case, found.loss, &found.query_gradient);
        checked += 1;
    }
    assert!(checked > 20);
}
