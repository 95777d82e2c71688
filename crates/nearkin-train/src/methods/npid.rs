//! NPID: every sample is a class of its own, and its class vector is what a memory bank holds of it.
//!
//! Z. Wu, Y. Xiong, S. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018.

use burn::tensor::Tensor;
use nearkin_data::ViewConfig;
use nearkin_loss::joint::Regression;
use nearkin_loss::losses::{NonParametricNce, NonParametricSoftmax};
use nearkin_loss::memory::Bank;
use nearkin_loss::{Evaluated, LossError, Sides, evaluate_with};
use nearkin_sweep::SameLabel;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::parts::{held, values};
use super::unlabelled::Unlabelled;
use super::{Batch, Configured, Method, MethodCard, Stateful, Stepped, TrainSet};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::Learner;

/// The hyper-parameters of NPID.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Npid {
    /// Samples a batch, one view each.
    pub batch: usize,
    /// τ of the softmax.
    pub temperature: f32,
    /// m, slots drawn a sample for noise-contrastive estimation; 0: the softmax over the whole bank.
    pub draws: usize,
    /// What remains of a slot when its sample was seen.
    pub momentum: f32,
    /// λ of the proximal term, which keeps a sample near its slot.
    pub proximal: f32,
    /// Strength of the colour distortion: 1 for large photos, ½ for CIFAR-10.
    pub colour: f32,
}

impl Default for Npid {
    /// The paper's, but for the batch and the whole softmax, which is the paper's best on CIFAR-10 and the faster for banks of up
    /// to some ten thousand samples.
    fn default() -> Self {
        Self { batch: 256, temperature: 0.07, draws: 0, momentum: 0.5, proximal: 0.0, colour: 0.5 }
    }
}

impl Configured for Npid {
    const CARD: MethodCard = MethodCard {
        name: "npid",
        summary: "no labels; every sample a class of its own, against a memory bank of all samples",
        paper: "Wu, Xiong, Yu, Lin 2018, Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
        needs_labels: false,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let nce = match self.draws {
            0 => None,
            draws => Some(NonParametricNce::new(self.temperature, draws)?.with_proximal(self.proximal)?),
        };
        // The softmax over the whole bank has a proximal term of its own, with the same range.
        NonParametricNce::default().with_proximal(self.proximal)?;
        if !(0.0..1.0).contains(&self.momentum) {
            return Err(TrainError::setting("method.momentum", self.momentum, "0 to below 1"));
        }
        let views = (1, ViewConfig { blur: None, ..ViewConfig::simclr(self.colour) });
        let ready =
            Ready { config: self.clone(), softmax: NonParametricSoftmax::new(self.temperature)?, nce };
        Ok(Box::new(Unlabelled::stateful(Self::CARD.name, self.batch, views, ready)))
    }
}

struct Ready {
    config: Npid,
    softmax: NonParametricSoftmax,
    nce: Option<NonParametricNce>,
}

impl Stateful for Ready {
    fn remember(&self, set: TrainSet<'_>, dim: usize, seed: u64) -> Result<Kept, LossError> {
        let bank = Bank::random(set.len, dim, self.config.momentum, seed)?;
        Ok(Kept { bank: Some(bank), ..Kept::default() })
    }

    fn step(&self, learner: &Learner, kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let (slots, seed) = (batch.slots(), batch.stream(0).next_u64());
        let encoded = learner.network.project(batch.view(0));
        let bank = kept.bank.as_mut().expect("the method remembers a bank");
        let loss = match &self.nce {
            Some(nce) => evaluate_with(encoded.clone(), |queries| {
                nce.pull(queries, bank.vectors(), &slots, seed, &mut kept.normalizer)
            })?,
            None => {
                let all: Vec<u32> = (0..bank.len() as u32).collect();
                let kin = SameLabel::between(&slots, &all);
                let softmax = evaluate_with(encoded.clone(), |queries| {
                    nearkin_loss::Loss::pull(&self.softmax, &Sides::between(queries, bank.vectors(), &kin))
                })?;
                self.with_proximal(softmax, &encoded, bank, &slots)
            }
        };
        bank.update(&slots, values(&encoded)?.vectors()?)?;
        Ok(Stepped { loss, encoded })
    }
}

impl Ready {
    /// `+ λ ‖x/‖x‖ − b‖²`
    fn with_proximal(&self, loss: Evaluated, encoded: &Tensor<2>, bank: &Bank, slots: &[u32]) -> Evaluated {
        if self.config.proximal == 0.0 {
            return loss;
        }
        let own: Vec<f32> = slots.iter().flat_map(|&s| bank.vectors().row(s as usize).to_vec()).collect();
        let apart = Regression.loss(encoded.clone(), held(own, encoded));
        Evaluated::sum([(1.0, loss), (self.config.proximal.into(), Evaluated::of_tensor(apart))])
    }
}
