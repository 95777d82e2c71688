//! What masked autoencoders and I-JEPA put behind a vision transformer that has seen only some patches.

use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::encoders::{VitConfig, positions_of};
use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::{Init, Part};
use crate::layers::{LayerNorm, TransformerBlock, check_heads};
use crate::patches::{Patches, grid_positions, indices};

/// Parts of the width that a position takes: sines and cosines of row and column.
const POSITION_PARTS: usize = 4;
/// Deviation of a mask token's initial values.
const TOKEN_DEVIATION: f32 = 0.02;

/// Settings of a [`MaskedDecoder`] or a [`PatchPredictor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DecoderConfig {
    /// Values of a token, a multiple of 4 and of the heads (default 64).
    pub width: usize,
    /// Blocks (default 2).
    pub depth: usize,
    /// Heads of an attention (default 2).
    pub heads: usize,
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self { width: 64, depth: 2, heads: 2 }
    }
}

impl DecoderConfig {
    /// Checks the settings; `field` is what a recipe calls them.
    ///
    /// # Errors
    ///
    /// If a size is zero or too large, or the width is no multiple of 4 and of the heads.
    pub fn check(&self, field: &str) -> Result<(), ConfigError> {
        check_heads(
            field,
            (format!("{field}.width").as_str(), self.width),
            self.depth,
            self.heads,
            POSITION_PARTS,
        )
    }

    /// The decoder of a masked autoencoder whose encoder and images are these.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), with the field `decoder`, and if there are no channels.
    pub fn masked_decoder(
        &self,
        encoder: &VitConfig,
        channels: usize,
        device: &Device,
        seed: u64,
    ) -> Result<MaskedDecoder, ConfigError> {
        self.check("decoder")?;
        check_size("channels", channels, MAX_SIZE)?;
        let init = &mut Init::part(device, seed, Part::MaskedDecoder);
        Ok(MaskedDecoder {
            decoder_embed: init.xavier(encoder.width, self.width),
            mask_token: init.normal([1, 1, self.width], TOKEN_DEVIATION),
            decoder_blocks: self.blocks(init),
            decoder_norm: LayerNorm::new(self.width, init),
            decoder_pred: init.xavier(self.width, channels * encoder.patch * encoder.patch),
        })
    }

    /// I-JEPA's predictor for an encoder.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), with the field `predictor`.
    pub fn patch_predictor(
        &self,
        encoder: &VitConfig,
        device: &Device,
        seed: u64,
    ) -> Result<PatchPredictor, ConfigError> {
        self.check("predictor")?;
        let init = &mut Init::part(device, seed, Part::PatchPredictor);
        Ok(PatchPredictor {
            predictor_embed: init.xavier(encoder.width, self.width),
            mask_token: init.normal([1, 1, self.width], TOKEN_DEVIATION),
            predictor_blocks: self.blocks(init),
            predictor_norm: LayerNorm::new(self.width, init),
            predictor_proj: init.xavier(self.width, encoder.width),
        })
    }

    fn blocks(&self, init: &mut Init) -> Vec<TransformerBlock> {
        (0..self.depth).map(|_| TransformerBlock::new(self.width, self.heads, false, init)).collect()
    }
}

/// The decoder of a masked autoencoder: from the tokens of kept patches to the pixels of all.
///
/// He et al., "Masked autoencoders are scalable vision learners", 2022, with its parameter names. Patches that were not kept are
/// one learned token, told apart by their positions.
#[derive(Module, Debug)]
pub struct MaskedDecoder {
    /// The encoder's tokens to the decoder's.
    pub decoder_embed: Linear,
    /// What stands for a patch that was not kept, `[1, 1, width]`.
    pub mask_token: Param<Tensor<3>>,
    /// The blocks in order.
    pub decoder_blocks: Vec<TransformerBlock>,
    /// Of the last block's tokens.
    pub decoder_norm: LayerNorm,
    /// Tokens to pixels.
    pub decoder_pred: Linear,
}

