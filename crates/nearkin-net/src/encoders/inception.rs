use burn::nn::PaddingConfig2d;
use burn::nn::pool::AvgPool2dConfig;
use burn::prelude::*;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use super::resnet::Stem;
use super::{max_pooled, pooled};
use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::layers::{BatchNorm, Conv2d};

/// Channels of the first convolution in the paper, which all others are given beside.
const PUBLISHED_WIDTH: usize = 64;
/// Widest net: its weights alone are gigabytes.
const MAX_WIDTH: usize = 1 << 11;
/// Channels of the second convolutions.
const SECOND: [usize; 2] = [64, 192];
/// Channels that a local response normalisation looks at, its weight and its power (Krizhevsky et al. 2012).
pub(crate) const NEIGHBOURS: usize = 5;
pub(crate) const NEIGHBOUR_WEIGHT: f64 = 1e-4;
pub(crate) const NEIGHBOUR_POWER: f32 = 0.75;
/// Added to a mean square: its root has no slope at zero, where all nine values are zero.
pub(crate) const SMALLEST_SQUARE: f64 = 1e-12;

/// Which of FaceNet's nets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InceptionLayout {
    /// Without the modules 4b, 4c and 4d: in the spirit of the paper's small NNS1, whose layers are not published.
    #[default]
    Small,
    /// All eleven modules of the paper's table 2.
    Nn2,
}

/// What a recipe says of an [`Inception`] net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct InceptionConfig {
    /// Which modules it has (default small).
    pub layout: InceptionLayout,
    /// Channels of the first convolution, beside which all others scale (default 16; 64 in the paper).
    pub width: usize,
    /// How it begins (default small: 3 × 3 with stride 1, and one pooling less; large: the paper's 7 × 7 with stride 2).
    pub stem: Stem,
    /// Batch normalisation after every convolution (default true). Without, as published: biases, and local response
    /// normalisation around the second convolutions.
    pub batch_norm: bool,
}

impl Default for InceptionConfig {
    fn default() -> Self {
        Self { layout: InceptionLayout::Small, width: 16, stem: Stem::Small, batch_norm: true }
    }
}

/// A module as a row of table 2: channels, and what its pooling does.
#[derive(Clone, Copy)]
struct Row {
    one: usize,
    three: [usize; 2],
    five: [usize; 2],
    pool: usize,
    root_mean_square: bool,
    stride: usize,
}

const fn row(
    one: usize,
    three: [usize; 2],
    five: [usize; 2],
    pool: usize,
    root_mean_square: bool,
    stride: usize,
) -> Row {
    Row { one, three, five, pool, root_mean_square, stride }
}

const ROWS: [Row; 10] = [
    row(64, [96, 128], [16, 32], 32, false, 1),     // 3a
    row(64, [96, 128], [32, 64], 64, true, 1),      // 3b
    row(0, [128, 256], [32, 64], 0, false, 2),      // 3c
    row(256, [96, 192], [32, 64], 128, true, 1),    // 4a
    row(224, [112, 224], [32, 64], 128, true, 1),   // 4b
    row(192, [128, 256], [32, 64], 128, true, 1),   // 4c
    row(160, [144, 288], [32, 64], 128, true, 1),   // 4d
    row(0, [160, 256], [64, 128], 0, false, 2),     // 4e
    row(384, [192, 384], [48, 128], 128, true, 1),  // 5a
    row(384, [192, 384], [48, 128], 128, false, 1), // 5b
];

impl Row {
    fn scaled(self, width: usize) -> Self {
        let scale = |channels| scaled(channels, width);
        Self {
            one: scale(self.one),
            three: self.three.map(scale),
            five: self.five.map(scale),
            pool: scale(self.pool),
            ..self
        }
    }

    fn outputs(self, inputs: usize) -> usize {
        let pool = if self.pool > 0 { self.pool } else { inputs };
        self.one + self.three[1] + self.five[1] + pool
    }
}

fn scaled(channels: usize, width: usize) -> usize {
    (channels * width).div_ceil(PUBLISHED_WIDTH)
}

