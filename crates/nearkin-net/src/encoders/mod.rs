//! Encoders: images `[n, channels, h, w]`, or sounds and series `[n, channels, 1, steps]`, to features `[n, f]`.
//!
//! What encodes sounds and series, frame by frame, is in [`sequences`](crate::sequences).

mod fully_connected;
pub(crate) mod inception;
pub(crate) mod le_net;
pub(crate) mod lu_net;
pub(crate) mod patch_grid;
mod resnet;
mod small_conv;
mod vit;

use burn::nn::PaddingConfig2d;
use burn::nn::pool::MaxPool2dConfig;
use burn::prelude::*;
use serde::{Deserialize, Serialize};

pub use fully_connected::{FullyConnected, MlpEncoderConfig};
pub use inception::{Inception, InceptionConfig, InceptionLayout, InceptionModule, Unit};
pub use le_net::{LeNet, Subsampling};
pub use lu_net::{Bottleneck, LuNet, LuNetConfig};
pub use patch_grid::{PatchGrid, PatchGridConfig};
pub use resnet::{Block, ResNet, ResNetConfig, Stem};
pub use small_conv::{SmallConv, Stage};
pub(crate) use vit::positions_of;
pub use vit::{PatchEmbed, Vit, VitConfig};

use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::layers::FeatureMap;
use crate::parameters::param_count;
use crate::sequences::{SequenceConfig, SequenceEncoderConfig, SequenceNetwork, SequenceNetworkConfig};
use resnet::{RESNET_18, RESNET_34, RESNET_50};

/// Widest [`SmallConv`]: its weights alone are five gigabytes.
const MAX_WIDTH: usize = 1 << 11;

/// Which encoder, as a recipe says it: `kind = "small-conv"`, `width = 32`, or `kind = "resnet18"`,
/// `stem = "small"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EncoderConfig {
    /// [`SmallConv`]: `8 · width` features.
    SmallConv {
        /// Channels of the first stage (default 32).
        #[serde(default = "default_width")]
        width: usize,
    },
    /// [`ResNet`] with 18 layers: 512 features.
    Resnet18(ResNetConfig),
    /// [`ResNet`] with 34 layers: 512 features.
    Resnet34(ResNetConfig),
    /// [`ResNet`] with 50 layers: 2048 features.
    Resnet50(ResNetConfig),
    /// [`LeNet`], DrLIM's: 30 features at 32 pixels and below, more above.
    // In braces, so that a recipe's unknown fields are refused here too.
    LeNet {},
    /// [`FullyConnected`] layers, DrLIM's other net: as many features as its last layer is wide.
    Mlp(MlpEncoderConfig),
    /// [`LuNet`]: `4 · width` features.
    LuNet(LuNetConfig),
    /// [`Inception`], FaceNet's: `16 · width` features.
    Inception(InceptionConfig),
    /// [`Vit`]: `width` features.
    Vit(VitConfig),
    /// [`PatchGrid`], CPC's for images: `8 · width` features.
    CpcPatches(PatchGridConfig),
    /// [`SequenceNetwork`] for raw sound, a frame for 160 samples: as many features as a context has values.
    CpcAudio(SequenceConfig),
    /// [`SequenceNetwork`] for series of any channels, a frame for 8 steps.
    Series(SequenceConfig),
}

fn default_width() -> usize {
    32
}

impl Default for EncoderConfig {
    /// The small net, 32 wide.
    fn default() -> Self {
        Self::SmallConv { width: default_width() }
    }
}

