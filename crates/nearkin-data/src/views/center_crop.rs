//! The central square, as evaluation uses it.

use crate::resize::CropBox;

/// The part of the image that "scale the shorter side to 8/7 of the view, then cut the centre out"
/// shows; an image between the two sizes is cut without scaling, a smaller one is shown whole.
///
/// Cutting first and scaling once gives the same picture as scaling first, up to the rounding of the
/// cut to whole pixels.
pub(super) fn choose(width: usize, height: usize, size: usize) -> CropBox {
    let short = width.min(height) as f64;
    let size = size as f64;
    let scaled_short = short.min(size * 8.0 / 7.0).round().max(size);
    let side = short * size / scaled_short;
    CropBox::central_square(width, height, side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(width: usize, height: usize, size: usize) -> f64 {
        let part = choose(width, height, size);
        assert_eq!(part.width, part.height);
        assert_eq!(part.left, (width as f64 - part.width) / 2.0);
        part.width
    }

    #[test]
    fn large_images_lose_an_eighth_and_small_ones_nothing() {
        assert_eq!(side(512, 512, 224), 448.0); // 512 -> 256, cut 224
        assert_eq!(side(300, 256, 224), 224.0); // kept as it is, cut 224
        assert_eq!(side(230, 240, 224), 224.0);
        assert_eq!(side(224, 224, 224), 224.0);
        assert_eq!(side(100, 50, 224), 50.0); // 50 -> 224
    }
}
