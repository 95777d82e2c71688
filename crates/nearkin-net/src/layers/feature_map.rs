use burn::prelude::*;

use super::{BatchNorm, Conv2d};
use crate::kernels::conv2d_in_blocks;

/// What a layer of a convolutional network makes of images, in the order of memory that the next one reads fastest: from convolution to
/// convolution the CPU's kernels keep channels in blocks, and have nothing to turn around.
#[derive(Clone, Debug)]
pub(crate) enum FeatureMap {
    /// `[n, c, h, w]`
    Planes(Tensor<4>),
    /// `[n, c / 16, h, w, 16]`
    Blocks(Tensor<5>),
}

impl From<Tensor<4>> for FeatureMap {
    fn from(images: Tensor<4>) -> Self {
        Self::Planes(images)
    }
}

impl FeatureMap {
    /// In blocks where there are kernels for that.
    pub fn convolve(self, layer: &Conv2d) -> Self {
        let (weight, stride, padding) = (layer.weight.val(), layer.stride, layer.padding);
        let blocks = match &self {
            _ if layer.bias.is_some() => None,
            Self::Planes(map) => conv2d_in_blocks(map, weight, stride, padding),
            Self::Blocks(map) => conv2d_in_blocks(map, weight, stride, padding),
        };
        match blocks {
            Some(map) => Self::Blocks(map),
            None => Self::Planes(layer.forward(self.into_planes())),
        }
    }

    /// A batch normalisation and a ReLU.
    pub fn normalise_relu(self, layer: &BatchNorm) -> Self {
        match self {
            Self::Planes(map) => Self::Planes(layer.forward_relu(map)),
            Self::Blocks(map) => Self::Blocks(layer.forward_relu(map)),
        }
    }

    /// `[n, c, h, w]`
    pub fn into_planes(self) -> Tensor<4> {
        match self {
            Self::Planes(map) => map,
            Self::Blocks(map) => {
                let [n, blocks, h, w, lanes] = map.dims();
                map.permute([0, 1, 4, 2, 3]).reshape([n, blocks * lanes, h, w])
            }
        }
    }

    /// The mean of each channel over the image, `[n, c]`.
    pub fn pooled(self) -> Tensor<2> {
        match self {
            Self::Planes(map) => {
                let [n, c, h, w] = map.dims();
                map.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
            }
            Self::Blocks(map) => {
                let [n, blocks, h, w, lanes] = map.dims();
                map.reshape([n * blocks, h * w, lanes]).mean_dim(1).reshape([n, blocks * lanes])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::kernels::testing::{assert_close, noise, values};
    use burn::tensor::TensorData;

    /// Output, gradients of the input, of both weights, of γ and of β, and running statistics: of two convolutions.
    fn found(layers: (Conv2d, BatchNorm, Conv2d), input: &Tensor<4>, in_blocks: bool) -> Vec<Vec<f32>> {
        let (first, norm, second) = layers;
        let x = input.clone().require_grad();
        let y = match in_blocks {
            true => {
                let map =
                    FeatureMap::from(x.clone()).convolve(&first).normalise_relu(&norm).convolve(&second);
                assert!(matches!(map, FeatureMap::Blocks(_)));
                map
            }
            false => second.forward(norm.forward_relu(first.forward(x.clone()))).into(),
        };
        let mean = values(y.clone().pooled());
        let y = y.into_planes();
        let weight = Tensor::from_data(
            TensorData::new(noise(y.shape().num_elements(), 7), y.shape()),
            &input.device(),
        );
        let gradients = (y.clone() * weight).sum().backward();
        vec![
            values(y),
            mean,
            values(x.grad(&gradients).expect("of the input")),
            values(first.weight.val().grad(&gradients).expect("of the first weight")),
            values(second.weight.val().grad(&gradients).expect("of the second weight")),
            values(norm.gamma.val().grad(&gradients).expect("of γ")),
            values(norm.beta.val().grad(&gradients).expect("of β")),
            values(norm.running_mean.value()),
            values(norm.running_var.value()),
        ]
    }

    #[test]
    fn blocks_give_what_planes_give_with_and_without_checkpointing() {
        let plain = Device::flex().autodiff();
        for device in [plain.clone(), plain.gradient_checkpointing()] {
            for (shape, strides) in [
                ([3, 3, 9, 11], [1, 2]),
                ([2, 1, 14, 14], [2, 1]),
                ([9, 16, 8, 6], [1, 1]),
                // Few tiles for many weights.
                ([1, 2, 4, 4], [1, 2]),
            ] {
                // Running statistics are shared by clones, and both ways are to begin with the same.
                let layers = || {
                    let init = &mut Init::new(&device, 3);
                    (
                        Conv2d::new(shape[1], 32, 3, strides[0], init),
                        BatchNorm::new(32, init),
                        Conv2d::new(32, 48, 3, strides[1], init),
                    )
                };
                let input =
                    Tensor::from_data(TensorData::new(noise(shape.iter().product(), 1), shape), &device);
                let planes = found(layers(), &input, false);
                for (blocks, planes) in found(layers(), &input, true).iter().zip(planes) {
                    let planes: Vec<f64> = planes.into_iter().map(f64::from).collect();
                    assert_close(blocks, &planes, 1e-5, &format!("{shape:?}"));
                }
            }
        }
    }

    #[test]
    fn what_has_no_kernel_in_blocks_stays_in_planes() {
        let device = Device::flex();
        let init = &mut Init::new(&device, 3);
        let input = |shape: [usize; 4]| FeatureMap::from(Tensor::zeros(shape, &device));
        let is_in_planes = |map: FeatureMap| matches!(map, FeatureMap::Planes(_));
        assert!(is_in_planes(input([2, 3, 8, 8]).convolve(&Conv2d::new(3, 20, 3, 1, init))), "channels");
        assert!(is_in_planes(input([2, 3, 8, 8]).convolve(&Conv2d::biased(3, 16, 3, 1, init))), "a bias");
        let map = input([2, 3, 2, 2]).convolve(&Conv2d::new(3, 16, 3, 1, init));
        assert!(!is_in_planes(map.clone()));
        let map = map.convolve(&Conv2d::new(16, 16, 3, 2, init));
        assert!(is_in_planes(map.clone()), "an output of one pixel");
        assert_eq!(map.into_planes().dims(), [2, 16, 1, 1]);
    }
}
