use nearkin_loss::losses::{CosFace, LargeMarginSoftmax};
use nearkin_loss::{Loss, OnSphere, Reducer, Sides, Tuples};
use nearkin_sweep::Metric::{Cosine, Dot};
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes, random};
use crate::golden::{assert_gradient, compare};

/// Of class vectors as they are, or of unit length.
pub fn formula(margin: f64, scale: f64, ease: f64, unit: bool) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter_map(|i| {
            let own = *d.kin(i).first()?;
            let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let logit = |c: usize| {
                let of_class = if unit { 1.0 } else { length(d.reference(c)) };
                let cos = d.score(Cosine, i, c);
                if c != own {
                    return scale * d.score(Dot, i, c) * of_class / length(d.reference(c));
                }
                let angle = cos.clamp(-1.0, 1.0).acos();
                let k = (margin * angle / std::f64::consts::PI).floor();
                let psi = (-1f64).powf(k) * (margin * angle).cos() - 2.0 * k;
                scale * length(d.query(i)) * of_class * (ease * cos + psi) / (1.0 + ease)
            };
            Some(log_sum_exp((0..d.reference_labels.len()).map(logit)) - logit(own))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, scale, ease) in [(4, 1.0, 0.0), (3, 2.5, 0.0), (2, 1.0, 5.0), (1, 3.0, 0.0)] {
        let loss = LargeMarginSoftmax::new(margin, scale).unwrap().eased(ease).unwrap();
        of_classes(&loss, 1, formula(margin.into(), scale.into(), ease.into(), false));
        is_sound_of_classes(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("large_margin_softmax.json", 13, |given| {
        let s = given.settings();
        Some(Box::new(LargeMarginSoftmax::new(s.number("margin") as u32, s.number("scale")).unwrap()))
    });
}

/// Its terms are reduced by code of its own; without margins it must do what CosFace does.
#[test]
fn without_a_margin_and_lengths_it_is_cos_face_under_every_reducer() {
    let (plain, cosine) =
        (OnSphere(LargeMarginSoftmax::new(1, 6.0).unwrap()), CosFace::new(0.0, 6.0).unwrap());
    let (labels, classes) = ([0, 1, 2, 1, 4, 3], [0, 1, 2, 3]);
    let (q, r) = (random(24, 1), random(16, 2));
    let kin = SameLabel::between(&labels, &classes);
    let sides = Sides::between(Vectors::new(&q, 4).unwrap(), Vectors::new(&r, 4).unwrap(), &kin);
    let tuples = Tuples::Triplets(vec![[0, 1, 2], [1, 3, 2], [0, 1, 4]]);
    for reducer in [
        Reducer::Mean,
        Reducer::MeanActive,
        Reducer::Sum,
        Reducer::PerAnchor,
        Reducer::ClassWeighted(vec![1.0, 0.5, 2.0]),
        Reducer::Threshold { low: 1.0, high: 6.0 },
    ] {
        let sides = Sides { reducer: Some(&reducer), ..sides };
        for mined in [false, true] {
            let pull = |loss: &dyn Loss| {
                if mined { loss.pull_mined(&sides, &tuples) } else { loss.pull(&sides) }.unwrap()
            };
            let (found, wanted) = (pull(&plain), pull(&cosine));
            let name = format!("{reducer:?}, mined: {mined}");
            assert!((found.loss - wanted.loss).abs() < 1e-5 * wanted.loss, "{name}: {found:?} {wanted:?}");
            assert_eq!((found.terms, found.active), (wanted.terms, wanted.active), "{name}");
            let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
            assert_gradient(&name, &found.query_gradient, &wide(&wanted.query_gradient));
            assert_gradient(&name, &found.reference_gradient, &wide(&wanted.reference_gradient));
        }
    }
}
