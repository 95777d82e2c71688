use nearkin_loss::losses::SubCenterArcFace;
use nearkin_sweep::Metric::Cosine;

use crate::arc_face::target;
use crate::formula::{Dense, is_sound_of_classes, log_sum_exp, mean, of_classes};
use crate::golden::compare_proxies;

fn formula(margin: f64, scale: f64, centers: usize) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().filter_map(|i| {
            let own = *d.kin(i).first()? / centers;
            let logit = |c: usize| {
                let cosines = (c * centers..(c + 1) * centers).map(|j| d.score(Cosine, i, j));
                let cos = cosines.fold(f64::NEG_INFINITY, f64::max);
                scale * if c == own { target(cos, margin) } else { cos }
            };
            Some(log_sum_exp((0..d.reference_labels.len() / centers).map(logit)) - logit(own))
        }))
    }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for (degrees, scale, centers) in [(28.6, 64.0, 3), (10.0, 4.0, 2), (100.0, 8.0, 1)] {
        let loss = SubCenterArcFace::new(degrees, scale, centers).unwrap();
        of_classes(&loss, centers, formula(f64::from(degrees).to_radians(), scale.into(), centers));
        is_sound_of_classes(&loss);
    }
    of_classes(&SubCenterArcFace::deng_2020(), 3, formula(0.5, 64.0, 3));
}

#[test]
fn agrees_with_its_peer() {
    compare_proxies("sub_center_arc_face.json", 10, |given| {
        let s = given.settings();
        let centers = s.number("sub_centers") as usize;
        let loss = SubCenterArcFace::new(s.number("margin"), s.number("scale"), centers).unwrap();
        Some((Box::new(loss), centers))
    });
}
