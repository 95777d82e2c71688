//! A decoded image, and the conversions between grey and colour.

use crate::error::DataError;

/// An 8-bit image, rows from the top, channels interleaved (HWC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// `height * width * channels` values.
    pub pixels: Vec<u8>,
}

impl Image {
    /// An image from its parts.
    ///
    /// # Errors
    /// [`DataError::Shape`] if a side is 0, `channels` is neither 1 nor 3, or `pixels` has another
    /// length than `height * width * channels`.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Result<Self, DataError> {
        let image = Self { width, height, channels, pixels };
        image.check()?;
        Ok(image)
    }

    /// The fields are public, so whoever indexes into `pixels` asks here first.
    pub(crate) fn check(&self) -> Result<(), DataError> {
        let values = self.width.checked_mul(self.height).and_then(|n| n.checked_mul(self.channels));
        let sound = self.width > 0 && self.height > 0 && matches!(self.channels, 1 | 3);
        if sound && values == Some(self.pixels.len()) {
            return Ok(());
        }
        Err(DataError::Shape {
            what: "image",
            found: format!(
                "{}x{} with {} channels in {} bytes",
                self.width,
                self.height,
                self.channels,
                self.pixels.len()
            ),
            wanted: "sides of at least 1, 1 or 3 channels, and width*height*channels bytes".into(),
        })
    }

    /// This image with `channels` channels (1 or 3): RGB to grey by the ITU-R 601 luma, grey to RGB by
    /// repetition.
    #[must_use]
    pub fn into_channels(self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (3, 1) => self.pixels.chunks_exact(3).map(|rgb| luma(rgb[0], rgb[1], rgb[2])).collect(),
            (1, 3) => self.pixels.iter().flat_map(|&v| [v; 3]).collect(),
            _ => return self,
        };
        Self { channels, pixels, ..self }
    }
}

/// Grey of an RGB pixel by the ITU-R 601 weights 0.299, 0.587, 0.114 in 16-bit fixed point, rounded
/// to nearest: the values of Pillow's `convert("L")`.
#[must_use]
#[inline(always)]
pub(crate) fn luma(r: u8, g: u8, b: u8) -> u8 {
    let [r, g, b] = [u32::from(r), u32::from(g), u32::from(b)];
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_is_that_of_itu_r_601() {
        assert_eq!(luma(255, 255, 255), 255);
        assert_eq!(luma(255, 0, 0), 76);
        assert_eq!(luma(0, 255, 0), 150);
        assert_eq!(luma(0, 0, 255), 29);
    }

    #[test]
    fn grey_to_colour_and_back_changes_nothing() {
        let grey = Image::new(2, 1, 1, vec![7, 200]).unwrap();
        let colour = grey.clone().into_channels(3);
        assert_eq!(colour.pixels, [7, 7, 7, 200, 200, 200]);
        assert_eq!(colour.into_channels(1), grey);
    }

    #[test]
    fn an_image_whose_bytes_do_not_fit_is_refused() {
        assert!(Image::new(2, 2, 3, vec![0; 11]).is_err());
        assert!(Image::new(0, 2, 3, vec![]).is_err());
        assert!(Image::new(1, 1, 2, vec![0; 2]).is_err());
    }
}
