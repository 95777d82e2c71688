//! Samples of any kind, as a model takes them.

use std::path::Path;
use std::sync::Arc;

use nearkin_data::{Dataset, Prepared, PreparedSignals, Skipped, Table};

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
    /// Sounds or series.
    Signals {
        /// The signals.
        prepared: Arc<PreparedSignals>,
        /// Of the data set as it was opened, broken signals included.
        fingerprint: String,
    },
    /// Rows of a table.
    Table(Table),
}

impl Inputs {
    /// Samples.
    pub fn len(&self) -> usize {
        match self {
            Self::Table(table) => table.len(),
            _ => self.dataset().map_or(0, Dataset::len),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the samples are called: `images`, `sounds`, `series` or `rows`.
    pub fn noun(&self) -> String {
        self.dataset().map_or_else(|| "rows".to_owned(), |dataset| dataset.media().to_string())
    }

    /// The data set, unless it is a table.
    pub fn dataset(&self) -> Option<&Dataset> {
        match self {
            Self::Images { prepared, .. } => Some(&prepared.dataset),
            Self::Signals { prepared, .. } => Some(&prepared.dataset),
            Self::Table(_) => None,
        }
    }

    /// What was broken and left out.
    pub fn skipped(&self) -> &[Skipped] {
        match self {
            Self::Images { prepared, .. } => &prepared.skipped,
            Self::Signals { prepared, .. } => &prepared.skipped,
            Self::Table(_) => &[],
        }
    }

    /// Where they were read from.
    pub fn path(&self) -> &Path {
        match self {
            Self::Images { prepared, .. } => prepared.dataset.path(),
            Self::Signals { prepared, .. } => prepared.dataset.path(),
            Self::Table(table) => table.path(),
        }
    }

    /// The data's fingerprint.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Images { fingerprint, .. } | Self::Signals { fingerprint, .. } => fingerprint.clone(),
            Self::Table(table) => table.fingerprint(),
        }
    }

    /// What names each sample.
    pub fn ids(&self) -> Vec<String> {
        match self {
            Self::Table(table) => table.ids(),
            _ => self.dataset().into_iter().flat_map(Dataset::samples).map(|s| s.id.clone()).collect(),
        }
    }

    /// Every sample's label and the classes' names, if every sample has a label.
    ///
    /// # Errors
    /// When some rows of a table's label column have one and others none.
    pub fn labels(&self) -> Result<Option<Labels>, TrainError> {
        Ok(match self {
            Self::Table(table) if table.label_name().is_some() => Some(table.classes()?),
            _ => self.dataset().and_then(|d| d.labels().map(|labels| (labels, d.classes().to_vec()))),
        })
    }

    /// The name of each sample's class, empty where it has none; `None` without classes.
    pub fn label_names(&self) -> Option<Vec<String>> {
        match self {
            Self::Table(table) => table.labels(),
            _ => {
                let dataset = self.dataset()?;
                let name = |label: u32| dataset.classes()[label as usize].clone();
                Some(dataset.labels()?.into_iter().map(name).collect())
            }
        }
    }

    /// The file of each sample, where samples are files.
    pub fn paths(&self) -> Option<Vec<String>> {
        let path = |path: &Path| path.display().to_string();
        self.dataset()?.samples().map(|sample| sample.path.as_deref().map(path)).collect()
    }

    /// The images, if that is what they are.
    pub fn images(&self) -> Option<&Arc<Prepared>> {
        match self {
            Self::Images { prepared, .. } => Some(prepared),
            Self::Signals { .. } | Self::Table(_) => None,
        }
    }
}
