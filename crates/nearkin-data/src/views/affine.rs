//! A small random turn, shift, change of size and slant about the middle.

use rand::Rng;

use super::config::Affine;
use crate::random::{bernoulli, uniform_between};

/// The way from a pixel of the view back to where its value stands, both measured from the middle: `matrix · (pixel - shift)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Warp {
    /// Rows, for x and y.
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
}

/// With probability `affine.probability`.
pub(super) fn draw(affine: &Affine, size: usize, rng: &mut impl Rng) -> Option<Warp> {
    if !bernoulli(rng, affine.probability) {
        return None;
    }
    let mut either_way = |most: f32| uniform_between(rng, -most, most);
    let angle = either_way(affine.degrees).to_radians();
    let shift = [either_way(affine.translate), either_way(affine.translate)].map(|share| share * size as f32);
    let slant = either_way(affine.shear).to_radians();
    let scale = uniform_between(rng, affine.scale[0], affine.scale[1]);
    // Forward: slanted along x, then turned and scaled. The slant's determinant is 1, a turn's inverse is its transpose.
    let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
    let lean = libm::tanf(slant);
    let back = [[cos / scale, sin / scale], [-sin / scale, cos / scale]];
    let matrix = [[back[0][0] - lean * back[1][0], back[0][1] - lean * back[1][1]], back[1]];
    Some(Warp { matrix, shift })
}

/// Writes the planes, warped, to `out`: bilinear, with edges reflected.
pub(super) fn apply(planes: &[u8], size: usize, warp: &Warp, out: &mut Vec<u8>) {
    out.resize(planes.len(), 0);
    let middle = (size as f32 - 1.0) / 2.0;
    let Warp { matrix: [[xx, xy], [yx, yy]], shift } = warp;
    for y in 0..size {
        for x in 0..size {
            let [dx, dy] = [x as f32 - middle - shift[0], y as f32 - middle - shift[1]];
            let (left, to_right) = whole_and_rest(xx * dx + xy * dy + middle);
            let (top, down) = whole_and_rest(yx * dx + yy * dy + middle);
            let columns = [left, left + 1].map(|at| reflected(at, size));
            let rows = [top, top + 1].map(|at| reflected(at, size) * size);
            for (plane, out) in planes.chunks_exact(size * size).zip(out.chunks_exact_mut(size * size)) {
                let [above, below] = rows.map(|row| {
                    let [left, right] = columns.map(|column| f32::from(plane[row + column]));
                    left + to_right * (right - left)
                });
                out[y * size + x] = (above + down * (below - above) + 0.5) as u8;
            }
        }
    }
}

fn whole_and_rest(value: f32) -> (i64, f32) {
    let whole = value.floor();
    (whole as i64, value - whole)
}

/// Back and forth between the edges, which are not doubled.
fn reflected(at: i64, size: usize) -> usize {
    let last = size as i64 - 1;
    if last == 0 {
        return 0;
    }
    let around = at.rem_euclid(2 * last);
    around.min(2 * last - around) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn warped(planes: &[u8], size: usize, affine: &Affine) -> Vec<u8> {
        let warp = draw(affine, size, &mut stream(3, 0, 0, 0, Purpose::View)).unwrap();
        let mut out = Vec::new();
        apply(planes, size, &warp, &mut out);
        out
    }

    const STILL: Affine =
        Affine { degrees: 0.0, translate: 0.0, scale: [1.0, 1.0], shear: 0.0, probability: 1.0 };

    #[test]
    fn nothing_moves_without_a_reason() {
        let planes: Vec<u8> = (0..2 * 25).map(|i| (i * 37 % 251) as u8).collect();
        assert_eq!(warped(&planes, 5, &STILL), planes);
    }

    #[test]
    fn a_quarter_turn_moves_corners() {
        let (sin, cos) = (1.0, 0.0);
        let warp = Warp { matrix: [[cos, sin], [-sin, cos]], shift: [0.0; 2] };
        let mut out = Vec::new();
        apply(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 3, &warp, &mut out);
        assert_eq!(out, [7, 4, 1, 8, 5, 2, 9, 6, 3]); // clockwise: y points down
    }

    #[test]
    fn twice_the_size_shows_the_middle_and_a_shift_reflects() {
        let planes = [0, 10, 20, 30, 40].repeat(5);
        let out = warped(&planes, 5, &Affine { scale: [2.0, 2.0], ..STILL });
        assert_eq!(out[..5], [10, 15, 20, 25, 30]);
        let warp = Warp { matrix: [[1.0, 0.0], [0.0, 1.0]], shift: [2.0, 0.0] };
        let mut out = Vec::new();
        apply(&planes, 5, &warp, &mut out);
        assert_eq!(out[..5], [20, 10, 0, 10, 20]);
    }

    #[test]
    fn a_warp_undoes_the_way_there() {
        // Where a point of the picture comes to lie, by the definition, and back.
        let affine =
            Affine { degrees: 30.0, translate: 0.2, scale: [0.7, 1.4], shear: 15.0, probability: 1.0 };
        let mut rng = stream(5, 0, 0, 0, Purpose::View);
        for _ in 0..50 {
            let mut draws = rng.clone();
            let warp = draw(&affine, 40, &mut rng).unwrap();
            assert!(bernoulli(&mut draws, 1.0));
            let mut either_way = |most: f32| uniform_between(&mut draws, -most, most);
            let angle = either_way(30.0).to_radians();
            let shift = [either_way(0.2) * 40.0, either_way(0.2) * 40.0];
            let lean = either_way(15.0).to_radians().tan();
            let scale = uniform_between(&mut draws, 0.7, 1.4);
            let [x, y] = [7.0, -3.0];
            let slanted = [x + lean * y, y];
            let there = [
                scale * (angle.cos() * slanted[0] - angle.sin() * slanted[1]) + shift[0],
                scale * (angle.sin() * slanted[0] + angle.cos() * slanted[1]) + shift[1],
            ];
            let [dx, dy] = [there[0] - warp.shift[0], there[1] - warp.shift[1]];
            let back = warp.matrix.map(|[by_x, by_y]| by_x * dx + by_y * dy);
            assert!((back[0] - x).abs() < 1e-4 && (back[1] - y).abs() < 1e-4, "{back:?}");
        }
    }
}
