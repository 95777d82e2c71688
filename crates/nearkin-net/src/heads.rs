//! Heads on top of an encoder.

use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::{Init, Part};
use crate::kernels::activate;
use crate::kernels::activation::Activation;
use crate::layers::BatchNorm;

/// Deepest [`Mlp`]: without shortcuts, a deeper one does not train.
const MAX_LAYERS: usize = 64;

/// Settings of an [`Mlp`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MlpConfig {
    /// Width of the hidden layers; SimCLR takes the encoder's features.
    pub hidden: usize,
    /// Width of the output.
    pub out: usize,
    /// Linear layers, at least 1 (default 2, SimCLR's).
    #[serde(default = "default_layers")]
    pub layers: usize,
    /// Whether hidden layers are batch-normalised (default false).
    #[serde(default)]
    pub batch_norm: bool,
    /// Whether the output is batch-normalised too, as SimSiam's projector's (default false).
    #[serde(default)]
    pub output_norm: bool,
}

fn default_layers() -> usize {
    2
}

impl MlpConfig {
    /// Two layers with ReLU and no normalisation: SimCLR's projector.
    pub fn new(hidden: usize, out: usize) -> Self {
        Self { hidden, out, layers: 2, batch_norm: false, output_norm: false }
    }

    /// One layer, which is linear.
    pub fn linear(out: usize) -> Self {
        Self { layers: 1, ..Self::new(1, out) }
    }

    /// BYOL's projector and predictor: two layers, the hidden one batch-normalised (4096 wide, 256 out in Grill et al., "Bootstrap
    /// your own latent", 2020).
    pub fn byol(hidden: usize, out: usize) -> Self {
        Self { batch_norm: true, ..Self::new(hidden, out) }
    }

    /// SimSiam's projector: three layers of one width, all batch-normalised, the last without a ReLU (2048 wide in Chen and He,
    /// "Exploring simple siamese representation learning", 2021).
    pub fn simsiam_projector(width: usize) -> Self {
        Self { hidden: width, out: width, layers: 3, batch_norm: true, output_norm: true }
    }

    /// SimSiam's predictor: a bottleneck of a quarter of the width.
    pub fn simsiam_predictor(width: usize) -> Self {
        Self::byol(width.div_ceil(4), width)
    }

    /// The expander of Barlow Twins and VICReg: three layers of one width, the hidden ones batch-normalised (8192 wide in Zbontar
    /// et al., "Barlow twins", 2021, and in Bardes, Ponce and LeCun, "VICReg", 2022).
    pub fn expander(width: usize) -> Self {
        Self { layers: 3, ..Self::byol(width, width) }
    }

    /// A head beside a network, as a predictor of BYOL or SimSiam, on inputs of this width.
    ///
    /// # Errors
    ///
    /// If a size is zero, or larger than any machine holds: `predictor.hidden` and so on.
    pub fn predictor(&self, inputs: usize, device: &Device, seed: u64) -> Result<Mlp, ConfigError> {
        self.check("predictor")?;
        check_size("predictor's inputs", inputs, MAX_SIZE)?;
        Ok(self.build(inputs, &mut Init::part(device, seed, Part::Predictor)))
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), ConfigError> {
        check_size(&format!("{field}.hidden"), self.hidden, MAX_SIZE)?;
        check_size(&format!("{field}.out"), self.out, MAX_SIZE)?;
        check_size(&format!("{field}.layers"), self.layers, MAX_LAYERS)
    }

    pub(crate) fn build(&self, inputs: usize, init: &mut Init) -> Mlp {
        let mut layers = vec![];
        let mut norms = vec![];
        let mut width = inputs;
        for _ in 1..self.layers {
            // A normalisation has an offset of its own and would take the bias out again.
            layers.push(init.linear(width, self.hidden, !self.batch_norm));
            if self.batch_norm {
                norms.push(BatchNorm::new(self.hidden, init));
            }
            width = self.hidden;
        }
        layers.push(init.linear(width, self.out, !self.output_norm));
        let output_norm = self.output_norm.then(|| BatchNorm::new(self.out, init));
        Mlp { layers, norms, output_norm }
    }
}

