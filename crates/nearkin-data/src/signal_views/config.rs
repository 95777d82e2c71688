//! A pipeline as data.

use serde::{Deserialize, Serialize};

use super::SpecAugment;
use crate::error::DataError;

/// The most steps of a view: minutes of sound.
const MOST_LENGTH: usize = 1 << 24;
/// The most segments of a permutation.
const MOST_SEGMENTS: usize = 1 << 10;
/// The most masks of either kind.
const MOST_MASKS: usize = 16;

/// How a view of a sound or a series is made. Fields that a recipe leaves out take the value of [`SignalViewConfig::default`], in which
/// nothing is random but the place of the window.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SignalViewConfig {
    /// The part of the signal that becomes the view.
    pub crop: SignalCrop,
    /// Slowest and fastest speed at which a sound is played, its pitch unchanged; 0.25 to 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stretch: Option<[f32; 2]>,
    /// Standard deviation of the speed along the series, which is 1 on average; 0 to 1.
    pub time_warp: f32,
    /// Most segments that a series is cut into and that are put together in another order; below 2, it stays.
    pub permutation: usize,
    /// Standard deviation of a smooth curve around 1 that the series is multiplied with; 0 to 1.
    pub magnitude_warp: f32,
    /// Standard deviation of each channel's factor, which is 1 on average; 0 to 1.
    pub scaling: f32,
    /// Lowest and highest gain in decibels, of all channels together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<[f32; 2]>,
    /// Largest standard deviation of Gaussian noise, in units of the scale of the view; for series also called jitter.
    pub noise: f32,
    /// Bands and stretches of a sound that are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_augment: Option<SpecAugment>,
    /// Probability of rounding to the 256 levels of μ-law, as a telephone does (ITU-T G.711).
    pub mu_law: f32,
}

/// The part of the signal that becomes the view.
#[derive(Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SignalCrop {
    /// As many steps as the view has, anywhere. A shorter signal stands somewhere among zeros.
    Window {},
    /// A random share of the steps, stretched to the view's length.
    Resized {
        /// Smallest and largest share, in (0, 1].
        scale: [f32; 2],
    },
    /// All of it, stretched to the view's length.
    Whole {},
}

impl Default for SignalViewConfig {
    /// A window, nothing else.
    fn default() -> Self {
        Self {
            crop: SignalCrop::Window {},
            stretch: None,
            time_warp: 0.0,
            permutation: 0,
            magnitude_warp: 0.0,
            scaling: 0.0,
            gain: None,
            noise: 0.0,
            spec_augment: None,
            mu_law: 0.0,
        }
    }
}

impl SignalViewConfig {
    /// What keeps a sound the same sound to an ear: a window, gain, noise, a little faster or slower.
    #[must_use]
    pub fn sound() -> Self {
        Self { stretch: Some([0.9, 1.1]), gain: Some([-6.0, 6.0]), noise: 0.1, ..Self::default() }
    }

    /// What usually keeps a series the same: most of it, warped a little, louder or softer, with jitter.
    #[must_use]
    pub fn series() -> Self {
        Self {
            crop: SignalCrop::Resized { scale: [0.7, 1.0] },
            time_warp: 0.1,
            magnitude_warp: 0.1,
            scaling: 0.1,
            noise: 0.1,
            ..Self::default()
        }
    }

    pub(super) fn check(&self, channels: usize, length: usize) -> Result<(), DataError> {
        if channels == 0 {
            return Err(DataError::setting("channels", 0, "at least 1"));
        }
        if length == 0 || length > MOST_LENGTH {
            return Err(DataError::setting("length", length, format!("1 to {MOST_LENGTH} steps")));
        }
        let range = |field, [low, high]: [f32; 2], [least, most]: [f32; 2]| {
            if low.is_finite() && low >= least && low <= high && high <= most {
                return Ok(());
            }
            let wanted = format!("[low, high] with {least} ≤ low ≤ high ≤ {most}");
            Err(DataError::setting(field, format!("[{low}, {high}]"), wanted))
        };
        if let SignalCrop::Resized { scale } = self.crop {
            range("views.crop.scale", scale, [1e-3, 1.0])?;
        }
        if let Some(stretch) = self.stretch {
            range("views.stretch", stretch, [0.25, 4.0])?;
        }
        if let Some(gain) = self.gain {
            range("views.gain", gain, [-100.0, 100.0])?;
        }
        if self.permutation > MOST_SEGMENTS {
            let wanted = format!("0 to {MOST_SEGMENTS} segments");
            return Err(DataError::setting("views.permutation", self.permutation, wanted));
        }
        let up_to = |field, found: f32, most: f32| match (0.0..=most).contains(&found) {
            true => Ok(()),
            false => Err(DataError::setting(field, found, format!("0 to {most}"))),
        };
        if let Some(masks) = &self.spec_augment {
            for (field, found) in [
                ("views.spec-augment.frequency-masks", masks.frequency_masks),
                ("views.spec-augment.time-masks", masks.time_masks),
            ] {
                if found > MOST_MASKS {
                    return Err(DataError::setting(field, found, format!("0 to {MOST_MASKS}")));
                }
            }
            up_to("views.spec-augment.frequency-width", masks.frequency_width, 1.0)?;
            up_to("views.spec-augment.time-width", masks.time_width, 1.0)?;
        }
        up_to("views.time-warp", self.time_warp, 1.0)?;
        up_to("views.magnitude-warp", self.magnitude_warp, 1.0)?;
        up_to("views.scaling", self.scaling, 1.0)?;
        up_to("views.noise", self.noise, 1e3)?;
        up_to("views.mu-law", self.mu_law, 1.0)
    }
}
