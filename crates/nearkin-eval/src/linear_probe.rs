//! How much of the classes a linear classifier reads off frozen embeddings.
//!
//! G. Alain, Y. Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", 2016. Softmax regression on standardised
//! features, with a ridge on the weights and none on the biases:
//!
//! ```text
//! mean_i −ln softmax(W x_i + b)_{y_i} + ‖W‖² / (2 C n)
//! ```
//!
//! minimised to its optimum, which is one: no rate, no epochs, no seed. It is what scikit-learn's `LogisticRegression(C)` minimises.
//! The Cookbook's probe (Balestriero et al. 2023) trains the same classifier by SGD on augmented images for a given number of epochs.

use std::collections::VecDeque;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use nearkin_sweep::SweepError;
use rayon::prelude::*;
use serde::Serialize;

use crate::error::{EvalError, Side};
use crate::labeled::Labeled;

/// Rows whose sums one thread takes.
const ROWS: usize = 512;
/// Steps whose curvature is remembered.
const MEMORY: usize = 10;
/// Steps of a line search.
const TRIALS: usize = 20;

/// Settings of [`linear_probe`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearProbeOptions {
    /// C, the inverse of the ridge: 1 is scikit-learn's default.
    pub c: f64,
    /// Steps of L-BFGS at most.
    pub iterations: usize,
    /// Stops when no entry of the gradient is larger.
    pub tolerance: f64,
}

impl Default for LinearProbeOptions {
    fn default() -> Self {
        Self { c: 1.0, iterations: 200, tolerance: 1e-5 }
    }
}

/// What a linear classifier came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LinearProbe {
    /// The share of test samples that it classifies rightly; a class without a training sample counts as wrong.
    pub accuracy: f64,
    /// The same of the samples that it was fitted to.
    pub fitted_accuracy: f64,
    /// The objective at the end.
    pub objective: f64,
    /// Steps made.
    pub iterations: usize,
}

/// Fits a linear classifier to `fit` and measures it on `test`.
///
/// Cost: about two products of samples × dimensions × classes a step. The bits do not depend on the number of threads.
///
/// # Errors
/// An empty side, label counts or dimensions that differ, a value that is not finite, fewer than two classes to fit, and settings out
/// of range.
pub fn linear_probe(
    fit: Labeled<'_>,
    test: Labeled<'_>,
    options: &LinearProbeOptions,
) -> Result<LinearProbe, EvalError> {
    let classes = classes_to_fit(fit, test, options.c)?;
    let place = |label: &u32| classes.binary_search(label).ok();
    let own: Vec<usize> = fit.labels.iter().filter_map(place).collect();
    let scale = Scale::of(fit);
    let problem = Problem { x: scale.apply(fit), own, classes: classes.len(), dim: fit.vectors.dim() + 1 };
    let ridge = 1.0 / (options.c * fit.labels.len() as f64);
    let (weights, objective, iterations) = problem.minimise(ridge, options);
    let share = |x: &[f32], own: &mut dyn Iterator<Item = Option<usize>>| {
        let (mut right, mut all) = (0usize, 0usize);
        let scores = problem.scores(x, &weights);
        for (row, own) in scores.chunks_exact(classes.len()).zip(own) {
            let best = (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
            right += usize::from(best == own);
            all += 1;
        }
        right as f64 / all as f64
    };
    Ok(LinearProbe {
        accuracy: share(&scale.apply(test), &mut test.labels.iter().map(place)),
        fitted_accuracy: share(&problem.x, &mut problem.own.iter().map(|own| Some(*own))),
        objective,
        iterations,
    })
}

/// The classes of `fit`, ascending, once both sides and C are found to be sound.
pub(crate) fn classes_to_fit(fit: Labeled<'_>, test: Labeled<'_>, c: f64) -> Result<Vec<u32>, EvalError> {
    fit.check(Side::References)?;
    test.check(Side::Queries)?;
    let (queries, references) = (test.vectors.dim(), fit.vectors.dim());
    if queries != references {
        return Err(SweepError::DimensionMismatch { queries, references }.into());
    }
    if !(c > 0.0 && c.is_finite()) {
        return Err(EvalError::Setting { field: "c", found: c.to_string(), wanted: "above 0" });
    }
    let mut classes = fit.labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() < 2 {
        return Err(EvalError::Setting {
            field: "classes",
            found: classes.len().to_string(),
            wanted: "at least 2: a classifier tells them apart",
        });
    }
    Ok(classes)
}

/// Means and deviations of the features fitted to.
pub(crate) struct Scale {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Scale {
    pub(crate) fn of(Labeled { vectors, .. }: Labeled<'_>) -> Self {
        let (n, dim) = (vectors.len() as f64, vectors.dim());
        let mut mean = vec![0.0; dim];
        let mut variance = vec![0.0; dim];
        let rows = || vectors.data().chunks_exact(dim);
        rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) / n));
        for row in rows() {
            let off = row.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2) / n);
            variance.iter_mut().zip(off).for_each(|(v, off)| *v += off);
        }
        // A feature that never changes says nothing.
        let scale = variance.iter().map(|v| if *v > 0.0 { v.sqrt().recip() } else { 0.0 }).collect();
        Self { mean, scale }
    }

    /// Standardised features, and a 1 for the bias, row-major.
    pub(crate) fn apply(&self, Labeled { vectors, .. }: Labeled<'_>) -> Vec<f32> {
        let rows = vectors.data().chunks_exact(vectors.dim());
        let row = |row: &[f32]| -> Vec<f32> {
            let scaled = row.iter().zip(&self.mean).zip(&self.scale);
            scaled.map(|((x, m), s)| ((f64::from(*x) - m) * s) as f32).chain([1.0]).collect()
        };
        rows.flat_map(row).collect()
    }
}

