//! What accompanies vectors in the formats that hold nothing but arrays, as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::row_numbers;
use crate::embeddings::{Embeddings, Origin};

/// A table without its vectors.
#[derive(Serialize, Deserialize, Default)]
pub(super) struct Companion<'a> {
    /// `None` where the ids are the row numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<Cow<'a, [String]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) labels: Option<Cow<'a, [String]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paths: Option<Cow<'a, [String]>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    columns: BTreeMap<Cow<'a, str>, Cow<'a, [String]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Cow<'a, Origin>>,
}

impl<'a> Companion<'a> {
    pub(super) fn of(table: &'a Embeddings) -> Self {
        Self {
            ids: Some(Cow::Borrowed(&table.ids)),
            labels: table.labels.as_deref().map(Cow::Borrowed),
            paths: table.paths.as_deref().map(Cow::Borrowed),
            columns: table
                .columns
                .iter()
                .map(|(name, column)| (name.into(), Cow::Borrowed(&column[..])))
                .collect(),
            origin: table.origin.as_ref().map(Cow::Borrowed),
        }
    }

    /// The table of these `rows` vectors. Whether the columns fit them is for the table's own check.
    pub(super) fn join(self, vectors: Vec<f32>, rows: usize, dim: usize) -> Embeddings {
        Embeddings {
            ids: self.ids.map_or_else(|| row_numbers(rows), Cow::into_owned),
            labels: self.labels.map(Cow::into_owned),
            paths: self.paths.map(Cow::into_owned),
            columns: self.columns.into_iter().map(|(name, c)| (name.into_owned(), c.into_owned())).collect(),
            origin: self.origin.map(Cow::into_owned),
            vectors,
            dim,
        }
    }
}