impl std::fmt::Display for EncoderConfig {
    /// As a plan or a report names it: `small-conv (width 32)`, `resnet18 (small stem)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stem = |stem: Stem| match stem {
            Stem::Small => "small",
            Stem::Large => "large",
        };
        match self {
            Self::SmallConv { width } => write!(f, "small-conv (width {width})"),
            Self::Resnet18(config) => write!(f, "resnet18 ({} stem)", stem(config.stem)),
            Self::Resnet34(config) => write!(f, "resnet34 ({} stem)", stem(config.stem)),
            Self::Resnet50(config) => write!(f, "resnet50 ({} stem)", stem(config.stem)),
            Self::LeNet {} => write!(f, "le-net"),
            Self::Mlp(config) => write!(f, "mlp (hidden {:?})", config.hidden),
            Self::LuNet(config) => write!(f, "lu-net (width {})", config.width),
            Self::Inception(config) => {
                let layout = match config.layout {
                    InceptionLayout::Small => "small",
                    InceptionLayout::Nn2 => "nn2",
                };
                let norm = if config.batch_norm { "" } else { ", no batch norm" };
                write!(f, "inception ({layout}, width {}, {} stem{norm})", config.width, stem(config.stem))
            }
            Self::Vit(VitConfig { patch, depth, width, heads }) => {
                write!(f, "vit (patch {patch}, depth {depth}, width {width}, {heads} heads)")
            }
            Self::CpcPatches(PatchGridConfig { grid, width, context, .. }) => {
                write!(f, "cpc-patches ({grid} × {grid}, width {width})")?;
                context.as_ref().map_or(Ok(()), |context| write!(f, ", {context}"))
            }
            Self::CpcAudio(config) | Self::Series(config) => {
                let frames = self.of_sequences().map(|encoder| encoder.to_string()).unwrap_or_default();
                match &config.context {
                    Some(context) => write!(f, "{frames}, {context}"),
                    None => f.write_str(&frames),
                }
            }
        }
    }
}

impl EncoderConfig {
    /// What turns a sound or a series into frames; `None` for encoders of images.
    pub fn of_sequences(&self) -> Option<SequenceEncoderConfig> {
        match self {
            Self::CpcAudio(config) => Some(SequenceEncoderConfig::CpcAudio(config.strided())),
            Self::Series(config) => Some(SequenceEncoderConfig::Series(config.strided())),
            _ => None,
        }
    }

    /// The settings of an encoder of sounds or series.
    pub fn sequence_mut(&mut self) -> Option<&mut SequenceConfig> {
        match self {
            Self::CpcAudio(config) | Self::Series(config) => Some(config),
            _ => None,
        }
    }

    fn sequence_network(&self, channels: usize) -> Option<SequenceNetworkConfig> {
        match self {
            Self::CpcAudio(config) | Self::Series(config) => {
                let SequenceConfig { context, ahead, .. } = config.clone();
                self.of_sequences().map(|encoder| SequenceNetworkConfig { encoder, channels, context, ahead })
            }
            _ => None,
        }
    }

    /// Features of an image of `size` × `size` pixels; the size matters to [`LeNet`] alone.
    pub fn feature_dim(&self, size: usize) -> usize {
        match self {
            Self::SmallConv { width } => width << (small_conv::STAGES - 1),
            Self::Resnet18(_) => RESNET_18.feature_dim(),
            Self::Resnet34(_) => RESNET_34.feature_dim(),
            Self::Resnet50(_) => RESNET_50.feature_dim(),
            Self::LeNet {} => LeNet::features_of(size),
            Self::Mlp(config) => config.feature_dim(),
            Self::LuNet(config) => config.feature_dim(),
            Self::Inception(config) => config.feature_dim(),
            Self::Vit(config) => config.width,
            Self::CpcPatches(config) => config.feature_dim(),
            Self::CpcAudio(config) | Self::Series(config) => config.context_dim(),
        }
    }

    /// Whether its features are the mean of a map of them over the image: see [`Encoder::feature_map`].
    pub fn has_feature_map(&self) -> bool {
        matches!(self, Self::SmallConv { .. } | Self::Resnet18(_) | Self::Resnet34(_) | Self::Resnet50(_))
    }

