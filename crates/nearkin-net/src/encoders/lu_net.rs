use burn::nn::Linear;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::max_pooled;
use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::kernels::activate;
use crate::kernels::activation::Activation;
use crate::layers::{BatchNorm, Conv2d};

/// Slope of the leaky ReLU below zero.
pub(crate) const SLOPE: f32 = 0.3;
/// Widest net: its weights alone are gigabytes.
const MAX_WIDTH: usize = 1 << 11;
/// Most weights of the linear layer at its end: 8 GiB.
const MAX_WEIGHTS: usize = 1 << 31;
/// Pixels along a side for each place of the last maps: the poolings halve it so often.
const REDUCED: usize = 1 << (BLOCKS.len() - 1);
/// Widths are given in quarters.
const QUARTERS: usize = 4;
/// Blocks between two poolings: inner and outer channels, in quarters of the net's width.
const BLOCKS: [&[(usize, usize)]; 6] = [
    &[(1, 4)],
    &[(1, 4), (1, 4), (2, 8)],
    &[(2, 8), (2, 8)],
    &[(2, 8), (2, 8), (4, 16)],
    &[(4, 16), (4, 16)],
    &[(4, 16), (4, 16), (4, 4)],
];

/// What a recipe says of a [`LuNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct LuNetConfig {
    /// Channels of the first convolution, a multiple of 4 (default 32; 128 in the paper).
    pub width: usize,
}

impl Default for LuNetConfig {
    fn default() -> Self {
        Self { width: 32 }
    }
}

impl LuNetConfig {
    pub(super) fn check(&self, size: usize) -> Result<(), ConfigError> {
        check_size("encoder.width", self.width, MAX_WIDTH)?;
        if !self.width.is_multiple_of(QUARTERS) {
            return Err(ConfigError {
                field: "encoder.width".to_owned(),
                found: self.width.to_string(),
                wanted: format!("give a multiple of {QUARTERS}"),
            });
        }
        let most_places = MAX_WEIGHTS / (self.width * self.feature_dim());
        check_size("size", size, REDUCED * most_places.isqrt())
    }

    pub(super) fn feature_dim(&self) -> usize {
        4 * self.width
    }

    /// Input, inner and output channels of the blocks between poolings.
    fn blocks(&self) -> Vec<Vec<[usize; 3]>> {
        let mut inputs = self.width;
        let quarter = self.width / QUARTERS;
        let channels = |&(inner, outer): &(usize, usize)| {
            let block = [inputs, inner * quarter, outer * quarter];
            inputs = block[2];
            block
        };
        let mut channels = channels;
        BLOCKS.iter().map(|blocks| blocks.iter().map(&mut channels).collect()).collect()
    }

    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        let mut side = size;
        let mut sum = 49 * channels * self.width * side * side;
        for (index, blocks) in self.blocks().into_iter().enumerate() {
            side = if index > 0 { side.div_ceil(2) } else { side };
            for [inputs, inner, outputs] in blocks {
                let shortcut = if inputs == outputs { 0 } else { inputs * outputs };
                sum += (inputs * inner + 9 * inner * inner + inner * outputs + shortcut) * side * side;
            }
        }
        sum + self.width * side * side * self.feature_dim()
    }
}

/// A residual network with leaky ReLUs, max-pooling in place of strides, and a block that reduces channels in place of the
/// average at its end.
///
/// Hermans, Beyer and Leibe, "In defense of the triplet loss for person re-identification", 2017, supplementary material: a
/// 7 × 7 convolution; pre-activation bottlenecks at six resolutions, between which are 3 × 3 max-poolings with stride 2; a last
/// bottleneck down to the first width; a linear layer of four times that with batch normalisation and ReLU. The paper's last
/// linear layer, of 128 values, is the network's embedding layer. Where this reading may differ from the authors' net: the slope
/// below zero, 0.3, is ours, and the last block is a bottleneck like the others; at the paper's width of 128 the net has 2.8
/// million weights for 128 × 64 pixels, theirs had 5.0.
///
/// 9.3 million multiply-adds for a colour image of 32 pixels at the default width of 32.
#[derive(Module, Debug)]
pub struct LuNet {
    /// First convolution, 7 × 7.
    pub conv1: Conv2d,
    /// Blocks at each resolution.
    pub layers: Vec<Vec<Bottleneck>>,
    /// Last maps to features.
    pub fc: Linear,
    /// Its normalisation.
    pub bn: BatchNorm,
}

