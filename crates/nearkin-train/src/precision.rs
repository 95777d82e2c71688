//! In how many bits a network computes.

use std::str::FromStr;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use nearkin_net::Network;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The numbers of a network's forward and backward pass. Weights, their updates, batch norms and losses are f32 whatever is
/// chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16: f32's range with 8 bits of precision, so that nothing needs scaling. For GPUs with such matrix units.
    Bf16,
}

/// A name that is no precision's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision '{0}': choose f32 or bf16")]
pub struct ParsePrecisionError(String);

impl FromStr for Precision {
    type Err = ParsePrecisionError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(ParsePrecisionError(name.to_owned())),
        }
    }
}

impl Precision {
    /// Whether it is the default.
    pub(crate) fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// Refuses bf16 where it brings nothing or does not exist.
    pub(crate) fn check(self, device: &Device) -> Result<(), TrainError> {
        let device = device.clone().inner();
        let wanted = match self {
            Self::F32 => return Ok(()),
            Self::Bf16 if device == Device::flex() => {
                "f32 on the CPU: no faster on CPUs without AVX-512 BF16 or AMX, and there are no kernels here for those \
                 that have them"
            }
            Self::Bf16 if !device.supports_dtype(DType::BF16) => {
                "f32 on this device, which does not compute in bf16"
            }
            Self::Bf16 => return Ok(()),
        };
        Err(TrainError::setting("precision", "bf16", wanted))
    }

    /// The network to compute with: its weights cast, on the tape, so that gradients arrive at the f32 ones. Batch norms stay
    /// as they are, and share their running statistics with the network's.
    pub(crate) fn working(self, network: &Network) -> Network {
        match self {
            Self::F32 => network.clone(),
            Self::Bf16 => network.clone().map(&mut Halved { to: FloatDType::BF16, norms: 0 }),
        }
    }

    /// Pixels for the working network.
    pub(crate) fn pixels(self, pixels: Tensor<4>) -> Tensor<4> {
        match self {
            Self::F32 => pixels,
            Self::Bf16 => pixels.cast(FloatDType::BF16),
        }
    }
}

/// Casts weights to 16 bits, except in batch norms.
struct Halved {
    to: FloatDType,
    /// Batch norms that are being walked through.
    norms: usize,
}

const NORM: &str = "Struct:BatchNorm";

impl ModuleMapper for Halved {
    fn enter_module(&mut self, _name: &str, container_type: &str) {
        self.norms += usize::from(container_type == NORM);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.norms -= usize::from(container_type == NORM);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.norms > 0 { param } else { param.map(|weights| weights.cast(self.to)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::ModuleVisitor;
    use burn::optim::GradientsParams;
    use burn::tensor::TensorData;
    use nearkin_net::{EncoderConfig, MlpConfig, NetworkConfig, ResNetConfig};

    use crate::optimizers::OptimizerConfig;

    /// Every parameter and statistic: its type and its values.
    struct Seen(Vec<(DType, Vec<f32>)>);

    impl ModuleVisitor for Seen {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            self.0.push((data.dtype(), data.convert::<f32>().try_to_vec().unwrap()));
        }
    }

    fn seen(network: &Network) -> Vec<(DType, Vec<f32>)> {
        let mut seen = Seen(Vec::new());
        network.visit(&mut seen);
        seen.0
    }

    fn networks() -> [NetworkConfig; 2] {
        [EncoderConfig::default(), EncoderConfig::Resnet18(ResNetConfig::default())].map(|encoder| {
            NetworkConfig {
                encoder,
                channels: 3,
                size: 16,
                embedding: Some(12),
                projector: Some(MlpConfig::byol(10, 8)),
            }
        })
    }

    /// A step in these numbers: its gradients, and the network after it.
    fn step(to: FloatDType, config: &NetworkConfig) -> (Vec<f32>, Network) {
        let device = Device::flex().autodiff();
        let network = config.init(&device, 4).unwrap();
        let value = |i: usize| (i * 2_654_435_761 % 1009) as f32 / 504.0 - 1.0;
        let pixels: Vec<f32> = (0..6 * 3 * 16 * 16).map(value).collect();
        let pixels = Tensor::<4>::from_data(TensorData::new(pixels, [6, 3, 16, 16]), &device);
        let working = match to {
            FloatDType::BF16 => Precision::Bf16.working(&network),
            _ => network.clone().map(&mut Halved { to, norms: 0 }),
        };
        let encoded = working.project(pixels.cast(to)).cast(FloatDType::F32);
        let weights = Tensor::from_data(TensorData::new((0..48).map(value).collect(), [6, 8]), &device);
        let gradients = GradientsParams::from_grads((encoded * weights).sum().backward(), &network);
        struct Read<'a>(&'a GradientsParams, Vec<f32>);
        impl ModuleVisitor for Read<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if let Some(gradient) = self.0.get::<D>(param.id) {
                    assert_eq!(gradient.dtype(), DType::F32);
                    self.1.extend(gradient.into_data().try_to_vec::<f32>().unwrap());
                }
            }
        }
        let mut read = Read(&gradients, Vec::new());
        network.visit(&mut read);
        let found = read.1;
        let sgd = OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0 };
        (found, sgd.build().unwrap().step(0.1, network, gradients))
    }

    #[test]
    fn gradients_reach_the_f32_weights_and_miss_those_of_f32_by_rounding_alone() {
        for config in networks() {
            let (wanted, _) = step(FloatDType::F32, &config);
            let miss = |found: &[f32]| {
                let square = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x * x)).sum::<f64>();
                let difference = &mut found.iter().zip(&wanted).map(|(a, b)| a - b);
                (square(difference) / square(&mut wanted.iter().copied())).sqrt()
            };
            let (of_bf16, half) = step(FloatDType::BF16, &config);
            assert_eq!(of_bf16.len(), wanted.len());
            let miss = miss(&of_bf16);
            assert!(miss < 0.5, "{}: {miss}", config.encoder);
            // Weights and statistics are still f32.
            assert!(seen(&half).iter().all(|(dtype, _)| *dtype == DType::F32));
        }
    }

    #[test]
    fn casting_leaves_the_network_and_its_norms_alone() {
        for config in networks() {
            let network = config.init(&Device::flex().autodiff(), 1).unwrap();
            let before = seen(&network);
            let working = seen(&Precision::Bf16.working(&network));
            assert_eq!(seen(&network), before);
            let halved = working.iter().filter(|(dtype, _)| *dtype == DType::BF16).count();
            let norms = working.len() - halved;
            assert!(halved > 0 && norms > 0 && norms.is_multiple_of(4), "{halved} {norms}");
        }
    }

    #[test]
    fn the_cpu_refuses_bf16_with_the_reason() {
        assert!(Precision::F32.check(&Device::flex()).is_ok());
        let message = Precision::Bf16.check(&Device::flex().autodiff()).unwrap_err().to_string();
        assert!(message.starts_with("precision = bf16") && message.contains("AVX-512 BF16"), "{message}");
    }
}