impl InceptionConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_size("encoder.width", self.width, MAX_WIDTH)
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        let left_out = if self.layout == InceptionLayout::Small { 4..7 } else { 0..0 };
        let rows = ROWS.into_iter().enumerate().filter(move |(index, _)| !left_out.contains(index));
        rows.map(|(_, row)| row.scaled(self.width))
    }

    pub(super) fn feature_dim(&self) -> usize {
        let inputs = scaled(SECOND[1], self.width);
        self.rows().fold(inputs, |inputs, row| row.outputs(inputs))
    }

    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        let (kernel, mut side) = match self.stem {
            Stem::Small => (3, size),
            Stem::Large => (7, size.div_ceil(2)),
        };
        let mut sum = kernel * kernel * channels * self.width * side * side;
        if self.stem == Stem::Large {
            side = side.div_ceil(2);
        }
        let [reduced, mut inputs] = SECOND.map(|channels| scaled(channels, self.width));
        sum += (self.width * reduced + 9 * reduced * inputs) * side * side;
        side = side.div_ceil(2);
        for row in self.rows() {
            let before = side * side;
            side = side.div_ceil(row.stride);
            let after = side * side;
            sum += inputs * (row.three[0] + row.five[0] + row.one + row.pool) * before;
            sum += (9 * row.three[0] * row.three[1] + 25 * row.five[0] * row.five[1]) * after;
            inputs = row.outputs(inputs);
        }
        sum
    }
}

/// FaceNet's network of inception modules, up to its global average pooling.
///
/// Schroff, Kalenichenko and Philbin, "FaceNet", 2015, table 2; Szegedy et al., "Going deeper with convolutions", 2015. The
/// paper's last linear layer, of 128 values, is the network's embedding layer. `L2` poolings are the root of the mean square of
/// 3 × 3 values.
///
/// 22.7 million multiply-adds for a colour image of 32 pixels at the default width of 16, 1.6 billion for one of 224 as
/// published.
#[derive(Module, Debug)]
pub struct Inception {
    /// First convolution.
    pub conv1: Unit,
    /// 1 × 1, before the second convolution.
    pub conv2_reduce: Unit,
    /// Second convolution.
    pub conv2: Unit,
    /// The modules 3a to 5b.
    pub blocks: Vec<InceptionModule>,
    /// Whether the first pooling is there: that of the large stem.
    pub pools_first: bool,
    /// Whether responses are normalised among neighbouring channels: where no batch normalisation is.
    pub responses: bool,
}

/// Convolution, perhaps batch normalisation, ReLU.
#[derive(Module, Debug)]
pub struct Unit {
    /// The convolution; it has a bias if there is no normalisation.
    pub conv: Conv2d,
    /// Its normalisation.
    pub bn: Option<BatchNorm>,
}

/// Convolutions of 1 × 1, 3 × 3 and 5 × 5 and a pooling side by side, their channels one after the other.
#[derive(Module, Debug)]
pub struct InceptionModule {
    /// 1 × 1; not where the module has a stride.
    pub one: Option<Unit>,
    /// 1 × 1 before the 3 × 3.
    pub three_reduce: Unit,
    /// 3 × 3.
    pub three: Unit,
    /// 1 × 1 before the 5 × 5.
    pub five_reduce: Unit,
    /// 5 × 5.
    pub five: Unit,
    /// 1 × 1 after the pooling; not where the module has a stride.
    pub pool_proj: Option<Unit>,
    /// Whether the pooling is the root of the mean square rather than the maximum.
    pub root_mean_square: bool,
    /// Stride of the module.
    pub stride: usize,
}

impl Inception {
    pub(super) fn new(config: &InceptionConfig, channels: usize, init: &mut Init) -> Self {
        let norm = config.batch_norm;
        let (kernel, stride) = match config.stem {
            Stem::Small => (3, 1),
            Stem::Large => (7, 2),
        };
        let [reduced, mut inputs] = SECOND.map(|channels| scaled(channels, config.width));
        let conv1 = Unit::new(channels, config.width, kernel, stride, norm, init);
        let conv2_reduce = Unit::new(config.width, reduced, 1, 1, norm, init);
        let conv2 = Unit::new(reduced, inputs, 3, 1, norm, init);
        let blocks = config.rows().map(|row| {
            let module = InceptionModule::new(inputs, row, norm, init);
            inputs = row.outputs(inputs);
            module
        });
        let blocks = blocks.collect();
        let pools_first = config.stem == Stem::Large;
        Self { conv1, conv2_reduce, conv2, blocks, pools_first, responses: !norm }
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, 16 · width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let normal = |x| if self.responses { local_response_norm(x) } else { x };
        let mut x = self.conv1.forward(input);
        if self.pools_first {
            x = max_pooled(x, 2);
        }
        x = self.conv2.forward(self.conv2_reduce.forward(normal(x)));
        x = max_pooled(normal(x), 2);
        pooled(self.blocks.iter().fold(x, |x, module| module.forward(x)))
    }

