use nearkin_loss::losses::LargeMarginSoftmax;
use nearkin_sweep::Metric::{Cosine, Dot};

use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes};
use crate::golden::compare;

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
