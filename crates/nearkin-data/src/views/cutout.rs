//! A square that is missing.

use std::ops::Range;

use rand::Rng;

use super::config::Cutout;
use crate::random::{below, bernoulli};

/// Rows and columns that are missing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hole {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// A square with its middle anywhere, so that some of it may lie outside; with probability `cutout.probability`.
pub(super) fn draw(cutout: &Cutout, size: usize, rng: &mut impl Rng) -> Option<Hole> {
    if !bernoulli(rng, cutout.probability) {
        return None;
    }
    let side = ((cutout.side * size as f32).round() as usize).max(1);
    let mut around = || {
        let middle = below(rng, size);
        middle.saturating_sub(side / 2)..(middle + side - side / 2).min(size)
    };
    Some(Hole { rows: around(), columns: around() })
}

/// Zeros where the hole is: the mean, if it is that by which the planes were normalised.
pub(super) fn apply(planes: &mut [f32], size: usize, hole: &Hole) {
    for plane in planes.chunks_exact_mut(size * size) {
        for row in plane.chunks_exact_mut(size).skip(hole.rows.start).take(hole.rows.len()) {
            row[hole.columns.clone()].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn holes_have_the_wanted_side_but_at_the_edge() {
        let mut rng = stream(1, 0, 0, 0, Purpose::View);
        let cutout = Cutout { side: 0.5, probability: 1.0 };
        let mut whole = 0;
        for _ in 0..200 {
            let hole = draw(&cutout, 8, &mut rng).unwrap();
            let mut planes = vec![1.0; 2 * 64];
            apply(&mut planes, 8, &hole);
            let missing = planes.iter().filter(|&&value| value == 0.0).count();
            assert_eq!(missing, 2 * hole.rows.len() * hole.columns.len());
            assert!((2 * 4..=2 * 16).contains(&missing), "{hole:?}");
            whole += usize::from(missing == 32);
        }
        assert!(whole > 20, "{whole}");
    }
}
