//! Minimisation with limited memory: L-BFGS.
//!
//! J. Nocedal, "Updating Quasi-Newton Matrices with Limited Storage", 1980; the two-loop recursion is algorithm 7.4 of J. Nocedal,
//! S. Wright, "Numerical Optimization", 2006. The line search brackets a step that meets the weak Wolfe conditions (A. Lewis,
//! M. Overton, "Nonsmooth Optimization via Quasi-Newton Methods", 2013), so that hinges may be minimised too.

use serde::{Deserialize, Serialize};

use crate::algebra::dot;
use crate::error::ClassicError;
use crate::input::{not_negative, setting};
use crate::observer::Observer;

/// When to stop. Deterministic: the same function gives the same steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lbfgs {
    /// Steps at most.
    pub iterations: usize,
    /// Stops when a step gains no more than this part of `max(|before|, |after|, 1)`, as SciPy's `ftol`; and when no entry of
    /// the gradient is larger, as its `gtol`.
    pub tolerance: f64,
}

/// Why a descent stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The gradient is as good as 0.
    Gradient,
    /// The last step gained as good as nothing.
    Gain,
    /// All steps were made: more might gain more.
    Iterations,
    /// No step along the last direction gained anything: rounding, or a kink.
    LineSearch,
    /// The [`Observer`] said so.
    Observer,
}

/// How a descent went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Descent {
    /// The objective at the end.
    pub objective: f64,
    /// Steps made.
    pub iterations: usize,
    /// Evaluations of the objective.
    pub evaluations: usize,
    /// Why it stopped.
    pub stop: Stop,
}

/// Steps whose curvature is remembered.
const MEMORY: usize = 10;
/// Trials of a line search.
const TRIALS: usize = 30;
/// The Wolfe conditions' constants: enough gain, and a slope that has become flatter.
const GAIN: f64 = 1e-4;
const SLOPE: f64 = 0.9;

impl Lbfgs {
    pub(crate) fn check(&self) -> Result<(), ClassicError> {
        setting("iterations", self.iterations as f64, self.iterations > 0, "1 or more")?;
        not_negative("tolerance", self.tolerance)
    }

    /// Minimises a function, from `x` to where it leaves it, watched step by step. The function returns its value and its
    /// gradient; values that are not finite are stepped back from.
    ///
    /// # Errors
    /// Those of the function; a value that is not finite at the beginning.
    pub fn minimise(
        &self,
        x: &mut Vec<f64>,
        observer: &Observer,
        mut of: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), ClassicError>,
    ) -> Result<Descent, ClassicError> {
        let (mut value, mut gradient) = of(x)?;
        if !value.is_finite() || !gradient.iter().all(|g| g.is_finite()) {
            return Err(ClassicError::Overflow { what: "the objective at the start" });
        }
        let mut done = Descent { objective: value, iterations: 0, evaluations: 1, stop: Stop::Iterations };
        let mut memory: Vec<Curvature> = Vec::new();
        while done.iterations < self.iterations {
            if gradient.iter().all(|g| g.abs() <= self.tolerance) {
                done.stop = Stop::Gradient;
                break;
            }
            let mut direction = newton(&memory, &gradient);
            let mut slope = dot(&direction, &gradient);
            if slope.is_nan() || slope >= 0.0 {
                memory.clear();
                direction = gradient.iter().map(|g| -g).collect();
                slope = -dot(&gradient, &gradient);
            }
            // Nothing is known of the scale before the first step.
            let first = if memory.is_empty() { (1.0 / (-slope).sqrt()).min(1.0) } else { 1.0 };
            let from = Point { x, value, slope };
            let Some((to, next, g)) = search(&from, &direction, first, &mut done.evaluations, &mut of)?
            else {
                if memory.is_empty() {
                    done.stop = Stop::LineSearch;
                    break;
                }
                // Steepest descent may still find a way.
                memory.clear();
                continue;
            };
            let gain = value - next;
            let step: Vec<f64> = to.iter().zip(x.iter()).map(|(a, b)| a - b).collect();
            let bend: Vec<f64> = g.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            let curvature = dot(&step, &bend);
            if curvature > f64::EPSILON * dot(&bend, &bend) {
                if memory.len() == MEMORY {
                    memory.remove(0);
                }
                memory.push(Curvature { step, bend, curvature });
            }
            let scale = value.abs().max(next.abs()).max(1.0);
            (*x, value, gradient) = (to, next, g);
            done.iterations += 1;
            if !observer.goes_on(done.iterations, self.iterations, value) {
                done.stop = Stop::Observer;
                break;
            }
            if gain <= self.tolerance * scale {
                done.stop = Stop::Gain;
                break;
            }
        }
        done.objective = value;
        Ok(done)
    }
}

