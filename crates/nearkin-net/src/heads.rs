//! Heads on top of an encoder.

use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, MAX_SIZE, check_size};
use crate::init::Init;
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
}

fn default_layers() -> usize {
    2
}

impl MlpConfig {
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
        layers.push(init.linear(width, self.out, true));
        Mlp { layers, norms }
    }
}

/// Linear layers with ReLU between them, optionally with batch normalisation before each ReLU.
///
/// With two layers, the projection head of SimCLR: `z = W₂ · ReLU(W₁ · h)` (Chen et al., "A simple
/// framework for contrastive learning of visual representations", 2020).
#[derive(Module, Debug)]
pub struct Mlp {
    /// The linear layers in order.
    pub layers: Vec<Linear>,
    /// One for each layer but the last, or none at all.
    pub norms: Vec<BatchNorm>,
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
        x
    }

    /// Width of the output.
    pub fn out_dim(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.weight.dims()[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{assert_close, values};
    use crate::parameters::param_count;

    fn build(layers: usize, batch_norm: bool) -> Mlp {
        let config = MlpConfig { hidden: 5, out: 3, layers, batch_norm };
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
