//! Contrastive predictive coding: from what a sequence has been so far, tell what comes next in it from what comes elsewhere.
//!
//! A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018. An encoder turns a sound or a
//! series into frames `zₜ`, a recurrent network sums up those so far in a context `cₜ`, and a linear map for each number of steps ahead
//! predicts the frame there. Of an image, frames are patches that overlap, counted row after row, and a step ahead is a row down. The loss
//! of a prediction is InfoNCE among all frames of the batch (eq. 4):
//!
//! ```text
//! ℓ = −ln( exp(zₜ₊ₖ · Wₖ cₜ) / Σⱼ exp(zⱼ · Wₖ cₜ) )
//! ```

use burn::tensor::Tensor;
use nearkin_data::{Crop, Media, Sampler, Shuffled, SignalViewConfig, ViewConfig};
use nearkin_loss::losses::InfoNce;
use nearkin_loss::{Evaluated, LossError, evaluate};
use nearkin_net::Network;
use nearkin_sweep::{Kin, Metric, Relation};
use serde::{Deserialize, Serialize};

use super::{BatchKin, Configured, Method, MethodCard, Objective, OfBatch, Selection, TrainSet};
use crate::error::TrainError;

/// The hyper-parameters of CPC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct CpcMethod {
    /// Sequences a batch.
    pub batch: usize,
    /// Steps ahead that are predicted: 1 to this. Left out: 12 in sounds and series, 5 rows of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead: Option<usize>,
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
    /// Sequences for a laptop.
    fn default() -> Self {
        Self { batch: 32, ahead: None, negatives: Negatives::Mixed }
    }
}

/// The paper's steps ahead in sounds and series.
const STEPS: usize = 12;
/// The paper's rows ahead in images.
const ROWS: usize = 5;

impl CpcMethod {
    /// Steps ahead that are predicted of this kind of data.
    #[must_use]
    pub fn ahead(&self, media: Media) -> usize {
        self.ahead.unwrap_or(if media == Media::Images { ROWS } else { STEPS })
    }
}

impl Configured for CpcMethod {
    const CARD: MethodCard = MethodCard {
        name: "cpc",
        summary: "no labels; sounds, series, patches of images: what comes next against all that comes elsewhere",
        paper: "van den Oord, Li, Vinyals 2018, Representation Learning with Contrastive Predictive Coding",
        needs_labels: false,
    };

    /// The context is the embedding.
    fn embedding(&self) -> usize {
        0
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        for (field, found) in [("method.batch", Some(self.batch)), ("method.ahead", self.ahead)] {
            if found == Some(0) {
                return Err(TrainError::setting(field, 0, "at least 1"));
            }
        }
        Ok(Box::new(Ready { config: self.clone(), loss: InfoNce::new(Metric::Dot, 1.0)? }))
    }
}

struct Ready {
    config: CpcMethod,
    loss: InfoNce,
}

/// Frames, and predictions 1 step ahead, 2 steps ahead and so on, of each sequence in turn: `[n, 1 + ahead, frames, width]`.
fn divided(network: &Network, encoded: Tensor<2>, n: usize) -> Tensor<4> {
    let [rows, width] = encoded.dims();
    let kinds = 1 + network.encoder.steps_ahead();
    encoded.reshape([n, kinds, rows / (n * kinds), width])
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

    /// A crop and a flip, as published.
    fn default_views(&self) -> ViewConfig {
        let crop = Crop::RandomResized { scale: [0.5, 1.0], ratio: [0.75, 4.0 / 3.0] };
        ViewConfig { crop, flip: 0.5, ..ViewConfig::default() }
    }

    fn default_signal_views(&self, _media: Media) -> SignalViewConfig {
        // A window, as it is.
        SignalViewConfig::default()
    }

    fn objective(&self) -> Objective<'_> {
        Objective::OfBatch(self)
    }

    fn shown(&self, network: &Network, encoded: Tensor<2>, samples: usize) -> Tensor<2> {
        let [_, width] = encoded.dims();
        divided(network, encoded, samples).narrow(1, 0, 1).reshape([-1, width as i64])
    }

    fn metric(&self) -> Metric {
        Metric::Cosine
    }

    fn selection(&self) -> Selection {
        Selection::Latest
    }
}