    /// Features per image: channels of the last module.
    pub(super) fn feature_dim(&self) -> usize {
        self.blocks.last().map_or(0, InceptionModule::outputs)
    }
}

impl Unit {
    fn new(inputs: usize, outputs: usize, kernel: usize, stride: usize, norm: bool, init: &mut Init) -> Self {
        if norm {
            let conv = Conv2d::new(inputs, outputs, kernel, stride, init);
            return Self { conv, bn: Some(BatchNorm::new(outputs, init)) };
        }
        Self { conv: Conv2d::biased(inputs, outputs, kernel, stride, init), bn: None }
    }

    /// # Shapes
    ///
    /// - input: `[n, c, h, w]`
    /// - output: `[n, c', h', w']`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward(input);
        match &self.bn {
            Some(bn) => bn.forward_relu(x),
            None => relu(x),
        }
    }

    fn outputs(&self) -> usize {
        self.conv.weight.dims()[0]
    }
}

impl InceptionModule {
    fn new(inputs: usize, row: Row, norm: bool, init: &mut Init) -> Self {
        let Row { one, three, five, pool, root_mean_square, stride } = row;
        Self {
            one: (one > 0).then(|| Unit::new(inputs, one, 1, 1, norm, init)),
            three_reduce: Unit::new(inputs, three[0], 1, 1, norm, init),
            three: Unit::new(three[0], three[1], 3, stride, norm, init),
            five_reduce: Unit::new(inputs, five[0], 1, 1, norm, init),
            five: Unit::new(five[0], five[1], 5, stride, norm, init),
            pool_proj: (pool > 0).then(|| Unit::new(inputs, pool, 1, 1, norm, init)),
            root_mean_square,
            stride,
        }
    }

    fn outputs(&self) -> usize {
        let pooled = match &self.pool_proj {
            Some(unit) => unit.outputs(),
            None => self.three_reduce.conv.weight.dims()[1],
        };
        self.one.as_ref().map_or(0, Unit::outputs) + self.three.outputs() + self.five.outputs() + pooled
    }

    /// # Shapes
    ///
    /// - input: `[n, c, h, w]`
    /// - output: `[n, c', h / stride, w / stride]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut parts = vec![];
        if let Some(one) = &self.one {
            parts.push(one.forward(input.clone()));
        }
        parts.push(self.three.forward(self.three_reduce.forward(input.clone())));
        parts.push(self.five.forward(self.five_reduce.forward(input.clone())));
        let pooled =
            if self.root_mean_square { root_mean_square(input) } else { max_pooled(input, self.stride) };
        parts.push(match &self.pool_proj {
            Some(unit) => unit.forward(pooled),
            None => pooled,
        });
        Tensor::cat(parts, 1)
    }
}

/// The root of the mean square of 3 × 3 values, zeros around the image among them.
fn root_mean_square(x: Tensor<4>) -> Tensor<4> {
    let pool = AvgPool2dConfig::new([3, 3])
        .with_strides([1, 1])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init();
    (pool.forward(x.square()) + SMALLEST_SQUARE).sqrt()
}

/// `x / (1 + α · mean of x² over five channels)^β`: Krizhevsky et al., "ImageNet classification with deep convolutional neural
/// networks", 2012, as in PyTorch.
fn local_response_norm(x: Tensor<4>) -> Tensor<4> {
    let [n, channels, h, w] = x.dims();
    let around = Tensor::zeros([n, NEIGHBOURS / 2, h, w], (&x.device(), x.dtype()));
    let squares = Tensor::cat(vec![around.clone(), x.clone().square(), around], 1);
    let shifted = (0..NEIGHBOURS).map(|shift| squares.clone().narrow(1, shift, channels));
    let sum = shifted.reduce(|sum, squares| sum + squares).unwrap_or_else(|| squares.clone());
    x * (sum.mul_scalar(NEIGHBOUR_WEIGHT / NEIGHBOURS as f64) + 1.0).powf_scalar(-NEIGHBOUR_POWER)
}
