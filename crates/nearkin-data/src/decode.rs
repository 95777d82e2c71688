//! Image files to pixels.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};

use crate::error::DataError;
use crate::image::Image;

/// What a decoder may spend on one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most pixels (width × height) an image may have; checked on the header, before any pixel
    /// is decoded.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 100 megapixels: above every camera in common use, and at most 800 MB while decoding.
    fn default() -> Self {
        Self { max_pixels: 100_000_000 }
    }
}

/// Why bytes did not become an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes.
    #[error("the file is empty")]
    EmptyFile,
    /// The first bytes belong to no image format.
    #[error("not an image: wanted JPEG, PNG, WebP, BMP or GIF")]
    NotAnImage,
    /// An image format, or a variant of one, that cannot be read.
    #[error("unsupported image: {0}; wanted JPEG, PNG, WebP, BMP or GIF")]
    Unsupported(String),
    /// A side is 0.
    #[error("the image is {width}x{height}: wanted sides of at least 1")]
    ZeroSized {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The image has more pixels than allowed.
    #[error("the image is {width}x{height}: more than max_pixels = {max_pixels}")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// The file ends before the image does.
    #[error("the image is truncated: {0}")]
    Truncated(String),
    /// The bytes break their format.
    #[error("the image is damaged: {0}")]
    Damaged(String),
}

/// Decodes a JPEG, PNG, WebP, BMP or GIF (first frame); the format is found by content.
///
/// EXIF orientation is applied, transparency is composited on white, 16-bit values are rounded to
/// 8, and images without colour stay at one channel.
///
/// # Errors
/// [`DecodeError`] for anything that is not a whole image within the limits.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Image, DecodeError> {
    // A decoder that panics on a hostile file is a bug of that decoder; it must cost its user one
    // file, not the run.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, limits)))
        .unwrap_or_else(|_| Err(DecodeError::Damaged("the decoder gave up".into())))
}

fn decode_unguarded(bytes: &[u8], limits: Limits) -> Result<Image, DecodeError> {
    if jpeg_lacks_its_end(bytes) {
        return Err(DecodeError::Truncated("no end-of-image marker".into()));
    }
    let (mut decoder, _) = open_decoder(bytes, limits)?;
    let orientation = decoder.orientation().map_err(problem)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(problem)?;
    image.apply_orientation(orientation);
    Ok(to_eight_bits_on_white(image))
}

/// Reads and decodes one image file, see [`decode()`].
///
/// # Errors
/// [`DataError::Read`] or [`DataError::Image`], both naming the file.
pub fn read_image(path: &Path, limits: Limits) -> Result<Image, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::read(path, source))?;
    decode(&bytes, limits).map_err(|source| DataError::Image { path: path.to_owned(), source })
}

/// Width, height (as shown, orientation applied) and channels, from the header alone.
pub(crate) fn probe(bytes: &[u8]) -> Result<(usize, usize, usize), DecodeError> {
    let limits = Limits { max_pixels: u64::MAX };
    let (mut decoder, (width, height)) = open_decoder(bytes, limits)?;
    let channels = if decoder.color_type().has_color() { 3 } else { 1 };
    let turned = matches!(
        decoder.orientation().map_err(problem)?,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let (width, height) = (width as usize, height as usize);
    Ok(if turned { (height, width, channels) } else { (width, height, channels) })
}

fn open_decoder(bytes: &[u8], limits: Limits) -> Result<(impl ImageDecoder + '_, (u32, u32)), DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::EmptyFile);
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| DecodeError::Damaged(error.to_string()))?;
    if reader.format().is_none() {
        return Err(DecodeError::NotAnImage);
    }
    let mut decoder_limits = image::Limits::default();
    // The widest pixel is 8 bytes, and a decoder may hold a second copy.
    decoder_limits.max_alloc = Some(limits.max_pixels.saturating_mul(16).max(1 << 24));
    reader.limits(decoder_limits);
    let decoder = reader.into_decoder().map_err(problem)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(DecodeError::ZeroSized { width, height });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(DecodeError::TooLarge { width, height, max_pixels: limits.max_pixels });
    }
    Ok((decoder, (width, height)))
}

fn problem(error: ImageError) -> DecodeError {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated(error.to_string())
        }
        ImageError::Unsupported(error) => DecodeError::Unsupported(error.to_string().trim_end().to_owned()),
        other => DecodeError::Damaged(other.to_string().trim_end().to_owned()),
    }
}

/// Whether a JPEG ends before its end-of-image marker. The decoder fills what is missing with grey,
/// as browsers do; a training set must not learn from that.
fn jpeg_lacks_its_end(bytes: &[u8]) -> bool {
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return false;
    }
    // Headers are stepped over by their length: an EXIF thumbnail has an end marker of its own.
    let mut at = 2;
    while at + 4 <= bytes.len() && bytes[at] == 0xFF {
        let marker = bytes[at + 1];
        if marker == 0xFF {
            at += 1; // padding before a marker
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if marker == 0xDA {
            break;
        }
    }
    let scan = bytes.get(at..).unwrap_or_default();
    !scan.windows(2).any(|pair| pair == [0xFF, 0xD9])
}

