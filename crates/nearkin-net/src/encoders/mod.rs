//! Encoders: images `[n, channels, h, w]` to features `[n, f]`, after global average pooling.

mod resnet;
mod small_conv;

use burn::prelude::*;
use serde::{Deserialize, Serialize};

pub use resnet::{Block, ResNet, ResNetConfig, Stem};
pub use small_conv::{SmallConv, Stage};

use crate::error::{ConfigError, check_size};
use crate::init::Init;
use crate::parameters::param_count;
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
        let (layers, config) = match self {
            Self::SmallConv { width } => return write!(f, "small-conv (width {width})"),
            Self::Resnet18(config) => (18, config),
            Self::Resnet34(config) => (34, config),
            Self::Resnet50(config) => (50, config),
        };
        let stem = match config.stem {
            Stem::Small => "small",
            Stem::Large => "large",
        };
        write!(f, "resnet{layers} ({stem} stem)")
    }
}

impl EncoderConfig {
    /// Features per image.
    pub fn feature_dim(&self) -> usize {
        match self {
            Self::SmallConv { width } => width << (small_conv::STAGES - 1),
            Self::Resnet18(_) => RESNET_18.feature_dim(),
            Self::Resnet34(_) => RESNET_34.feature_dim(),
            Self::Resnet50(_) => RESNET_50.feature_dim(),
        }
    }

    /// Multiplications and additions of its convolutions for one image of `size` × `size` pixels, by their definition.
    pub fn multiply_adds(&self, channels: usize, size: usize) -> usize {
        match self {
            Self::SmallConv { width } => SmallConv::multiply_adds(*width, channels, size),
            Self::Resnet18(config) => RESNET_18.multiply_adds(config, channels, size),
            Self::Resnet34(config) => RESNET_34.multiply_adds(config, channels, size),
            Self::Resnet50(config) => RESNET_50.multiply_adds(config, channels, size),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::SmallConv { width } => check_size("encoder.width", *width, MAX_WIDTH),
            Self::Resnet18(_) | Self::Resnet34(_) | Self::Resnet50(_) => Ok(()),
        }
    }

    pub(crate) fn build(&self, channels: usize, size: usize, init: &mut Init) -> Encoder {
        let (layout, config) = match self {
            Self::SmallConv { width } => {
                return Encoder::SmallConv(SmallConv::new(*width, channels, size, init));
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
}

impl Encoder {
    /// Features of images.
    ///
    /// # Shapes
    ///
    /// - input: `[n, channels, h, w]`
    /// - output: `[n, feature_dim]`
    ///
    /// # Panics
    ///
    /// If the images do not have the channels the encoder was made for.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        match self {
            Self::SmallConv(encoder) => encoder.forward(input),
            Self::ResNet(encoder) => encoder.forward(input),
        }
    }

    /// Features per image.
    pub fn feature_dim(&self) -> usize {
        match self {
            Self::SmallConv(encoder) => encoder.feature_dim(),
            Self::ResNet(encoder) => encoder.feature_dim(),
        }
    }

    /// Learned values; running statistics do not count.
    pub fn param_count(&self) -> usize {
        param_count(self)
    }
}

/// Global average pooling: `[n, c, h, w]` to `[n, c]`.
fn pooled(features: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = features.dims();
    features.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{noise, values};
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
            assert_eq!(config.feature_dim(), features);
        }
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
        ] {
            let found = config.multiply_adds(3, size) as f64;
            assert!((found / wanted - 1.0).abs() < 0.02, "{config}: {found}");
        }
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
        ] {
            let features = encoder(&config, shape[1], shape[2]).forward(images(shape));
            assert_eq!(features.dims(), [shape[0], config.feature_dim()], "{config:?}");
            assert!(values(features).iter().all(|v| v.is_finite()), "{config:?}");
        }
    }

    #[test]
    fn small_images_keep_their_resolution_in_the_first_stage() {
        let strides = |size| -> Vec<usize> {
            match encoder(&EncoderConfig::SmallConv { width: 2 }, 1, size) {
                Encoder::SmallConv(encoder) => encoder.stages.iter().map(|stage| stage.conv.stride).collect(),
                Encoder::ResNet(_) => vec![],
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
    fn recipes_say_encoders_in_a_line_and_unknown_fields_are_refused() {
        let read = |text: &str| toml::from_str::<EncoderConfig>(text);
        assert_eq!(read("kind = \"small-conv\"\nwidth = 8").unwrap(), EncoderConfig::SmallConv { width: 8 });
        assert_eq!(
            read("kind = \"resnet18\"\nstem = \"large\"").unwrap(),
            EncoderConfig::Resnet18(resnet(Stem::Large))
        );
        assert_eq!(read("kind = \"resnet50\"").unwrap(), EncoderConfig::Resnet50(ResNetConfig::default()));
        for config in [EncoderConfig::SmallConv { width: 3 }, EncoderConfig::Resnet34(resnet(Stem::Small))] {
            let text = toml::to_string(&config).unwrap();
            assert_eq!(read(&text).unwrap(), config, "{text}");
        }
        for wrong in [
            "kind = \"resnet18\"\nwidth = 3",
            "kind = \"small-conv\"\nstem = \"small\"",
            "kind = \"vgg\"",
            "width = 3",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