struct Problem {
    /// `[n, dim]`
    x: Vec<f32>,
    own: Vec<usize>,
    classes: usize,
    /// With the bias.
    dim: usize,
}

impl Problem {
    /// `[rows, classes]` from `weights`, `[classes, dim]`.
    fn scores(&self, x: &[f32], weights: &[f64]) -> Vec<f32> {
        let narrow: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
        let mut scores = vec![0.0; x.len() / self.dim * self.classes];
        scores
            .par_chunks_mut(ROWS * self.classes)
            .zip(x.par_chunks(ROWS * self.dim))
            .for_each(|(scores, x)| self.product(x, &narrow, scores));
        scores
    }

    fn product(&self, x: &[f32], weights: &[f32], scores: &mut [f32]) {
        let rows = x.len() / self.dim;
        let out = MatMut::from_row_major_slice_mut(scores, rows, self.classes);
        let x = MatRef::from_row_major_slice(x, rows, self.dim);
        let weights = MatRef::from_row_major_slice(weights, self.classes, self.dim).transpose();
        matmul(out, Accum::Replace, x, weights, 1.0, Par::Seq);
    }

    /// The objective and its gradient.
    fn of(&self, weights: &[f64], ridge: f64) -> (f64, Vec<f64>) {
        let narrow: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
        let n = self.own.len() as f64;
        // Sums of fixed blocks, added in order: the same bits on any number of threads.
        let blocks: Vec<(f64, Vec<f32>)> = self
            .x
            .par_chunks(ROWS * self.dim)
            .zip(self.own.par_chunks(ROWS))
            .map(|(x, own)| {
                let rows = own.len();
                let mut pulls = vec![0.0; rows * self.classes];
                self.product(x, &narrow, &mut pulls);
                let mut loss = 0.0;
                for (row, own) in pulls.chunks_exact_mut(self.classes).zip(own) {
                    let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let at_own = row[*own];
                    row.iter_mut().for_each(|s| *s = (*s - highest).exp());
                    let sum: f32 = row.iter().sum();
                    loss += f64::from(highest - at_own) + f64::from(sum).ln();
                    row.iter_mut().for_each(|s| *s /= sum);
                    row[*own] -= 1.0;
                }
                let mut gradient = vec![0.0; self.classes * self.dim];
                let out = MatMut::from_row_major_slice_mut(&mut gradient, self.classes, self.dim);
                let pulls = MatRef::from_row_major_slice(&pulls, rows, self.classes).transpose();
                let x = MatRef::from_row_major_slice(x, rows, self.dim);
                matmul(out, Accum::Replace, pulls, x, 1.0, Par::Seq);
                (loss, gradient)
            })
            .collect();
        let mut loss = 0.0;
        let mut gradient = vec![0.0; weights.len()];
        for (of_block, pull) in blocks {
            loss += of_block / n;
            gradient.iter_mut().zip(pull).for_each(|(g, p)| *g += f64::from(p) / n);
        }
        for (row, pull) in weights.chunks_exact(self.dim).zip(gradient.chunks_exact_mut(self.dim)) {
            for (w, g) in row.iter().zip(pull).take(self.dim - 1) {
                loss += 0.5 * ridge * w * w;
                *g += ridge * w;
            }
        }
        (loss, gradient)
    }

