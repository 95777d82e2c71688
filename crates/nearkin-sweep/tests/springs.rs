//! The engine against the plain matrix formula, in f64, for every metric, both kinds of sides and every way of pulling.

use nearkin_sweep::{
    Bond, Kin, Metric, PairSprings, Relation, Row, RowSprings, SameLabel, Vectors, map_rows, pair_scores,
    pull_list, pull_pairs, pull_rows, sum_pairs,
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

impl RowSprings for Soft {
    type Kept = f64;

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> f64 {
        let pairs = || row.scores.iter().zip(row.relations).enumerate();
        let mut sum = 0.0;
        for (j, (s, r)) in pairs().filter(|(_, (_, r))| **r != Relation::Excluded) {
            let x = (weight(*r) * f64::from(*s)).exp();
            forces[j] = (weight(*r) * x) as f32;
            sum += x;
        }
        forces.iter_mut().for_each(|g| *g = (f64::from(*g) / sum) as f32);
        sum.ln()
    }
}

impl PairSprings<1, 1> for Soft {
    fn add(&self, score: f32, bond: Bond) -> [f32; 1] {
        [bond.kin * (0.5 * score).exp() + bond.stranger * (-0.25 * score).exp()]
    }

    fn force(&self, score: f32, bond: Bond, [share]: [f32; 1]) -> f32 {
        share * (bond.kin * 0.5 * (0.5 * score).exp() - bond.stranger * 0.25 * (-0.25 * score).exp())
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
struct Given {
    metric: Metric,
    dim: usize,
    query_labels: Vec<u32>,
    reference_labels: Vec<u32>,
    same: bool,
}

impl Given {
    fn within(metric: Metric, dim: usize, labels: Vec<u32>) -> Self {
        Self { metric, dim, reference_labels: labels.clone(), query_labels: labels, same: true }
    }

    fn loss(&self, q: &[f64], r: &[f64]) -> f64 {
        let row = |(i, a): (usize, &[f64])| {
            let pairs = r.chunks(self.dim).enumerate().filter(|(j, _)| !(self.same && i == *j));
            let terms = pairs.map(|(j, b)| {
                let kin = self.query_labels[i] == self.reference_labels[j];
                let relation = if kin { Relation::Kin } else { Relation::Stranger };
                (weight(relation) * score(self.metric, a, b)).exp()
            });
            terms.sum::<f64>().ln()
        };
        q.chunks(self.dim).enumerate().map(row).sum()
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

fn rows(q: &[f32], r: Option<&[f32]>, given: &Given) -> (f64, Vec<f32>, Vec<f32>) {
    let vectors = |x| Vectors::new(x, given.dim).unwrap();
    let within = SameLabel::within(&given.query_labels);
    let between = SameLabel::between(&given.query_labels, &given.reference_labels);
    let kin: &dyn Kin = if given.same { &within } else { &between };
    let (gradients, energies) = pull_rows(vectors(q), r.map(vectors), given.metric, kin, &Soft).unwrap();
    let (at_queries, at_references) = gradients.scaled(1.0);
    (energies.iter().sum(), at_queries, at_references)
}

/// The same by pairs, each visited once.
fn pairs(x: &[f32], given: &Given) -> (f64, Vec<f32>) {
    let vectors = Vectors::new(x, given.dim).unwrap();
    let kin = SameLabel::within(&given.query_labels);
    let sums = sum_pairs(vectors, given.metric, &kin, &Soft).unwrap();
    let ends: Vec<[f32; 1]> = sums.iter().map(|[sum]| [(1.0 / sum) as f32]).collect();
    let gradient = pull_pairs(vectors, given.metric, &kin, &Soft, &ends).unwrap();
    (sums.iter().map(|[sum]| sum.ln()).sum(), gradient)
}

#[test]
fn gradients_among_one_set_agree_with_finite_differences_of_the_formula() {
    let (n, dim) = (9, 4);
    let x = random(n * dim, 1);
    for metric in Metric::ALL {
        let given = Given::within(metric, dim, labels(n, 3));
        let loss = |x: &[f64]| given.loss(x, x);
        let (energy, gradient, none) = rows(&x, None, &given);
        assert_close(energy, loss(&wide(&x)), 1e-5, metric.name());
        assert_gradient(loss, &wide(&x), &gradient, metric.name());
        assert!(none.is_empty());
        let (energy, gradient) = pairs(&x, &given);
        assert_close(energy, loss(&wide(&x)), 1e-5, metric.name());
        assert_gradient(loss, &wide(&x), &gradient, metric.name());
    }
}

#[test]
fn gradients_of_queries_and_references_agree_with_finite_differences_of_the_formula() {
    let (n, m, dim) = (5, 8, 3);
    let (q, r) = (random(n * dim, 2), random(m * dim, 3));
    for metric in Metric::ALL {
        let given =
            Given { metric, dim, query_labels: labels(n, 2), reference_labels: labels(m, 4), same: false };
        let (energy, at_queries, at_references) = rows(&q, Some(&r), &given);
        let (q, r) = (wide(&q), wide(&r));
        assert_close(energy, given.loss(&q, &r), 1e-5, metric.name());
        assert_gradient(|q| given.loss(q, &r), &q, &at_queries, metric.name());
        assert_gradient(|r| given.loss(&q, r), &r, &at_references, metric.name());
    }
}

#[test]
fn many_bands_and_tiles_agree_with_the_formula() {
    let (n, m, dim) = (300, 1300, 2);
    let (q, r) = (random(n * dim, 4), random(m * dim, 5));
    let given = Given {
        metric: Metric::Euclidean,
        dim,
        query_labels: labels(n, 7),
        reference_labels: labels(m, 7),
        same: false,
    };
    let (energy, at_queries, at_references) = rows(&q, Some(&r), &given);
    let (q, r) = (wide(&q), wide(&r));
    assert_close(energy, given.loss(&q, &r), 1e-5, "loss");
    // The last reference lies in the last tile, the last query in the last band.
    let at_query = slope(&|q: &[f64]| given.loss(q, &r), &q, 2 * n - 1);
    let at_reference = slope(&|r: &[f64]| given.loss(&q, r), &r, 2 * m - 1);
    for (found, wanted) in [(at_queries[2 * n - 1], at_query), (at_references[2 * m - 1], at_reference)] {
        assert!((f64::from(found) - wanted).abs() < 2e-3 * wanted.abs(), "{found} for {wanted}");
    }
}

#[test]
fn rows_and_pairs_agree_on_many_blocks() {
    for n in [1, 2, 33, 130, 601] {
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let (dim, x) = (5, random(n * 5, n as u64));
            let given = Given::within(metric, dim, labels(n, 11));
            let ((a, by_rows, _), (b, by_pairs)) = (rows(&x, None, &given), pairs(&x, &given));
            assert!(n == 1 || (a - b).abs() < 1e-4 * a.abs(), "{n}: {a} {b}");
            for (i, (a, b)) in by_rows.iter().zip(&by_pairs).enumerate() {
                assert!(n == 1 || (a - b).abs() < 2e-5 * (1.0 + a.abs()), "{n} {metric}, {i}: {a} {b}");
            }
        }
    }
}

#[test]
fn listed_pairs_have_the_slopes_of_their_scores() {
    let (n, dim) = (6, 3);
    let x = random(n * dim, 6);
    let pairs = [(0, 1), (1, 0), (4, 2), (5, 3), (0, 1)];
    let weights = [0.3, -1.0, 0.7, 2.0, 0.1];
    for metric in Metric::ALL {
        let v = Vectors::new(&x, dim).unwrap();
        let scores = pair_scores(v, None, metric, &pairs).unwrap();
        let (gradient, none) = pull_list(v, None, metric, &pairs, &scores, &weights).unwrap();
        let loss = |x: &[f64]| {
            let point = |i: u32| &x[i as usize * dim..(i as usize + 1) * dim];
            pairs
                .iter()
                .zip(weights)
                .map(|((i, j), w)| f64::from(w) * score(metric, point(*i), point(*j)))
                .sum::<f64>()
        };
        assert_gradient(loss, &wide(&x), &gradient, metric.name());
        assert!(none.is_empty());
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let (n, dim) = (700, 24);
    let x = random(n * dim, 7);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            Metric::ALL.map(|metric| {
                let given = Given::within(metric, dim, labels(n, 50));
                (rows(&x, None, &given), pairs(&x, &given))
            })
        })
    };
    let one = run(1);
    assert!(one == run(2));
    assert!(one == run(4));
}

#[test]
fn near_duplicates_keep_their_distance() {
    let (n, dim) = (40, 32);
    let mut x = random(n * dim, 8);
    x.iter_mut().for_each(|v| *v += 3.0);
    let copy = x[..dim].to_vec();
    x[dim..2 * dim].copy_from_slice(&copy);
    x[2 * dim..3 * dim].copy_from_slice(&copy);
    x[2 * dim] += 1e-3;
    let v = Vectors::new(&x, dim).unwrap();
    let kin = SameLabel::between(&[0; 40], &[0; 40]);
    let rows = map_rows(v, Some(v), Metric::Euclidean, &kin, |row, _| row.scores.to_vec()).unwrap();
    assert_eq!((rows[0][0], rows[0][1]), (0.0, 0.0));
    assert!((rows[0][2] - 1e-3).abs() < 1e-6, "{}", rows[0][2]);
    for (i, row) in rows.iter().enumerate() {
        for (j, s) in row.iter().enumerate() {
            let wanted = Metric::Euclidean.score(v.row(i), v.row(j));
            assert!((s - wanted).abs() <= 2e-5 * wanted, "{i} {j}: {s} for {wanted}");
        }
    }
}

#[test]
fn an_empty_set_has_no_rows_and_no_gradient() {
    let given = Given::within(Metric::Dot, 3, vec![]);
    assert_eq!(rows(&[], None, &given), (0.0, vec![], vec![]));
    assert_eq!(pairs(&[], &given), (0.0, vec![]));
}
