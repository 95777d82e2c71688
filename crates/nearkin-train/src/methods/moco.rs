//! MoCo: a view is told from the keys that a slowly following twin made of other samples.
//!
//! K. He, H. Fan, Y. Wu, S. Xie, R. Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", 2020 (v1);
//! X. Chen, H. Fan, R. Girshick, K. He, "Improved Baselines with Momentum Contrastive Learning", 2020 (v2);
//! X. Chen, S. Xie, K. He, "An Empirical Study of Training Self-Supervised Vision Transformers", 2021 (v3).

use burn::tensor::{Device, Int, Tensor, TensorData};
use nearkin_data::ViewConfig;
use nearkin_loss::losses::{InfoNce, NtXent};
use nearkin_loss::memory::Queue;
use nearkin_loss::{Evaluated, LossError, evaluate_with};
use nearkin_net::momentum::{Statistics, cosine_momentum};
use nearkin_net::{ConfigError, MlpConfig};
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::parts::{by_sample, predictor, values};
use super::unlabelled::{Unlabelled, share};
use super::{Batch, Clock, Configured, HeadSite, Method, MethodCard, Stateful, Stepped, TrainSet};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Following, Head, Learner};

/// The paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MocoVersion {
    /// A queue of keys, a linear head, no blur.
    V1,
    /// A queue of keys, a head of two layers, blur.
    #[default]
    V2,
    /// No queue: the keys of the batch, a predictor, both ways, a momentum that rises to 1.
    V3,
}

/// The hyper-parameters of MoCo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Moco {
    /// Which paper.
    pub version: MocoVersion,
    /// Samples a batch.
    pub batch: usize,
    /// Keys in the queue, at least a batch; v3 has none.
    pub queue: usize,
    /// What remains of the twin after a step; left out: 0.999, and 0.99 in v3, from where it rises to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// τ; left out: 0.07 in v1, else 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Whether each of the two views asks for the key of the other; v3 always does.
    pub symmetric: bool,
    /// Parts of a batch that are normalised apart, others for keys than for queries: it stands for shuffling among GPUs, without
    /// which batch statistics give away which key is whose. v3 has none.
    pub groups: usize,
    /// Hidden units of the head, and of v3's predictor.
    pub hidden: usize,
    /// Dimensions of keys.
    pub projection: usize,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for Moco {
    /// v2's, with batch and queue for a laptop and CIFAR-10: 65,536 keys in the paper.
    fn default() -> Self {
        Self {
            version: MocoVersion::V2,
            batch: 256,
            queue: 4096,
            momentum: None,
            temperature: None,
            symmetric: false,
            groups: 8,
            hidden: 512,
            projection: 128,
            colour: 0.5,
        }
    }
}

impl Moco {
    fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(if self.version == MocoVersion::V3 { 0.99 } else { 0.999 })
    }

    fn temperature(&self) -> f32 {
        self.temperature.unwrap_or(if self.version == MocoVersion::V1 { 0.07 } else { 0.2 })
    }
}

impl Configured for Moco {
    const CARD: MethodCard = MethodCard {
        name: "moco",
        summary: "no labels; a view against the keys of other samples, made by a momentum twin: v1, v2 (a queue) or v3",
        paper: "He, Fan, Wu, Xie, Girshick 2020, Momentum Contrast; Chen, Fan, Girshick, He 2020; Chen, Xie, He 2021",
        needs_labels: false,
    };

    fn projector(&self) -> Option<MlpConfig> {
        Some(match self.version {
            MocoVersion::V1 => MlpConfig { layers: 1, ..MlpConfig::new(self.hidden, self.projection) },
            MocoVersion::V2 => MlpConfig::new(self.hidden, self.projection),
            MocoVersion::V3 => {
                MlpConfig { output_norm: true, ..MlpConfig::byol(self.hidden, self.projection) }
            }
        })
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        share("method.momentum", self.momentum())?;
        let blurred = ViewConfig::simclr(self.colour);
        let views = match self.version {
            MocoVersion::V1 => ViewConfig { blur: None, ..blurred },
            _ => blurred,
        };
        if self.version != MocoVersion::V3 && self.queue < self.batch * if self.symmetric { 2 } else { 1 } {
            let wanted =
                "at least the keys of a batch: a queue that forgets within a step compares with nothing";
            return Err(TrainError::setting("method.queue", self.queue, wanted));
        }
        let (name, batch, config) = (Self::CARD.name, self.batch, self.clone());
        Ok(Box::new(match self.version {
            MocoVersion::V3 => {
                let loss = InfoNce::new(Metric::Cosine, self.temperature())?;
                Unlabelled::stateful(name, batch, (2, views), OfBatchKeys { config, loss })
            }
            _ => {
                let loss = NtXent::new(self.temperature())?;
                Unlabelled::stateful(name, batch, (2, views), OfQueue { config, loss })
            }
        }))
    }
}

/// v1 and v2.
struct OfQueue {
    config: Moco,
    loss: NtXent,
}

