//! Training: methods, recipes, the loop, checkpoints and the model artefact.
//!
//! ```text
//! recipe + data ─▶ Training ─▶ run folder (run.toml, metrics.jsonl, checkpoints/, model/) ─▶ Model ─▶ embeddings
//! ```
//!
//! A [`Method`] is a paper: what a batch is, its views, what is encoded, the loss. [`Training`] does the rest: it holds
//! out validation samples, prints a measured plan, steps, validates, keeps the best, and saves enough that a run killed
//! at any moment and resumed ends with the same bits as one that was not.

#![forbid(unsafe_code)]

mod checkpoint;
mod compare;
mod device_views;
mod devices;
mod error;
mod export;
mod feed;
mod files;
mod fine_tune;
mod hold_out;
mod inputs;
mod judge;
mod kept;
mod kin_rule;
mod learner;
mod ledger;
mod memory;
mod methods;
mod model;
mod online_probe;
mod optimizers;
mod precision;
mod progress;
mod recipe;
mod run;
mod samples;
mod schedule;
mod signals;
mod springs;
mod step;
mod training;

// `derive(RecordState)` expands to these names at the root of the crate that uses it.
use burn::optim::{RecordState, StateSink, StateSource};

pub use compare::{Contender, KnownClasses, Score, compare, contender, raw_pixels};
pub use devices::{DeviceError, DeviceInfo, device, devices};
pub use error::TrainError;
pub use export::ExportFormat;
pub use fine_tune::{FewLabels, FineTuneOptions, LabeledSamples, balanced_share, fine_tune, usual_epochs};
pub use hold_out::split;
pub use inputs::{Inputs, Labels};
pub use judge::{BehindHead, Judgement, LabeledImages, judge};
pub use kept::Kept;
pub use kin_rule::KinRule;
pub use learner::{Following, Head, Learner, Proxies, Twin};
pub use methods::{
    BarlowTwins, Batch, BatchAllMethod, BatchHardMethod, BatchKin, Byol, Classifier, Clock,
    ContrastiveMethod, CpcMethod, Dino, DrLimMethod, ExemplarCnn, FaceNetMethod, IJepa, Mae, Method,
    MethodCard, MethodConfig, Mining, Moco, MocoVersion, MultiSimilarityMethod, NPairMethod, NcaMethod,
    Negatives, Nnclr, Npid, NtXentMethod, Objective, OfBatch, ProxyAnchorMethod, Selection, SimClr, SimSiam,
    Stateful, Stepped, SupConMethod, SwAv, TrainSet, Vicreg, WMse,
};
pub use model::{
    Encoder, LinearCard, LinearModel, Model, ModelCard, NetworkCard, NetworkModel, pixels, prepared_side,
};
pub use online_probe::OnlineProbe;
pub use optimizers::{Lars, LarsState, OptimizerConfig};
pub use precision::{ParsePrecisionError, Precision};
pub use progress::{EpochReport, Event, Plan, StepReport, Validation};
pub use recipe::Recipe;
pub use run::{FitFile, FitReport, Logged, Run, RunFile};
pub use samples::Samples;
pub use schedule::{Decay, Schedule};
pub use signals::{Contexts, Embedded, Scale, SignalInput, SignalRecipe};
pub use springs::{Cast, Forces, Moment, Spring, SpringRecord};
pub use training::{Outcome, Training};
