use nearkin_loss::losses::NtXent;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula(temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().flat_map(|i| {
            let s = |j| d.score(Cosine, i, j) / temperature;
            let strangers: Vec<f64> = d.strangers(i).into_iter().map(s).collect();
            let term = |p| log_sum_exp(strangers.iter().copied().chain([s(p)])) - s(p);
            d.kin(i).into_iter().map(term).collect::<Vec<f64>>()
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for temperature in [0.02, 0.07, 0.5] {
        let loss = NtXent::new(temperature).unwrap();
        within(&loss, formula(temperature.into()));
        between(&loss, formula(temperature.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peers() {
    compare("nt_xent.json", 20, |given| {
        (given.settings().text("distance") == "cosine")
            .then(|| Box::new(NtXent::new(given.settings().number("temperature")).unwrap()) as _)
    });
}
