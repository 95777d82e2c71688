use nearkin_loss::losses::ProxyAnchor;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes};
use crate::golden::compare;

fn formula(margin: f64, alpha: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        let of = |c: usize, kin: bool, direction: f64| -> Vec<f64> {
            let samples = d.anchors().filter(|&i| (d.labels[i] == d.reference_labels[c]) == kin);
            samples.map(|i| alpha * (direction * d.score(Cosine, i, c) + margin)).collect()
        };
        let with_one = |x: Vec<f64>| log_sum_exp(x.into_iter().chain([0.0]));
        let classes = || 0..d.reference_labels.len();
        let near = classes().map(|c| of(c, true, -1.0)).filter(|x| !x.is_empty());
        mean(near.map(with_one)) + mean(classes().map(|c| with_one(of(c, false, 1.0))))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, alpha) in [(0.1, 32.0), (0.3, 4.0)] {
        let loss = ProxyAnchor::new(margin, alpha).unwrap();
        of_classes(&loss, 1, formula(margin.into(), alpha.into()));
        is_sound_of_classes(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("proxy_anchor.json", 11, |given| {
        let s = given.settings();
        Some(Box::new(ProxyAnchor::new(s.number("margin"), s.number("alpha")).unwrap()))
    });
}
