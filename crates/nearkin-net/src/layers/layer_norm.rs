use burn::module::Param;
use burn::prelude::*;

use crate::init::Init;
use crate::kernels::layer_norm;

/// Layer normalisation of the last axis.
///
/// Ba, Kiros and Hinton, "Layer normalization", 2016.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// γ, the learned scale, `[d]`.
    pub gamma: Param<Tensor<1>>,
    /// β, the learned offset, `[d]`.
    pub beta: Param<Tensor<1>>,
    /// Added to the variance before the root.
    pub epsilon: f64,
}

impl LayerNorm {
    pub(crate) fn new(width: usize, init: &Init) -> Self {
        // Vision transformers' ε, a tenth of PyTorch's default.
        Self { gamma: init.constant([width], 1.0), beta: init.constant([width], 0.0), epsilon: 1e-6 }
    }

    /// # Shapes
    ///
    /// - input, output: `[…, d]`
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        layer_norm(input, self.gamma.val(), self.beta.val(), self.epsilon)
    }
}
