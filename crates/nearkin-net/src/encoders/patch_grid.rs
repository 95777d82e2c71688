use burn::nn::Linear;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::EncoderConfig;
use super::small_conv::SmallConv;
use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::sequences::{Context, ContextConfig, check_ahead, contexts, is_zero, predictions};

/// Most patches in a row.
const MAX_GRID: usize = 1 << 6;

/// What a recipe says of a [`PatchGrid`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PatchGridConfig {
    /// Patches in a row and in a column (default 7, the paper's).
    pub grid: usize,
    /// Channels of the first stage of the [`SmallConv`] that reads a patch (default 32).
    pub width: usize,
    /// What turns the patches so far, row after row, into contexts (default none: patches are contexts).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextConfig>,
    /// Rows ahead with a predictor each (default 0). The method says it, where it predicts.
    #[serde(skip_serializing_if = "is_zero")]
    pub ahead: usize,
}

impl Default for PatchGridConfig {
    fn default() -> Self {
        Self { grid: 7, width: super::default_width(), context: None, ahead: 0 }
    }
}

impl PatchGridConfig {
    fn of_patch(&self) -> EncoderConfig {
        EncoderConfig::SmallConv { width: self.width }
    }

    pub(super) fn feature_dim(&self) -> usize {
        self.of_patch().feature_dim(1)
    }

    /// See [`EncoderConfig::multiply_adds`].
    pub(super) fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        self.grid * self.grid * self.of_patch().multiply_adds(channels, patch(size, self.grid))
    }

    pub(super) fn check(&self, channels: usize, size: usize) -> Result<(), ConfigError> {
        check_size("encoder.grid", self.grid, MAX_GRID)?;
        if stride(size, self.grid) == 0 {
            return Err(ConfigError {
                field: "encoder.grid".to_owned(),
                found: self.grid.to_string(),
                wanted: format!("give a number below the image's {size} pixels"),
            });
        }
        self.of_patch().check(channels, patch(size, self.grid))?;
        if let Some(context) = &self.context {
            context.check(self.feature_dim())?;
        }
        check_ahead(self.ahead)
    }
}

/// Pixels from one patch to the next.
fn stride(size: usize, grid: usize) -> usize {
    size / (grid + 1)
}

/// Side of a patch in pixels: it overlaps with its neighbours by half.
pub(crate) fn patch(size: usize, grid: usize) -> usize {
    2 * stride(size, grid)
}

/// An image as a grid of patches that overlap by half, each read by a [`SmallConv`]; perhaps with a context over the patches so far, perhaps
/// with predictors of the patches in later rows.
///
/// Van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018, section 3.2. Patches are counted
/// row after row, so a context knows its patch, those before it in its row, and all rows above; a predictor looks down its column:
///
/// ```text
/// z_rc = encoder(patch r, c)      c_rc = context(z_11 … z_rc)      ẑ_(r+k)c = W_k c_rc
/// ```
///
/// 46 million multiply-adds for a colour image of 32 pixels by default.
#[derive(Module, Debug)]
pub struct PatchGrid {
    /// A patch to its features.
    pub encoder: SmallConv,
    /// Patches to contexts.
    pub context: Option<Context>,
    /// Contexts to the patch one row down, two rows down, and so on.
    pub predictors: Vec<Linear>,
    /// Patches in a row.
    pub grid: usize,
}

impl PatchGrid {
    pub(super) fn new(config: &PatchGridConfig, channels: usize, size: usize, init: &mut Init) -> Self {
        let PatchGridConfig { grid, width, ref context, ahead } = *config;
        let encoder = SmallConv::new(width, channels, patch(size, grid), init);
        let features = config.feature_dim();
        let of_context = context.as_ref().map_or(features, |context| context.dim(features));
        let context = context.as_ref().map(|context| context.build(features, init));
        let predictors = (0..ahead).map(|_| init.linear(of_context, features, false)).collect();
        Self { encoder, context, predictors, grid }
    }