/// Linear layers with ReLU between them, optionally with batch normalisation before each ReLU and of the output.
///
/// With two layers, the projection head of SimCLR: `z = W₂ · ReLU(W₁ · h)` (Chen et al., "A simple
/// framework for contrastive learning of visual representations", 2020).
#[derive(Module, Debug)]
pub struct Mlp {
    /// The linear layers in order.
    pub layers: Vec<Linear>,
    /// One for each layer but the last, or none at all.
    pub norms: Vec<BatchNorm>,
    /// Of the output.
    pub output_norm: Option<BatchNorm>,
}

impl Mlp {
    /// # Shapes
    ///
    /// - input: `[n, inputs]`
    /// - output: `[n, out]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len().saturating_sub(1);
        let mut x = input;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(x);
            if index < last {
                x = match self.norms.get(index) {
                    Some(norm) => norm.forward_relu(x),
                    None => relu(x),
                };
            }
        }
        match &self.output_norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// Width of the output.
    pub fn out_dim(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.weight.dims()[1])
    }
}

/// Settings of a [`DinoHead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct DinoHeadConfig {
    /// Width of the hidden layers (default 512; 2048 in the paper).
    pub hidden: usize,
    /// Values of the bottleneck (default 64; 256 in the paper).
    pub bottleneck: usize,
    /// Scores of the output (default 1024; 65,536 in the paper).
    pub out: usize,
    /// Linear layers up to the bottleneck (default 3, the paper's).
    pub layers: usize,
}

impl Default for DinoHeadConfig {
    fn default() -> Self {
        Self { hidden: 512, bottleneck: 64, out: 1024, layers: 3 }
    }
}

impl DinoHeadConfig {
    /// A head on inputs of this width.
    ///
    /// # Errors
    ///
    /// If a size is zero, or larger than any machine holds: `dino.hidden` and so on.
    pub fn init(&self, inputs: usize, device: &Device, seed: u64) -> Result<DinoHead, ConfigError> {
        check_size("dino's inputs", inputs, MAX_SIZE)?;
        check_size("dino.hidden", self.hidden, MAX_SIZE)?;
        check_size("dino.bottleneck", self.bottleneck, MAX_SIZE)?;
        check_size("dino.out", self.out, MAX_SIZE)?;
        check_size("dino.layers", self.layers, MAX_LAYERS)?;
        let init = &mut Init::part(device, seed, Part::Dino);
        let mut width = inputs;
        let layers = (0..self.layers).map(|layer| {
            let outputs = if layer + 1 < self.layers { self.hidden } else { self.bottleneck };
            let weight = init.normal([width, outputs], 0.02);
            width = outputs;
            Linear { weight, bias: Some(init.constant([outputs], 0.0)) }
        });
        let layers = layers.collect();
        let bound = 1.0 / (self.bottleneck as f32).sqrt();
        Ok(DinoHead {
            layers,
            last_layer: Directions { weight: init.uniform([self.out, self.bottleneck], bound) },
        })
    }
}

/// DINO's head: linear layers with GELU between them down to a bottleneck, whose length is taken out, and the scores of its
/// direction against learned ones.
///
/// Caron et al., "Emerging properties in self-supervised vision transformers", 2021. The last layer is weight-normalised with
/// its gains held at 1, the paper's choice for a stable training. Temperatures, centring and sharpening are the loss's.
#[derive(Module, Debug)]
pub struct DinoHead {
    /// Down to the bottleneck.
    pub layers: Vec<Linear>,
    /// The learned directions.
    pub last_layer: Directions,
}

