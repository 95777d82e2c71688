//! Springs against the plain matrix formula, in f64, for every metric and both kinds of sides.

use nearkin_sweep::{
    Metric, Pull, Reduction, Relation, SameLabel, Settled, Springs, Tile, TupleSprings, Vectors, pull,
    pull_tuples,
};

/// A smooth spring on every pair: `ℓ_i = log Σ_j exp(w_ij s_ij)`, `w` = 0.5 for kin and −0.25 for strangers.
struct Soft;

fn weight(relation: Relation) -> f64 {
    match relation {
        Relation::Kin => 0.5,
        Relation::Stranger => -0.25,
        Relation::Excluded => 0.0,
    }
}

impl Springs for Soft {
    type Row = f64;

    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut f64) {
        let terms = scores.iter().zip(tile.relations).filter(|(_, r)| **r != Relation::Excluded);
        *row += terms.map(|(s, r)| (weight(*r) * f64::from(*s)).exp()).sum::<f64>();
    }

    fn settle(&self, row: &f64) -> Settled {
        Settled { energy: row.ln(), terms: 1, active: 1 }
    }

    fn force(&self, tile: Tile<'_>, row: &f64, scores: &mut [f32]) {
        for (s, r) in scores.iter_mut().zip(tile.relations) {
            let w = weight(*r);
            *s = if *r == Relation::Excluded { 0.0 } else { (w * (w * f64::from(*s)).exp() / row) as f32 };
        }
    }
}

/// The kin with the highest score, and nothing else; energy `s²`.
struct Highest;

impl TupleSprings for Highest {
    type Row = Option<(f32, usize)>;

    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut Self::Row) {
        for (j, (s, r)) in scores.iter().zip(tile.relations).enumerate() {
            if *r == Relation::Kin && row.is_none_or(|(best, _)| *s > best) {
                *row = Some((*s, tile.first + j));
            }
        }
    }

    fn attach(&self, row: &Self::Row, references: &mut Vec<usize>) {
        references.extend(row.map(|(_, r)| r));
    }

    fn settle(&self, scores: &[f32], forces: &mut [f32]) -> Settled {
        forces[0] = 2.0 * scores[0];
        Settled { energy: f64::from(scores[0]).powi(2), terms: 1, active: 1 }
    }
}

fn score(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let squared = a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    match metric {
        Metric::Dot => dot(a, b),
        Metric::Cosine => dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        Metric::Euclidean => squared.sqrt(),
        Metric::SquaredEuclidean => squared,
    }
}

/// Two sides of labelled points; `same` leaves out the pairs of a point with itself.
struct Sides {
    metric: Metric,
    dim: usize,
    query_labels: Vec<u32>,
    reference_labels: Vec<u32>,
    same: bool,
}

impl Sides {
    fn soft_loss(&self, q: &[f64], r: &[f64]) -> f64 {
        let row = |(i, a): (usize, &[f64])| {
            let pairs = r.chunks(self.dim).enumerate().filter(|(j, _)| !(self.same && i == *j));
            let terms = pairs.map(|(j, b)| {
                let kin = self.query_labels[i] == self.reference_labels[j];
                let relation = if kin { Relation::Kin } else { Relation::Stranger };
                (weight(relation) * score(self.metric, a, b)).exp()
            });
            terms.sum::<f64>().ln()
        };
        q.chunks(self.dim).enumerate().map(row).sum::<f64>() / self.query_labels.len() as f64
    }
}

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| 2.0 * next()).collect()
}

fn labels(n: usize, classes: u32) -> Vec<u32> {
    (0..n as u32).map(|i| i % classes).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

fn assert_close(found: f64, wanted: f64, tolerance: f64, what: &str) {
    assert!((found - wanted).abs() <= tolerance * wanted.abs().max(1e-2), "{what}: {found} for {wanted}");
}

fn slope(f: &impl Fn(&[f64]) -> f64, x: &[f64], i: usize) -> f64 {
    let h = 1e-6;
    let at = |d: f64| {
        let mut moved = x.to_vec();
        moved[i] += d;
        f(&moved)
    };
    (at(h) - at(-h)) / (2.0 * h)
}

fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f32], what: &str) {
    assert_eq!(x.len(), gradient.len(), "{what}");
    for (i, g) in gradient.iter().enumerate() {
        assert_close(f64::from(*g), slope(&f, x, i), 2e-4, &format!("{what}, coordinate {i}"));
    }
}

#[test]
fn gradients_among_one_set_agree_with_finite_differences_of_the_formula() {
    let (n, dim) = (9, 4);
    let x = random(n * dim, 1);
    for metric in Metric::ALL {
        let labels = labels(n, 3);
        let found = {
            let v = Vectors::new(&x, dim).unwrap();
            pull(v, None, metric, &SameLabel::within(&labels), &Soft, Reduction::Mean).unwrap()
        };
        let sides = Sides { metric, dim, query_labels: labels.clone(), reference_labels: labels, same: true };
        let loss = |x: &[f64]| sides.soft_loss(x, x);
        assert_close(found.loss, loss(&wide(&x)), 1e-5, metric.name());
        assert_gradient(loss, &wide(&x), &found.query_gradient, metric.name());
        assert!(found.reference_gradient.is_empty());
    }
}

