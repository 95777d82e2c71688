//! Triangles to pixels: parallel projection, Lambert's law, a depth buffer, and the mean of several samples a pixel.

use super::airplane::{Point, Triangle};

/// Samples along a pixel's side.
const SAMPLES: usize = 4;

/// Light that comes from everywhere; the rest comes from the lamp.
const EVEN: f64 = 0.25;

/// The grey behind the object, 0 to 1: darker than any part of it, so that no light hides its outline.
const GROUND: f64 = 0.05;

/// The part of the picture's half side that a length of 1 takes.
const SCALE: f64 = 0.88;

/// From where the object is seen, in degrees, and from where it is lit.
pub(super) struct View {
    pub azimuth: f64,
    pub elevation: f64,
    /// Towards the lamp, of length 1; x points from the object to the eye's side, z up.
    pub light: Point,
}

fn sine_and_cosine(degrees: f64) -> [f64; 2] {
    // Not the standard library's: that takes the system's, which differ in the last bit.
    let angle = degrees * (std::f64::consts::PI / 180.0);
    [libm::sin(angle), libm::cos(angle)]
}

/// The direction of length 1 at an azimuth and an elevation in degrees.
pub(super) fn direction(azimuth: f64, elevation: f64) -> Point {
    let ([sin_a, cos_a], [sin_e, cos_e]) = (sine_and_cosine(azimuth), sine_and_cosine(elevation));
    [cos_a * cos_e, sin_a * cos_e, sin_e]
}

fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The picture, rows from the top, in grey.
pub(super) fn draw(triangles: &[Triangle], view: &View, size: usize) -> Vec<u8> {
    let [sin_a, cos_a] = sine_and_cosine(view.azimuth);
    let [sin_e, cos_e] = sine_and_cosine(view.elevation);
    let eye = [cos_e, 0.0, sin_e];
    let (right, up) = ([0.0, 1.0, 0.0], [-sin_e, 0.0, cos_e]);
    let side = size * SAMPLES;
    let half = side as f64 / 2.0;
    let mut shades = vec![GROUND; side * side];
    let mut depths = vec![f64::NEG_INFINITY; side * side];
    for triangle in triangles {
        let turned = triangle.corners.map(|[x, y, z]| [cos_a * x - sin_a * y, sin_a * x + cos_a * y, z]);
        let shade = triangle.albedo * lambert(turned, eye, view.light);
        let seen = turned
            .map(|p| [half + half * SCALE * dot(p, right), half - half * SCALE * dot(p, up), dot(p, eye)]);
        fill(seen, shade, side, &mut shades, &mut depths);
    }
    let mut pixels = Vec::with_capacity(size * size);
    for y in 0..size {
        for x in 0..size {
            let rows = (0..SAMPLES).map(|row| (y * SAMPLES + row) * side + x * SAMPLES);
            let sum: f64 = rows.flat_map(|first| &shades[first..first + SAMPLES]).sum();
            pixels.push((sum / (SAMPLES * SAMPLES) as f64 * 255.0 + 0.5) as u8);
        }
    }
    pixels
}

/// The light that a facet gives back to the eye, 0 to 1. Of its two sides, the one that is seen counts.
fn lambert([a, b, c]: [Point; 3], eye: Point, light: Point) -> f64 {
    let (u, v) = ([0, 1, 2].map(|i| b[i] - a[i]), [0, 1, 2].map(|i| c[i] - a[i]));
    let normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    let towards_eye = if dot(normal, eye) < 0.0 { -1.0 } else { 1.0 };
    let cosine = towards_eye * dot(normal, light) / dot(normal, normal).sqrt();
    EVEN + (1.0 - EVEN) * cosine.max(0.0)
}

