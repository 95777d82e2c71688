use nearkin_loss::losses::RankedList;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::Euclidean;

use crate::formula::{Dense, between, is_sound, mean, within};
use crate::golden::compare;

/// Boundary, margin, sharpness of strangers and of kin, balance, floor.
fn formula([alpha, margin, far, near, balance, floor]: [f64; 6]) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().map(|i| {
            let s = |j: usize| d.score(Euclidean, i, j);
            let part = |x: Vec<f64>, sharpness: f64| {
                let x: Vec<f64> = x.into_iter().filter(|x| *x > 0.0).collect();
                let w: Vec<f64> = x.iter().map(|x| (sharpness * x).exp()).collect();
                let sum: f64 = w.iter().zip(&x).map(|(w, x)| w * x).sum();
                let weights = w.iter().sum::<f64>() + floor * d.reference_labels.len() as f64;
                if x.is_empty() { 0.0 } else { sum / weights }
            };
            let kin = d.kin(i).into_iter().map(|p| s(p) - (alpha - margin)).collect();
            let strangers = d.strangers(i).into_iter().map(|n| alpha - s(n)).collect();
            (1.0 - balance) * part(kin, near) + balance * part(strangers, far)
        }))
    }
}

fn loss([alpha, margin, far, near, balance, floor]: [f32; 6]) -> RankedList {
    let loss = RankedList::new(alpha, margin, far).unwrap().with_kin_sharpness(near).unwrap();
    loss.with_balance(balance).unwrap().with_floor(floor).unwrap()
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for settings in
        [[1.2, 0.4, 10.0, 0.0, 0.5, 0.0], [1.8, 0.9, 3.0, 1.5, 0.3, 0.0], [1.5, 0.5, 2.0, 0.0, 0.5, 0.05]]
    {
        within(&loss(settings), formula(settings.map(f64::from)));
        between(&loss(settings), formula(settings.map(f64::from)));
        is_sound(&loss(settings));
    }
}

#[test]
fn agrees_with_its_peer() {
    // The peer adds 10⁻⁵ a sample to both sums of weights; the paper does not.
    compare("ranked_list.json", 14, |given| {
        // It also leaves out strangers at distance 0, which are nearest of all.
        if given.case.batch == "duplicates" {
            return None;
        }
        let s = given.settings();
        let settings = ["alpha", "margin", "Tn", "Tp", "imbalance"].map(|name| s.number(name));
        let [alpha, margin, far, near, balance] = settings;
        let loss = loss([alpha, margin, far, near, balance, 1e-5]);
        Some(if s.flag("normalize") { Box::new(OnSphere(loss)) as Box<dyn Loss> } else { Box::new(loss) })
    });
}
