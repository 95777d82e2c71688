//! Pictures of samples, for reports and contact sheets.

use std::io::Cursor;

use nearkin_data::Image;
use nearkin_eval::Picture;

use crate::failure::Failure;

/// The image as a PNG with a caption.
pub fn picture(image: &Image, caption: impl Into<String>) -> Result<Picture, Failure> {
    let (width, height) = (image.width as u32, image.height as u32);
    let colour = if image.channels == 1 { image::ColorType::L8 } else { image::ColorType::Rgb8 };
    let mut png = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut png, &image.pixels, width, height, colour, image::ImageFormat::Png)
        .map_err(|e| Failure::failed(format!("cannot encode a picture: {e}")))?;
    Ok(Picture { png: png.into_inner(), caption: caption.into() })
}