impl MaskedDecoder {
    /// Pixels of all patches, as [`patchify`](crate::patches::patchify) has them.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[n, kept.each(), encoder's width]`
    /// - output: `[n, patches, channels · patch²]`
    ///
    /// # Panics
    ///
    /// If `kept` is not what the tokens are of.
    pub fn forward(&self, tokens: Tensor<3>, kept: &Patches) -> Tensor<3> {
        let ([n, each, inputs], width) = (tokens.dims(), self.decoder_norm.gamma.dims()[0]);
        assert_eq!((n, each), (kept.images(), kept.each()), "images and their tokens");
        let count = kept.grid()[0] * kept.grid()[1];
        let seen = self.decoder_embed.forward(tokens.reshape([n * each, inputs]));
        // The mask token is the row behind all that were seen.
        let rows = Tensor::cat(vec![seen, self.mask_token.val().reshape([1, width])], 0);
        let mut places = vec![n * each; n * count];
        for (row, number) in kept.numbers().iter().enumerate() {
            places[row / each * count + number] = row;
        }
        let device = rows.device();
        let tokens = rows.select(0, indices(places.into_iter(), &device)).reshape([n, count, width]);
        let positions = grid_positions(kept.grid(), width, (&device, tokens.dtype()));
        let tokens = tokens + positions.unsqueeze();
        let tokens = tokens.reshape([n * count, width]);
        let tokens = self.decoder_blocks.iter().fold(tokens, |x, block| block.forward(x, n));
        let pixels = self.decoder_pred.forward(self.decoder_norm.forward(tokens));
        let values = pixels.dims()[1];
        pixels.reshape([n, count, values])
    }
}

/// I-JEPA's predictor: from the tokens of a context to those of patches outside it.
///
/// Assran et al., "Self-supervised learning from images with a joint-embedding predictive architecture", 2023, with its parameter
/// names. A patch to predict is one learned token plus its position. Each block of targets is a call of its own.
#[derive(Module, Debug)]
pub struct PatchPredictor {
    /// The encoder's tokens to the predictor's.
    pub predictor_embed: Linear,
    /// What stands for a patch to predict, `[1, 1, width]`.
    pub mask_token: Param<Tensor<3>>,
    /// The blocks in order.
    pub predictor_blocks: Vec<TransformerBlock>,
    /// Of the last block's tokens.
    pub predictor_norm: LayerNorm,
    /// Tokens to the encoder's.
    pub predictor_proj: Linear,
}

impl PatchPredictor {
    /// The encoder's tokens at `targets`, as predicted from those at `context`.
    ///
    /// # Shapes
    ///
    /// - `tokens`: `[n, context.each(), encoder's width]`
    /// - output: `[n, targets.each(), encoder's width]`
    ///
    /// # Panics
    ///
    /// If `context` is not what the tokens are of, or `targets` is of other images or another grid.
    pub fn forward(&self, tokens: Tensor<3>, context: &Patches, targets: &Patches) -> Tensor<3> {
        let ([n, each, inputs], width) = (tokens.dims(), self.predictor_norm.gamma.dims()[0]);
        assert_eq!((n, each), (context.images(), context.each()), "images and their tokens");
        assert_eq!((n, context.grid()), (targets.images(), targets.grid()), "images and grid of the targets");
        let device = tokens.device();
        let kind = (&device, tokens.dtype());
        let seen = self.predictor_embed.forward(tokens.reshape([n * each, inputs]));
        let seen = seen.reshape([n, each, width]) + positions_of(context, width, kind);
        let asked = self.mask_token.val() + positions_of(targets, width, kind);
        let count = each + targets.each();
        let all = Tensor::cat(vec![seen, asked], 1).reshape([n * count, width]);
        let all = self.predictor_blocks.iter().fold(all, |x, block| block.forward(x, n));
        let asked = all.reshape([n, count, width]).narrow(1, each, targets.each());
        let asked = asked.reshape([n * targets.each(), width]);
        let tokens = self.predictor_proj.forward(self.predictor_norm.forward(asked));
        tokens.reshape([n, targets.each(), inputs])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, assert_halved_is_near, noise, values};
    use crate::parameters::param_count;
    use burn::tensor::TensorData;

    const ENCODER: VitConfig = VitConfig { patch: 2, depth: 1, width: 8, heads: 2 };
    const SMALL: DecoderConfig = DecoderConfig { width: 4, depth: 1, heads: 2 };

