//! Normalisations along the last axis, on slices: layer normalisation and softmax.
//!
//! Ba, Kiros and Hinton, "Layer normalization", 2016; Vaswani et al., "Attention is all you need", 2017. Every row has one
//! owner; sums over rows are cut by the shape and added in order.

use rayon::prelude::*;

use super::activation::exp;
use super::wide;

/// Independent partial sums, so that the compiler can use vector registers.
const LANES: usize = 16;
/// Values a task should hold at least, so that handing it out is worth it.
const TASK: usize = 1 << 14;
/// Tasks that the sums over rows are cut into, at most.
const STRIPES: usize = 16;

/// Mean and inverse deviation of a row, `1 / √(variance + epsilon)`.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum(row, row, |x, _| x) / count;
    let square = sum(row, row, |x, _| (x - mean) * (x - mean));
    (mean, 1.0 / (square / count + epsilon).sqrt())
}

/// `Σ of(a, b)` in sixteen lanes, which are then added in order.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((whole_a, rest_a), (whole_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in whole_a.iter().zip(whole_b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += of(*a, *b);
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(rest_a.iter().zip(rest_b)) {
        *lane += of(*a, *b);
    }
    lanes.iter().sum()
}

fn rows_per_task(width: usize) -> usize {
    (TASK / width).max(1)
}

/// `y = (x − mean) / √(variance + epsilon) · γ + β` along rows as long as `gamma`.
///
/// # Panics
///
/// If `gamma` and `beta` differ in length or are empty, or `x` is not whole rows.
pub fn layer_norm(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f64) -> Vec<f32> {
    let width = gamma.len();
    assert!(width > 0 && beta.len() == width && x.len().is_multiple_of(width), "rows of {width} values");
    let chunk = rows_per_task(width) * width;
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
        wide(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let (mean, inverse) = moments(x, epsilon as f32);
                    for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
                        *y = (x - mean) * inverse * gamma + beta;
                    }
                }
            },
        );
    });
    y
}

/// Gradients of [`layer_norm`].
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// With respect to `x`.
    pub x: Vec<f32>,
    /// With respect to γ.
    pub gamma: Vec<f32>,
    /// With respect to β.
    pub beta: Vec<f32>,
}

/// Gradients of [`layer_norm`], given `dy`, the gradient of its output: with `x̂` the normalised row and `g = dy · γ`,
/// `dx = (g − mean(g) − x̂ · mean(g · x̂)) / √(variance + epsilon)`.
///
/// # Panics
///
/// If a slice has another size than [`layer_norm`] had.
pub fn layer_norm_gradients(x: &[f32], dy: &[f32], gamma: &[f32], epsilon: f64) -> Gradients {
    let width = gamma.len();
    assert!(width > 0 && x.len() == dy.len() && x.len().is_multiple_of(width), "rows of {width} values");
    let rows = x.len() / width;
    let chunk = rows.div_ceil(STRIPES).max(rows_per_task(width)) * width;
    let mut dx = vec![0.0; x.len()];
    let partial: Vec<[Vec<f32>; 2]> = dx
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk)))
        .map(|(dx, (x, dy))| {
            let mut sums = [vec![0.0; width], vec![0.0; width]];
            let [of_gamma, of_beta] = &mut sums;
            let mut normal = vec![0.0; width];
            wide(
                #[inline(always)]
                || {
                    let rows = dx.chunks_exact_mut(width);
                    for (dx, (x, dy)) in rows.zip(x.chunks_exact(width).zip(dy.chunks_exact(width))) {
                        let (mean, inverse) = moments(x, epsilon as f32);
                        for (normal, x) in normal.iter_mut().zip(x) {
                            *normal = (x - mean) * inverse;
                        }
                        for (sum, (dy, normal)) in of_gamma.iter_mut().zip(dy.iter().zip(&normal)) {
                            *sum += dy * normal;
                        }
                        for (sum, dy) in of_beta.iter_mut().zip(dy) {
                            *sum += dy;
                        }
                        for (dx, (dy, gamma)) in dx.iter_mut().zip(dy.iter().zip(gamma)) {
                            *dx = dy * gamma;
                        }
                        let offset = sum(dx, &normal, |g, _| g) / width as f32;
                        let slope = sum(dx, &normal, |g, normal| g * normal) / width as f32;
                        for (dx, normal) in dx.iter_mut().zip(&normal) {
                            *dx = (*dx - offset - normal * slope) * inverse;
                        }
                    }
                },
            );
            sums
        })
        .collect();
    let mut gradients = Gradients { x: dx, gamma: vec![0.0; width], beta: vec![0.0; width] };
    for [gamma, beta] in partial {
        for (sum, part) in gradients.gamma.iter_mut().zip(gamma) {
            *sum += part;
        }
        for (sum, part) in gradients.beta.iter_mut().zip(beta) {
            *sum += part;
        }
    }
    gradients
}

/// Softmax of `scale · x` along rows of `width` values. With `causal`, rows come in square matrices, and row `i` of each
/// sees its first `i + 1` values; the others' weight is zero.
///
/// # Panics
///
/// If `width` is zero, or `x` is not whole rows.
pub fn softmax(x: &[f32], width: usize, scale: f32, causal: bool) -> Vec<f32> {
    assert!(width > 0 && x.len().is_multiple_of(width), "rows of {width} values");
    let rows = rows_per_task(width);
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width)).enumerate().for_each(|(task, (y, x))| {
        wide(
            #[inline(always)]
            || {
                for (row, (y, x)) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
                    let seen = if causal { (task * rows + row) % width + 1 } else { width };
                    let (y, x) = (&mut y[..seen], &x[..seen]);
                    let most = x.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = exp((x - most) * scale);
                    }
                    let inverse = 1.0 / sum(y, y, |y, _| y);
                    for y in y {
                        *y *= inverse;
                    }
                }
            },
        );
    });
    y
}

