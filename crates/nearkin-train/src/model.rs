//! The exported artefact: what turns a sample into an embedding, and where it comes from.

mod linear;
mod network;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nearkin_data::table::Matrix;
use nearkin_data::{DataError, Dataset, Media, Normalize, Table, TableKind};
use nearkin_eval::Calibration;
use nearkin_net::NetworkConfig;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

pub use linear::{LinearCard, LinearModel};
pub(crate) use network::embed;
pub use network::{NetworkCard, NetworkModel, pixels, prepared_side};

use crate::error::TrainError;
use crate::files::{restore, write_whole};
use crate::inputs::Inputs;
use crate::signals::Contexts;

const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "model.toml";
const CALIBRATION: &str = "calibration.toml";

/// What `model.toml` holds; its `kind` says which of the two it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelCard {
    /// A network.
    Network(NetworkCard),
    /// A linear map of a table's features.
    Linear(LinearCard),
}

/// A model, ready to embed what it was made for.
#[derive(Debug)]
pub struct Model {
    /// What embeds.
    pub encoder: Encoder,
    hash: String,
    calibration: Option<Calibration>,
}

/// What embeds: each takes one kind of data.
#[derive(Debug)]
// A model holds one: boxing the larger variant would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Encoder {
    /// Images, sounds or series, by a network.
    Network(NetworkModel),
    /// Rows of a table, by a linear map.
    Linear(LinearModel),
}

impl Model {
    /// Opens a model folder, or the model of a run folder. The device is where a network runs.
    ///
    /// # Errors
    /// When there is no model, or it is damaged.
    pub fn open(path: &Path, device: &Device) -> Result<Self, TrainError> {
        let folder = folder_of(path)?;
        let (card_path, weights_path) = (folder.join(CARD), folder.join(WEIGHTS));
        let text =
            std::fs::read_to_string(&card_path).map_err(TrainError::io("read the model", &card_path))?;
        let weights =
            std::fs::read(&weights_path).map_err(TrainError::io("read the model", &weights_path))?;
        let mut hash = blake3::Hasher::new();
        hash.update(text.as_bytes());
        hash.update(&weights);
        let encoder = match parse(&text, &card_path)? {
            ModelCard::Network(card) => {
                drop(weights);
                Encoder::Network(NetworkModel::load(card, &weights_path, device)?)
            }
            ModelCard::Linear(card) => Encoder::Linear(LinearModel::load(card, &weights, &weights_path)?),
        };
        let hash = hash.finalize().to_hex().to_string();
        let calibration = read_calibration(&folder.join(CALIBRATION), &hash)?;
        Ok(Self { encoder, hash, calibration })
    }

    /// From when on a neighbour counts, if that has been [written](Self::write_calibration).
    pub fn calibration(&self) -> Option<&Calibration> {
        self.calibration.as_ref()
    }

    /// Puts a calibration beside the model's files: `calibration.toml`. It says how the model is used and changes nothing that it does, so it
    /// is no part of the hash: what was embedded before stays comparable, and the model may be calibrated again. It goes when the model
    /// is replaced.
    ///
    /// # Errors
    /// When there is no model, or the file cannot be written.
    pub fn write_calibration(path: &Path, calibration: &Calibration) -> Result<PathBuf, TrainError> {
        let file = folder_of(path)?.join(CALIBRATION);
        let text = toml::to_string(calibration)
            .map_err(|e| TrainError::Toml { path: file.clone(), message: e.to_string() })?;
        write_whole(&file, text.as_bytes())?;
        Ok(file)
    }

    /// BLAKE3 of the model's card and weights: embeddings of two models are only comparable when this agrees.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The method that made it.
    pub fn method(&self) -> &str {
        match &self.encoder {
            Encoder::Network(model) => &model.card.method,
            Encoder::Linear(model) => &model.card.method,
        }
    }

    /// Values of an embedding.
    pub fn dimension(&self) -> usize {
        match &self.encoder {
            Encoder::Network(model) => model.card.dimension,
            Encoder::Linear(model) => model.card.dimension,
        }
    }

    /// How its embeddings are compared.
    pub fn metric(&self) -> Metric {
        match &self.encoder {
            Encoder::Network(model) => model.card.metric,
            Encoder::Linear(model) => model.card.metric,
        }
    }

    /// The fingerprint of the data that it learned from.
    pub fn data(&self) -> &str {
        match &self.encoder {
            Encoder::Network(model) => &model.card.data,
            Encoder::Linear(model) => &model.card.data,
        }
    }

    /// The classes that it saw; none for a method without labels.
    pub fn classes(&self) -> &[String] {
        match &self.encoder {
            Encoder::Network(model) => &model.card.classes,
            Encoder::Linear(model) => &model.card.classes,
        }
    }

