use nearkin_loss::losses::{Pnp, PnpVariant};
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, mean, within};
use crate::golden::compare;

fn formula(variant: PnpVariant, temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let cost = move |r: f64| match variant {
        PnpVariant::O => r,
        PnpVariant::Iu => (1.0 + r) * (1.0 + r).ln(),
        PnpVariant::Ib { b } => (f64::from(b) * r - (1.0 + f64::from(b) * r).ln()) / f64::from(b).powi(2),
        PnpVariant::Ds => (1.0 + r).ln(),
        PnpVariant::Dq { alpha } => 1.0 - (1.0 + r).powf(-f64::from(alpha)),
    };
    move |d| {
        mean(d.anchors().filter(|q| !d.kin(*q).is_empty()).map(|q| {
            let mut members = d.kin(q);
            if d.within {
                members.push(q);
            }
            let s = |k| d.score(Cosine, q, k);
            let before = |i: usize| -> f64 {
                d.strangers(q).into_iter().map(|n| 1.0 / (1.0 + (-(s(n) - s(i)) / temperature).exp())).sum()
            };
            mean(members.into_iter().map(|i| cost(before(i))))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for variant in [
        PnpVariant::O,
        PnpVariant::Iu,
        PnpVariant::Ib { b: 2.0 },
        PnpVariant::Ib { b: 0.5 },
        PnpVariant::Ds,
        PnpVariant::Dq { alpha: 1.0 },
        PnpVariant::Dq { alpha: 4.0 },
    ] {
        for temperature in [0.02, 0.1] {
            let loss = Pnp::new(variant, temperature).unwrap();
            within(&loss, formula(variant, temperature.into()));
            between(&loss, formula(variant, temperature.into()));
            is_sound(&loss);
        }
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("pnp.json", 44, |given| {
        let s = given.settings();
        let variant = match s.text("variant") {
            "O" => PnpVariant::O,
            "Iu" => PnpVariant::Iu,
            "Ib" => PnpVariant::Ib { b: s.number("b") },
            "Ds" => PnpVariant::Ds,
            "Dq" => PnpVariant::Dq { alpha: s.number("alpha") },
            other => panic!("{other}"),
        };
        Some(Box::new(Pnp::new(variant, s.number("anneal")).unwrap()))
    });
}
