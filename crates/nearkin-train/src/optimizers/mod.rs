//! Optimizers: Burn's, and LARS, which it lacks.

mod lars;

use burn::grad_clipping::GradientClipping;
use burn::module::ParamGroup;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig};
use serde::{Deserialize, Serialize};

pub use lars::{Lars, LarsState};

use crate::error::TrainError;

/// An optimizer and its hyper-parameters. Biases and batch-norm parameters are never decayed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum, PyTorch's convention (no dampening).
    #[serde(rename_all = "kebab-case")]
    Sgd {
        /// The peak learning rate.
        lr: f64,
        /// Momentum, 0 to below 1.
        #[serde(default = "momentum")]
        momentum: f64,
        /// Coupled L2 penalty.
        #[serde(default)]
        weight_decay: f64,
    },
    /// AdamW (Loshchilov & Hutter 2019), β = (0.9, 0.999).
    #[serde(rename_all = "kebab-case")]
    AdamW {
        /// The peak learning rate.
        lr: f64,
        /// Decoupled decay.
        #[serde(default = "decay")]
        weight_decay: f64,
    },
    /// LARS (You, Gitman, Ginsburg 2017), for large batches.
    #[serde(rename_all = "kebab-case")]
    Lars {
        /// The peak learning rate; SimCLR uses 0.3 × batch / 256.
        lr: f64,
        /// Momentum, 0 to below 1.
        #[serde(default = "momentum")]
        momentum: f64,
        /// L2 penalty, inside the trust ratio.
        #[serde(default)]
        weight_decay: f64,
        /// The trust coefficient η.
        #[serde(default = "trust")]
        trust: f64,
    },
}

fn momentum() -> f64 {
    0.9
}

fn decay() -> f64 {
    1e-4
}

fn trust() -> f64 {
    1e-3
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::AdamW { lr: 1e-3, weight_decay: decay() }
    }
}

impl OptimizerConfig {
    /// The peak learning rate.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::AdamW { lr, .. } | Self::Lars { lr, .. } => lr,
        }
    }

    /// The optimizer, its settings checked.
    ///
    /// # Errors
    /// When a setting is out of range.
    pub fn build(&self) -> Result<ModuleOptimizer, TrainError> {
        self.check()?;
        Ok(match *self {
            Self::Sgd { momentum, weight_decay, .. } => {
                let config = SgdConfig::new().with_momentum(
                    (momentum > 0.0)
                        .then(|| MomentumConfig::new().with_momentum(momentum).with_dampening(0.0)),
                );
                let decay = (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32));
                ModuleOptimizer::from(config.clone().with_weight_decay(decay).build()).with_group(
                    undecayed(),
                    config.build(),
                    None::<GradientClipping>,
                )
            }
            Self::AdamW { weight_decay, .. } => {
                let config = AdamWConfig::new().with_epsilon(1e-8);
                ModuleOptimizer::from(config.clone().with_weight_decay(weight_decay as f32).build())
                    .with_group(undecayed(), config.with_weight_decay(0.0).build(), None::<GradientClipping>)
            }
            Self::Lars { momentum, weight_decay, trust, .. } => Lars { momentum, weight_decay, trust }.into(),
        })
    }

    fn check(&self) -> Result<(), TrainError> {
        let at_least = |field: &'static str, found: f64, low: f64| {
            if found.is_finite() && found >= low {
                Ok(())
            } else {
                Err(TrainError::setting(field, found, "a finite number, zero or more"))
            }
        };
        let (momentum, weight_decay, trust) = match *self {
            Self::Sgd { momentum, weight_decay, .. } => (momentum, weight_decay, 1.0),
            Self::AdamW { weight_decay, .. } => (0.0, weight_decay, 1.0),
            Self::Lars { momentum, weight_decay, trust, .. } => (momentum, weight_decay, trust),
        };
        at_least("optimizer.lr", self.lr(), 0.0)?;
        at_least("optimizer.weight-decay", weight_decay, 0.0)?;
        at_least("optimizer.trust", trust, 0.0)?;
        if !(0.0..1.0).contains(&momentum) {
            return Err(TrainError::setting("optimizer.momentum", momentum, "0 to below 1"));
        }
        Ok(())
    }
}

/// Biases, and the scale and shift of batch norms.
fn undecayed() -> ParamGroup {
    ParamGroup::from_any_regexes(vec![r"bias$", r"gamma$", r"beta$"]).expect("valid patterns")
}