    /// What is done to a sample before the network or the map sees it, in words: for the origin of embeddings, and for people who look
    /// for the difference between two models. Features, which may be many, are told by their number and their BLAKE3.
    pub fn preprocessing(&self) -> String {
        match &self.encoder {
            Encoder::Network(NetworkModel { card, .. }) => {
                let NetworkConfig { channels, size, .. } = card.network;
                match &card.signal {
                    Some(signal) => format!("{channels} channels, {}", to_json(signal)),
                    None => {
                        let Normalize { mean, std } = &card.normalize;
                        format!("{size} × {size} pixels, {channels} channels, less {mean:?}, over {std:?}")
                    }
                }
            }
            Encoder::Linear(LinearModel { card, .. }) => {
                let hash = blake3::hash(to_json(&card.features).as_bytes()).to_hex();
                format!("{} features, BLAKE3 {}", card.features.dim(), &hash[..16])
            }
        }
    }

    /// What an embedding must beat: `raw pixels`, `raw values` or `scaled features`.
    pub fn baseline_name(&self) -> &'static str {
        match &self.encoder {
            Encoder::Network(model) if model.media().is_signal() => "raw values",
            Encoder::Network(_) => "raw pixels",
            Encoder::Linear(_) => "scaled features",
        }
    }

    /// How the baseline is compared: pixels by cosine, values of signals and features by their Euclidean distance.
    pub fn baseline_metric(&self) -> Metric {
        match &self.encoder {
            Encoder::Network(model) if !model.media().is_signal() => Metric::Cosine,
            Encoder::Network(_) | Encoder::Linear(_) => Metric::Euclidean,
        }
    }

    /// Reads data of the kind that the model takes. `progress` hears (done, total) while images are decoded.
    ///
    /// # Errors
    /// When it is data of the other kind, cannot be read, or lacks what the model needs.
    pub fn read(&self, path: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<Inputs, TrainError> {
        let other = |takes: String| TrainError::OtherKind { path: path.to_owned(), takes };
        match &self.encoder {
            Encoder::Network(model) => {
                if TableKind::at(path)?.is_some() {
                    let takes = match model.media() {
                        Media::Images => {
                            "a network and takes images: a folder, ZIP, IDX, CIFAR or a manifest, which is a CSV file with a \
                             column path"
                        }
                        Media::Sounds => {
                            "a network and takes sounds: a folder, ZIP or manifest of .wav files"
                        }
                        Media::Series => "a network and takes series: .ts files",
                    };
                    return Err(other(takes.into()));
                }
                model.read(&Dataset::open(path)?, progress)
            }
            Encoder::Linear(model) => {
                let columns = &model.card.features.columns;
                let takes = || {
                    let count = columns.len();
                    format!(
                        "a linear map of {count} columns and takes a table: .csv, .parquet, .npy or .arff"
                    )
                };
                let table = match Table::open(path, &model.table_options()) {
                    Err(DataError::NotATable { .. }) => return Err(other(takes())),
                    table => table?,
                };
                // A table may have a column path; a manifest of images has none of the model's.
                let has_any = columns.iter().any(|column| table.column(column.name()).is_some());
                if !has_any && TableKind::at(path)?.is_none() {
                    return Err(other(takes()));
                }
                Ok(Inputs::Table(table))
            }
        }
    }

    /// Reads images, sounds or series of a data set that is open, such as a part of one.
    ///
    /// # Errors
    /// When the model takes tables or another medium, or the samples cannot be read.
    pub fn read_samples(
        &self,
        dataset: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Inputs, TrainError> {
        match &self.encoder {
            Encoder::Network(model) => model.read(dataset, progress),
            Encoder::Linear(_) => Err(TrainError::OtherKind {
                path: dataset.path().to_owned(),
                takes: "a linear map and takes a table".into(),
            }),
        }
    }

    /// Embeds every sample, row-major `[n, dimension]`. `progress` hears (done, total).
    ///
    /// # Errors
    /// When the samples are of the other kind, an image cannot be read, or a table does not fit the model.
    pub fn embed(
        &self,
        inputs: &Inputs,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>, TrainError> {
        match (&self.encoder, inputs) {
            (Encoder::Network(model), Inputs::Images { prepared, .. }) => model.embed(prepared, progress),
            (Encoder::Network(model), Inputs::Signals { prepared, .. }) => {
                Ok(model.embed_signals(prepared, Contexts::Mean, progress)?.vectors)
            }
            (Encoder::Linear(model), Inputs::Table(table)) => model.embed(table),
            _ => Err(self.mismatch(inputs)),
        }
    }

    /// Embeds the mirror image of every image: for test-time augmentation.
    ///
    /// # Errors
    /// As [`embed`](Self::embed); also for rows, sounds and series, which have no mirror image.
    pub fn embed_mirrored(
        &self,
        inputs: &Inputs,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>, TrainError> {
        match (&self.encoder, inputs) {
            (Encoder::Network(model), Inputs::Images { prepared, .. }) => {
                model.embed_mirrored(prepared, progress)
            }
            (Encoder::Network(model), Inputs::Table(_)) if !model.media().is_signal() => {
                Err(self.mismatch(inputs))
            }
            _ => Err(TrainError::NoMirrorImage),
        }
    }

    /// What an embedding must beat: the pixels that a network sees, the values of signals, or the scaled features of a table.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    pub fn baseline(&self, inputs: &Inputs) -> Result<Matrix, TrainError> {
        match (&self.encoder, inputs) {
            (Encoder::Network(model), Inputs::Images { prepared, .. }) => model.pixels(prepared),
            (Encoder::Network(model), Inputs::Signals { prepared, .. }) => model.raw_signals(prepared),
            (Encoder::Linear(model), Inputs::Table(table)) => Ok(model.card.features.apply(table)?),
            _ => Err(self.mismatch(inputs)),
        }
    }

    fn mismatch(&self, inputs: &Inputs) -> TrainError {
        let takes = match &self.encoder {
            Encoder::Network(model) => format!("a network and takes {}", model.media()),
            Encoder::Linear(_) => "a linear map and takes a table".into(),
        };
        TrainError::OtherKind { path: inputs.path().to_owned(), takes }
    }
}

/// A part of a card, which is JSON as it is TOML.
pub(crate) fn to_json(part: &impl Serialize) -> String {
    serde_json::to_string(part).expect("cards have text for keys")
}

/// The calibration in a file, if there is one.
fn read_calibration(path: &Path, hash: &str) -> Result<Option<Calibration>, TrainError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(TrainError::io("read the calibration", path)(e)),
    };
    let advice = "remove it, and calibrate again with `nearkin calibrate`";
    let damaged =
        |reason: String| TrainError::Damaged { path: path.to_owned(), reason, advice: advice.into() };
    let calibration: Calibration =
        toml::from_str(&text).map_err(|e| damaged(e.to_string().trim_end().to_owned()))?;
    match calibration.model == hash {
        true => Ok(Some(calibration)),
        false => Err(damaged(format!("it is of model {}, and this is {hash}", calibration.model))),
    }
}

