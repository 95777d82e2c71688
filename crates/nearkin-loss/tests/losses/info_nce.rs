use nearkin_loss::BothWays;
use nearkin_loss::losses::InfoNce;
use nearkin_sweep::Metric::{self, Cosine, Dot};

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, within};

fn formula(metric: Metric, temperature: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().flat_map(|i| {
            let s = |j| d.score(metric, i, j) / temperature;
            let (kin, strangers) = (d.kin(i), d.strangers(i));
            let all = log_sum_exp(kin.iter().copied().chain(strangers).map(s));
            kin.into_iter().map(|p| all - s(p)).collect::<Vec<f64>>()
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (metric, temperature) in [(Cosine, 0.07), (Cosine, 0.5), (Dot, 1.0), (Dot, 0.1)] {
        let loss = InfoNce::new(metric, temperature).unwrap();
        between(&loss, formula(metric, temperature.into()));
        within(&loss, formula(metric, temperature.into()));
        is_sound(&loss);
    }
}

#[test]
fn both_ways_agrees_with_its_formula_and_finite_differences() {
    for (metric, temperature) in [(Cosine, 0.07), (Dot, 1.0)] {
        let loss = BothWays(InfoNce::new(metric, temperature).unwrap());
        let one_way = formula(metric, temperature.into());
        between(&loss, |d: &Dense<'_>| {
            let turned = Dense {
                queries: d.references,
                references: d.queries,
                labels: d.reference_labels,
                reference_labels: d.labels,
                ..*d
            };
            (one_way(d) + one_way(&turned)) / 2.0
        });
        within(&loss, formula(metric, temperature.into()));
        is_sound(&loss);
    }
}
