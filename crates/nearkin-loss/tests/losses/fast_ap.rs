use nearkin_loss::losses::FastAp;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, mean, within};
use crate::golden::compare;

fn formula(bins: usize) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter(|i| !d.kin(*i).is_empty()).map(|i| {
            let width = 4.0 / bins as f64;
            let histogram = |of: &[usize]| -> Vec<f64> {
                let pulse = |l: usize, j: usize| {
                    let squared = 2.0 - 2.0 * d.score(Cosine, i, j);
                    (1.0 - (squared - width * l as f64).abs() / width).max(0.0)
                };
                (0..=bins).map(|l| of.iter().map(|j| pulse(l, *j)).sum()).collect()
            };
            let (kin, strangers) = (histogram(&d.kin(i)), histogram(&d.strangers(i)));
            let precision = |l: usize| {
                let near: f64 = kin[..=l].iter().sum();
                let far: f64 = strangers[..=l].iter().sum();
                if near > 0.0 { kin[l] * near / (near + far) } else { 0.0 }
            };
            1.0 - (0..=bins).map(precision).sum::<f64>() / d.kin(i).len() as f64
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for bins in [1, 5, 10] {
        let loss = FastAp::new(bins).unwrap();
        within(&loss, formula(bins));
        between(&loss, formula(bins));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("fast_ap.json", 17, |given| {
        let s = given.settings();
        // The paper's distances are squared.
        (s.number("power") == 2.0).then(|| Box::new(FastAp::new(s.number("num_bins") as usize).unwrap()) as _)
    });
}
