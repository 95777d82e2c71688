//! Random Gaussian blur.

use nearkin_sweep::wide;
use rand::Rng;

use super::config::Blur;
use crate::random::{bernoulli, uniform_between};

/// The standard deviation of the blur, with probability `blur.probability`.
pub(super) fn draw(blur: &Blur, rng: &mut impl Rng) -> Option<f32> {
    bernoulli(rng, blur.probability).then(|| uniform_between(rng, blur.sigma[0], blur.sigma[1]))
}

/// Blurs the planes of a view in place.
///
/// Separable, edges reflected without doubling (torchvision's padding). It runs on the normalised
/// values: as the weights sum to 1 that is the same as blurring first, without torchvision's rounding
/// to bytes in between (at most 0.5 / 255 before division by std).
pub(super) fn apply(planes: &mut [f32], size: usize, sigma: f32, scratch: &mut Vec<f32>) {
    let weights = half_kernel(size, sigma);
    if weights.len() < 2 {
        return;
    }
    scratch.resize(size * size + size + 2 * (weights.len() - 1), 0.0);
    let (blurred, extended) = scratch.split_at_mut(size * size);
    for plane in planes.chunks_exact_mut(size * size) {
        wide(
            #[inline(always)]
            || {
                for (row, out) in plane.chunks_exact(size).zip(blurred.chunks_exact_mut(size)) {
                    blur_row(row, &weights, extended, out);
                }
                blur_columns(blurred, size, &weights, plane);
            },
        );
    }
}

/// The Gaussian at distances 0, 1, … of a kernel as wide as a tenth of the view (odd, at least 3),
/// normalised so that the whole kernel sums to 1.
pub(super) fn half_kernel(size: usize, sigma: f32) -> Vec<f32> {
    // Half the width. Reflection needs one pixel more than that.
    let radius = (size / 10 / 2).max(1).min(size - 1);
    let mut weights: Vec<f32> = (0..=radius).map(|x| (-0.5 * (x as f32 / sigma).powi(2)).exp()).collect();
    let sum = 2.0 * weights.iter().sum::<f32>() - weights[0];
    weights.iter_mut().for_each(|weight| *weight /= sum);
    weights
}

/// `extended` has room for the row and for what its ends reflect.
#[inline(always)]
fn blur_row(row: &[f32], weights: &[f32], extended: &mut [f32], out: &mut [f32]) {
    let (radius, last) = (weights.len() - 1, row.len() - 1);
    extended[radius..][..row.len()].copy_from_slice(row);
    for distance in 1..=radius {
        extended[radius - distance] = row[distance];
        extended[radius + last + distance] = row[last - distance];
    }
    let shifted = |by: usize| &extended[by..][..row.len()];
    for (out, value) in out.iter_mut().zip(row) {
        *out = weights[0] * value;
    }
    for (distance, weight) in weights.iter().enumerate().skip(1) {
        let pairs = shifted(radius - distance).iter().zip(shifted(radius + distance));
        for (out, (left, right)) in out.iter_mut().zip(pairs) {
            *out += weight * (left + right);
        }
    }
}

#[inline(always)]
fn blur_columns(plane: &[f32], size: usize, weights: &[f32], out: &mut [f32]) {
    let last = size - 1;
    let row = |y: usize| &plane[y * size..][..size];
    for (y, out) in out.chunks_exact_mut(size).enumerate() {
        for (out, value) in out.iter_mut().zip(row(y)) {
            *out = weights[0] * value;
        }
        for (distance, weight) in weights.iter().enumerate().skip(1) {
            let above = row(y.abs_diff(distance));
            let below = row(last - last.abs_diff(y + distance));
            for (out, (above, below)) in out.iter_mut().zip(above.iter().zip(below)) {
                *out += weight * (above + below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: a full two-dimensional kernel over a reflected image.
    fn by_definition(plane: &[f32], size: usize, sigma: f32, radius: isize) -> Vec<f32> {
        let reflect = |at: isize| {
            let last = size as isize - 1;
            (last - (last - at.abs()).abs()) as usize
        };
        let weight = |x: isize, y: isize| (-0.5 * (x * x + y * y) as f64 / f64::from(sigma).powi(2)).exp();
        let mut out = Vec::new();
        for y in 0..size as isize {
            for x in 0..size as isize {
                let (mut sum, mut total) = (0.0, 0.0);
                for dy in -radius..=radius {
                    for dx in -radius..=radius {
                        let value = plane[reflect(y + dy) * size + reflect(x + dx)];
                        sum += weight(dx, dy) * f64::from(value);
                        total += weight(dx, dy);
                    }
                }
                out.push((sum / total) as f32);
            }
        }
        out
    }

    #[test]
    fn the_separable_blur_is_the_two_dimensional_one() {
        for (size, radius) in [(2, 1), (3, 1), (32, 1), (45, 2), (64, 3)] {
            let mut planes: Vec<f32> = (0..size * size).map(|i| ((i * 31) % 17) as f32).collect();
            let wanted = by_definition(&planes, size, 1.3, radius);
            apply(&mut planes, size, 1.3, &mut Vec::new());
            for (found, wanted) in planes.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-4, "{size}: {found} {wanted}");
            }
        }
    }

    #[test]
    fn a_single_pixel_has_nothing_to_blur_with() {
        let mut plane = [3.0];
        apply(&mut plane, 1, 1.0, &mut Vec::new());
        assert_eq!(plane, [3.0]);
    }

    #[test]
    fn the_kernel_is_a_tenth_of_the_view() {
        assert_eq!(half_kernel(224, 1.0).len(), 12); // 23 wide, as in SimCLR
        assert_eq!(half_kernel(32, 1.0).len(), 2);
        assert_eq!(half_kernel(8, 1.0).len(), 2);
        assert_eq!(half_kernel(1, 1.0).len(), 1);
    }
}
