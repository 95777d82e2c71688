//! Dropping the colour.

use crate::image::luma;

/// Replaces every RGB pixel by three times its ITU-R 601 grey; one channel stays as it is.
pub(super) fn apply(pixels: &mut [u8], channels: usize) {
    if channels == 3 {
        for pixel in pixels.chunks_exact_mut(3) {
            pixel.fill(luma(pixel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_becomes_its_luma() {
        let mut pixels = [255, 0, 0, 10, 20, 30];
        apply(&mut pixels, 3);
        assert_eq!(pixels, [76, 76, 76, 18, 18, 18]);
        apply(&mut pixels[..2], 1);
        assert_eq!(pixels, [76, 76, 76, 18, 18, 18]);
    }
}
