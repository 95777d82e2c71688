use nearkin_loss::Loss;
use nearkin_loss::losses::Dclw;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, is_sound, log_sum_exp, mean};
use crate::golden::compare;
use crate::held;

/// The weights are those of the held points.
fn formula(temperature: f64, sigma: f64) -> impl Fn(&Dense<'_>, &Dense<'_>) -> f64 {
    move |d, held| {
        let e = |i: usize, p: usize| (held.score(Cosine, i, p) / sigma).exp();
        let average = mean(d.anchors().flat_map(|i| d.kin(i).into_iter().map(move |p| e(i, p))));
        mean(d.anchors().flat_map(|i| {
            let s = |j| d.score(Cosine, i, j) / temperature;
            let strangers = d.strangers(i);
            let kin = if strangers.is_empty() { Vec::new() } else { d.kin(i) };
            let all = log_sum_exp(strangers.into_iter().map(s));
            kin.into_iter().map(|p| all - (2.0 - e(i, p) / average) * s(p)).collect::<Vec<f64>>()
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (temperature, sigma) in [(0.1, 0.5), (0.5, 0.2)] {
        let loss = Dclw::new(temperature, sigma).unwrap();
        held::within(0, |sides| loss.pull(sides).unwrap(), formula(temperature.into(), sigma.into()));
        held::between(0, |sides| loss.pull(sides).unwrap(), formula(temperature.into(), sigma.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("dclw.json", 4, |given| {
        let s = given.settings();
        Some(Box::new(Dclw::new(s.number("temperature"), s.number("sigma")).unwrap()))
    });
}