/// Gradient of [`softmax`] with respect to `x`, given its output and `dy`: `dx = scale · y (dy − Σ y · dy)`.
///
/// # Panics
///
/// If the slices differ in length, or are not whole rows.
pub fn softmax_gradient(y: &[f32], dy: &[f32], width: usize, scale: f32) -> Vec<f32> {
    assert!(width > 0 && y.len() == dy.len() && y.len().is_multiple_of(width), "rows of {width} values");
    let chunk = rows_per_task(width) * width;
    let mut dx = vec![0.0; y.len()];
    dx.par_chunks_mut(chunk).zip(y.par_chunks(chunk).zip(dy.par_chunks(chunk))).for_each(|(dx, (y, dy))| {
        wide(
            #[inline(always)]
            || {
                let rows = y.chunks_exact(width).zip(dy.chunks_exact(width));
                for (dx, (y, dy)) in dx.chunks_exact_mut(width).zip(rows) {
                    let mean = sum(y, dy, |y, dy| y * dy);
                    for (dx, (y, dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                        *dx = scale * y * (dy - mean);
                    }
                }
            },
        );
    });
    dx
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, on_threads, slopes, widened};

    const SHAPES: [[usize; 2]; 5] = [[3, 5], [1, 40], [700, 33], [64, 64], [9, 1]];

    #[test]
    fn a_hand_worked_row_is_normalised() {
        // Mean 2, variance 8/3.
        let found = layer_norm(&[0.0, 2.0, 4.0], &[1.0, 1.0, 3.0], &[0.0, 0.5, 1.0], 0.0);
        let side = (1.5f64).sqrt();
        assert_close(&found, &[-side, 0.5, 1.0 + 3.0 * side], 1e-6, "layer norm");
    }

    /// The definition, in f64.
    fn softmax_defined(x: &[f64], width: usize, scale: f64, causal: bool) -> Vec<f64> {
        let row = |(row, x): (usize, &[f64])| {
            let seen = if causal { row % width + 1 } else { width };
            let powers: Vec<f64> = x[..seen].iter().map(|x| (scale * x).exp()).collect();
            let total: f64 = powers.iter().sum();
            let mut y: Vec<f64> = powers.iter().map(|power| power / total).collect();
            y.resize(width, 0.0);
            y
        };
        x.chunks(width).enumerate().flat_map(row).collect()
    }

    /// The definition, in f64.
    fn layer_norm_defined(x: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
            let normal = x.iter().map(|x| (x - mean) / (variance + epsilon).sqrt());
            normal.zip(gamma.iter().zip(beta)).map(|(x, (gamma, beta))| x * gamma + beta).collect()
        };
        x.chunks(gamma.len()).flat_map(row).collect()
    }

    #[test]
    fn both_are_what_they_are_defined_to_be() {
        for [rows, width] in SHAPES {
            let x = noise(rows * width, 1);
            for causal in [false, true] {
                let wanted = softmax_defined(&widened(&x), width, 2.5, causal);
                assert_close(&softmax(&x, width, 2.5, causal), &wanted, 1e-6, "softmax");
            }
            let (gamma, beta) = (noise(width, 2), noise(width, 3));
            let wanted = layer_norm_defined(&widened(&x), &widened(&gamma), &widened(&beta), 1e-5);
            assert_close(&layer_norm(&x, &gamma, &beta, 1e-5), &wanted, 1e-6, "layer norm");
        }
        assert!(softmax(&[f32::NAN, 1.0], 2, 1.0, false).iter().all(|y| y.is_nan()));
        assert_eq!(softmax(&[1e30, -1e30], 2, 1.0, false), [1.0, exp(-87.0)]);
    }

    #[test]
    fn gradients_match_finite_differences() {
        let (x, dy) = (noise(5 * 12, 1), noise(5 * 12, 2));
        let (gamma, beta) = (noise(12, 3), noise(12, 4));
        let [x64, gamma64, beta64] = [&x, &gamma, &beta].map(|values| widened(values));
        let weighed = |y: Vec<f64>| -> f64 { y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum() };
        let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| weighed(layer_norm_defined(x, gamma, beta, 1e-5));
        let found = layer_norm_gradients(&x, &dy, &gamma, 1e-5);
        assert_close(&found.x, &slopes(&x, |x| loss(x, &gamma64, &beta64)), 1e-5, "x");
        assert_close(&found.gamma, &slopes(&gamma, |gamma| loss(&x64, gamma, &beta64)), 1e-5, "gamma");
        assert_close(&found.beta, &slopes(&beta, |beta| loss(&x64, &gamma64, beta)), 1e-5, "beta");
        for causal in [false, true] {
            let y = softmax(&x, 12, 0.7, causal);
            let wanted = slopes(&x, |x| weighed(softmax_defined(x, 12, f64::from(0.7f32), causal)));
            assert_close(&softmax_gradient(&y, &dy, 12, 0.7), &wanted, 1e-5, "softmax");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        for [rows, width] in SHAPES.into_iter().chain([[3000, 96]]) {
            let (x, dy, gamma) = (noise(rows * width, 1), noise(rows * width, 2), noise(width, 3));
            let all = |threads| {
                on_threads(threads, || {
                    let y = softmax(&x, width, 0.3, true);
                    let dx = softmax_gradient(&y, &dy, width, 0.3);
                    (y, dx, layer_norm(&x, &gamma, &gamma, 1e-6), layer_norm_gradients(&x, &dy, &gamma, 1e-6))
                })
            };
            assert!(all(1) == all(3), "{rows} x {width}");
        }
    }
}
