//! Layers over the [kernels](crate::kernels), with the parameter names of Burn and torchvision.

mod batch_norm;
mod conv1d;
mod conv2d;
mod feature_map;
mod gru;
mod layer_norm;
mod transformer;

pub use batch_norm::BatchNorm;
pub use conv1d::Conv1d;
pub use conv2d::Conv2d;
pub(crate) use feature_map::FeatureMap;
pub use gru::Gru;
pub use layer_norm::LayerNorm;
pub use transformer::{Attention, FeedForward, TransformerBlock};
pub(crate) use transformer::{block_multiply_adds, check_heads};
