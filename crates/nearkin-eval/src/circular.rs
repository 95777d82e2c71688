//! Angles on a map, and how they go with an angle that is known.

use std::f64::consts::TAU;

use nearkin_sweep::Vectors;

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;
use crate::scatter::Centred;

/// The circular correlation of two angles in radians, in [−1, 1]: 1 when one is the other plus a constant, −1 when it is a constant
/// minus the other (a map seen from behind), near 0 when they are independent.
///
/// `ρ = Σ sin(a_i − a_j) sin(b_i − b_j) / √(Σ sin²(a_i − a_j) Σ sin²(b_i − b_j))`, the sums over all pairs `i < j` (N. I. Fisher, A. J. Lee,
/// "A correlation coefficient for circular data", 1983). It compares differences, so it needs no mean direction: an angle that goes
/// evenly round, as an azimuth does, has none. The sums over pairs are functions of sums over angles, so it takes `n` steps.
///
/// # Errors
/// Lists of different lengths, fewer than 3 angles, an angle that is not finite, and an angle that is constant.
pub fn circular_correlation(a: &[f64], b: &[f64]) -> Result<f64, EvalError> {
    if a.len() != b.len() {
        return Err(EvalError::Count { what: "angles to correlate with", found: b.len(), wanted: a.len() });
    }
    let undefined = |reason: String| EvalError::Undefined { measure: "circular correlation", reason };
    if a.len() < 3 {
        return Err(undefined(format!("there are {} angles, and at least 3 are wanted", a.len())));
    }
    let n = a.len() as f64;
    // 4 Σ_{i<j} sin²(x_i − x_j) = n² − |Σ exp(2 i x)|²
    let spread = |name: &str, angles: &[f64]| -> Result<f64, EvalError> {
        if let Some(i) = angles.iter().position(|x| !x.is_finite()) {
            return Err(undefined(format!(
                "angle {i} of the {name} list is {}, wanted a finite number",
                angles[i]
            )));
        }
        let doubled = resultant(angles.iter().map(|x| 2.0 * x));
        let spread = n * n - doubled.powi(2);
        // Rounding of the sums leaves about 1e-16 of n².
        if spread < 1e-12 * n * n {
            return Err(undefined(format!(
                "all angles of the {name} list are one direction, or two opposite ones"
            )));
        }
        Ok(spread)
    };
    let spreads = spread("first", a)? * spread("second", b)?;
    // 4 Σ_{i<j} sin(a_i − a_j) sin(b_i − b_j) = |Σ exp(i (a − b))|² − |Σ exp(i (a + b))|²
    let difference = resultant(a.iter().zip(b).map(|(a, b)| a - b));
    let sum = resultant(a.iter().zip(b).map(|(a, b)| a + b));
    Ok((difference.powi(2) - sum.powi(2)) / spreads.sqrt())
}

/// `|Σ exp(i x)|`
fn resultant(angles: impl Iterator<Item = f64>) -> f64 {
    let (cos, sin) = angles.fold((0.0, 0.0), |(cos, sin), x| (cos + x.cos(), sin + x.sin()));
    f64::hypot(cos, sin)
}

/// Where the points of a map lie around its middle.
#[derive(Debug, Clone, PartialEq)]
pub struct MapAngles {
    /// The angle of each point, in [0, 2π).
    pub angles: Vec<f64>,
    /// The distance of each point from the centre (2-D) or from the axis (3-D).
    pub radii: Vec<f64>,
    /// The coefficient of variation of the radii: 0 for a perfect ring or cylinder, about 0.35 for a filled disc.
    pub radius_variation: f64,
    /// The direction of the axis, of unit length: of a map in 3 dimensions only.
    pub axis: Option<[f64; 3]>,
}

