//! Data sets that a program makes: renderings, shifted copies.

use std::path::Path;

use crate::attributes::Attributes;
use crate::dataset::{Block, Content, Dataset, Kind, Media, Sample, Source};
use crate::error::DataError;
use crate::image::Image;

impl Dataset {
    /// A data set of images in memory. `name` stands where other sets have their path.
    ///
    /// # Errors
    /// [`DataError::Empty`] without samples; [`DataError::Shape`] if there is not one image a sample, an image is not sound, a
    /// label has no class, or the attributes have another number of values.
    pub fn in_memory(
        name: &str,
        samples: Vec<Sample>,
        images: Vec<Image>,
        classes: Vec<String>,
        attributes: Attributes,
    ) -> Result<Self, DataError> {
        if samples.is_empty() {
            return Err(DataError::Empty { path: name.into(), found: "0 images were given".into() });
        }
        let count = |what, found: usize| DataError::Shape {
            what,
            found: found.to_string(),
            wanted: format!("{}, one a sample", samples.len()),
        };
        if images.len() != samples.len() {
            return Err(count("images", images.len()));
        }
        if !attributes.names().is_empty() && attributes.rows() != samples.len() {
            return Err(count("values of an attribute", attributes.rows()));
        }
        if let Some(label) = samples.iter().filter_map(|s| s.label).find(|&l| l as usize >= classes.len()) {
            return Err(DataError::Shape {
                what: "label",
                found: label.to_string(),
                wanted: format!("less than {}, the number of classes", classes.len()),
            });
        }
        for image in &images {
            image.check()?;
        }
        let rows = (0..images.len() as u32).map(|i| (i, 0)).collect();
        let blocks = images
            .into_iter()
            .map(|Image { width, height, channels, pixels }| Block { width, height, channels, pixels })
            .collect();
        Ok(Self::of(Source {
            kind: Kind::Memory,
            media: Media::Images,
            path: Path::new(name).to_owned(),
            samples,
            classes,
            content: Content::Blocks { blocks, rows },
            attributes,
            warnings: Vec::new(),
        }))
    }
}