impl OfBatch for Ready {
    fn encode(&self, network: &Network, inputs: Tensor<4>) -> Tensor<2> {
        let seen = network.encoder.foresee(inputs).expect("a run of cpc has an encoder that foresees");
        let [_, _, width] = seen.frames.dims();
        let all = [vec![seen.frames], seen.predictions].concat();
        Tensor::stack::<4>(all, 1).reshape([-1, width as i64])
    }

    fn loss(
        &self,
        network: &Network,
        encoded: Tensor<2>,
        _proxies: Option<Tensor<2>>,
        batch: BatchKin<'_>,
    ) -> Result<Evaluated, LossError> {
        let n = batch.samples.len();
        let all = divided(network, encoded, n);
        let step = network.encoder.frames_a_step();
        let [_, _, frames, width] = all.dims();
        let rows = |x: Tensor<4>| x.reshape([-1, width as i64]);
        let references = rows(all.clone().narrow(1, 0, 1));
        let mut queries = Vec::new();
        let mut come = Vec::new();
        let ahead = (1..=network.encoder.steps_ahead()).map(|k| (k, k * step));
        for (k, later) in ahead.take_while(|(_, later)| *later < frames) {
            queries.push(rows(all.clone().narrow(1, k, 1).narrow(2, 0, frames - later)));
            come.extend((0..n).flat_map(|sequence| (later..frames).map(move |t| sequence * frames + t)));
        }
        let kin = Futures { come, frames, negatives: self.config.negatives };
        evaluate(&self.loss, Tensor::cat(queries, 0), Some(references), &kin)
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
    use nearkin_net::encoders::PatchGridConfig;
    use nearkin_net::{EncoderConfig, NetworkConfig, SequenceConfig};

    fn network(encoder: EncoderConfig, channels: usize) -> Network {
        let config = NetworkConfig { encoder, channels, size: 8, embedding: None, projector: None };
        config.init(&Device::flex(), 1).unwrap()
    }

    fn loss(network: &Network, encoded: Tensor<2>, negatives: Negatives) -> f64 {
        let method = CpcMethod { negatives, ..CpcMethod::default() }.build().unwrap();
        let batch = BatchKin { samples: &[5, 7], labels: &[u32::MAX; 2], graph: None };
        let Objective::OfBatch(objective) = method.objective() else { panic!("cpc keeps nothing") };
        objective.loss(network, encoded, None, batch).unwrap().figures().unwrap().value
    }

    /// Two sequences of two frames each, one step ahead: frames and predictions on a line.
    fn loss_of(negatives: Negatives) -> f64 {
        // Of each sequence: two frames, two predictions; the last prediction is about nothing.
        let encoded = [[1.0f32], [2.0], [3.0], [9.0], [0.0], [1.0], [1.0], [9.0]];
        let series = SequenceConfig { ahead: 1, ..SequenceConfig::default() };
        let encoded = Tensor::<2>::from_data(encoded, &Device::flex());
        loss(&network(EncoderConfig::Series(series), 1), encoded, negatives)
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

    #[test]
    fn in_an_image_a_step_ahead_is_a_row_down() {
        let grid = PatchGridConfig { grid: 2, ahead: 1, ..PatchGridConfig::default() };
        // Of each image: four patches row after row, four predictions; the lower row's are about nothing.
        let first = [[1.0f32], [2.0], [0.5], [0.0], [3.0], [1.0], [9.0], [9.0]];
        let second = [[0.0f32], [1.0], [2.0], [1.5], [1.0], [2.0], [9.0], [9.0]];
        let encoded = Tensor::cat(
            [first, second].map(|of_image| Tensor::<2>::from_data(of_image, &Device::flex())).to_vec(),
            0,
        );
        let found = loss(&network(EncoderConfig::CpcPatches(grid), 3), encoded, Negatives::Mixed);
        let patches = [1.0f64, 2.0, 0.5, 0.0, 0.0, 1.0, 2.0, 1.5];
        let of_one = |prediction: f64, comes: usize| {
            patches.iter().map(|z| (z * prediction).exp()).sum::<f64>().ln() - patches[comes] * prediction
        };
        let wanted = of_one(3.0, 2) + of_one(1.0, 3) + of_one(1.0, 6) + of_one(2.0, 7);
        assert!((found - wanted / 4.0).abs() < 1e-6, "{found} {wanted}");
    }
}
