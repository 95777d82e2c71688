//! What can go wrong between a table and a metric.

use std::fmt;

use nearkin_sweep::SweepError;

/// Input or settings that a method cannot be fitted to, or placed by. Every message says what was found, what was wanted, and what to do.
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
    /// A tuple names a sample that is not there.
    #[error("{what} {at} names sample {sample}, wanted below {samples}: samples are counted from 0")]
    NoSuchSample {
        /// `pair of kin`, `triplet` …
        what: &'static str,
        /// The first such tuple, counted from 0.
        at: usize,
        /// The sample it names.
        sample: u32,
        /// Samples given.
        samples: usize,
    },
    /// A tuple names a sample twice.
    #[error("{what} {at} names sample {sample} twice, wanted different samples: drop it")]
    SameTwice {
        /// `pair of kin`, `triplet` …
        what: &'static str,
        /// The first such tuple, counted from 0.
        at: usize,
        /// The sample.
        sample: u32,
    },
    /// A quadruplet compares a pair with itself.
    #[error("quadruplet {at} compares the pair ({}, {}) with itself, wanted two pairs: drop it", pair.0, pair.1)]
    ComparedWithItself {
        /// The first such quadruplet, counted from 0.
        at: usize,
        /// Its pair.
        pair: (u32, u32),
    },
    /// There is nothing to learn from.
    #[error("no {what} to learn from: give at least one")]
    NoTuples {
        /// `pairs`, `triplets` or `quadruplets`.
        what: &'static str,
    },
    /// There are pairs of one side alone.
    #[error("pairs of {given} and none of {missing}: {why}")]
    OneSided {
        /// The side that there is.
        given: &'static str,
        /// The side that is missing.
        missing: &'static str,
        /// What goes wrong without it.
        why: &'static str,
    },
    /// Strangers outweigh all that keeps the metric finite.
    #[error(
        "M0⁻¹ and the weighted pairs sum to a matrix with eigenvalue {least:.3e}, wanted all above 0: lower the balance, or scale          the columns"
    )]
    Unbounded {
        /// The least eigenvalue.
        least: f64,
    },
    /// Two chunklets are said to be apart, and are one.
    #[error("chunklet {chunklet} is said to be apart from itself: drop the pair")]
    ApartFromItself {
        /// The chunklet.
        chunklet: u32,
    },
    /// A chunklet that no sample is in.
    #[error("chunklet {chunklet} is said to be apart, and no sample is in it: drop the pair")]
    NoSuchChunklet {
        /// The chunklet.
        chunklet: u32,
    },
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
    /// Distances from a sample leave the range of f32.
    #[error("sample {sample} is farther from others than f32 can say: scale the values down")]
    OutOfRange {
        /// The first such sample.
        sample: usize,
    },
    /// No neighbours asked for, or more than there are other samples.
    #[error("{found} neighbours among {samples} samples: wanted at least 1, and fewer than the samples")]
    Neighbors {
        /// Neighbours asked for.
        found: usize,
        /// Samples given; without their copies where copies count once.
        samples: usize,
    },
    /// The graph of neighbours falls into pieces, between which no distance or weight is defined.
    #[error(
        "with {neighbors} neighbours the graph falls into {} pieces, of {} samples; raise the number of neighbours, or fit the pieces apart", .pieces.len(), Sizes(.pieces)
    )]
    Pieces {
        /// Neighbours asked for.
        neighbors: usize,
        /// Samples of each piece, largest first.
        pieces: Vec<usize>,
    },
    /// Several closed groups of samples: none has a neighbour outside its group, so the weights leave the groups' places free.
    #[error(
        "with {neighbors} neighbours {} groups of {} samples have all their neighbours among themselves, so nothing ties them together; raise the number of neighbours above the smallest groups' size, or drop duplicates", .groups.len(), Sizes(.groups)
    )]
    ClosedGroups {
        /// Neighbours asked for.
        neighbors: usize,
        /// Samples of each group, largest first.
        groups: Vec<usize>,
    },
    /// A matrix that holds no distances.
    #[error(
        "the distance from {row} to {column} is {found}, wanted {wanted}; look at what the distances were made from"
    )]
    Distance {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        column: usize,
        /// The entry.
        found: f32,
        /// What it must be.
        wanted: &'static str,
    },
    /// Fewer directions with any extent than dimensions asked for.
    #[error("only {found} directions have any extent, for a map of {wanted} dimensions; ask for fewer")]
    Flat {
        /// Positive eigenvalues.
        found: usize,
        /// Dimensions asked for.
        wanted: usize,
    },
    /// The kernel is so narrow that some sample has no neighbour left, or all samples coincide.
    #[error("a bandwidth of {found}: wanted above zero, and wide enough for each sample to see a neighbour")]
    Bandwidth {
        /// The bandwidth.
        found: f64,
    },
    /// The factor of the sparse matrix would not fit in memory.
    #[error(
        "the sparse factor would take {needed} MiB, above the limit of {limit} MiB; lower the number of neighbours, or fit fewer samples and place the others by transform"
    )]
    TooDense {
        /// What the factor would take.
        needed: usize,
        /// The most it may take.
        limit: usize,
    },
    /// The sparse matrix could not be factored.
    #[error("the matrix of weights could not be factored: {0}; raise the regularisation")]
    Factor(String),
    /// The thread that a library runs on could not be started.
    #[error("no thread could be started: {0}; end other programs, or raise the limit of threads")]
    Thread(String),
    /// The eigenvectors were not found.
    #[error(
        "the eigenvectors were not found to 1 part in 10¹⁰ in {restarts} restarts; the graph hardly hangs together: raise the number of neighbours"
    )]
    NotConverged {
        /// Restarts made.
        restarts: usize,
    },
}

/// The sizes of some groups; the smaller ones only counted where there are many.
struct Sizes<'a>(&'a [usize]);

impl fmt::Display for Sizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let shown: Vec<String> = self.0.iter().take(SHOWN).map(usize::to_string).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} smaller ones"),
        }
    }
}
