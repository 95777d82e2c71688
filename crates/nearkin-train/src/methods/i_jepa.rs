//! I-JEPA: the tokens that a slowly following twin gives to some blocks of an image are foreseen from a context around them.
//!
//! M. Assran, Q. Duval, I. Misra, P. Bojanowski, P. Vincent, M. Rabbat, Y. LeCun, N. Ballas, "Self-Supervised Learning from Images
//! with a Joint-Embedding Predictive Architecture", 2023.

use burn::tensor::Tensor;
use nearkin_data::ViewConfig;
use nearkin_data::random::{below, uniform_between};
use nearkin_loss::joint::smooth_l1;
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::momentum::Statistics;
use nearkin_net::{ConfigError, DecoderConfig, EncoderConfig, Network, Patches, VitConfig};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::parts::{standardised, vit, vit_config};
use super::unlabelled::{Unlabelled, share};
use super::{Batch, Clock, Configured, HeadSite, Method, MethodCard, Stateful, Stepped};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Following, Head, Learner};

/// The hyper-parameters of I-JEPA. The encoder must be a `vit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct IJepa {
    /// Samples a batch, one view each.
    pub batch: usize,
    /// Blocks that are foreseen, of each image.
    pub targets: usize,
    /// Smallest and largest share of the patches in such a block.
    pub target_scale: [f32; 2],
    /// Smallest and largest height over width of it.
    pub target_ratio: [f32; 2],
    /// Smallest and largest share of the patches in the context, before the blocks are taken out.
    pub context_scale: [f32; 2],
    /// What remains of the twin after the first step; it rises to 1 on a line.
    pub momentum: f64,
    /// The predictor.
    pub predictor: DecoderConfig,
}

impl Default for IJepa {
    /// The paper's blocks and momentum, and a predictor for a laptop: 12 blocks of width 384 in the paper.
    fn default() -> Self {
        Self {
            batch: 256,
            targets: 4,
            target_scale: [0.15, 0.2],
            target_ratio: [0.75, 1.5],
            context_scale: [0.85, 1.0],
            momentum: 0.996,
            predictor: DecoderConfig::default(),
        }
    }
}

impl Configured for IJepa {
    const CARD: MethodCard = MethodCard {
        name: "i-jepa",
        summary: "no labels, no augmentation; a vision transformer foresees a momentum twin's tokens of hidden blocks",
        paper: "Assran et al. 2023, Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
        needs_labels: false,
    };

    fn embedding(&self) -> usize {
        0
    }

    fn encoder(&self) -> EncoderConfig {
        EncoderConfig::Vit(VitConfig::default())
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        share("method.momentum", self.momentum)?;
        if self.targets == 0 {
            return Err(TrainError::setting("method.targets", 0, "at least 1"));
        }
        for (field, [low, high], most) in [
            ("method.target-scale", self.target_scale, 0.5),
            ("method.target-ratio", self.target_ratio, 10.0),
            ("method.context-scale", self.context_scale, 1.0),
        ] {
            if !(0.0 < low && low <= high && high <= most) {
                let wanted = format!("[low, high] with 0 < low <= high <= {most}");
                return Err(TrainError::setting(field, format!("[{low}, {high}]"), wanted));
            }
        }
        self.predictor.check("method.predictor")?;
        let views = (1, ViewConfig::default());
        Ok(Box::new(Unlabelled::stateful(Self::CARD.name, self.batch, views, Ready(self.clone()))))
    }
}

struct Ready(IJepa);

/// Rows and columns of a block of patches.
#[derive(Debug, Clone, Copy)]
struct Block {
    rows: usize,
    columns: usize,
}

impl Block {
    /// Of about a share of the grid, `height / width` as given; within the grid.
    fn of([rows, columns]: [usize; 2], share: f32, ratio: f32) -> Self {
        let area = share * (rows * columns) as f32;
        let side = |length: f32, most: usize| (length.round() as usize).clamp(1, most);
        Self { rows: side((area * ratio).sqrt(), rows), columns: side((area / ratio).sqrt(), columns) }
    }