    fn tokens(each: usize) -> Tensor<3> {
        Tensor::from_data(TensorData::new(noise(2 * each * 8, 1), [2, each, 8]), &Device::flex())
    }

    fn block(width: usize) -> usize {
        12 * width * width + 13 * width
    }

    #[test]
    fn a_decoder_puts_tokens_in_their_places_whatever_their_order() {
        let decoder = SMALL.masked_decoder(&ENCODER, 3, &Device::flex(), 1).unwrap();
        assert_eq!(param_count(&decoder), (8 * 4 + 4) + 4 + block(4) + 8 + (4 * 12 + 12));
        let kept = Patches::new(&[vec![4, 1], vec![0, 3]], [2, 3]).unwrap();
        let turned = Patches::new(&[vec![1, 4], vec![3, 0]], [2, 3]).unwrap();
        let found = decoder.forward(tokens(2), &kept);
        assert_eq!(found.dims(), [2, 6, 12]);
        let other = decoder.forward(tokens(2).flip([1]), &turned);
        let wanted: Vec<f64> = values(other).into_iter().map(f64::from).collect();
        assert_close(&values(found), &wanted, 1e-6, "pixels");
    }

    #[test]
    fn a_predictor_answers_each_target_by_its_position() {
        let predictor = SMALL.patch_predictor(&ENCODER, &Device::flex(), 1).unwrap();
        assert_eq!(param_count(&predictor), (8 * 4 + 4) + 4 + block(4) + 8 + (4 * 8 + 8));
        let context = Patches::new(&[vec![4, 1], vec![0, 3]], [2, 3]).unwrap();
        let targets = Patches::new(&[vec![5, 2, 0], vec![5, 4, 1]], [2, 3]).unwrap();
        let found = predictor.forward(tokens(2), &context, &targets);
        assert_eq!(found.dims(), [2, 3, 8]);
        let found = values(found);
        assert!(found.iter().all(|v| v.is_finite()));
        assert_ne!(found[..8], found[8..16]);
    }

    #[test]
    fn in_16_bits_tokens_stay_in_16_bits() {
        let decoder = SMALL.masked_decoder(&ENCODER, 1, &Device::flex(), 1).unwrap();
        let predictor = SMALL.patch_predictor(&ENCODER, &Device::flex(), 1).unwrap();
        let context = Patches::new(&[vec![4, 1], vec![0, 3]], [2, 3]).unwrap();
        let targets = Patches::new(&[vec![5, 2, 0], vec![5, 4, 1]], [2, 3]).unwrap();
        assert_halved_is_near(&decoder, tokens(2), |decoder, x| decoder.forward(x, &context));
        assert_halved_is_near(&predictor, tokens(2), |predictor, x| predictor.forward(x, &context, &targets));
    }

    #[test]
    fn gradients_reach_the_mask_token() {
        let device = Device::flex().autodiff();
        let decoder = SMALL.masked_decoder(&ENCODER, 1, &device, 1).unwrap();
        let kept = Patches::new(&[vec![4], vec![0]], [2, 3]).unwrap();
        let tokens = Tensor::from_data(tokens(1).into_data(), &device);
        let gradients = decoder.forward(tokens, &kept).square().sum().backward();
        let found = values(decoder.mask_token.val().grad(&gradients).expect("a gradient"));
        assert!(found.iter().any(|v| *v != 0.0));
    }

    #[test]
    fn settings_that_do_not_fit_are_refused_by_name() {
        let refused = |config: DecoderConfig| config.check("decoder").unwrap_err().to_string();
        assert!(refused(DecoderConfig { depth: 0, ..SMALL }).starts_with("decoder.depth is 0"));
        assert!(refused(DecoderConfig { heads: 9, ..SMALL }).starts_with("decoder.heads is 9"));
        assert!(
            refused(DecoderConfig { width: 6, ..SMALL })
                .starts_with("decoder.width is 6; give a multiple of 4")
        );
        assert!(
            refused(DecoderConfig { heads: 3, ..SMALL })
                .starts_with("decoder.width is 4; give a multiple of 3")
        );
    }
}
