use nearkin_loss::losses::Nca;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::SquaredEuclidean;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula(scale: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter(|&i| !d.kin(i).is_empty()).map(|i| {
            let x = |j| -scale * d.score(SquaredEuclidean, i, j);
            let kin = d.kin(i);
            log_sum_exp(kin.iter().copied().chain(d.strangers(i)).map(x))
                - log_sum_exp(kin.into_iter().map(x))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for scale in [0.3, 1.0, 7.0] {
        let loss = Nca::new(scale).unwrap();
        within(&loss, formula(scale.into()));
        between(&loss, formula(scale.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("nca.json", 23, |given| {
        let loss = Nca::new(given.settings().number("softmax_scale")).unwrap();
        Some(match given.settings().flag("normalize") {
            true => Box::new(OnSphere(loss)) as Box<dyn Loss>,
            false => Box::new(loss),
        })
    });
}
