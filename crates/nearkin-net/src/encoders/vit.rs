use burn::prelude::*;
use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::layers::{Conv2d, LayerNorm, TransformerBlock, block_multiply_adds, check_heads};
use crate::patches::{Patches, grid_positions, patchify};

/// Largest patch: an image of a thousand pixels in one.
const MAX_PATCH: usize = 1 << 10;
/// Parts of the width that a position takes: sines and cosines of row and column.
const POSITION_PARTS: usize = 4;

/// What a recipe says of a [`Vit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct VitConfig {
    /// Side of a patch in pixels; it divides the image's (default 4).
    pub patch: usize,
    /// Blocks (default 4).
    pub depth: usize,
    /// Values of a token, a multiple of 4 and of the heads (default 96).
    pub width: usize,
    /// Heads of an attention (default 3).
    pub heads: usize,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self { patch: 4, depth: 4, width: 96, heads: 3 }
    }
}

impl VitConfig {
    pub(super) fn check(&self, size: usize) -> Result<(), ConfigError> {
        check_size("encoder.patch", self.patch, MAX_PATCH)?;
        if !size.is_multiple_of(self.patch) {
            return Err(ConfigError {
                field: "encoder.patch".to_owned(),
                found: self.patch.to_string(),
                wanted: format!("give a side that divides the image's {size} pixels"),
            });
        }
        check_heads("encoder", ("encoder.width", self.width), self.depth, self.heads, POSITION_PARTS)
    }

    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        let tokens = (size / self.patch) * (size / self.patch);
        let embed = self.patch * self.patch * channels * self.width * tokens;
        embed + self.depth * block_multiply_adds(self.width, tokens)
    }
}

/// A plain vision transformer, with timm's parameter names.
///
/// Dosovitskiy et al., "An image is worth 16x16 words", 2021; with fixed sine-cosine positions and the mean over patches in place
/// of a class token, as Beyer, Zhai and Kolesnikov, "Better plain ViT baselines for ImageNet-1k", 2022. It takes images of every
/// size that its patch divides, and can be given only some of their patches
/// ([`forward_kept`](Self::forward_kept)).
///
/// 32 million multiply-adds for a colour image of 32 pixels by default.
#[derive(Module, Debug)]
pub struct Vit {
    /// Pixels of a patch to a token.
    pub patch_embed: PatchEmbed,
    /// The blocks in order.
    pub blocks: Vec<TransformerBlock>,
    /// Of the last block's tokens.
    pub norm: LayerNorm,
}

/// A linear map of each patch's pixels, written as a convolution whose stride is its kernel.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// `[width, channels, patch, patch]`
    pub proj: Conv2d,
}

impl Vit {
    pub(super) fn new(config: &VitConfig, channels: usize, init: &mut Init) -> Self {
        let VitConfig { patch, depth, width, heads } = *config;
        let bound = (6.0 / (channels * patch * patch + width) as f32).sqrt();
        let proj = Conv2d {
            weight: init.uniform([width, channels, patch, patch], bound),
            bias: Some(init.constant([width], 0.0)),
            stride: patch,
            padding: 0,
        };
        Self {
            patch_embed: PatchEmbed { proj },
            blocks: (0..depth).map(|_| TransformerBlock::new(width, heads, false, init)).collect(),
            norm: LayerNorm::new(width, init),
        }
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch_embed.proj.stride
    }

    /// Values of a token.
    pub fn width(&self) -> usize {
        self.norm.gamma.dims()[0]
    }

