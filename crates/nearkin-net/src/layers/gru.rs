use burn::module::Param;
use burn::prelude::*;

use crate::init::Init;
use crate::kernels::gru;

/// A gated recurrent unit of one layer, with PyTorch's parameter names, layout and gates (reset, update, new).
///
/// Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014. It takes all steps in one operation: a step
/// after the other on the tape would cost a tensor as large as the sequence for every step and its gradient.
#[derive(Module, Debug)]
pub struct Gru {
    /// `[3 · hidden, inputs]`
    pub weight_ih_l0: Param<Tensor<2>>,
    /// `[3 · hidden, hidden]`
    pub weight_hh_l0: Param<Tensor<2>>,
    /// `[3 · hidden]`
    pub bias_ih_l0: Param<Tensor<1>>,
    /// `[3 · hidden]`
    pub bias_hh_l0: Param<Tensor<1>>,
}

impl Gru {
    /// Weights and biases uniform in `±1/√hidden`, as PyTorch's.
    pub(crate) fn new(inputs: usize, hidden: usize, init: &mut Init) -> Self {
        let bound = 1.0 / (hidden as f32).sqrt();
        Self {
            weight_ih_l0: init.uniform([3 * hidden, inputs], bound),
            weight_hh_l0: init.uniform([3 * hidden, hidden], bound),
            bias_ih_l0: init.uniform([3 * hidden], bound),
            bias_hh_l0: init.uniform([3 * hidden], bound),
        }
    }

    /// Hidden states after each step, from a state of zero.
    ///
    /// # Shapes
    ///
    /// - input: `[n, steps, inputs]`
    /// - output: `[n, steps, hidden]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [n, steps, inputs] = input.dims();
        let weight = self.weight_ih_l0.val();
        let gates = weight.dims()[0];
        let x =
            input.reshape([n * steps, inputs]).matmul(weight.transpose()) + self.bias_ih_l0.val().unsqueeze();
        gru(x.reshape([n, steps, gates]), self.weight_hh_l0.val(), self.bias_hh_l0.val())
    }
}
