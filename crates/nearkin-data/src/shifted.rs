//! Images moved sideways: the second experiment of Hadsell, Chopra and LeCun 2006, "Dimensionality Reduction by Learning an
//! Invariant Mapping" (DrLIM).

use crate::attributes::Attributes;
use crate::dataset::{Dataset, Sample};
use crate::error::DataError;
use crate::image::Image;

/// The paper's translations in pixels, with the image itself among them.
pub const DRLIM_SHIFTS: [i32; 5] = [-6, -3, 0, 3, 6];

/// The sides of LeNet's input, on which the paper's 28-pixel digits stand.
pub const DRLIM_SIDE: usize = 32;

/// Every image of a set in several places on a black square of `side` pixels: in the middle, moved to the right by each of
/// `shifts` pixels (to the left if negative). What leaves the square is lost; of MNIST's digits by ±6 on 32 pixels, hardly a
/// stroke.
///
/// The samples of an image stand one after another in the order of `shifts`, with its class and split. Their ids are its own with
/// the shift behind (`train/7@-3`); the attribute `original` is its id, `shift` the pixels.
///
/// # Errors
/// [`DataError::Setting`] without shifts, for a shift named twice, or for a side smaller than an image or so small that a shift
/// moves all of the image out of it; and the errors of [`Dataset::image`].
pub fn shifted(dataset: &Dataset, shifts: &[i32], side: usize) -> Result<Dataset, DataError> {
    if shifts.is_empty() {
        return Err(DataError::setting("shifts", "none", "at least one"));
    }
    if let Some(twice) = (1..shifts.len()).find(|&i| shifts[..i].contains(&shifts[i])) {
        return Err(DataError::setting("shifts", format!("{} twice", shifts[twice]), "each shift once"));
    }
    let count = dataset.len() * shifts.len();
    let (mut samples, mut images) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (mut originals, mut moves) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for i in 0..dataset.len() {
        let (sample, image) = (dataset.sample(i), dataset.image(i)?);
        for &shift in shifts {
            images.push(place(&image, shift, side)?);
            samples.push(Sample { id: format!("{}@{shift:+}", sample.id), path: None, ..sample.clone() });
            originals.push(Some(sample.id.clone()));
            moves.push(Some(shift.to_string()));
        }
    }
    let mut attributes = Attributes::default();
    attributes.push("original", originals)?;
    attributes.push("shift", moves)?;
    let name = format!("{} shifted", dataset.path().display());
    Dataset::in_memory(&name, samples, images, dataset.classes().to_vec(), attributes)
}

fn place(image: &Image, shift: i32, side: usize) -> Result<Image, DataError> {
    let Image { width, height, channels, .. } = *image;
    if width.max(height) > side {
        let wanted = format!("at least {}, the image's longer side", width.max(height));
        return Err(DataError::setting("side", side, wanted));
    }
    let left = (side - width) as i64 / 2 + i64::from(shift);
    let top = (side - height) / 2;
    // Columns of the image that stay on the square.
    let first = (-left).clamp(0, width as i64) as usize;
    let end = (side as i64 - left).clamp(0, width as i64) as usize;
    if first >= end {
        let wanted = format!("fewer pixels, so that an image {width} pixels wide stays on {side}");
        return Err(DataError::setting("shifts", shift, wanted));
    }
    let mut pixels = vec![0; side * side * channels];
    for y in 0..height {
        let from = &image.pixels[(y * width + first) * channels..(y * width + end) * channels];
        let at = ((top + y) * side + (left + first as i64) as usize) * channels;
        pixels[at..at + from.len()].copy_from_slice(from);
    }
    Image::new(side, side, channels, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[u8]) -> Image {
        Image::new(values.len(), 1, 1, values.to_vec()).unwrap()
    }

    #[test]
    fn an_image_moves_by_whole_pixels_and_loses_what_leaves() {
        let middle = |shift| place(&row(&[1, 2, 3]), shift, 5).unwrap().pixels[10..15].to_vec();
        assert_eq!(middle(0), [0, 1, 2, 3, 0]);
        assert_eq!(middle(1), [0, 0, 1, 2, 3]);
        assert_eq!(middle(2), [0, 0, 0, 1, 2]);
        assert_eq!(middle(-3), [3, 0, 0, 0, 0]);
        assert!(place(&row(&[1, 2, 3]), 4, 5).is_err());
        assert!(place(&row(&[1, 2, 3]), 0, 2).is_err());
    }

    #[test]
    fn colour_moves_with_its_pixel() {
        let image = Image::new(1, 1, 3, vec![1, 2, 3]).unwrap();
        assert_eq!(place(&image, 1, 2).unwrap().pixels, [0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn samples_keep_their_class_and_say_where_they_come_from() {
        let samples = [("a", 1), ("b", 0)].map(|(id, label)| Sample {
            id: id.into(),
            path: None,
            label: Some(label),
            split: Some("train".into()),
        });
        let set = Dataset::in_memory(
            "two",
            samples.to_vec(),
            vec![row(&[9]), row(&[7])],
            vec!["x".into(), "y".into()],
            Attributes::default(),
        )
        .unwrap();
        let moved = shifted(&set, &[-1, 0], 3).unwrap();
        let ids: Vec<_> = moved.samples().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["a@-1", "a@+0", "b@-1", "b@+0"]);
        assert_eq!(moved.labels().unwrap(), [1, 1, 0, 0]);
        assert_eq!(moved.splits(), ["train"]);
        assert_eq!(moved.attribute("original").unwrap(), ["a", "a", "b", "b"].map(Some));
        assert_eq!(moved.numbers("shift").unwrap(), [-1.0, 0.0, -1.0, 0.0]);
        assert_eq!(moved.image(2).unwrap().pixels, [0, 0, 0, 7, 0, 0, 0, 0, 0]);
        assert!(shifted(&set, &[], 3).is_err() && shifted(&set, &[1, 1], 3).is_err());
    }
}
