use std::cell::RefCell;

use nearkin_loss::losses::Circle;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean_active, score, within};
use crate::golden::compare;

/// Where points lay before they were moved for a finite difference: the paces are taken there, as they have no gradient.
#[derive(Default)]
struct Rest(RefCell<(Vec<f64>, Vec<f64>)>);

impl Rest {
    /// At most one coordinate is moved at a time; more, and these are new points.
    fn of(&self, d: &Dense<'_>) -> (Vec<f64>, Vec<f64>) {
        let moved = |a: &[f64], b: &[f64]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        let mut rest = self.0.borrow_mut();
        let same_shape = (rest.0.len(), rest.1.len()) == (d.queries.len(), d.references.len());
        if !same_shape || moved(&rest.0, d.queries) > 1 || moved(&rest.1, d.references) > 1 {
            *rest = (d.queries.to_vec(), d.references.to_vec());
        }
        rest.clone()
    }
}

fn formula(margin: f64, gamma: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let rest = Rest::default();
    move |d| {
        let (queries, references) = rest.of(d);
        let row = |points: &[f64], i: usize| points[i * d.dim..(i + 1) * d.dim].to_vec();
        mean_active(d.anchors().filter(|&i| !d.kin(i).is_empty() && !d.strangers(i).is_empty()).map(|i| {
            let (s, still) =
                (|j| d.score(Cosine, i, j), |j| score(Cosine, &row(&queries, i), &row(&references, j)));
            let near = d.kin(i).into_iter();
            let near = near.map(|p| -gamma * (1.0 + margin - still(p)).max(0.0) * (s(p) - 1.0 + margin));
            let far = d.strangers(i).into_iter();
            let far = far.map(|n| gamma * (still(n) + margin).max(0.0) * (s(n) - margin));
            log_sum_exp([0.0, log_sum_exp(near) + log_sum_exp(far)])
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, gamma) in [(0.4, 80.0), (0.25, 8.0), (-0.1, 3.0)] {
        let loss = Circle::new(margin, gamma).unwrap();
        within(&loss, formula(margin.into(), gamma.into()));
        between(&loss, formula(margin.into(), gamma.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("circle.json", 23, |given| {
        let s = given.settings();
        Some(Box::new(Circle::new(s.number("m"), s.number("gamma")).unwrap()))
    });
}
