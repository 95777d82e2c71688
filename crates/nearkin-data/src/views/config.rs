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
    /// A small random turn, shift, change of size and slant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affine: Option<Affine>,
    /// Random contrast along the principal components of the image's colours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pca_contrast: Option<PcaContrast>,
    /// Random changes of hue, saturation and value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsv: Option<Hsv>,
    /// Fewer shades, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posterize: Option<Posterize>,
    /// Bright values inverted, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub solarize: Option<Solarize>,
    /// A square left out, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutout: Option<Cutout>,
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

/// A turn, a shift, a change of size and a slant, each drawn evenly, about the middle of the view; bilinear, with edges reflected.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Affine {
    /// The largest turn either way, 0 to 180.
    #[serde(default)]
    pub degrees: f32,
    /// The largest shift either way, along both sides, as a share of the view; 0 to 1.
    #[serde(default)]
    pub translate: f32,
    /// Smallest and largest factor of the size, above 0.
    #[serde(default = "ones")]
    pub scale: [f32; 2],
    /// The largest slant either way, in degrees; 0 to 80.
    #[serde(default)]
    pub shear: f32,
    /// How often it happens.
    pub probability: f32,
}

/// Multiplies how far colours are from the image's mean colour along the principal components of its pixels (Dosovitskiy et al. 2014).
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PcaContrast {
    /// Smallest and largest factor, above 0. One is drawn for the first component and one for the two others together, evenly on a
    /// logarithmic scale.
    pub factor: [f32; 2],
    /// How often it happens.
    pub probability: f32,
}

/// Saturation and value, each from 0 to 1, become `factor · x^power + shift`, with numbers of their own; the hue is turned (Dosovitskiy et
/// al. 2014). A grey pixel stays grey.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hsv {
    /// Smallest and largest power, above 0; drawn evenly on a logarithmic scale.
    #[serde(default = "ones")]
    pub power: [f32; 2],
    /// Smallest and largest factor, above 0; drawn evenly on a logarithmic scale.
    #[serde(default = "ones")]
    pub factor: [f32; 2],
    /// The largest shift either way, 0 to 1.
    #[serde(default)]
    pub shift: f32,
    /// The largest turn of the hue either way, in turns of the colour circle; 0 to 0.5.
    #[serde(default)]
    pub hue: f32,
    /// How often it happens.
    pub probability: f32,
}

/// Keeps the highest bits of each value.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Posterize {
    /// How many bits, 1 to 8.
    pub bits: u8,
    /// How often it happens.
    pub probability: f32,
}

/// Inverts values from a threshold on, after the blur (Grill et al. 2020, BYOL).
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Solarize {
    /// The least value that is inverted, on the scale of 0 to 1.
    #[serde(default = "half")]
    pub threshold: f32,
    /// How often it happens.
    pub probability: f32,
}

/// Sets a square to zero after all else (DeVries & Taylor 2017). Its middle lies anywhere in the view.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cutout {
    /// The side as a share of the view's, above 0, at most 1.
    pub side: f32,
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

fn ones() -> [f32; 2] {
    [1.0; 2]
}

