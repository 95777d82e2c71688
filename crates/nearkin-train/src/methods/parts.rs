//! Small things that several self-supervised methods do.

use burn::tensor::{Tensor, TensorData};
use nearkin_loss::{Evaluated, Loss, LossError, evaluate};
use nearkin_net::encoders::Vit;
use nearkin_net::{ConfigError, Encoder, EncoderConfig, MlpConfig, Network, NetworkConfig, VitConfig};
use nearkin_sweep::{SameLabel, SweepError, Vectors};

use super::HeadSite;
use crate::learner::Head;

/// A head of two layers; linear without hidden units, and none without an output.
pub(super) fn head_of(hidden: usize, out: usize) -> Option<MlpConfig> {
    let head = if hidden == 0 { MlpConfig::linear(out) } else { MlpConfig::new(hidden, out) };
    (out > 0).then_some(head)
}

/// Vectors on the host.
pub(super) struct Rows {
    values: Vec<f32>,
    dim: usize,
}

/// The vectors of a tensor, for a memory.
///
/// # Errors
/// When they cannot be read as f32.
pub(super) fn values(tensor: &Tensor<2>) -> Result<Rows, LossError> {
    let [_, dim] = tensor.dims();
    let values = tensor.clone().into_data().convert::<f32>().try_to_vec::<f32>();
    Ok(Rows { values: values.map_err(|e| LossError::Read(format!("{e:?}")))?, dim })
}

impl Rows {
    pub(super) fn vectors(&self) -> Result<Vectors<'_>, SweepError> {
        Vectors::new(&self.values, self.dim)
    }

    pub(super) fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.dim..][..self.dim]
    }

    /// Each scaled to unit length; one of length 0 stays.
    pub(super) fn on_sphere(mut self) -> Self {
        for row in self.values.chunks_exact_mut(self.dim) {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
            if length > 0.0 {
                row.iter_mut().for_each(|x| *x /= length);
            }
        }
        self
    }
}

/// What a memory holds, as a tensor without a gradient beside `like`.
pub(super) fn held(values: Vec<f32>, like: &Tensor<2>) -> Tensor<2> {
    let [_, dim] = like.dims();
    let rows = values.len() / dim;
    Tensor::from_data(TensorData::new(values, [rows, dim]), &like.device())
}

/// A loss in which query `i` is kin of reference `i` alone.
///
/// # Errors
/// When the loss cannot read the vectors.
pub(super) fn by_sample(
    loss: &dyn Loss,
    queries: Tensor<2>,
    references: Tensor<2>,
) -> Result<Evaluated, LossError> {
    let [n, _] = queries.dims();
    let samples: Vec<u32> = (0..n as u32).collect();
    evaluate(loss, queries, Some(references), &SameLabel::between(&samples, &samples))
}

/// A perceptron on top of what the network projects to.
///
/// # Errors
/// When a size is out of range.
pub(super) fn predictor(
    config: &MlpConfig,
    HeadSite { network, device, seed, .. }: HeadSite<'_>,
) -> Result<Option<Head>, ConfigError> {
    let inputs = network.projector.as_ref().map_or(network.embedding_dim(), |projector| projector.out);
    Ok(Some(Head::Mlp(config.predictor(inputs, device, seed)?)))
}

/// The settings of the vision transformer that a method of patches needs.
///
/// # Errors
/// When the encoder is another one.
pub(super) fn vit_config(method: &str, network: &NetworkConfig) -> Result<VitConfig, ConfigError> {
    match &network.encoder {
        EncoderConfig::Vit(config) if network.size < 2 * config.patch => Err(ConfigError {
            field: "encoder.patch".to_owned(),
            found: config.patch.to_string(),
            wanted: format!(
                "give at most {}: {method} hides some patches and shows others",
                network.size / 2
            ),
        }),
        EncoderConfig::Vit(config) if network.embedding.is_none() => Ok(*config),
        EncoderConfig::Vit(_) => Err(ConfigError {
            field: "embedding".to_owned(),
            found: network.embedding_dim().to_string(),
            wanted: format!("give 0: {method} trains the tokens themselves"),
        }),
        other => Err(ConfigError {
            field: "encoder".to_owned(),
            found: other.to_string(),
            wanted: format!("give kind = \"vit\": {method} hides patches from it"),
        }),
    }
}

/// The vision transformer that [`vit_config`] found.
pub(super) fn vit(network: &Network) -> &Vit {
    match &network.encoder {
        Encoder::Vit(encoder) => encoder,
        _ => unreachable!("the head was refused for another encoder"),
    }
}

/// Rows of mean 0 and variance 1.
pub(super) fn standardised(rows: Tensor<2>) -> Tensor<2> {
    let centred = rows.clone() - rows.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + 1e-6).sqrt()
}
