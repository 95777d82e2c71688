//! Everything that can go wrong between a path and a batch.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::dataset::Media;
use crate::decode::DecodeError;
use crate::prepare::Skipped;

/// An error of this crate. Every message names the file or the setting, what was found, what was
/// wanted, and where it helps, what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is no data set of a known kind.
    #[error(
        "{}: {found}; wanted: a folder of images or of sounds (one sub-folder a class), an IDX images file \
         (*-images-idx3-ubyte[.gz]) or a folder of them, a CIFAR binary (*.bin[.gz]) or a folder of \
         them, series (*.ts[.gz]) or a folder of them, a CSV manifest with the header \
         path[,label[,split]], or a ZIP of images or sounds", path.display()
    )]
    NotADataset {
        /// The path that was given.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// The path is a data set without a single sample.
    #[error("{}: no samples: {found}", path.display())]
    Empty {
        /// The path that was given.
        path: PathBuf,
        /// What stands there instead.
        found: String,
    },
    /// Images and sounds in one data set.
    #[error(
        "{}: holds {images} images and {sounds} sounds, but what is compared must be of one kind: give each a \
         folder of its own", path.display()
    )]
    Mixed {
        /// The data set.
        path: PathBuf,
        /// Image files in it.
        images: usize,
        /// Sound files in it.
        sounds: usize,
    },
    /// A data set of another medium than is asked for.
    #[error("{}: holds {found}, wanted {wanted}", path.display())]
    OtherMedia {
        /// The data set.
        path: PathBuf,
        /// What it holds.
        found: Media,
        /// What can be used here.
        wanted: &'static str,
    },
    /// The split after `#` does not exist.
    #[error("{}: no split \"{wanted}\"; {}", path.display(), available_splits(available))]
    NoSuchSplit {
        /// The path without its `#split`.
        path: PathBuf,
        /// The split that was asked for.
        wanted: String,
        /// The splits that exist.
        available: Vec<String>,
    },
    /// The range after `#` holds no sample, or goes beyond the last.
    #[error("{}: no samples {wanted}: there are {len}, counted from 0", path.display())]
    NoSuchRange {
        /// The path without its `#a..b`.
        path: PathBuf,
        /// The range that was asked for.
        wanted: String,
        /// The number of samples.
        len: usize,
    },
    /// A class that a setting names does not exist.
    #[error("no class \"{wanted}\"; {}", available_classes(available))]
    NoSuchClass {
        /// The class that was asked for.
        wanted: String,
        /// The classes that exist.
        available: Vec<String>,
    },
    /// An attribute that a setting names does not exist.
    #[error("no attribute \"{wanted}\"; {}", available_attributes(available))]
    NoSuchAttribute {
        /// The attribute that was asked for.
        wanted: String,
        /// The attributes that exist.
        available: Vec<String>,
    },
    /// A file's header, size or content breaks its format.
    #[error("{}: {field}: found {found}, wanted {wanted}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The part of the file.
        field: &'static str,
        /// What the file holds.
        found: String,
        /// What the format asks for.
        wanted: String,
    },
    /// A line of a CSV file (a manifest, attributes, pairs) is wrong.
    #[error("{}: line {line}: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The first line that is wrong; the header is line 1.
        line: u64,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The path is no table of a known kind.
    #[error(
        "{}: {found}, wanted a table: .csv, .tsv, .parquet, .npy or .arff", path.display()
    )]
    NotATable {
        /// The path that was given.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// A table, or a cell of it, is not as it must be.
    #[error("{}: {}{problem}", path.display(), place.as_ref().map_or(String::new(), |place| format!("{place}: ")))]
    Table {
        /// The table.
        path: PathBuf,
        /// Line and column, where one is meant.
        place: Option<String>,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// One image could not be decoded.
    #[error("{}: {source}", path.display())]
    Image {
        /// The image file.
        path: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// One sound could not be read, or is not as the others are.
    #[error("{}: {problem}", path.display())]
    Sound {
        /// The sound file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// More samples were broken than the caller allows.
    #[error("{}", too_many_broken(*.media, *.allowed, *.looked_at, *.total, first))]
    TooManyBroken {
        /// What they are.
        media: Media,
        /// How many broken ones are allowed.
        allowed: usize,
        /// How many samples had been looked at when it stopped.
        looked_at: usize,
        /// How many samples there are.
        total: usize,
        /// The first broken ones, ten at most.
        first: Vec<Skipped>,
    },
    /// Prepared samples could not be written to or read from the spill file.
    #[error(
        "{}: cannot {action} the spill file for prepared samples: {source}; free space there, choose \
         another spill_dir, or raise memory_budget", folder.display()
    )]
    Spill {
        /// The folder of the spill file.
        folder: PathBuf,
        /// "create", "write" or "read".
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A setting is out of its range.
    #[error("{field}: found {found}, wanted {wanted}")]
    Setting {
        /// The setting's name.
        field: &'static str,
        /// The value given.
        found: String,
        /// The values it may take.
        wanted: String,
    },
    /// A sample index lies outside the data set.
    #[error("sample index {index} is out of range: the data set has {len} samples")]
    Index {
        /// The index given.
        index: usize,
        /// The number of samples.
        len: usize,
    },
    /// A buffer or an image has another shape than the operation needs.
    #[error("{what}: found {found}, wanted {wanted}")]
    Shape {
        /// What has the wrong shape.
        what: &'static str,
        /// The shape given.
        found: String,
        /// The shape needed.
        wanted: String,
    },
    /// The loader's thread could not start or ended early.
    #[error("the batch loader stopped before batch {batch}: {problem}")]
    LoaderStopped {
        /// The batch that was due.
        batch: usize,
        /// Why, as far as known.
        problem: String,
    },
}

impl DataError {
    pub(crate) fn read(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Read { path: path.into(), source }
    }

    pub(crate) fn table(path: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Table { path: path.into(), place: None, problem: problem.into() }
    }

    pub(crate) fn write(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Write { path: path.into(), source }
    }

    /// A wrong line of a CSV file.
    pub(crate) fn line(path: impl Into<PathBuf>, line: u64, problem: impl Into<String>) -> Self {
        Self::Manifest { path: path.into(), line, problem: problem.into() }
    }

    pub(crate) fn malformed(
        path: impl Into<PathBuf>,
        field: &'static str,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Malformed { path: path.into(), field, found: found.into(), wanted: wanted.into() }
    }

    pub(crate) fn setting(field: &'static str, found: impl ToString, wanted: impl Into<String>) -> Self {
        Self::Setting { field, found: found.to_string(), wanted: wanted.into() }
    }
}

fn available_splits(available: &[String]) -> String {
    if available.is_empty() {
        "this data set has no splits: give the path without '#'".to_owned()
    } else {
        format!("available: {}", available.join(", "))
    }
}

/// The most classes that an error names.
const MOST_CLASSES: usize = 20;

fn available_classes(available: &[String]) -> String {
    let more = available.len().saturating_sub(MOST_CLASSES);
    let named = available[..available.len() - more].join(", ");
    match (available.len(), more) {
        (0, _) => "this data set has no classes".to_owned(),
        (_, 0) => format!("there are: {named}"),
        _ => format!("there are: {named}, and {more} more"),
    }
}

fn available_attributes(available: &[String]) -> String {
    if available.is_empty() {
        "this data set has none: give a CSV file of attributes, or open a manifest with further columns"
            .to_owned()
    } else {
        format!("available: {}", available.join(", "))
    }
}

fn too_many_broken(
    media: Media,
    allowed: usize,
    looked_at: usize,
    total: usize,
    first: &[Skipped],
) -> String {
    let mut text = format!(
        "more than {allowed} broken {media} among the first {looked_at} of {total}; mend or remove \
         them. The first:"
    );
    for skipped in first {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {skipped}");
    }
    text
}
