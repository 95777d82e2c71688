//! A pipeline as data.

use serde::{Deserialize, Serialize};

use super::padded_crop;
use crate::error::DataError;

/// How a view is made. Fields that a recipe leaves out take the value of [`ViewConfig::default`],
/// in which nothing is random.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ViewConfig {
    /// The part of the image that becomes the view.
    pub crop: Crop,
    /// Probability of mirroring left to right.
    pub flip: f32,
    /// Random changes of colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// Probability of dropping the colour.
    pub grey: f32,
    /// Random Gaussian blur.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blur: Option<Blur>,
    /// The scale of the result.
    pub normalize: Normalize,
}

/// The part of the image that becomes the view.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Crop {
    /// A part of random area and shape, scaled to the view (Szegedy et al. 2015; torchvision's
    /// `RandomResizedCrop`).
    RandomResized {
        /// Smallest and largest share of the image's area, in (0, 1].
        scale: [f32; 2],
        /// Smallest and largest width / height, above 0.
        #[serde(default = "usual_ratio")]
        ratio: [f32; 2],
    },
    /// The image in the view's size, moved by up to `pixels` in each direction; what moves in at the
    /// edge is the image reflected (He et al. 2016, with reflection in place of zeros).
    Padded {
        /// The largest shift, below the view's size.
        pixels: usize,
    },
    /// The central square. An image larger than the view is scaled to a shorter side of 8/7 of the
    /// view (256 for 224) or keeps its size if that is smaller; a smaller image grows to the view.
    Center {},
    /// The whole image, stretched to the view.
    None {},
}

/// Random changes of colour, in random order, as torchvision's `ColorJitter` on Pillow images.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Jitter {
    /// The factor is drawn from [max(0, 1 - b), 1 + b]; at least 0.
    pub brightness: f32,
    /// As brightness.
    pub contrast: f32,
    /// As brightness.
    pub saturation: f32,
    /// The shift is drawn from [-h, h] turns of the colour circle; 0 to 0.5.
    pub hue: f32,
    /// How often any of it happens.
    pub probability: f32,
}

/// Random Gaussian blur as in SimCLR: the kernel is as wide as a tenth of the view (odd, at least 3),
/// edges are reflected.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Blur {
    /// Smallest and largest standard deviation in pixels, above 0.
    pub sigma: [f32; 2],
    /// How often it happens.
    pub probability: f32,
}

/// `(value / 255 - mean) / std`, for every channel.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Normalize {
    /// One value for all channels, or one a channel; on the scale of 0 to 1.
    pub mean: Vec<f32>,
    /// As mean, above 0.
    pub std: Vec<f32>,
}

/// torchvision's default for `RandomResizedCrop`.
fn usual_ratio() -> [f32; 2] {
    [3.0 / 4.0, 4.0 / 3.0]
}

impl Default for Normalize {
    /// 0.5 and 0.5: values from -1 to 1.
    fn default() -> Self {
        Self { mean: vec![0.5], std: vec![0.5] }
    }
}

impl Default for ViewConfig {
    /// The central crop, nothing random, values from -1 to 1.
    fn default() -> Self {
        Self {
            crop: Crop::Center {},
            flip: 0.0,
            jitter: None,
            grey: 0.0,
            blur: None,
            normalize: Normalize::default(),
        }
    }
}

impl ViewConfig {
    /// The augmentation of SimCLR (Chen et al. 2020, appendix A) with colour distortion of the given
    /// strength: 1 for ImageNet, 0.5 for CIFAR-10 (which the paper trains without blur; set
    /// `blur` to `None` for that). 0 to 2.5.
    #[must_use]
    pub fn simclr(strength: f32) -> Self {
        Self {
            crop: Crop::RandomResized { scale: [0.08, 1.0], ratio: usual_ratio() },
            flip: 0.5,
            jitter: Some(Jitter {
                brightness: 0.8 * strength,
                contrast: 0.8 * strength,
                saturation: 0.8 * strength,
                hue: 0.2 * strength,
                probability: 0.8,
            }),
            grey: 0.2,
            blur: Some(Blur { sigma: [0.1, 2.0], probability: 0.5 }),
            normalize: Normalize::default(),
        }
    }

