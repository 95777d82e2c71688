use nearkin_loss::losses::SoftTriple;
use nearkin_sweep::Metric::{Cosine, Euclidean};

use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes, score};
use crate::golden::compare_proxies;

struct Settings {
    centers: usize,
    scale: f64,
    gamma: f64,
    margin: f64,
    tau: f64,
}

fn formula(p: Settings) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        let k = p.centers;
        let classes = d.reference_labels.len() / k;
        let samples = mean(d.anchors().filter_map(|i| {
            let own = *d.kin(i).first()? / k;
            let logit = |c: usize| {
                let s: Vec<f64> = (c * k..(c + 1) * k).map(|j| d.score(Cosine, i, j)).collect();
                let all = log_sum_exp(s.iter().map(|s| s / p.gamma));
                let similarity: f64 = s.iter().map(|s| (s / p.gamma - all).exp() * s).sum();
                p.scale * (similarity - if c == own { p.margin } else { 0.0 })
            };
            Some(log_sum_exp((0..classes).map(logit)) - logit(own))
        }));
        let unit = |j: usize| {
            let x = d.reference(j);
            let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            x.iter().map(|x| x / length).collect::<Vec<f64>>()
        };
        let mut apart = 0.0;
        for c in 0..classes {
            for a in c * k..(c + 1) * k {
                apart += (a + 1..(c + 1) * k).map(|b| score(Euclidean, &unit(a), &unit(b))).sum::<f64>();
            }
        }
        samples + if k > 1 { p.tau * apart / (classes * k * (k - 1)) as f64 } else { 0.0 }
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (centers, scale, gamma, margin, tau) in
        [(3, 20.0, 0.1, 0.01, 0.0), (2, 8.0, 0.5, 0.1, 0.2), (4, 5.0, 0.3, 0.2, 3.0), (1, 4.0, 0.1, 0.1, 0.2)]
    {
        let loss = SoftTriple::new(centers, scale, gamma, margin).unwrap().with_merging(tau).unwrap();
        let [scale, gamma, margin, tau] = [scale, gamma, margin, tau].map(f64::from);
        of_classes(&loss, centers, formula(Settings { centers, scale, gamma, margin, tau }));
        is_sound_of_classes(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare_proxies("soft_triple.json", 13, |given| {
        let s = given.settings();
        let centers = s.number("centers_per_class") as usize;
        let loss = SoftTriple::new(centers, s.number("la"), s.number("gamma"), s.number("margin")).unwrap();
        Some((Box::new(loss), centers))
    });
}
