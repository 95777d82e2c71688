//! nearkin learns embeddings in which *near means kin*: from images, with or without labels, or from tables, to a searchable
//! index.
//!
//! This crate is the facade: each room of the house under one name. The command line, `nearkin`, is built from the same
//! pieces. See `examples/` for training, embedding and search as a library.
//!
//! | module | what lives there |
//! |---|---|
//! | [`sweep`] | the row engine: scores, top-k, springs |
//! | [`data`] | sources, decoding, views, samplers, the loader |
//! | [`loss`] | losses as springs, differentiable in Burn |
//! | [`classic`] | linear and spectral methods, from PCA to LMNN |
//! | [`net`] | encoders, heads, weight import and export |
//! | [`eval`] | retrieval metrics, kNN, spectrum, the report |
//! | [`train`] | methods, recipes, the loop, checkpoints, the model |
//! | [`index`] | embeddings on disk, exact and approximate search |
//! | [`serve`] | the index over HTTP, and the gallery |

#![forbid(unsafe_code)]

pub use nearkin_classic as classic;
pub use nearkin_data as data;
pub use nearkin_eval as eval;
pub use nearkin_index as index;
pub use nearkin_loss as loss;
pub use nearkin_net as net;
pub use nearkin_serve as serve;
pub use nearkin_sweep as sweep;
pub use nearkin_train as train;
