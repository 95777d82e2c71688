//! What a network is worth where few samples have labels: the whole of it is trained on them, with a linear classifier on top.
//!
//! T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A Simple Framework for Contrastive Learning of Visual Representations", 2020, section
//! 6 and appendix B.5: a share of the labels, the same number of each class; random crops and flips and nothing stronger; SGD with momentum
//! 0.9 at the rate 0.05 × batch / 256, without warm-up or weight decay; 60 epochs on 1 % of the labels and 30 on 10 %. Beside it stand
//! what shows whether that is much: a linear classifier on the features as they are, and the same net trained on the same samples from
//! random weights.
//!
//! Two things differ from the paper. The batch is one that few samples fill. And its 1 % were 12,800 images: of fewer samples there are more
//! epochs, so that no training has fewer than [`STEPS`] steps.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use nearkin_data::random::{Purpose, shuffle, stream};
use nearkin_data::{
    Crop, Loader, Sampler, Shuffled, SignalLoader, SignalViewConfig, SignalViews, ViewConfig, Views,
};
use nearkin_eval::{Labeled, LinearProbeOptions, linear_probe};
use nearkin_loss::LossError;
use nearkin_loss::joint::cross_entropy;
use nearkin_net::{MlpConfig, Network, NetworkConfig};
use nearkin_sweep::Vectors;
use serde::Serialize;

use crate::error::TrainError;
use crate::feed::{Fed, Feed};
use crate::learner::{Head, Learner, Rates};
use crate::model::{NetworkModel, embed};
use crate::optimizers::OptimizerConfig;
use crate::samples::Samples;
use crate::schedule::Schedule;
use crate::step::Pulls;

/// Samples a batch, fewer where there are fewer.
const BATCH: usize = 64;
/// The rate at a batch of 256.
const RATE: f64 = 0.05;
const MOMENTUM: f64 = 0.9;
/// Epochs on a tenth of the labels; a tenth of that share takes twice as many.
const EPOCHS_ON_A_TENTH: f64 = 30.0;
/// Steps of a training at least.
const STEPS: usize = 600;
/// Batches that the loader makes ahead of the step.
const AHEAD: usize = 3;

/// Settings of [`fine_tune`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FineTuneOptions {
    /// The share of the reference's labels that is used, above 0, at most 1.
    pub share: f64,
    /// Passes over that share; `None`: [`usual_epochs`].
    pub epochs: Option<usize>,
    /// Of the choice of samples, of their views and order, and of random weights.
    pub seed: u64,
}

/// Samples with a class each, and as the model places them.
#[derive(Clone, Copy)]
pub struct LabeledSamples<'a> {
    /// The samples.
    pub samples: &'a Samples,
    /// Their classes, numbered as those of the other side.
    pub labels: &'a [u32],
    /// Their embeddings, row-major.
    pub vectors: &'a [f32],
}

/// Accuracy on the test samples after learning from few labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FewLabels {
    /// The share of the reference.
    pub share: f64,
    /// How many samples that is.
    pub samples: usize,
    /// Passes over them.
    pub epochs: usize,
    /// Steps of each training.
    pub steps: usize,
    /// Of the whole network, trained on from the model's weights.
    pub fine_tuned_accuracy: f64,
    /// Of a linear classifier on the model's features as they are.
    pub linear_probe_accuracy: f64,
    /// Of the same network, trained from random weights.
    pub from_scratch_accuracy: f64,
    /// The samples, as numbers in the reference.
    #[serde(skip)]
    pub chosen: Vec<usize>,
}

/// The epochs of a share that makes batches of so many an epoch: `30 · 2^{log₁₀(0.1 / share)}`, and at least 600 steps.
pub fn usual_epochs(share: f64, batches: usize) -> usize {
    let published = EPOCHS_ON_A_TENTH * (0.1 / share).log10().exp2();
    (published.round() as usize).max(STEPS.div_ceil(batches.max(1)))
}

