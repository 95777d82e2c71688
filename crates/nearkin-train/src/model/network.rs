//! A network as a model: images in, or sounds and series.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_data::random::{Purpose, stream};
use nearkin_data::table::Matrix;
use nearkin_data::{
    Crops, Dataset, Image, Loader, Media, Normalize, PrepareOptions, Prepared, PreparedSignals,
    SignalOptions, ViewConfig, Views,
};
use nearkin_loss::LossError;
use nearkin_net::weights::{load_safetensors, save_safetensors};
use nearkin_net::{Network, NetworkConfig};
use nearkin_sweep::Metric;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ModelCard, WEIGHTS, write_card};
use crate::error::TrainError;
use crate::files::write_folder;
use crate::inputs::Inputs;
use crate::samples::Samples;
use crate::signals::{self, Contexts, Embedded, SignalInput};

/// All that turns a picture, a sound or a series into an embedding, and where the model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NetworkCard {
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
    /// The scale of images.
    #[serde(default)]
    pub normalize: Normalize,
    /// What it takes other than images: sounds or series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalInput>,
}

/// A trained network, ready to embed.
pub struct NetworkModel {
    /// What it is.
    pub card: NetworkCard,
    network: Network,
    device: Device,
}

/// Images that go through the encoder at once when embedding.
const BATCH: usize = 128;

/// How much more than the input's side a prepared image keeps, so that crops have pixels to choose from.
pub fn prepared_side(size: usize) -> usize {
    size + size / 2
}

