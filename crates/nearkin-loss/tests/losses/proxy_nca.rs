use nearkin_loss::losses::ProxyNca;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::SquaredEuclidean;

use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes};
use crate::golden::compare;

fn formula(scale: f64, own_below: bool) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter_map(|i| {
            let s = |c: usize| -scale * d.score(SquaredEuclidean, i, c);
            let own = *d.kin(i).first()?;
            let below: Vec<f64> =
                (0..d.reference_labels.len()).filter(|c| own_below || *c != own).map(s).collect();
            (!below.is_empty()).then(|| log_sum_exp(below) - s(own))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for scale in [0.5, 3.0] {
        let loss = ProxyNca::new(scale).unwrap();
        of_classes(&loss, 1, formula(scale.into(), true));
        of_classes(&loss.without_own_proxy(), 1, formula(scale.into(), false));
        is_sound_of_classes(&loss);
        is_sound_of_classes(&loss.without_own_proxy());
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("proxy_nca.json", 16, |given| {
        let loss = ProxyNca::new(given.settings().number("softmax_scale")).unwrap();
        let loss: Box<dyn Loss> =
            if given.settings().flag("normalize") { Box::new(OnSphere(loss)) } else { Box::new(loss) };
        Some(loss)
    });
}
