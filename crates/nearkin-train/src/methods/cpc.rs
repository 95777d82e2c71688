//! Contrastive predictive coding: from what a sequence has been so far, tell what comes next in it from what comes elsewhere.
//!
//! A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018. An encoder turns a sound or a
//! series into frames `zₜ`, a recurrent network sums up those so far in a context `cₜ`, and a linear map for each number of steps ahead
//! predicts the frame there. The loss of a prediction is InfoNCE among all frames of the batch (eq. 4):
//!
//! ```text
//! ℓ = −ln( exp(zₜ₊ₖ · Wₖ cₜ) / Σⱼ exp(zⱼ · Wₖ cₜ) )
//! ```

use burn::tensor::Tensor;
use nearkin_data::{Media, Sampler, Shuffled, SignalViewConfig, ViewConfig};
use nearkin_loss::losses::InfoNce;
use nearkin_loss::{Evaluated, LossError, evaluate};
use nearkin_net::Network;
use nearkin_net::encoders::in_a_row;
use nearkin_sweep::{Kin, Metric, Relation};
use serde::{Deserialize, Serialize};

use super::{BatchKin, Configured, Method, MethodCard, Selection, TrainSet};
use crate::error::TrainError;

/// The hyper-parameters of CPC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct CpcMethod {
    /// Sequences a batch.
    pub batch: usize,
    /// Steps ahead that are predicted: 1 to this.
    pub ahead: usize,
    /// Which frames a prediction must be told from.
    pub negatives: Negatives,
}

/// Which frames of a batch a prediction must be told from: the paper's table 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Negatives {
    /// All other frames.
    #[default]
    Mixed,
    /// Those of the same sequence.
    Same,
    /// Those of other sequences.
    Other,
}

impl Default for CpcMethod {
    /// The paper's 12 steps.
    fn default() -> Self {
        Self { batch: 32, ahead: 12, negatives: Negatives::Mixed }
    }
}

impl Configured for CpcMethod {
    const CARD: MethodCard = MethodCard {
        name: "cpc",
        summary: "no labels; sounds and series: what comes next against all that comes elsewhere",
        paper: "van den Oord, Li, Vinyals 2018, Representation Learning with Contrastive Predictive Coding",
        needs_labels: false,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        for (field, found) in [("method.batch", self.batch), ("method.ahead", self.ahead)] {
            if found == 0 {
                return Err(TrainError::setting(field, found, "at least 1"));
            }
        }
        Ok(Box::new(Ready { config: self.clone(), loss: InfoNce::new(Metric::Dot, 1.0)? }))
    }
}

struct Ready {
    config: CpcMethod,
    loss: InfoNce,
}

impl Ready {
    /// Frames, and predictions 1 step ahead, 2 steps ahead and so on, of each sequence in turn: `[n, 1 + ahead, frames, width]`.
    fn divided(&self, encoded: Tensor<2>, n: usize) -> Tensor<4> {
        let [rows, width] = encoded.dims();
        let kinds = 1 + self.config.ahead;
        encoded.reshape([n, kinds, rows / (n * kinds), width])
    }
}

impl Method for Ready {
    fn sampler(&self, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        if set.graph.is_some() {
            let wanted = "left out: to cpc, kin are a prediction and what comes";
            return Err(TrainError::setting("kin", "a rule", wanted));
        }
        let batch = self.config.batch.min(set.len);
        if batch < 2 && self.config.negatives != Negatives::Same {
            let why = "a frame needs strangers in other sequences";
            return Err(TrainError::TooFewSamples { found: batch, wanted: 2, why });
        }
        Ok(Box::new(Shuffled::new(set.len, batch, true)?))
    }

    fn views(&self) -> usize {
        1
    }

    fn default_views(&self) -> ViewConfig {
        ViewConfig::default()
    }

    fn default_signal_views(&self, _media: Media) -> SignalViewConfig {
        // A window, as it is.
        SignalViewConfig::default()
    }

