//! What can go wrong in a measurement, a report or a sheet.

use std::fmt;
use std::path::PathBuf;

use nearkin_sweep::{Metric, SweepError};

/// Which set of vectors an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The vectors that ask.
    Queries,
    /// The vectors searched among.
    References,
    /// The only set there is.
    Embeddings,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Queries => "queries",
            Side::References => "references",
            Side::Embeddings => "embeddings",
        })
    }
}

/// An evaluation that cannot give an honest number, or a report that cannot be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The sweep refused its input.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// A set holds no vectors.
    #[error("{side}: no vectors, so there is nothing to measure; check the path or the split")]
    Empty {
        /// The empty set.
        side: Side,
    },
    /// Labels and vectors differ in number.
    #[error("{side}: {labels} labels for {vectors} vectors; give one label a vector")]
    LabelCount {
        /// The set.
        side: Side,
        /// Labels given.
        labels: usize,
        /// Vectors given.
        vectors: usize,
    },
    /// A vector holds NaN or an infinity.
    #[error(
        "{side}: row {row} holds {value} at dimension {dimension}, wanted a finite number; look at that sample or at the training run"
    )]
    NotFinite {
        /// The set.
        side: Side,
        /// Row of the first such vector.
        row: usize,
        /// Dimension of its first such value.
        dimension: usize,
        /// The value.
        value: f32,
    },
    /// Finite vectors whose score overflows f32.
    #[error(
        "the {metric} score of query row {query} with some reference is not finite: values are too large for f32; normalise the embeddings"
    )]
    ScoreOverflow {
        /// The metric.
        metric: Metric,
        /// Row of the query.
        query: usize,
    },
    /// More references than ranks can count.
    #[error("{found} references, at most {limit} can be ranked; evaluate on a sample", limit = u32::MAX)]
    TooManyReferences {
        /// References given.
        found: usize,
    },
    /// Every query is the only one of its class.
    #[error(
        "none of the {queries} queries has a reference of its class among {references} references, so retrieval is undefined; \
         give at least two samples of some class, or check that both sides use the same label numbers"
    )]
    AllLone {
        /// Queries given.
        queries: usize,
        /// References given.
        references: usize,
    },
    /// A setting is outside its range.
    #[error("{field} is {found}, wanted {wanted}")]
    Setting {
        /// Name of the setting.
        field: &'static str,
        /// The value found.
        found: String,
        /// The values allowed.
        wanted: &'static str,
    },
    /// A list that must name every vector, pair or value does not.
    #[error("{what}: found {found}, wanted {wanted}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// The measure has no value on this input.
    #[error("{measure} is undefined: {reason}")]
    Undefined {
        /// The measure.
        measure: &'static str,
        /// What is missing, and what to give instead.
        reason: String,
    },
    /// A pair names a vector that does not exist.
    #[error("pair {pair} names vector {found}, but there are {vectors}, counted from 0")]
    NoSuchVector {
        /// Place of the pair in its list.
        pair: usize,
        /// The vector named.
        found: u32,
        /// Vectors given.
        vectors: usize,
    },
    /// A clustering that needs all distances at once, of too many vectors.
    #[error(
        "{linkage} linkage needs all distances at once, {bytes} bytes for {vectors} vectors; it is limited to {limit} vectors: \
         take a sample, or single linkage, which is not limited"
    )]
    TooManyToLink {
        /// The linkage asked for.
        linkage: &'static str,
        /// Vectors given.
        vectors: usize,
        /// Bytes that their distances would take.
        bytes: u64,
        /// Vectors allowed.
        limit: usize,
    },
    /// The eigenvalue solver gave up.
    #[error(
        "the eigenvalues of a {size} × {size} scatter matrix did not converge; check the embeddings for extreme values"
    )]
    NoConvergence {
        /// Side of the matrix.
        size: usize,
    },
    /// A picture of a sheet is not a readable PNG.
    #[error("sheet row {row}, picture '{caption}': not a readable PNG ({source}); encode it again")]
    Picture {
        /// Row of the sheet.
        row: usize,
        /// The picture's caption.
        caption: String,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A sheet without rows.
    #[error("the contact sheet has no rows; give at least one query")]
    EmptySheet,
    /// A sheet too large to draw.
    #[error(
        "the contact sheet would be {width} × {height} pixels, more than {limit} in all; draw fewer rows, fewer hits or smaller cells"
    )]
    SheetTooLarge {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// Pixels allowed.
        limit: u64,
    },
    /// The report cannot be written.
    #[error("cannot write {}: {source}; check that the folder exists and has room", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
