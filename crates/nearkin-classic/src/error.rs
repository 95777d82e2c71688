//! What can go wrong between a table and a metric.

use nearkin_sweep::SweepError;

/// Input or settings that a method cannot be fitted to. Every message says what was found, what was wanted, and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassicError {
    /// The sweep refused its input.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// Too few samples for this method.
    #[error("{found} samples, wanted at least {wanted}: {why}")]
    TooFew {
        /// Samples given.
        found: usize,
        /// Samples needed.
        wanted: usize,
        /// What they are needed for.
        why: &'static str,
    },
    /// A sample holds NaN or an infinity.
    #[error(
        "sample {row} holds {value} in column {column}, wanted a finite number: fill missing values in, or drop the sample"
    )]
    NotFinite {
        /// The first such sample, counted from 0.
        row: usize,
        /// Its first such column.
        column: usize,
        /// What it holds.
        value: f32,
    },
    /// There is not one label, chunklet or target a sample.
    #[error("{found} {what} for {samples} samples: give one a sample")]
    Count {
        /// What is given a sample.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// Samples given.
        samples: usize,
    },
    /// All samples are of one class.
    #[error(
        "all {samples} samples are of class {label}, wanted at least two classes: there is nothing to tell apart"
    )]
    OneClass {
        /// Samples given.
        samples: usize,
        /// Their label.
        label: u32,
    },
    /// No class, or no chunklet, has two samples.
    #[error("no {what} has two samples, so there are no kin to bring near: give more samples a {what}")]
    NoKin {
        /// `class` or `chunklet`.
        what: &'static str,
    },
    /// More output dimensions than the method can give.
    #[error("{found} dimensions asked for, wanted 1 to {most}: {why}")]
    Dims {
        /// Dimensions asked for.
        found: usize,
        /// The most there can be.
        most: usize,
        /// What limits them.
        why: &'static str,
    },
    /// A setting is out of its range.
    #[error("{name} = {found}, wanted {wanted}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: f64,
        /// Its range.
        wanted: &'static str,
    },
    /// A covariance that must be inverted is singular.
    #[error(
        "{what} has rank {rank} in the {dims} dimensions that the samples span: set a ridge, reduce dimensions by PCA first, \
         or give more samples"
    )]
    Singular {
        /// The matrix.
        what: &'static str,
        /// Its rank.
        rank: usize,
        /// Dimensions that the samples span.
        dims: usize,
    },
    /// All samples are the same.
    #[error(
        "all samples are the same, so no direction differs from another: check the columns that were chosen"
    )]
    NoVariance,
    /// A start that this method cannot make.
    #[error("cannot start from {start}: {why}")]
    Start {
        /// The start asked for.
        start: &'static str,
        /// What it lacks.
        why: &'static str,
    },
    /// A pair names a sample that does not exist, or a sample twice.
    #[error("pair ({}, {}): wanted two different samples of {samples}, counted from 0", pair.0, pair.1)]
    Pair {
        /// The pair.
        pair: (u32, u32),
        /// Samples given.
        samples: usize,
    },
    /// There is no pair to learn from.
    #[error("no pairs to learn from: give pairs of kin, of strangers, or both")]
    NoPairs,
    /// Strangers that no metric can part.
    #[error("samples {} and {} are equal but given as strangers, and no metric can part them: drop the pair", pair.0, pair.1)]
    EqualStrangers {
        /// The pair.
        pair: (u32, u32),
    },
    /// No distance meets the goal.
    #[error(
        "no threshold accepts so few strangers, since some are at distance 0: allow more, or drop equal samples"
    )]
    NoThreshold,
    /// A matrix of another shape than it must have.
    #[error("{what}: found {found}, wanted {wanted}")]
    Shape {
        /// The matrix.
        what: &'static str,
        /// Its shape.
        found: String,
        /// The shape it must have.
        wanted: String,
    },
    /// Numbers left the range of floating point.
    #[error("{what} is not finite: scale the columns first (standardise), or look for values of great size")]
    Overflow {
        /// What is not finite.
        what: &'static str,
    },
}
