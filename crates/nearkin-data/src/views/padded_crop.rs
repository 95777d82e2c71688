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

/// Writes the square image, shifted by up to `margin` pixels each way, to `out`.
pub(super) fn shift(
    image: &[u8],
    out: &mut Vec<u8>,
    size: usize,
    channels: usize,
    margin: usize,
    rng: &mut impl Rng,
) {
    let top = below(rng, 2 * margin + 1);
    let left = below(rng, 2 * margin + 1);
    out.clear();
    for y in 0..size {
        let row = &image[reflect(y + top, margin, size) * size * channels..][..size * channels];
        for x in 0..size {
            let at = reflect(x + left, margin, size) * channels;
            out.extend_from_slice(&row[at..at + channels]);
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
            shift(&image, &mut out, 3, 1, 1, &mut rng);
            seen.insert(out.clone());
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.contains(&vec![4, 3, 4, 1, 0, 1, 4, 3, 4]));
        shift(&image, &mut out, 3, 1, 0, &mut rng);
        assert_eq!(out, image);
    }
}
