use burn::nn::Linear;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::Init;
use crate::kernels::activate;
use crate::kernels::activation::Activation;

/// Most layers: without shortcuts, a deeper net does not train.
const MAX_LAYERS: usize = 64;
/// Most values of an image, as a grey one of 2048 × 2048.
const MAX_INPUTS: usize = 1 << 22;

/// What a recipe says of a [`FullyConnected`] net.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct MlpEncoderConfig {
    /// Widths of the hidden layers in order (default `[20]`, DrLIM's).
    pub hidden: Vec<usize>,
}

impl Default for MlpEncoderConfig {
    fn default() -> Self {
        Self { hidden: vec![20] }
    }
}

impl MlpEncoderConfig {
    pub(super) fn check(&self, channels: usize, size: usize) -> Result<(), ConfigError> {
        if !(1..=MAX_LAYERS).contains(&self.hidden.len()) {
            return Err(ConfigError {
                field: "encoder.hidden".to_owned(),
                found: format!("{:?}", self.hidden),
                wanted: format!("give the widths of 1 to {MAX_LAYERS} layers"),
            });
        }
        for width in &self.hidden {
            check_size("encoder.hidden", *width, MAX_SIZE)?;
        }
        let inputs = size.saturating_mul(size).saturating_mul(channels);
        if inputs > MAX_INPUTS {
            return Err(ConfigError {
                field: "size".to_owned(),
                found: size.to_string(),
                wanted: format!("give a size of at most {MAX_INPUTS} values with all channels"),
            });
        }
        Ok(())
    }

    pub(super) fn feature_dim(&self) -> usize {
        self.hidden.last().copied().unwrap_or(0)
    }

    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        self.widths(channels, size).map(|(inputs, outputs)| inputs * outputs).sum()
    }

    /// Inputs and outputs of each layer.
    fn widths(&self, channels: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
        let inputs = std::iter::once(channels * size * size).chain(self.hidden.iter().copied());
        inputs.zip(self.hidden.iter().copied())
    }
}

/// Fully connected layers on an image's pixels, each followed by a tanh.
///
/// With one layer of 20 units and an embedding of 3, the net with which DrLIM maps NORB's airplanes (Hadsell, Chopra and LeCun,
/// "Dimensionality reduction by learning an invariant mapping", 2006). 0.02 million multiply-adds for a grey image of 32 pixels.
#[derive(Module, Debug)]
pub struct FullyConnected {
    /// The layers in order.
    pub layers: Vec<Linear>,
}

impl FullyConnected {
    pub(super) fn new(config: &MlpEncoderConfig, channels: usize, size: usize, init: &mut Init) -> Self {
        let layers = config.widths(channels, size);
        Self { layers: layers.map(|(inputs, outputs)| init.linear(inputs, outputs, true)).collect() }
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, size, size]`
    /// - output: `[n, last hidden width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        let pixels = input.flatten(1, 3);
        self.layers.iter().fold(pixels, |x, layer| activate(layer.forward(x), Activation::Tanh))
    }

    /// Features per image: width of the last layer.
    pub(super) fn feature_dim(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.weight.dims()[1])
    }
}