/// What a step told of the function's curvature.
struct Curvature {
    step: Vec<f64>,
    bend: Vec<f64>,
    curvature: f64,
}

/// `−H g`, with the inverse Hessian that the memory stands for.
fn newton(memory: &[Curvature], gradient: &[f64]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let add = |direction: &mut [f64], factor: f64, other: &[f64]| {
        direction.iter_mut().zip(other).for_each(|(d, o)| *d += factor * o);
    };
    let mut shares = vec![0.0; memory.len()];
    for (share, known) in shares.iter_mut().zip(memory).rev() {
        *share = dot(&known.step, &direction) / known.curvature;
        add(&mut direction, -*share, &known.bend);
    }
    if let Some(last) = memory.last() {
        let scale = last.curvature / dot(&last.bend, &last.bend);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for (share, known) in shares.iter().zip(memory) {
        let back = dot(&known.bend, &direction) / known.curvature;
        add(&mut direction, share - back, &known.step);
    }
    direction
}

/// Where a line search begins.
struct Point<'a> {
    x: &'a [f64],
    value: f64,
    slope: f64,
}

/// A place, its value and its gradient.
type Found = (Vec<f64>, f64, Vec<f64>);

/// A step that gains enough, and if the trials suffice, one after which the slope is flatter. `None` when none gains.
fn search(
    from: &Point<'_>,
    direction: &[f64],
    first: f64,
    evaluations: &mut usize,
    of: &mut impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), ClassicError>,
) -> Result<Option<Found>, ClassicError> {
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    let mut best = None;
    for _ in 0..TRIALS {
        let to: Vec<f64> = from.x.iter().zip(direction).map(|(x, d)| x + step * d).collect();
        let (value, gradient) = of(&to)?;
        *evaluations += 1;
        let finite = value.is_finite() && gradient.iter().all(|g| g.is_finite());
        if !finite || value > from.value + GAIN * step * from.slope || value >= from.value {
            high = step;
            // The least of the parabola through what is known, kept away from the ends.
            let bend = value - from.value - step * from.slope;
            let least =
                if finite && bend > 0.0 { -0.5 * from.slope * step * step / bend } else { 0.5 * step };
            step = if low == 0.0 { least.clamp(0.1 * step, 0.5 * step) } else { 0.5 * (low + high) };
        } else {
            let flat = dot(&gradient, direction) >= SLOPE * from.slope;
            best = Some((to, value, gradient));
            if flat {
                break;
            }
            low = step;
            step = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * step };
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rosenbrocks_valley_is_followed_to_its_end() {
        let mut x = vec![-1.2, 1.0];
        let descent = Lbfgs { iterations: 200, tolerance: 1e-12 }
            .minimise(&mut x, &Observer::default(), |x| {
                let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
                Ok((a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b]))
            })
            .unwrap();
        assert!((x[0] - 1.0).abs() < 1e-5 && (x[1] - 1.0).abs() < 1e-5, "{x:?} {descent:?}");
        assert!(descent.iterations < 60 && descent.stop != Stop::Iterations, "{descent:?}");
    }

    #[test]
    fn a_kink_is_found() {
        // |x| + 2 |y − 1| + x²
        let mut x = vec![3.0, -2.0];
        let descent = Lbfgs { iterations: 200, tolerance: 0.0 }
            .minimise(&mut x, &Observer::default(), |x| {
                let (a, b) = (x[0], x[1] - 1.0);
                Ok((a.abs() + 2.0 * b.abs() + a * a, vec![a.signum() + 2.0 * a, 2.0 * b.signum()]))
            })
            .unwrap();
        assert!(descent.objective < 1e-4, "{descent:?} {x:?}");
    }

    #[test]
    fn a_function_that_ends_is_stepped_back_from_and_a_bad_start_is_refused() {
        // −ln(1 − x) + x² − x … is defined below 1 only; its least is where 1/(1 − x) + 2x = 5.
        let of = |x: &[f64]| {
            Ok((-(1.0 - x[0]).ln() + x[0] * x[0] - 5.0 * x[0], vec![1.0 / (1.0 - x[0]) + 2.0 * x[0] - 5.0]))
        };
        let mut x = vec![0.0];
        Lbfgs { iterations: 50, tolerance: 1e-10 }.minimise(&mut x, &Observer::default(), of).unwrap();
        assert!((1.0 / (1.0 - x[0]) + 2.0 * x[0] - 5.0).abs() < 1e-4, "{x:?}");
        assert!(
            Lbfgs { iterations: 50, tolerance: 1e-10 }
                .minimise(&mut vec![2.0], &Observer::default(), of)
                .is_err()
        );
    }
}
