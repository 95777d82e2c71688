//! The plain O(N²) formula of a loss in f64, and finite differences of it.

use nearkin_loss::{Loss, Pull, Sides};
use nearkin_sweep::{Metric, SameLabel, Vectors};

use crate::golden::assert_gradient;

/// Points in f64 with their relations: what a formula reads.
pub struct Dense<'a> {
    pub dim: usize,
    pub queries: &'a [f64],
    /// The queries again, among one set.
    pub references: &'a [f64],
    pub labels: &'a [u32],
    pub reference_labels: &'a [u32],
    /// Whether queries and references are one set.
    pub within: bool,
}

impl Dense<'_> {
    pub fn anchors(&self) -> std::ops::Range<usize> {
        0..self.labels.len()
    }

    pub fn query(&self, i: usize) -> &[f64] {
        &self.queries[i * self.dim..(i + 1) * self.dim]
    }

    pub fn reference(&self, j: usize) -> &[f64] {
        &self.references[j * self.dim..(j + 1) * self.dim]
    }

    pub fn score(&self, metric: Metric, i: usize, j: usize) -> f64 {
        score(metric, self.query(i), self.reference(j))
    }

    /// Kin of query `i`.
    pub fn kin(&self, i: usize) -> Vec<usize> {
        self.of(i, true)
    }

    /// Strangers of query `i`.
    pub fn strangers(&self, i: usize) -> Vec<usize> {
        self.of(i, false)
    }

    fn of(&self, i: usize, kin: bool) -> Vec<usize> {
        let others = 0..self.reference_labels.len();
        others
            .filter(|&j| !(self.within && i == j) && (self.labels[i] == self.reference_labels[j]) == kin)
            .collect()
    }
}

pub fn score(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let squared = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    match metric {
        Metric::Dot => dot(a, b),
        Metric::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::Euclidean => squared.sqrt(),
        Metric::SquaredEuclidean => squared,
    }
}

/// `ln Σ e^x`; −∞ of none.
pub fn log_sum_exp(exponents: impl IntoIterator<Item = f64>) -> f64 {
    let x: Vec<f64> = exponents.into_iter().collect();
    let highest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if highest == f64::NEG_INFINITY {
        highest
    } else {
        highest + x.iter().map(|x| (x - highest).exp()).sum::<f64>().ln()
    }
}

/// The mean; 0 of none.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The mean of what is above zero; 0 of none.
pub fn mean_active(values: impl IntoIterator<Item = f64>) -> f64 {
    mean(values.into_iter().filter(|x| *x > 0.0))
}

pub fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| 2.0 * next()).collect()
}

/// Label shapes on which every loss is tried among one set.
pub fn label_shapes() -> Vec<Vec<u32>> {
    vec![
        vec![0, 0, 1, 1, 2, 2],
        vec![3, 0, 1, 0, 1, 0, 2, 1, 0, 2, 1, 0],
        vec![0, 1, 2, 3, 0, 1, 2, 3],
        vec![5; 5],
        vec![0, 1, 2, 3],
        vec![7],
        vec![],
    ]
}

/// Compares a loss among one set, on several label shapes, with its formula and with finite differences of that.
#[track_caller]
pub fn within(loss: &dyn Loss, formula: impl Fn(&Dense<'_>) -> f64) {
    for (seed, labels) in (1..).zip(label_shapes()) {
        let dim = 4;
        let points = random(labels.len() * dim, seed);
        let kin = SameLabel::within(&labels);
        let found = loss.pull(&Sides::within(Vectors::new(&points, dim).unwrap(), &kin)).unwrap();
        let at = |x: &[f64]| {
            formula(&Dense {
                dim,
                queries: x,
                references: x,
                labels: &labels,
                reference_labels: &labels,
                within: true,
            })
        };
        let x: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
        let name = format!("labels {labels:?}");
        assert_value(&name, &found, at(&x));
        assert_gradient(&name, &found.query_gradient, &slopes(&at, &x));
        assert!(found.reference_gradient.is_empty());
    }
}

/// The same between queries and references.
#[track_caller]
pub fn between(loss: &dyn Loss, formula: impl Fn(&Dense<'_>) -> f64) {
    let shapes: [(&[u32], &[u32]); 3] =
        [(&[0, 1, 2, 1, 4], &[0, 0, 1, 1, 2, 3, 2]), (&[0, 1, 2], &[0, 1, 2]), (&[0, 0], &[1, 1, 1])];
    for (seed, (labels, reference_labels)) in (20..).zip(shapes) {
        let dim = 4;
        let (q, r) = (random(labels.len() * dim, seed), random(reference_labels.len() * dim, seed + 100));
        let kin = SameLabel::between(labels, reference_labels);
        let sides = Sides::between(Vectors::new(&q, dim).unwrap(), Vectors::new(&r, dim).unwrap(), &kin);
        let found = loss.pull(&sides).unwrap();
        let at = |q: &[f64], r: &[f64]| {
            formula(&Dense { dim, queries: q, references: r, labels, reference_labels, within: false })
        };
        let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let (q, r) = (wide(&q), wide(&r));
        let name = format!("labels {labels:?} against {reference_labels:?}");
        assert_value(&name, &found, at(&q, &r));
        assert_gradient(&name, &found.query_gradient, &slopes(&|q| at(q, &r), &q));
        assert_gradient(
            &format!("{name}, references"),
            &found.reference_gradient,
            &slopes(&|r| at(&q, r), &r),
        );
    }
}

#[track_caller]
pub fn assert_value(name: &str, found: &Pull, wanted: f64) {
    assert!(
        (found.loss - wanted).abs() <= 1e-5 * wanted.abs().max(1e-2),
        "{name}: {} for {wanted}",
        found.loss
    );
}

/// Central differences.
pub fn slopes(f: &impl Fn(&[f64]) -> f64, x: &[f64]) -> Vec<f64> {
    let h = 1e-6;
    let at = |i: usize, d: f64| {
        let mut moved = x.to_vec();
        moved[i] += d;
        f(&moved)
    };
    (0..x.len()).map(|i| (at(i, h) - at(i, -h)) / (2.0 * h)).collect()
}

/// What must hold of every loss whatever the input: bits that do not depend on threads, and nothing hidden or broken by
/// vectors of zeros, copies, infinities or what is not a number.
#[track_caller]
pub fn is_sound(loss: &dyn Loss) {
    let labels: Vec<u32> = (0..150).map(|i| i * i % 37).collect();
    let points = random(labels.len() * 24, 99);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let kin = SameLabel::within(&labels);
        pool.install(|| loss.pull(&Sides::within(Vectors::new(&points, 24).unwrap(), &kin)).unwrap())
    };
    let one = run(1);
    assert!(one == run(2) && one == run(4), "bits depend on the number of threads");
    assert!(one.loss.is_finite() && one.query_gradient.iter().all(|g| g.is_finite()));

    let labels = [0, 0, 1, 1, 0, 1];
    let kin = SameLabel::within(&labels);
    let pull = |points: &[f32]| loss.pull(&Sides::within(Vectors::new(points, 2).unwrap(), &kin)).unwrap();
    for points in [[0.0; 12], [0.7; 12], [1e-20; 12]] {
        let found = pull(&points);
        assert!(found.loss.is_finite(), "{points:?}: {}", found.loss);
        assert!(found.query_gradient.iter().all(|g| g.is_finite()), "{points:?}: {:?}", found.query_gradient);
    }
    let mut points = random(12, 5);
    points[5] = f32::NAN;
    assert!(!pull(&points).loss.is_finite(), "a value that is not a number went unseen");
}
