//! MAE: most patches of an image are hidden, and a decoder paints them from the tokens of the others.
//!
//! K. He, X. Chen, S. Xie, Y. Li, P. Dollár, R. Girshick, "Masked Autoencoders Are Scalable Vision Learners", 2022.

use burn::tensor::Tensor;
use nearkin_data::random::shuffle;
use nearkin_data::{Crop, ViewConfig};
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::patches::patchify;
use nearkin_net::{ConfigError, DecoderConfig, EncoderConfig, Patches, VitConfig};
use serde::{Deserialize, Serialize};

use super::parts::{standardised, vit, vit_config};
use super::unlabelled::Unlabelled;
use super::{Batch, Configured, HeadSite, Method, MethodCard, Stateful, Stepped};
use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::{Head, Learner};

/// The hyper-parameters of a masked autoencoder. The encoder must be a `vit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mae {
    /// Samples a batch, one view each.
    pub batch: usize,
    /// Share of the patches that are hidden.
    pub mask_ratio: f64,
    /// Whether the pixels of each patch are standardised before they are compared.
    pub normalize_pixels: bool,
    /// The decoder.
    pub decoder: DecoderConfig,
}

impl Default for Mae {
    /// The paper's ratio and normalised pixels, and a decoder for a laptop: 8 blocks of width 512 in the paper.
    fn default() -> Self {
        Self { batch: 256, mask_ratio: 0.75, normalize_pixels: true, decoder: DecoderConfig::default() }
    }
}

impl Configured for Mae {
    const CARD: MethodCard = MethodCard {
        name: "mae",
        summary: "no labels; a vision transformer sees a quarter of the patches, a decoder paints the others",
        paper: "He, Chen, Xie, Li, Dollár, Girshick 2022, Masked Autoencoders Are Scalable Vision Learners",
        needs_labels: false,
    };

    fn embedding(&self) -> usize {
        0
    }

    fn encoder(&self) -> EncoderConfig {
        EncoderConfig::Vit(VitConfig::default())
    }

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        if !(self.mask_ratio > 0.0 && self.mask_ratio < 1.0) {
            return Err(TrainError::setting("method.mask-ratio", self.mask_ratio, "above 0 and below 1"));
        }
        self.decoder.check("method.decoder")?;
        let crop = Crop::RandomResized { scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
        let views = (1, ViewConfig { crop, flip: 0.5, ..ViewConfig::default() });
        Ok(Box::new(
            Unlabelled::stateful(Self::CARD.name, self.batch, views, Ready(self.clone()))
                .with_fewest(1, "there must be an image to paint"),
        ))
    }
}

struct Ready(Mae);

impl Stateful for Ready {
    fn head(&self, site: HeadSite<'_>) -> Result<Option<Head>, ConfigError> {
        let encoder = vit_config("mae", site.network)?;
        let decoder =
            self.0.decoder.masked_decoder(&encoder, site.network.channels, site.device, site.seed)?;
        Ok(Some(Head::Decoder(decoder)))
    }

    fn step(&self, learner: &Learner, _kept: &mut Kept, batch: Batch<'_>) -> Result<Stepped, LossError> {
        let (encoder, images) = (vit(&learner.network), batch.view(0));
        let [_, _, height, width] = images.dims();
        let grid = [height / encoder.patch(), width / encoder.patch()];
        let count = grid[0] * grid[1];
        let hidden_of_each = ((count as f64 * self.0.mask_ratio).round() as usize).clamp(1, count - 1);
        let (hidden, seen): (Vec<_>, Vec<_>) = batch
            .kin
            .samples
            .iter()
            .map(|&sample| {
                let mut order: Vec<usize> = (0..count).collect();
                shuffle(&mut batch.stream(sample as u64 + 1), &mut order);
                let seen = order.split_off(hidden_of_each);
                (order, seen)
            })
            .unzip();
        let [hidden, seen] = [hidden, seen].map(|of| Patches::new(&of, grid).expect("a part of the grid"));
        let tokens = encoder.forward_kept(images.clone(), &seen);
        let painted = hidden.pick(learner.head().decoder().forward(tokens.clone(), &seen));
        let wanted = hidden.pick(patchify(images, encoder.patch()));
        let [n, each, values] = painted.dims();
        let flat = |x: Tensor<3>| x.reshape([n * each, values]);
        let wanted = flat(wanted);
        let wanted = if self.0.normalize_pixels { standardised(wanted) } else { wanted };
        let error = (flat(painted) - wanted).square().sum_dim(1).sum() / (n * each * values) as f64;
        let [_, _, width] = tokens.dims();
        let encoded = tokens.mean_dim(1).reshape([n, width]);
        Ok(Stepped { loss: Evaluated::of_tensor(error), encoded })
    }
}
