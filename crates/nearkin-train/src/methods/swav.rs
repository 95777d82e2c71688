//! SwAV: the cluster of one view, among prototypes that share the batch evenly, is predicted from every other view.
//!
//! M. Caron, I. Misra, J. Mairal, P. Goyal, P. Bojanowski, A. Joulin, "Unsupervised Learning of Visual Features by Contrasting
//! Cluster Assignments", 2020.

use burn::module::Module;
use burn::tensor::Tensor;
use nearkin_data::{Crop, ViewConfig};
use nearkin_loss::joint::{Swapped, sinkhorn};
use nearkin_loss::memory::Queue;
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::{ConfigError, MlpConfig, PrototypesConfig};
use serde::{Deserialize, Serialize};

use super::parts::{held, values};
use super::unlabelled::{SmallCrops, Unlabelled};
use super::{Batch, Configured, HeadSite, Method, MethodCard, Stateful, Stepped, TrainSet};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Head, Learner};

/// The hyper-parameters of SwAV.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SwAv {
    /// Samples a batch.
    pub batch: usize,
    /// Prototypes: an order of magnitude more than there may be classes.
    pub prototypes: usize,
    /// τ of the prediction.
    pub temperature: f32,
    /// ε of the codes: lower is sharper.
    pub epsilon: f32,
    /// Iterations of the Sinkhorn–Knopp algorithm.
    pub iterations: usize,
    /// Earlier vectors of each large view that take part in the codes, for batches that are small against the prototypes; 0: none.
    pub queue: usize,
    /// Epochs before the queue is used.
    pub queue_from: f64,
    /// Epochs before prototypes learn.
    pub freeze_prototypes: f64,
    /// Small crops of each sample beside the two large ones.
    pub small_crops: usize,
    /// Their side in pixels: 96 beside 224 in the paper.
    pub small_size: usize,
    /// Smallest and largest share of the area in a small crop.
    pub small_scale: [f32; 2],
    /// Hidden units of the head.
    pub hidden: usize,
    /// Dimensions of the projection.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for SwAv {
    /// The paper's temperatures and iterations, and sizes for a laptop and CIFAR-10: in the paper 3,000 prototypes, 3,840 queued from
    /// epoch 15 on, 6 small crops, 2,048 hidden units.
    fn default() -> Self {
        Self {
            batch: 256,
            prototypes: 256,
            temperature: 0.1,
            epsilon: 0.05,
            iterations: 3,
            queue: 0,
            queue_from: 15.0,
            freeze_prototypes: 1.0,
            small_crops: 4,
            small_size: 16,
            small_scale: [0.05, 0.3],
            hidden: 512,
            projection: 128,
            colour: 0.5,
        }
    }
}

impl Configured for SwAv {
    const CARD: MethodCard = MethodCard {
        name: "swav",
        summary: "no labels, no strangers; the cluster of one view is predicted from the others, clusters of equal size",
        paper: "Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, Contrasting Cluster Assignments",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(MlpConfig::byol(self.hidden, self.projection))
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let loss = Swapped::new(self.temperature)?;
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(TrainError::setting("method.epsilon", self.epsilon, "above zero"));
        }
        if self.iterations == 0 {
            return Err(TrainError::setting("method.iterations", 0, "at least 1"));
        }
        if (1..self.batch).contains(&self.queue) {
            return Err(TrainError::setting("method.queue", self.queue, "0, or at least a batch"));
        }
        let small = SmallCrops { count: self.small_crops, size: self.small_size, scale: self.small_scale };
        let crop =
            Crop::RandomResized { scale: [self.small_scale[1].min(0.9), 1.0], ratio: [0.75, 4.0 / 3.0] };
        let views = (2, ViewConfig { crop, ..ViewConfig::simclr(self.colour) });
        let ready = Ready { config: self.clone(), loss };
        let method = Unlabelled::stateful(Self::CARD.name, self.batch, views, ready);
        Ok(Box::new(method.with_small_crops(small)?))
    }
}

struct Ready {
    config: SwAv,
    loss: Swapped,
}

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        let prototypes = PrototypesConfig { count: self.config.prototypes };
        Ok(Some(Head::Directions(prototypes.init(self.config.projection, site.device, site.seed)?)))
    }

    fn remember(&self, _set: TrainSet<'_>, dim: usize, _seed: u64) -> Result<Kept, LossError> {
        let one = || Queue::new(self.config.queue, dim);
        let queues = if self.config.queue > 0 { vec![one()?, one()?] } else { Vec::new() };
        Ok(Kept { queues, ..Kept::default() })
    }

    fn step(&self, learner: &Learner, kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let n = batch.len();
        let prototypes = learner.head().directions().clone();
        let frozen = batch.clock.epoch() < self.config.freeze_prototypes;
        let prototypes = if frozen { prototypes.no_grad() } else { prototypes };
        let large = learner.network.project(batch.crops(0));
        let mut scores: Vec<Tensor<2>> = prototypes.forward(large.clone()).chunk(2, 0);
        if self.config.small_crops > 0 {
            let small = prototypes.forward(learner.network.project(batch.crops(1)));
            scores.extend(small.chunk(self.config.small_crops, 0));
        }
        let queue_due = batch.clock.epoch() >= self.config.queue_from;
        let mut losses = Vec::new();
        for assigned in 0..2 {
            let own = scores[assigned].clone();
            let with_queue = match kept.queues.get(assigned) {
                Some(queue) if queue_due && queue.len() == queue.capacity() => {
                    let earlier = held(queue.vectors().data().to_vec(), &large);
                    Tensor::cat(vec![own, prototypes.forward(earlier)], 0)
                }
                _ => own,
            };
            let codes = sinkhorn(with_queue, self.config.epsilon, self.config.iterations).narrow(0, 0, n);
            let others = (0..scores.len()).filter(|&view| view != assigned);
            losses.extend(others.map(|view| self.loss.loss(scores[view].clone(), codes.clone())));
        }
        let views = large.clone().chunk(2, 0);
        for (queue, view) in kept.queues.iter_mut().zip(&views) {
            queue.enqueue(values(view)?.vectors()?)?;
        }
        let count = losses.len() as f64;
        Ok(Stepped { loss: Evaluated::of_tensor(Tensor::cat(losses, 0).sum() / count), encoded: large })
    }
}
