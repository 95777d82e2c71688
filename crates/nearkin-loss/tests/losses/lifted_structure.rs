use nearkin_loss::losses::LiftedStructure;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::{self, Cosine, Euclidean, SquaredEuclidean};

use crate::formula::{Dense, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula(metric: Metric, kin: f64, stranger: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    move |d| {
        mean(d.anchors().flat_map(|a| {
            let term = move |p| {
                let ends = [a, p].into_iter();
                let far = ends.flat_map(|i| d.strangers(i).into_iter().map(move |n| d.score(metric, i, n)));
                let lifted =
                    log_sum_exp(far.map(|s| sign * (stranger - s))) + sign * (d.score(metric, a, p) - kin);
                0.5 * lifted.max(0.0).powi(2)
            };
            d.kin(a).into_iter().map(term)
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (metric, kin, stranger) in [(Euclidean, 0.0, 1.0), (SquaredEuclidean, 0.3, -0.4), (Cosine, 0.9, 0.3)]
    {
        let loss = LiftedStructure::new(metric, kin, stranger).unwrap();
        within(&loss, formula(metric, kin.into(), stranger.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    // 22 of 23 cases: the other is a twin in which the peer is wrong.
    compare("lifted_structure.json", 22, |given| {
        let s = given.settings();
        let loss =
            |metric| LiftedStructure::new(metric, s.number("pos_margin"), s.number("neg_margin")).unwrap();
        Some(match (s.text("distance"), s.flag("normalize")) {
            ("lp", true) => Box::new(OnSphere(loss(Euclidean))) as Box<dyn Loss>,
            ("lp", false) => Box::new(loss(Euclidean)),
            _ => Box::new(loss(Cosine)),
        })
    });
}
