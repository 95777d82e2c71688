//! Pre-norm transformer blocks, with the parameter names of timm's vision transformers.

use burn::nn::Linear;
use burn::prelude::*;

use super::LayerNorm;
use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::Init;
use crate::kernels::activation::Activation;
use crate::kernels::{activate, attention_weights};

/// Width of the hidden layer of a [`FeedForward`], in widths of the block.
const EXPANSION: usize = 4;
/// Deepest stack of blocks: twice that of the largest published vision transformers.
const MAX_DEPTH: usize = 128;

/// Multi-head self-attention: `softmax(Q Kᵀ / √d) V` for each head, joined by a linear layer.
///
/// Vaswani et al., "Attention is all you need", 2017. A causal one sees the tokens up to its own.
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries, keys and values of all heads, `[width, 3 · width]`.
    pub qkv: Linear,
    /// Heads to the output, `[width, width]`.
    pub proj: Linear,
    /// Heads; they divide the width.
    pub heads: usize,
    /// Whether a token sees only those before it and itself.
    pub causal: bool,
}

impl Attention {
    /// # Shapes
    ///
    /// - `tokens`, output: `[n · t, width]`, sequence after sequence
    pub fn forward(&self, tokens: Tensor<2>, sequences: usize) -> Tensor<2> {
        let [rows, width] = tokens.dims();
        let (heads, length) = (self.heads, rows / sequences.max(1));
        let all =
            self.qkv.forward(tokens).reshape([sequences, length, 3 * heads, width / heads]).swap_dims(1, 2);
        let [queries, keys, values] = [0, 1, 2].map(|part| all.clone().narrow(1, part * heads, heads));
        let scores = queries.matmul(keys.swap_dims(2, 3));
        let scale = ((width / heads) as f32).sqrt().recip();
        let mixed = attention_weights(scores, scale, self.causal).matmul(values);
        self.proj.forward(mixed.swap_dims(1, 2).reshape([rows, width]))
    }
}

/// Two linear layers with a GELU between them.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `[width, 4 · width]`
    pub fc1: Linear,
    /// `[4 · width, width]`
    pub fc2: Linear,
}

impl FeedForward {
    /// # Shapes
    ///
    /// - input, output: `[n, width]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.fc2.forward(activate(self.fc1.forward(input), Activation::Gelu))
    }
}

/// A pre-norm block: `x + attention(norm(x))`, then `x + mlp(norm(x))`.
///
/// Dosovitskiy et al., "An image is worth 16x16 words", 2021.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Mixes tokens.
    pub attn: Attention,
    /// Before the feed-forward layers.
    pub norm2: LayerNorm,
    /// Mixes the values of each token.
    pub mlp: FeedForward,
}

impl TransformerBlock {
    pub(crate) fn new(width: usize, heads: usize, causal: bool, init: &mut Init) -> Self {
        Self {
            norm1: LayerNorm::new(width, init),
            attn: Attention {
                qkv: init.xavier(width, 3 * width),
                proj: init.xavier(width, width),
                heads,
                causal,
            },
            norm2: LayerNorm::new(width, init),
            mlp: FeedForward {
                fc1: init.xavier(width, EXPANSION * width),
                fc2: init.xavier(EXPANSION * width, width),
            },
        }
    }

    /// # Shapes
    ///
    /// - `tokens`, output: `[n · t, width]`, sequence after sequence
    pub fn forward(&self, tokens: Tensor<2>, sequences: usize) -> Tensor<2> {
        let tokens = tokens.clone() + self.attn.forward(self.norm1.forward(tokens), sequences);
        tokens.clone() + self.mlp.forward(self.norm2.forward(tokens))
    }
}

/// Multiplications and additions of a block for one sequence.
pub(crate) fn block_multiply_adds(width: usize, tokens: usize) -> usize {
    (4 + 2 * EXPANSION) * width * width * tokens + 2 * width * tokens * tokens
}

/// Refuses a stack of blocks that cannot be built: `width` is what the setting `width_field` says, and `parts` is what the positions
/// divide it into, as the heads do.
pub(crate) fn check_heads(
    field: &str,
    (width_field, width): (&str, usize),
    depth: usize,
    heads: usize,
    parts: usize,
) -> Result<(), ConfigError> {
    check_size(width_field, width, MAX_SIZE)?;
    check_size(&format!("{field}.depth"), depth, MAX_DEPTH)?;
    check_size(&format!("{field}.heads"), heads, width)?;
    for (by, why) in [(heads, "heads"), (parts, "parts of a position")] {
        if !width.is_multiple_of(by) {
            return Err(ConfigError {
                field: width_field.to_owned(),
                found: width.to_string(),
                wanted: format!("give a multiple of {by}, for so many {why}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, values};
    use burn::tensor::TensorData;

    fn tokens(n: usize, t: usize, width: usize, seed: u64) -> Tensor<2> {
        Tensor::from_data(TensorData::new(noise(n * t * width, seed), [n * t, width]), &Device::flex())
    }

    #[test]
    fn a_causal_block_does_not_see_what_follows() {
        let device = Device::flex();
        let init = &mut Init::new(&device, 1);
        for causal in [true, false] {
            let block = TransformerBlock::new(8, 2, causal, init);
            let (first, second) = (tokens(1, 5, 8, 1), tokens(1, 5, 8, 2));
            let changed = Tensor::cat(vec![first.clone().narrow(0, 0, 3), second.narrow(0, 3, 2)], 0);
            let [a, b] = [first, changed].map(|x| values(block.forward(x, 1).narrow(0, 0, 3)));
            assert_eq!(a == b, causal);
        }
    }

    #[test]
    fn sequences_of_a_batch_do_not_mix() {
        let block = TransformerBlock::new(8, 4, false, &mut Init::new(&Device::flex(), 1));
        let x = tokens(3, 4, 8, 1);
        let together = values(block.forward(x.clone(), 3));
        for n in 0..3 {
            let alone = values(block.forward(x.clone().narrow(0, 4 * n, 4), 1));
            let wanted: Vec<f64> = together[32 * n..][..32].iter().map(|v| f64::from(*v)).collect();
            assert_close(&alone, &wanted, 1e-6, "a sequence");
        }
    }
}
