//! Contrast along the principal components of an image's colours (Dosovitskiy et al. 2014).

use nearkin_sweep::wide;
use rand::Rng;

use super::config::PcaContrast;
use super::{rgb, rounded};
use crate::image::Image;
use crate::random::{bernoulli, log_uniform};

/// Sweeps of rotations: a symmetric matrix of three rows is diagonal to f64's last digits after five.
const SWEEPS: usize = 8;

/// By what the colours' projections are multiplied, once drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Factors {
    /// On the first component.
    first: f32,
    /// On the second and the third.
    others: f32,
}

/// With probability `contrast.probability`.
pub(super) fn draw(contrast: &PcaContrast, rng: &mut impl Rng) -> Option<Factors> {
    if !bernoulli(rng, contrast.probability) {
        return None;
    }
    let [low, high] = contrast.factor;
    Some(Factors { first: log_uniform(rng, low, high), others: log_uniform(rng, low, high) })
}

/// Multiplies, in the planes of a view of `image`, how far colours are from the image's mean colour along its components. One channel
/// is its only component.
pub(super) fn apply(planes: &mut [u8], image: &Image, Factors { first, others }: Factors) {
    if image.channels == 1 {
        let sum: u64 = image.pixels.iter().map(|&value| u64::from(value)).sum();
        let mean = (sum as f64 / image.pixels.len() as f64) as f32;
        wide(
            #[inline(always)]
            || {
                planes
                    .iter_mut()
                    .for_each(|value| *value = rounded(mean + first * (f32::from(*value) - mean)))
            },
        );
        return;
    }
    let (mean, axis) = principal(image.pixels.as_chunks::<3>().0);
    let (mean, axis) = (mean.map(|m| m as f32), axis.map(|a| a as f32));
    let [red, green, blue] = rgb(planes);
    wide(
        #[inline(always)]
        || {
            for ((r, g), b) in red.iter_mut().zip(&mut *green).zip(&mut *blue) {
                let off = [f32::from(*r) - mean[0], f32::from(*g) - mean[1], f32::from(*b) - mean[2]];
                // others · off + (first − others) · axis axisᵀ off: all that is orthogonal to the axis has one factor.
                let along = axis[0] * off[0] + axis[1] * off[1] + axis[2] * off[2];
                let more = (first - others) * along;
                *r = rounded(mean[0] + others * off[0] + more * axis[0]);
                *g = rounded(mean[1] + others * off[1] + more * axis[1]);
                *b = rounded(mean[2] + others * off[2] + more * axis[2]);
            }
        },
    );
}

/// The mean of colours, and the unit vector along which they vary most.
fn principal(pixels: &[[u8; 3]]) -> ([f64; 3], [f64; 3]) {
    let mut sums = [0u64; 3];
    let mut products = [[0u64; 3]; 3];
    for pixel in pixels {
        let pixel = pixel.map(u64::from);
        for (row, a) in pixel.iter().enumerate() {
            sums[row] += a;
            for (column, b) in pixel.iter().enumerate().skip(row) {
                products[row][column] += a * b;
            }
        }
    }
    let n = pixels.len() as f64;
    // In whole numbers, so that no difference of large sums is rounded: n² times the covariance.
    let scatter = |a: usize, b: usize| {
        let whole = |x: u64| i128::from(x);
        (pixels.len() as i128 * whole(products[a.min(b)][a.max(b)]) - whole(sums[a]) * whole(sums[b])) as f64
    };
    let covariance = [0, 1, 2].map(|a| [0, 1, 2].map(|b| scatter(a, b) / (n * n)));
    (sums.map(|sum| sum as f64 / n), first_axis(covariance))
}

