use burn::prelude::*;
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::Init;
use crate::layers::{Gru, LayerNorm, TransformerBlock, check_heads};
use crate::patches::line_position;

/// Parts of the width that a position takes: its sines and cosines.
const POSITION_PARTS: usize = 2;

/// What turns frames into contexts, as a recipe says it: `kind = "gru"`, `width = 128`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ContextConfig {
    /// A [`Gru`] whose state is the context: the paper's.
    Gru {
        /// Values of a context (default 128; 256 in the paper).
        #[serde(default = "default_width")]
        width: usize,
    },
    /// A [`CausalTransformer`]; contexts are as wide as frames.
    CausalTransformer(CausalTransformerConfig),
}

fn default_width() -> usize {
    128
}

impl Default for ContextConfig {
    fn default() -> Self {
        Self::Gru { width: default_width() }
    }
}

/// What a recipe says of a [`CausalTransformer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct CausalTransformerConfig {
    /// Blocks (default 2).
    pub depth: usize,
    /// Heads of an attention; they divide a frame's width, which must be even (default 4).
    pub heads: usize,
}

impl Default for CausalTransformerConfig {
    fn default() -> Self {
        Self { depth: 2, heads: 4 }
    }
}

impl std::fmt::Display for ContextConfig {
    /// As a plan or a report names it: `gru (width 128)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gru { width } => write!(f, "gru (width {width})"),
            Self::CausalTransformer(CausalTransformerConfig { depth, heads }) => {
                write!(f, "causal-transformer (depth {depth}, {heads} heads)")
            }
        }
    }
}

impl ContextConfig {
    pub(crate) fn check(&self, frame: usize) -> Result<(), ConfigError> {
        match self {
            Self::Gru { width } => check_size("context.width", *width, MAX_SIZE),
            Self::CausalTransformer(config) => {
                check_heads("context", ("encoder.width", frame), config.depth, config.heads, POSITION_PARTS)
            }
        }
    }

    pub(crate) fn dim(&self, frame: usize) -> usize {
        match self {
            Self::Gru { width } => *width,
            Self::CausalTransformer(_) => frame,
        }
    }

    pub(crate) fn build(&self, frame: usize, init: &mut Init) -> Context {
        match self {
            Self::Gru { width } => Context::Gru(Gru::new(frame, *width, init)),
            Self::CausalTransformer(CausalTransformerConfig { depth, heads }) => {
                let blocks = (0..*depth).map(|_| TransformerBlock::new(frame, *heads, true, init));
                let blocks = blocks.collect();
                Context::CausalTransformer(CausalTransformer { blocks, norm: LayerNorm::new(frame, init) })
            }
        }
    }
}

/// What turns frames into contexts, with its weights.
#[derive(Module, Debug)]
pub enum Context {
    /// See [`Gru`].
    Gru(Gru),
    /// See [`CausalTransformer`].
    CausalTransformer(CausalTransformer),
}

impl Context {
    /// Contexts, each of its frame and those before.
    ///
    /// # Shapes
    ///
    /// - frames: `[n, frames, width]`
    /// - output: `[n, frames, context's width]`
    pub fn forward(&self, frames: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gru(context) => context.forward(frames),
            Self::CausalTransformer(context) => context.forward(frames),
        }
    }
}

/// Pre-norm transformer blocks in which a frame sees itself and those before, with sine-cosine positions.
#[derive(Module, Debug)]
pub struct CausalTransformer {
    /// The blocks in order.
    pub blocks: Vec<TransformerBlock>,
    /// Of the last block's frames.
    pub norm: LayerNorm,
}

impl CausalTransformer {
    /// # Shapes
    ///
    /// - frames, output: `[n, frames, width]`
    pub fn forward(&self, frames: Tensor<3>) -> Tensor<3> {
        let [n, count, width] = frames.dims();
        let positions: Vec<f32> = (0..count).flat_map(|position| line_position(position, width)).collect();
        let kind = (&frames.device(), frames.dtype());
        let positions = Tensor::from_data(TensorData::new(positions, [1, count, width]), kind);
        let tokens = (frames + positions).reshape([n * count, width]);
        let tokens = self.blocks.iter().fold(tokens, |x, block| block.forward(x, n));
        self.norm.forward(tokens).reshape([n, count, width])
    }
}
