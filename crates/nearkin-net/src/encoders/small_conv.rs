use burn::prelude::*;

use crate::init::Init;
use crate::layers::{BatchNorm, Conv2d, FeatureMap};

/// Stages of the encoder; each doubles the channels.
pub(super) const STAGES: usize = 4;
/// Images below this side keep their resolution in the first stage.
const FULL_RESOLUTION: usize = 56;

/// Four stages of 3 × 3 convolution, batch normalisation and ReLU, then global average pooling.
///
/// Channels `width · 1, 2, 4, 8`. The first stage has stride 1 for images below 56 pixels and 2 from there,
/// every later one stride 2: about 15 million multiply-adds for 32 × 32 colour images at width 32.
#[derive(Module, Debug)]
pub struct SmallConv {
    /// The stages in order.
    pub stages: Vec<Stage>,
}

/// Convolution, batch normalisation, ReLU.
#[derive(Module, Debug)]
pub struct Stage {
    /// 3 × 3 convolution.
    pub conv: Conv2d,
    /// Its normalisation.
    pub bn: BatchNorm,
}

impl SmallConv {
    pub(super) fn new(width: usize, channels: usize, size: usize, init: &mut Init) -> Self {
        let stages = (0..STAGES)
            .map(|stage| {
                let outputs = width << stage;
                let inputs = if stage == 0 { channels } else { outputs / 2 };
                let stride = if stage == 0 && size < FULL_RESOLUTION { 1 } else { 2 };
                Stage {
                    conv: Conv2d::new(inputs, outputs, 3, stride, init),
                    bn: BatchNorm::new(outputs, init),
                }
            })
            .collect();
        Self { stages }
    }

    /// See [`EncoderConfig::multiply_adds`](super::EncoderConfig::multiply_adds).
    pub(super) fn multiply_adds(width: usize, channels: usize, size: usize) -> usize {
        let mut side = if size < FULL_RESOLUTION { size } else { size.div_ceil(2) };
        let mut sum = 0;
        for stage in 0..STAGES {
            let outputs = width << stage;
            let inputs = if stage == 0 { channels } else { outputs / 2 };
            side = if stage == 0 { side } else { side.div_ceil(2) };
            sum += 9 * inputs * outputs * side * side;
        }
        sum
    }

    /// Features per image: channels of the last stage.
    pub(crate) fn feature_dim(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.bn.gamma.dims()[0])
    }

    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, 8 · width]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        self.maps(input).pooled()
    }

    /// What is pooled.
    pub(super) fn feature_map(&self, input: Tensor<4>) -> Tensor<4> {
        self.maps(input).into_planes()
    }

    fn maps(&self, input: Tensor<4>) -> FeatureMap {
        self.stages
            .iter()
            .fold(input.into(), |x: FeatureMap, stage| x.convolve(&stage.conv).normalise_relu(&stage.bn))
    }
}