    pub(super) fn check(&self, size: usize, channels: usize) -> Result<(), DataError> {
        if size == 0 || size > MOST_SIZE {
            let wanted = format!("1 to {MOST_SIZE} pixels");
            return Err(DataError::setting("view size", size, wanted));
        }
        if !matches!(channels, 1 | 3) {
            return Err(DataError::setting("channels", channels, "1 or 3"));
        }
        match self.crop {
            Crop::RandomResized { scale, ratio } => {
                interval("crop.scale", scale, 1.0)?;
                interval("crop.ratio", ratio, f32::MAX)?;
            }
            Crop::Padded { pixels } => padded_crop::check(pixels, size)?,
            Crop::Center {} | Crop::None {} => {}
        }
        probability("flip", self.flip)?;
        probability("grey", self.grey)?;
        if let Some(jitter) = &self.jitter {
            for (field, value) in [
                ("jitter.brightness", jitter.brightness),
                ("jitter.contrast", jitter.contrast),
                ("jitter.saturation", jitter.saturation),
            ] {
                if !(value >= 0.0 && value.is_finite()) {
                    return Err(DataError::setting(field, value, "a number of at least 0"));
                }
            }
            if !(0.0..=0.5).contains(&jitter.hue) {
                return Err(DataError::setting("jitter.hue", jitter.hue, "0 to 0.5"));
            }
            probability("jitter.probability", jitter.probability)?;
        }
        if let Some(blur) = &self.blur {
            interval("blur.sigma", blur.sigma, f32::MAX)?;
            probability("blur.probability", blur.probability)?;
        }
        for (field, values) in
            [("normalize.mean", &self.normalize.mean), ("normalize.std", &self.normalize.std)]
        {
            if values.len() != 1 && values.len() != channels {
                return Err(DataError::setting(
                    field,
                    format!("{} values", values.len()),
                    format!("1 value, or {channels}: one a channel"),
                ));
            }
            if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                return Err(DataError::setting(field, bad, "finite numbers"));
            }
        }
        if let Some(bad) = self.normalize.std.iter().find(|&&std| std <= 0.0) {
            return Err(DataError::setting("normalize.std", bad, "numbers above 0"));
        }
        Ok(())
    }
}

/// Larger views than this are a slip of the pen, and would overflow memory before anything else.
const MOST_SIZE: usize = 1 << 14;

fn probability(field: &'static str, value: f32) -> Result<(), DataError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(DataError::setting(field, value, "a probability, 0 to 1"))
    }
}

fn interval(field: &'static str, [low, high]: [f32; 2], most: f32) -> Result<(), DataError> {
    if 0.0 < low && low <= high && high <= most {
        return Ok(());
    }
    let wanted = if most == f32::MAX {
        "[low, high] with 0 < low <= high".to_owned()
    } else {
        format!("[low, high] with 0 < low <= high <= {most}")
    };
    Err(DataError::setting(field, format!("[{low}, {high}]"), wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(config: &ViewConfig) -> String {
        config.check(32, 3).unwrap_err().to_string()
    }

    #[test]
    fn a_recipe_names_only_what_it_changes() {
        let config: ViewConfig = toml::from_str(
            "flip = 0.5\ncrop = { kind = \"random-resized\", scale = [0.2, 1.0] }\n\
             [blur]\nsigma = [0.1, 2.0]\nprobability = 0.5\n",
        )
        .unwrap();
        let wanted = ViewConfig {
            crop: Crop::RandomResized { scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] },
            flip: 0.5,
            blur: Some(Blur { sigma: [0.1, 2.0], probability: 0.5 }),
            ..ViewConfig::default()
        };
        assert_eq!(config, wanted);
    }

    #[test]
    fn every_preset_survives_the_way_through_toml() {
        for config in [ViewConfig::default(), ViewConfig::simclr(0.5)] {
            config.check(32, 3).unwrap();
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<ViewConfig>(&text).unwrap(), config, "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_refused_at_every_level() {
        for text in [
            "flips = 0.5",
            "crop = { kind = \"center\", scale = [0.2, 1.0] }",
            "crop = { kind = \"padded\", pixel = 4 }",
            "crop = { kind = \"middle\" }",
            "jitter = { brightness = 1 }",
            "normalize = { mean = [0.5], std = [0.5], var = [1.0] }",
        ] {
            assert!(toml::from_str::<ViewConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let base = ViewConfig::simclr(1.0);
        let with = |change: &dyn Fn(&mut ViewConfig)| {
            let mut config = base.clone();
            change(&mut config);
            problem(&config)
        };
        assert!(with(&|c| c.flip = 1.5).starts_with("flip: found 1.5"));
        assert!(with(&|c| c.grey = f32::NAN).starts_with("grey"));
        assert!(with(&|c| c.crop = Crop::Padded { pixels: 32 }).starts_with("crop.pixels"));
        assert!(with(&|c| c.normalize.std = vec![0.0]).starts_with("normalize.std"));
        assert!(with(&|c| c.normalize.mean = vec![0.5; 2]).starts_with("normalize.mean"));
        assert!(with(&|c| c.blur.as_mut().unwrap().sigma = [0.0, 1.0]).starts_with("blur.sigma"));
        let scale = |low, high| Crop::RandomResized { scale: [low, high], ratio: [1.0, 1.0] };
        assert!(with(&|c| c.crop = scale(0.5, 0.2)).starts_with("crop.scale"));
        assert!(with(&|c| c.crop = scale(0.5, 1.2)).starts_with("crop.scale"));
        assert!(problem(&ViewConfig::simclr(3.0)).starts_with("jitter.hue"));
        assert!(base.check(0, 3).is_err());
        assert!(base.check(32, 4).is_err());
    }
}
