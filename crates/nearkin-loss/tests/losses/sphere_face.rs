use nearkin_loss::losses::SphereFace;

use crate::formula::{is_sound_of_classes, of_classes};
use crate::golden::compare;
use crate::large_margin_softmax::formula;

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (margin, scale, ease) in [(4, 1.0, 0.0), (3, 2.5, 0.0), (2, 1.0, 5.0)] {
        let loss = SphereFace::new(margin, scale).unwrap().eased(ease).unwrap();
        of_classes(&loss, 1, formula(margin.into(), scale.into(), ease.into(), true));
        is_sound_of_classes(&loss);
    }
}

#[test]
fn agrees_with_its_peer() {
    compare("sphere_face.json", 13, |given| {
        let s = given.settings();
        Some(Box::new(SphereFace::new(s.number("margin") as u32, s.number("scale")).unwrap()))
    });
}