fn half() -> f32 {
    0.5
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
            affine: None,
            pca_contrast: None,
            hsv: None,
            posterize: None,
            solarize: None,
            cutout: None,
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
            jitter: Some(Jitter::of([0.8, 0.8, 0.8, 0.2].map(|most| most * strength), 0.8)),
            blur: Some(Blur { sigma: [0.1, 2.0], probability: 0.5 }),
            ..Self::cropped(0.08)
        }
    }

    /// The transformations of Exemplar-CNN (Dosovitskiy et al. 2014): a shift within a fifth of the side, a change of size and a turn, which
    /// show the image's edges reflected; contrast along the principal components of its colours; saturation, value and hue. `colour`
    /// is the strength of the last two, on a logarithmic scale where they are factors and powers: 1 for the paper's, 0 for none; 0 to 5.
    #[must_use]
    pub fn exemplar_cnn(colour: f32) -> Self {
        let range = |bounds: [f32; 2]| bounds.map(|bound| libm::powf(bound, colour));
        Self {
            crop: Crop::None {},
            affine: Some(Affine {
                degrees: 20.0,
                translate: 0.2,
                scale: [0.7, 1.4],
                shear: 0.0,
                probability: 1.0,
            }),
            pca_contrast: Some(PcaContrast { factor: range([0.5, 2.0]), probability: 1.0 }),
            hsv: Some(Hsv {
                power: range([0.25, 4.0]),
                factor: range([0.7, 1.4]),
                shift: 0.1 * colour,
                hue: 0.1 * colour,
                probability: 1.0,
            }),
            ..Self::default()
        }
    }

    /// A part of at least this share of the image, mirrored or not, grey one time in five.
    fn cropped(smallest: f32) -> Self {
        Self {
            crop: Crop::RandomResized { scale: [smallest, 1.0], ratio: usual_ratio() },
            flip: 0.5,
            grey: 0.2,
            ..Self::default()
        }
    }

    /// The augmentation of a paper by its name, one of [`PRESETS`].
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let blurred = |probability| Some(Blur { sigma: [0.1, 2.0], probability });
        let of_byol = || Self { jitter: Some(Jitter::of([0.4, 0.4, 0.2, 0.1], 0.8)), ..Self::cropped(0.08) };
        Some(match name {
            "simclr" => Self::simclr(1.0),
            "simclr-cifar" => Self { blur: None, ..Self::simclr(0.5) },
            // Instance discrimination's (Wu et al. 2018) too.
            "moco-v1" => Self { jitter: Some(Jitter::of([0.4; 4], 1.0)), ..Self::cropped(0.2) },
            "moco-v2" => Self {
                jitter: Some(Jitter::of([0.4, 0.4, 0.4, 0.1], 0.8)),
                blur: blurred(0.5),
                ..Self::cropped(0.2)
            },
            "byol-first" => Self { blur: blurred(1.0), ..of_byol() },
            "byol-second" => Self {
                blur: blurred(0.1),
                solarize: Some(Solarize { threshold: half(), probability: 0.2 }),
                ..of_byol()
            },
            "exemplar-cnn" => Self::exemplar_cnn(1.0),
            "cutout" => Self {
                crop: Crop::Padded { pixels: 4 },
                flip: 0.5,
                cutout: Some(Cutout { side: 0.5, probability: 1.0 }),
                ..Self::default()
            },
            _ => return None,
        })
    }

    /// Whether it has operations that only [`Views::apply`](super::Views::apply) knows.
    #[must_use]
    pub fn only_here(&self) -> bool {
        self.affine.is_some()
            || self.pca_contrast.is_some()
            || self.hsv.is_some()
            || self.posterize.is_some()
            || self.solarize.is_some()
            || self.cutout.is_some()
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
        if let Some(affine) = &self.affine {
            within("affine.degrees", affine.degrees, [0.0, 180.0])?;
            within("affine.translate", affine.translate, [0.0, 1.0])?;
            within("affine.shear", affine.shear, [0.0, 80.0])?;
            interval("affine.scale", affine.scale, f32::MAX)?;
            probability("affine.probability", affine.probability)?;
        }
        if let Some(contrast) = &self.pca_contrast {
            interval("pca-contrast.factor", contrast.factor, f32::MAX)?;
            probability("pca-contrast.probability", contrast.probability)?;
        }
        if let Some(hsv) = &self.hsv {
            interval("hsv.power", hsv.power, f32::MAX)?;
            interval("hsv.factor", hsv.factor, f32::MAX)?;
            within("hsv.shift", hsv.shift, [0.0, 1.0])?;
            within("hsv.hue", hsv.hue, [0.0, 0.5])?;
            probability("hsv.probability", hsv.probability)?;
        }
        if let Some(posterize) = &self.posterize {
            if !(1..=8).contains(&posterize.bits) {
                return Err(DataError::setting("posterize.bits", posterize.bits, "1 to 8"));
            }
            probability("posterize.probability", posterize.probability)?;
        }
        if let Some(solarize) = &self.solarize {
            within("solarize.threshold", solarize.threshold, [0.0, 1.0])?;
            probability("solarize.probability", solarize.probability)?;
        }
        if let Some(cutout) = &self.cutout {
            interval("cutout.side", [cutout.side, 1.0], 1.0)
                .map_err(|_| DataError::setting("cutout.side", cutout.side, "above 0, at most 1"))?;
            probability("cutout.probability", cutout.probability)?;
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

impl Jitter {
    fn of([brightness, contrast, saturation, hue]: [f32; 4], probability: f32) -> Self {
        Self { brightness, contrast, saturation, hue, probability }
    }
}

/// What [`ViewConfig::preset`] knows, with the paper of each.
pub const PRESETS: [(&str, &str); 8] = [
    ("simclr", "SimCLR on ImageNet (Chen et al. 2020)"),
    ("simclr-cifar", "SimCLR on CIFAR-10: half the colour distortion, no blur"),
    ("moco-v1", "MoCo (He et al. 2020) and instance discrimination (Wu et al. 2018)"),
    ("moco-v2", "MoCo v2 (Chen et al. 2020)"),
    ("byol-first", "BYOL's first view (Grill et al. 2020)"),
    ("byol-second", "BYOL's second view"),
    (
        "exemplar-cnn",
        "Exemplar-CNN (Dosovitskiy et al. 2014): a shift, a size, a turn, contrast by PCA, colour in HSV",
    ),
    ("cutout", "a shift of 4 pixels and a square of half the side left out (DeVries & Taylor 2017)"),
];

/// Larger views than this are a slip of the pen, and would overflow memory before anything else.
const MOST_SIZE: usize = 1 << 14;

fn within(field: &'static str, value: f32, [least, most]: [f32; 2]) -> Result<(), DataError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(DataError::setting(field, value, format!("{least} to {most}")))
    }
}

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
        let presets = PRESETS.map(|(name, _)| ViewConfig::preset(name).unwrap());
        for config in presets.into_iter().chain([ViewConfig::default(), ViewConfig::simclr(0.5)]) {
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
            "hsv = { powers = [0.5, 2.0], probability = 1.0 }",
            "pca-contrast = { probability = 1.0 }",
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
        let solarize = |threshold, probability| Some(Solarize { threshold, probability });
        assert!(with(&|c| c.solarize = solarize(1.5, 0.5)).starts_with("solarize.threshold: found 1.5"));
        assert!(with(&|c| c.solarize = solarize(0.5, -0.5)).starts_with("solarize.probability"));
        assert!(
            with(&|c| c.posterize = Some(Posterize { bits: 0, probability: 0.5 }))
                .starts_with("posterize.bits")
        );
        let cutout = |side| Some(Cutout { side, probability: 0.5 });
        assert!(with(&|c| c.cutout = cutout(0.0)).starts_with("cutout.side: found 0"));
        assert!(with(&|c| c.cutout = cutout(f32::NAN)).starts_with("cutout.side"));
        let turned =
            |degrees| Some(Affine { degrees, ..ViewConfig::preset("exemplar-cnn").unwrap().affine.unwrap() });
        assert!(with(&|c| c.affine = turned(181.0)).starts_with("affine.degrees"));
        assert!(with(&|c| c.affine = turned(f32::NAN)).starts_with("affine.degrees"));
        let contrast = |factor, probability| Some(PcaContrast { factor, probability });
        assert!(with(&|c| c.pca_contrast = contrast([2.0, 0.5], 1.0)).starts_with("pca-contrast.factor"));
        assert!(with(&|c| c.pca_contrast = contrast([0.0, 0.5], 1.0)).starts_with("pca-contrast.factor"));
        assert!(
            with(&|c| c.pca_contrast = contrast([0.5, 2.0], 1.5)).starts_with("pca-contrast.probability")
        );
        let hsv = |change: &dyn Fn(&mut Hsv)| {
            with(&|c| {
                c.hsv = ViewConfig::exemplar_cnn(1.0).hsv;
                change(c.hsv.as_mut().unwrap());
            })
        };
        assert!(hsv(&|h| h.power = [-1.0, 2.0]).starts_with("hsv.power"));
        assert!(hsv(&|h| h.factor = [f32::NAN, 2.0]).starts_with("hsv.factor"));
        assert!(hsv(&|h| h.shift = -0.1).starts_with("hsv.shift: found -0.1"));
        assert!(hsv(&|h| h.hue = 0.6).starts_with("hsv.hue"));
        assert!(hsv(&|h| h.probability = 2.0).starts_with("hsv.probability"));
        assert!(problem(&ViewConfig::simclr(3.0)).starts_with("jitter.hue"));
        assert!(base.check(0, 3).is_err());
        assert!(base.check(32, 4).is_err());
    }
}
