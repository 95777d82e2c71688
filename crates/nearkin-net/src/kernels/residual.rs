//! Sum of two tensors, then ReLU: the end of a residual block, in one pass.

use rayon::prelude::*;

use super::wide;

/// Values a task holds.
const TASK: usize = 1 << 14;

/// `max(value, 0)`, except that NaN stays NaN (`f32::max` would hide a diverged run).
#[inline(always)]
pub(super) fn rectified(value: f32) -> f32 {
    if value <= 0.0 { 0.0 } else { value }
}

/// `y = max(a + b, 0)`, value by value.
///
/// # Panics
///
/// If the slices differ in length.
pub fn add_relu(a: &[f32], b: &[f32]) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "terms of a sum");
    let mut y = vec![0.0; a.len()];
    y.par_chunks_mut(TASK).zip(a.par_chunks(TASK).zip(b.par_chunks(TASK))).for_each(|(y, (a, b))| {
        wide(
            #[inline(always)]
            || {
                for (y, (a, b)) in y.iter_mut().zip(a.iter().zip(b)) {
                    *y = rectified(a + b);
                }
            },
        );
    });
    y
}

/// Gradient of [`add_relu`] with respect to either term, written over that of its output `y`: what it is where `y` is positive.
///
/// # Panics
///
/// If the slices differ in length.
pub fn gradient(y: &[f32], gradient: &mut [f32]) {
    assert_eq!(y.len(), gradient.len(), "an output and its gradient");
    gradient.par_chunks_mut(TASK).zip(y.par_chunks(TASK)).for_each(|(gradient, y)| {
        wide(
            #[inline(always)]
            || {
                for (gradient, y) in gradient.iter_mut().zip(y) {
                    *gradient = if *y <= 0.0 { 0.0 } else { *gradient };
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_clipped_and_its_gradient_stops_where_it_is() {
        let y = add_relu(&[1.0, -3.0, 2.0], &[0.5, 1.0, -2.0]);
        assert_eq!(y, [1.5, 0.0, 0.0]);
        let mut found = [4.0, 5.0, 6.0];
        gradient(&y, &mut found);
        assert_eq!(found, [4.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_is_not_hidden() {
        assert!(add_relu(&[f32::NAN], &[1.0])[0].is_nan());
    }
}
