use nearkin_loss::losses::CosFace;

use crate::arc_face::softmax;
use crate::formula::{is_sound_of_classes, of_classes};
use crate::golden::compare;

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, scale) in [(0.35, 64.0), (0.1, 4.0)] {
        let loss = CosFace::new(margin, scale).unwrap();
        of_classes(&loss, 1, |d| softmax(d, scale.into(), |cos| cos - f64::from(margin)));
        is_sound_of_classes(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("cos_face.json", 10, |given| {
        let s = given.settings();
        Some(Box::new(CosFace::new(s.number("margin"), s.number("scale")).unwrap()))
    });
}
