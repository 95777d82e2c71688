//! How much of the classes a linear support vector machine reads off features.
//!
//! C.-J. Hsieh, K.-W. Chang, C.-J. Lin, S. S. Keerthi, S. Sundararajan, "A Dual Coordinate Descent Method for Large-scale Linear SVM",
//! 2008. A machine a class tells it (`y = 1`) from all others (`y = −1`), on standardised features with a 1 behind them for the bias:
//!
//! ```text
//! ½ ‖w‖² + C Σ_i max(0, 1 − y_i w·x_i)²
//! ```
//!
//! minimised to its optimum, which is one. It is what scikit-learn's `LinearSVC(C)` minimises after a `StandardScaler`, the bias being
//! held to 0 as the weights are. The protocol of A. Coates, H. Lee, A. Y. Ng 2011 and of Dosovitskiy et al. 2014, on features pooled over
//! the quadrants of an image.

use nearkin_sweep::{Vectors, wide};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::error::EvalError;
use crate::labeled::Labeled;
use crate::linear_probe::{Scale, classes_to_fit};

/// Of the order in which samples are visited: any fixed number.
const SEED: u64 = 0x6e65_6172_6b69_6e01;
/// Values of C that [`chosen_c`] tries.
const TRIED: [f64; 5] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
/// One sample in so many is held out for it.
const FOLD: usize = 5;
/// Products that are summed side by side.
const LANES: usize = 8;

/// Settings of [`linear_svm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearSvmOptions {
    /// C, what a sample on the wrong side costs, above 0.
    pub c: f64,
    /// Passes over the samples at most.
    pub passes: usize,
    /// Stops when the projected gradients of the dual differ by no more.
    pub tolerance: f64,
}

impl Default for LinearSvmOptions {
    fn default() -> Self {
        Self { c: 1e-3, passes: 300, tolerance: 1e-2 }
    }
}

/// What the machines came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LinearSvm {
    /// The share of test samples whose own class's machine answers loudest; a class without a training sample counts as wrong.
    pub accuracy: f64,
    /// The same of the samples that they were fitted to.
    pub fitted_accuracy: f64,
    /// C.
    pub c: f64,
    /// The objectives at the end, summed over classes.
    pub objective: f64,
    /// Passes of the class that took most.
    pub passes: usize,
}

/// Fits a machine a class to `fit` and measures them on `test`.
///
/// Cost: two products of samples × dimensions a class and pass. The bits do not depend on the number of threads.
///
/// # Errors
/// An empty side, label counts or dimensions that differ, a value that is not finite, fewer than two classes to fit, and settings out
/// of range.
pub fn linear_svm(
    fit: Labeled<'_>,
    test: Labeled<'_>,
    options: &LinearSvmOptions,
) -> Result<LinearSvm, EvalError> {
    let classes = classes_to_fit(fit, test, options.c)?;
    let scale = Scale::of(fit);
    let x = scale.apply(fit);
    let dim = fit.vectors.dim() + 1;
    let machines: Vec<Machine> = (0..classes.len())
        .into_par_iter()
        .map(|class| {
            let signs: Vec<f64> =
                fit.labels.iter().map(|&label| if label == classes[class] { 1.0 } else { -1.0 }).collect();
            Machine::fit(&x, dim, &signs, class as u64, options)
        })
        .collect();
    let share = |x: &[f32], labels: &[u32]| {
        let rows: Vec<&[f32]> = x.chunks_exact(dim).collect();
        let right = rows.par_iter().zip(labels).filter(|(row, label)| {
            let answers: Vec<f64> = machines.iter().map(|machine| dot(row, &machine.weights)).collect();
            let loudest = (0..answers.len()).rev().max_by(|&a, &b| answers[a].total_cmp(&answers[b]));
            loudest.is_some_and(|class| classes[class] == **label)
        });
        right.count() as f64 / labels.len() as f64
    };
    Ok(LinearSvm {
        accuracy: share(&scale.apply(test), test.labels),
        fitted_accuracy: share(&x, fit.labels),
        c: options.c,
        objective: machines.iter().map(|machine| machine.objective).sum(),
        passes: machines.iter().map(|machine| machine.passes).max().unwrap_or(0),
    })
}

/// The C of 1e-5, 1e-4, … 1e-1 whose machines are right most often on every fifth sample when they are fitted to the others; the smallest of
/// equals. Larger ones are not tried once that falls: machines take ever longer to fit.
///
/// # Errors
/// As [`linear_svm`], and for samples that are too few to hold any out.
pub fn chosen_c(fit: Labeled<'_>, options: &LinearSvmOptions) -> Result<f64, EvalError> {
    let dim = fit.vectors.dim();
    let part = |held_out: bool| {
        let of = |i: &usize| (i % FOLD == FOLD - 1) == held_out;
        let chosen: Vec<usize> = (0..fit.labels.len()).filter(of).collect();
        let values: Vec<f32> = chosen.iter().flat_map(|&i| fit.vectors.row(i)).copied().collect();
        (values, chosen.iter().map(|&i| fit.labels[i]).collect::<Vec<u32>>())
    };
    let [(kept, kept_labels), (held_out, held_out_labels)] = [part(false), part(true)];
    let kept = Labeled { vectors: Vectors::new(&kept, dim)?, labels: &kept_labels };
    let held_out = Labeled { vectors: Vectors::new(&held_out, dim)?, labels: &held_out_labels };
    let mut best = (f64::NEG_INFINITY, TRIED[0]);
    for c in TRIED {
        let found = linear_svm(kept, held_out, &LinearSvmOptions { c, ..*options })?.accuracy;
        if found < best.0 {
            break;
        }
        if found > best.0 {
            best = (found, c);
        }
    }
    Ok(best.1)
}

