//! What a method answers that keeps something beside the network.

use burn::tensor::{Device, Tensor};
use nearkin_data::random::{Purpose, stream};
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::{ConfigError, Network, NetworkConfig};
use rand::Rng;

use super::{BatchKin, TrainSet};
use crate::kept::Kept;
use crate::learner::{Following, Head, Learner};

/// How a method takes the loss of a step.
pub enum Objective<'a> {
    /// Of encoded views, with nothing kept between steps. The views may go through the encoder in parts.
    OfBatch(&'a dyn OfBatch),
    /// With something kept beside the network.
    Stateful(&'a dyn Stateful),
}

/// A method that compares the encoded views of a batch, with each other or with class vectors.
pub trait OfBatch: Send + Sync {
    /// What is compared: `[n, c, h, w]` pixels to `[n, d]` vectors.
    fn encode(&self, network: &Network, pixels: Tensor<4>) -> Tensor<2> {
        network.project(pixels)
    }

    /// The loss of a whole batch of views that `network` encoded, with the class vectors as they are, if there are any.
    ///
    /// # Errors
    /// When the loss cannot read the vectors.
    fn loss(
        &self,
        network: &Network,
        encoded: Tensor<2>,
        proxies: Option<Tensor<2>>,
        batch: BatchKin<'_>,
    ) -> Result<Evaluated, LossError>;
}

/// A method that keeps something beside the network: a head that learns with it, a momentum twin that follows it, a memory. The
/// loop makes them, updates head and twin after a step, and saves all of it; the method says what a step does with them.
pub trait Stateful: Send + Sync {
    /// What learns beside the network.
    ///
    /// # Errors
    /// When a size is out of range, or the method needs another encoder.
    fn head(&self, _site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        Ok(None)
    }

    /// The head's learning rate, in units of the peak rate, where the schedule has the network at `factor`.
    fn head_rate(&self, factor: f64) -> f64 {
        factor
    }

    /// Whether there is a momentum twin, and then, whether it follows the head too.
    fn follows_head(&self) -> Option<bool> {
        None
    }

    /// How the twin follows after a step, which comes when the clock says.
    fn following(&self, _moment: Clock) -> Following {
        Following { momentum: 0.0, statistics: Default::default() }
    }

    /// Parts in which batch normalisations split a batch.
    fn batch_norm_groups(&self) -> usize {
        1
    }

    /// The memory as it begins; `dim` is that of what the network projects to.
    ///
    /// # Errors
    /// When a size is out of range.
    fn remember(&self, _set: TrainSet<'_>, _dim: usize, _seed: u64) -> Result<Kept, LossError> {
        Ok(Kept::default())
    }

    /// One step: what is encoded, its loss, and what is remembered of it.
    ///
    /// # Errors
    /// When the loss cannot read the vectors, or the memory not take them.
    fn step(&self, learner: &Learner, kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError>;

    /// What becomes the model.
    fn model<'a>(&self, learner: &'a Learner) -> &'a Network {
        &learner.network
    }
}

/// What a head is made for.
#[derive(Debug, Clone, Copy)]
pub struct HeadSite<'a> {
    /// The network beside which it learns.
    pub network: &'a NetworkConfig,
    /// Samples of the training set.
    pub samples: usize,
    /// Where it lies.
    pub device: &'a Device,
    /// Of its initial weights.
    pub seed: u64,
}

/// A batch, and when it comes.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// Views of the samples, a tensor a size: `[views · samples, channels, side, side]`, view-major.
    pub crops: Vec<Tensor<4>>,
    /// Of which samples.
    pub kin: BatchKin<'a>,
    /// Where the run stands.
    pub clock: Clock,
    /// The run's seed.
    pub seed: u64,
    /// Samples of the training set.
    pub of: usize,
}

/// Where a run stands. All schedules are functions of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Steps done before this one.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps of an epoch.
    pub per_epoch: usize,
}

/// What a step came to.
#[derive(Debug, Clone)]
pub struct Stepped {
    /// The loss, on the tape.
    pub loss: Evaluated,
    /// What was compared, `[n, d]`, for the figures of spread and rank.
    pub encoded: Tensor<2>,
}

impl Clock {
    /// Epochs done, with a fraction.
    pub fn epoch(&self) -> f64 {
        self.step as f64 / self.per_epoch.max(1) as f64
    }
}

impl Batch<'_> {
    /// Samples.
    pub fn len(&self) -> usize {
        self.kin.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// View number `view` of the first size, of all samples.
    pub fn view(&self, view: usize) -> Tensor<4> {
        let n = self.len();
        self.crops[0].clone().narrow(0, view * n, n)
    }

    /// All views of a size.
    pub fn crops(&self, size: usize) -> Tensor<4> {
        self.crops[size].clone()
    }

    /// Random numbers of this step for one of its samples, or for the whole of it. They depend on nothing drawn before.
    pub fn stream(&self, sample: u64) -> impl Rng + use<> {
        stream(self.seed, self.clock.step as u64, sample, 0, Purpose::Method)
    }

    /// Samples as slots of a memory.
    pub fn slots(&self) -> Vec<u32> {
        self.kin.samples.iter().map(|&sample| sample as u32).collect()
    }
}
