//! The airplane, in triangles. x points to the nose, y to the left wing, z up; lengths are in halves of the fuselage.

pub(super) type Point = [f64; 3];

/// A facet and how much of the light it gives back.
pub(super) struct Triangle {
    pub corners: [Point; 3],
    pub albedo: f64,
}

/// Sides of the fuselage.
const SIDES: usize = 8;

/// Fuselage, wings, tailplane and fin: 92 triangles.
pub(super) fn airplane() -> Vec<Triangle> {
    let mut triangles = fuselage();
    for side in [1.0, -1.0] {
        let wing = |x: f64, y: f64, z: f64| [x, side * y, z];
        // Swept back, and rising towards the tips.
        triangles.extend(plate(
            [
                wing(0.32, 0.08, -0.03),
                wing(-0.12, 0.08, -0.03),
                wing(-0.20, 0.88, 0.06),
                wing(-0.36, 0.88, 0.06),
            ],
            [0.0, 0.0, 0.035],
            0.85,
        ));
        triangles.extend(plate(
            [
                wing(-0.70, 0.04, 0.05),
                wing(-0.92, 0.04, 0.05),
                wing(-0.86, 0.36, 0.08),
                wing(-0.96, 0.36, 0.08),
            ],
            [0.0, 0.0, 0.025],
            0.7,
        ));
    }
    let fin = [[-0.62, 0.0, 0.08], [-0.92, 0.0, 0.08], [-0.86, 0.0, 0.42], [-0.98, 0.0, 0.42]];
    triangles.extend(plate(fin, [0.0, 0.025, 0.0], 0.6));
    triangles
}

/// A tube of eight sides that narrows to a point at nose and tail; the tail's is higher.
fn fuselage() -> Vec<Triangle> {
    // cos and sin of the eighths of a circle, turned by half an eighth.
    const A: f64 = 0.923_879_532_511_286_7;
    const B: f64 = 0.382_683_432_365_089_8;
    const CIRCLE: [[f64; 2]; SIDES] =
        [[A, B], [B, A], [-B, A], [-A, B], [-A, -B], [-B, -A], [B, -A], [A, -B]];
    let ring = |x: f64, z: f64, radius: f64| CIRCLE.map(|[y, up]| [x, radius * y, z + radius * up]);
    let (front, back) = (ring(0.66, 0.0, 0.125), ring(-0.45, 0.0, 0.125));
    let (nose, tail) = ([1.0, 0.0, -0.03], [-1.0, 0.0, 0.08]);
    let mut triangles = Vec::new();
    let mut facet = |corners, albedo| triangles.push(Triangle { corners, albedo });
    for i in 0..SIDES {
        let j = (i + 1) % SIDES;
        facet([nose, front[i], front[j]], 0.55);
        facet([front[i], back[i], front[j]], 1.0);
        facet([front[j], back[i], back[j]], 1.0);
        facet([tail, back[j], back[i]], 1.0);
    }
    triangles
}

/// A flat body of four corners (front and back at the root, front and back at the tip), as thick as twice `half`.
fn plate([a, b, c, d]: [Point; 4], half: Point, albedo: f64) -> Vec<Triangle> {
    let moved = |p: Point, sign: f64| [p[0] + sign * half[0], p[1] + sign * half[1], p[2] + sign * half[2]];
    let outline = [a, b, d, c];
    let (top, bottom) = (outline.map(|p| moved(p, 1.0)), outline.map(|p| moved(p, -1.0)));
    let mut corners = vec![
        [top[0], top[1], top[2]],
        [top[0], top[2], top[3]],
        [bottom[0], bottom[2], bottom[1]],
        [bottom[0], bottom[3], bottom[2]],
    ];
    for i in 0..4 {
        let j = (i + 1) % 4;
        corners.push([top[i], bottom[i], top[j]]);
        corners.push([top[j], bottom[i], bottom[j]]);
    }
    corners.into_iter().map(|corners| Triangle { corners, albedo }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_92_facets_and_none_is_a_line() {
        let triangles = airplane();
        assert_eq!(triangles.len(), 92);
        for Triangle { corners: [a, b, c], .. } in triangles {
            let (u, v) = ([0, 1, 2].map(|i| b[i] - a[i]), [0, 1, 2].map(|i| c[i] - a[i]));
            let normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
            assert!(normal.iter().map(|x| x * x).sum::<f64>() > 1e-8);
        }
    }

    #[test]
    fn left_and_right_mirror_each_other() {
        let corners: Vec<Point> = airplane().iter().flat_map(|t| t.corners).collect();
        for p in &corners {
            let near = |q: &&Point| (q[0] - p[0]).abs() + (q[1] + p[1]).abs() + (q[2] - p[2]).abs() < 1e-12;
            assert!(corners.iter().find(near).is_some(), "{p:?}");
        }
    }
}