fn to_eight_bits_on_white(image: DynamicImage) -> Image {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let color = image.color();
    let on_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let (channels, pixels) = match (color.has_color(), color.has_alpha()) {
        (false, false) => (1, image.into_luma8().into_raw()),
        (true, false) => (3, image.into_rgb8().into_raw()),
        (false, true) => {
            let raw = image.into_luma_alpha8().into_raw();
            let pixels = raw.chunks_exact(2).map(|p| on_white(p[0], p[1])).collect();
            (1, pixels)
        }
        (true, true) => {
            let raw = image.into_rgba8().into_raw();
            let pixels = raw
                .chunks_exact(4)
                .flat_map(|p| [p[0], p[1], p[2]].map(|value| on_white(value, p[3])))
                .collect();
            (3, pixels)
        }
    };
    Image { width, height, channels, pixels }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Luma, LumaA, Rgb, RgbImage, Rgba};

    use super::*;

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient() -> DynamicImage {
        RgbImage::from_fn(24, 16, |x, y| Rgb([(x * 10) as u8, (y * 15) as u8, 99])).into()
    }

    #[test]
    fn every_lossless_format_is_read_by_its_content() {
        let image = gradient();
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            let decoded = decode(&encode(&image, format), Limits::default()).unwrap();
            assert_eq!((decoded.width, decoded.height, decoded.channels), (24, 16, 3));
            assert_eq!(decoded.pixels, image.as_bytes(), "{format:?}");
        }
        let jpeg = decode(&encode(&image, ImageFormat::Jpeg), Limits::default()).unwrap();
        assert_eq!((jpeg.width, jpeg.height, jpeg.channels), (24, 16, 3));
        let gif = decode(&encode(&image, ImageFormat::Gif), Limits::default()).unwrap();
        assert_eq!((gif.width, gif.height, gif.channels), (24, 16, 3));
    }

    #[test]
    fn grey_stays_grey_and_sixteen_bits_become_eight() {
        let image = image::ImageBuffer::from_fn(2, 1, |x, _| Luma([if x == 0 { 0u16 } else { 65_535 }]));
        let bytes = encode(&image.into(), ImageFormat::Png);
        let decoded = decode(&bytes, Limits::default()).unwrap();
        assert_eq!(decoded, Image::new(2, 1, 1, vec![0, 255]).unwrap());
    }

    #[test]
    fn transparency_is_composited_on_white() {
        let colour = image::RgbaImage::from_fn(3, 1, |x, _| Rgba([0, 100, 200, [0, 128, 255][x as usize]]));
        let decoded = decode(&encode(&colour.into(), ImageFormat::Png), Limits::default()).unwrap();
        assert_eq!(decoded.pixels, [255, 255, 255, 127, 177, 227, 0, 100, 200]);
        let grey = image::GrayAlphaImage::from_fn(2, 1, |x, _| LumaA([10, (x * 255) as u8]));
        let decoded = decode(&encode(&grey.into(), ImageFormat::Png), Limits::default()).unwrap();
        assert_eq!(decoded, Image::new(2, 1, 1, vec![255, 10]).unwrap());
    }

    #[test]
    fn exif_orientation_turns_the_image() {
        let jpeg = encode(&gradient(), ImageFormat::Jpeg);
        // APP1 with one little-endian IFD entry: tag 0x0112 (orientation), SHORT, count 1, value 6.
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let mut turned = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, (exif.len() + 2) as u8];
        turned.append(&mut exif);
        turned.extend_from_slice(&jpeg[2..]);
        let decoded = decode(&turned, Limits::default()).unwrap();
        assert_eq!((decoded.width, decoded.height), (16, 24));
        assert_eq!(probe(&turned).unwrap(), (16, 24, 3));
        // Orientation 6 is a quarter turn clockwise: the bottom left corner comes to the top left.
        let upright = decode(&jpeg, Limits::default()).unwrap();
        assert_eq!(decoded.pixels[..3], upright.pixels[15 * 24 * 3..][..3]);
    }

    #[test]
    fn every_truncated_format_is_an_error() {
        for format in
            [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif]
        {
            let bytes = encode(&gradient(), format);
            for keep in [bytes.len() / 2, bytes.len() - 30, 20, 3] {
                assert!(
                    decode(&bytes[..keep], Limits::default()).is_err(),
                    "{format:?} cut to {keep} of {} bytes",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn what_is_not_an_image_says_so() {
        assert!(matches!(decode(b"", Limits::default()), Err(DecodeError::EmptyFile)));
        assert!(matches!(decode(b"path,label\na.jpg,1\n", Limits::default()), Err(DecodeError::NotAnImage)));
        assert!(matches!(
            decode(b"II*\0aaaaaaaaaaaaaaaa", Limits::default()),
            Err(DecodeError::Unsupported(_))
        ));
    }

    #[test]
    fn the_pixel_limit_holds_before_decoding() {
        let bytes = encode(&gradient(), ImageFormat::Png);
        let error = decode(&bytes, Limits { max_pixels: 383 }).unwrap_err();
        assert_eq!(error.to_string(), "the image is 24x16: more than max_pixels = 383");
        assert!(decode(&bytes, Limits { max_pixels: 384 }).is_ok());
    }
}
