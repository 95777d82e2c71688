use nearkin_loss::losses::Histogram;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, mean, within};
use crate::golden::compare;

fn formula(bins: usize) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        let width = 2.0 / bins as f64;
        let of = |pairs: &dyn Fn(usize) -> Vec<usize>| -> Vec<f64> {
            let all = d.anchors().flat_map(|i| pairs(i).into_iter().map(move |j| (i, j)));
            let s: Vec<f64> = all.map(|(i, j)| d.score(Cosine, i, j)).collect();
            let node = |r: usize| {
                let t = -1.0 + width * r as f64;
                mean(s.iter().map(|s| (1.0 - (s - t).abs() / width).max(0.0)))
            };
            (0..=bins).map(node).collect()
        };
        let (kin, strangers) = (of(&|i| d.kin(i)), of(&|i| d.strangers(i)));
        (0..=bins).map(|r| strangers[r] * kin[..=r].iter().sum::<f64>()).sum()
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for bins in [1, 10, 25] {
        let loss = Histogram::new(bins).unwrap();
        within(&loss, formula(bins));
        between(&loss, formula(bins));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("histogram.json", 15, |given| {
        Some(Box::new(Histogram::new(given.settings().number("n_bins") as usize).unwrap()))
    });
}
