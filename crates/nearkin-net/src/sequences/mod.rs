//! Networks for series and sound: encoders `[n, channels, time]` to frames `[n, frames, f]`, contexts over frames, and the linear
//! predictors of contrastive predictive coding.
//!
//! Van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018:
//!
//! ```text
//! zₜ = encoder(x)ₜ      cₜ = context(z₁ … zₜ)      ẑₜ₊ₖ = Wₖ cₜ
//! ```
//!
//! As an encoder among those of images, in [`encoders`](crate::encoders), such a network makes of a sound or a series the mean of its
//! contexts.

mod context;
mod strided;

use burn::nn::Linear;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

pub use context::{CausalTransformer, CausalTransformerConfig, Context, ContextConfig};
pub use strided::{StridedConv, StridedConvConfig, StridedStage};

use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::Init;
use crate::parameters::param_count;

/// Most steps ahead that are predicted.
const MAX_AHEAD: usize = 1 << 10;

/// Which encoder of series, as a recipe says it: `kind = "cpc-audio"`, `width = 128`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SequenceEncoderConfig {
    /// For raw sound: five strided convolutions, a frame for 160 samples (10 ms at 16 kHz, 20 ms at 8 kHz). The paper's, at a
    /// `width` of 512.
    CpcAudio(StridedConvConfig),
    /// For series of any channels: three strided convolutions, a frame for 8 steps.
    Series(StridedConvConfig),
}

impl Default for SequenceEncoderConfig {
    /// For raw sound, 128 wide.
    fn default() -> Self {
        Self::CpcAudio(StridedConvConfig::default())
    }
}

impl std::fmt::Display for SequenceEncoderConfig {
    /// As a plan or a report names it: `cpc-audio (width 128)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, config) = match self {
            Self::CpcAudio(config) => ("cpc-audio", config),
            Self::Series(config) => ("series", config),
        };
        let norm = if config.batch_norm { ", batch norm" } else { "" };
        write!(f, "{name} (width {}{norm})", config.width)
    }
}

impl SequenceEncoderConfig {
    fn parts(&self) -> (strided::Layout, &StridedConvConfig) {
        match self {
            Self::CpcAudio(config) => (strided::AUDIO, config),
            Self::Series(config) => (strided::SERIES, config),
        }
    }

    /// Values of a frame.
    pub fn feature_dim(&self) -> usize {
        self.parts().1.width
    }

    /// Steps of the input that a frame stands for.
    pub fn stride(&self) -> usize {
        strided::stride(self.parts().0)
    }

    /// Frames of a series of so many steps; zero if it is too short for one.
    pub fn frames(&self, steps: usize) -> usize {
        strided::frames(self.parts().0, steps)
    }

    /// Multiplications and additions of its convolutions for one series, by their definition.
    pub fn multiply_adds(&self, channels: usize, steps: usize) -> usize {
        let (layout, config) = self.parts();
        strided::multiply_adds(layout, config, channels, steps)
    }

    fn check(&self) -> Result<(), ConfigError> {
        check_size("encoder.width", self.parts().1.width, MAX_SIZE)
    }
}

/// What a recipe says of an encoder of sounds or series: `kind = "cpc-audio"`, `width = 128`,
/// `context = { kind = "gru", width = 128 }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SequenceConfig {
    /// Channels of every convolution, and values of a frame (default 128; 512 in the paper).
    pub width: usize,
    /// Batch normalisation after every convolution (default false, as published).
    pub batch_norm: bool,
    /// What turns frames into contexts (default none: frames are contexts).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextConfig>,
    /// Steps ahead with a predictor each (default 0). The method says it, where it predicts.
    #[serde(skip_serializing_if = "is_zero")]
    pub ahead: usize,
}

pub(crate) fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Default for SequenceConfig {
    fn default() -> Self {
        let StridedConvConfig { width, batch_norm } = StridedConvConfig::default();
        Self { width, batch_norm, context: None, ahead: 0 }
    }
}

impl SequenceConfig {
    /// The convolutions alone.
    pub(crate) fn strided(&self) -> StridedConvConfig {
        StridedConvConfig { width: self.width, batch_norm: self.batch_norm }
    }

    /// Values of a context vector.
    pub fn context_dim(&self) -> usize {
        self.context.as_ref().map_or(self.width, |context| context.dim(self.width))
    }
}

