//! NNCLR: a view's nearest neighbour among earlier samples is kin of the other view.
//!
//! D. Dwibedi, Y. Aytar, J. Tompson, P. Sermanet, A. Zisserman, "With a Little Help from My Friends: Nearest-Neighbor Contrastive
//! Learning of Visual Representations", 2021.

use burn::tensor::Tensor;
use nearkin_data::ViewConfig;
use nearkin_loss::losses::InfoNce;
use nearkin_loss::memory::Queue;
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::{ConfigError, MlpConfig};
use nearkin_sweep::{Metric, top_k};
use serde::{Deserialize, Serialize};

use super::parts::{by_sample, held, predictor, values};
use super::unlabelled::Unlabelled;
use super::{Batch, Configured, HeadSite, Method, MethodCard, Stateful, Stepped, TrainSet};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Head, Learner};

/// The hyper-parameters of NNCLR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Nnclr {
    /// Samples a batch.
    pub batch: usize,
    /// Vectors in the support set, at least a batch.
    pub queue: usize,
    /// τ
    pub temperature: f32,
    /// Hidden units of projector and predictor.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for Nnclr {
    /// The paper's temperature, and sizes for a laptop and CIFAR-10: 98,304 supports, heads of 2,048 and 4,096 units in the paper.
    fn default() -> Self {
        Self { batch: 256, queue: 4096, temperature: 0.1, hidden: 512, projection: 128, colour: 0.5 }
    }
}

impl Configured for Nnclr {
    const CARD: MethodCard = MethodCard {
        name: "nnclr",
        summary: "no labels; the nearest earlier sample of a view is kin of the other view, against the rest of the batch",
        paper: "Dwibedi, Aytar, Tompson, Sermanet, Zisserman 2021, With a Little Help from My Friends",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig { layers: 3, output_norm: true, ..MlpConfig::byol(self.hidden, self.projection) })
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        if self.queue < self.batch {
            return Err(TrainError::setting("method.queue", self.queue, "at least a batch"));
        }
        let loss = InfoNce::new(Metric::Cosine, self.temperature)?;
        let views = (2, ViewConfig::simclr(self.colour));
        let ready = Ready { config: self.clone(), loss };
        Ok(Box::new(Unlabelled::stateful(Self::CARD.name, self.batch, views, ready)))
    }
}

struct Ready {
    config: Nnclr,
    loss: InfoNce,
}

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        predictor(&MlpConfig::byol(self.config.hidden, self.config.projection), site)
    }

    fn remember(&self, _set: TrainSet<'_>, dim: usize, seed: u64) -> Result<Kept, LossError> {
        let queue = Queue::random(self.config.queue, dim, seed)?;
        Ok(Kept { queues: vec![queue], ..Kept::default() })
    }

    fn step(&self, learner: &Learner, kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let [supports] = &mut kept.queues[..] else { unreachable!("the method remembers one queue") };
        let projected = [0, 1].map(|view| learner.network.project(batch.view(view)));
        let predicted = projected.clone().map(|z| learner.head().mlp().forward(z));
        let [p, q] = predicted;
        // The neighbour asks, and has no gradient; predictions are what it is told apart among.
        let one = |view: usize, predicted: Tensor<2>| {
            let friends = nearest(supports, &projected[view])?;
            by_sample(&self.loss, friends, predicted)
        };
        let loss = Evaluated::sum([(0.5, one(0, q)?), (0.5, one(1, p)?)]);
        supports.enqueue(values(&projected[0])?.on_sphere().vectors()?)?;
        Ok(Stepped { loss, encoded: Tensor::cat(projected.to_vec(), 0) })
    }
}

/// The support nearest to each vector.
fn nearest(supports: &Queue, vectors: &Tensor<2>) -> Result<Tensor<2>, LossError> {
    let rows = values(vectors)?;
    let found = top_k(rows.vectors()?, supports.vectors(), Metric::Cosine, 1, false)?;
    let friends = found.iter().zip(0..).flat_map(|(near, at)| match near.first() {
        Some(near) => supports.vectors().row(near.index).to_vec(),
        // Only vectors that are no numbers have no neighbour: the loss then says so.
        None => rows.row(at).to_vec(),
    });
    Ok(held(friends.collect(), vectors))
}
