//! Which samples are kin, where labels do not say it.

use std::path::PathBuf;

use nearkin_data::kin::Axis;
use nearkin_data::{DataError, Dataset, KinGraph};
use serde::{Deserialize, Serialize};

/// The prior knowledge of Hadsell, Chopra and LeCun 2006 (DrLIM), as a recipe says it. One of
///
/// ```toml
/// kin = { neighbours = 5 }          # the 5 nearest by pixels, either way
/// kin = { same = "original" }       # the same value of an attribute: a further column of a manifest
/// kin = { adjacent = [{ attribute = "azimuth", wraps = true }, { attribute = "elevation" }] }
/// kin = { pairs = "pairs.csv" }     # pairs of ids, in columns a and b
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KinRule {
    /// So many nearest by the pixels of images of one shape.
    Neighbours(usize),
    /// Samples with the same value of an attribute.
    Same(String),
    /// Samples a step apart on one axis and equal on the others.
    Adjacent(Vec<Axis>),
    /// A file of pairs.
    Pairs(PathBuf),
}

impl KinRule {
    /// The graph of a data set.
    ///
    /// # Errors
    /// When the data lacks what the rule names.
    pub fn graph(&self, dataset: &Dataset) -> Result<KinGraph, DataError> {
        match self {
            Self::Neighbours(k) => KinGraph::nearest_pixels(dataset, *k),
            Self::Same(attribute) => KinGraph::same(dataset, attribute),
            Self::Adjacent(axes) => KinGraph::adjacent(dataset, axes, true),
            Self::Pairs(path) => KinGraph::read_pairs(dataset, path),
        }
    }
}
