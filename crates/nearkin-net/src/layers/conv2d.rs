use burn::module::Param;
use burn::prelude::*;

use crate::init::Init;
use crate::kernels::conv2d;

/// A two-dimensional convolution. It has a bias where no batch normalisation follows, which would take it out again.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[o, c, k, k]`
    pub weight: Param<Tensor<4>>,
    /// `[o]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Pixels between two applications of the kernel.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

impl Conv2d {
    /// A square kernel, padded so that stride 1 keeps the size (`k` odd).
    pub(crate) fn new(inputs: usize, outputs: usize, kernel: usize, stride: usize, init: &mut Init) -> Self {
        let weight = init.conv([outputs, inputs, kernel, kernel]);
        Self { weight, bias: None, stride, padding: kernel / 2 }
    }

    /// The same with a bias, which starts at zero.
    pub(crate) fn biased(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        init: &mut Init,
    ) -> Self {
        let bias = Some(init.constant([outputs], 0.0));
        Self { bias, ..Self::new(inputs, outputs, kernel, stride, init) }
    }

    /// # Shapes
    ///
    /// - input: `[n, c, h, w]`
    /// - output: `[n, o, (h + 2·padding − k) / stride + 1, (w + 2·padding − k) / stride + 1]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let output = conv2d(input, self.weight.val(), self.stride, self.padding);
        match &self.bias {
            Some(bias) => output + bias.val().reshape([1, -1, 1, 1]),
            None => output,
        }
    }
}
