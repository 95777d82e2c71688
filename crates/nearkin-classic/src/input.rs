//! The door: samples, labels and settings are checked here, once.

use nearkin_sweep::Vectors;

use crate::algebra::{Eigen, Matrix};
use crate::error::ClassicError;

/// Refuses fewer than `wanted` samples, and values that are not finite.
pub(crate) fn check(vectors: Vectors<'_>, wanted: usize, why: &'static str) -> Result<(), ClassicError> {
    if vectors.len() < wanted {
        return Err(ClassicError::TooFew { found: vectors.len(), wanted, why });
    }
    check_finite(vectors)
}

/// Refuses samples with missing values.
pub(crate) fn check_finite(vectors: Vectors<'_>) -> Result<(), ClassicError> {
    match vectors.data().iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, column) = (at / vectors.dim(), at % vectors.dim());
            Err(ClassicError::NotFinite { row, column, value: vectors.data()[at] })
        }
    }
}

/// Refuses samples of another dimension than those of a fit.
pub(crate) fn check_columns(vectors: Vectors<'_>, wanted: usize) -> Result<(), ClassicError> {
    if vectors.dim() == wanted {
        return Ok(());
    }
    let (found, wanted) = (format!("{} columns", vectors.dim()), format!("the {wanted} of the fit"));
    Err(ClassicError::Shape { what: "samples", found, wanted })
}

/// Refuses new samples that are unlike those of a fit.
pub(crate) fn check_new(vectors: Vectors<'_>, wanted: usize) -> Result<(), ClassicError> {
    check_columns(vectors, wanted)?;
    check_finite(vectors)
}

/// Refuses a setting out of its range.
pub(crate) fn setting(
    name: &'static str,
    found: f64,
    ok: bool,
    wanted: &'static str,
) -> Result<(), ClassicError> {
    if ok { Ok(()) } else { Err(ClassicError::Setting { name, found, wanted }) }
}

/// Refuses a setting that is below 0 or not finite.
pub(crate) fn not_negative(name: &'static str, found: f64) -> Result<(), ClassicError> {
    setting(name, found, found >= 0.0 && found.is_finite(), "0 or more, and finite")
}

/// Refuses a setting that is not above 0, or not finite.
pub(crate) fn above_zero(name: &'static str, found: f64) -> Result<(), ClassicError> {
    setting(name, found, found > 0.0 && found.is_finite(), "above 0, and finite")
}

/// The dimensions asked for, or `most` where none were.
pub(crate) fn dims(asked: Option<usize>, most: usize, why: &'static str) -> Result<usize, ClassicError> {
    match asked {
        None => Ok(most),
        Some(found) if (1..=most).contains(&found) => Ok(found),
        Some(found) => Err(ClassicError::Dims { found, most, why }),
    }
}

/// Refuses maps of no dimensions and of more than `most`.
pub(crate) fn check_dims(found: usize, most: usize) -> Result<(), ClassicError> {
    dims(Some(found), most, "these samples have no more directions").map(|_| ())
}

/// Refuses labels that are not one a sample.
pub(crate) fn check_labels(vectors: Vectors<'_>, labels: &[u32]) -> Result<(), ClassicError> {
    let (found, samples) = (labels.len(), vectors.len());
    if found == samples { Ok(()) } else { Err(ClassicError::Count { what: "labels", found, samples }) }
}

/// The matrix that a metric is to stay near, as it must be.
pub(crate) fn positive_definite(prior: &Matrix, d: usize) -> Result<Matrix, ClassicError> {
    if prior.rows() != d || prior.columns() != d {
        let (found, wanted) = (format!("{} x {}", prior.rows(), prior.columns()), format!("{d} x {d}"));
        return Err(ClassicError::Shape { what: "the prior", found, wanted });
    }
    let symmetric = prior.symmetric();
    let eigen = Eigen::new(&symmetric)?;
    match eigen.rank() {
        rank if rank == d => Ok(symmetric),
        rank => Err(ClassicError::Singular { what: "the prior", rank, dims: d }),
    }
}

/// Which samples each class has.
#[derive(Debug)]
pub(crate) struct Classes {
    /// Samples in ascending order, class after class in ascending order of their labels.
    pub(crate) members: Vec<Vec<usize>>,
}

impl Classes {
    /// Of chunklets: there may be one alone.
    pub(crate) fn of_chunklets(
        samples: usize,
        labels: &[u32],
        what: &'static str,
    ) -> Result<Self, ClassicError> {
        if labels.len() != samples {
            return Err(ClassicError::Count { what, found: labels.len(), samples });
        }
        let mut order: Vec<usize> = (0..samples).collect();
        order.sort_by_key(|&i| (labels[i], i));
        Ok(Self { members: order.chunk_by(|&a, &b| labels[a] == labels[b]).map(<[usize]>::to_vec).collect() })
    }

    /// Of labels: at least two.
    pub(crate) fn new(samples: usize, labels: &[u32]) -> Result<Self, ClassicError> {
        let classes = Self::of_chunklets(samples, labels, "labels")?;
        match classes.members.len() {
            0 | 1 => Err(ClassicError::OneClass { samples, label: labels.first().copied().unwrap_or(0) }),
            _ => Ok(classes),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Refuses classes of one sample each.
    pub(crate) fn check_kin(&self, what: &'static str) -> Result<(), ClassicError> {
        match self.members.iter().any(|m| m.len() > 1) {
            true => Ok(()),
            false => Err(ClassicError::NoKin { what }),
        }
    }

    /// All samples, class after class.
    pub(crate) fn order(&self) -> Vec<usize> {
        self.members.concat()
    }
}

/// Some samples, row-major.
pub(crate) fn gather(vectors: Vectors<'_>, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|&i| vectors.row(i)).copied().collect()
}
