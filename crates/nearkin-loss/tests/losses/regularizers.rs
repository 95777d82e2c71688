//! Regularisers against their formulas, finite differences, and peers.

use nearkin_loss::Pull;
use nearkin_loss::regularizers::{KoLeo, Lp, Regularizer, SphericalEmbedding, ZeroMean};
use nearkin_sweep::Metric::{Cosine, Euclidean};
use nearkin_sweep::Vectors;

use crate::formula::{mean, random, score, slopes};
use crate::golden::{Given, assert_gradient, compare_with};

const DIM: usize = 5;

fn norm(x: &[f64], p: f64) -> f64 {
    x.iter().map(|x| x.abs().powf(p)).sum::<f64>().powf(1.0 / p)
}

/// Against a formula of rows, on random vectors; then on awkward ones.
#[track_caller]
fn agrees(regularizer: &dyn Regularizer, formula: impl Fn(&[&[f64]]) -> f64) {
    let pull = |points: &[f32]| regularizer.pull(Vectors::new(points, DIM).unwrap()).unwrap();
    for n in [0, 2, 3, 17] {
        let points = random(n * DIM, n as u64);
        let x: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
        let at = |x: &[f64]| formula(&x.chunks(DIM).collect::<Vec<_>>());
        let found = pull(&points);
        assert!(
            (found.loss - at(&x)).abs() <= 1e-5 * at(&x).abs().max(1e-2),
            "{} for {}",
            found.loss,
            at(&x)
        );
        assert_gradient(&format!("{n} vectors"), &found.query_gradient, &slopes(&at, &x));
    }
    for points in [[0.0; 3 * DIM], [0.7; 3 * DIM], [1e-20; 3 * DIM]] {
        let found = pull(&points);
        assert!(found.loss.is_finite() && found.query_gradient.iter().all(|g| g.is_finite()), "{found:?}");
    }
    let mut points = random(3 * DIM, 7);
    points[4] = f32::NAN;
    assert!(!pull(&points).loss.is_finite(), "a value that is not a number went unseen");
    let points = random(300 * DIM, 8);
    let run = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| pull(&points))
    };
    assert!(run(1) == run(4), "bits depend on the number of threads");
}

#[test]
fn each_agrees_with_its_formula_and_finite_differences() {
    for (p, power) in [(2.0, 1.0), (1.0, 1.0), (3.0, 2.0), (2.0, 2.0)] {
        agrees(&Lp::new(p, power).unwrap(), |x| mean(x.iter().map(|x| norm(x, p.into()).powf(power.into()))));
    }
    agrees(&ZeroMean, |x| mean(x.iter().map(|x| x.iter().sum::<f64>().abs())));
    agrees(&SphericalEmbedding, |x| {
        let middle = mean(x.iter().map(|x| norm(x, 2.0)));
        mean(x.iter().map(|x| (norm(x, 2.0) - middle).powi(2)))
    });
    agrees(&KoLeo, |x| {
        let unit: Vec<Vec<f64>> = x.iter().map(|x| x.iter().map(|v| v / norm(x, 2.0)).collect()).collect();
        mean((0..unit.len()).map(|i| {
            let others = (0..unit.len()).filter(|j| *j != i);
            let nearest = others
                .max_by(|a, b| {
                    score(Cosine, &unit[i], &unit[*a]).total_cmp(&score(Cosine, &unit[i], &unit[*b]))
                })
                .unwrap();
            -score(Euclidean, &unit[i], &unit[nearest]).ln()
        }))
    });
}

fn pull(regularizer: &dyn Regularizer, given: &Given<'_>) -> Option<Pull> {
    let vectors = Vectors::new(&given.batch.embeddings, given.batch.dim).unwrap();
    Some(regularizer.pull(vectors).unwrap())
}

#[test]
fn each_agrees_with_its_peer() {
    compare_with("lp_regularizer.json", 28, |given| {
        let s = given.settings();
        pull(&Lp::new(s.number("p"), s.number("power")).unwrap(), given)
    });
    compare_with("zero_mean_regularizer.json", 7, |given| pull(&ZeroMean, given));
    compare_with("koleo.json", 7, |given| pull(&KoLeo, given));
}
