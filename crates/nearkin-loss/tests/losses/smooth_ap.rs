use nearkin_loss::losses::SmoothAp;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, mean, within};
use crate::golden::compare;

fn formula(temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter_map(|q| {
            let mut members = d.kin(q);
            if d.within {
                members.push(q);
            }
            let ahead = |k: usize, i: usize| {
                1.0 / (1.0 + (-(d.score(Cosine, q, k) - d.score(Cosine, q, i)) / temperature).exp())
            };
            let ranks = |i: usize| {
                let near: f64 = members.iter().filter(|k| **k != i).map(|k| ahead(*k, i)).sum();
                let far: f64 = d.strangers(q).into_iter().map(|k| ahead(k, i)).sum();
                (1.0 + near) / (1.0 + near + far)
            };
            (!members.is_empty()).then(|| 1.0 - mean(members.iter().map(|i| ranks(*i))))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for temperature in [0.02, 0.1, 0.5] {
        let loss = SmoothAp::new(temperature).unwrap();
        within(&loss, formula(temperature.into()));
        between(&loss, formula(temperature.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("smooth_ap.json", 12, |given| {
        Some(Box::new(SmoothAp::new(given.settings().number("temperature")).unwrap()))
    });
}
