//! DINO: every crop foresees the centred and sharpened output of a slowly following twin on the large crops.
//!
//! M. Caron, H. Touvron, I. Misra, H. Jégou, J. Mairal, P. Bojanowski, A. Joulin, "Emerging Properties in Self-Supervised Vision
//! Transformers", 2021.

use burn::module::Module;
use burn::tensor::Tensor;
use nearkin_data::{Crop, ViewConfig};
use nearkin_loss::joint::Distillation;
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::heads::DinoHead;
use nearkin_net::momentum::{Statistics, cosine_momentum};
use nearkin_net::{ConfigError, DinoHeadConfig, Network};
use serde::{Deserialize, Serialize};

use super::parts::{held, values};
use super::unlabelled::{SmallCrops, Unlabelled, share};
use super::{Batch, Clock, Configured, HeadSite, Method, MethodCard, Stateful, Stepped, TrainSet};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Following, Head, Learner};

/// The hyper-parameters of DINO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dino {
    /// Samples a batch.
    pub batch: usize,
    /// What remains of the twin after the first step; it rises to 1 on a cosine.
    pub momentum: f64,
    /// τ_s
    pub student_temperature: f32,
    /// τ_t, after its warm-up.
    pub twin_temperature: f32,
    /// τ_t at the start: high temperatures are unstable there.
    pub twin_temperature_start: f32,
    /// Epochs over which τ_t goes from its start to its end.
    pub twin_temperature_epochs: f64,
    /// What remains of the centre after a step.
    pub centre_momentum: f32,
    /// Epochs before the head's last layer learns.
    pub freeze_last_layer: f64,
    /// Small crops of each sample beside the two large ones.
    pub small_crops: usize,
    /// Their side in pixels: 96 beside 224 in the paper.
    pub small_size: usize,
    /// Smallest and largest share of the area in a small crop.
    pub small_scale: [f32; 2],
    /// The head.
    pub head: DinoHeadConfig,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for Dino {
    /// The paper's temperatures, momenta and freezing, and sizes for a laptop and CIFAR-10: 65,536 outputs and 8 small crops in the
    /// paper.
    fn default() -> Self {
        Self {
            batch: 256,
            momentum: 0.996,
            student_temperature: 0.1,
            twin_temperature: 0.07,
            twin_temperature_start: 0.04,
            twin_temperature_epochs: 30.0,
            centre_momentum: 0.9,
            freeze_last_layer: 1.0,
            small_crops: 4,
            small_size: 16,
            small_scale: [0.05, 0.3],
            head: DinoHeadConfig::default(),
            colour: 0.5,
        }
    }
}

impl Configured for Dino {
    const CARD: MethodCard = MethodCard {
        name: "dino",
        summary: "no labels, no strangers; every crop foresees what a momentum twin makes of the large ones, centred",
        paper: "Caron et al. 2021, Emerging Properties in Self-Supervised Vision Transformers",
        needs_labels: false,
    };

    fn embedding(&self) -> usize {
        0
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let loss = Distillation::new(self.student_temperature)?;
        share("method.momentum", self.momentum)?;
        share("method.centre-momentum", self.centre_momentum.into())?;
        for (field, value) in [
            ("method.twin-temperature", self.twin_temperature),
            ("method.twin-temperature-start", self.twin_temperature_start),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(TrainError::setting(field, value, "above zero"));
            }
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
    config: Dino,
    loss: Distillation,
}

impl Ready {
    fn twin_temperature(&self, clock: Clock) -> f32 {
        let Dino { twin_temperature: end, twin_temperature_start: start, .. } = self.config;
        let passed = (clock.epoch() / self.config.twin_temperature_epochs.max(1e-9)).min(1.0) as f32;
        start + (end - start) * passed
    }
}

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        Ok(Some(Head::Dino(self.config.head.init(site.network.embedding_dim(), site.device, site.seed)?)))
    }

    fn follows_head(&self) -> Option<bool> {
        Some(true)
    }

    fn following(&self, Clock { step, steps, .. }: Clock) -> Following {
        let momentum = cosine_momentum(self.config.momentum, step, steps);
        Following { momentum, statistics: Statistics::Own }
    }

    fn remember(&self, _set: TrainSet<'_>, _dim: usize, _seed: u64) -> Result<Kept, LossError> {
        Ok(Kept { centre: vec![0.0; self.config.head.out], ..Kept::default() })
    }

    fn step(&self, learner: &Learner, kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let head = learner.head().dino().clone();
        let frozen = batch.clock.epoch() < self.config.freeze_last_layer;
        let head = match frozen {
            true => DinoHead { last_layer: head.last_layer.no_grad(), ..head },
            false => head,
        };
        let large = learner.network.embed(batch.crops(0));
        let mut scores: Vec<Tensor<2>> = head.forward(large.clone()).chunk(2, 0);
        if self.config.small_crops > 0 {
            let small = head.forward(learner.network.embed(batch.crops(1)));
            scores.extend(small.chunk(self.config.small_crops, 0));
        }
        let of_twin = learner.twin_head().dino().forward(learner.twin().embed(batch.crops(0)));
        let centre = held(kept.centre.clone(), &of_twin);
        let temperature = self.twin_temperature(batch.clock);
        let targets = self.loss.target(of_twin.clone(), centre, temperature).chunk(2, 0);
        let mut losses = Vec::new();
        for (seen, target) in targets.into_iter().enumerate() {
            let others = (0..scores.len()).filter(|&view| view != seen);
            losses.extend(others.map(|view| self.loss.loss(scores[view].clone(), target.clone())));
        }
        let mean = values(&of_twin.mean_dim(0))?;
        for (centre, mean) in kept.centre.iter_mut().zip(mean.row(0)) {
            *centre = self.config.centre_momentum * *centre + (1.0 - self.config.centre_momentum) * mean;
        }
        let count = losses.len() as f64;
        Ok(Stepped { loss: Evaluated::of_tensor(Tensor::cat(losses, 0).sum() / count), encoded: large })
    }

    /// The twin, which is ahead of its student.
    fn model<'a>(&self, learner: &'a Learner) -> &'a Network {
        learner.twin()
    }
}
