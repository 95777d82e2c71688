//! The pictures of rows, as small PNGs.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use image::imageops::thumbnail;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use nearkin_data::{DataError, Dataset, Image, Limits, read_image};

use crate::error::ApiError;

/// The longer side of a picture that is sent.
const SIDE: u32 = 256;

/// Where pictures are found.
pub(crate) struct PictureBook {
    data: Option<Dataset>,
    numbers: HashMap<String, usize>,
    limits: Limits,
}

impl PictureBook {
    pub fn new(data: Option<Dataset>, max_pixels: u64) -> Self {
        let samples = data.iter().flat_map(|data| data.samples().enumerate());
        let numbers = samples.map(|(i, sample)| (sample.id.clone(), i)).collect();
        Self { data, numbers, limits: Limits { max_pixels } }
    }

    /// The picture of an id, from the data set that is served, or from the file that the index names.
    pub fn png(&self, id: &str, path: Option<&str>) -> Result<Vec<u8>, ApiError> {
        let none = || {
            let message =
                format!("there is no picture of '{id}': start the server with --data, where its picture is");
            ApiError::not_found("no_picture", message)
        };
        let image = match (&self.data, self.numbers.get(id), path) {
            (Some(data), Some(&i), _) => data.image(i).map_err(|_| none())?,
            (_, _, Some(path)) => match read_image(Path::new(path), self.limits) {
                Ok(image) => image,
                Err(DataError::Image { source, .. }) => return Err(source.into()),
                Err(_) => return Err(none()),
            },
            _ => return Err(none()),
        };
        encode(image)
    }
}

fn encode(image: Image) -> Result<Vec<u8>, ApiError> {
    let (width, height) = (image.width as u32, image.height as u32);
    let image = if image.channels == 1 {
        GrayImage::from_raw(width, height, image.pixels).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, image.pixels).map(DynamicImage::from)
    };
    let image = image.ok_or_else(|| ApiError::internal("a picture of another size than its pixels"))?;
    let image = if width.max(height) > SIDE {
        let scale = f64::from(SIDE) / f64::from(width.max(height));
        let side = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
        DynamicImage::from(thumbnail(&image, side(width), side(height)))
    } else {
        // Its own pixels: sent back as a question, it is the same picture.
        image
    };
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(png.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(width: usize, height: usize) -> (u32, u32) {
        let image = Image::new(width, height, 1, vec![7; width * height]).unwrap();
        let png = image::load_from_memory(&encode(image).unwrap()).unwrap();
        (png.width(), png.height())
    }

    #[test]
    fn large_pictures_shrink_and_small_ones_stay_as_they_are() {
        assert_eq!(sides(1000, 500), (256, 128));
        assert_eq!(sides(100, 80), (100, 80));
        assert_eq!(sides(28, 28), (28, 28));
        assert_eq!(sides(3000, 1), (256, 1));
    }

    #[test]
    fn an_id_without_a_picture_says_what_to_do() {
        let error = PictureBook::new(None, 100).png("a", None).unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (404, "no_picture"));
        assert!(error.message.contains("--data"));
        let missing = PictureBook::new(None, 100).png("a", Some("no/such/file.png")).unwrap_err();
        assert_eq!(missing.code, "no_picture");
    }
}
