//! Layers over the [kernels](crate::kernels), with the parameter names of Burn and torchvision.

mod batch_norm;
mod conv2d;

pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