/// Fills the samples whose centres lie in the triangle, where nothing nearer stands. Corners are (column, row, nearness).
fn fill([a, b, c]: [Point; 3], shade: f64, side: usize, shades: &mut [f64], depths: &mut [f64]) {
    let edge = |p: Point, q: Point, x: f64, y: f64| (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]);
    let area = edge(a, b, c[0], c[1]);
    if area == 0.0 {
        return; // seen from its edge
    }
    let least = |i: usize| a[i].min(b[i]).min(c[i]).floor().clamp(0.0, side as f64) as usize;
    let most = |i: usize| a[i].max(b[i]).max(c[i]).ceil().clamp(0.0, side as f64) as usize;
    for row in least(1)..most(1) {
        for column in least(0)..most(0) {
            let (x, y) = (column as f64 + 0.5, row as f64 + 0.5);
            let [p, q, r] = [edge(b, c, x, y), edge(c, a, x, y), edge(a, b, x, y)].map(|part| part / area);
            if p < 0.0 || q < 0.0 || r < 0.0 {
                continue;
            }
            let depth = p * a[2] + q * b[2] + r * c[2];
            let at = row * side + column;
            if depth > depths[at] {
                (depths[at], shades[at]) = (depth, shade);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of side 1 around the origin at height z.
    fn square(z: f64, albedo: f64) -> [Triangle; 2] {
        let [a, b, c, d] = [[0.5, 0.5, z], [-0.5, 0.5, z], [-0.5, -0.5, z], [0.5, -0.5, z]];
        [Triangle { corners: [a, b, c], albedo }, Triangle { corners: [a, c, d], albedo }]
    }

    #[test]
    fn a_square_from_above_is_a_square_of_lamberts_shade() {
        let view = View { azimuth: 0.0, elevation: 90.0, light: direction(0.0, 30.0) };
        let size = 50;
        let pixels = draw(&square(0.0, 0.8), &view, size);
        // The sine of 30° is 1/2.
        let shade = (0.8 * (EVEN + (1.0 - EVEN) * 0.5) * 255.0 + 0.5) as u8;
        assert_eq!(pixels[25 * size + 25], shade);
        assert_eq!(pixels[0], (GROUND * 255.0 + 0.5) as u8);
        // A side of 0.88 half pictures: 22 of 50 pixels.
        assert_eq!(pixels.iter().filter(|&&v| v == shade).count(), 22 * 22);
    }

    #[test]
    fn the_nearer_facet_hides_the_farther_in_either_order() {
        let view = View { azimuth: 0.0, elevation: 90.0, light: [0.0, 0.0, 1.0] };
        for order in [[0.0, 0.3], [0.3, 0.0]] {
            let triangles: Vec<_> =
                order.into_iter().flat_map(|z| square(z, if z > 0.0 { 1.0 } else { 0.2 })).collect();
            assert_eq!(draw(&triangles, &view, 20)[10 * 20 + 10], 255);
        }
    }

    #[test]
    fn what_the_lamp_does_not_reach_has_the_even_light() {
        let view = View { azimuth: 0.0, elevation: 90.0, light: direction(0.0, -50.0) };
        assert_eq!(draw(&square(0.0, 1.0), &view, 20)[210], (EVEN * 255.0 + 0.5) as u8);
    }

    #[test]
    fn a_turn_by_azimuth_moves_the_nose_counterclockwise_seen_from_above() {
        // A facet to the front (x = 0.5), seen from above with the eye's up pointing away from the front.
        let nose = |azimuth| {
            let corner = |x: f64, y: f64| [x, y, 0.0];
            let triangle =
                Triangle { corners: [corner(0.9, 0.1), corner(0.9, -0.1), corner(0.6, 0.0)], albedo: 1.0 };
            let view = View { azimuth, elevation: 90.0, light: [0.0, 0.0, 1.0] };
            let pixels = draw(&[triangle], &view, 40);
            let bright: Vec<usize> = (0..1600).filter(|&i| pixels[i] == 255).collect();
            let mean = |of: fn(usize) -> usize| bright.iter().map(|&i| of(i)).sum::<usize>() / bright.len();
            (mean(|i| i % 40), mean(|i| i / 40))
        };
        let ((x, y), (turned_x, turned_y)) = (nose(0.0), nose(90.0));
        assert!(y > 30 && (18..22).contains(&x), "{x} {y}");
        assert!(turned_x > 30 && (18..22).contains(&turned_y), "{turned_x} {turned_y}");
    }
}
