//! Proxy-anchor: a learned vector a class attracts its samples and repels the others, the harder ones more.
//!
//! S. Kim, D. Kim, M. Cho, S. Kwak, "Proxy Anchor Loss for Deep Metric Learning", 2020.

use nearkin_loss::losses::ProxyAnchor;
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::supervised::{Batches, Supervised};
use super::{Configured, Method, MethodCard};
use crate::error::TrainError;

/// The hyper-parameters of proxy-anchor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProxyAnchorMethod {
    /// P: classes a batch; fewer when the data has fewer.
    pub classes: usize,
    /// K: samples a class.
    pub per_class: usize,
    /// δ, in units of the cosine.
    pub margin: f32,
    /// α: how sharply the hardest sample stands out.
    pub alpha: f32,
    /// The learning rate of the proxies, in units of the network's.
    pub proxy_rate: f64,
}

impl Default for ProxyAnchorMethod {
    /// The paper's δ and α, and the hundredfold rate of its code.
    fn default() -> Self {
        Self { classes: 16, per_class: 4, margin: 0.1, alpha: 32.0, proxy_rate: 100.0 }
    }
}

impl Configured for ProxyAnchorMethod {
    const CARD: MethodCard = MethodCard {
        name: "proxy-anchor",
        summary: "a learned vector a class, which attracts its samples and repels all others of the batch",
        paper: "Kim, Kim, Cho, Kwak 2020, Proxy Anchor Loss for Deep Metric Learning",
        needs_labels: true,
    };

    fn build(&self) -> Result<Box<dyn Method>, TrainError> {
        let batches = Batches { classes: self.classes, per_class: self.per_class };
        let loss = ProxyAnchor::new(self.margin, self.alpha)?;
        let method = Supervised::new(Self::CARD.name, batches, loss, Metric::Cosine)?;
        Ok(Box::new(method.with_proxy_rate(self.proxy_rate)?))
    }
}
