use nearkin_loss::losses::SupCon;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean_active, within};
use crate::golden::compare;

fn formula(temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean_active(d.anchors().map(|i| {
            let (kin, s) = (d.kin(i), |j| d.score(Cosine, i, j) / temperature);
            let all = log_sum_exp(kin.iter().copied().chain(d.strangers(i)).map(s));
            kin.iter().map(|&p| all - s(p)).sum::<f64>() / kin.len().max(1) as f64
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    // The small temperature takes the way of whole rows, the others visit pairs once.
    for temperature in [0.02, 0.1, 0.7] {
        let loss = SupCon::new(temperature).unwrap();
        within(&loss, formula(temperature.into()));
        between(&loss, formula(temperature.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("sup_con.json", 15, |given| {
        // Of a batch without kin or without strangers the peer makes 0; the paper does not.
        let lacks = given.case.value == 0.0 && given.batch.labels.iter().all(|l| *l == given.batch.labels[0]);
        (given.settings().text("distance") != "lp" && !lacks)
            .then(|| Box::new(SupCon::new(given.settings().number("temperature")).unwrap()) as _)
    });
}