/// A share of labelled samples, the same number of each class, or all of a class that has fewer; ascending, drawn by the seed.
///
/// # Errors
/// A share out of range, or one that leaves less than one sample for each class: then the least that would do is named.
pub fn balanced_share(labels: &[u32], share: f64, seed: u64) -> Result<Vec<usize>, TrainError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(TrainError::setting("share", share, "above 0, at most 1"));
    }
    let mut members: std::collections::BTreeMap<u32, Vec<usize>> = Default::default();
    labels.iter().enumerate().for_each(|(i, &label)| members.entry(label).or_default().push(i));
    let (all, classes) = (labels.len(), members.len());
    let each = share * all as f64 / classes.max(1) as f64;
    // The rounding of `share` is no reason to refuse.
    if each < 1.0 - 1e-9 {
        let least = (1e4 * classes as f64 / all as f64).ceil() / 1e4;
        let wanted =
            format!("at least {least}: that many of {all} samples leave one for each of {classes} classes");
        return Err(TrainError::setting("share", share, wanted));
    }
    let mut chosen = Vec::new();
    for (label, mut members) in members {
        shuffle(&mut stream(seed, 0, label.into(), 0, Purpose::Split), &mut members);
        chosen.extend(members.into_iter().take(each.round() as usize));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// Trains on a share of `reference` and measures on `test`. `progress` hears (done, total) of the steps of both trainings.
///
/// # Errors
/// A share that is refused by [`balanced_share`], fewer than two classes, a class of `test` that `reference` lacks, samples that cannot be
/// read, and a loss that is no number.
pub fn fine_tune(
    model: &NetworkModel,
    reference: LabeledSamples<'_>,
    test: LabeledSamples<'_>,
    options: &FineTuneOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<FewLabels, TrainError> {
    let FineTuneOptions { share, epochs, seed } = *options;
    let mut classes = reference.labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    if classes.len() < 2 {
        return Err(TrainError::OneClass { method: "a classifier" });
    }
    if let Some(unknown) = test.labels.iter().find(|label| classes.binary_search(label).is_err()) {
        let wanted = "one of the reference's: what no sample of the reference shows cannot be learned";
        return Err(TrainError::setting("class of the test data", unknown, wanted));
    }
    let chosen = balanced_share(reference.labels, share, seed)?;
    let order = Shuffled::new(chosen.len(), BATCH.min(chosen.len()), true)?;
    let per_epoch = order.batches_per_epoch();
    let epochs = epochs.unwrap_or_else(|| usual_epochs(share, per_epoch));
    let steps = per_epoch * epochs;
    let own = |label: &u32| classes.partition_point(|class| class < label) as u32;
    let task = Task {
        model,
        samples: reference.samples,
        labels: reference.labels.iter().map(own).collect(),
        classes: classes.len(),
        chosen: &chosen,
        order,
        epochs,
        seed,
    };
    let asked: Vec<u32> = test.labels.iter().map(own).collect();
    let mut accuracy = |network: Network, before: usize| -> Result<f64, TrainError> {
        let learner = task.train(network, &mut |done| progress(before + done, 2 * steps))?;
        task.accuracy(&learner, test.samples, &asked)
    };
    let fine_tuned_accuracy = accuracy(model.to_train()?, 0)?;
    let from_scratch_accuracy = accuracy(model.untrained(seed)?, steps)?;
    let dim = model.card.dimension;
    let rows = Vectors::new(reference.vectors, dim)?;
    let vectors: Vec<f32> = chosen.iter().flat_map(|&i| rows.row(i)).copied().collect();
    let labels: Vec<u32> = chosen.iter().map(|&i| reference.labels[i]).collect();
    let fit = Labeled { vectors: Vectors::new(&vectors, dim)?, labels: &labels };
    let asking = Labeled { vectors: Vectors::new(test.vectors, dim)?, labels: test.labels };
    let linear_probe_accuracy = linear_probe(fit, asking, &LinearProbeOptions::default())?.accuracy;
    Ok(FewLabels {
        share,
        samples: chosen.len(),
        epochs,
        steps,
        fine_tuned_accuracy,
        linear_probe_accuracy,
        from_scratch_accuracy,
        chosen,
    })
}

/// What both networks learn.
struct Task<'a> {
    model: &'a NetworkModel,
    samples: &'a Samples,
    /// Of all samples, numbered from 0 without gaps.
    labels: Vec<u32>,
    classes: usize,
    chosen: &'a [usize],
    order: Shuffled,
    epochs: usize,
    seed: u64,
}

impl Task<'_> {
    fn train(&self, network: Network, progress: &mut dyn FnMut(usize)) -> Result<Learner, TrainError> {
        let device = self.model.device().clone().autodiff();
        let head = MlpConfig::linear(self.classes).predictor(network.embedding_dim(), &device, self.seed)?;
        let mut learner =
            Learner { network, proxies: None, head: Some(Head::Mlp(head)), twin: None, probe: None };
        let batch = BATCH.min(self.chosen.len());
        let peak = RATE * batch as f64 / 256.0;
        let sgd = OptimizerConfig::Sgd { lr: peak, momentum: MOMENTUM, weight_decay: 0.0 };
        let mut optimizer = sgd.build()?;
        let schedule = Schedule { warmup_epochs: 0.0, ..Schedule::default() };
        let per_epoch = self.order.batches_per_epoch();
        let steps = per_epoch * self.epochs;
        let mut step = 0;
        for epoch in 0..self.epochs {
            let mut last = None;
            for fed in self.feed(epoch as u64, &device)? {
                let Fed { samples, crops, .. } = fed?;
                let own: Vec<u32> = samples.iter().map(|&i| self.labels[i]).collect();
                let scores = learner.head().mlp().forward(learner.network.embed(crops[0].clone()));
                let loss = cross_entropy(scores, &own);
                let pulls = Pulls::of(loss.backward(), &learner);
                let rate = peak * schedule.factor(step, per_epoch, steps);
                let rates = Rates { network: rate, proxies: rate, head: rate };
                learner = learner.updated(&mut optimizer, rates, pulls, None);
                step += 1;
                progress(step);
                last = Some((loss, samples));
            }
            if let Some((loss, samples)) = last {
                self.check(loss, step, &samples)?;
            }
        }
        Ok(learner)
    }

    /// The batches of an epoch.
    fn feed(&self, epoch: u64, device: &Device) -> Result<Feed, TrainError> {
        let batches = self.order.batches(self.seed, epoch);
        let batches = batches.into_iter().map(|batch| batch.into_iter().map(|i| self.chosen[i]).collect());
        let (batches, threads, card) = (batches.collect(), rayon::current_num_threads(), &self.model.card);
        let NetworkConfig { size, channels, .. } = card.network;
        let device = device.clone();
        match self.samples {
            Samples::Images(data) => {
                let config = ViewConfig {
                    crop: Crop::RandomResized { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] },
                    flip: 0.5,
                    normalize: card.normalize.clone(),
                    ..ViewConfig::default()
                };
                let views = vec![Arc::new(Views::new(&config, size, channels)?)];
                let loader =
                    Loader::start(Arc::clone(data), views, batches, self.seed, epoch, 0, threads, AHEAD)?;
                Ok(Feed::Host { loader, device })
            }
            Samples::Signals(data) => {
                let scale = self.model.input(data)?.standardize.clone();
                let views = SignalViews::new(&SignalViewConfig::default(), channels, size, scale)?;
                let views = (Arc::new(views), 1);
                let loader = SignalLoader::start(
                    Arc::clone(data),
                    views,
                    batches,
                    self.seed,
                    epoch,
                    0,
                    threads,
                    AHEAD,
                )?;
                Ok(Feed::Signals { loader, device })
            }
        }
    }

    /// Refuses a loss that is no number.
    fn check(&self, loss: Tensor<1>, step: usize, samples: &[usize]) -> Result<(), TrainError> {
        let loss = f64::from(values(loss)?.first().copied().unwrap_or(f32::NAN));
        if loss.is_finite() {
            return Ok(());
        }
        let ids = samples.iter().take(5).map(|&i| self.samples.dataset().sample(i).id.as_str());
        let samples = ids.collect::<Vec<_>>().join(", ");
        Err(TrainError::NonFinite { loss, step, method: "fine-tuning".to_owned(), samples })
    }

    /// How many of the samples the classifier puts into their own class.
    fn accuracy(&self, learner: &Learner, samples: &Samples, own: &[u32]) -> Result<f64, TrainError> {
        let Learner { network, head, .. } = learner.valid();
        let (card, device) = (&self.model.card, self.model.device());
        let all: Vec<usize> = (0..samples.len()).collect();
        let vectors = embed(&network, card, device, samples, &all, &mut |_, _| {})?;
        let vectors = Tensor::from_data(TensorData::new(vectors, [all.len(), card.dimension]), device);
        let scores = head.map(|head| values(head.mlp().forward(vectors))).transpose()?.unwrap_or_default();
        let best = |row: &[f32]| (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b]));
        let right =
            scores.chunks_exact(self.classes).zip(own).filter(|(row, own)| best(row) == Some(**own as usize));
        Ok(right.count() as f64 / own.len() as f64)
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, LossError> {
    tensor.into_data().convert::<f32>().try_to_vec().map_err(|e| LossError::Read(format!("{e:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_holds_as_many_of_each_class_and_the_seed_draws_them() {
        // 600, 300 and 100 of three classes.
        let labels: Vec<u32> = (0..1000).map(|i| u32::from(i >= 600) + u32::from(i >= 900)).collect();
        let chosen = balanced_share(&labels, 0.06, 4).unwrap();
        let of = |class: u32| chosen.iter().filter(|&&i| labels[i] == class).count();
        assert_eq!([of(0), of(1), of(2)], [20; 3]);
        assert_eq!(chosen, balanced_share(&labels, 0.06, 4).unwrap());
        assert_ne!(chosen, balanced_share(&labels, 0.06, 5).unwrap());
        // A class that has fewer gives all it has.
        assert_eq!(balanced_share(&labels, 0.6, 4).unwrap().len(), 200 + 200 + 100);
        assert_eq!(balanced_share(&labels, 0.003, 4).unwrap().len(), 3);
    }

    #[test]
    fn a_share_that_leaves_a_class_empty_is_refused_with_the_least_that_does() {
        let labels: Vec<u32> = (0..300).map(|i| i % 7).collect();
        let message = balanced_share(&labels, 0.01, 1).unwrap_err().to_string();
        assert!(message.starts_with("share = 0.01") && message.contains("0.0234"), "{message}");
        assert_eq!(balanced_share(&labels, 0.0234, 1).unwrap().len(), 7);
        for share in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(balanced_share(&labels, share, 1).is_err(), "{share}");
        }
    }

    #[test]
    fn epochs_are_the_papers_where_they_make_steps_enough() {
        assert_eq!((usual_epochs(0.01, 200), usual_epochs(0.1, 2000), usual_epochs(1.0, 800)), (60, 30, 15));
        assert_eq!((usual_epochs(0.01, 1), usual_epochs(0.1, 15)), (600, 40));
    }
}
