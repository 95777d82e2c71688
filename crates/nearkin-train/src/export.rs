//! Models for other programs: a network with its preprocessing as ONNX, or its weights for PyTorch.

use std::path::Path;

use nearkin_data::{Normalize, Standardize};
use nearkin_net::onnx::{self, Input};
use nearkin_net::weights::for_pytorch;
use nearkin_sweep::Metric;
use safetensors::tensor::{Dtype, TensorView};

use crate::error::TrainError;
use crate::files::write_whole;
use crate::model::{Encoder, Model, NetworkCard, NetworkModel, to_json};

/// What comes before the graph: [`NetworkModel::prepare_options`], then [`Crop::Center`](nearkin_data::Crop::Center).
const CROP: &str = "scale to a shorter side of 3/2 of the size if it is longer, then to 8/7 of the size if it is longer still, cut the \
                    central square of the size; scale up what is smaller; bilinear with antialiasing, as Pillow's";

/// What a model is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// `.onnx`: preprocessing, encoder, embedding layer and normalisation as one graph.
    Onnx,
    /// `.safetensors`: the weights under PyTorch's names.
    Safetensors,
}

impl ExportFormat {
    /// What a file's ending says.
    ///
    /// # Errors
    /// When it ends in neither.
    pub fn of(path: &Path) -> Result<Self, TrainError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("onnx") => Ok(Self::Onnx),
            Some("safetensors") => Ok(Self::Safetensors),
            _ => Err(TrainError::setting("out", path.display(), "a file that ends in .onnx or .safetensors")),
        }
    }

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Safetensors => "safetensors",
        }
    }
}

impl Model {
    /// Writes a network for other programs, as [`ExportFormat::of`] the path says.
    ///
    /// The graph of an `.onnx` file takes u8 pixels `image` `[n, size, size, channels]`, or f32 values `signal` `[n, channels, steps]`, and
    /// gives `embedding` `[n, dimension]`: what [`embed`](Self::embed) gives, for the metric cosine with unit length. See
    /// [`onnx::encode`] and [`for_pytorch`].
    ///
    /// # Errors
    /// When the path has another ending or cannot be written, when the model is a linear map, or when it does not fit the format.
    pub fn export(&self, path: &Path) -> Result<ExportFormat, TrainError> {
        let format = ExportFormat::of(path)?;
        let Encoder::Network(model) = &self.encoder else { return Err(TrainError::LinearExport) };
        let bytes = match format {
            ExportFormat::Onnx => {
                let normalise = model.card.metric == Metric::Cosine;
                onnx::encode(
                    model.network(),
                    &input(&model.card),
                    normalise,
                    &self.metadata(model, normalise),
                )?
            }
            ExportFormat::Safetensors => safetensors(model, path)?,
        };
        write_whole(path, &bytes)?;
        Ok(format)
    }

    /// What a user of the graph must know, and where it comes from.
    fn metadata(&self, model: &NetworkModel, normalised: bool) -> Vec<(&'static str, String)> {
        let NetworkCard { nearkin, method, dimension, metric, network, normalize, signal, .. } = &model.card;
        let mut entries = vec![
            ("nearkin", nearkin.clone()),
            ("model", self.hash().to_owned()),
            ("method", method.clone()),
            ("encoder", network.encoder.to_string()),
            ("metric", metric.to_string()),
            ("dimension", dimension.to_string()),
            ("normalized", normalised.to_string()),
            ("media", model.media().to_string()),
            ("channels", network.channels.to_string()),
        ];
        match signal {
            None => entries.extend([
                ("size", network.size.to_string()),
                ("crop", CROP.to_owned()),
                ("mean", to_json(&normalize.mean)),
                ("std", to_json(&normalize.std)),
            ]),
            Some(input) => {
                entries.extend(input.rate.map(|rate| ("rate", rate.to_string())));
                entries.push(("standardize", to_json(&input.standardize)));
            }
        }
        entries
    }
}

/// How the graph brings what it takes to the network's scale.
fn input(card: &NetworkCard) -> Input {
    let channels = card.network.channels;
    let Some(signal) = &card.signal else {
        let Normalize { mean, std } = &card.normalize;
        // One value stands for all channels.
        let of_each = |values: &[f32]| (0..channels).map(|c| values[c.min(values.len() - 1)]).collect();
        return Input::Image { size: card.network.size, mean: of_each(mean), std: of_each(std) };
    };
    match &signal.standardize {
        Standardize::Set { mean, std } => Input::Signal { mean: mean.clone(), std: std.clone() },
        Standardize::Each {} => Input::SignalByItself { channels },
    }
}

fn safetensors(model: &NetworkModel, path: &Path) -> Result<Vec<u8>, TrainError> {
    let weights = for_pytorch(model.network(), model.card.network.size)?;
    let unwritable =
        |e: safetensors::SafeTensorError| TrainError::io("write", path)(std::io::Error::other(e));
    let mut tensors = Vec::with_capacity(weights.len());
    for (name, data) in &weights {
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
        tensors.push((name, view.map_err(unwritable)?));
    }
    // PyTorch's loaders ask for it.
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    safetensors::serialize(tensors, Some(metadata)).map_err(unwritable)
}
