//! A linear map as a model: rows of a table in.

use std::path::Path;

use nearkin_classic::{LinearMap, Matrix};
use nearkin_data::table::Choice;
use nearkin_data::{Features, Table, TableOptions};
use nearkin_sweep::{Metric, Vectors};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::{ModelCard, WEIGHTS, write_card};
use crate::error::TrainError;
use crate::files::{write_folder, write_whole};

/// The tensors of `model.safetensors`, both f64: `A`, out × in, and what is subtracted from a vector of features first.
const MATRIX: &str = "matrix";
const OFFSET: &str = "offset";

/// All that turns a row of a table into an embedding but the map itself, and where the model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinearCard {
    /// The version of nearkin that wrote it.
    pub nearkin: String,
    /// The method that fitted it.
    pub method: String,
    /// Values of an embedding.
    pub dimension: usize,
    /// How its embeddings are compared: the Euclidean distance is the learned metric's.
    pub metric: Metric,
    /// The fingerprint of the table.
    pub data: String,
    /// The classes of the rows it was fitted to; none for a method without labels.
    pub classes: Vec<String>,
    /// The label column, which is no feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The column that names rows, which is no feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// From columns to a vector.
    pub features: Features,
}

/// A fitted linear map with its features, ready to embed tables.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearModel {
    /// What it is.
    pub card: LinearCard,
    map: LinearMap,
}

impl LinearModel {
    /// From its parts.
    ///
    /// # Errors
    /// When the map takes other than the features' values, or gives other than the card's dimension.
    pub fn new(card: LinearCard, map: LinearMap) -> Result<Self, TrainError> {
        let (rows, columns) = (map.matrix().rows(), map.matrix().columns());
        if columns != card.features.dim() || rows != card.dimension {
            let wanted = format!("{} × {}, as the card has", card.dimension, card.features.dim());
            return Err(TrainError::setting("matrix", format!("{rows} × {columns}"), wanted));
        }
        Ok(Self { card, map })
    }

    /// Writes a model folder, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let bytes = |values: &[f64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let matrix = self.map.matrix();
        let (data, offset) = (bytes(matrix.data()), bytes(self.map.offset()));
        write_folder(folder, |folder| {
            let path = folder.join(WEIGHTS);
            let unwritable =
                |e: safetensors::SafeTensorError| TrainError::io("write", &path)(std::io::Error::other(e));
            let tensors = [
                (MATRIX, TensorView::new(Dtype::F64, vec![matrix.rows(), matrix.columns()], &data)),
                (OFFSET, TensorView::new(Dtype::F64, vec![offset.len() / 8], &offset)),
            ];
            let mut named = Vec::new();
            for (name, tensor) in tensors {
                named.push((name, tensor.map_err(unwritable)?));
            }
            let file = safetensors::serialize(named, None).map_err(unwritable)?;
            write_whole(&path, &file)?;
            write_card(folder, &ModelCard::Linear(self.card.clone()))
        })
    }

    /// The model that a card and a file of weights describe.
    pub(super) fn load(card: LinearCard, weights: &[u8], path: &Path) -> Result<Self, TrainError> {
        let damaged = |reason: String| TrainError::Damaged {
            path: path.to_owned(),
            reason,
            advice: "copy the model again, or fit it again".into(),
        };
        let file = SafeTensors::deserialize(weights).map_err(|e| damaged(e.to_string()))?;
        let tensor = |name: &str, dims: usize| -> Result<(Vec<usize>, Vec<f64>), TrainError> {
            let tensor = file.tensor(name).map_err(|e| damaged(e.to_string()))?;
            if tensor.dtype() != Dtype::F64 || tensor.shape().len() != dims {
                let found = format!("{:?} of shape {:?}", tensor.dtype(), tensor.shape());
                return Err(damaged(format!(
                    "its tensor '{name}' is {found}, wanted f64 of {dims} dimensions"
                )));
            }
            let (values, _) = tensor.data().as_chunks::<8>();
            let values: Vec<f64> = values.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            match values.iter().all(|value| value.is_finite()) {
                true => Ok((tensor.shape().to_vec(), values)),
                false => Err(damaged(format!("its tensor '{name}' holds what is no finite number"))),
            }
        };
        let (shape, matrix) = tensor(MATRIX, 2)?;
        let (_, offset) = tensor(OFFSET, 1)?;
        let matrix = Matrix::new(shape[0], shape[1], matrix).map_err(|e| damaged(e.to_string()))?;
        let map = LinearMap::new(offset, matrix).map_err(|e| damaged(e.to_string()))?;
        Self::new(card, map).map_err(|e| damaged(e.to_string()))
    }

    /// The map of vectors of features.
    pub fn map(&self) -> &LinearMap {
        &self.map
    }

    /// How to read a table for [`embed`](Self::embed): by the columns of the model. Label and ids are taken if they are there.
    pub fn table_options(&self) -> TableOptions {
        let if_there = |name: &Option<String>| name.clone().map_or(Choice::Nothing, Choice::IfThere);
        TableOptions {
            label: if_there(&self.card.label),
            id: if_there(&self.card.id),
            categorical: self.card.features.categorical(),
            drop: Vec::new(),
            only: Some(self.card.features.columns.iter().map(|column| column.name().to_owned()).collect()),
        }
    }

    /// Embeds every row, row-major `[n, dimension]`.
    ///
    /// # Errors
    /// When the table lacks a column, or holds what the model refuses.
    pub fn embed(&self, table: &Table) -> Result<Vec<f32>, TrainError> {
        let features = self.card.features.apply(table)?;
        let embedded = self.map.transform(Vectors::new(&features.values, features.dim)?)?;
        match embedded.iter().position(|x| !x.is_finite()) {
            None => Ok(embedded),
            Some(at) => {
                let row = at / self.card.dimension;
                let id = table.ids().swap_remove(row);
                Err(TrainError::Overflow { path: table.path().to_owned(), id })
            }
        }
    }
}
