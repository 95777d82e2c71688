//! What a training tells its observer: a terminal, a log, a test.

use std::path::PathBuf;

use nearkin_data::Media;
use nearkin_eval::Collapse;
use nearkin_loss::miners::Census;
use serde::{Deserialize, Serialize};

use crate::springs::Forces;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Images are decoded before training.
    Preparing {
        /// Images done.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// Something the user should know, but that stops nothing.
    Warning(String),
    /// What is about to be trained; comes once, before the first step.
    Planned(&'a Plan),
    /// A step whose figures are worth showing.
    Stepped(&'a StepReport),
    /// Held-out samples are embedded.
    Validating {
        /// Samples done.
        done: usize,
        /// Samples in all.
        total: usize,
    },
    /// An epoch is over.
    EpochDone(&'a EpochReport),
}

/// What is about to be trained, and what it will cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The run folder.
    pub out: PathBuf,
    /// The data.
    pub data: PathBuf,
    /// The method's name.
    pub method: String,
    /// The encoder's name.
    pub encoder: String,
    /// Learned values of the network.
    pub parameters: usize,
    /// Samples trained on.
    pub samples: usize,
    /// Classes among them; 0 without labels.
    pub classes: usize,
    /// Whether a linear probe learns from the labels beside a method that does not.
    pub probe: bool,
    /// Samples held out to choose the best epoch.
    pub held_out: usize,
    /// Samples that could not be read.
    pub skipped: usize,
    /// What the samples are.
    pub media: Media,
    /// Steps a second of sounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Input side in pixels; of sounds and series, the steps of a view.
    pub size: usize,
    /// Input channels.
    pub channels: usize,
    /// Samples a batch.
    pub batch: usize,
    /// Views a sample.
    pub views: usize,
    /// Steps an epoch.
    pub steps_per_epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Steps done already; above 0 in a resumed run.
    pub steps_done: usize,
    /// Seconds of one step, measured on a throwaway copy of the network.
    pub seconds_per_step: f64,
    /// Peak memory of the process in bytes after such a step, where the system tells it.
    pub memory: Option<u64>,
    /// Bytes of the prepared pixels, in memory or in the spill file.
    pub pixels: u64,
    /// The device, by its name after `--device`.
    pub device: &'static str,
    /// CPU threads.
    pub threads: usize,
}

impl Plan {
    /// Seconds of one epoch of steps.
    pub fn seconds_per_epoch(&self) -> f64 {
        self.seconds_per_step * self.steps_per_epoch as f64
    }

    /// Seconds until the end, without validation.
    pub fn seconds_left(&self) -> f64 {
        self.seconds_per_step * (self.steps_per_epoch * self.epochs).saturating_sub(self.steps_done) as f64
    }
}

/// The figures of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step, from 1.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The loss.
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// Share of the loss's terms that pulled: for batch hard, triplets not yet satisfied.
    pub active: f64,
    /// Spread of the encoded batch on the sphere: 1 is uniform, 0 is collapsed.
    pub spread: f64,
    /// Effective rank of the encoded batch (Roy & Vetterli 2007): directions in use.
    pub effective_rank: f64,
    /// How the encoded batch has collapsed, if it has, for methods without labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<Collapse>,
    /// Share of the epoch's samples so far that the online probe classified rightly, each before it learned from it; with `probe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_probe_accuracy: Option<f64>,
    /// The triplets of the batch by difficulty, for methods of triplets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triplets: Option<Census>,
    /// What the loss does to the batch, for losses of pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forces: Option<Forces>,
    /// Images (views) a second since the last report.
    pub images_per_second: f64,
    /// Seconds until the end at that rate.
    pub seconds_left: f64,
}

/// The figures of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// The step that ended it.
    pub step: usize,
    /// Mean loss of its steps.
    pub loss: f64,
    /// Mean share of active terms.
    pub active: f64,
    /// The validation, in epochs that have one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation: Option<Validation>,
    /// Share of its samples that the online probe classified rightly, each before it learned from it; with `probe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_probe_accuracy: Option<f64>,
    /// Whether its weights are the best so far and became the model.
    pub kept: bool,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seconds beside these that training waited for data.
    #[serde(default)]
    pub waited: f64,
}

/// How well held-out samples find their class among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// precision@1
    pub precision_at_1: f64,
    /// MAP@R
    pub mean_average_precision_at_r: f64,
}
