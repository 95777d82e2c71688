//! A random shift with reflected edges: pad, then cut the view out of the larger image.

use rand::Rng;

use crate::error::DataError;
use crate::random::below;

pub(super) fn check(pixels: usize, size: usize) -> Result<(), DataError> {
    if pixels < size {
        return Ok(());
    }
    Err(DataError::setting(
        "crop.pixels",
        pixels,
        format!("below the view's size, {size}: there is no more to reflect"),
    ))
}

/// A shift of up to `margin` pixels each way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    margin: usize,
    top: usize,
    left: usize,
}

impl Shift {
    pub(super) fn draw(margin: usize, rng: &mut impl Rng) -> Self {
        let top = below(rng, 2 * margin + 1);
        Self { margin, top, left: below(rng, 2 * margin + 1) }
    }

    /// The row of the image that row `y` of the view shows.
    pub(super) fn row(&self, y: usize, size: usize) -> usize {
        reflect(y + self.top, self.margin, size)
    }

    /// The column of the image that column `x` of the view shows.
    pub(super) fn column(&self, x: usize, size: usize) -> usize {
        reflect(x + self.left, self.margin, size)
    }

    /// Writes the square image, shifted, to `out`.
    pub(super) fn apply(&self, image: &[u8], out: &mut Vec<u8>, size: usize, channels: usize) {
        out.clear();
        for y in 0..size {
            let row = &image[self.row(y, size) * size * channels..][..size * channels];
            for x in 0..size {
                let at = self.column(x, size) * channels;
                out.extend_from_slice(&row[at..at + channels]);
            }
        }
    }
}

/// The pixel that stands at `at` of the padded row; edge pixels are not doubled.
fn reflect(at: usize, margin: usize, size: usize) -> usize {
    let from_edge = at.abs_diff(margin);
    if at < margin || from_edge < size { from_edge } else { 2 * (size - 1) - from_edge }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn the_edge_reflects_without_doubling() {
        // Pixels 0 1 2 3 padded by 3: 3 2 1 | 0 1 2 3 | 2 1 0.
        let padded: Vec<usize> = (0..10).map(|at| reflect(at, 3, 4)).collect();
        assert_eq!(padded, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
    }

    #[test]
    fn every_shift_is_reached_and_no_margin_means_none() {
        let image: Vec<u8> = (0..9).collect();
        let mut rng = stream(1, 0, 0, 0, Purpose::View);
        let mut seen = std::collections::BTreeSet::new();
        let mut out = Vec::new();
        for _ in 0..200 {
            Shift::draw(1, &mut rng).apply(&image, &mut out, 3, 1);
            seen.insert(out.clone());
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![4, 3, 4, 1, 0, 1, 4, 3, 4]));
        Shift::draw(0, &mut rng).apply(&image, &mut out, 3, 1);
        assert_eq!(out, image);
    }
}