impl DinoHead {
    /// # Shapes
    ///
    /// - input: `[n, inputs]`
    /// - output: `[n, out]`, in [−1, 1]
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        let last = self.layers.len().saturating_sub(1);
        let layers = self.layers.iter().enumerate();
        let x = layers.fold(input, |x, (index, layer)| {
            let x = layer.forward(x);
            if index < last { activate(x, Activation::Gelu) } else { x }
        });
        self.last_layer.forward(x)
    }
}

/// Settings of SwAV's prototypes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PrototypesConfig {
    /// How many (default 256; 3000 in the paper).
    pub count: usize,
}

impl Default for PrototypesConfig {
    fn default() -> Self {
        Self { count: 256 }
    }
}

impl PrototypesConfig {
    /// Prototypes for embeddings of this width.
    ///
    /// # Errors
    ///
    /// If there are none, or more than any machine holds: `prototypes.count`.
    pub fn init(&self, inputs: usize, device: &Device, seed: u64) -> Result<Directions, ConfigError> {
        check_size("prototypes' inputs", inputs, MAX_SIZE)?;
        check_size("prototypes.count", self.count, MAX_SIZE)?;
        let init = &mut Init::part(device, seed, Part::Prototypes);
        Ok(Directions { weight: init.uniform([self.count, inputs], 1.0 / (inputs as f32).sqrt()) })
    }
}

/// Learned directions, and the cosines of embeddings with them: SwAV's prototypes, and the last layer of DINO.
///
/// Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", 2020. The paper sets each
/// prototype to unit length before a step; here the length is taken out whenever they are used, and nothing has to be called.
/// Both move a prototype along the sphere.
#[derive(Module, Debug)]
pub struct Directions {
    /// `[directions, inputs]`, of any length but zero.
    pub weight: Param<Tensor<2>>,
}

impl Directions {
    /// # Shapes
    ///
    /// - input: `[n, inputs]`, of any length
    /// - output: `[n, directions]`, in [−1, 1]
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        unit_rows(input).matmul(unit_rows(self.weight.val()).transpose())
    }
}