/// The angle of each point of a map around its middle.
///
/// In 2 dimensions the centre is that of the circle that fits the points best: the least-squares solution of
/// `x² + y² = 2 u x + 2 v y + c` (Kåsa 1976, *A circle fitting procedure and its error analysis*), which is right for an arc or
/// an uneven ring too, where the mean of the points is not.
///
/// In 3 dimensions the map is taken for a cylinder, and the angles are those around its axis. The axis is one of the three principal
/// directions; a short cylinder's is the last of them and a long one's the first, so it is the one around whose fitted circle the
/// radii vary least. Angles are measured in the plane of the other two, whose order and signs are arbitrary, so the sign of a
/// correlation with them means nothing.
///
/// # Errors
/// Fewer than 3 points, other than 2 or 3 dimensions, a value that is not finite, and points on one line (in 3 dimensions: on one line
/// from wherever one looks).
pub fn map_angles(points: Vectors<'_>) -> Result<MapAngles, EvalError> {
    check_finite(points, Side::Embeddings)?;
    let undefined = |reason: String| EvalError::Undefined { measure: "the angle of a map", reason };
    if points.len() < 3 {
        return Err(undefined(format!("there are {} points, and at least 3 are wanted", points.len())));
    }
    let centred = Centred::new(points);
    let on_a_line = || undefined("the points lie on one line, so no circle fits them".to_owned());
    match points.dim() {
        2 => {
            let plane: Vec<[f64; 2]> = (0..points.len()).map(|i| pair(centred.row(i))).collect();
            around(&plane).ok_or_else(on_a_line)
        }
        3 => {
            let principal = centred.principal(true)?;
            if !centred.is_tall() || principal.values[1] <= 1e-12 * principal.values[0] {
                return Err(on_a_line());
            }
            let direction =
                |axis: usize| -> [f64; 3] { std::array::from_fn(|d| principal.vectors[(d, axis)]) };
            let mut best: Option<MapAngles> = None;
            for axis in 0..3 {
                let [first, second] = [(axis + 1) % 3, (axis + 2) % 3].map(direction);
                let along = |i: usize, direction: &[f64; 3]| {
                    centred.row(i).zip(direction).map(|(x, d)| x * d).sum::<f64>()
                };
                let plane: Vec<[f64; 2]> =
                    (0..points.len()).map(|i| [along(i, &first), along(i, &second)]).collect();
                if let Some(found) = around(&plane)
                    && best.as_ref().is_none_or(|b| found.radius_variation < b.radius_variation)
                {
                    best = Some(MapAngles { axis: Some(direction(axis)), ..found });
                }
            }
            best.ok_or_else(on_a_line)
        }
        dim => Err(undefined(format!("the map has {dim} dimensions, wanted 2 or 3; project it first"))),
    }
}

fn pair(mut row: impl Iterator<Item = f64>) -> [f64; 2] {
    [row.next().unwrap_or(0.0), row.next().unwrap_or(0.0)]
}

