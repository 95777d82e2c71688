//! What a network is trained on and embeds: decoded images, or sounds and series.

use std::sync::Arc;

use nearkin_data::{
    Dataset, Patches, PrepareOptions, Prepared, PreparedSignals, SignalViews, Skipped, ViewConfig, Views,
};
use nearkin_net::{EncoderConfig, NetworkConfig};

use crate::error::TrainError;
use crate::inputs::Inputs;
use crate::methods::Method;
use crate::model::prepared_side;
use crate::recipe::Recipe;
use crate::signals::{self, SignalInput};

/// Samples at hand.
#[derive(Clone)]
pub enum Samples {
    /// Images.
    Images(Arc<Prepared>),
    /// Sounds or series.
    Signals(Arc<PreparedSignals>),
}

impl Samples {
    /// Reads the samples of a data set as a recipe that is resolved wants them.
    pub(crate) fn prepare(
        dataset: &Dataset,
        recipe: &Recipe,
        config: &NetworkConfig,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        if dataset.media().is_signal() {
            return Ok(Self::Signals(Arc::new(signals::prepare(dataset, recipe, progress)?)));
        }
        // The smallest patch is to have as many pixels as a whole image has elsewhere.
        let finest = recipe.method.build()?.patches().map_or(1.0, |patches| patches.side[0]);
        let side = (prepared_side(config.size) as f32 / finest).ceil() as usize;
        let options = PrepareOptions::new(config.channels, side);
        Ok(Self::Images(Arc::new(Prepared::prepare(dataset, &options, progress)?)))
    }

    /// Patches of these images in their place, drawn by the seed.
    ///
    /// # Errors
    /// For sounds and series, and when an image cannot be read.
    pub(crate) fn patches(
        &self,
        patches: Patches,
        config: &NetworkConfig,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let Self::Images(data) = self else {
            let wanted = format!("left out: {} have no patches", self.dataset().media());
            return Err(TrainError::setting("method.patch", format!("{:?}", patches.side), wanted));
        };
        let options = PrepareOptions::new(config.channels, prepared_side(config.size));
        Ok(Self::Images(Arc::new(data.patches(patches, &options, seed)?)))
    }

    /// What a model has read, unless these are rows of a table.
    pub fn of(inputs: &Inputs) -> Option<Self> {
        match inputs {
            Inputs::Images { prepared, .. } => Some(Self::Images(Arc::clone(prepared))),
            Inputs::Signals { prepared, .. } => Some(Self::Signals(Arc::clone(prepared))),
            Inputs::Table(_) => None,
        }
    }

    /// The good samples.
    pub fn dataset(&self) -> &Dataset {
        match self {
            Self::Images(prepared) => &prepared.dataset,
            Self::Signals(prepared) => &prepared.dataset,
        }
    }

    /// The broken ones.
    pub fn skipped(&self) -> &[Skipped] {
        match self {
            Self::Images(prepared) => &prepared.skipped,
            Self::Signals(prepared) => &prepared.skipped,
        }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.dataset().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of pixels or values, in memory and on disk together.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Images(prepared) => prepared.bytes(),
            Self::Signals(prepared) => prepared.bytes(),
        }
    }
}

/// Samples, and how each turns into a view.
pub(crate) enum Pipeline {
    /// `each` holds the pipeline of each view, made from `views`.
    Images {
        data: Arc<Prepared>,
        views: Arc<Views>,
        each: Vec<Arc<Views>>,
    },
    Signals {
        data: Arc<PreparedSignals>,
        views: Arc<SignalViews>,
        input: SignalInput,
    },
}

impl Pipeline {
    /// Of a recipe that is resolved.
    pub(crate) fn new(
        data: &Samples,
        recipe: &Recipe,
        method: &dyn Method,
        network: &NetworkConfig,
    ) -> Result<Self, TrainError> {
        Ok(match data {
            Samples::Images(data) => {
                let config = recipe.views.clone().unwrap_or_else(|| method.default_views());
                let views = Arc::new(Views::new(&config, network.size, network.channels)?);
                let each = pipelines(recipe, method, &config, network)?;
                Self::Images { data: Arc::clone(data), views, each }
            }
            Samples::Signals(data) => {
                let side = network.size;
                if method.pipelines(&ViewConfig::default(), side).iter().any(|(_, size)| *size != side) {
                    let wanted = format!("0 for {}, which have no small crops", data.dataset.media());
                    return Err(TrainError::setting("method.small-crops", "set", wanted));
                }
                let input = signals::input(recipe, data)?;
                let views = Arc::new(signals::views(recipe, &input)?);
                Self::Signals { data: Arc::clone(data), views, input }
            }
        })
    }
}

/// The pipeline of each view.
///
/// # Errors
/// When a setting is out of range, or views differ in size under an encoder that is made for one.
fn pipelines(
    recipe: &Recipe,
    method: &dyn Method,
    views: &ViewConfig,
    network: &NetworkConfig,
) -> Result<Vec<Arc<Views>>, TrainError> {
    let all = method.pipelines(views, network.size);
    let fixed =
        matches!(network.encoder, EncoderConfig::LeNet {} | EncoderConfig::Mlp(_) | EncoderConfig::LuNet(_));
    let other = all.iter().map(|(_, size)| *size).find(|size| *size != network.size);
    if let Some(size) = other {
        if fixed {
            let wanted = "one that takes images of every size, such as small-conv or resnet18: this method has small crops";
            return Err(TrainError::setting("encoder", recipe.encoder.to_string(), wanted));
        }
        if let EncoderConfig::Vit(vit) = &network.encoder
            && !size.is_multiple_of(vit.patch)
        {
            let wanted = format!("a multiple of the encoder's patch, {}", vit.patch);
            return Err(TrainError::setting("method.small-size", size, wanted));
        }
    }
    let made = all.iter().map(|(config, size)| Ok(Arc::new(Views::new(config, *size, network.channels)?)));
    made.collect()
}
