//! Activation functions on slices, forward and backward, with an exponential that compilers can vectorise.

use rayon::prelude::*;

use super::wide;

/// Values a task holds.
const TASK: usize = 1 << 14;

/// A function of each value alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x` above zero, `slope · x` below (Maas et al., "Rectifier nonlinearities improve neural network acoustic models", 2013).
    LeakyRelu {
        /// The slope below zero, at least 0.
        slope: f32,
    },
    /// `x · Φ(x)` with the normal distribution's Φ (Hendrycks and Gimpel, "Gaussian error linear units", 2016), to within 2e-7
    /// of it: Φ is Abramowitz and Stegun's 7.1.26.
    Gelu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
}

impl Activation {
    /// Whether [`gradient`] wants the output rather than the input.
    pub fn keeps_output(self) -> bool {
        self != Self::Gelu
    }
}

/// `y = f(x)`, value by value. NaN stays NaN.
pub fn forward(x: &[f32], activation: Activation) -> Vec<f32> {
    match activation {
        Activation::LeakyRelu { slope } => map(
            x,
            x,
            #[inline(always)]
            |x, _| leaky(x, slope) * x,
        ),
        Activation::Gelu => map(
            x,
            x,
            #[inline(always)]
            |x, _| x * normal(x).0,
        ),
        Activation::Tanh => map(
            x,
            x,
            #[inline(always)]
            |x, _| tanh(x),
        ),
        Activation::Sigmoid => map(
            x,
            x,
            #[inline(always)]
            |x, _| sigmoid(x),
        ),
    }
}

/// [`Activation::Sigmoid`] of a few values, on the calling thread.
pub(super) fn sigmoid_in_place(values: &mut [f32]) {
    wide(
        #[inline(always)]
        || values.iter_mut().for_each(|value| *value = sigmoid(*value)),
    );
}

/// [`Activation::Tanh`] of a few values, on the calling thread.
pub(super) fn tanh_in_place(values: &mut [f32]) {
    wide(
        #[inline(always)]
        || values.iter_mut().for_each(|value| *value = tanh(*value)),
    );
}

/// Gradient of [`forward`], given `dy`, the gradient of its output. `kept` is the output, or the input where
/// [`Activation::keeps_output`] says so.
///
/// # Panics
///
/// If the slices differ in length.
pub fn gradient(kept: &[f32], dy: &[f32], activation: Activation) -> Vec<f32> {
    assert_eq!(kept.len(), dy.len(), "an activation and its gradient");
    match activation {
        Activation::LeakyRelu { slope } => map(
            kept,
            dy,
            #[inline(always)]
            |y, dy| leaky(y, slope) * dy,
        ),
        Activation::Gelu => map(
            kept,
            dy,
            #[inline(always)]
            |x, dy| {
                let (below, density) = normal(x);
                dy * (below + x * density)
            },
        ),
        Activation::Tanh => map(
            kept,
            dy,
            #[inline(always)]
            |y, dy| dy * (1.0 - y * y),
        ),
        Activation::Sigmoid => map(
            kept,
            dy,
            #[inline(always)]
            |y, dy| dy * y * (1.0 - y),
        ),
    }
}

#[inline(always)]
fn map(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    let mut result = vec![0.0; a.len()];
    result.par_chunks_mut(TASK).zip(a.par_chunks(TASK).zip(b.par_chunks(TASK))).for_each(
        |(result, (a, b))| {
            wide(
                #[inline(always)]
                || {
                    for (result, (a, b)) in result.iter_mut().zip(a.iter().zip(b)) {
                        *result = of(*a, *b);
                    }
                },
            );
        },
    );
    result
}

#[inline(always)]
fn leaky(value: f32, slope: f32) -> f32 {
    if value <= 0.0 { slope } else { 1.0 }
}