    /// Multiplications and additions of its convolutions and other matrix products for one image of `size` × `size` pixels, or for the
    /// convolutions of a series of `size` steps, by their definition.
    pub fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        match self {
            Self::SmallConv { width } => SmallConv::multiply_adds(*width, channels, size),
            Self::Resnet18(config) => RESNET_18.multiply_adds(config, channels, size),
            Self::Resnet34(config) => RESNET_34.multiply_adds(config, channels, size),
            Self::Resnet50(config) => RESNET_50.multiply_adds(config, channels, size),
            Self::LeNet {} => LeNet::multiply_adds(channels, size),
            Self::Mlp(config) => config.multiply_adds(channels, size),
            Self::LuNet(config) => config.multiply_adds(channels, size),
            Self::Inception(config) => config.multiply_adds(channels, size),
            Self::Vit(config) => config.multiply_adds(channels, size),
            Self::CpcPatches(config) => config.multiply_adds(channels, size),
            Self::CpcAudio(_) | Self::Series(_) => {
                self.of_sequences().map_or(0, |encoder| encoder.multiply_adds(channels, size))
            }
        }
    }

    pub(crate) fn check(&self, channels: usize, size: usize) -> Result<(), ConfigError> {
        match self {
            Self::SmallConv { width } => check_size("encoder.width", *width, MAX_WIDTH),
            Self::Resnet18(_) | Self::Resnet34(_) | Self::Resnet50(_) => Ok(()),
            Self::LeNet {} => LeNet::check(size),
            Self::Mlp(config) => config.check(channels, size),
            Self::LuNet(config) => config.check(size),
            Self::Inception(config) => config.check(),
            Self::Vit(config) => config.check(size),
            Self::CpcPatches(config) => config.check(channels, size),
            Self::CpcAudio(_) | Self::Series(_) => {
                self.sequence_network(channels).map_or(Ok(()), |network| network.check())
            }
        }
    }

    pub(crate) fn build(&self, channels: usize, size: usize, init: &mut Init) -> Encoder {
        let (layout, config) = match self {
            Self::SmallConv { width } => {
                return Encoder::SmallConv(SmallConv::new(*width, channels, size, init));
            }
            Self::LeNet {} => return Encoder::LeNet(LeNet::new(channels, size, init)),
            Self::Mlp(config) => return Encoder::Mlp(FullyConnected::new(config, channels, size, init)),
            Self::LuNet(config) => return Encoder::LuNet(LuNet::new(config, channels, size, init)),
            Self::Inception(config) => return Encoder::Inception(Inception::new(config, channels, init)),
            Self::Vit(config) => return Encoder::Vit(Vit::new(config, channels, init)),
            Self::CpcPatches(config) => {
                return Encoder::PatchGrid(PatchGrid::new(config, channels, size, init));
            }
            Self::CpcAudio(_) | Self::Series(_) => {
                let config = self.sequence_network(channels).expect("an encoder of sequences");
                return Encoder::Sequence(config.build(init));
            }
            Self::Resnet18(config) => (RESNET_18, config),
            Self::Resnet34(config) => (RESNET_34, config),
            Self::Resnet50(config) => (RESNET_50, config),
        };
        Encoder::ResNet(ResNet::new(layout, config, channels, init))
    }
}

/// An encoder with its weights.
// A network holds one encoder: boxing the larger variant would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Encoder {
    /// See [`SmallConv`].
    SmallConv(SmallConv),
    /// See [`ResNet`].
    ResNet(ResNet),
    /// See [`LeNet`].
    LeNet(LeNet),
    /// See [`FullyConnected`].
    Mlp(FullyConnected),
    /// See [`LuNet`].
    LuNet(LuNet),
    /// See [`Inception`].
    Inception(Inception),
    /// See [`Vit`].
    Vit(Vit),
    /// See [`PatchGrid`].
    PatchGrid(PatchGrid),
    /// See [`SequenceNetwork`].
    Sequence(SequenceNetwork),
}

impl Encoder {
    /// Features of images, or of sounds and series: of these, the mean of their contexts.
    ///
    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`; with a [`SequenceNetwork`] `[n, channels, 1, steps]`
    /// - output: `[n, feature_dim]`
    ///
    /// # Panics
    ///
    /// If the images do not have the channels the encoder was made for; with [`LeNet`], [`FullyConnected`] layers or
    /// [`LuNet`], if they do not have the size; with [`Vit`], if the patch does not divide it.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        match self {
            Self::SmallConv(encoder) => encoder.forward(input),
            Self::ResNet(encoder) => encoder.forward(input),
            Self::LeNet(encoder) => encoder.forward(input),
            Self::Mlp(encoder) => encoder.forward(input),
            Self::LuNet(encoder) => encoder.forward(input),
            Self::Inception(encoder) => encoder.forward(input),
            Self::Vit(encoder) => encoder.forward(input),
            Self::PatchGrid(encoder) => encoder.forward(input),
            Self::Sequence(encoder) => encoder.embed(in_a_row(input)),
        }
    }

    /// The map of features over the image, before its mean is taken: of [`SmallConv`] and [`ResNet`].
    ///
    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, feature_dim, h', w']`
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn feature_map(&self, input: Tensor<4>) -> Option<Tensor<4>> {
        match self {
            Self::SmallConv(encoder) => Some(encoder.feature_map(input)),
            Self::ResNet(encoder) => Some(encoder.feature_map(input)),
            _ => None,
        }
    }

