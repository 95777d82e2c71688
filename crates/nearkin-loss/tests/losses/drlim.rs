use nearkin_loss::losses::DrLim;
use nearkin_sweep::Metric::Euclidean;

use crate::formula::{Dense, between, is_sound, mean, within};

fn formula(margin: f64, stiffness: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().flat_map(|i| {
            let s = |j| d.score(Euclidean, i, j);
            let kin = d.kin(i).into_iter().map(|p| 0.5 * stiffness * s(p).powi(2));
            let strangers = d.strangers(i).into_iter().map(|n| 0.5 * (margin - s(n)).max(0.0).powi(2));
            kin.chain(strangers).collect::<Vec<f64>>()
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, stiffness) in [(0.8, 1.0), (1.5, 1.0), (1.5, 12.0)] {
        let loss = DrLim::new(margin).unwrap().with_stiffness(stiffness).unwrap();
        within(&loss, formula(margin.into(), stiffness.into()));
        between(&loss, formula(margin.into(), stiffness.into()));
        is_sound(&loss);
    }
}
