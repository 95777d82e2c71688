//! What a network is trained on and embeds: decoded images, or sounds and series.

use std::sync::Arc;

use nearkin_data::{Dataset, PrepareOptions, Prepared, PreparedSignals, SignalViews, Skipped, Views};
use nearkin_net::NetworkConfig;

use crate::error::TrainError;
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
        let options = PrepareOptions::new(config.channels, prepared_side(config.size));
        Ok(Self::Images(Arc::new(Prepared::prepare(dataset, &options, progress)?)))
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
    Images { data: Arc<Prepared>, views: Arc<Views> },
    Signals { data: Arc<PreparedSignals>, views: Arc<SignalViews>, input: SignalInput },
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
                Self::Images { data: Arc::clone(data), views }
            }
            Samples::Signals(data) => {
                let input = signals::input(recipe, data)?;
                let views = Arc::new(signals::views(recipe, &input)?);
                Self::Signals { data: Arc::clone(data), views, input }
            }
        })
    }
}
