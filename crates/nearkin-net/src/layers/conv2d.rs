use burn::module::Param;
use burn::prelude::*;

use crate::init::Init;
use crate::kernels::conv2d;

/// A two-dimensional convolution without bias: every one here is followed by batch normalisation.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[o, c, k, k]`
    pub weight: Param<Tensor<4>>,
    /// Pixels between two applications of the kernel.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

impl Conv2d {
    /// A square kernel, padded so that stride 1 keeps the size (`k` odd).
    pub(crate) fn new(inputs: usize, outputs: usize, kernel: usize, stride: usize, init: &mut Init) -> Self {
        Self { weight: init.conv([outputs, inputs, kernel, kernel]), stride, padding: kernel / 2 }
    }

    /// # Shapes
    ///
    /// - input: `[n, c, h, w]`
    /// - output: `[n, o, (h + 2·padding − k) / stride + 1, (w + 2·padding − k) / stride + 1]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        conv2d(input, self.weight.val(), self.stride, self.padding)
    }
}
