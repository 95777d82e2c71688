use nearkin_loss::losses::NPairs;
use nearkin_loss::{Loss, OnSphere};
use nearkin_sweep::Metric::Dot;

use crate::formula::{Dense, between, is_sound, log_sum_exp, mean, score, within};
use crate::golden::compare;

fn squares<'a>(rows: impl IntoIterator<Item = &'a [f64]>) -> f64 {
    mean(rows.into_iter().map(|row| score(Dot, row, row)))
}

/// Of the first pair of each label.
fn among(l2: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        let first = |i: &usize| d.labels[..*i].iter().all(|l| *l != d.labels[*i]);
        let pairs: Vec<(usize, usize)> =
            d.anchors().filter(first).filter_map(|i| Some((i, *d.kin(i).first()?))).collect();
        let term = |&(a, p): &(usize, usize)| {
            log_sum_exp(pairs.iter().map(|&(_, other)| d.score(Dot, a, other))) - d.score(Dot, a, p)
        };
        let lengths = squares(pairs.iter().map(|pair| d.query(pair.0)))
            + squares(pairs.iter().map(|pair| d.query(pair.1)));
        mean(pairs.iter().map(term)) + 0.25 * l2 * lengths
    }
}

/// Of anchors and kin as two sets.
fn sampled(l2: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        let terms = d.anchors().flat_map(|i| {
            let far: Vec<f64> = d.strangers(i).into_iter().map(|n| d.score(Dot, i, n)).collect();
            d.kin(i).into_iter().map(move |p| {
                let near = d.score(Dot, i, p);
                log_sum_exp(far.iter().copied().chain([near])) - near
            })
        });
        let references = 0..d.reference_labels.len();
        let lengths = squares(d.anchors().map(|i| d.query(i))) + squares(references.map(|j| d.reference(j)));
        mean(terms) + 0.25 * l2 * lengths
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for l2 in [0.0, 0.3] {
        let loss = NPairs::new(l2).unwrap();
        within(&loss, among(l2.into()));
        between(&loss, sampled(l2.into()));
        is_sound(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    // 17 of 19 cases: the others put minus the Euclidean distance in place of the dot product.
    compare("n_pairs.json", 17, |given| {
        (given.settings().text("distance") == "dot").then(|| match given.settings().flag("normalize") {
            true => Box::new(OnSphere(NPairs::default())) as Box<dyn Loss>,
            false => Box::new(NPairs::default()),
        })
    });
}