/// One class against all others.
struct Machine {
    /// That of the bias is the last.
    weights: Vec<f64>,
    objective: f64,
    passes: usize,
}

impl Machine {
    /// Algorithms 1 and 3 of the paper: a sample's dual variable `α` at a time, in random order, leaving out for a while those that are
    /// well on their side. `x` is `[n, dim]`.
    fn fit(x: &[f32], dim: usize, signs: &[f64], class: u64, options: &LinearSvmOptions) -> Self {
        let n = signs.len();
        let row = |i: usize| &x[i * dim..(i + 1) * dim];
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        rng.set_stream(class);
        // The squared hinge's share of the dual's diagonal.
        let diagonal = 0.5 / options.c;
        let square = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() + diagonal;
        let curvatures: Vec<f64> = (0..n).map(|i| square(row(i))).collect();
        let (mut weights, mut alpha) = (vec![0.0; dim], vec![0.0; n]);
        let mut active: Vec<usize> = (0..n).collect();
        // No α of 0 whose gradient was above this is likely to leave 0.
        let mut limit = f64::INFINITY;
        let mut passes = 0;
        while passes < options.passes {
            passes += 1;
            for last in (1..active.len()).rev() {
                active.swap(last, rng.random_range(0..=last));
            }
            let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
            active.retain(|&i| {
                let slope = signs[i] * dot(row(i), &weights) - 1.0 + diagonal * alpha[i];
                if alpha[i] == 0.0 && slope > limit {
                    return false;
                }
                let projected = if alpha[i] == 0.0 { slope.min(0.0) } else { slope };
                (highest, lowest) = (projected.max(highest), projected.min(lowest));
                if projected != 0.0 {
                    let before = alpha[i];
                    alpha[i] = (before - slope / curvatures[i]).max(0.0);
                    add(&mut weights, signs[i] * (alpha[i] - before), row(i));
                }
                true
            });
            if highest - lowest > options.tolerance {
                limit = if highest > 0.0 { highest } else { f64::INFINITY };
            } else if active.len() < n {
                // Of all, too?
                active = (0..n).collect();
                limit = f64::INFINITY;
            } else {
                break;
            }
        }
        let missing = |i: usize| (1.0 - signs[i] * dot(row(i), &weights)).max(0.0);
        let objective = 0.5 * weights.iter().map(|w| w * w).sum::<f64>()
            + options.c * (0..n).map(|i| missing(i).powi(2)).sum::<f64>();
        Self { weights, objective, passes }
    }
}