/// The unit eigenvector of the largest eigenvalue of a symmetric matrix, by Jacobi's rotations; of equal ones, the first.
fn first_axis(mut matrix: [[f64; 3]; 3]) -> [f64; 3] {
    let mut axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for (p, q) in [(0, 1), (0, 2), (1, 2)].into_iter().cycle().take(3 * SWEEPS) {
        if matrix[p][q] == 0.0 {
            continue;
        }
        let slope: f64 = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
        let tangent = slope.signum() / (slope.abs() + (slope * slope + 1.0).sqrt());
        let cosine = (tangent * tangent + 1.0).sqrt().recip();
        let sine = tangent * cosine;
        let turned = |a: f64, b: f64| (cosine * a - sine * b, sine * a + cosine * b);
        for row in &mut matrix {
            (row[p], row[q]) = turned(row[p], row[q]);
        }
        for k in 0..3 {
            (matrix[p][k], matrix[q][k]) = turned(matrix[p][k], matrix[q][k]);
            (axes[p][k], axes[q][k]) = turned(axes[p][k], axes[q][k]);
        }
    }
    let first = (1..3).fold(0, |best, i| if matrix[i][i] > matrix[best][best] { i } else { best });
    axes[first]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream, uniform};

    /// Planes of the image itself, after the change.
    fn changed(image: &Image, first: f32, others: f32) -> Vec<u8> {
        let mut planes = Vec::new();
        super::super::into_planes(&image.pixels, image.channels, &mut planes);
        apply(&mut planes, image, Factors { first, others });
        planes
    }

    fn noise(channels: usize) -> Image {
        let mut rng = stream(1, 0, 0, 0, Purpose::View);
        let pixels = (0..400 * channels).map(|_| 64 + (uniform(&mut rng) * 128.0) as u8).collect();
        Image::new(20, 20, channels, pixels).unwrap()
    }

    #[test]
    fn neutral_factors_change_nothing() {
        for channels in [1, 3] {
            let image = noise(channels);
            let mut planes = Vec::new();
            super::super::into_planes(&image.pixels, channels, &mut planes);
            assert_eq!(changed(&image, 1.0, 1.0), planes);
        }
    }

    #[test]
    fn colours_on_a_line_move_along_it_by_the_first_factor_alone() {
        // 100 ± 20 along (1, 1, 0) / √2.
        let image = Image::new(2, 1, 3, vec![80, 80, 50, 120, 120, 50]).unwrap();
        assert_eq!(changed(&image, 2.0, 0.5), [60, 140, 60, 140, 50, 50]);
        assert_eq!(changed(&image, 0.5, 2.0), [90, 110, 90, 110, 50, 50]);
        let grey = Image::new(2, 1, 1, vec![10, 200]).unwrap();
        assert_eq!(changed(&grey, 2.0, 1.0), [0, 255]); // 105 ± 190
    }

    #[test]
    fn the_axis_is_the_eigenvector_of_the_largest_eigenvalue() {
        let (mean, axis) = principal(noise(3).pixels.as_chunks::<3>().0);
        assert!(mean.iter().all(|m| (120.0..136.0).contains(m)));
        assert!((axis.iter().map(|a| a * a).sum::<f64>() - 1.0).abs() < 1e-12);
        // Eigenvalues 1, 2 and 6: A = 6 uuᵀ + 2 vvᵀ + wwᵀ.
        let (u, v, w) = ([1.0, 2.0, 2.0], [2.0, 1.0, -2.0], [2.0, -2.0, 1.0]);
        let of = |a: usize, b: usize| (6.0 * u[a] * u[b] + 2.0 * v[a] * v[b] + w[a] * w[b]) / 9.0;
        let found = first_axis([0, 1, 2].map(|a| [0, 1, 2].map(|b| of(a, b))));
        let along: f64 = found.iter().zip(u).map(|(a, b)| a * b / 3.0).sum();
        assert!((along.abs() - 1.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn what_is_orthogonal_to_the_axis_has_the_other_factor() {
        let image = noise(3);
        let (mean, axis) = principal(image.pixels.as_chunks::<3>().0);
        let planes = changed(&image, 1.0, 0.5);
        for (at, pixel) in image.pixels.as_chunks::<3>().0.iter().enumerate() {
            let before = [0, 1, 2].map(|c| f64::from(pixel[c]) - mean[c]);
            let after = [0, 1, 2].map(|c| f64::from(planes[c * 400 + at]) - mean[c]);
            let along = |off: [f64; 3]| off.iter().zip(axis).map(|(o, a)| o * a).sum::<f64>();
            assert!((along(after) - along(before)).abs() < 1.0);
            for c in 0..3 {
                let wanted = 0.5 * (before[c] - along(before) * axis[c]);
                assert!((after[c] - along(after) * axis[c] - wanted).abs() < 1.0);
            }
        }
    }

    #[test]
    fn an_image_of_one_colour_stays() {
        let image = Image::new(2, 2, 3, [7, 90, 200].repeat(4)).unwrap();
        assert_eq!(changed(&image, 2.0, 2.0), [[7; 4], [90; 4], [200; 4]].concat());
    }

    #[test]
    fn factors_are_drawn_within_their_range_as_often_below_one_as_above() {
        let contrast = PcaContrast { factor: [0.5, 2.0], probability: 1.0 };
        let mut rng = stream(2, 0, 0, 0, Purpose::View);
        let drawn: Vec<Factors> = (0..2000).map(|_| draw(&contrast, &mut rng).unwrap()).collect();
        let all = || drawn.iter().flat_map(|f| [f.first, f.others]);
        assert!(all().all(|f| (0.4999..2.0001).contains(&f)));
        assert!((0.47..0.53).contains(&(all().filter(|f| *f < 1.0).count() as f32 / 4000.0)));
    }
}