fn parse(text: &str, path: &Path) -> Result<ModelCard, TrainError> {
    #[derive(Deserialize)]
    struct Kind {
        kind: Option<String>,
    }
    let unreadable = |e: toml::de::Error| TrainError::Toml {
        path: path.to_owned(),
        message: e.to_string().trim_end().to_owned(),
    };
    // Before there were linear maps, no card named its kind.
    match toml::from_str::<Kind>(text).map_err(unreadable)?.kind {
        None => toml::from_str(text).map(ModelCard::Network).map_err(unreadable),
        Some(_) => toml::from_str(text).map_err(unreadable),
    }
}

fn write_card(folder: &Path, card: &ModelCard) -> Result<(), TrainError> {
    let path = folder.join(CARD);
    let text =
        toml::to_string(card).map_err(|e| TrainError::Toml { path: path.clone(), message: e.to_string() })?;
    write_whole(&path, text.as_bytes())
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
        Err(TrainError::NotARun { path: path.to_owned(), missing: "model (model.toml, model.safetensors)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_without_a_kind_is_a_networks() {
        let text = "nearkin = \"0.1.0\"\nmethod = \"supcon\"\ndimension = 32\nmetric = \"cosine\"\nepoch = 3\ndata = \"ab\"\n\
                    classes = []\n[network]\nchannels = 3\nsize = 32\n[network.encoder]\nkind = \"small-conv\"\n\
                    [normalize]\nmean = [0.5]\nstd = [0.25]\n";
        let card = parse(text, Path::new("model.toml")).unwrap();
        let ModelCard::Network(network) = &card else { panic!("{card:?}") };
        assert_eq!((network.method.as_str(), network.dimension), ("supcon", 32));
        let written = toml::to_string(&card).unwrap();
        assert!(written.starts_with("kind = \"network\""), "{written}");
        assert_eq!(parse(&written, Path::new("model.toml")).unwrap(), card);
        let error = parse("kind = \"spiral\"\n", Path::new("model.toml")).unwrap_err().to_string();
        assert!(error.contains("spiral") && error.contains("linear"), "{error}");
    }
}