    /// Features per image.
    pub fn feature_dim(&self) -> usize {
        match self {
            Self::SmallConv(encoder) => encoder.feature_dim(),
            Self::ResNet(encoder) => encoder.feature_dim(),
            Self::LeNet(encoder) => LeNet::features_of(encoder.size),
            Self::Mlp(encoder) => encoder.feature_dim(),
            Self::LuNet(encoder) => encoder.feature_dim(),
            Self::Inception(encoder) => encoder.feature_dim(),
            Self::Vit(encoder) => encoder.width(),
            Self::PatchGrid(encoder) => encoder.encoder.feature_dim(),
            Self::Sequence(encoder) => encoder.context_dim(),
        }
    }

    /// The network of sounds and series, if it is one.
    pub fn sequence(&self) -> Option<&SequenceNetwork> {
        match self {
            Self::Sequence(encoder) => Some(encoder),
            _ => None,
        }
    }

    /// Frames and what is foreseen of them, by an encoder that has predictors: a sound's, a series', or an image's grid of patches.
    ///
    /// # Shapes
    ///
    /// - input: as [`forward`](Self::forward)
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn foresee(&self, input: Tensor<4>) -> Option<Foreseen> {
        match self {
            Self::Sequence(encoder) => {
                let frames = encoder.frames(in_a_row(input));
                let predictions = encoder.predictions(encoder.contexts(frames.clone()));
                Some(Foreseen { frames, predictions })
            }
            Self::PatchGrid(encoder) => {
                let frames = encoder.patches(input);
                let predictions = encoder.predictions(encoder.contexts(frames.clone()));
                Some(Foreseen { frames, predictions })
            }
            _ => None,
        }
    }

    /// Frames from one to that which comes a step later: 1 in a sound or a series, a row of patches in an image.
    pub fn frames_a_step(&self) -> usize {
        match self {
            Self::PatchGrid(encoder) => encoder.grid,
            _ => 1,
        }
    }

    /// Steps ahead that are foreseen.
    pub fn steps_ahead(&self) -> usize {
        match self {
            Self::Sequence(encoder) => encoder.predictors.len(),
            Self::PatchGrid(encoder) => encoder.predictors.len(),
            _ => 0,
        }
    }

    /// Learned values; running statistics do not count.
    pub fn param_count(&self) -> usize {
        param_count(self)
    }
}

/// The frames of a batch and what was foreseen of them.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// `[n, frames, width]`
    pub frames: Tensor<3>,
    /// Entry `k − 1` is about frames `k` steps ahead: `[n, frames, width]` each.
    pub predictions: Vec<Tensor<3>>,
}

/// Sounds and series, which come as images of one row: `[n, channels, 1, steps]` to `[n, channels, steps]`.
pub fn in_a_row(input: Tensor<4>) -> Tensor<3> {
    let [n, channels, rows, steps] = input.dims();
    input.reshape([n, channels, rows * steps])
}