    /// Features of an image: the mean of its patches'.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, channels, side, side]`
    /// - output: `[n, features]`
    ///
    /// # Panics
    ///
    /// As [`patches`](Self::patches).
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let patches = self.patches(images);
        let [n, _, width] = patches.dims();
        patches.mean_dim(1).reshape([n, width])
    }

    /// Features of the patches, row after row.
    ///
    /// # Shapes
    ///
    /// - `images`: `[n, channels, side, side]`
    /// - output: `[n, grid · grid, features]`
    ///
    /// # Panics
    ///
    /// If the images do not have the channels the network was made for, or are no larger than the grid.
    pub fn patches(&self, images: Tensor<4>) -> Tensor<3> {
        let [n, channels, h, w] = images.dims();
        let (corners, side) = (corners(h.min(w), self.grid), patch(h.min(w), self.grid));
        let cut =
            corners.iter().map(|&[top, left]| images.clone().narrow(2, top, side).narrow(3, left, side));
        let all: Tensor<5> = Tensor::stack(cut.collect(), 1);
        let features = self.encoder.forward(all.reshape([n * corners.len(), channels, side, side]));
        features.reshape([n as i64, corners.len() as i64, -1])
    }

    /// Contexts: each knows its patch and those before.
    ///
    /// # Shapes
    ///
    /// - `patches`: `[n, grid · grid, features]`
    /// - output: `[n, grid · grid, context's width]`
    pub fn contexts(&self, patches: Tensor<3>) -> Tensor<3> {
        contexts(self.context.as_ref(), patches)
    }

    /// What each predictor makes of each context: entry `k − 1` is for patches `k` rows down, so that its patch `t` is to be compared
    /// with patch `t + k · grid`.
    ///
    /// # Shapes
    ///
    /// - `contexts`: `[n, grid · grid, context's width]`
    /// - each output: `[n, grid · grid, features]`
    pub fn predictions(&self, contexts: Tensor<3>) -> Vec<Tensor<3>> {
        predictions(&self.predictors, contexts)
    }
}

/// Top and left of each patch of an image, row after row. What the grid leaves over is at the margins.
pub(crate) fn corners(size: usize, grid: usize) -> Vec<[usize; 2]> {
    let stride = stride(size, grid);
    let margin = (size - stride * (grid + 1)) / 2;
    let places = move || (0..grid).map(move |place| margin + place * stride);
    places().flat_map(|top| places().map(move |left| [top, left])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{noise, values};
    use burn::tensor::TensorData;

    fn images(shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(noise(shape.iter().product(), 3), shape), &Device::flex())
    }

    fn network(config: &PatchGridConfig, size: usize) -> PatchGrid {
        config.check(3, size).unwrap();
        PatchGrid::new(config, 3, size, &mut Init::new(&Device::flex(), 2))
    }

    #[test]
    fn patches_overlap_by_half_and_lie_in_the_middle() {
        // The paper's: 7 × 7 patches of 64 pixels, 32 apart, of 256.
        assert_eq!((patch(256, 7), stride(256, 7), corners(256, 7)[48]), (64, 32, [192, 192]));
        assert_eq!((patch(32, 7), corners(32, 7)[0], corners(32, 7)[8]), (8, [0, 0], [4, 4]));
        // 28 pixels hold 24 in whole steps: 2 are left on each side.
        assert_eq!((patch(28, 7), corners(28, 7)[0], corners(28, 7)[48]), (6, [2, 2], [20, 20]));
    }

    #[test]
    fn each_patch_is_read_as_an_image_of_its_own() {
        let network = network(&PatchGridConfig { grid: 3, width: 2, ..Default::default() }, 16);
        let images = images([2, 3, 16, 16]);
        let all = values(network.patches(images.clone()));
        // Row 1, column 2 of the second image.
        let alone = images.narrow(0, 1, 1).narrow(2, 4, 8).narrow(3, 8, 8);
        let (alone, at) = (values(network.encoder.forward(alone)), 9 + 5);
        for (a, b) in alone.iter().zip(&all[at * 16..(at + 1) * 16]) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    }

    #[test]
    fn contexts_do_not_see_the_rows_below() {
        let context = Some(ContextConfig::Gru { width: 5 });
        let network = network(&PatchGridConfig { grid: 3, width: 1, context, ahead: 2 }, 16);
        let patches = network.patches(images([1, 3, 16, 16]));
        let contexts = network.contexts(patches.clone());
        assert_eq!(contexts.dims(), [1, 9, 5]);
        let predictions = network.predictions(contexts.clone());
        assert_eq!((predictions.len(), predictions[1].dims()), (2, [1, 9, 8]));
        let changed = Tensor::cat(vec![patches.narrow(1, 0, 6), Tensor::ones([1, 3, 8], &Device::flex())], 1);
        let [seen, other] = [contexts, network.contexts(changed)].map(values);
        assert_eq!(seen[..30], other[..30]);
        assert_ne!(seen[30..], other[30..]);
    }

    #[test]
    fn settings_that_cannot_be_built_are_refused_by_name() {
        let ready = PatchGridConfig::default();
        for (config, field) in [
            (PatchGridConfig { grid: 0, ..ready.clone() }, "encoder.grid"),
            (PatchGridConfig { grid: 32, ..ready.clone() }, "encoder.grid"),
            (PatchGridConfig { width: 0, ..ready.clone() }, "encoder.width"),
            (PatchGridConfig { ahead: 1 << 20, ..ready.clone() }, "ahead"),
            (PatchGridConfig { context: Some(ContextConfig::Gru { width: 0 }), ..ready }, "context.width"),
        ] {
            assert_eq!(config.check(3, 32).unwrap_err().field, field, "{config:?}");
        }
    }
}
