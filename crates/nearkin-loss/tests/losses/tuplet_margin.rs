use nearkin_loss::losses::TupletMargin;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula(margin: f64, scale: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().flat_map(|i| {
            let s = |j| d.score(Cosine, i, j);
            let term = |p| {
                let near = (s(p).acos() - margin.to_radians()).cos();
                log_sum_exp(d.strangers(i).into_iter().map(|n| scale * (s(n) - near)).chain([0.0]))
            };
            d.kin(i).into_iter().map(term).collect::<Vec<f64>>()
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, scale) in [(5.73, 64.0), (3.0, 16.0), (40.0, 5.0)] {
        let loss = TupletMargin::new(margin, scale).unwrap();
        within(&loss, formula(margin.into(), scale.into()));
        between(&loss, formula(margin.into(), scale.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("tuplet_margin.json", 18, |given| {
        let s = given.settings();
        Some(Box::new(TupletMargin::new(s.number("margin"), s.number("scale")).unwrap()))
    });
}