impl Stateful for OfQueue {
    fn batch_norm_groups(&self) -> usize {
        self.config.groups
    }

    fn follows_head(&self) -> Option<bool> {
        Some(false)
    }

    fn following(&self, _clock: Clock) -> Following {
        Following { momentum: self.config.momentum(), statistics: Statistics::Own }
    }

    fn remember(&self, _set: TrainSet<'_>, dim: usize, seed: u64) -> Result<Kept, LossError> {
        let queue = Queue::random(self.config.queue, dim, seed)?;
        Ok(Kept { queues: vec![queue], ..Kept::default() })
    }

    fn step(&self, learner: &Learner, kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let [queue] = &mut kept.queues[..] else { unreachable!("the method remembers one queue") };
        let ways: &[[usize; 2]] = if self.config.symmetric { &[[0, 1], [1, 0]] } else { &[[0, 1]] };
        let (mut losses, mut all) = (Vec::new(), Vec::new());
        for [asks, answers] in ways {
            let query = learner.network.project(batch.view(*asks));
            let order = Regrouped::new(batch.len(), self.config.groups, &query.device());
            let keys = learner.twin().project(order.there(batch.view(*answers)));
            let keys = values(&order.back(keys))?.on_sphere();
            let loss =
                evaluate_with(query.clone(), |queries| queue.pull(&self.loss, queries, keys.vectors()?))?;
            losses.push((1.0 / ways.len() as f64, loss));
            all.push((query, keys));
        }
        for (_, keys) in &all {
            queue.enqueue(keys.vectors()?)?;
        }
        let encoded = Tensor::cat(all.into_iter().map(|(query, _)| query).collect(), 0);
        Ok(Stepped { loss: Evaluated::sum(losses), encoded })
    }
}

/// Another order of a batch, in which the images that queries had in one group of the normalisations are spread over all: image `i`
/// belongs to group `i mod groups`.
struct Regrouped {
    there: Tensor<1, Int>,
    back: Tensor<1, Int>,
}

impl Regrouped {
    fn new(n: usize, groups: usize, device: &Device) -> Self {
        // Read a table of rows of `groups` by columns: neighbours then lie in one group.
        let order: Vec<usize> = (0..groups).flat_map(|group| (group..n).step_by(groups)).collect();
        let mut back = vec![0i64; n];
        order.iter().enumerate().for_each(|(at, &from)| back[from] = at as i64);
        let tensor = |order: Vec<i64>| Tensor::from_data(TensorData::new(order, [n]), device);
        Self { there: tensor(order.into_iter().map(|from| from as i64).collect()), back: tensor(back) }
    }

    fn there(&self, images: Tensor<4>) -> Tensor<4> {
        images.select(0, self.there.clone())
    }

    fn back(&self, vectors: Tensor<2>) -> Tensor<2> {
        vectors.select(0, self.back.clone())
    }
}

/// v3.
struct OfBatchKeys {
    config: Moco,
    loss: InfoNce,
}

impl Stateful for OfBatchKeys {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        let config =
            MlpConfig { output_norm: true, ..MlpConfig::byol(self.config.hidden, self.config.projection) };
        predictor(&config, site)
    }

    fn follows_head(&self) -> Option<bool> {
        Some(false)
    }

    fn following(&self, Clock { step, steps, .. }: Clock) -> Following {
        let momentum = cosine_momentum(self.config.momentum(), step, steps);
        Following { momentum, statistics: Statistics::Own }
    }

    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let ask = |view| learner.head().mlp().forward(learner.network.project(batch.view(view)));
        let answer = |view| learner.twin().project(batch.view(view)).detach();
        let (queries, keys) = ([ask(0), ask(1)], [answer(0), answer(1)]);
        // The paper's 2τ keeps the force the same for any temperature.
        let weight = f64::from(2.0 * self.config.temperature());
        let one = |asks: usize, answers: usize| {
            let (queries, keys) = (queries[asks].clone(), keys[answers].clone());
            by_sample(&self.loss, queries, keys).map(|loss| (weight, loss))
        };
        let loss = Evaluated::sum([one(0, 1)?, one(1, 0)?]);
        let [first, second] = queries;
        Ok(Stepped { loss, encoded: Tensor::cat(vec![first, second], 0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_group_are_spread_over_all_groups_and_come_back() {
        let device = Device::flex();
        let (n, groups) = (12, 3);
        let order = Regrouped::new(n, groups, &device);
        let there: Vec<i64> = order.there.clone().into_data().convert::<i64>().try_to_vec().unwrap();
        for group in 0..groups {
            let mut seen: Vec<usize> =
                (0..n).filter(|at| at % groups == group).map(|at| there[at] as usize % groups).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), groups, "{there:?}");
        }
        let rows: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let rows: Tensor<2> = Tensor::from_data(TensorData::new(rows, [n, 1]), &device);
        let back = order.back(rows.clone().select(0, order.there.clone()));
        assert_eq!(back.into_data(), rows.into_data());
    }
}
