//! What can go wrong in training, said so that a user can mend it.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use nearkin_classic::ClassicError;
use nearkin_data::DataError;
use nearkin_eval::EvalError;
use nearkin_loss::LossError;
use nearkin_net::ConfigError;
use nearkin_net::onnx::OnnxError;
use nearkin_net::weights::WeightsError;
use nearkin_sweep::SweepError;

/// Why training, loading or embedding stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A recipe or other TOML file that does not parse.
    #[error("{}: {message}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The parser's message, with the line.
        message: String,
    },
    /// A setting out of range.
    #[error("{field} = {found}, but it must be {wanted}")]
    Setting {
        /// The setting, as in the recipe.
        field: String,
        /// Its value.
        found: String,
        /// The range.
        wanted: String,
    },
    /// A folder of a comparison that holds another one's run.
    #[error("{} is of another recipe or other data: give --out another folder, or remove that run", .0.display())]
    OtherComparison(PathBuf),
    /// A comparison whose recipes divide their data differently.
    #[error(
        "{one} and {other} have different settings of {field}: what is compared must be trained and measured on the same samples"
    )]
    OtherData {
        /// A recipe.
        one: String,
        /// Another.
        other: String,
        /// The setting.
        field: &'static str,
    },
    /// A part for tests of data that was not divided.
    #[error(
        "the recipe has no split, so all of its data was trained on: train with a split, or measure on other data"
    )]
    NoSplit,
    /// Test-time augmentation of what is no image.
    #[error("only images have a mirror image")]
    NoMirrorImage,
    /// Quadrants of an encoder that keeps no places.
    #[error(
        "{encoder} has no map of features whose quadrants could be pooled: small-conv and the residual networks have"
    )]
    NoFeatureMap {
        /// The encoder.
        encoder: String,
    },
    /// A method that needs labels on data without.
    #[error(
        "{method} needs a label for every sample, and this data has none: use a folder per class or a manifest with \
         a label column, or a method without labels such as simclr"
    )]
    NeedsLabels {
        /// The method.
        method: &'static str,
    },
    /// A method that tells classes apart on data with a single one.
    #[error(
        "all samples are of one class, and {method} learns by telling classes apart: give it at least 2, or use a \
         method without labels such as simclr"
    )]
    OneClass {
        /// The method.
        method: &'static str,
    },
    /// Too little data.
    #[error("{found} usable samples, but at least {wanted} are needed: {why}")]
    TooFewSamples {
        /// Samples at hand.
        found: usize,
        /// Samples needed.
        wanted: usize,
        /// Why.
        why: &'static str,
    },
    /// A folder that a new run would overwrite.
    #[error(
        "{} already exists and is not empty: choose another --out, or continue it with --resume {}",
        .0.display(), .0.display()
    )]
    RunExists(PathBuf),
    /// A folder that is no run.
    #[error("{} is not a run: it holds no {missing}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The file that a run would hold.
        missing: &'static str,
    },
    /// A run without a checkpoint to go on from.
    #[error("{} holds no checkpoint: the run stopped before its first, so start it again", .0.display())]
    NoCheckpoint(PathBuf),
    /// A checkpoint or model whose bytes are not those that were written.
    #[error("{} is damaged: {reason}; {advice}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// A resumed run whose data is no longer the same.
    #[error(
        "the data at {} has changed since the run began (fingerprint {found}, wanted {wanted}): a resumed run must \
         see the same samples, so restore them or start a new run", path.display()
    )]
    DataChanged {
        /// The data.
        path: PathBuf,
        /// Its fingerprint now.
        found: String,
        /// Its fingerprint then.
        wanted: String,
    },
    /// A loss that is no number.
    #[error(
        "the loss became {loss} at step {step} ({method}); the batch held samples {samples}. The run folder keeps \
         the last good checkpoint. A lower learning rate or a longer warm-up usually mends this"
    )]
    NonFinite {
        /// The loss.
        loss: f64,
        /// The step, from 1.
        step: usize,
        /// The method.
        method: String,
        /// Ids of the first samples of the batch.
        samples: String,
    },
    /// Data of a kind that the model does not take.
    #[error("{} is other data than the model was made for: the model is {takes}", path.display())]
    OtherKind {
        /// The data.
        path: PathBuf,
        /// What the model is, and what it takes.
        takes: String,
    },
    /// A linear map that is to be written for other programs.
    #[error(
        "the model is a linear map of a table's columns, and only networks can be exported: embed the table with `nearkin embed`; the map's \
         matrix and offset are in its model.safetensors"
    )]
    LinearExport,
    /// An embedding beyond f32.
    #[error("{}: the embedding of row '{id}' leaves the range of f32: its values are far from those of the training rows", path.display())]
    Overflow {
        /// The table.
        path: PathBuf,
        /// The row.
        id: String,
    },
    /// A linear map that cannot be applied.
    #[error(transparent)]
    Classic(#[from] ClassicError),
    /// Vectors that do not fit each other.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// A data set that cannot be read.
    #[error(transparent)]
    Data(Box<DataError>),
    /// A network that cannot be made.
    #[error(transparent)]
    Network(#[from] ConfigError),
    /// Weights that cannot be loaded or saved.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A network that cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A loss that cannot be evaluated.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// A measure that cannot be taken.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl TrainError {
    pub(crate) fn setting(field: impl Into<String>, found: impl Display, wanted: impl Into<String>) -> Self {
        Self::Setting { field: field.into(), found: found.to_string(), wanted: wanted.into() }
    }

    /// For `map_err` on an operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the user asked for something that cannot be, rather than something having failed on the way.
    pub fn is_misuse(&self) -> bool {
        matches!(
            self,
            Self::Toml { .. }
                | Self::Setting { .. }
                | Self::OtherData { .. }
                | Self::NoSplit
                | Self::NoMirrorImage
                | Self::NoFeatureMap { .. }
                | Self::NeedsLabels { .. }
                | Self::OneClass { .. }
                | Self::Network(_)
                | Self::RunExists(_)
                | Self::NotARun { .. }
                | Self::OtherKind { .. }
                | Self::LinearExport
                | Self::Loss(LossError::OutOfRange { .. })
        )
    }
}
