use nearkin_loss::losses::{NonParametricNce, NonParametricSoftmax, NormalizedSoftmax, Normalizer};
use nearkin_loss::{Loss, Sides};
use nearkin_sweep::Metric::Cosine;
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{log_sum_exp, mean, random, score, slopes};
use crate::golden::assert_gradient;

const DIM: usize = 4;
const SLOTS: usize = 30;

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn the_whole_softmax_is_that_of_classes_without_a_gradient_of_the_memory() {
    let (queries, memory) = (random(5 * DIM, 1), random(SLOTS * DIM, 2));
    let all: Vec<u32> = (0..SLOTS as u32).collect();
    let kin = SameLabel::between(&[3, 0, 29, 3, 17], &all);
    let sides =
        Sides::between(Vectors::new(&queries, DIM).unwrap(), Vectors::new(&memory, DIM).unwrap(), &kin);
    let found = NonParametricSoftmax::new(0.3).unwrap().pull(&sides).unwrap();
    let classes = NormalizedSoftmax::new(0.3).unwrap().pull(&sides).unwrap();
    assert_eq!((found.loss, found.query_gradient), (classes.loss, classes.query_gradient));
    assert_eq!(found.reference_gradient, [0.0; SLOTS * DIM]);
}

#[test]
fn the_estimate_agrees_with_its_formula_and_finite_differences() {
    let (queries, memory) = (random(5 * DIM, 1), random(SLOTS * DIM, 2));
    let slots = [3, 0, 29, 3, 17];
    let (x, b) = (wide(&queries), wide(&memory));
    for (temperature, draws, lambda) in [(0.5f32, 7, 0.0f32), (0.1, 20, 0.0), (0.2, 3, 4.0)] {
        let loss = NonParametricNce::new(temperature, draws).unwrap().with_proximal(lambda).unwrap();
        let (tau, lambda) = (f64::from(temperature), f64::from(lambda));
        let cos = |x: &[f64], i: usize, j: usize| score(Cosine, &x[i * DIM..][..DIM], &b[j * DIM..][..DIM]);
        let drawn: Vec<(usize, usize)> =
            (0..5).flat_map(|i| loss.draws(8, i, SLOTS).map(move |j| (i, j))).collect();
        assert_eq!(drawn.len(), 5 * draws);
        let z = SLOTS as f64 * mean(drawn.iter().map(|&(i, j)| (cos(&x, i, j) / tau).exp()));
        let formula = |x: &[f64]| {
            let noise = draws as f64 / SLOTS as f64;
            let h = |i, j| {
                let p = (cos(x, i, j) / tau).exp() / z;
                p / (p + noise)
            };
            let own = slots
                .iter()
                .enumerate()
                .map(|(i, &own)| -h(i, own as usize).ln() + lambda * (2.0 - 2.0 * cos(x, i, own as usize)));
            let noise = drawn.iter().map(|&(i, j)| -(1.0 - h(i, j)).ln());
            own.chain(noise).sum::<f64>() / 5.0
        };
        let run = |threads: usize, normalizer: &mut Normalizer| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (queries, memory) =
                (Vectors::new(&queries, DIM).unwrap(), Vectors::new(&memory, DIM).unwrap());
            pool.install(|| loss.pull(queries, memory, &slots, 8, normalizer).unwrap())
        };
        let mut normalizer = Normalizer::default();
        let found = run(1, &mut normalizer);
        assert!((normalizer.log_z.unwrap() - z.ln()).abs() < 1e-9);
        assert!((found.loss - formula(&x)).abs() < 1e-5 * found.loss, "{} for {}", found.loss, formula(&x));
        assert_gradient("estimate", &found.query_gradient, &slopes(&formula, &x));
        assert_eq!(found, run(4, &mut normalizer), "bits depend on threads, or on when Z was found");
    }
}

#[test]
fn many_draws_estimate_the_whole_sum() {
    let (queries, memory) = (random(2 * DIM, 3), random(SLOTS * DIM, 4));
    let (x, b) = (wide(&queries), wide(&memory));
    let mut normalizer = Normalizer::default();
    let loss = NonParametricNce::new(0.5, 40_000).unwrap();
    let (q, m) = (Vectors::new(&queries, DIM).unwrap(), Vectors::new(&memory, DIM).unwrap());
    loss.pull(q, m, &[0, 1], 5, &mut normalizer).unwrap();
    let whole = |x: &[f64]| log_sum_exp(b.chunks(DIM).map(|b| score(Cosine, x, b) / 0.5)).exp();
    let wanted = mean(x.chunks(DIM).map(whole)).ln();
    let found = normalizer.log_z.unwrap();
    assert!((found - wanted).abs() < 0.02, "{found} for {wanted}");
}

#[test]
fn vectors_of_zeros_pull_at_nothing() {
    let mut normalizer = Normalizer::default();
    let loss = NonParametricNce::new(0.5, 4).unwrap();
    let zeros = [0.0; 2 * DIM];
    let (q, m) = (Vectors::new(&zeros, DIM).unwrap(), Vectors::new(&zeros, DIM).unwrap());
    let found = loss.pull(q, m, &[0, 1], 5, &mut normalizer).unwrap();
    assert!(found.loss.is_finite() && found.query_gradient == zeros);
}
