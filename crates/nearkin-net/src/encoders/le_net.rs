use burn::module::Param;
use burn::nn::pool::AvgPool2dConfig;
use burn::prelude::*;

use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::kernels::activate;
use crate::kernels::activation::Activation;
use crate::layers::Conv2d;

/// Maps and kernel of the first convolution.
const FIRST: (usize, usize) = (15, 6);
/// Side of the squares that are averaged.
pub(crate) const SUBSAMPLING: usize = 3;
/// Maps and kernel of the second convolution.
const SECOND: (usize, usize) = (30, 9);
/// Smaller images are framed with zeros to this side, at which the last maps are single values.
const SMALLEST: usize = 32;

/// Largest side of an image: its features are four million.
const LARGEST: usize = 1150;

/// The convolutional net of DrLIM up to its last maps, for images of any one size.
///
/// Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", 2006: 15 maps of 6 × 6, subsampling
/// by 3, 30 maps of 9 × 9, each followed by a tanh. The paper's last layer, fully connected to 2 or 3 outputs, is the network's
/// embedding layer. Digits of 28 pixels are framed to the 32 that make its last maps 1 × 1; on larger images they are larger,
/// and all their values are features: 30 at 32 pixels, 3630 at 64.
///
/// 0.43 million multiply-adds for a grey image of 32 pixels, 6.3 million for one of 64.
#[derive(Module, Debug)]
pub struct LeNet {
    /// First convolution.
    pub c1: Conv2d,
    /// Subsampling.
    pub s2: Subsampling,
    /// Second convolution.
    pub c3: Conv2d,
    /// Side of the images in pixels.
    pub size: usize,
}

/// Means of 3 × 3 squares, times a learned factor plus a learned offset for each map.
///
/// LeCun et al., "Gradient-based learning applied to document recognition", 1998.
#[derive(Module, Debug)]
pub struct Subsampling {
    /// The factors, `[maps]`.
    pub weight: Param<Tensor<1>>,
    /// The offsets, `[maps]`.
    pub bias: Param<Tensor<1>>,
}

impl LeNet {
    pub(super) fn new(channels: usize, size: usize, init: &mut Init) -> Self {
        let c1 = convolution(channels, FIRST, frame(size), init);
        let s2 = Subsampling { weight: init.constant([FIRST.0], 1.0), bias: init.constant([FIRST.0], 0.0) };
        Self { c1, s2, c3: convolution(FIRST.0, SECOND, 0, init), size }
    }

    pub(super) fn check(size: usize) -> Result<(), ConfigError> {
        check_size("size", size, LARGEST)
    }

    /// Features of an image: values of the last maps.
    pub(super) fn features_of(size: usize) -> usize {
        let [_, last] = sides(size);
        SECOND.0 * last * last
    }

    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(channels: usize, size: usize) -> usize {
        let [first, last] = sides(size);
        let (kernel, next) = (FIRST.1 * FIRST.1, SECOND.1 * SECOND.1);
        kernel * channels * FIRST.0 * first * first + next * FIRST.0 * SECOND.0 * last * last
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, size, size]`
    /// - output: `[n, features]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let x = activate(self.c1.forward(input), Activation::Tanh);
        let x = activate(self.s2.forward(x), Activation::Tanh);
        activate(self.c3.forward(x), Activation::Tanh).flatten(1, 3)
    }
}

impl Subsampling {
    /// # Shapes
    ///
    /// - input: `[n, maps, h, w]`
    /// - output: `[n, maps, h / 3, w / 3]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let side = [SUBSAMPLING; 2];
        let means = AvgPool2dConfig::new(side).with_strides(side).init().forward(input);
        let each = |values: &Param<Tensor<1>>| values.val().reshape([1, -1, 1, 1]);
        means * each(&self.weight) + each(&self.bias)
    }
}

/// Weights and biases uniform in ±1/√inputs, for a tanh.
fn convolution(inputs: usize, (maps, kernel): (usize, usize), padding: usize, init: &mut Init) -> Conv2d {
    let bound = 1.0 / ((inputs * kernel * kernel) as f32).sqrt();
    Conv2d {
        weight: init.uniform([maps, inputs, kernel, kernel], bound),
        bias: Some(init.uniform([maps], bound)),
        stride: 1,
        padding,
    }
}

/// Zeros on each side of an image.
fn frame(size: usize) -> usize {
    SMALLEST.saturating_sub(size).div_ceil(2)
}

/// Sides of the first and of the last maps.
fn sides(size: usize) -> [usize; 2] {
    let first = size + 2 * frame(size) + 1 - FIRST.1;
    [first, first / SUBSAMPLING + 1 - SECOND.1]
}