impl NetworkModel {
    /// Writes a model folder, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(folder: &Path, card: &NetworkCard, network: &Network) -> Result<(), TrainError> {
        write_folder(folder, |folder| {
            save_safetensors(network, &folder.join(WEIGHTS))?;
            write_card(folder, &ModelCard::Network(card.clone()))
        })
    }

    /// The model that a card and a file of weights describe.
    pub(super) fn load(card: NetworkCard, weights: &Path, device: &Device) -> Result<Self, TrainError> {
        let mut network = card.network.init(device, 0)?;
        load_safetensors(&mut network, weights)?;
        Ok(Self { card, network, device: device.clone() })
    }

    /// Its encoder and embedding layer, and the projector of its training.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// A copy of its encoder and embedding layer that can be trained on; its device is the model's with a tape.
    pub(crate) fn to_train(&self) -> Result<Network, TrainError> {
        let weights = self.network.clone().without_projector().into_record();
        Ok(self.untrained(0)?.load_record(weights))
    }

    /// The same encoder and embedding layer with random weights.
    pub(crate) fn untrained(&self, seed: u64) -> Result<Network, TrainError> {
        let config = NetworkConfig { projector: None, ..self.card.network.clone() };
        Ok(config.init(&self.device.clone().autodiff(), seed)?)
    }

    /// Where it runs.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What it embeds.
    pub fn media(&self) -> Media {
        self.card.signal.as_ref().map_or(Media::Images, |input| input.media)
    }

    /// Embeds sounds or series: one vector of each, or all its contexts. `progress` hears (done, total).
    ///
    /// # Errors
    /// When the network takes images, or a signal cannot be read.
    pub fn embed_signals(
        &self,
        data: &PreparedSignals,
        contexts: Contexts,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Embedded, TrainError> {
        let all: Vec<usize> = (0..data.len()).collect();
        let network = (&self.network, self.card.dimension);
        signals::embed(network, self.input(data)?, &self.device, data, &all, contexts, progress)
    }

    /// The values of sounds or series as they are, brought to the length of a view: the baseline that an embedding must beat.
    ///
    /// # Errors
    /// When a signal cannot be read.
    pub fn raw_signals(&self, data: &PreparedSignals) -> Result<Matrix, TrainError> {
        signals::raw(data, self.card.network.size)
    }

    /// How often the prediction of a frame `k` steps ahead is more like that frame than like any other of its batch, for `k` from 1 on:
    /// van den Oord, Li and Vinyals 2018, figure 4. Of windows as long as a view, `batch` at once, their places drawn by the seed.
    ///
    /// # Errors
    /// When the network takes images, or a signal cannot be read.
    pub fn prediction_accuracy(
        &self,
        data: &Arc<PreparedSignals>,
        batch: usize,
        seed: u64,
    ) -> Result<Vec<f64>, TrainError> {
        let windows = (self.card.network.size, batch, seed);
        signals::prediction_accuracy(&self.network, self.input(data)?, &self.device, data, windows)
    }

    pub(crate) fn input(&self, data: &PreparedSignals) -> Result<&SignalInput, TrainError> {
        self.card.signal.as_ref().ok_or_else(|| TrainError::OtherKind {
            path: data.dataset.path().to_owned(),
            takes: "a network and takes images".into(),
        })
    }

    /// How to prepare a data set of images for [`embed`](Self::embed).
    pub fn prepare_options(&self) -> PrepareOptions {
        PrepareOptions::new(self.card.network.channels, prepared_side(self.card.network.size))
    }

    /// Reads the images, sounds or series of a data set to embed them. `progress` hears (done, total).
    ///
    /// # Errors
    /// When it holds another medium than the network takes, or too many samples cannot be read.
    pub fn read(
        &self,
        dataset: &Dataset,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Inputs, TrainError> {
        if dataset.media() != self.media() {
            let takes = format!("a network and takes {}, but this holds {}", self.media(), dataset.media());
            return Err(TrainError::OtherKind { path: dataset.path().to_owned(), takes });
        }
        if let Some(input) = &self.card.signal {
            let options = SignalOptions::new(self.card.network.channels, input.rate);
            let prepared = PreparedSignals::prepare(dataset, &options, progress)?;
            return Ok(Inputs::Signals { fingerprint: dataset.fingerprint(), prepared: prepared.into() });
        }
        let prepared = Prepared::prepare(dataset, &self.prepare_options(), progress)?;
        Ok(Inputs::Images { fingerprint: dataset.fingerprint(), prepared: prepared.into() })
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
        embed_views(&self.network, &self.card, &self.device, &eval_views(&self.card), data, &all, progress)
    }

    /// Embeds images that are no data set, each prepared by [`prepare_options`](Self::prepare_options); row-major `[n, dimension]`.
    /// An image has the same embedding as in a data set, up to the rounding of a batch of another size.
    ///
    /// # Errors
    /// When an image has another number of channels than the network takes.
    pub fn embed_images(&self, images: &[&Image]) -> Result<Vec<f32>, TrainError> {
        let views = Views::new(&eval_views(&self.card), self.card.network.size, self.card.network.channels)?;
        let mut vectors = Vec::with_capacity(images.len() * self.card.dimension);
        for images in images.chunks(BATCH) {
            let mut pixels = vec![0.0; images.len() * views.values()];
            // The views have no randomness, but drawing none of it takes a generator.
            pixels.par_chunks_mut(views.values()).zip(images).try_for_each(|(view, image)| {
                views.apply(image, &mut stream(0, 0, 0, 0, Purpose::View), view)
            })?;
            let shape = [images.len(), views.channels(), views.size(), views.size()];
            let crops = Crops { views: 1, shape, pixels };
            vectors.extend(forward(&self.network, &self.device, crops, Network::embed)?);
        }
        Ok(vectors)
    }

    /// Embeds the mirror image of every image: for test-time augmentation, which averages the two (Hermans et al. 2017).
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn embed_mirrored(
        &self,
        data: &Arc<Prepared>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<f32>, TrainError> {
        let all: Vec<usize> = (0..data.len()).collect();
        let mirrored = ViewConfig { flip: 1.0, ..eval_views(&self.card) };
        embed_views(&self.network, &self.card, &self.device, &mirrored, data, &all, progress)
    }

    /// Embeds `count` random views of each of these images, view-major `[count · samples, dimension]`.
    ///
    /// # Errors
    /// When an image cannot be read, or a setting of the views is out of range.
    pub fn embed_random_views(
        &self,
        data: &Arc<Prepared>,
        samples: &[usize],
        views: &ViewConfig,
        count: usize,
    ) -> Result<Vec<f32>, TrainError> {
        let views = Arc::new(Views::new(views, self.card.network.size, self.card.network.channels)?);
        let mut of_view: Vec<Vec<f32>> = vec![Vec::new(); count];
        for batch in loader(data, vec![views; count], samples)? {
            for crops in batch?.crops {
                let views = crops.views;
                let vectors = forward(&self.network, &self.device, crops, Network::embed)?;
                let of_batch = vectors.chunks_exact(vectors.len() / views);
                of_view.iter_mut().zip(of_batch).for_each(|(all, some)| all.extend_from_slice(some));
            }
        }
        Ok(of_view.concat())
    }

    /// What the loss compares of every image, behind the projection head; `None` for a network without one.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn project(&self, data: &Arc<Prepared>) -> Result<Option<Matrix>, TrainError> {
        if self.network.projector.is_none() {
            return Ok(None);
        }
        let (dim, samples): (usize, Vec<usize>) = (self.network.projection_dim(), (0..data.len()).collect());
        let views = Views::new(&eval_views(&self.card), self.card.network.size, self.card.network.channels)?;
        let mut values = Vec::with_capacity(data.len() * dim);
        for batch in loader(data, vec![Arc::new(views)], &samples)? {
            for crops in batch?.crops {
                values.extend(forward(&self.network, &self.device, crops, Network::project)?);
            }
        }
        Ok(Some(Matrix { values, dim }))
    }

    /// The largest value of each of the encoder's features in each quadrant of every image (Coates, Lee and Ng 2011; Dosovitskiy et al.
    /// 2014): `[n, 4 · features]`. `progress` hears (done, total).
    ///
    /// # Errors
    /// When the encoder has no map of its features, or an image cannot be read.
    pub fn quadrants(
        &self,
        data: &Arc<Prepared>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Matrix, TrainError> {
        let NetworkConfig { encoder, size, channels, .. } = &self.card.network;
        if !encoder.has_feature_map() {
            return Err(TrainError::NoFeatureMap { encoder: encoder.to_string() });
        }
        let dim = 4 * encoder.feature_dim(*size);
        let views = Arc::new(Views::new(&eval_views(&self.card), *size, *channels)?);
        let samples: Vec<usize> = (0..data.len()).collect();
        let mut values = Vec::with_capacity(data.len() * dim);
        let pooled =
            |network: &Network, images| network.quadrants(images).expect("an encoder that has a map");
        for batch in loader(data, vec![views], &samples)? {
            for crops in batch?.crops {
                values.extend(forward(&self.network, &self.device, crops, pooled)?);
            }
            progress(values.len() / dim, samples.len());
        }
        Ok(Matrix { values, dim })
    }

    /// The pixels that the encoder sees: the baseline that an embedding must beat.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn pixels(&self, data: &Arc<Prepared>) -> Result<Matrix, TrainError> {
        pixels(data, self.card.network.size, self.card.network.channels)
    }
}

/// The pixels of images cut to squares of this side, on the scale of 0 to 1, one row an image: rows, columns, channels.
///
/// # Errors
/// When an image cannot be read.
pub fn pixels(data: &Arc<Prepared>, size: usize, channels: usize) -> Result<Matrix, TrainError> {
    // Unshifted, as raw pixels are usually compared.
    let views = Views::eval(size, channels, Normalize { mean: vec![0.0], std: vec![1.0] })?;
    let dim = views.values();
    let mut values = Vec::with_capacity(data.len() * dim);
    let samples: Vec<usize> = (0..data.len()).collect();
    for batch in loader(data, vec![Arc::new(views)], &samples)? {
        batch?.crops.iter().for_each(|crops| values.extend_from_slice(&crops.pixels));
    }
    Ok(Matrix { values, dim })
}

/// Embeds the samples of these numbers with a network that `card` describes.
pub(crate) fn embed(
    network: &Network,
    card: &NetworkCard,
    device: &Device,
    data: &Samples,
    samples: &[usize],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<f32>, TrainError> {
    match (data, &card.signal) {
        (Samples::Signals(data), Some(input)) => {
            let network = (network, card.dimension);
            Ok(signals::embed(network, input, device, data, samples, Contexts::Mean, progress)?.vectors)
        }
        (Samples::Signals(data), None) => Err(TrainError::OtherKind {
            path: data.dataset.path().to_owned(),
            takes: "a network and takes images".into(),
        }),
        (Samples::Images(data), _) => {
            embed_views(network, card, device, &eval_views(card), data, samples, progress)
        }
    }
}

fn eval_views(card: &NetworkCard) -> ViewConfig {
    ViewConfig { normalize: card.normalize.clone(), ..ViewConfig::default() }
}

/// Embeds one view of each of these images; the views have no randomness.
fn embed_views(
    network: &Network,
    card: &NetworkCard,
    device: &Device,
    views: &ViewConfig,
    data: &Arc<Prepared>,
    samples: &[usize],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<f32>, TrainError> {
    let views = Views::new(views, card.network.size, card.network.channels)?;
    let mut vectors = Vec::with_capacity(samples.len() * card.dimension);
    for batch in loader(data, vec![Arc::new(views)], samples)? {
        for crops in batch?.crops {
            vectors.extend(forward(network, device, crops, Network::embed)?);
        }
        progress(vectors.len() / card.dimension, samples.len());
    }
    Ok(vectors)
}

/// What a network makes of some views.
fn forward(
    network: &Network,
    device: &Device,
    Crops { pixels, shape, .. }: Crops,
    of: fn(&Network, Tensor<4>) -> Tensor<2>,
) -> Result<Vec<f32>, TrainError> {
    let device = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
    let made = of(network, Tensor::from_data(TensorData::new(pixels, shape), &device));
    let values = made.into_data().convert::<f32>().try_to_vec::<f32>();
    Ok(values.map_err(|e| LossError::Read(format!("{e:?}")))?)
}

fn loader(data: &Arc<Prepared>, views: Vec<Arc<Views>>, samples: &[usize]) -> Result<Loader, TrainError> {
    let batches = samples.chunks(BATCH).map(<[usize]>::to_vec).collect();
    let threads = rayon::current_num_threads();
    Ok(Loader::start(Arc::clone(data), views, batches, 0, 0, 0, threads, 2)?)
}

impl std::fmt::Debug for NetworkModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetworkModel")
            .field("card", &self.card)
            .field("parameters", &self.network.num_params())
            .finish_non_exhaustive()
    }
}