/// Settings of a [`SequenceNetwork`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SequenceNetworkConfig {
    /// What turns a series into frames.
    pub encoder: SequenceEncoderConfig,
    /// Channels of the series: 1 for sound.
    pub channels: usize,
    /// What turns frames into contexts; without it frames are contexts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<ContextConfig>,
    /// Steps ahead with a predictor each: 1 to `ahead` (12 in the paper; 0: none).
    #[serde(default)]
    pub ahead: usize,
}

impl SequenceNetworkConfig {
    /// Checks the settings and draws the initial weights, a function of these settings and `seed` alone.
    ///
    /// # Errors
    ///
    /// If a size is zero or larger than any machine holds, or a width does not divide.
    pub fn init(&self, device: &Device, seed: u64) -> Result<SequenceNetwork, ConfigError> {
        self.check()?;
        Ok(self.build(&mut Init::new(device, seed)))
    }

    /// The network, of settings that are checked.
    pub(crate) fn build(&self, init: &mut Init) -> SequenceNetwork {
        let (layout, config) = self.encoder.parts();
        let encoder = StridedConv::new(layout, config, self.channels, init);
        let width = self.encoder.feature_dim();
        let context = self.context.as_ref().map(|context| context.build(width, init));
        let of_context = self.context_dim();
        let predictors = (0..self.ahead).map(|_| init.linear(of_context, width, false)).collect();
        SequenceNetwork { encoder, context, predictors }
    }

    /// Checks the settings alone, as [`init`](Self::init) does.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    pub fn check(&self) -> Result<(), ConfigError> {
        self.encoder.check()?;
        check_size("channels", self.channels, MAX_SIZE)?;
        if let Some(context) = &self.context {
            context.check(self.encoder.feature_dim())?;
        }
        check_ahead(self.ahead)
    }

    /// Values of a context vector.
    pub fn context_dim(&self) -> usize {
        let frame = self.encoder.feature_dim();
        self.context.as_ref().map_or(frame, |context| context.dim(frame))
    }
}

/// An encoder of series, perhaps with a context over its frames, perhaps with predictors of later frames.
#[derive(Module, Debug)]
pub struct SequenceNetwork {
    /// Series to frames.
    pub encoder: StridedConv,
    /// Frames to contexts.
    pub context: Option<Context>,
    /// Contexts to frames one step ahead, two steps ahead, and so on.
    pub predictors: Vec<Linear>,
}

impl SequenceNetwork {
    /// Frames of series.
    ///
    /// # Shapes
    ///
    /// - `series`: `[n, channels, time]`
    /// - output: `[n, frames, feature_dim]`
    ///
    /// # Panics
    ///
    /// If the series do not have the channels the network was made for, or are too short for one frame.
    pub fn frames(&self, series: Tensor<3>) -> Tensor<3> {
        self.encoder.forward(series)
    }

    /// Contexts: each knows its frame and those before.
    ///
    /// # Shapes
    ///
    /// - `frames`: `[n, frames, feature_dim]`
    /// - output: `[n, frames, context_dim]`
    pub fn contexts(&self, frames: Tensor<3>) -> Tensor<3> {
        contexts(self.context.as_ref(), frames)
    }

    /// What each predictor makes of each context: entry `k − 1` is for frames `k` steps ahead, so that its row `t` is to be
    /// compared with frame `t + k`.
    ///
    /// # Shapes
    ///
    /// - `contexts`: `[n, frames, context_dim]`
    /// - each output: `[n, frames, feature_dim]`
    pub fn predictions(&self, contexts: Tensor<3>) -> Vec<Tensor<3>> {
        predictions(&self.predictors, contexts)
    }

    /// Values of a context vector.
    pub fn context_dim(&self) -> usize {
        let frame = self.encoder.layers.last().map_or(0, |stage| stage.conv.weight.dims()[0]);
        match &self.context {
            Some(Context::Gru(gru)) => gru.weight_hh_l0.dims()[1],
            Some(Context::CausalTransformer(_)) | None => frame,
        }
    }

    /// One vector a series: the mean of its contexts.
    ///
    /// # Shapes
    ///
    /// - `series`: `[n, channels, time]`
    /// - output: `[n, context_dim]`
    ///
    /// # Panics
    ///
    /// As [`frames`](Self::frames).
    pub fn embed(&self, series: Tensor<3>) -> Tensor<2> {
        let contexts = self.contexts(self.frames(series));
        let [n, _, width] = contexts.dims();
        contexts.mean_dim(1).reshape([n, width])
    }

    /// Learned values; running statistics do not count.
    pub fn param_count(&self) -> usize {
        param_count(self)
    }
}

