use nearkin_loss::losses::Contrastive;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::{self, Cosine, Dot, Euclidean, SquaredEuclidean};

use crate::formula::{Dense, between, is_sound, mean_active, within};
use crate::golden::{Settings, compare};

fn formula(metric: Metric, kin: f64, stranger: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    move |d| {
        let of = |pairs: &dyn Fn(usize) -> Vec<usize>, energy: &dyn Fn(f64) -> f64| {
            let all = d.anchors().flat_map(|i| pairs(i).into_iter().map(move |j| (i, j)));
            mean_active(all.map(|(i, j)| energy(sign * d.score(metric, i, j))))
        };
        of(&|i| d.kin(i), &|s| s - sign * kin) + of(&|i| d.strangers(i), &|s| sign * stranger - s)
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (metric, kin, stranger) in
        [(Euclidean, 0.1, 1.7), (SquaredEuclidean, 0.0, 2.3), (Cosine, 0.9, 0.1), (Dot, 0.7, -0.2)]
    {
        let loss = Contrastive::new(metric, kin, stranger).unwrap();
        within(&loss, formula(metric, kin.into(), stranger.into()));
        between(&loss, formula(metric, kin.into(), stranger.into()));
        is_sound(&loss);
    }
}

/// The loss of a peer's settings.
pub fn of(s: &Settings) -> Box<dyn Loss> {
    let loss = |metric| Contrastive::new(metric, s.number("pos_margin"), s.number("neg_margin")).unwrap();
    match (s.text("distance"), s.number_or("power", 1.0) as u32, s.flag("normalize")) {
        ("lp", 1, true) => Box::new(OnSphere(loss(Euclidean))),
        ("lp", 1, false) => Box::new(loss(Euclidean)),
        ("lp", _, true) => Box::new(OnSphere(loss(SquaredEuclidean))),
        ("lp", _, false) => Box::new(loss(SquaredEuclidean)),
        _ => Box::new(loss(Cosine)),
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("contrastive.json", 35, |given| Some(of(given.settings())));
}
