use nearkin_loss::losses::{Margin, TripletMargin};
use nearkin_loss::{Loss, OnSphere, Reducer, Sides};
use nearkin_sweep::Metric::{self, Cosine, Euclidean, SquaredEuclidean};
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{Dense, between, is_sound, mean_active, random, score, within};
use crate::golden::{Settings, compare};

fn formula(metric: Metric, margin: Margin, swap: bool) -> impl Fn(&Dense<'_>) -> f64 {
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    move |d| {
        let mut terms = Vec::new();
        for i in d.anchors() {
            for p in d.kin(i) {
                for n in d.strangers(i) {
                    let mut far = sign * d.score(metric, i, n);
                    if swap {
                        far = far.min(sign * score(metric, d.reference(p), d.reference(n)));
                    }
                    let x = sign * d.score(metric, i, p) - far;
                    terms.push(match margin {
                        Margin::Hinge(m) => (f64::from(m) + x).max(0.0),
                        Margin::Soft => x.exp().ln_1p(),
                    });
                }
            }
        }
        mean_active(terms)
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for metric in [Euclidean, SquaredEuclidean, Cosine] {
        for margin in [Margin::Hinge(0.33), Margin::Soft] {
            let loss = TripletMargin::new(metric, margin).unwrap();
            for (loss, swap) in [(loss, false), (loss.with_swap(), true)] {
                within(&loss, formula(metric, margin, swap));
                between(&loss, formula(metric, margin, swap));
                is_sound(&loss);
            }
        }
    }
}

#[test]
fn one_anchor_with_many_kin_is_sorted_and_agrees() {
    let labels: Vec<u32> = (0..120).map(|i| u32::from(i % 3 == 0)).collect();
    let points = random(labels.len() * 3, 11);
    let x: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
    let dense = Dense {
        dim: 3,
        queries: &x,
        references: &x,
        labels: &labels,
        reference_labels: &labels,
        within: true,
    };
    let kin = SameLabel::within(&labels);
    let sides = Sides::within(Vectors::new(&points, 3).unwrap(), &kin);
    let loss = TripletMargin::new(Euclidean, Margin::Hinge(0.4)).unwrap();
    let found = loss.pull(&sides).unwrap();
    let wanted = formula(Euclidean, Margin::Hinge(0.4), false)(&dense);
    assert!((found.loss - wanted).abs() < 1e-5 * wanted, "{} for {wanted}", found.loss);
    // The same triplet by triplet: no reducer that needs single terms may change what all of them are.
    let every = Reducer::Threshold { low: 0.0, high: f64::INFINITY };
    let listed = loss.pull(&Sides { reducer: Some(&every), ..sides }).unwrap();
    assert_eq!((listed.terms, listed.active), (found.terms, found.active));
    assert!((listed.loss - found.loss).abs() < 1e-6);
    for (a, b) in found.query_gradient.iter().zip(&listed.query_gradient) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

/// The loss of a peer's settings, if there is one.
pub fn of(s: &Settings) -> Option<Box<dyn Loss>> {
    let (margin, smooth) = (s.number("margin"), s.flag("smooth_loss"));
    if smooth && margin != 0.0 {
        return None; // softplus(x + m) is the peer's own; Hermans et al. have no margin inside.
    }
    let loss = |metric| {
        let margin = if smooth { Margin::Soft } else { Margin::Hinge(margin) };
        let loss = TripletMargin::new(metric, margin).unwrap();
        if s.flag("swap") { loss.with_swap() } else { loss }
    };
    Some(match (s.text("distance"), s.number_or("power", 1.0) as u32, s.flag("normalize")) {
        ("lp", 1, true) => Box::new(OnSphere(loss(Euclidean))),
        ("lp", 1, false) => Box::new(loss(Euclidean)),
        ("lp", _, true) => Box::new(OnSphere(loss(SquaredEuclidean))),
        ("lp", _, false) => Box::new(loss(SquaredEuclidean)),
        _ => Box::new(loss(Cosine)),
    })
}

#[test]
fn agrees_with_its_peer() {
    compare("triplet_margin.json", 60, |given| of(given.settings()));
}