/// Rows without their length; a row of zeros stays one.
fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, noise, values};
    use crate::parameters::param_count;
    use burn::tensor::TensorData;

    fn build(layers: usize, batch_norm: bool) -> Mlp {
        let config = MlpConfig { layers, batch_norm, ..MlpConfig::new(5, 3) };
        config.build(4, &mut Init::new(&Device::flex(), 2))
    }

    #[test]
    fn parameters_are_those_of_its_layers() {
        assert_eq!(param_count(&build(1, true)), 4 * 3 + 3);
        assert_eq!(param_count(&build(2, false)), 4 * 5 + 5 + 5 * 3 + 3);
        assert_eq!(param_count(&build(3, true)), (20 + 10) + (25 + 10) + 15 + 3);
        assert_eq!(build(3, true).out_dim(), 3);
    }

    #[test]
    fn papers_heads_have_their_layers_and_normalisations() {
        let device = Device::flex();
        let build = |config: MlpConfig| config.predictor(4, &device, 1).unwrap();
        // Normalised layers have no bias and two values a channel.
        assert_eq!(param_count(&build(MlpConfig::byol(5, 3))), 20 + 10 + 15 + 3);
        assert_eq!(param_count(&build(MlpConfig::simsiam_projector(4))), 3 * (16 + 8));
        assert_eq!(param_count(&build(MlpConfig::simsiam_predictor(8))), 8 + 4 + 16 + 8);
        assert_eq!(param_count(&build(MlpConfig::expander(4))), 2 * (16 + 8) + 16 + 4);
        let error = MlpConfig::byol(0, 3).predictor(4, &device, 1).unwrap_err();
        assert_eq!(error.field, "predictor.hidden");
    }

    #[test]
    fn a_normalised_output_has_mean_zero_and_variance_one() {
        let device = Device::flex().autodiff();
        let head = MlpConfig::simsiam_projector(4).predictor(4, &device, 1).unwrap();
        let x = Tensor::from_data(TensorData::new(noise(32, 1), [8, 4]), &device);
        let y = head.forward(x);
        let means = values(y.clone().mean_dim(0));
        assert!(means.iter().all(|mean| mean.abs() < 1e-6), "{means:?}");
        let variances = values(y.square().mean_dim(0));
        assert!(variances.iter().all(|variance| (variance - 1.0).abs() < 1e-2), "{variances:?}");
    }

    #[test]
    fn scores_against_directions_are_cosines_whatever_the_lengths() {
        let device = Device::flex().autodiff();
        let weight = Param::from_tensor(Tensor::from_floats([[3.0, 4.0], [0.0, -2.0]], &device));
        let x = Tensor::<2>::from_floats([[2.0, 0.0], [0.0, 0.0]], &device).require_grad();
        let scores = Directions { weight }.forward(x.clone());
        assert_close(&values(scores.clone()), &[0.6, 0.0, 0.0, 0.0], 1e-6, "scores");
        let gradient = values(x.grad(&scores.sum().backward()).expect("a gradient"));
        // Along the sphere: no part along x itself. Zeros have no direction, and a finite gradient.
        assert!(gradient[0].abs() < 1e-6 && (gradient[1] - (0.8 - 1.0) / 2.0).abs() < 1e-6, "{gradient:?}");
        assert!(gradient.iter().all(|v| v.is_finite()));
    }

    #[test]
    fn dinos_head_ends_in_cosines_and_names_settings_that_do_not_fit() {
        let device = Device::flex();
        let config = DinoHeadConfig { hidden: 6, bottleneck: 3, out: 7, layers: 3 };
        let head = config.init(4, &device, 1).unwrap();
        assert_eq!(param_count(&head), (24 + 6) + (36 + 6) + (18 + 3) + 21);
        let scores = head.forward(Tensor::from_data(TensorData::new(noise(8, 1), [2, 4]), &device));
        assert_eq!(scores.dims(), [2, 7]);
        assert!(values(scores).iter().all(|score| score.abs() <= 1.0 + 1e-6));
        let refused = |config: DinoHeadConfig| config.init(4, &device, 1).unwrap_err().field;
        assert_eq!(refused(DinoHeadConfig { bottleneck: 0, ..config }), "dino.bottleneck");
        assert_eq!(refused(DinoHeadConfig { layers: 65, ..config }), "dino.layers");
        assert_eq!(PrototypesConfig { count: 0 }.init(4, &device, 1).unwrap_err().field, "prototypes.count");
        let prototypes = PrototypesConfig::default().init(4, &device, 1).unwrap();
        assert_eq!(prototypes.weight.dims(), [256, 4]);
    }

    #[test]
    fn two_layers_are_a_relu_between_two_products() {
        let head = build(2, false);
        let x = [0.5f32, -1.0, 2.0, 0.25];
        let [first, second] = [0, 1].map(|i| {
            let layer = &head.layers[i];
            let bias = layer.bias.as_ref().expect("a bias");
            (values(layer.weight.val()), values(bias.val()))
        });
        let apply = |x: &[f64], (weight, bias): &(Vec<f32>, Vec<f32>)| -> Vec<f64> {
            bias.iter()
                .enumerate()
                .map(|(j, b)| {
                    let products = x.iter().enumerate();
                    let sum = products.map(|(i, x)| x * f64::from(weight[i * bias.len() + j]));
                    f64::from(*b) + sum.sum::<f64>()
                })
                .collect()
        };
        let hidden: Vec<f64> = apply(&x.map(f64::from), &first).into_iter().map(|v| v.max(0.0)).collect();
        let found = values(head.forward(Tensor::from_floats([x], &Device::flex())));
        assert_close(&found, &apply(&hidden, &second), 1e-6, "output");
    }
}
