//! Exemplar-CNN: a sample and its transformed copies are a surrogate class, and a classifier tells the classes apart.
//!
//! A. Dosovitskiy, J. T. Springenberg, M. Riedmiller, T. Brox, "Discriminative Unsupervised Feature Learning with Convolutional
//! Neural Networks", 2014. The paper's classifier is a softmax with a weight vector a class; with many classes, class vectors of unit
//! length, which are compared by cosine, learn faster (A. Dosovitskiy et al. 2016 name the number of classes as the limit).
//!
//! A seed is a whole image, or, as in the paper, a patch of one, where its gradient is strong ([`Prepared::patches`]).
//!
//! [`Prepared::patches`]: nearkin_data::Prepared::patches

use nearkin_data::{Patches, Sampler, Shuffled, ViewConfig};
use nearkin_loss::losses::NormalizedSoftmax;
use nearkin_loss::{Evaluated, LossError, evaluate};
use nearkin_net::{ConfigError, MlpConfig, PrototypesConfig};
use nearkin_sweep::{Metric, SameLabel};
use serde::{Deserialize, Serialize};

use super::{
    Batch, Configured, HeadSite, Method, MethodCard, Objective, Selection, Stateful, Stepped, TrainSet,
};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Head, Learner};

/// What tells surrogate classes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Classifier {
    /// A linear layer and the softmax, the paper's.
    Linear,
    /// Cosines with class vectors over a temperature.
    #[default]
    Cosine,
}

/// The hyper-parameters of Exemplar-CNN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExemplarCnn {
    /// Transformed copies a batch, each of another surrogate class.
    pub batch: usize,
    /// N: surrogate classes. Of whole images, evenly chosen ones, no more than there are; of patches, one or more an image.
    pub surrogates: usize,
    /// Smallest and largest side of a seed patch, as shares of its image's shorter side; `None`: whole images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<[f32; 2]>,
    /// K: different copies of each sample, one an epoch, before they come again.
    pub copies: u64,
    /// What tells the classes apart.
    pub classifier: Classifier,
    /// τ of cosines.
    pub temperature: f32,
    /// Strength of the change of colours, 0 to 5; 1 is the paper's.
    pub colour: f32,
}

impl Default for ExemplarCnn {
    /// The paper's best: 8,000 classes of 150 copies.
    fn default() -> Self {
        Self {
            batch: 256,
            surrogates: 8000,
            patch: None,
            copies: 150,
            classifier: Classifier::Cosine,
            temperature: 0.07,
            colour: 1.0,
        }
    }
}

impl Configured for ExemplarCnn {
    const CARD: MethodCard = MethodCard {
        name: "exemplar-cnn",
        summary: "no labels; a sample and its transformed copies are a surrogate class, told apart by a classifier",
        paper: "Dosovitskiy, Springenberg, Riedmiller, Brox 2014, Discriminative Unsupervised Feature Learning with CNNs",
        needs_labels: false,
    };

    fn embedding(&self) -> usize {
        0
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        if self.surrogates < 2 {
            let wanted = "at least 2: a single class tells nothing apart";
            return Err(TrainError::setting("method.surrogates", self.surrogates, wanted));
        }
        if self.copies == 0 {
            return Err(TrainError::setting("method.copies", 0, "at least 1"));
        }
        if !(0.0..=5.0).contains(&self.colour) {
            return Err(TrainError::setting("method.colour", self.colour, "0 to 5"));
        }
        if let Some([low, high]) = self.patch
            && !(0.0 < low && low <= high && high <= 1.0)
        {
            let wanted = "[low, high] with 0 < low <= high <= 1";
            return Err(TrainError::setting("method.patch", format!("[{low}, {high}]"), wanted));
        }
        Ok(Box::new(Ready { config: self.clone(), loss: NormalizedSoftmax::new(self.temperature)? }))
    }
}

struct Ready {
    config: ExemplarCnn,
    loss: NormalizedSoftmax,
}

/// Batches of the samples that are surrogate classes: class `c` of `N` is sample `⌊c n / N⌋`.
struct Seeds {
    samples: usize,
    classes: usize,
    order: Shuffled,
}

impl Sampler for Seeds {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let seed_of = |class: usize| class * self.samples / self.classes;
        let batches = self.order.batches(seed, epoch);
        batches.into_iter().map(|batch| batch.into_iter().map(seed_of).collect()).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.order.batches_per_epoch()
    }
}

/// The class whose seed is this sample: the least `c` with `⌊c n / N⌋ = sample`.
fn class_of(sample: usize, samples: usize, classes: usize) -> u32 {
    (sample * classes).div_ceil(samples) as u32
}

impl Method for Ready {
    fn sampler(&self, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        if set.graph.is_some() {
            let wanted = "left out: to exemplar-cnn, kin are the copies of one sample";
            return Err(TrainError::setting("kin", "a rule", wanted));
        }
        let classes = self.config.surrogates.min(set.len);
        if classes < 2 {
            let why = "each sample is a class, and one class tells nothing apart";
            return Err(TrainError::TooFewSamples { found: classes, wanted: 2, why });
        }
        let order = Shuffled::new(classes, self.config.batch.min(classes), true)?;
        Ok(Box::new(Seeds { samples: set.len, classes, order }))
    }

    fn views(&self) -> usize {
        1
    }

    fn default_views(&self) -> ViewConfig {
        ViewConfig::exemplar_cnn(self.config.colour)
    }

    fn patches(&self) -> Option<Patches> {
        self.config.patch.map(|side| Patches { count: self.config.surrogates, side })
    }

    fn views_return(&self) -> Option<u64> {
        Some(self.config.copies)
    }

    fn objective(&self) -> Objective<'_> {
        Objective::Stateful(self)
    }

    fn metric(&self) -> Metric {
        Metric::Cosine
    }

    fn selection(&self) -> Selection {
        Selection::Latest
    }
}

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        let (classes, inputs) = (self.config.surrogates.min(site.samples), site.network.embedding_dim());
        Ok(Some(match self.config.classifier {
            Classifier::Linear => {
                Head::Mlp(MlpConfig::linear(classes).predictor(inputs, site.device, site.seed)?)
            }
            Classifier::Cosine => {
                Head::Directions(PrototypesConfig { count: classes }.init(inputs, site.device, site.seed)?)
            }
        }))
    }

    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let classes = self.config.surrogates.min(batch.of);
        let own: Vec<u32> =
            batch.kin.samples.iter().map(|&sample| class_of(sample, batch.of, classes)).collect();
        let encoded = learner.network.embed(batch.view(0));
        let loss = match learner.head() {
            Head::Directions(vectors) => {
                let all: Vec<u32> = (0..classes as u32).collect();
                let kin = SameLabel::between(&own, &all);
                evaluate(&self.loss, encoded.clone(), Some(vectors.weight.val()), &kin)?
            }
            head => {
                let scores = head.mlp().forward(encoded.clone());
                Evaluated::of_tensor(nearkin_loss::joint::cross_entropy(scores, &own))
            }
        };
        Ok(Stepped { loss, encoded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_seed_of_its_own_and_each_seed_its_class() {
        for (samples, classes) in [(10, 10), (10, 7), (1000, 3), (8, 2)] {
            let order = Shuffled::new(classes, classes, false).unwrap();
            let seeds = Seeds { samples, classes, order }.batches(1, 2).concat();
            let mut found: Vec<u32> = seeds.iter().map(|&seed| class_of(seed, samples, classes)).collect();
            found.sort_unstable();
            assert_eq!(found, (0..classes as u32).collect::<Vec<_>>(), "{samples} {classes}");
        }
    }
}
