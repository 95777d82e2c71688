//! Cutting a box out of an image and scaling it, in one pass.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::error::DataError;
use crate::image::Image;

/// A part of an image in pixels; the corners may lie between pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CropBox {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl CropBox {
    pub(crate) fn whole(image: &Image) -> Self {
        Self { left: 0.0, top: 0.0, width: image.width as f64, height: image.height as f64 }
    }

    /// The square with sides of `side` in the middle of the image.
    pub(crate) fn central_square(image: &Image, side: f64) -> Self {
        // On a grid of 1/1024 pixel all sums below are exact, so the box cannot stick out by a
        // rounding error.
        let side = (side * 1024.0).round() / 1024.0;
        Self {
            left: (image.width as f64 - side) / 2.0,
            top: (image.height as f64 - side) / 2.0,
            width: side,
            height: side,
        }
    }
}

/// Scales `part` of `image` to `width` × `height`, bilinear with antialiasing: the filter widens with
/// the scale when shrinking, as Pillow's does. `out` becomes the pixels.
pub(crate) fn resize(
    resizer: &mut Resizer,
    image: &Image,
    part: CropBox,
    width: usize,
    height: usize,
    out: &mut Vec<u8>,
) -> Result<(), DataError> {
    out.clear();
    out.resize(width * height * image.channels, 0);
    // The pixel types are named, not found at run time: that would compile all thirteen of them.
    if image.channels == 1 {
        resize_typed::<U8>(resizer, image, part, width, height, out)
    } else {
        resize_typed::<U8x3>(resizer, image, part, width, height, out)
    }
}

fn resize_typed<P: PixelTrait>(
    resizer: &mut Resizer,
    image: &Image,
    part: CropBox,
    width: usize,
    height: usize,
    out: &mut [u8],
) -> Result<(), DataError> {
    let problem = |error: &dyn std::fmt::Display| DataError::Shape {
        what: "image to resize",
        found: format!("{}x{} ({error})", image.width, image.height),
        wanted: "sides below 2^32 and a box inside the image".into(),
    };
    let side = |side: usize| u32::try_from(side).map_err(|error| problem(&error));
    let source = TypedImageRef::<P>::from_buffer(side(image.width)?, side(image.height)?, &image.pixels)
        .map_err(|error| problem(&error))?;
    let mut target =
        TypedImage::<P>::from_buffer(side(width)?, side(height)?, out).map_err(|error| problem(&error))?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(part.left, part.top, part.width, part.height)
        .use_alpha(false);
    resizer.resize_typed(&source, &mut target, &options).map_err(|error| problem(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_averages_over_the_wider_filter() {
        // A bilinear filter of support 1 widened by 2: weights 1/8, 3/8, 3/8, 1/8 around each centre,
        // the part outside the image left out and the rest renormalised.
        let image = Image::new(4, 1, 1, vec![0, 0, 200, 200]).unwrap();
        let mut out = Vec::new();
        resize(&mut Resizer::new(), &image, CropBox::whole(&image), 2, 1, &mut out).unwrap();
        let edge = 200.0 / 7.0; // (3*0 + 3*0 + 1*200) / 7
        assert!((f64::from(out[0]) - edge).abs() <= 1.0, "{out:?}");
        assert!((f64::from(out[1]) - (200.0 - edge)).abs() <= 1.0, "{out:?}");
    }

    #[test]
    fn an_unscaled_box_is_copied() {
        let image = Image::new(3, 2, 3, (0..18).collect()).unwrap();
        let part = CropBox { left: 1.0, top: 0.0, width: 2.0, height: 2.0 };
        let mut out = Vec::new();
        resize(&mut Resizer::new(), &image, part, 2, 2, &mut out).unwrap();
        assert_eq!(out, [3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17]);
    }
}
