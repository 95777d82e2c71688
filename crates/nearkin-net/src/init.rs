//! Initial weights, drawn on the CPU from a counter-based generator.
//!
//! Every tensor has a stream of its own, numbered in the order of creation. The values are a
//! function of the seed and that number alone: not of the device, of the number of threads, or of
//! other draws in the process (Burn's generators are global to a device). A head added behind an
//! encoder leaves the encoder's weights as they were.

use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::TensorData;
use rand::{RngExt, SeedableRng, distr::Distribution};
use rand_chacha::ChaCha8Rng;
use rand_distr::{StandardNormal, Uniform};

/// Draws the initial weights of a network, layer after layer.
pub(crate) struct Init<'a> {
    device: &'a Device,
    seed: u64,
    drawn: u64,
    groups: usize,
}

/// What is initialised apart from a network and beside it: each part has streams of its own, so that one seed does for all.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Network,
    Predictor,
    Dino,
    Prototypes,
    MaskedDecoder,
    PatchPredictor,
}

impl<'a> Init<'a> {
    pub fn new(device: &'a Device, seed: u64) -> Self {
        Self::part(device, seed, Part::Network)
    }

    /// For a part that a method keeps beside its network.
    pub fn part(device: &'a Device, seed: u64, part: Part) -> Self {
        Self { device, seed, drawn: (part as u64) << 32, groups: 1 }
    }

    /// Lets batch normalisations split their batches in groups.
    pub fn split(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub fn groups(&self) -> usize {
        self.groups
    }

    pub fn device(&self) -> &Device {
        self.device
    }

    /// A parameter that holds one value everywhere.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::full(shape, value, self.device))
    }

    /// Kaiming-normal weights `[o, c, k, k]` for a convolution before a ReLU, with the outputs'
    /// fan: deviation `√(2 / (o · k²))`.
    ///
    /// He et al., "Delving deep into rectifiers", 2015; the choice of torchvision's ResNets.
    pub fn conv(&mut self, shape: [usize; 4]) -> Param<Tensor<4>> {
        let [out, _, rows, columns] = shape;
        self.normal(shape, (2.0 / (out * rows * columns) as f32).sqrt())
    }

    /// Normal values with mean 0.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], deviation: f32) -> Param<Tensor<D>> {
        self.draw(shape, |rng| {
            let value: f32 = StandardNormal.sample(rng);
            value * deviation
        })
    }

    /// Values uniform in ±`bound`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f32) -> Param<Tensor<D>> {
        let uniform = Uniform::new_inclusive(-bound, bound).expect("a finite bound above zero");
        self.draw(shape, |rng| rng.sample(uniform))
    }

    /// A linear layer with weights uniform in `±√(6 / (inputs + outputs))` and a bias of zero.
    ///
    /// Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010; the choice of
    /// vision transformers.
    pub fn xavier(&mut self, inputs: usize, outputs: usize) -> Linear {
        let bound = (6.0 / (inputs + outputs) as f32).sqrt();
        Linear { weight: self.uniform([inputs, outputs], bound), bias: Some(self.constant([outputs], 0.0)) }
    }

    /// A linear layer with weights and bias uniform in `±1/√inputs`, as PyTorch's and Burn's.
    pub fn linear(&mut self, inputs: usize, outputs: usize, bias: bool) -> Linear {
        let bound = 1.0 / (inputs as f32).sqrt();
        Linear {
            weight: self.uniform([inputs, outputs], bound),
            bias: bias.then(|| self.uniform([outputs], bound)),
        }
    }

    fn draw<const D: usize>(
        &mut self,
        shape: [usize; D],
        mut value: impl FnMut(&mut ChaCha8Rng) -> f32,
    ) -> Param<Tensor<D>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.drawn);
        self.drawn += 1;
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value(&mut rng)).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), self.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::values;

    #[test]
    fn convolution_weights_have_the_kaiming_deviation_and_no_mean() {
        let device = Device::flex();
        let weights = values(Init::new(&device, 1).conv([64, 32, 3, 3]).val());
        let count = weights.len() as f64;
        let mean = weights.iter().map(|w| f64::from(*w)).sum::<f64>() / count;
        let variance = weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / count;
        let wanted = 2.0f64 / (64.0 * 9.0);
        assert!(mean.abs() < 0.02 * wanted.sqrt(), "mean {mean}");
        assert!((variance / wanted - 1.0).abs() < 0.05, "variance {variance}, wanted {wanted}");
    }

    #[test]
    fn parts_beside_a_network_have_draws_of_their_own() {
        let device = Device::flex();
        let draw = |mut init: Init| values(init.linear(8, 4, true).weight.val());
        let all = [Part::Network, Part::Predictor, Part::Dino].map(|part| draw(Init::part(&device, 3, part)));
        assert_ne!(all[0], all[1]);
        assert_ne!(all[1], all[2]);
        assert_eq!(draw(Init::new(&device, 3)), all[0]);
    }

    #[test]
    fn two_layers_of_one_seed_differ_and_two_runs_of_one_seed_do_not() {
        let device = Device::flex();
        let draw = |seed| {
            let mut init = Init::new(&device, seed);
            [(); 2].map(|()| values(init.linear(8, 4, true).weight.val()))
        };
        let [first, second] = draw(3);
        assert_ne!(first, second);
        assert_eq!(draw(3), [first.clone(), second]);
        assert_ne!(draw(4)[0], first);
    }
}