/// A pre-activation bottleneck: three times batch normalisation, leaky ReLU and a convolution of 1 × 1, 3 × 3 and 1 × 1.
///
/// He et al., "Identity mappings in deep residual networks", 2016.
#[derive(Module, Debug)]
pub struct Bottleneck {
    /// Before the first convolution.
    pub bn1: BatchNorm,
    /// 1 × 1, to the inner channels.
    pub conv1: Conv2d,
    /// Before the second.
    pub bn2: BatchNorm,
    /// 3 × 3.
    pub conv2: Conv2d,
    /// Before the third.
    pub bn3: BatchNorm,
    /// 1 × 1, to the outer channels.
    pub conv3: Conv2d,
    /// Brings the block's input to its output's channels, where these differ.
    pub downsample: Option<Conv2d>,
}

impl LuNet {
    pub(super) fn new(config: &LuNetConfig, channels: usize, size: usize, init: &mut Init) -> Self {
        let conv1 = Conv2d::new(channels, config.width, 7, 1, init);
        let layers = config
            .blocks()
            .into_iter()
            .map(|blocks| blocks.into_iter().map(|channels| Bottleneck::new(channels, init)).collect());
        let layers: Vec<Vec<Bottleneck>> = layers.collect();
        let side = (1..BLOCKS.len()).fold(size, |side, _| side.div_ceil(2));
        Self {
            conv1,
            layers,
            fc: init.linear(config.width * side * side, config.feature_dim(), false),
            bn: BatchNorm::new(config.feature_dim(), init),
        }
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, size, size]`
    /// - output: `[n, 4 · width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let mut x = self.conv1.forward(input);
        for (index, blocks) in self.layers.iter().enumerate() {
            x = if index > 0 { max_pooled(x, 2) } else { x };
            x = blocks.iter().fold(x, |x, block| block.forward(x));
        }
        self.bn.forward_relu(self.fc.forward(x.flatten::<2>(1, 3)))
    }

    /// Features per image.
    pub(super) fn feature_dim(&self) -> usize {
        self.bn.gamma.dims()[0]
    }
}

impl Bottleneck {
    fn new([inputs, inner, outputs]: [usize; 3], init: &mut Init) -> Self {
        Self {
            bn1: BatchNorm::new(inputs, init),
            conv1: Conv2d::new(inputs, inner, 1, 1, init),
            bn2: BatchNorm::new(inner, init),
            conv2: Conv2d::new(inner, inner, 3, 1, init),
            bn3: BatchNorm::new(inner, init),
            conv3: Conv2d::new(inner, outputs, 1, 1, init),
            downsample: (inputs != outputs).then(|| Conv2d::new(inputs, outputs, 1, 1, init)),
        }
    }

    /// # Shapes
    ///
    /// - input: `[n, c, h, w]`
    /// - output: `[n, c', h, w]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let active = |bn: &BatchNorm, x| activate(bn.forward(x), Activation::LeakyRelu { slope: SLOPE });
        let y = self.conv1.forward(active(&self.bn1, input.clone()));
        let y = self.conv2.forward(active(&self.bn2, y));
        let y = self.conv3.forward(active(&self.bn3, y));
        let shortcut = match &self.downsample {
            Some(conv) => conv.forward(input),
            None => input,
        };
        y + shortcut
    }
}