    fn encode(&self, network: &Network, signals: Tensor<4>) -> Tensor<2> {
        let sequences = network.encoder.sequence().expect("a run of cpc has an encoder of sequences");
        let frames = sequences.frames(in_a_row(signals));
        let contexts = sequences.contexts(frames.clone());
        let [_, _, width] = frames.dims();
        let all = [vec![frames], sequences.predictions(contexts)].concat();
        Tensor::stack::<4>(all, 1).reshape([-1, width as i64])
    }

    fn shown(&self, encoded: Tensor<2>, samples: usize) -> Tensor<2> {
        let [_, width] = encoded.dims();
        self.divided(encoded, samples).narrow(1, 0, 1).reshape([-1, width as i64])
    }

    fn loss(
        &self,
        encoded: Tensor<2>,
        _proxies: Option<Tensor<2>>,
        batch: BatchKin<'_>,
    ) -> Result<Evaluated, LossError> {
        let n = batch.samples.len();
        let all = self.divided(encoded, n);
        let [_, _, frames, width] = all.dims();
        let rows = |x: Tensor<4>| x.reshape([-1, width as i64]);
        let references = rows(all.clone().narrow(1, 0, 1));
        let mut queries = Vec::new();
        let mut come = Vec::new();
        for k in (1..=self.config.ahead).take_while(|k| *k < frames) {
            queries.push(rows(all.clone().narrow(1, k, 1).narrow(2, 0, frames - k)));
            come.extend((0..n).flat_map(|sequence| (k..frames).map(move |t| sequence * frames + t)));
        }
        let kin = Futures { come, frames, negatives: self.config.negatives };
        evaluate(&self.loss, Tensor::cat(queries, 0), Some(references), &kin)
    }

    fn metric(&self) -> Metric {
        Metric::Cosine
    }

    fn selection(&self) -> Selection {
        Selection::Latest
    }
}

/// A prediction and the frame that comes are kin.
struct Futures {
    /// For each prediction, the number of the frame that it is about.
    come: Vec<usize>,
    /// Frames of a sequence.
    frames: usize,
    negatives: Negatives,
}

impl Kin for Futures {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        let comes = self.come[query];
        for (frame, relation) in (first..).zip(out) {
            let same = frame / self.frames == comes / self.frames;
            *relation = match self.negatives {
                _ if frame == comes => Relation::Kin,
                Negatives::Same if !same => Relation::Excluded,
                Negatives::Other if same => Relation::Excluded,
                _ => Relation::Stranger,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Two sequences of two frames each, one step ahead: frames and predictions on a line.
    fn loss_of(negatives: Negatives) -> f64 {
        let method = CpcMethod { batch: 2, ahead: 1, negatives }.build().unwrap();
        // Of each sequence: two frames, two predictions; the last prediction is about nothing.
        let encoded = [[1.0f32], [2.0], [3.0], [9.0], [0.0], [1.0], [1.0], [9.0]];
        let encoded = Tensor::<2>::from_data(encoded, &Device::flex());
        let batch = BatchKin { samples: &[5, 7], labels: &[u32::MAX; 2], graph: None };
        method.loss(encoded, None, batch).unwrap().figures().unwrap().value
    }

    #[test]
    fn a_hand_worked_batch_under_each_choice_of_negatives() {
        let minus_log =
            |kin: f64, others: &[f64]| (kin.exp() + others.iter().map(|x| x.exp()).sum::<f64>()).ln() - kin;
        // Frames 1, 2, 0, 1; prediction 3 is about frame 2, prediction 1 about the last frame, 1.
        let mixed = minus_log(6.0, &[3.0, 0.0, 3.0]) + minus_log(1.0, &[1.0, 2.0, 0.0]);
        let same = minus_log(6.0, &[3.0]) + minus_log(1.0, &[0.0]);
        let other = minus_log(6.0, &[0.0, 3.0]) + minus_log(1.0, &[1.0, 2.0]);
        for (negatives, wanted) in
            [(Negatives::Mixed, mixed), (Negatives::Same, same), (Negatives::Other, other)]
        {
            let found = loss_of(negatives);
            assert!((found - wanted / 2.0).abs() < 1e-6, "{negatives:?}: {found} {wanted}");
        }
    }
}
