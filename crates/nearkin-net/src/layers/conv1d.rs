use burn::module::Param;
use burn::prelude::*;

use crate::init::Init;
use crate::kernels::conv1d;

/// A convolution along time. It has a bias where no batch normalisation follows, which would take it out again.
#[derive(Module, Debug)]
pub struct Conv1d {
    /// `[o, c, k]`
    pub weight: Param<Tensor<3>>,
    /// `[o]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Steps between two applications of the kernel.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

impl Conv1d {
    /// Weights as [`Init::conv`]'s; zeros on each side so that a series of `stride · m` steps becomes one of `m`.
    pub(crate) fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        bias: bool,
        init: &mut Init,
    ) -> Self {
        Self {
            weight: init.normal([outputs, inputs, kernel], (2.0 / (outputs * kernel) as f32).sqrt()),
            bias: bias.then(|| init.constant([outputs], 0.0)),
            stride,
            padding: kernel.saturating_sub(stride).div_ceil(2),
        }
    }

    /// # Shapes
    ///
    /// - input: `[n, c, time]`
    /// - output: `[n, o, (time + 2·padding − k) / stride + 1]`
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let output = conv1d(input, self.weight.val(), self.stride, self.padding);
        match &self.bias {
            Some(bias) => output + bias.val().reshape([1, -1, 1]),
            None => output,
        }
    }
}
