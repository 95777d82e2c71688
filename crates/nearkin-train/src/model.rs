//! The exported artefact: weights, and everything needed to use them in the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_data::{Loader, Normalize, PrepareOptions, Prepared, Views};
use nearkin_loss::LossError;
use nearkin_net::weights::{load_safetensors, save_safetensors};
use nearkin_net::{Network, NetworkConfig};
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::files::{restore, write_folder, write_whole};

const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "model.toml";

/// What `model.toml` holds: all that turns a picture into an embedding, and where the model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelCard {
    /// The version of nearkin that wrote it.
    pub nearkin: String,
    /// The method that trained it.
    pub method: String,
    /// Values of an embedding.
    pub dimension: usize,
    /// How its embeddings are compared.
    pub metric: Metric,
    /// The epoch whose weights these are, from 1; 0 for an untrained network.
    pub epoch: usize,
    /// The fingerprint of the training data.
    pub data: String,
    /// The classes seen in training, so that an evaluation can say whether its own are new.
    pub classes: Vec<String>,
    /// The network.
    pub network: NetworkConfig,
    /// The scale of its input.
    pub normalize: Normalize,
}

/// A trained model, ready to embed.
pub struct Model {
    /// What it is.
    pub card: ModelCard,
    network: Network,
    device: Device,
    hash: String,
}

/// Images that go through the encoder at once when embedding.
const BATCH: usize = 128;

/// How much more than the input's side a prepared image keeps, so that crops have pixels to choose from.
pub(crate) fn prepared_side(size: usize) -> usize {
    size + size / 2
}

impl Model {
    /// Writes a model folder, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(folder: &Path, card: &ModelCard, network: &Network) -> Result<(), TrainError> {
        write_folder(folder, |folder| {
            save_safetensors(network, &folder.join(WEIGHTS))?;
            let text = toml::to_string(card)
                .map_err(|e| TrainError::Toml { path: folder.join(CARD), message: e.to_string() })?;
            write_whole(&folder.join(CARD), text.as_bytes())
        })
    }

    /// Opens a model folder, or the model of a run folder.
    ///
    /// # Errors
    /// When there is no model, or it is damaged.
    pub fn open(path: &Path, device: &Device) -> Result<Self, TrainError> {
        let folder = Self::folder_of(path)?;
        let card_path = folder.join(CARD);
        let text =
            std::fs::read_to_string(&card_path).map_err(TrainError::io("read the model", &card_path))?;
        let card: ModelCard = toml::from_str(&text).map_err(|e| TrainError::Toml {
            path: card_path.clone(),
            message: e.to_string().trim_end().to_owned(),
        })?;
        let weights_path = folder.join(WEIGHTS);
        let weights =
            std::fs::read(&weights_path).map_err(TrainError::io("read the model", &weights_path))?;
        let mut hash = blake3::Hasher::new();
        hash.update(text.as_bytes());
        hash.update(&weights);
        let mut network = card.network.init(device, 0)?;
        load_safetensors(&mut network, &weights_path)?;
        Ok(Self { card, network, device: device.clone(), hash: hash.finalize().to_hex().to_string() })
    }

    /// The model folder that `path` means: itself, or the `model` in a run.
    fn folder_of(path: &Path) -> Result<PathBuf, TrainError> {
        let inside = path.join("model");
        restore(&inside)?;
        restore(path)?;
        if path.join(CARD).is_file() {
            Ok(path.to_owned())
        } else if inside.join(CARD).is_file() {
            Ok(inside)
        } else {
            Err(TrainError::NotARun {
                path: path.to_owned(),
                missing: "model (model.toml, model.safetensors)",
            })
        }
    }

    /// BLAKE3 of the model's files: embeddings of two models are only comparable when this agrees.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How to prepare a data set for [`embed`](Self::embed).
    pub fn prepare_options(&self) -> PrepareOptions {
        PrepareOptions::new(self.card.network.channels, prepared_side(self.card.network.size))
    }

    /// Embeds every image, row-major `[n, dimension]`. `progress` hears (done, total).
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn embed(
        &self,
        data: &Arc<Prepared>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>, TrainError> {
        let all: Vec<usize> = (0..data.len()).collect();
        embed(&self.network, &self.card, &self.device, data, &all, progress)
    }

    /// The pixels that the encoder sees, row-major: the baseline that an embedding must beat.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn pixels(&self, data: &Arc<Prepared>) -> Result<(Vec<f32>, usize), TrainError> {
        let views = Views::eval(
            self.card.network.size,
            self.card.network.channels,
            // On the scale of 0 to 1, unshifted, as raw pixels are usually compared.
            Normalize { mean: vec![0.0], std: vec![1.0] },
        )?;
        let dim = views.values();
        let mut all = Vec::with_capacity(data.len() * dim);
        let samples: Vec<usize> = (0..data.len()).collect();
        for batch in loader(data, views, &samples)? {
            all.extend_from_slice(&batch?.pixels);
        }
        Ok((all, dim))
    }
}

/// Embeds the images of these numbers with a network that `card` describes.
pub(crate) fn embed(
    network: &Network,
    card: &ModelCard,
    device: &Device,
    data: &Arc<Prepared>,
    samples: &[usize],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<f32>, TrainError> {
    let device = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
    let views = Views::eval(card.network.size, card.network.channels, card.normalize.clone())?;
    let mut vectors = Vec::with_capacity(samples.len() * card.dimension);
    for batch in loader(data, views, samples)? {
        let batch = batch?;
        let embedded = network.embed(Tensor::from_data(TensorData::new(batch.pixels, batch.shape), &device));
        let values = embedded.into_data().convert::<f32>().try_to_vec::<f32>();
        vectors.extend(values.map_err(|e| LossError::Read(format!("{e:?}")))?);
        progress(vectors.len() / card.dimension, samples.len());
    }
    Ok(vectors)
}

fn loader(data: &Arc<Prepared>, views: Views, samples: &[usize]) -> Result<Loader, TrainError> {
    let batches = samples.chunks(BATCH).map(<[usize]>::to_vec).collect();
    let threads = rayon::current_num_threads();
    Ok(Loader::start(Arc::clone(data), vec![Arc::new(views)], batches, 0, 0, 0, threads, 2)?)
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("card", &self.card)
            .field("parameters", &self.network.num_params())
            .finish_non_exhaustive()
    }
}