/// `x · w`
fn dot(x: &[f32], w: &[f64]) -> f64 {
    let ((x, x_rest), (w, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
    wide(
        #[inline(always)]
        || {
            let mut lanes = [0.0; LANES];
            for (x, w) in x.iter().zip(w) {
                for ((lane, x), w) in lanes.iter_mut().zip(x).zip(w) {
                    *lane += f64::from(*x) * w;
                }
            }
            let rest: f64 = x_rest.iter().zip(w_rest).map(|(x, w)| f64::from(*x) * w).sum();
            lanes.iter().sum::<f64>() + rest
        },
    )
}

/// `w += by · x`
fn add(w: &mut [f64], by: f64, x: &[f32]) {
    wide(
        #[inline(always)]
        || w.iter_mut().zip(x).for_each(|(w, x)| *w += by * f64::from(*x)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labelled<'a>(vectors: &'a [f32], dim: usize, labels: &'a [u32]) -> Labeled<'a> {
        Labeled { vectors: Vectors::new(vectors, dim).unwrap(), labels }
    }

    const TO_THE_END: LinearSvmOptions = LinearSvmOptions { c: 1.0, passes: 100_000, tolerance: 1e-10 };

    /// Three clouds that overlap.
    fn clouds(n: usize, dim: usize) -> (Vec<f32>, Vec<u32>) {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let labels: Vec<u32> = (0..n).map(|i| [4, 7, 9][i % 3]).collect();
        let value = |at: usize, noise: f32| {
            let (i, d) = (at / dim, at % dim);
            noise * 4.0 - 2.0 + if d % 3 == i % 3 { 0.8 } else { 0.0 }
        };
        let values = (0..n * dim).map(|at| value(at, rng.random::<f32>())).collect();
        (values, labels)
    }

    #[test]
    fn two_samples_on_a_line_have_the_optimum_by_hand() {
        // Standardised to ±1, no bias by symmetry: ½ w² + 2 C (1 − w)², least at w = 4C / (1 + 4C); two machines alike.
        let set = labelled(&[3.0, 7.0], 1, &[5, 9]);
        for c in [0.1, 1.0] {
            let found = linear_svm(set, set, &LinearSvmOptions { c, ..TO_THE_END }).unwrap();
            let w = 4.0 * c / (1.0 + 4.0 * c);
            let wanted = 2.0 * (0.5 * w * w + 2.0 * c * (1.0 - w).powi(2));
            assert!((found.objective - wanted).abs() < 1e-9, "{} for {wanted}", found.objective);
            assert_eq!((found.accuracy, found.fitted_accuracy, found.c), (1.0, 1.0, c));
        }
    }

    #[test]
    fn no_step_from_the_end_lowers_the_objective() {
        let (values, labels) = clouds(90, 5);
        let set = labelled(&values, 5, &labels);
        let x = Scale::of(set).apply(set);
        let signs: Vec<f64> = labels.iter().map(|label| if *label == 7 { 1.0 } else { -1.0 }).collect();
        let machine = Machine::fit(&x, 6, &signs, 1, &TO_THE_END);
        let objective = |weights: &[f64]| {
            let missing = |i: usize| (1.0 - signs[i] * dot(&x[i * 6..(i + 1) * 6], weights)).max(0.0).powi(2);
            0.5 * weights.iter().map(|w| w * w).sum::<f64>() + (0..90).map(missing).sum::<f64>()
        };
        assert!((objective(&machine.weights) - machine.objective).abs() < 1e-9);
        for d in 0..6 {
            for step in [-1e-3, 1e-3] {
                let mut other = machine.weights.clone();
                other[d] += step;
                assert!(objective(&other) > machine.objective);
            }
        }
        // A sloppy end is above the true one, by little.
        let sloppy = Machine::fit(&x, 6, &signs, 1, &LinearSvmOptions { tolerance: 0.1, ..TO_THE_END });
        assert!(sloppy.passes < machine.passes);
        assert!((sloppy.objective / machine.objective - 1.0).abs() < 1e-2);
    }

    #[test]
    fn unseen_classes_are_wrong() {
        let test = labelled(&[3.0, 7.0, 7.0], 1, &[5, 9, 4]);
        let found = linear_svm(labelled(&[3.0, 7.0], 1, &[5, 9]), test, &TO_THE_END).unwrap();
        assert!((found.accuracy - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn threads_change_no_bit() {
        let (values, labels) = clouds(600, 20);
        let set = labelled(&values, 20, &labels);
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| linear_svm(set, set, &LinearSvmOptions::default()).unwrap())
        };
        let found = with(1);
        assert_eq!(found, with(4));
        assert!(found.accuracy > 0.8 && found.passes < 300, "{found:?}");
    }

    #[test]
    fn the_c_that_is_chosen_is_right_most_often_on_what_was_held_out() {
        let (values, labels) = clouds(300, 12);
        let set = labelled(&values, 12, &labels);
        let options = LinearSvmOptions::default();
        let chosen = chosen_c(set, &options).unwrap();
        let divided = |held_out: bool| {
            let of: Vec<usize> = (0..300).filter(|i| (i % 5 == 4) == held_out).collect();
            let values: Vec<f32> = of.iter().flat_map(|i| values[i * 12..(i + 1) * 12].to_vec()).collect();
            (values, of.iter().map(|i| labels[*i]).collect::<Vec<u32>>())
        };
        let [(kept, k), (out, o)] = [divided(false), divided(true)];
        let accuracy = |c| {
            let options = LinearSvmOptions { c, ..options };
            linear_svm(labelled(&kept, 12, &k), labelled(&out, 12, &o), &options).unwrap().accuracy
        };
        let at = TRIED.iter().position(|c| *c == chosen).unwrap();
        assert!(TRIED[..at].iter().all(|c| accuracy(*c) < accuracy(chosen)));
        assert!(TRIED.get(at + 1).is_none_or(|c| accuracy(*c) <= accuracy(chosen)));
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let usual = LinearSvmOptions::default();
        let one = labelled(&[3.0, 7.0], 1, &[5, 5]);
        assert!(linear_svm(one, one, &usual).unwrap_err().to_string().starts_with("classes is 1"));
        let two = labelled(&[3.0, 7.0], 1, &[5, 6]);
        let free = linear_svm(two, two, &LinearSvmOptions { c: 0.0, ..usual });
        assert!(free.unwrap_err().to_string().starts_with("c is 0"));
        assert!(linear_svm(two, labelled(&[f32::NAN], 1, &[5]), &usual).is_err());
        assert!(linear_svm(two, labelled(&[1.0, 2.0], 2, &[5]), &usual).is_err());
        assert!(chosen_c(two, &usual).is_err());
    }
}
