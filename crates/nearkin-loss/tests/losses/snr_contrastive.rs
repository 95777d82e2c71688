use nearkin_loss::losses::SnrContrastive;
use nearkin_loss::{Loss, OnSphere};

use crate::formula::{Dense, between, is_sound, mean_active, within};
use crate::golden::compare;

fn variance(x: impl Iterator<Item = f64>) -> f64 {
    let x: Vec<f64> = x.collect();
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64
}

fn formula(kin: f64, stranger: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        let distance = |i, j| {
            let (signal, other) = (d.query(i), d.reference(j));
            let noise = signal.iter().zip(other).map(|(a, b)| a - b);
            variance(noise) / variance(signal.iter().copied())
        };
        let near = d.anchors().flat_map(|i| d.kin(i).into_iter().map(move |p| distance(i, p) - kin));
        let far =
            d.anchors().flat_map(|i| d.strangers(i).into_iter().map(move |n| stranger - distance(i, n)));
        mean_active(near) + mean_active(far)
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (kin, stranger) in [(0.0, 1.0), (0.4, 3.0)] {
        let loss = SnrContrastive::new(kin, stranger).unwrap();
        within(&loss, formula(kin.into(), stranger.into()));
        between(&loss, formula(kin.into(), stranger.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("snr_contrastive.json", 17, |given| {
        let s = given.settings();
        let loss = SnrContrastive::new(s.number("pos_margin"), s.number("neg_margin")).unwrap();
        Some(match s.flag("normalize") {
            true => Box::new(OnSphere(loss)) as Box<dyn Loss>,
            false => Box::new(loss),
        })
    });
}
