use nearkin_loss::losses::NormalizedSoftmax;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, log_sum_exp, mean};
use crate::golden::compare;

fn formula(temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter_map(|i| {
            let s = |c: usize| d.score(Cosine, i, c) / temperature;
            let own = *d.kin(i).first()?;
            Some(log_sum_exp((0..d.reference_labels.len()).map(s)) - s(own))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for temperature in [0.05, 0.5] {
        between(&NormalizedSoftmax::new(temperature).unwrap(), formula(temperature.into()));
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("normalized_softmax.json", 10, |given| {
        let loss = NormalizedSoftmax::new(given.settings().number("temperature")).unwrap();
        given.settings().flag("normalize").then(|| Box::new(loss) as _)
    });
}
