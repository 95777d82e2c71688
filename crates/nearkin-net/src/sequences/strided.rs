use burn::prelude::*;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::init::Init;
use crate::layers::{BatchNorm, Conv1d};

/// Kernel and stride of each convolution.
pub(super) type Layout = &'static [(usize, usize)];

/// The paper's for raw sound.
pub(super) const AUDIO: Layout = &[(10, 5), (8, 4), (4, 2), (4, 2), (4, 2)];
/// For series, which have fewer steps and more in each.
pub(super) const SERIES: Layout = &[(8, 2), (4, 2), (4, 2)];

/// What a recipe says of a [`StridedConv`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct StridedConvConfig {
    /// Channels of every convolution, and values of a frame (default 128; 512 in the paper).
    pub width: usize,
    /// Batch normalisation after every convolution (default false, as published).
    pub batch_norm: bool,
}

impl Default for StridedConvConfig {
    fn default() -> Self {
        Self { width: 128, batch_norm: false }
    }
}

pub(super) fn stride(layout: Layout) -> usize {
    layout.iter().map(|(_, stride)| stride).product()
}

pub(super) fn frames(layout: Layout, steps: usize) -> usize {
    layout.iter().fold(steps, |steps, &(kernel, stride)| {
        let padded = steps + 2 * kernel.saturating_sub(stride).div_ceil(2);
        padded.checked_sub(kernel).filter(|_| steps > 0).map_or(0, |room| room / stride + 1)
    })
}

pub(super) fn multiply_adds(
    layout: Layout,
    config: &StridedConvConfig,
    channels: usize,
    steps: usize,
) -> usize {
    let mut inputs = channels;
    let through = |(index, (kernel, _)): (usize, &(usize, usize))| {
        let products = kernel * inputs * config.width * frames(&layout[..=index], steps);
        inputs = config.width;
        products
    };
    layout.iter().enumerate().map(through).sum()
}

/// Strided convolutions along time, each followed by a ReLU.
///
/// Van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018. Zeros at both ends make
/// `m · stride` steps `m` frames.
///
/// At the default width of 128, 77 million multiply-adds for a second of sound at 8 kHz, and 3.2 million for a series of one
/// channel and 128 steps.
#[derive(Module, Debug)]
pub struct StridedConv {
    /// The convolutions in order.
    pub layers: Vec<StridedStage>,
}

/// Convolution, perhaps batch normalisation, ReLU.
#[derive(Module, Debug)]
pub struct StridedStage {
    /// The convolution; it has a bias if there is no normalisation.
    pub conv: Conv1d,
    /// Its normalisation.
    pub bn: Option<BatchNorm>,
}

impl StridedConv {
    pub(super) fn new(layout: Layout, config: &StridedConvConfig, channels: usize, init: &mut Init) -> Self {
        let mut inputs = channels;
        let layers = layout.iter().map(|&(kernel, stride)| {
            let conv = Conv1d::new(inputs, config.width, kernel, stride, !config.batch_norm, init);
            inputs = config.width;
            StridedStage { conv, bn: config.batch_norm.then(|| BatchNorm::new(config.width, init)) }
        });
        Self { layers: layers.collect() }
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, time]`
    /// - output: `[n, frames, width]`
    ///
    /// # Panics
    ///
    /// If the series do not have the channels the encoder was made for, or are too short for one frame.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let frames = self.layers.iter().fold(input, |x, stage| {
            let x = stage.conv.forward(x);
            match &stage.bn {
                Some(bn) => bn.forward_relu(x),
                None => relu(x),
            }
        });
        frames.swap_dims(1, 2)
    }
}