/// Whether so many steps ahead can be predicted; none, too.
pub(crate) fn check_ahead(ahead: usize) -> Result<(), ConfigError> {
    if ahead > 0 { check_size("ahead", ahead, MAX_AHEAD) } else { Ok(()) }
}

/// Contexts of frames, which without a network for them are the frames.
pub(crate) fn contexts(context: Option<&Context>, frames: Tensor<3>) -> Tensor<3> {
    match context {
        Some(context) => context.forward(frames),
        None => frames,
    }
}

/// What each predictor makes of each context.
pub(crate) fn predictions(predictors: &[Linear], contexts: Tensor<3>) -> Vec<Tensor<3>> {
    let [n, frames, width] = contexts.dims();
    let rows = contexts.reshape([n * frames, width]);
    let of_each = |predictor: &Linear| predictor.forward(rows.clone()).reshape([n as i64, frames as i64, -1]);
    predictors.iter().map(of_each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_halved_is_near, noise, values};
    use crate::parameters::fingerprint;
    use burn::optim::GradientsParams;
    use burn::tensor::TensorData;

    fn small() -> StridedConvConfig {
        StridedConvConfig { width: 8, batch_norm: false }
    }

    fn transformer() -> CausalTransformerConfig {
        CausalTransformerConfig { depth: 1, heads: 2 }
    }

    fn config(
        encoder: SequenceEncoderConfig,
        channels: usize,
        context: Option<ContextConfig>,
    ) -> SequenceNetworkConfig {
        SequenceNetworkConfig { encoder, channels, context, ahead: 3 }
    }

    fn series(shape: [usize; 3], device: &Device) -> Tensor<3> {
        Tensor::from_data(TensorData::new(noise(shape.iter().product(), 1), shape), device)
    }

    fn all() -> Vec<(SequenceNetworkConfig, usize)> {
        let normalised = StridedConvConfig { batch_norm: true, ..small() };
        vec![
            (config(SequenceEncoderConfig::CpcAudio(small()), 1, Some(ContextConfig::Gru { width: 6 })), 6),
            (config(SequenceEncoderConfig::CpcAudio(normalised), 1, None), 8),
            (
                config(
                    SequenceEncoderConfig::Series(small()),
                    3,
                    Some(ContextConfig::CausalTransformer(transformer())),
                ),
                8,
            ),
        ]
    }

    #[test]
    fn frames_contexts_and_predictions_have_the_promised_shapes_and_are_finite() {
        for (config, width) in all() {
            let network = config.init(&Device::flex(), 1).unwrap();
            for steps in [640, 643] {
                let frames = network.frames(series([2, config.channels, steps], &Device::flex()));
                let count = config.encoder.frames(steps);
                assert_eq!(frames.dims(), [2, count, 8], "{config:?}");
                let contexts = network.contexts(frames);
                assert_eq!(contexts.dims(), [2, count, width], "{config:?}");
                assert_eq!(config.context_dim(), width);
                let predictions = network.predictions(contexts);
                assert_eq!(predictions.len(), 3);
                for prediction in predictions {
                    assert_eq!(prediction.dims(), [2, count, 8]);
                    assert!(values(prediction).iter().all(|v| v.is_finite()), "{config:?}");
                }
                let one = network.embed(series([2, config.channels, steps], &Device::flex()));
                assert_eq!(one.dims(), [2, width]);
            }
        }
    }

    #[test]
    fn a_frame_of_sound_stands_for_160_samples_as_published() {
        let audio = SequenceEncoderConfig::default();
        assert_eq!((audio.stride(), audio.frames(20_480), audio.frames(0)), (160, 128, 0));
        let series = SequenceEncoderConfig::Series(small());
        assert_eq!((series.stride(), series.frames(96)), (8, 12));
    }

    #[test]
    fn parameters_and_costs_are_those_of_the_layers() {
        let paper = SequenceEncoderConfig::CpcAudio(StridedConvConfig { width: 512, batch_norm: false });
        let context = Some(ContextConfig::Gru { width: 256 });
        let config = SequenceNetworkConfig { encoder: paper.clone(), channels: 1, context, ahead: 12 };
        let network = config.init(&Device::flex(), 1).unwrap();
        let encoder = 512 * 10 + 512 * 512 * (8 + 4 + 4 + 4) + 5 * 512;
        let gru = 3 * 256 * (512 + 256 + 2);
        assert_eq!(network.param_count(), encoder + gru + 12 * 256 * 512);
        let steps = [4096, 1024, 512, 256, 128];
        let wanted = 512 * 10 * steps[0] + 512 * 512 * (8 * steps[1] + 4 * (steps[2] + steps[3] + steps[4]));
        assert_eq!(paper.multiply_adds(1, 20_480), wanted);
        // As the documentation of the defaults says, for a second of 8 kHz and for 128 steps.
        let million = |config: SequenceEncoderConfig, steps| config.multiply_adds(1, steps) as f64 / 1e6;
        let sound = million(SequenceEncoderConfig::default(), 8000);
        assert!((sound / 77.0 - 1.0).abs() < 0.02, "{sound}");
        let series = million(SequenceEncoderConfig::Series(StridedConvConfig::default()), 128);
        assert!((series / 3.2 - 1.0).abs() < 0.02, "{series}");
    }

    #[test]
    fn in_16_bits_contexts_stay_in_16_bits() {
        let device = Device::flex();
        for (config, _) in all() {
            let Some(context) = config.init(&device, 1).unwrap().context else { continue };
            assert_halved_is_near(&context, series([2, 6, 8], &device), Context::forward);
        }
    }

    #[test]
    fn contexts_do_not_see_what_follows() {
        let device = Device::flex();
        for (config, _) in all().into_iter().filter(|(config, _)| config.context.is_some()) {
            let network = config.init(&device, 1).unwrap();
            let frames = series([1, 6, 8], &device);
            let changed =
                Tensor::cat(vec![frames.clone().narrow(1, 0, 4), series([1, 2, 8], &device) + 3.0], 1);
            let [a, b] = [frames, changed].map(|frames| values(network.contexts(frames)));
            let seen = 4 * config.context_dim();
            assert_eq!(a[..seen], b[..seen], "{config:?}");
            assert_ne!(a[seen..], b[seen..], "{config:?}");
        }
    }

    #[test]
    fn gradients_reach_every_parameter_and_weights_follow_from_the_seed() {
        let device = Device::flex().autodiff();
        for (config, _) in all() {
            let network = config.init(&device, 1).unwrap();
            assert_eq!(fingerprint(&network), fingerprint(&config.init(&device, 1).unwrap()));
            let contexts = network.contexts(network.frames(series([2, config.channels, 640], &device)));
            let loss = network.predictions(contexts).into_iter().map(|p| p.square().mean());
            let loss = loss.reduce(|sum, loss| sum + loss).expect("predictions");
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            let layers = if config.channels == 1 { 5 } else { 3 };
            let norms = usize::from(config == all()[1].0) * layers;
            let context = match &config.context {
                Some(ContextConfig::Gru { .. }) => 4,
                Some(ContextConfig::CausalTransformer(_)) => 12 + 2,
                None => 0,
            };
            assert_eq!(gradients.len(), 2 * layers + norms + context + 3, "{config:?}");
        }
    }

    #[test]
    fn settings_are_read_from_toml_and_refused_by_name() {
        let text = "channels = 1\nahead = 12\nencoder = { kind = \"cpc-audio\", width = 64 }\n\
                    context = { kind = \"gru\", width = 32 }";
        let read: SequenceNetworkConfig = toml::from_str(text).unwrap();
        assert_eq!(read.encoder.to_string(), "cpc-audio (width 64)");
        assert_eq!(toml::from_str::<SequenceNetworkConfig>(&toml::to_string(&read).unwrap()).unwrap(), read);
        assert!(toml::from_str::<SequenceNetworkConfig>(&format!("{text}\nsize = 3")).is_err());
        assert!(toml::from_str::<SequenceEncoderConfig>("kind = \"series\"\nstride = 3").is_err());
        assert!(toml::from_str::<ContextConfig>("kind = \"lstm\"").is_err());
        let refused = |config: SequenceNetworkConfig| config.check().unwrap_err().field;
        let zero = StridedConvConfig { width: 0, ..small() };
        assert_eq!(refused(config(SequenceEncoderConfig::Series(zero), 1, None)), "encoder.width");
        let series = SequenceEncoderConfig::Series(small());
        assert_eq!(refused(config(series.clone(), 0, None)), "channels");
        let gru = ContextConfig::Gru { width: 0 };
        assert_eq!(refused(config(series.clone(), 1, Some(gru))), "context.width");
        let uneven = ContextConfig::CausalTransformer(CausalTransformerConfig { heads: 3, ..transformer() });
        assert_eq!(refused(config(series.clone(), 1, Some(uneven))), "encoder.width");
        let far = SequenceNetworkConfig { ahead: 1 << 20, ..config(series, 1, None) };
        assert_eq!(refused(far), "ahead");
    }
}