/// 3 × 3 max-pooling that keeps the size at stride 1.
fn max_pooled(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let pool = MaxPool2dConfig::new([3, 3])
        .with_strides([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init();
    pool.forward(x)
}

/// Global average pooling: `[n, c, h, w]` to `[n, c]`.
fn pooled(features: Tensor<4>) -> Tensor<2> {
    FeatureMap::from(features).pooled()
}

/// The largest value of each channel in each quarter of a map: upper left, upper right, lower left, lower right. A middle row or column
/// belongs to both sides.
///
/// # Shapes
///
/// - input: `[n, c, h, w]`
/// - output: `[n, 4 · c]`
pub fn quadrants(map: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = map.dims();
    let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
    let quarter = |(top, left)| {
        let part = map.clone().narrow(2, top, rows).narrow(3, left, columns);
        part.reshape([n, c, rows * columns]).max_dim(2).reshape([n, c])
    };
    let corners = [(0, 0), (0, w - columns), (h - rows, 0), (h - rows, w - columns)];
    Tensor::cat(corners.map(quarter).to_vec(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, assert_halved_is_near, noise, values};
    use crate::sequences::ContextConfig;
    use burn::tensor::TensorData;

    fn encoder(config: &EncoderConfig, channels: usize, size: usize) -> Encoder {
        let device = Device::flex();
        config.build(channels, size, &mut Init::new(&device, 5))
    }

    fn images(shape: [usize; 4]) -> Tensor<4> {
        let values = noise(shape.iter().product(), 9);
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn resnet(stem: Stem) -> ResNetConfig {
        ResNetConfig { stem, ..ResNetConfig::default() }
    }

    #[test]
    fn residual_networks_have_torchvisions_parameter_counts() {
        // torchvision's 11,689,512, 21,797,672 and 25,557,032, less the classifier's.
        for (config, count, features) in [
            (EncoderConfig::Resnet18(resnet(Stem::Large)), 11_176_512, 512),
            (EncoderConfig::Resnet34(resnet(Stem::Large)), 21_284_672, 512),
            (EncoderConfig::Resnet50(resnet(Stem::Large)), 23_508_032, 2048),
        ] {
            let encoder = encoder(&config, 3, 224);
            assert_eq!(encoder.param_count(), count, "{config:?}");
            assert_eq!(encoder.feature_dim(), features);
            assert_eq!(config.feature_dim(224), features);
        }
    }

    #[test]
    fn quadrants_are_the_largest_values_of_the_quarters() {
        let of = |map: Vec<f32>, shape: [usize; 4]| {
            values(quadrants(Tensor::from_data(TensorData::new(map, shape), &Device::flex())))
        };
        let map: Vec<f32> = (0..32u8).map(f32::from).collect();
        let negative = map.iter().map(|v| -v).collect();
        assert_eq!(of(map, [1, 2, 4, 4]), [5.0, 21.0, 7.0, 23.0, 13.0, 29.0, 15.0, 31.0]);
        assert_eq!(of(negative, [2, 1, 4, 4]), [0.0, -2.0, -8.0, -10.0, -16.0, -18.0, -24.0, -26.0]);
        // The middle row and column of three belong to both sides; one value to all.
        let three = vec![1.0, 2.0, 3.0, 4.0, 9.0, 5.0, 6.0, 7.0, 8.0];
        assert_eq!(of(three, [1, 1, 3, 3]), [9.0; 4]);
        assert_eq!(of(vec![1.0, 2.0], [1, 1, 1, 2]), [1.0, 2.0, 1.0, 2.0]);
        assert_eq!(of(vec![7.0], [1, 1, 1, 1]), [7.0; 4]);
    }

    #[test]
    fn the_mean_of_a_map_is_what_the_encoder_gives() {
        for config in [
            EncoderConfig::SmallConv { width: 4 },
            EncoderConfig::Resnet18(resnet(Stem::Small)),
            EncoderConfig::Resnet50(resnet(Stem::Large)),
        ] {
            let encoder = encoder(&config, 3, 40);
            let map = encoder.feature_map(images([2, 3, 40, 40])).unwrap();
            let [n, c, h, w] = map.dims();
            assert!(
                config.has_feature_map() && c == encoder.feature_dim() && h > 1 && w > 1,
                "{config}: {h} {w}"
            );
            let means = values(map.reshape([n, c, h * w]).mean_dim(2).reshape([n, c]));
            let means: Vec<f64> = means.into_iter().map(f64::from).collect();
            assert_close(&values(encoder.forward(images([2, 3, 40, 40]))), &means, 1e-6, "means");
        }
        for config in [
            EncoderConfig::LeNet {},
            EncoderConfig::Vit(VitConfig { patch: 8, depth: 1, width: 16, heads: 2 }),
        ] {
            assert!(!config.has_feature_map());
            assert!(encoder(&config, 3, 32).feature_map(images([1, 3, 32, 32])).is_none());
        }
    }

    #[test]
    fn sizes_beyond_what_a_machine_holds_are_refused_with_the_largest() {
        let message = |config: EncoderConfig, size| config.check(3, size).unwrap_err().to_string();
        assert!(
            EncoderConfig::LeNet {}.check(3, 1150).is_ok() && EncoderConfig::LeNet {}.check(3, 1).is_ok()
        );
        assert!(LeNet::features_of(1150) < 1 << 22 && LeNet::features_of(1151) > 1 << 22);
        assert_eq!(
            message(EncoderConfig::LeNet {}, 1151),
            "size is 1151; give a whole number from 1 to 1150"
        );
        // At the paper's width 181 × 181 places of 128 values, 512 features of each.
        let published = EncoderConfig::LuNet(LuNetConfig { width: 128 });
        assert!(published.check(3, 32 * 181).is_ok() && published.check(3, 1).is_ok());
        assert_eq!(message(published, 5793), "size is 5793; give a whole number from 1 to 5792");
        let widest = EncoderConfig::LuNet(LuNetConfig { width: MAX_WIDTH });
        assert_eq!(message(widest, 1024), "size is 1024; give a whole number from 1 to 352");
    }

    #[test]
    fn in_16_bits_responses_stay_in_16_bits() {
        let config = InceptionConfig { width: 4, batch_norm: false, ..InceptionConfig::default() };
        let encoder = encoder(&EncoderConfig::Inception(config), 3, 16);
        assert_halved_is_near(&encoder, images([2, 3, 16, 16]), Encoder::forward);
    }

    #[test]
    fn networks_cost_what_is_known_of_them() {
        // 1.8, 3.7 and 4.1 billion at 224 pixels (He et al. 2015, table 1); 0.56 billion with the small stem at 32.
        for (config, size, wanted) in [
            (EncoderConfig::Resnet18(resnet(Stem::Large)), 224, 1.81e9),
            (EncoderConfig::Resnet34(resnet(Stem::Large)), 224, 3.66e9),
            (EncoderConfig::Resnet50(resnet(Stem::Large)), 224, 4.09e9),
            (EncoderConfig::Resnet18(resnet(Stem::Small)), 32, 0.556e9),
            (EncoderConfig::default(), 32, 15.0e6),
            // FaceNet's table 2 says 1.6 billion; DeiT's smallest transformer has 1.26 billion.
            (EncoderConfig::Inception(published_inception()), 224, 1.6e9),
            (EncoderConfig::Vit(VitConfig { patch: 16, depth: 12, width: 192, heads: 3 }), 224, 1.25e9),
            // As the documentation of each says of its default.
            (EncoderConfig::Inception(InceptionConfig::default()), 32, 22.7e6),
            (EncoderConfig::LuNet(LuNetConfig::default()), 32, 9.27e6),
            (EncoderConfig::Vit(VitConfig::default()), 32, 32.0e6),
            (EncoderConfig::CpcPatches(PatchGridConfig::default()), 32, 46.0e6),
        ] {
            let found = config.multiply_adds(3, size) as f64;
            assert!((found / wanted - 1.0).abs() < 0.025, "{config}: {found}");
        }
        for (config, size, wanted) in [
            (EncoderConfig::LeNet {}, 32, 0.43e6),
            (EncoderConfig::LeNet {}, 28, 0.43e6),
            (EncoderConfig::LeNet {}, 64, 6.3e6),
            (EncoderConfig::Mlp(MlpEncoderConfig::default()), 32, 0.02e6),
        ] {
            let found = config.multiply_adds(1, size) as f64;
            assert!((found / wanted - 1.0).abs() < 0.025, "{config}: {found}");
        }
    }

    fn published_inception() -> InceptionConfig {
        InceptionConfig { layout: InceptionLayout::Nn2, width: 64, stem: Stem::Large, batch_norm: false }
    }

    #[test]
    fn papers_networks_have_the_parameters_that_are_known_or_counted_by_hand() {
        let vit = VitConfig { patch: 16, depth: 12, width: 192, heads: 3 };
        let block = 12 * 192 * 192 + 13 * 192;
        for (config, channels, size, count) in [
            // 15 · (36 + 1), 15 · 2 and 30 · (15 · 81 + 1).
            (EncoderConfig::LeNet {}, 1, 28, 15 * 37 + 30 + 30 * 1216),
            (EncoderConfig::Mlp(MlpEncoderConfig::default()), 2, 96, 20 * (2 * 96 * 96 + 1)),
            // DeiT's 5,717,416 less a class token, 197 learned positions and a classifier of 1000 classes.
            (EncoderConfig::Vit(vit), 3, 224, 5_717_416 - 192 - 197 * 192 - 193_000),
            (EncoderConfig::Vit(vit), 3, 224, (768 + 1) * 192 + 12 * block + 2 * 192),
        ] {
            assert_eq!(encoder(&config, channels, size).param_count(), count, "{config}");
        }
        // FaceNet's table 2: 7.5 million, the last layer's 131 thousand and no biases among them.
        let found = encoder(&EncoderConfig::Inception(published_inception()), 3, 224).param_count() as f64;
        assert!((found / (7.5e6 - 131e3) - 1.0).abs() < 0.025, "{found}");
        let wide = EncoderConfig::LuNet(LuNetConfig { width: 128 });
        let found = encoder(&wide, 3, 64).param_count() as f64;
        assert!((found / 2.506e6 - 1.0).abs() < 0.001, "{found}");
    }

    #[test]
    fn features_have_the_promised_shape_and_are_finite() {
        for (config, shape) in [
            (EncoderConfig::SmallConv { width: 4 }, [3, 1, 28, 28]),
            (EncoderConfig::SmallConv { width: 4 }, [1, 3, 64, 64]),
            (EncoderConfig::SmallConv { width: 1 }, [2, 3, 1, 1]),
            (EncoderConfig::Resnet18(resnet(Stem::Small)), [2, 1, 28, 28]),
            (EncoderConfig::Resnet18(resnet(Stem::Large)), [1, 3, 65, 64]),
            (EncoderConfig::Resnet50(resnet(Stem::Small)), [1, 3, 16, 16]),
            (EncoderConfig::LeNet {}, [2, 1, 1, 1]),
            (EncoderConfig::LeNet {}, [2, 1, 28, 28]),
            (EncoderConfig::LeNet {}, [1, 3, 41, 41]),
            (EncoderConfig::LeNet {}, [1, 1, 96, 96]),
            (EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![5, 3] }), [2, 2, 7, 7]),
            (EncoderConfig::LuNet(LuNetConfig { width: 4 }), [2, 3, 32, 32]),
            (EncoderConfig::LuNet(LuNetConfig { width: 8 }), [1, 1, 70, 70]),
            (
                EncoderConfig::Inception(InceptionConfig { width: 3, ..InceptionConfig::default() }),
                [2, 3, 20, 20],
            ),
            (EncoderConfig::Inception(InceptionConfig { width: 8, ..published_inception() }), [1, 1, 65, 65]),
            (EncoderConfig::Vit(VitConfig { patch: 4, depth: 2, width: 12, heads: 3 }), [2, 1, 8, 12]),
            (
                EncoderConfig::CpcPatches(PatchGridConfig { width: 2, ..PatchGridConfig::default() }),
                [2, 3, 28, 28],
            ),
            (EncoderConfig::CpcAudio(sequence(Some(ContextConfig::Gru { width: 6 }))), [2, 1, 1, 900]),
            (EncoderConfig::Series(sequence(None)), [2, 3, 1, 24]),
        ] {
            let encoder = encoder(&config, shape[1], shape[2]);
            let features = encoder.forward(images(shape));
            assert_eq!(features.dims(), [shape[0], config.feature_dim(shape[2])], "{config:?}");
            assert_eq!(encoder.feature_dim(), config.feature_dim(shape[2]), "{config:?}");
            assert!(values(features).iter().all(|v| v.is_finite()), "{config:?}");
        }
    }

    fn sequence(context: Option<ContextConfig>) -> SequenceConfig {
        SequenceConfig { width: 8, context, ..SequenceConfig::default() }
    }

    #[test]
    fn a_sound_as_an_image_of_one_row_becomes_the_mean_of_its_contexts() {
        let config = EncoderConfig::CpcAudio(sequence(Some(ContextConfig::Gru { width: 6 })));
        let encoder = encoder(&config, 1, 1);
        let sounds = images([2, 1, 1, 900]);
        let network = encoder.sequence().unwrap();
        let contexts = network.contexts(network.frames(in_a_row(sounds.clone())));
        assert_eq!(values(encoder.forward(sounds)), values(contexts.mean_dim(1)));
        assert_eq!(config.to_string(), "cpc-audio (width 8), gru (width 6)");
    }

    #[test]
    fn small_images_keep_their_resolution_in_the_first_stage() {
        let strides = |size| -> Vec<usize> {
            match encoder(&EncoderConfig::SmallConv { width: 2 }, 1, size) {
                Encoder::SmallConv(encoder) => encoder.stages.iter().map(|stage| stage.conv.stride).collect(),
                _ => vec![],
            }
        };
        assert_eq!(strides(32), [1, 2, 2, 2]);
        assert_eq!(strides(64), [2, 2, 2, 2]);
    }

    #[test]
    fn zero_init_residual_lets_blocks_begin_as_the_identity() {
        for make in [EncoderConfig::Resnet18, EncoderConfig::Resnet50] {
            let config = make(ResNetConfig { zero_init_residual: true, ..ResNetConfig::default() });
            let Encoder::ResNet(network) = encoder(&config, 1, 8) else {
                panic!("a ResNet");
            };
            let block = &network.layer1[1];
            let width = network.feature_dim() / 8;
            let x = images([1, width, 4, 4]).abs();
            assert_eq!(values(block.forward(x.clone())), values(x));
        }
    }

    #[test]
    fn settings_that_cannot_be_built_are_refused_by_name() {
        let vit = VitConfig::default();
        for (config, size, field) in [
            (EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![] }), 28, "encoder.hidden"),
            (EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![20, 0] }), 28, "encoder.hidden"),
            (EncoderConfig::Mlp(MlpEncoderConfig { hidden: vec![2; 65] }), 28, "encoder.hidden"),
            (EncoderConfig::Mlp(MlpEncoderConfig::default()), 1 << 16, "size"),
            (EncoderConfig::LuNet(LuNetConfig { width: 0 }), 28, "encoder.width"),
            (EncoderConfig::LuNet(LuNetConfig { width: 6 }), 28, "encoder.width"),
            (
                EncoderConfig::Inception(InceptionConfig { width: 0, ..published_inception() }),
                28,
                "encoder.width",
            ),
            (EncoderConfig::Vit(VitConfig { patch: 0, ..vit }), 28, "encoder.patch"),
            (EncoderConfig::Vit(VitConfig { patch: 5, ..vit }), 28, "encoder.patch"),
            (EncoderConfig::Vit(VitConfig { depth: 0, ..vit }), 28, "encoder.depth"),
            (EncoderConfig::Vit(VitConfig { heads: 0, ..vit }), 28, "encoder.heads"),
            (EncoderConfig::Vit(VitConfig { heads: 5, ..vit }), 28, "encoder.width"),
            (EncoderConfig::Vit(VitConfig { width: 18, ..vit }), 28, "encoder.width"),
        ] {
            assert_eq!(config.check(1, size).unwrap_err().field, field, "{config}");
        }
    }

    #[test]
    fn recipes_say_encoders_in_a_line_and_unknown_fields_are_refused() {
        let read = |text: &str| toml::from_str::<EncoderConfig>(text);
        assert_eq!(read("kind = \"small-conv\"\nwidth = 8").unwrap(), EncoderConfig::SmallConv { width: 8 });
        assert_eq!(
            read("kind = \"resnet18\"\nstem = \"large\"").unwrap(),
            EncoderConfig::Resnet18(resnet(Stem::Large))
        );
        assert_eq!(read("kind = \"resnet50\"").unwrap(), EncoderConfig::Resnet50(ResNetConfig::default()));
        let vit = VitConfig { patch: 8, ..VitConfig::default() };
        assert_eq!(read("kind = \"vit\"\npatch = 8").unwrap(), EncoderConfig::Vit(vit));
        assert_eq!(read("kind = \"le-net\"").unwrap(), EncoderConfig::LeNet {});
        let mlp = MlpEncoderConfig { hidden: vec![40, 20] };
        assert_eq!(read("kind = \"mlp\"\nhidden = [40, 20]").unwrap(), EncoderConfig::Mlp(mlp.clone()));
        assert_eq!(
            read("kind = \"inception\"\nlayout = \"nn2\"\nstem = \"large\"\nbatch-norm = false\nwidth = 64")
                .unwrap(),
            EncoderConfig::Inception(published_inception())
        );
        let audio = "kind = \"cpc-audio\"\nwidth = 8\ncontext = { kind = \"gru\", width = 6 }";
        let audio_config = EncoderConfig::CpcAudio(sequence(Some(ContextConfig::Gru { width: 6 })));
        assert_eq!(read(audio).unwrap(), audio_config);
        for config in [
            audio_config,
            EncoderConfig::Series(SequenceConfig { ahead: 3, ..sequence(None) }),
            EncoderConfig::CpcPatches(PatchGridConfig { ahead: 5, ..PatchGridConfig::default() }),
            EncoderConfig::SmallConv { width: 3 },
            EncoderConfig::Resnet34(resnet(Stem::Small)),
            EncoderConfig::LeNet {},
            EncoderConfig::Mlp(mlp),
            EncoderConfig::LuNet(LuNetConfig { width: 8 }),
            EncoderConfig::Inception(published_inception()),
            EncoderConfig::Vit(vit),
        ] {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(read(&text).unwrap(), config, "{text}");
        }
        for wrong in [
            "kind = \"resnet18\"\nwidth = 3",
            "kind = \"small-conv\"\nstem = \"small\"",
            "kind = \"vgg\"",
            "kind = \"le-net\"\nwidth = 3",
            "kind = \"vit\"\nlayers = 3",
            "kind = \"series\"\nstride = 3",
            "kind = \"cpc-patches\"\npatch = 8",
            "kind = \"lu-net\"\nstem = \"small\"",
            "kind = \"inception\"\nlayout = \"nn3\"",
            "width = 3",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
