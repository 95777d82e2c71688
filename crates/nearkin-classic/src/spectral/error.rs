//! What can go wrong in a spectral method.

use std::fmt;

use nearkin_sweep::{SweepError, Vectors};

/// Input that a spectral method cannot make an honest map of.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpectralError {
    /// The sweep refused its input.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// A point holds NaN or an infinity.
    #[error("point {point} holds {value} at dimension {dimension}, wanted a finite number; fill or drop it")]
    NotFinite {
        /// The first such point.
        point: usize,
        /// Its first such dimension.
        dimension: usize,
        /// What is there.
        value: f32,
    },
    /// Distances from a point leave the range of f32.
    #[error("point {point} is farther from others than f32 can say; scale the values down")]
    OutOfRange {
        /// The first such point.
        point: usize,
    },
    /// No neighbours asked for, or more than there are other points.
    #[error("{found} neighbours among {points} points: wanted at least 1, and fewer than the points")]
    Neighbors {
        /// Neighbours asked for.
        found: usize,
        /// Points given.
        points: usize,
    },
    /// A map of no dimensions, or of more than the method has for so many points.
    #[error("a map of {found} dimensions: wanted at least 1, and at most {most} for these points")]
    Dims {
        /// Dimensions asked for.
        found: usize,
        /// The most there can be.
        most: usize,
    },
    /// The graph of neighbours falls into pieces, between which no distance or weight is defined.
    #[error(
        "with {neighbors} neighbours the graph falls into {} pieces, of {} points; raise the number of neighbours, or fit the pieces apart", .pieces.len(), Sizes(.pieces)
    )]
    Pieces {
        /// Neighbours asked for.
        neighbors: usize,
        /// Points of each piece, largest first.
        pieces: Vec<usize>,
    },
    /// Several closed groups of points: none has a neighbour outside its group, so the weights leave the groups' places free.
    #[error(
        "with {neighbors} neighbours {} groups of {} points have all their neighbours among themselves, so nothing ties them together; raise the number of neighbours above the smallest groups' size, or drop duplicates", .groups.len(), Sizes(.groups)
    )]
    ClosedGroups {
        /// Neighbours asked for.
        neighbors: usize,
        /// Points of each group, largest first.
        groups: Vec<usize>,
    },
    /// A setting is out of range.
    #[error("{name} is {found}, wanted {wanted}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: f64,
        /// What it must be.
        wanted: &'static str,
    },
    /// New points differ in dimension from those fitted.
    #[error("points of {found} dimensions, but the map was fitted to {wanted}; prepare both alike")]
    DimensionMismatch {
        /// Dimensions given.
        found: usize,
        /// Dimensions fitted.
        wanted: usize,
    },
    /// A buffer that is no square matrix.
    #[error("{len} distances are no square matrix; give all pairs of the points, row by row")]
    NotSquare {
        /// Values given.
        len: usize,
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
    /// The kernel is so narrow that some point has no neighbour left, or all points coincide.
    #[error("a bandwidth of {found}: wanted above zero, and wide enough for each point to see a neighbour")]
    Bandwidth {
        /// The bandwidth.
        found: f64,
    },
    /// The factor of the sparse matrix would not fit in memory.
    #[error(
        "the sparse factor would take {needed} MiB, above the limit of {limit} MiB; lower the number of neighbours, or fit fewer points and place the others by transform"
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

/// Refuses points with missing values.
pub(crate) fn check_finite(points: Vectors<'_>) -> Result<(), SpectralError> {
    match points.data().iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(i) => Err(SpectralError::NotFinite {
            point: i / points.dim(),
            dimension: i % points.dim(),
            value: points.data()[i],
        }),
    }
}

/// Refuses maps of no dimensions and of more than `most`.
pub(crate) fn check_dims(found: usize, most: usize) -> Result<(), SpectralError> {
    if (1..=most).contains(&found) { Ok(()) } else { Err(SpectralError::Dims { found, most }) }
}

/// Refuses new points that are unlike those fitted.
pub(crate) fn check_new(points: Vectors<'_>, wanted: usize) -> Result<(), SpectralError> {
    if points.dim() != wanted {
        return Err(SpectralError::DimensionMismatch { found: points.dim(), wanted });
    }
    check_finite(points)
}
