use nearkin_loss::losses::Angular;
use nearkin_loss::{Loss, OnSphere, Reducer, Sides};
use nearkin_sweep::{Metric::Dot, SameLabel, Vectors};

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, random, score, within};
use crate::golden::compare;

fn formula(degrees: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let steepness = degrees.to_radians().tan().powi(2);
    move |d| {
        mean(d.anchors().flat_map(|a| {
            d.kin(a).into_iter().map(move |p| {
                let together = 2.0 * (1.0 + steepness) * d.score(Dot, a, p);
                let both: Vec<f64> = d.query(a).iter().zip(d.reference(p)).map(|(x, y)| x + y).collect();
                let apart = |n| 4.0 * steepness * score(Dot, &both, d.reference(n));
                log_sum_exp(d.strangers(a).into_iter().map(|n| apart(n) - together).chain([0.0]))
            })
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for degrees in [25.0, 40.0, 55.0] {
        let loss = Angular::new(degrees).unwrap();
        within(&loss, formula(degrees.into()));
        between(&loss, formula(degrees.into()));
        is_sound(&loss);
    }
}

#[test]
fn more_pairs_than_are_held_at_once_agree() {
    // Two classes of 70 and 50: 7,280 pairs of kin.
    let labels: Vec<u32> = (0..120).map(|i| u32::from(i % 12 < 5)).collect();
    let points = random(labels.len() * 3, 11);
    let x: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
    let (queries, references, reference_labels) = (&x[..], &x[..], &labels[..]);
    let dense = Dense { dim: 3, queries, references, labels: &labels, reference_labels, within: true };
    let kin = SameLabel::within(&labels);
    let sides = Sides::within(Vectors::new(&points, 3).unwrap(), &kin);
    let loss = Angular::new(40.0).unwrap();
    let (found, wanted) = (loss.pull(&sides).unwrap(), formula(40.0)(&dense));
    assert_eq!(found.terms, 70 * 69 + 50 * 49);
    assert!((found.loss - wanted).abs() < 1e-5 * wanted, "{} for {wanted}", found.loss);
    let by_anchor = loss.pull(&Sides { reducer: Some(&Reducer::PerAnchor), ..sides }).unwrap();
    let of_anchor = |a: usize| {
        let steepness = 40f64.to_radians().tan().powi(2);
        mean(dense.kin(a).into_iter().map(|p| {
            let apart = |n| 4.0 * steepness * (dense.score(Dot, a, n) + dense.score(Dot, p, n));
            let together = 2.0 * (1.0 + steepness) * dense.score(Dot, a, p);
            log_sum_exp(dense.strangers(a).into_iter().map(|n| apart(n) - together).chain([0.0]))
        }))
    };
    let wanted = mean(dense.anchors().map(of_anchor));
    assert!((by_anchor.loss - wanted).abs() < 1e-5 * wanted, "{} for {wanted}", by_anchor.loss);
}

#[test]
fn agrees_with_its_peer() {
    // 19 of 38 cases: the others are twins in which the peer is wrong.
    compare("angular.json", 19, |given| {
        Some(Box::new(OnSphere(Angular::new(given.settings().number("alpha")).unwrap())) as Box<dyn Loss>)
    });
}