    /// L-BFGS (J. Nocedal, "Updating Quasi-Newton Matrices with Limited Storage", 1980) with steps that are halved until they gain
    /// enough; the function is convex and smooth.
    fn minimise(&self, ridge: f64, options: &LinearProbeOptions) -> (Vec<f64>, f64, usize) {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut weights = vec![0.0; self.classes * self.dim];
        let (mut value, mut gradient) = self.of(&weights, ridge);
        // (Δw, Δg, 1 / Δw·Δg)
        let mut past: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::new();
        for done in 0..options.iterations {
            if gradient.iter().all(|g| g.abs() <= options.tolerance) {
                return (weights, value, done);
            }
            let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
            let mut shares = Vec::new();
            for (step, change, scale) in past.iter().rev() {
                let share = scale * dot(step, &direction);
                direction.iter_mut().zip(change).for_each(|(d, c)| *d -= share * c);
                shares.push(share);
            }
            if let Some((_, change, scale)) = past.back() {
                let length = 1.0 / (scale * dot(change, change));
                direction.iter_mut().for_each(|d| *d *= length);
            }
            for ((step, change, scale), share) in past.iter().zip(shares.into_iter().rev()) {
                let back = share - scale * dot(change, &direction);
                direction.iter_mut().zip(step).for_each(|(d, s)| *d += back * s);
            }
            let slope = dot(&direction, &gradient);
            let tried = (0..TRIALS).find_map(|halved| {
                let length = 0.5f64.powi(halved as i32);
                let next: Vec<f64> = weights.iter().zip(&direction).map(|(w, d)| w + length * d).collect();
                let (reached, pull) = self.of(&next, ridge);
                (reached <= value + 1e-4 * length * slope).then_some((next, reached, pull))
            });
            // No step gains anything any more: rounding.
            let Some((next, reached, pull)) = tried else { return (weights, value, done) };
            let step: Vec<f64> = next.iter().zip(&weights).map(|(a, b)| a - b).collect();
            let change: Vec<f64> = pull.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            let curvature = dot(&step, &change);
            if curvature > 0.0 {
                past.push_back((step, change, 1.0 / curvature));
                if past.len() > MEMORY {
                    past.pop_front();
                }
            }
            (weights, value, gradient) = (next, reached, pull);
        }
        (weights, value, options.iterations)
    }
}

#[cfg(test)]
mod tests {
    use nearkin_sweep::Vectors;

    use super::*;

    fn labelled<'a>(vectors: &'a [f32], dim: usize, labels: &'a [u32]) -> Labeled<'a> {
        Labeled { vectors: Vectors::new(vectors, dim).unwrap(), labels }
    }

    #[test]
    fn two_samples_on_a_line_have_the_optimum_by_hand() {
        // Standardised to ±1 with one weight a class, ±w by symmetry: mean loss ln(1 + e^{−2w}), ridge 2 w²/(2·2).
        let set = labelled(&[3.0, 7.0], 1, &[5, 9]);
        let found =
            linear_probe(set, set, &LinearProbeOptions { tolerance: 1e-9, ..Default::default() }).unwrap();
        let objective = |w: f64| (1.0 + (-2.0 * w).exp()).ln() + 0.5 * w * w;
        let least = (0..2_000_000).map(|i| objective(f64::from(i) * 1e-6)).fold(f64::INFINITY, f64::min);
        assert!((found.objective - least).abs() < 1e-6, "{} for {least}", found.objective);
        assert_eq!((found.accuracy, found.fitted_accuracy), (1.0, 1.0));
    }

    #[test]
    fn what_a_line_cannot_tell_apart_is_half_wrong_and_unseen_classes_are_wrong() {
        let exclusive_or = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0];
        let set = labelled(&exclusive_or, 2, &[0, 0, 1, 1]);
        let found = linear_probe(set, set, &LinearProbeOptions::default()).unwrap();
        assert!((found.objective - 2f64.ln()).abs() < 1e-6 && found.accuracy <= 0.75);
        let test = labelled(&[3.0, 7.0, 7.0], 1, &[5, 9, 4]);
        let fit = labelled(&[3.0, 7.0], 1, &[5, 9]);
        let found = linear_probe(fit, test, &LinearProbeOptions::default()).unwrap();
        assert!((found.accuracy - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn threads_change_no_bit_and_the_gradient_vanishes() {
        let (n, dim) = (1500usize, 7);
        let value = |i: usize| ((i + 1) * 2_654_435_761 % 1009) as f32 / 504.0 - 1.0;
        let data: Vec<f32> = (0..n * dim).map(value).collect();
        let labels: Vec<u32> = (0..n)
            .map(|i| if data[i * dim] + data[i * dim + 1] > 0.1 { 2 } else { u32::from(i % 3 == 0) })
            .collect();
        let set = labelled(&data, dim, &labels);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| linear_probe(set, set, &LinearProbeOptions::default()).unwrap())
        };
        let found = with(1);
        assert_eq!(found, with(4));
        assert!(found.iterations < 200 && found.accuracy > 0.7, "{found:?}");
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let one = labelled(&[3.0, 7.0], 1, &[5, 5]);
        let refused = |fit, test, options: &LinearProbeOptions| {
            linear_probe(fit, test, options).unwrap_err().to_string()
        };
        let usual = LinearProbeOptions::default();
        assert!(refused(one, one, &usual).contains("classes"));
        let two = labelled(&[3.0, 7.0], 1, &[5, 6]);
        assert!(refused(two, two, &LinearProbeOptions { c: 0.0, ..usual }).contains('c'));
        assert!(linear_probe(two, labelled(&[f32::NAN], 1, &[5]), &usual).is_err());
        assert!(linear_probe(two, labelled(&[1.0, 2.0], 2, &[5]), &usual).is_err());
    }
}
