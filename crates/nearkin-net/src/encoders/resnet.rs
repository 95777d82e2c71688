use burn::nn::PaddingConfig2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use super::pooled;
use crate::init::Init;
use crate::kernels::add_relu;
use crate::layers::{BatchNorm, Conv2d};

/// Channels of the first convolution and of the first layer's blocks.
const WIDTH: usize = 64;

/// How a ResNet begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// 3 × 3 convolution with stride 1, no pooling: for images of 28 to 64 pixels (CIFAR).
    #[default]
    Small,
    /// 7 × 7 convolution with stride 2, then 3 × 3 max-pooling with stride 2: for images of about
    /// 224 pixels (ImageNet, torchvision).
    Large,
}

/// What tells the ResNets apart.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Blocks of each of the four layers.
    pub blocks: [usize; 4],
    /// Whether a block is 1 × 1, 3 × 3, 1 × 1 (with four times the channels) or twice 3 × 3.
    pub bottleneck: bool,
}

/// What a recipe says of a ResNet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResNetConfig {
    /// How it begins (default small).
    pub stem: Stem,
    /// Whether every block begins as the identity: γ of its last normalisation starts at zero
    /// (Goyal et al., "Accurate, large minibatch SGD", 2017; default false).
    pub zero_init_residual: bool,
}

pub(super) const RESNET_18: Layout = Layout { blocks: [2, 2, 2, 2], bottleneck: false };
pub(super) const RESNET_34: Layout = Layout { blocks: [3, 4, 6, 3], bottleneck: false };
pub(super) const RESNET_50: Layout = Layout { blocks: [3, 4, 6, 3], bottleneck: true };

impl Layout {
    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(self, config: &ResNetConfig, channels: usize, size: usize) -> usize {
        let (kernel, mut side) = match config.stem {
            Stem::Small => (3, size),
            Stem::Large => (7, size.div_ceil(2)),
        };
        let mut sum = kernel * kernel * channels * WIDTH * side * side;
        if config.stem == Stem::Large {
            side = side.div_ceil(2);
        }
        let mut inputs = WIDTH;
        for (index, blocks) in self.blocks.into_iter().enumerate() {
            let (width, outputs) = (WIDTH << index, (WIDTH << index) * self.expansion());
            for block in 0..blocks {
                let before = side * side;
                if index > 0 && block == 0 {
                    side = side.div_ceil(2);
                }
                let after = side * side;
                sum += if self.bottleneck {
                    inputs * width * before + (9 * width * width + width * outputs) * after
                } else {
                    9 * (inputs * width + width * width) * after
                };
                if block == 0 && inputs != outputs {
                    sum += inputs * outputs * after;
                }
                inputs = outputs;
            }
        }
        sum
    }

    fn expansion(self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }

    pub fn feature_dim(self) -> usize {
        8 * WIDTH * self.expansion()
    }
}

/// A residual network up to its global average pooling, with torchvision's parameter names.
///
/// He et al., "Deep residual learning for image recognition", 2016; bottlenecks have their stride
/// in the 3 × 3 convolution, as torchvision's ("v1.5").
#[derive(Module, Debug)]
pub struct ResNet {
    /// First convolution.
    pub conv1: Conv2d,
    /// Its normalisation.
    pub bn1: BatchNorm,
    /// Pooling of the large stem.
    pub maxpool: Option<MaxPool2d>,
    /// Blocks at the stem's resolution.
    pub layer1: Vec<Block>,
    /// Blocks at half of it.
    pub layer2: Vec<Block>,
    /// Blocks at a quarter.
    pub layer3: Vec<Block>,
    /// Blocks at an eighth.
    pub layer4: Vec<Block>,
}

