use nearkin_loss::losses::IntraPairVariance;
use nearkin_loss::{Loss, OnSphere, Reducer, Sides};
use nearkin_sweep::Metric::{self, Cosine, Euclidean};
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{Dense, between, is_sound, mean, random, within};
use crate::golden::compare;

fn formula(metric: Metric, kin: f64, stranger: f64) -> impl Fn(&Dense<'_>) -> f64 {
    // Distances are similarities turned round.
    let sign = if metric.larger_is_nearer() { 1.0 } else { -1.0 };
    move |d| {
        let of = |kin: bool| -> Vec<f64> {
            let pairs = |i| if kin { d.kin(i) } else { d.strangers(i) };
            d.anchors()
                .flat_map(|i| pairs(i).into_iter().map(move |j| sign * d.score(metric, i, j)))
                .collect()
        };
        let (near, far) = (of(true), of(false));
        let (near_mean, far_mean) = (mean(near.iter().copied()), mean(far.iter().copied()));
        let near_from = (1.0 - sign * kin) * near_mean;
        let far_from = (1.0 + sign * stranger) * far_mean;
        mean(near.iter().map(|s| (near_from - s).max(0.0).powi(2)))
            + mean(far.iter().map(|s| (s - far_from).max(0.0).powi(2)))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (metric, kin, stranger) in [(Cosine, 0.01, 0.01), (Cosine, 0.1, 0.05), (Euclidean, 0.05, 0.2)] {
        let loss = IntraPairVariance::new(metric, kin, stranger).unwrap();
        within(&loss, formula(metric, kin.into(), stranger.into()));
        between(&loss, formula(metric, kin.into(), stranger.into()));
        is_sound(&loss);
    }
}

#[test]
fn every_reducer_has_its_gradient() {
    // Along the gradient, by finite differences of the loss itself.
    let labels = [0, 1, 0, 1, 0, 2, 2, 1];
    let kin = SameLabel::within(&labels);
    let points = random(labels.len() * 3, 4);
    let loss = IntraPairVariance::new(Cosine, 0.1, 0.1).unwrap();
    for reducer in
        [Reducer::MeanActive, Reducer::Sum, Reducer::PerAnchor, Reducer::ClassWeighted(vec![0.5, 2.0, 1.0])]
    {
        let at = |points: &[f32]| {
            let sides = Sides::within(Vectors::new(points, 3).unwrap(), &kin);
            loss.pull(&Sides { reducer: Some(&reducer), ..sides }).unwrap()
        };
        let gradient = at(&points).query_gradient;
        let size: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
        let h = 1e-3 / size.sqrt() as f32;
        let moved =
            |h: f32| at(&points.iter().zip(&gradient).map(|(x, g)| x + h * g).collect::<Vec<f32>>()).loss;
        let slope = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
        assert!((slope - size).abs() < 5e-3 * size, "{reducer:?}: {slope} for {size}");
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("intra_pair_variance.json", 20, |given| {
        let s = given.settings();
        let loss = |metric| IntraPairVariance::new(metric, s.number("pos_eps"), s.number("neg_eps")).unwrap();
        Some(match s.text("distance") {
            "lp" => Box::new(OnSphere(loss(Euclidean))) as Box<dyn Loss>,
            _ => Box::new(loss(Cosine)),
        })
    });
}