/// Angles around the circle that fits points of mean 0; `None` when they lie on a line.
fn around(plane: &[[f64; 2]]) -> Option<MapAngles> {
    // With means taken out, Kåsa's normal equations are two: [Sxx Sxy; Sxy Syy] (u, v) = ½ (Σ x z, Σ y z), z = x² + y².
    let sum = |f: &dyn Fn(f64, f64) -> f64| plane.iter().map(|&[x, y]| f(x, y)).sum::<f64>();
    let (xx, xy, yy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    let (xz, yz) = (sum(&|x, y| x * (x * x + y * y)), sum(&|x, y| y * (x * x + y * y)));
    let determinant = xx * yy - xy * xy;
    if determinant <= 1e-12 * (xx + yy) * (xx + yy) {
        return None;
    }
    let u = 0.5 * (xz * yy - yz * xy) / determinant;
    let v = 0.5 * (yz * xx - xz * xy) / determinant;
    let angles = plane.iter().map(|&[x, y]| (y - v).atan2(x - u).rem_euclid(TAU) % TAU).collect();
    let radii: Vec<f64> = plane.iter().map(|&[x, y]| (x - u).hypot(y - v)).collect();
    let n = radii.len() as f64;
    let mean = radii.iter().sum::<f64>() / n;
    let variance = radii.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
    Some(MapAngles { angles, radii, radius_variation: variance.sqrt() / mean, axis: None })
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn close(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() < within, "{a} is not {b}");
    }

    /// A number in [0, 1) a place.
    fn noise(i: usize) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(i as u64);
        rng.random()
    }

    #[test]
    fn a_shifted_or_mirrored_angle_correlates_fully() {
        // Half a turn has a mean direction, 18 azimuths have none.
        for angles in [
            (0..20).map(|i| f64::from(i) * 0.15).collect::<Vec<f64>>(),
            (0..18).map(|i| f64::from(i) * TAU / 18.0).collect(),
        ] {
            let shifted: Vec<f64> = angles.iter().map(|a| a + 5.0).collect();
            let mirrored: Vec<f64> = angles.iter().map(|a| 1.0 - a).collect();
            close(circular_correlation(&angles, &shifted).unwrap(), 1.0, 1e-9);
            close(circular_correlation(&angles, &mirrored).unwrap(), -1.0, 1e-9);
        }
    }

    #[test]
    fn a_hand_worked_correlation() {
        // a: 0°, 30°, 90°; b: 0°, 90°, 30°. Differences of a: −30, −90, −60; of b: −90, −30, 60.
        // ½ + ½ − ¾ over ¼ + 1 + ¾.
        let (a, b) = ([0.0, 30.0, 90.0f64].map(f64::to_radians), [0.0, 90.0, 30.0f64].map(f64::to_radians));
        close(circular_correlation(&a, &b).unwrap(), 0.125, 1e-12);
    }

    #[test]
    fn the_short_way_is_the_sum_over_all_pairs() {
        let (a, b): (Vec<f64>, Vec<f64>) =
            (0..60).map(|i| (3.0 * noise(i), 3.0 * noise(i) + 2.0 * noise(i + 500))).unzip();
        let over = |f: &dyn Fn(usize, usize) -> f64| {
            (0..60).map(|i| (0..i).map(|j| f(i, j)).sum::<f64>()).sum::<f64>()
        };
        let sine = |x: &[f64], i: usize, j: usize| (x[i] - x[j]).sin();
        let wanted = over(&|i, j| sine(&a, i, j) * sine(&b, i, j))
            / (over(&|i, j| sine(&a, i, j).powi(2)) * over(&|i, j| sine(&b, i, j).powi(2))).sqrt();
        close(circular_correlation(&a, &b).unwrap(), wanted, 1e-12);
    }

    #[test]
    fn an_even_ring_that_is_drawn_as_an_ellipse_correlates_nearly_fully() {
        let azimuths: Vec<f64> = (0..360).map(|i| f64::from(i).to_radians()).collect();
        for turn in [0.0, 0.4, 0.8] {
            let angles: Vec<f64> =
                azimuths.iter().map(|a| (0.7 * (a + turn).sin()).atan2((a + turn).cos())).collect();
            let r = circular_correlation(&angles, &azimuths).unwrap();
            assert!(r > 0.97 && r < 1.0, "turned by {turn}: {r}");
        }
    }

    #[test]
    fn independent_angles_hardly_correlate() {
        let (a, b): (Vec<f64>, Vec<f64>) =
            (0..5000).map(|i| (noise(i) * TAU, noise(i + 77_777) * TAU)).unzip();
        assert!(circular_correlation(&a, &b).unwrap().abs() < 0.06);
        let narrow: Vec<f64> = b.iter().map(|b| b / 4.0).collect();
        assert!(circular_correlation(&a, &narrow).unwrap().abs() < 0.06);
    }

    #[test]
    fn angles_that_say_nothing_are_refused() {
        let error = |a: &[f64], b: &[f64]| circular_correlation(a, b).unwrap_err().to_string();
        assert!(error(&[0.0; 4], &[0.0; 3]).contains("found 3, wanted 4"));
        assert!(error(&[0.0; 2], &[0.0; 2]).contains("at least 3"));
        assert!(error(&[0.0, 1.0, f64::NAN], &[0.0, 1.0, 2.0]).contains("angle 2"));
        assert!(error(&[0.7; 5], &[0.0, 1.0, 2.0, 3.0, 4.0]).contains("first list are one direction"));
    }

    #[test]
    fn an_uneven_ring_has_its_own_centre() {
        // Three quarters of a circle around (4, −2): the mean of its points is not the centre.
        let wanted: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.078).collect();
        let points: Vec<f32> = wanted
            .iter()
            .flat_map(|a| [(4.0 + 3.0 * a.cos()) as f32, (-2.0 + 3.0 * a.sin()) as f32])
            .collect();
        let found = map_angles(Vectors::new(&points, 2).unwrap()).unwrap();
        for ((a, w), r) in found.angles.iter().zip(&wanted).zip(&found.radii) {
            close(*a, *w, 1e-5);
            close(*r, 3.0, 1e-5);
        }
        assert!(found.radius_variation < 1e-6 && found.axis.is_none());
    }

    #[test]
    fn long_and_short_cylinders_in_any_pose_give_their_azimuth() {
        for height in [0.3f64, 1.7, 12.0] {
            let axis = [2.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0f64];
            let first = [1.0 / 2f64.sqrt(), 0.0, -1.0 / 2f64.sqrt()];
            let second = [
                axis[1] * first[2] - axis[2] * first[1],
                axis[2] * first[0] - axis[0] * first[2],
                axis[0] * first[1] - axis[1] * first[0],
            ];
            let azimuth = |i: usize| (i % 18) as f64 * TAU / 18.0;
            let points: Vec<f32> = (0..18 * 9)
                .flat_map(|i| {
                    let (c, s, h) = (azimuth(i).cos(), azimuth(i).sin(), (i / 18) as f64 * height / 8.0);
                    (0..3).map(move |d| {
                        (7.0 + c * first[d] + s * second[d] + h * axis[d] + 0.02 * noise(i * 3 + d)) as f32
                    })
                })
                .collect();
            let found = map_angles(Vectors::new(&points, 3).unwrap()).unwrap();
            let along: f64 = found.axis.unwrap().iter().zip(&axis).map(|(a, b)| a * b).sum();
            assert!(along.abs() > 0.99, "height {height}: {:?}", found.axis);
            let azimuths: Vec<f64> = (0..18 * 9).map(azimuth).collect();
            let r = circular_correlation(&found.angles, &azimuths).unwrap();
            assert!(r.abs() > 0.99, "height {height}: {r}");
        }
    }

    #[test]
    fn lines_and_other_dimensions_are_refused() {
        let error =
            |points: &[f32], dim| map_angles(Vectors::new(points, dim).unwrap()).unwrap_err().to_string();
        assert!(error(&[0.0, 0.0, 1.0, 1.0, 2.0, 2.0], 2).contains("one line"));
        assert!(error(&[0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 5.0, 5.0, 5.0], 3).contains("one line"));
        assert!(error(&[0.0; 12], 4).contains("4 dimensions"));
        assert!(error(&[0.0, 1.0], 2).contains("there are 1 points"));
        assert!(error(&[0.0; 8], 2).contains("one line"));
        assert!(error(&[0.0; 12], 3).contains("one line"));
    }
}
