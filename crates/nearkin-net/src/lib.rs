//! Networks that turn images and series into embeddings: encoders, heads, fast CPU kernels, momentum
//! twins, weight import and export.
//!
//! ```
//! use burn::prelude::*;
//! use nearkin_net::{EncoderConfig, NetworkConfig};
//!
//! let config = NetworkConfig {
//!     encoder: EncoderConfig::SmallConv { width: 8 },
//!     channels: 1,
//!     size: 28,
//!     embedding: Some(16),
//!     projector: None,
//! };
//! let network = config.init(&Device::flex(), 7)?;
//! let images = Tensor::<4>::zeros([2, 1, 28, 28], &Device::flex());
//! assert_eq!(network.embed(images).dims(), [2, 16]);
//! # Ok::<(), nearkin_net::ConfigError>(())
//! ```

#![deny(unsafe_code)]

pub mod encoders;
mod error;
pub mod heads;
mod init;
pub mod kernels;
pub mod layers;
pub mod masked;
pub mod momentum;
mod network;
pub mod onnx;
pub mod parameters;
pub mod patches;
pub mod sequences;
pub mod weights;

pub use encoders::{
    Encoder, EncoderConfig, InceptionConfig, InceptionLayout, LuNetConfig, MlpEncoderConfig, PatchGridConfig,
    ResNetConfig, Stem, VitConfig,
};
pub use error::ConfigError;
pub use heads::{DinoHeadConfig, Mlp, MlpConfig, PrototypesConfig};
pub use masked::DecoderConfig;
pub use network::{Network, NetworkConfig};
pub use patches::Patches;
pub use sequences::{
    ContextConfig, SequenceConfig, SequenceEncoderConfig, SequenceNetwork, SequenceNetworkConfig,
};
