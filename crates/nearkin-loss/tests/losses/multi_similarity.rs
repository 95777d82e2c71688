use nearkin_loss::losses::MultiSimilarity;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};
use crate::golden::compare;

fn formula([alpha, beta, base]: [f64; 3]) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().map(|i| {
            let s = |j| d.score(Cosine, i, j);
            let near = d.kin(i).into_iter().map(|p| -alpha * (s(p) - base));
            let far = d.strangers(i).into_iter().map(|n| beta * (s(n) - base));
            log_sum_exp(near.chain([0.0])) / alpha + log_sum_exp(far.chain([0.0])) / beta
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    // The last takes the way of whole rows, the others visit pairs once.
    for settings in [[2.0, 50.0, 0.5], [1.0, 3.0, -0.2], [200.0, 300.0, 0.5]] {
        let [alpha, beta, base] = settings.map(|x| x as f32);
        let loss = MultiSimilarity::new(alpha, beta, base).unwrap();
        within(&loss, formula([alpha, beta, base].map(f64::from)));
        between(&loss, formula([alpha, beta, base].map(f64::from)));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("multi_similarity.json", 15, |given| {
        let s = given.settings();
        let loss = MultiSimilarity::new(s.number("alpha"), s.number("beta"), s.number("base")).unwrap();
        (s.text("distance") != "lp").then(|| Box::new(loss) as _)
    });
}
