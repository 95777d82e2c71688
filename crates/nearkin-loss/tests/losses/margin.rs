use std::sync::Mutex;

use nearkin_loss::losses::{BetaPull, Betas, MarginBased};
use nearkin_loss::{Loss, LossError, OnSphere, Pull, Sides, Tuples};
use nearkin_sweep::Metric::{self, Cosine, Euclidean, SquaredEuclidean};
use nearkin_sweep::{SameLabel, Vectors};

use crate::formula::{Dense, between, is_sound, random, within};
use crate::golden::{Given, assert_gradient, compare_with, evaluate};

fn formula(metric: Metric, margin: f64, betas: Vec<f64>, nu: f64) -> impl Fn(&Dense<'_>) -> f64 {
    let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
    move |d| {
        let (mut sum, mut active, mut triplets, mut of_class) = (0.0, 0, 0, 0.0);
        for i in d.anchors() {
            let beta = if betas.len() == 1 { betas[0] } else { betas[d.labels[i] as usize] };
            for p in d.kin(i) {
                for n in d.strangers(i) {
                    let near = margin + sign * (d.score(metric, i, p) - beta);
                    let far = margin + sign * (beta - d.score(metric, i, n));
                    for energy in [near, far].into_iter().filter(|e| *e > 0.0) {
                        sum += energy;
                        active += 1;
                    }
                    triplets += 1;
                    of_class += nu * beta;
                }
            }
        }
        let shared = if triplets > 0 { nu * betas[0] } else { 0.0 };
        match (betas.len(), active) {
            (1, 0) => shared,
            (1, _) => sum / f64::from(active) + shared,
            (_, 0) => 0.0,
            (_, _) => (sum + of_class) / f64::from(active),
        }
    }
}

fn betas(values: &[f32]) -> Betas {
    if let [beta] = values { Betas::Shared(*beta) } else { Betas::PerClass(values.to_vec()) }
}

#[test]
fn agrees_with_its_formula_and_finite_differences() {
    let classes: [f32; 8] = [1.2, 1.0, 0.9, 1.3, 1.1, 0.8, 1.4, 1.25];
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    for (metric, margin, values) in
        [(Euclidean, 0.2, &classes[..1]), (SquaredEuclidean, 0.7, &classes), (Cosine, 0.3, &[0.1])]
    {
        let loss = MarginBased::new(metric, margin, betas(values)).unwrap().with_nu(0.1).unwrap();
        let formula = || formula(metric, margin.into(), wide(values), f64::from(0.1f32));
        within(&loss, formula());
        between(&loss, formula());
        if values.len() == 1 {
            is_sound(&loss);
        }
    }
}

#[test]
fn the_gradient_of_beta_agrees_with_finite_differences() {
    let labels = [3, 0, 1, 0, 1, 0, 2, 1, 0, 2, 1, 0];
    let points = random(labels.len() * 4, 7);
    let x: Vec<f64> = points.iter().map(|x| f64::from(*x)).collect();
    let (queries, references, reference_labels) = (&x[..], &x[..], &labels[..]);
    let dense = Dense { dim: 4, queries, references, labels: &labels, reference_labels, within: true };
    let kin = SameLabel::within(&labels);
    let sides = Sides::within(Vectors::new(&points, 4).unwrap(), &kin);
    for values in [&[1.3f32][..], &[1.2, 1.0, 0.9, 1.3]] {
        let loss = MarginBased::new(Euclidean, 0.2, betas(values)).unwrap().with_nu(0.1).unwrap();
        let found = loss.pull_with_betas(&sides, None).unwrap().betas;
        let at = |place: usize, d: f64| {
            let mut moved: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
            moved[place] += d;
            formula(Euclidean, f64::from(0.2f32), moved, f64::from(0.1f32))(&dense)
        };
        let slope = |place| (at(place, 1e-6) - at(place, -1e-6)) / 2e-6;
        assert_gradient("betas", &found, &(0..values.len()).map(slope).collect::<Vec<f64>>());
    }
}

/// A loss that keeps the gradient of β.
struct Keeping<F> {
    pull: F,
    betas: Mutex<Vec<f32>>,
}

impl<F> Loss for Keeping<F>
where
    F: Fn(&Sides<'_>, Option<&Tuples>) -> Result<BetaPull, LossError> + Send + Sync,
{
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let found = (self.pull)(sides, None)?;
        *self.betas.lock().unwrap() = found.betas;
        Ok(found.pull)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        Ok((self.pull)(sides, Some(tuples))?.pull)
    }
}

#[test]
fn agrees_with_its_peer() {
    compare_with("margin.json", 33, |given| {
        let s = given.settings();
        let beta = s.number("beta");
        let betas = betas(given.weights.unwrap_or(&[beta]));
        let loss = MarginBased::new(Euclidean, s.number("margin"), betas).unwrap();
        let loss = loss.with_nu(s.number("nu")).unwrap();
        let pull = |sides: &Sides<'_>, tuples: Option<&Tuples>| match s.flag("normalize") {
            true => OnSphere(loss.clone()).pull_with_betas(sides, tuples),
            false => loss.pull_with_betas(sides, tuples),
        };
        let keeping = Keeping { pull, betas: Mutex::default() };
        let mut found = evaluate(&Given { weights: None, ..*given }, &keeping, 1);
        if let Some(wanted) = &given.case.weight_gradient {
            let betas = keeping.betas.into_inner().unwrap();
            assert_gradient(&format!("{}, betas", given.case.name), &betas, wanted);
            if given.case.ref_gradient.is_none() {
                // The harness looks for the gradient of weights here.
                found.reference_gradient = betas;
            }
        }
        Some(found)
    });
}
