//! Training methods, one file a paper.
//!
//! A method says, top to bottom: what a batch is, how many views a sample turns into, what is encoded by what, what
//! the loss is, and which epoch to keep. Nothing here knows of threads, files or devices.

mod batch_hard;
mod simclr;
mod supcon;

use burn::tensor::Tensor;
use nearkin_data::{Crop, DataError, Jitter, PkSampler, Sampler, ViewConfig};
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::Network;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

pub use batch_hard::BatchHardMethod;
pub use simclr::SimClr;
pub use supcon::SupConMethod;

use crate::error::TrainError;

/// The labels of a training set: a class a sample, or none.
pub type Labels<'a> = Option<&'a [u32]>;

/// What a method needs to know of the batch that was encoded. Rows are view-major: all samples of the first view,
/// then all of the second.
#[derive(Debug, Clone, Copy)]
pub struct BatchKin<'a> {
    /// The samples of the batch.
    pub samples: &'a [usize],
    /// Their labels; `u32::MAX` without any.
    pub labels: &'a [u32],
}

/// By what the best epoch is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// The highest MAP@R among samples held out of training; needs labels.
    HeldOut,
    /// The latest: what a method without labels can honestly do.
    Latest,
}

/// A training method.
pub trait Method: Send + Sync {
    /// What a batch is.
    ///
    /// # Errors
    /// When the data cannot make such batches: too few classes or samples, or no labels where they are needed.
    fn sampler(&self, len: usize, labels: Labels<'_>) -> Result<Box<dyn Sampler>, TrainError>;

    /// How many views a sample turns into.
    fn views(&self) -> usize;

    /// The augmentation that suits the method, when the recipe names none.
    fn default_views(&self) -> ViewConfig;

    /// What is compared: `[n, c, h, w]` pixels to `[n, d]` vectors.
    fn encode(&self, network: &Network, pixels: Tensor<4>) -> Tensor<2>;

    /// The loss of a whole batch of encoded views.
    ///
    /// # Errors
    /// When the loss cannot read the vectors.
    fn loss(&self, encoded: Tensor<2>, batch: BatchKin<'_>) -> Result<Evaluated, LossError>;

    /// The metric in which the trained embedding is to be compared.
    fn metric(&self) -> Metric;

    /// Which epoch to keep.
    fn selection(&self) -> Selection;
}

/// A method and its hyper-parameters, as a recipe holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MethodConfig {
    /// [`BatchHardMethod`]
    BatchHard(BatchHardMethod),
    /// [`SupConMethod`]
    Supcon(SupConMethod),
    /// [`SimClr`]
    Simclr(SimClr),
}

/// What `nearkin methods` shows of a method.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct MethodCard {
    /// The name in recipes and after `--method`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The paper.
    pub paper: &'static str,
    /// Whether samples need labels.
    pub needs_labels: bool,
}

impl MethodConfig {
    /// Every method, in the order they are listed.
    pub const CARDS: [MethodCard; 3] = [batch_hard::CARD, supcon::CARD, simclr::CARD];

    /// The method of this name with its default hyper-parameters.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "batch-hard" => Some(Self::BatchHard(BatchHardMethod::default())),
            "supcon" => Some(Self::Supcon(SupConMethod::default())),
            "simclr" => Some(Self::Simclr(SimClr::default())),
            _ => None,
        }
    }

    /// What `nearkin methods` shows.
    pub fn card(&self) -> MethodCard {
        match self {
            Self::BatchHard(_) => batch_hard::CARD,
            Self::Supcon(_) => supcon::CARD,
            Self::Simclr(_) => simclr::CARD,
        }
    }

    /// The projection head that the method puts on the network, used by the loss only.
    pub fn projector(&self) -> Option<nearkin_net::MlpConfig> {
        match self {
            Self::BatchHard(_) => None,
            Self::Supcon(supcon) => supcon.projector(),
            Self::Simclr(simclr) => Some(simclr.projector()),
        }
    }

    /// The method, its hyper-parameters checked.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        Ok(match self {
            Self::BatchHard(config) => Box::new(config.build()?),
            Self::Supcon(config) => Box::new(config.build()?),
            Self::Simclr(config) => Box::new(config.build()?),
        })
    }
}

/// Checks P and K of a method.
fn check_class_batches(p: usize, k: usize) -> Result<(), TrainError> {
    for (field, found) in [("method.classes", p), ("method.per-class", k)] {
        if found < 2 {
            return Err(TrainError::setting(field, found, "at least 2: kin and strangers in every batch"));
        }
    }
    Ok(())
}

/// Batches of `p` classes × `k` samples (as many classes as there are, if fewer).
fn class_batches(
    method: &'static str,
    labels: Labels<'_>,
    p: usize,
    k: usize,
) -> Result<Box<dyn Sampler>, TrainError> {
    let labels = labels.ok_or(TrainError::NeedsLabels { method })?;
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() < 2 {
        return Err(TrainError::OneClass { method });
    }
    Ok(Box::new(PkSampler::new(labels, p.min(classes.len()), k)?))
}

/// A random crop, a flip and a little light: what keeps a class the same class. Hue stays, since it often tells classes
/// apart.
fn same_class_views() -> ViewConfig {
    ViewConfig {
        crop: Crop::RandomResized { scale: [0.3, 1.0], ratio: [0.75, 4.0 / 3.0] },
        flip: 0.5,
        jitter: Some(Jitter { brightness: 0.2, contrast: 0.2, saturation: 0.1, hue: 0.0, probability: 0.8 }),
        ..ViewConfig::default()
    }
}

impl From<DataError> for TrainError {
    fn from(error: DataError) -> Self {
        TrainError::Data(Box::new(error))
    }
}