/// A residual block: two 3 × 3 convolutions, or a bottleneck of 1 × 1, 3 × 3, 1 × 1.
#[derive(Module, Debug)]
pub struct Block {
    /// First convolution.
    pub conv1: Conv2d,
    /// Its normalisation.
    pub bn1: BatchNorm,
    /// Second convolution.
    pub conv2: Conv2d,
    /// Its normalisation.
    pub bn2: BatchNorm,
    /// Third convolution of a bottleneck.
    pub conv3: Option<Conv2d>,
    /// Its normalisation.
    pub bn3: Option<BatchNorm>,
    /// Brings the block's input to its output's shape, where these differ.
    pub downsample: Option<(Conv2d, BatchNorm)>,
}

impl ResNet {
    pub(super) fn new(layout: Layout, config: &ResNetConfig, channels: usize, init: &mut Init) -> Self {
        let (kernel, stride) = match config.stem {
            Stem::Small => (3, 1),
            Stem::Large => (7, 2),
        };
        let maxpool = (config.stem == Stem::Large).then(|| {
            MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init()
        });
        let conv1 = Conv2d::new(channels, WIDTH, kernel, stride, init);
        let bn1 = BatchNorm::new(WIDTH, init);
        let mut inputs = WIDTH;
        let mut layer = |index: usize| {
            let width = WIDTH << index;
            (0..layout.blocks[index])
                .map(|block| {
                    let stride = if index > 0 && block == 0 { 2 } else { 1 };
                    let last_gamma = if config.zero_init_residual { 0.0 } else { 1.0 };
                    let block = Block::new(inputs, width, stride, layout, last_gamma, init);
                    inputs = width * layout.expansion();
                    block
                })
                .collect()
        };
        Self { conv1, bn1, maxpool, layer1: layer(0), layer2: layer(1), layer3: layer(2), layer4: layer(3) }
    }

    /// Features per image: channels of the last block.
    pub(super) fn feature_dim(&self) -> usize {
        let last = self.layer4.last().map(|block| match &block.bn3 {
            Some(bn3) => bn3,
            None => &block.bn2,
        });
        last.map_or(0, |bn| bn.gamma.dims()[0])
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, 512]`, or `[n, 2048]` with bottlenecks
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        pooled(self.feature_map(input))
    }

    /// What is pooled.
    pub(super) fn feature_map(&self, input: Tensor<4>) -> Tensor<4> {
        let mut x = self.bn1.forward_relu(self.conv1.forward(input));
        if let Some(pool) = &self.maxpool {
            x = pool.forward(x);
        }
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            x = block.forward(x);
        }
        x
    }
}

impl Block {
    fn new(
        inputs: usize,
        width: usize,
        stride: usize,
        layout: Layout,
        last_gamma: f32,
        init: &mut Init,
    ) -> Self {
        let outputs = width * layout.expansion();
        let (first, strides, middle_gamma) =
            if layout.bottleneck { (1, [1, stride], 1.0) } else { (3, [stride, 1], last_gamma) };
        Self {
            conv1: Conv2d::new(inputs, width, first, strides[0], init),
            bn1: BatchNorm::new(width, init),
            conv2: Conv2d::new(width, width, 3, strides[1], init),
            bn2: BatchNorm::scaled(width, middle_gamma, init),
            conv3: layout.bottleneck.then(|| Conv2d::new(width, outputs, 1, 1, init)),
            bn3: layout.bottleneck.then(|| BatchNorm::scaled(outputs, last_gamma, init)),
            downsample: (stride != 1 || inputs != outputs)
                .then(|| (Conv2d::new(inputs, outputs, 1, stride, init), BatchNorm::new(outputs, init))),
        }
    }

    /// # Shapes
    ///
    /// - input: `[n, c, h, w]`
    /// - output: `[n, c', h', w']`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut y = self.bn1.forward_relu(self.conv1.forward(input.clone()));
        y = match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let y = self.bn2.forward_relu(self.conv2.forward(y));
                bn3.forward(conv3.forward(y))
            }
            _ => self.bn2.forward(self.conv2.forward(y)),
        };
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.forward(conv.forward(input)),
            None => input,
        };
        add_relu(y, shortcut)
    }
}