    /// Numbers of its patches at a random place.
    fn somewhere(self, [rows, columns]: [usize; 2], rng: &mut impl Rng) -> Vec<usize> {
        let [top, left] = [below(rng, rows - self.rows + 1), below(rng, columns - self.columns + 1)];
        let row = |r: usize| (left..left + self.columns).map(move |c| (top + r) * columns + c);
        (0..self.rows).flat_map(row).collect()
    }
}

impl Ready {
    /// For each target, and for the context, patches of every image. Blocks have one size in a batch and a place in each image.
    fn masks(&self, batch: &Batch<'_>, grid: [usize; 2]) -> (Vec<Patches>, Patches) {
        let mut rng = batch.stream(0);
        let mut between = |[low, high]: [f32; 2]| uniform_between(&mut rng, low, high);
        let target = Block::of(grid, between(self.0.target_scale), between(self.0.target_ratio));
        let context = Block::of(grid, between(self.0.context_scale), 1.0);
        let (mut targets, mut contexts) = (vec![Vec::new(); self.0.targets], Vec::new());
        for &sample in batch.kin.samples {
            let rng = &mut batch.stream(sample as u64 + 1);
            let blocks: Vec<Vec<usize>> = (0..self.0.targets).map(|_| target.somewhere(grid, rng)).collect();
            let mut around = context.somewhere(grid, rng);
            around.retain(|patch| !blocks.iter().any(|block| block.contains(patch)));
            if around.is_empty() {
                // Blocks that cover the whole context leave one patch of the first to see.
                around.push(blocks[0][0]);
            }
            targets.iter_mut().zip(blocks).for_each(|(of_target, block)| of_target.push(block));
            contexts.push(around);
        }
        // A batch has one shape: as many patches as the smallest context has.
        let fewest = contexts.iter().map(Vec::len).min().unwrap_or(1);
        for (around, &sample) in contexts.iter_mut().zip(batch.kin.samples) {
            nearkin_data::random::shuffle(&mut batch.stream(!(sample as u64)), around);
            around.truncate(fewest);
        }
        let patches = |of: Vec<Vec<usize>>| Patches::new(&of, grid).expect("blocks within the grid");
        (targets.into_iter().map(patches).collect(), patches(contexts))
    }
}

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        let encoder = vit_config("i-jepa", site.network)?;
        Ok(Some(Head::Patches(self.0.predictor.patch_predictor(&encoder, site.device, site.seed)?)))
    }

    fn follows_head(&self) -> Option<bool> {
        Some(false)
    }

    fn following(&self, Clock { step, steps, .. }: Clock) -> Following {
        let passed = step as f64 / steps.max(1) as f64;
        let momentum = self.0.momentum + (1.0 - self.0.momentum) * passed.min(1.0);
        Following { momentum, statistics: Statistics::Follow }
    }

    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let (encoder, images) = (vit(&learner.network), batch.view(0));
        let [_, _, height, width] = images.dims();
        let grid = [height / encoder.patch(), width / encoder.patch()];
        let (targets, context) = self.masks(&batch, grid);
        let wanted = vit(learner.twin()).forward_patches(images.clone());
        let [n, count, d] = wanted.dims();
        let wanted = standardised(wanted.reshape([n * count, d])).reshape([n, count, d]);
        let tokens = encoder.forward_kept(images, &context);
        let flat = |x: Tensor<3>| {
            let [n, each, d] = x.dims();
            x.reshape([n * each, d])
        };
        let losses: Vec<Tensor<1>> = targets
            .iter()
            .map(|target| {
                let foreseen = learner.head().patches().forward(tokens.clone(), &context, target);
                smooth_l1(flat(foreseen), flat(target.pick(wanted.clone())))
            })
            .collect();
        let each = losses.len() as f64;
        let encoded = tokens.mean_dim(1).reshape([n, d]);
        Ok(Stepped { loss: Evaluated::of_tensor(Tensor::cat(losses, 0).sum() / each), encoded })
    }

    /// The twin, the paper's choice.
    fn model<'a>(&self, learner: &'a Learner) -> &'a Network {
        learner.twin()
    }
}
