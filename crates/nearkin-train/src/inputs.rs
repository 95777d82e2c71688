//! Samples of either kind, as a model takes them.

use std::path::Path;
use std::sync::Arc;

use nearkin_data::{Prepared, Table};

use crate::error::TrainError;

/// A class number a sample, and the names of the classes.
pub type Labels = (Vec<u32>, Vec<String>);

/// Samples that a model can embed, with what is known of them.
#[derive(Clone)]
pub enum Inputs {
    /// Decoded images.
    Images {
        /// The images.
        prepared: Arc<Prepared>,
        /// Of the data set as it was opened, broken images included.
        fingerprint: String,
    },
    /// Rows of a table.
    Table(Table),
}

impl Inputs {
    /// Samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Images { prepared, .. } => prepared.len(),
            Self::Table(table) => table.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the samples are called: `images` or `rows`.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Images { .. } => "images",
            Self::Table(_) => "rows",
        }
    }

    /// Where they were read from.
    pub fn path(&self) -> &Path {
        match self {
            Self::Images { prepared, .. } => prepared.dataset.path(),
            Self::Table(table) => table.path(),
        }
    }

    /// The data's fingerprint.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Images { fingerprint, .. } => fingerprint.clone(),
            Self::Table(table) => table.fingerprint(),
        }
    }

    /// What names each sample.
    pub fn ids(&self) -> Vec<String> {
        match self {
            Self::Images { prepared, .. } => prepared.dataset.samples().map(|s| s.id.clone()).collect(),
            Self::Table(table) => table.ids(),
        }
    }

    /// Every sample's label and the classes' names, if every sample has a label.
    ///
    /// # Errors
    /// When some rows of a table's label column have one and others none.
    pub fn labels(&self) -> Result<Option<Labels>, TrainError> {
        match self {
            Self::Images { prepared, .. } => {
                Ok(prepared.dataset.labels().map(|labels| (labels, prepared.dataset.classes().to_vec())))
            }
            Self::Table(table) if table.label_name().is_some() => Ok(Some(table.classes()?)),
            Self::Table(_) => Ok(None),
        }
    }

    /// The name of each sample's class, empty where it has none; `None` without classes.
    pub fn label_names(&self) -> Option<Vec<String>> {
        match self {
            Self::Images { prepared, .. } => {
                let classes = prepared.dataset.classes();
                let labels = prepared.dataset.labels()?;
                Some(labels.into_iter().map(|label| classes[label as usize].clone()).collect())
            }
            Self::Table(table) => table.labels(),
        }
    }

    /// The file of each sample, where samples are files.
    pub fn paths(&self) -> Option<Vec<String>> {
        match self {
            Self::Images { prepared, .. } => prepared
                .dataset
                .samples()
                .map(|s| s.path.as_deref().map(|path| path.display().to_string()))
                .collect(),
            Self::Table(_) => None,
        }
    }

    /// The images, if that is what they are.
    pub fn images(&self) -> Option<&Arc<Prepared>> {
        match self {
            Self::Images { prepared, .. } => Some(prepared),
            Self::Table(_) => None,
        }
    }
}
