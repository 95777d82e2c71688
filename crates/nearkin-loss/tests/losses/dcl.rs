use nearkin_loss::losses::Dcl;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula(temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().flat_map(|i| {
            let s = |j| d.score(Cosine, i, j) / temperature;
            let strangers = d.strangers(i);
            let kin = if strangers.is_empty() { Vec::new() } else { d.kin(i) };
            let all = log_sum_exp(strangers.into_iter().map(s));
            kin.into_iter().map(|p| all - s(p)).collect::<Vec<f64>>()
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for temperature in [0.05, 0.1, 0.5] {
        let loss = Dcl::new(temperature).unwrap();
        within(&loss, formula(temperature.into()));
        between(&loss, formula(temperature.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("dcl.json", 2, |given| Some(Box::new(Dcl::new(given.settings().number("temperature")).unwrap())));
}