    /// The mean over patches of [`forward_patches`](Self::forward_patches).
    ///
    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, width]`
    ///
    /// # Panics
    ///
    /// If the patch does not divide the images' sides.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let n = input.dims()[0];
        self.forward_patches(input).mean_dim(1).reshape([n, self.width()])
    }

    /// Tokens of all patches, row after row.
    ///
    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, patches, width]`
    ///
    /// # Panics
    ///
    /// If the patch does not divide the images' sides.
    pub fn forward_patches(&self, input: Tensor<4>) -> Tensor<3> {
        let grid = self.grid(&input);
        let positions = grid_positions(grid, self.width(), (&input.device(), input.dtype()));
        self.encode(patchify(input, self.patch()), positions.unsqueeze())
    }

    /// Tokens of some patches, as if the others were not there: what masked autoencoders and I-JEPA see.
    ///
    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, kept.each(), width]`, in the order of `kept`
    ///
    /// # Panics
    ///
    /// If the patch does not divide the images' sides, or `kept` is of other images or another grid.
    pub fn forward_kept(&self, input: Tensor<4>, kept: &Patches) -> Tensor<3> {
        assert_eq!(self.grid(&input), kept.grid(), "rows and columns of patches");
        let positions = positions_of(kept, self.width(), (&input.device(), input.dtype()));
        self.encode(kept.pick(patchify(input, self.patch())), positions)
    }

    /// Rows and columns of patches of images.
    fn grid(&self, images: &Tensor<4>) -> [usize; 2] {
        let [_, _, h, w] = images.dims();
        [h / self.patch(), w / self.patch()]
    }

    fn encode(&self, pixels: Tensor<3>, positions: Tensor<3>) -> Tensor<3> {
        let ([n, count, values], width) = (pixels.dims(), self.width());
        let weight = self.patch_embed.proj.weight.val().reshape([width, values]).transpose();
        let tokens = pixels.reshape([n * count, values]).matmul(weight);
        let tokens = match &self.patch_embed.proj.bias {
            Some(bias) => tokens + bias.val().unsqueeze(),
            None => tokens,
        };
        let tokens = (tokens.reshape([n, count, width]) + positions).reshape([n * count, width]);
        let tokens = self.blocks.iter().fold(tokens, |x, block| block.forward(x, n));
        self.norm.forward(tokens).reshape([n, count, width])
    }
}

/// Positions of some patches, `[n, each, width]`.
pub(crate) fn positions_of(patches: &Patches, width: usize, kind: (&Device, DType)) -> Tensor<3> {
    let all = grid_positions(patches.grid(), width, kind);
    let rows = crate::patches::indices(patches.numbers().iter().copied(), kind.0);
    all.select(0, rows).reshape([patches.images(), patches.each(), width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, assert_halved_is_near, noise, values};
    use burn::tensor::TensorData;

    fn net() -> Vit {
        let config = VitConfig { patch: 2, depth: 2, width: 8, heads: 2 };
        Vit::new(&config, 3, &mut Init::new(&Device::flex(), 1))
    }

    fn images() -> Tensor<4> {
        Tensor::from_data(TensorData::new(noise(2 * 3 * 4 * 6, 1), [2, 3, 4, 6]), &Device::flex())
    }

    fn wide(values: Vec<f32>) -> Vec<f64> {
        values.into_iter().map(f64::from).collect()
    }

    #[test]
    fn in_16_bits_tokens_stay_in_16_bits() {
        let kept = Patches::new(&[vec![5, 0], vec![2, 3]], [2, 3]).unwrap();
        assert_halved_is_near(&net(), images(), Vit::forward_patches);
        assert_halved_is_near(&net(), images(), |net, x| net.forward_kept(x, &kept));
    }

    #[test]
    fn all_patches_kept_are_the_whole_image_in_any_order() {
        let (net, whole) = (net(), net().forward_patches(images()));
        let order = Patches::new(&[vec![3, 0, 5, 1, 4, 2], vec![0, 1, 2, 3, 4, 5]], [2, 3]).unwrap();
        let kept = net.forward_kept(images(), &order);
        assert_close(&values(kept), &wide(values(order.pick(whole.clone()))), 1e-6, "tokens");
        let mean = whole.mean_dim(1).reshape([2, 8]);
        assert_close(&values(net.forward(images())), &wide(values(mean)), 1e-6, "features");
    }

    #[test]
    fn patches_that_are_not_kept_are_not_seen() {
        let kept = Patches::new(&[vec![1, 3], vec![1, 3]], [2, 3]).unwrap();
        // Patch 0 covers the first two rows and columns.
        let changed =
            images().slice_assign(s![.., .., 0..2, 0..2], Tensor::full([2, 3, 2, 2], 9.0, &Device::flex()));
        let net = net();
        let [a, b] = [images(), changed.clone()].map(|x| values(net.forward_kept(x, &kept)));
        assert_eq!(a, b);
        assert_ne!(values(net.forward(images())), values(net.forward(changed)));
    }
}
