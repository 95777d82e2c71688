//! Batches without labels: what the self-supervised methods share.

use burn::tensor::Tensor;
use nearkin_data::{Crop, Sampler, Shuffled, ViewConfig};
use nearkin_loss::{Evaluated, LossError};
use nearkin_net::Network;
use nearkin_sweep::Metric;

use super::{BatchKin, Method, Objective, OfBatch, Selection, Stateful, TrainSet};
use crate::error::TrainError;

/// Samples in random order, some views of each, and the latest epoch; embeddings are compared by cosine.
pub(super) struct Unlabelled {
    name: &'static str,
    batch: usize,
    /// The smallest batch that has a loss.
    fewest: usize,
    why: &'static str,
    views: ViewConfig,
    large: usize,
    small: Option<SmallCrops>,
    objective: Of,
}

enum Of {
    Batch(Box<dyn OfBatch>),
    Stateful(Box<dyn Stateful>),
}

/// Crops of smaller parts at a smaller size, beside the large ones (Caron et al. 2020, section 3.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallCrops {
    pub count: usize,
    pub size: usize,
    /// Share of the image's area.
    pub scale: [f32; 2],
}

impl Unlabelled {
    /// `views` views of each of `batch` samples.
    pub(super) fn of_batch(
        name: &'static str,
        batch: usize,
        views: (usize, ViewConfig),
        objective: impl OfBatch + 'static,
    ) -> Self {
        Self::new(name, batch, views, Of::Batch(Box::new(objective)))
    }

    /// The same for a loss of all first views with all second ones.
    pub(super) fn of_two_views(
        name: &'static str,
        batch: usize,
        views: ViewConfig,
        loss: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        Self::of_batch(name, batch, (2, views), OfTwoViews(loss))
    }

    /// The same for a method that keeps something.
    pub(super) fn stateful(
        name: &'static str,
        batch: usize,
        views: (usize, ViewConfig),
        objective: impl Stateful + 'static,
    ) -> Self {
        Self::new(name, batch, views, Of::Stateful(Box::new(objective)))
    }

    fn new(name: &'static str, batch: usize, (large, views): (usize, ViewConfig), objective: Of) -> Self {
        let why = "batches are normalised, and a view is told from others";
        Self { name, batch, fewest: 2, why, views, large, small: None, objective }
    }

    /// With small crops, none of them if there are 0.
    ///
    /// # Errors
    /// When their size or scale is out of range.
    pub(super) fn with_small_crops(self, small: SmallCrops) -> Result<Self, TrainError> {
        let SmallCrops { count, size, scale: [low, high] } = small;
        if size == 0 {
            return Err(TrainError::setting("method.small-size", size, "at least 1 pixel"));
        }
        if !(0.0 < low && low <= high && high <= 1.0) {
            let wanted = "[low, high] with 0 < low <= high <= 1";
            return Err(TrainError::setting("method.small-scale", format!("[{low}, {high}]"), wanted));
        }
        Ok(Self { small: (count > 0).then_some(small), ..self })
    }

    /// With no loss of smaller batches than this.
    pub(super) fn with_fewest(self, fewest: usize, why: &'static str) -> Self {
        Self { fewest, why, ..self }
    }
}

struct OfTwoViews<F>(F);

impl<F: Fn(Tensor<2>, Tensor<2>) -> Tensor<1> + Send + Sync> OfBatch for OfTwoViews<F> {
    fn loss(
        &self,
        _network: &Network,
        encoded: Tensor<2>,
        _proxies: Option<Tensor<2>>,
        batch: BatchKin<'_>,
    ) -> Result<Evaluated, LossError> {
        let n = batch.samples.len();
        let [a, b] = [0, n].map(|first| encoded.clone().narrow(0, first, n));
        Ok(Evaluated::of_tensor(self.0(a, b)))
    }
}

impl Method for Unlabelled {
    fn sampler(&self, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        if set.graph.is_some() {
            let wanted = format!("left out: to {}, kin are the views of one sample", self.name);
            return Err(TrainError::setting("kin", "a rule", wanted));
        }
        let batch = self.batch.min(set.len);
        if batch < self.fewest {
            return Err(TrainError::TooFewSamples { found: batch, wanted: self.fewest, why: self.why });
        }
        Ok(Box::new(Shuffled::new(set.len, batch, true)?))
    }

    fn views(&self) -> usize {
        self.large + self.small.map_or(0, |small| small.count)
    }

    fn default_views(&self) -> ViewConfig {
        self.views.clone()
    }

    fn pipelines(&self, views: &ViewConfig, size: usize) -> Vec<(ViewConfig, usize)> {
        let mut all = vec![(views.clone(), size); self.large];
        if let Some(SmallCrops { count, size, scale }) = self.small {
            let ratio = match views.crop {
                Crop::RandomResized { ratio, .. } => ratio,
                _ => [0.75, 4.0 / 3.0],
            };
            let crop = Crop::RandomResized { scale, ratio };
            all.extend(vec![(ViewConfig { crop, ..views.clone() }, size); count]);
        }
        all
    }

    fn objective(&self) -> Objective<'_> {
        match &self.objective {
            Of::Batch(of) => Objective::OfBatch(of.as_ref()),
            Of::Stateful(of) => Objective::Stateful(of.as_ref()),
        }
    }

    fn metric(&self) -> Metric {
        Metric::Cosine
    }

    fn selection(&self) -> Selection {
        Selection::Latest
    }
}

/// `value`, if it is from 0 to 1.
pub(super) fn share(field: &str, value: f64) -> Result<f64, TrainError> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(TrainError::setting(field, value, "0 to 1")) }
}