#[test]
fn gradients_of_queries_and_references_agree_with_finite_differences_of_the_formula() {
    let (n, m, dim) = (5, 8, 3);
    let (q, r) = (random(n * dim, 2), random(m * dim, 3));
    for metric in Metric::ALL {
        let sides =
            Sides { metric, dim, query_labels: labels(n, 2), reference_labels: labels(m, 4), same: false };
        let kin = SameLabel::between(&sides.query_labels, &sides.reference_labels);
        let (qv, rv) = (Vectors::new(&q, dim).unwrap(), Vectors::new(&r, dim).unwrap());
        let found = pull(qv, Some(rv), metric, &kin, &Soft, Reduction::Mean).unwrap();
        let (q, r) = (wide(&q), wide(&r));
        assert_close(found.loss, sides.soft_loss(&q, &r), 1e-5, metric.name());
        assert_gradient(|q| sides.soft_loss(q, &r), &q, &found.query_gradient, metric.name());
        assert_gradient(|r| sides.soft_loss(&q, r), &r, &found.reference_gradient, metric.name());
    }
}

#[test]
fn many_bands_and_tiles_agree_with_the_formula() {
    let (n, m, dim) = (300, 4500, 2);
    let (q, r) = (random(n * dim, 4), random(m * dim, 5));
    let metric = Metric::Euclidean;
    let sides =
        Sides { metric, dim, query_labels: labels(n, 7), reference_labels: labels(m, 7), same: false };
    let kin = SameLabel::between(&sides.query_labels, &sides.reference_labels);
    let (qv, rv) = (Vectors::new(&q, dim).unwrap(), Vectors::new(&r, dim).unwrap());
    let found = pull(qv, Some(rv), metric, &kin, &Soft, Reduction::Mean).unwrap();
    let (q, r) = (wide(&q), wide(&r));
    assert_close(found.loss, sides.soft_loss(&q, &r), 1e-5, "loss");
    // The last reference lies in the second tile, the last query in the second band.
    let at_query = slope(&|q: &[f64]| sides.soft_loss(q, &r), &q, 2 * n - 1);
    let at_reference = slope(&|r: &[f64]| sides.soft_loss(&q, r), &r, 2 * m - 1);
    let pairs =
        [(found.query_gradient[2 * n - 1], at_query), (found.reference_gradient[2 * m - 1], at_reference)];
    for (gradient, wanted) in pairs {
        assert!((f64::from(gradient) - wanted).abs() < 2e-3 * wanted.abs(), "{gradient} for {wanted}");
    }
}

#[test]
fn tuple_gradients_agree_with_finite_differences_for_every_metric() {
    let (n, dim) = (7, 3);
    let x = random(n * dim, 6);
    let labels = labels(n, 3);
    for metric in Metric::ALL {
        let loss = |x: &[f64]| {
            let point = |i: usize| &x[i * dim..(i + 1) * dim];
            let rows = (0..n).filter_map(|i| {
                let kin = (0..n).filter(|j| *j != i && labels[*j] == labels[i]);
                kin.map(|j| score(metric, point(i), point(j))).max_by(f64::total_cmp)
            });
            rows.map(|s| s * s).sum::<f64>() / n as f64
        };
        let v = Vectors::new(&x, dim).unwrap();
        let kin = SameLabel::within(&labels);
        let found = pull_tuples(v, None, metric, &kin, &Highest, Reduction::Mean).unwrap();
        assert_eq!(found.terms, n);
        assert_close(found.loss, loss(&wide(&x)), 1e-5, metric.name());
        assert_gradient(loss, &wide(&x), &found.query_gradient, metric.name());
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let (n, dim) = (700, 24);
    let x = random(n * dim, 7);
    let labels = labels(n, 50);
    let run = |threads: usize| -> (Pull, Pull) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (v, kin) = (Vectors::new(&x, dim).unwrap(), SameLabel::within(&labels));
            (
                pull(v, None, Metric::Cosine, &kin, &Soft, Reduction::Mean).unwrap(),
                pull_tuples(v, None, Metric::Euclidean, &kin, &Highest, Reduction::Mean).unwrap(),
            )
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(4));
}

#[test]
fn an_empty_set_has_no_loss_and_no_gradient() {
    let none = Vectors::new(&[], 3).unwrap();
    let found = pull(none, None, Metric::Dot, &SameLabel::within(&[]), &Soft, Reduction::Mean).unwrap();
    assert_eq!((found.loss, found.terms, found.query_gradient.len()), (0.0, 0, 0));
}