/// `eˣ` to within 2 units in the last place, from −87 to 88; beyond, the value there. NaN stays NaN.
///
/// `eˣ = 2ⁿ eʳ` with n the nearest whole number to x / ln 2, and the Taylor series of eʳ for |r| ≤ ln 2 / 2.
#[expect(clippy::eq_op, reason = "x − x is not 0 for NaN")]
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: the sum of this and a small number has the nearest whole number in its last bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, of which the first has few enough bits for n times it to be exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + coefficient;
    }
    let scaled = f32::from_bits(sum.to_bits().wrapping_add(shifted.to_bits() << 23));
    // Zero, but for NaN, whose bits the shift has spoilt.
    scaled + (x - x)
}

/// Φ(x) and φ(x) of the standard normal distribution.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let size = x.abs();
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * size);
    let mut sum = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + coefficient;
    }
    let tail = 0.5 * sum * t * bell;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (below, bell * 0.398_942_3)
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent to within 4 units in the last place: an odd polynomial near zero (Cephes), `1 − 2 / (e²ˣ + 1)`
/// beyond.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let far = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    let z = x * x;
    let mut sum = -5.704_988_7e-3;
    for coefficient in [2.063_909e-2, -5.373_971_6e-2, 0.133_314_42, -0.333_332_8] {
        sum = sum * z + coefficient;
    }
    let near = x + x * z * sum;
    if size > 0.625 { far } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{noise, on_threads};

    const ALL: [Activation; 4] =
        [Activation::LeakyRelu { slope: 0.3 }, Activation::Gelu, Activation::Tanh, Activation::Sigmoid];

    /// By the definitions, in f64; Φ by Simpson's rule.
    fn defined(x: f64, activation: Activation) -> f64 {
        match activation {
            Activation::LeakyRelu { slope } => x.max(f64::from(slope) * x),
            Activation::Gelu => {
                let density = |v: f64| (-0.5 * v * v).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let step = x / 400.0;
                let inner: f64 = (1..400).map(|i| (2 + 2 * (i % 2)) as f64 * density(i as f64 * step)).sum();
                x * (0.5 + step / 3.0 * (density(0.0) + inner + density(x)))
            }
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    fn points() -> Vec<f32> {
        (-9000..=9000).map(|i| i as f32 / 900.0).chain([1e-6, -1e-6, 1e-20, 0.0]).collect()
    }

    #[test]
    fn the_exponential_is_right_to_the_last_places() {
        for x in (-87_000..=88_000).map(|i| i as f32 / 1000.0) {
            let wanted = f64::from(x).exp();
            assert!((f64::from(exp(x)) / wanted - 1.0).abs() < 2.5e-7, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn values_match_the_definitions() {
        for activation in ALL {
            for (x, found) in points().iter().zip(forward(&points(), activation)) {
                let wanted = defined(f64::from(*x), activation);
                let slack = if activation == Activation::Gelu { 2e-7 } else { 0.0 };
                let bound = slack * f64::from(x.abs()) + 4e-7 * wanted.abs();
                assert!(
                    (f64::from(found) - wanted).abs() <= bound,
                    "{activation:?} of {x}: {found}, {wanted}"
                );
            }
            assert!(forward(&[f32::NAN], activation)[0].is_nan());
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for activation in ALL {
            let x = points();
            let kept = if activation.keeps_output() { forward(&x, activation) } else { x.clone() };
            let dy = noise(x.len(), 3);
            for ((x, dy), found) in x.iter().zip(&dy).zip(gradient(&kept, &dy, activation)) {
                let x = f64::from(*x);
                let slope = (defined(x + 1e-4, activation) - defined(x - 1e-4, activation)) / 2e-4;
                let kink = matches!(activation, Activation::LeakyRelu { .. }) && x.abs() < 1e-4;
                assert!(
                    kink || (f64::from(found) - slope * f64::from(*dy)).abs() < 1e-6,
                    "{activation:?} at {x}"
                );
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let (x, dy) = (noise(50_001, 1), noise(50_001, 2));
        for activation in ALL {
            let all =
                |threads| on_threads(threads, || [forward(&x, activation), gradient(&x, &dy, activation)]);
            assert!(all(1) == all(3), "{activation:?}");
        }
    }
}
