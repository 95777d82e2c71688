use nearkin_loss::losses::GeneralizedLiftedStructure;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::{self, Cosine, Euclidean, SquaredEuclidean};

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula(metric: Metric, kin: f64, stranger: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    move |d| {
        mean(d.anchors().map(|i| {
            let s = |j| sign * d.score(metric, i, j);
            let near = log_sum_exp(d.kin(i).into_iter().map(|p| s(p) - sign * kin));
            let far = log_sum_exp(d.strangers(i).into_iter().map(|n| sign * stranger - s(n)));
            (near + far).max(0.0)
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (metric, kin, stranger) in [(Euclidean, 0.0, 1.0), (SquaredEuclidean, 0.3, -0.4), (Cosine, 0.9, 0.3)]
    {
        let loss = GeneralizedLiftedStructure::new(metric, kin, stranger).unwrap();
        within(&loss, formula(metric, kin.into(), stranger.into()));
        between(&loss, formula(metric, kin.into(), stranger.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    // 22 of 34 cases: the others are twins in which the peer is wrong.
    compare("generalized_lifted_structure.json", 22, |given| {
        let s = given.settings();
        let loss = |metric| {
            GeneralizedLiftedStructure::new(metric, s.number("pos_margin"), s.number("neg_margin")).unwrap()
        };
        Some(match (s.text("distance"), s.flag("normalize")) {
            ("lp", true) => Box::new(OnSphere(loss(Euclidean))) as Box<dyn Loss>,
            ("lp", false) => Box::new(loss(Euclidean)),
            _ => Box::new(loss(Cosine)),
        })
    });
}
