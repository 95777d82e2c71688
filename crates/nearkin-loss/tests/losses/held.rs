//! As `formula`, for losses that hold part of their formula constant, and for what is no [`Loss`](nearkin_loss::Loss).

use nearkin_loss::{Pull, Sides};
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{Dense, assert_value, label_shapes, random, slopes};
use crate::golden::assert_gradient;

/// Compares among one set, on several label shapes, with finite differences of `formula(moved, held)`: the second are the
/// points as given, for what has no gradient. `shift` chooses the points, so that none lies at a kink.
#[track_caller]
pub fn within(
    shift: u64,
    pull: impl Fn(&Sides<'_>) -> Pull,
    formula: impl Fn(&Dense<'_>, &Dense<'_>) -> f64,
) {
    for (seed, labels) in (1..).zip(label_shapes()) {
        let dim = 4;
        let points = random(labels.len() * dim, seed + shift);
        let kin = SameLabel::within(&labels);
        let found = pull(&Sides::within(Vectors::new(&points, dim).unwrap(), &kin));
        let x: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
        let dense = |x| Dense {
            dim,
            queries: x,
            references: x,
            labels: &labels,
            reference_labels: &labels,
            within: true,
        };
        let at =
            |moved: &[f64]| formula(&Dense { queries: moved, references: moved, ..dense(&x) }, &dense(&x));
        let name = format!("labels {labels:?}");
        assert_value(&name, &found, at(&x));
        assert_gradient(&name, &found.query_gradient, &slopes(&at, &x));
        assert!(found.reference_gradient.is_empty());
    }
}

/// The same between queries and references.
#[track_caller]
pub fn between(
    shift: u64,
    pull: impl Fn(&Sides<'_>) -> Pull,
    formula: impl Fn(&Dense<'_>, &Dense<'_>) -> f64,
) {
    let shapes: [(&[u32], &[u32]); 3] =
        [(&[0, 1, 2, 1, 4], &[0, 0, 1, 1, 2, 3, 2]), (&[0, 1, 2], &[0, 1, 2]), (&[0, 0], &[1, 1, 1])];
    for (seed, (labels, reference_labels)) in (20..).zip(shapes) {
        let dim = 4;
        let q = random(labels.len() * dim, seed + shift);
        let r = random(reference_labels.len() * dim, seed + shift + 100);
        let kin = SameLabel::between(labels, reference_labels);
        let found =
            pull(&Sides::between(Vectors::new(&q, dim).unwrap(), Vectors::new(&r, dim).unwrap(), &kin));
        let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let (q, r) = (wide(&q), wide(&r));
        let held = Dense { dim, queries: &q, references: &r, labels, reference_labels, within: false };
        let at = |q: &[f64], r: &[f64]| {
            formula(&Dense { dim, queries: q, references: r, labels, reference_labels, within: false }, &held)
        };
        let name = format!("labels {labels:?} against {reference_labels:?}");
        assert_value(&name, &found, at(&q, &r));
        assert_gradient(&name, &found.query_gradient, &slopes(&|q: &[f64]| at(q, &r), &q));
        let name = format!("{name}, references");
        assert_gradient(&name, &found.reference_gradient, &slopes(&|r: &[f64]| at(&q, r), &r));
    }
}
