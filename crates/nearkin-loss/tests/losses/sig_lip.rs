use nearkin_loss::Sides;
use nearkin_loss::losses::SigLip;
use nearkin_sweep::Metric::Cosine;
use nearkin_sweep::{Graph, Lists, SameLabel, Vectors};

use crate::formula::{Dense, between, is_sound, mean, random, within};

fn formula(log_temperature: f64, bias: f64) -> impl Fn(&Dense<'_>) -> f64 {
    move |d| {
        mean(d.anchors().map(|i| {
            let term = |z: f64, j: usize| {
                (-z * (log_temperature.exp() * d.score(Cosine, i, j) + bias)).exp().ln_1p()
            };
            let kin: f64 = d.kin(i).into_iter().map(|p| term(1.0, p)).sum();
            kin + d.strangers(i).into_iter().map(|n| term(-1.0, n)).sum::<f64>()
        }))
    }
}

const SETTINGS: [[f32; 2]; 3] = [[2.3, -10.0], [0.0, 0.5], [3.4, -12.5]];

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    for [t, b] in SETTINGS {
        let loss = SigLip::new(t, b).unwrap();
        between(&loss, formula(t.into(), b.into()));
        within(&loss, formula(t.into(), b.into()));
        is_sound(&loss);
    }
    is_sound(&SigLip::default());
}

#[test]
fn the_gradients_of_its_parameters_agree_with_finite_differences() {
    let (labels, reference_labels) = ([0, 1, 2, 1, 4], [0, 0, 1, 1, 2, 3, 2]);
    let (q, r) = (random(20, 7), random(28, 8));
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let (queries, references) = (&wide(&q)[..], &wide(&r)[..]);
    let dense = Dense {
        dim: 4,
        queries,
        references,
        labels: &labels,
        reference_labels: &reference_labels,
        within: false,
    };
    let kin = SameLabel::between(&labels, &reference_labels);
    let sides = Sides::between(Vectors::new(&q, 4).unwrap(), Vectors::new(&r, 4).unwrap(), &kin);
    for [t, b] in SETTINGS {
        let found = SigLip::new(t, b).unwrap().pull_with_parameters(&sides).unwrap();
        let (t, b, h) = (f64::from(t), f64::from(b), 1e-6);
        let of_t = (formula(t + h, b)(&dense) - formula(t - h, b)(&dense)) / (2.0 * h);
        let of_b = (formula(t, b + h)(&dense) - formula(t, b - h)(&dense)) / (2.0 * h);
        let same = |found: f64, wanted: f64| (found - wanted).abs() <= 1e-4 * wanted.abs().max(1e-3);
        assert!(same(found.log_temperature_gradient, of_t), "{} for {of_t}", found.log_temperature_gradient);
        assert!(same(found.bias_gradient, of_b), "{} for {of_b}", found.bias_gradient);
    }
}

#[test]
fn pairs_count_as_often_as_they_weigh() {
    let (q, r) = (random(8, 7), random(12, 8));
    let (queries, references) = (Vectors::new(&q, 4).unwrap(), Vectors::new(&r, 4).unwrap());
    let loss = SigLip::new(1.0, -1.0).unwrap();
    let of = |weight: f32| {
        let kin = Graph::between(Lists::new(2, [(0, 1, weight), (1, 2, 1.0)]).unwrap());
        loss.pull_with_parameters(&Sides::between(queries, references, &kin)).unwrap()
    };
    // Linear in the weight.
    let (once, twice, thrice) = (of(1.0), of(2.0), of(3.0));
    let step = twice.pull.loss - once.pull.loss;
    assert!(step > 0.01 && (thrice.pull.loss - twice.pull.loss - step).abs() < 1e-6);
    let steps = [twice.bias_gradient - once.bias_gradient, thrice.bias_gradient - twice.bias_gradient];
    assert!(steps[0] < -0.01 && (steps[0] - steps[1]).abs() < 1e-6);
}
