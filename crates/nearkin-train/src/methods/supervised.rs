//! Labelled batches under one loss: what the supervised methods share.

use burn::tensor::Tensor;
use nearkin_data::{KinPairs, PkSampler, Sampler, ViewConfig};
use nearkin_loss::{Evaluated, Loss, LossError, ProxyInit, evaluate};
use nearkin_net::Network;
use nearkin_sweep::{Metric, SameLabel};

use super::{BatchKin, Method, Objective, OfBatch, Selection, TrainSet, same_class_views};
use crate::error::TrainError;

/// A batch of P classes × K samples; with a graph of kin, of P samples and K − 1 neighbours of each.
#[derive(Clone, Copy)]
pub(super) struct Batches {
    /// P, fewer where the data has fewer.
    pub classes: usize,
    /// K.
    pub per_class: usize,
}

impl Batches {
    fn sampler(self, method: &'static str, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        if let Some(graph) = set.graph {
            return Ok(Box::new(KinPairs::new(
                graph.clone(),
                self.classes.min(set.len),
                self.per_class - 1,
            )?));
        }
        let labels = set.labels.ok_or(TrainError::NeedsLabels { method })?;
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        if classes.len() < 2 {
            return Err(TrainError::OneClass { method });
        }
        Ok(Box::new(PkSampler::new(labels, self.classes.min(classes.len()), self.per_class)?))
    }
}

/// One view of each sample, embedded, under a loss of labels. With proxies, the loss compares samples with class vectors;
/// without, with each other.
pub(super) struct Supervised {
    name: &'static str,
    batches: Batches,
    loss: Box<dyn Loss>,
    metric: Metric,
    proxy_rate: f64,
    triplets: Option<(Metric, f32)>,
    force: Option<Force>,
    views: ViewConfig,
}

/// The force of a pair by its distance and whether it is kin.
type Force = Box<dyn Fn(f32, bool) -> f32 + Send + Sync>;

impl Supervised {
    /// # Errors
    /// When a batch would hold no kin or no strangers.
    pub(super) fn new(
        name: &'static str,
        batches: Batches,
        loss: impl Loss + 'static,
        metric: Metric,
    ) -> Result<Self, TrainError> {
        for (field, found) in [("method.classes", batches.classes), ("method.per-class", batches.per_class)] {
            if found < 2 {
                return Err(TrainError::setting(
                    field,
                    found,
                    "at least 2: kin and strangers in every batch",
                ));
            }
        }
        Ok(Self {
            name,
            batches,
            loss: Box::new(loss),
            metric,
            proxy_rate: 1.0,
            triplets: None,
            force: None,
            views: same_class_views(),
        })
    }

    /// With proxies that learn at so many times the network's rate.
    ///
    /// # Errors
    /// When that is not above zero.
    pub(super) fn with_proxy_rate(self, proxy_rate: f64) -> Result<Self, TrainError> {
        if !(proxy_rate > 0.0 && proxy_rate.is_finite()) {
            return Err(TrainError::setting("method.proxy-rate", proxy_rate, "above zero"));
        }
        Ok(Self { proxy_rate, ..self })
    }

    /// On samples as they are, unless a recipe says otherwise.
    pub(super) fn without_augmentation(self) -> Self {
        Self { views: ViewConfig::default(), ..self }
    }

    /// Of pairs, whose forces can be shown.
    pub(super) fn with_force(self, force: impl Fn(f32, bool) -> f32 + Send + Sync + 'static) -> Self {
        Self { force: Some(Box::new(force)), ..self }
    }

    /// Of triplets, which are easy, semi-hard or hard by this metric and margin.
    pub(super) fn with_triplets(self, metric: Metric, margin: f32) -> Self {
        Self { triplets: Some((metric, margin)), ..self }
    }
}

impl Method for Supervised {
    fn sampler(&self, set: TrainSet<'_>) -> Result<Box<dyn Sampler>, TrainError> {
        if set.graph.is_some() && self.proxies().is_some() {
            let wanted = format!("left out: {} compares samples with classes", self.name);
            return Err(TrainError::setting("kin", "a rule", &wanted));
        }
        self.batches.sampler(self.name, set)
    }

    fn views(&self) -> usize {
        1
    }

    fn default_views(&self) -> ViewConfig {
        self.views.clone()
    }

    fn objective(&self) -> Objective<'_> {
        Objective::OfBatch(self)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.loss.proxies()
    }

    fn proxy_rate(&self) -> f64 {
        self.proxy_rate
    }

    fn triplets(&self) -> Option<(Metric, f32)> {
        self.triplets
    }

    fn force(&self, distance: f32, kin: bool) -> Option<f32> {
        self.force.as_ref().map(|force| force(distance, kin))
    }

    fn metric(&self) -> Metric {
        self.metric
    }

    fn selection(&self) -> Selection {
        Selection::HeldOut
    }
}

impl OfBatch for Supervised {
    fn loss(
        &self,
        _network: &Network,
        encoded: Tensor<2>,
        proxies: Option<Tensor<2>>,
        batch: BatchKin<'_>,
    ) -> Result<Evaluated, LossError> {
        let (Some(vectors), Some(ProxyInit { per_class, .. })) = (proxies, self.proxies()) else {
            return evaluate(&self.loss, encoded, None, &*batch.relation()?);
        };
        let [rows, _] = vectors.dims();
        let classes: Vec<u32> = (0..rows).map(|row| (row / per_class) as u32).collect();
        evaluate(&self.loss, encoded, Some(vectors), &SameLabel::between(batch.labels, &classes))
    }
}
