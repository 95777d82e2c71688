//! Sources, decoding, views, samplers and the loader.
//!
//! The way of a pixel: [`Dataset::open`] finds the samples and their labels, [`Prepared::prepare`]
//! decodes them once and keeps them small, a [`samplers::Sampler`] orders them into batches, and a
//! [`Loader`] turns every batch into normalised [`Views`] ahead of the training step.
//!
//! Sounds and series go the same way as images, through [`PreparedSignals`], [`SignalViews`] and [`SignalLoader`].
//!
//! A [`Table`] of features goes another way: [`Features`] turn its columns into vectors.
//!
//! Every random draw is a function of (seed, epoch, sample, view, purpose), see [`random`], so a
//! batch has the same bits on any number of threads and after a resume.
//!
//! ```no_run
//! use std::sync::Arc;
//! use nearkin_data::*;
//!
//! # fn main() -> Result<(), DataError> {
//! let dataset = Dataset::open("data/fashion-mnist#train".as_ref())?;
//! let prepared = Prepared::prepare(&dataset, &PrepareOptions::new(1, 32), &mut |_, _| {})?;
//! let batches = Shuffled::new(prepared.len(), 256, true)?.batches(7, 0);
//! let view = Arc::new(Views::new(&ViewConfig::simclr(0.5), 32, 1)?);
//! let views = vec![Arc::clone(&view), view];
//! for batch in Loader::start(Arc::new(prepared), views, batches, 7, 0, 0, 2, 4)? {
//!     assert_eq!(batch?.crops[0].shape, [2 * 256, 1, 32, 32]);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod ahead;
mod attributes;
mod dataset;
mod decode;
mod error;
mod files;
mod image;
pub mod kin;
mod loader;
mod memory;
mod mfcc;
mod names;
mod patches;
pub mod poses;
mod prepare;
mod prepare_signals;
pub mod random;
mod resize;
pub mod samplers;
mod shifted;
mod signal;
mod signal_loader;
pub mod signal_views;
mod sources;
pub mod splits;
mod store;
mod summary;
pub mod table;
pub mod views;

pub use attributes::Attributes;
pub use dataset::{Dataset, Kind, Media, Sample};
pub use decode::{DecodeError, Limits, decode, read_image};
pub use error::DataError;
pub use files::{write_whole, write_whole_by};
pub use image::Image;
pub use kin::KinGraph;
pub use loader::{Batch, Crops, Loader, draw_batch, labels};
pub use mfcc::{COEFFICIENTS, mfcc};
pub use names::NamePattern;
pub use patches::Patches;
pub use prepare::{PrepareOptions, Prepared, Skipped};
pub use prepare_signals::{PreparedSignals, SignalOptions};
pub use resize::Taps;
pub use samplers::{
    ClassBalanced, ClassNearness, HardClass, Hierarchical, KinPairs, PkSampler, Sampler, Sequential,
    Shuffled, SuperClasses,
};
pub use shifted::{DRLIM_SHIFTS, DRLIM_SIDE, shifted};
pub use signal::Signal;
pub use signal_loader::{SignalBatch, SignalLoader};
pub use signal_views::{SignalCrop, SignalViewConfig, SignalViews, SpecAugment, Standardize};
pub use splits::{AttributeValues, ClassList, ClassRanges, Divided, SplitRule};
pub use summary::{ChannelCount, ClassCount, RateCount, SizeCount, SplitCount, Summary};
pub use table::{FeatureOptions, Features, Table, TableKind, TableOptions};
pub use views::{
    Affine, Blur, Colour, Crop, Cutout, Draw, Hsv, Jitter, Normalize, PRESETS, PcaContrast, Posterize,
    Solarize, ViewConfig, Views,
};
