use nearkin_loss::losses::ArcFace;
use nearkin_sweep::Metric::Cosine;

use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes};
use crate::golden::compare;

/// The authors' target, from the angle.
pub fn target(cos: f64, margin: f64) -> f64 {
    let angle = cos.clamp(-1.0, 1.0).acos();
    if angle <= std::f64::consts::PI - margin { (angle + margin).cos() } else { cos - margin * margin.sin() }
}

/// Cross entropy of logits, with that of the sample's class put through `target`.
pub fn softmax(d: &Dense<'_>, scale: f64, target: impl Fn(f64) -> f64) -> f64 {
    mean(d.anchors().filter_map(|i| {
        let own = *d.kin(i).first()?;
        let cos = |c: usize| d.score(Cosine, i, c);
        let logit = |c| scale * if c == own { target(cos(c)) } else { cos(c) };
        Some(log_sum_exp((0..d.reference_labels.len()).map(logit)) - logit(own))
    }))
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (degrees, scale) in [(28.6, 64.0), (10.0, 4.0), (100.0, 8.0)] {
        let loss = ArcFace::new(degrees, scale).unwrap();
        let margin = f64::from(degrees).to_radians();
        of_classes(&loss, 1, |d| softmax(d, scale.into(), |cos| target(cos, margin)));
        is_sound_of_classes(&loss);
    }
    of_classes(&ArcFace::deng_2019(), 1, |d| softmax(d, 64.0, |cos| target(cos, 0.5)));
}

#[test]
fn agrees_with_its_peer() {
    compare("arc_face.json", 16, |given| {
        let s = given.settings();
        Some(Box::new(ArcFace::new(s.number("margin"), s.number("scale")).unwrap()))
    });
}
