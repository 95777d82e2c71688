//! Momentum twins: slowly following copies of a network, as in MoCo and BYOL.
//!
//! He et al., "Momentum contrast for unsupervised visual representation learning", 2020 (eq. 2);
//! Grill et al., "Bootstrap your own latent", 2020; Caron et al., "Emerging properties in self-supervised vision transformers"
//! (DINO), 2021.
//!
//! In all three the twin's batch normalisations use statistics of the twin's own batches while training. What they differ in is
//! what becomes of its *running* statistics, which only evaluation uses: [`Statistics`].

use burn::backend::GradientCheckpointingStrategy;
use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::prelude::*;

use crate::parameters::BUFFERS;

/// A copy that shares nothing with its source and takes no gradient.
///
/// Its batch normalisations train: they use batch statistics and update running ones of their own
/// (a plain `clone()` would share the source's). The source must be on an autodiff device. For a
/// twin in evaluation mode use Burn's `valid()` instead.
pub fn twin<M: Module>(source: &M) -> M {
    let mut strategy = Strategy(None);
    source.visit(&mut strategy);
    source.valid().train().no_grad().map(&mut strategy)
}

/// The gradient-checkpointing strategy of a module's tensors. `train()` puts the default one in its
/// place, and tensors of two strategies do not mix.
struct Strategy(Option<GradientCheckpointingStrategy>);

impl ModuleVisitor for Strategy {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 = self.0.or(param.val().gradient_checkpointing_strategy());
    }
}

impl ModuleMapper for Strategy {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let strategy = self.0;
        param.map(|value| with_strategy(value, strategy))
    }
}

/// Puts a tensor without a graph on the autodiff device of a strategy; `None` leaves it as it is.
fn with_strategy<const D: usize>(
    value: Tensor<D>,
    strategy: Option<GradientCheckpointingStrategy>,
) -> Tensor<D> {
    match strategy {
        Some(strategy) => value.autodiff().with_gradient_checkpointing_strategy(strategy),
        None => value,
    }
}

/// The momentum of a step on a cosine from `base` at the first to 1 after the last: `1 − (1 − base) (cos(π step / steps) + 1) / 2`.
///
/// BYOL's schedule from 0.996, DINO's and MoCo v3's. Give it to [`follow`]; a constant is as good for MoCo v1 and v2 (0.999).
pub fn cosine_momentum(base: f64, step: usize, steps: usize) -> f64 {
    let passed = (step.min(steps) as f64) / (steps.max(1) as f64);
    1.0 - (1.0 - base) * ((std::f64::consts::PI * passed).cos() + 1.0) / 2.0
}

/// What becomes of a twin's running statistics of batch normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statistics {
    /// They follow the source's by the same momentum as parameters, on top of what the twin's own batches add. BYOL averages
    /// all of a network's state.
    #[default]
    Follow,
    /// They come from the twin's own batches alone: MoCo's and DINO's, whose momentum is for parameters.
    Own,
}

/// Moves a twin towards its source: `twin ← momentum · twin + (1 − momentum) · source`, parameters
/// and running statistics alike.
///
/// `momentum` is in `[0, 1]`: 0 copies the source, 1 keeps the twin. `twin` must come from
/// [`twin`] of a network of the same structure.
///
/// # Panics
///
/// If the two differ in structure.
pub fn follow<M: Module>(twin: M, source: &M, momentum: f64) -> M {
    follow_with(twin, source, momentum, Statistics::Follow)
}

/// As [`follow`], with a choice for running statistics.
///
/// # Panics
///
/// If the two differ in structure.
pub fn follow_with<M: Module>(twin: M, source: &M, momentum: f64, statistics: Statistics) -> M {
    let mut values = Collect(vec![]);
    source.visit(&mut values);
    // Modules are visited and mapped in one order, that of their fields.
    let mut follow = Follow { source: values.0.into_iter(), momentum, statistics, name: vec![] };
    let twin = twin.map(&mut follow);
    assert!(follow.source.next().is_none(), "a twin with fewer parameters than its source");
    twin
}

/// Values of a module in the order of its fields, as vectors: their rank is no longer in the type.
struct Collect(Vec<Tensor<1>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val().without_autodiff();
        let count = value.shape().num_elements();
        self.0.push(value.reshape([count]));
    }
}

struct Follow {
    source: std::vec::IntoIter<Tensor<1>>,
    momentum: f64,
    statistics: Statistics,
    name: Vec<String>,
}

impl ModuleMapper for Follow {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.name.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.name.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let source = self.source.next().expect("a twin with more parameters than its source");
        let buffer = self.name.last().is_some_and(|name| BUFFERS.contains(&name.as_str()));
        if buffer && self.statistics == Statistics::Own {
            return param;
        }
        param.map(|value| {
            let strategy = value.gradient_checkpointing_strategy();
            let shape = value.shape();
            let value = value.without_autodiff();
            let source = source.reshape(shape).to_device(&value.device());
            let new = value.mul_scalar(self.momentum) + source.mul_scalar(1.0 - self.momentum);
            with_strategy(new, strategy)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::kernels::testing::values;
    use crate::layers::BatchNorm;
    use crate::parameters::fingerprint;

    fn batch(device: &Device) -> Tensor<2> {
        Tensor::from_floats([[1.0], [3.0], [5.0], [7.0]], device)
    }

    #[test]
    fn a_twin_shares_nothing_and_trains_its_own_statistics() {
        let device = Device::flex().autodiff();
        let source = BatchNorm::new(1, &Init::new(&device, 0));
        let twin = twin(&source);
        let before = fingerprint(&source);
        let output = twin.forward(batch(&device));
        assert!(!output.is_require_grad() && !output.is_tracked());
        assert_eq!(fingerprint(&source), before);
        assert_eq!(values(twin.running_mean.value()), [0.4]);
    }

    #[test]
    fn statistics_of_its_own_are_left_to_the_twin() {
        let device = Device::flex().autodiff();
        let source = BatchNorm::new(1, &Init::new(&device, 0));
        let old = twin(&source);
        old.forward(batch(&device)); // running mean 0.4
        let source = BatchNorm { gamma: Param::from_tensor(Tensor::from_floats([3.0], &device)), ..source };
        let new = follow_with(old, &source, 0.5, Statistics::Own);
        assert_eq!(values(new.gamma.val()), [2.0]);
        assert_eq!(values(new.running_mean.value()), [0.4]);
        assert_eq!(values(follow(new, &source, 0.5).running_mean.value()), [0.2]);
    }

    #[test]
    fn a_cosine_momentum_rises_from_its_base_to_one() {
        let found: Vec<f64> = (0..=4).map(|step| cosine_momentum(0.9, step, 4)).collect();
        let half = 0.05 * std::f64::consts::FRAC_1_SQRT_2;
        for (found, wanted) in found.iter().zip([0.9, 0.95 - half, 0.95, 0.95 + half, 1.0]) {
            assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        }
        assert_eq!(cosine_momentum(0.9, 9, 4), 1.0);
        assert_eq!(cosine_momentum(0.9, 0, 0), 0.9);
    }

    #[test]
    fn following_mixes_parameters_and_statistics_by_the_momentum() {
        for device in [Device::flex().autodiff(), Device::flex().autodiff().gradient_checkpointing()] {
            let source = BatchNorm::new(1, &Init::new(&device, 0));
            let old = twin(&source);
            source.forward(batch(&device)); // running mean 0.4
            let source =
                BatchNorm { gamma: Param::from_tensor(Tensor::from_floats([3.0], &device)), ..source };
            let new = follow(old, &source, 0.75);
            assert_eq!(values(new.gamma.val()), [1.5]);
            assert!((values(new.running_mean.value())[0] - 0.1).abs() < 1e-7);
            assert!(!new.gamma.val().is_require_grad());
            // The twin still runs beside its source.
            new.forward(batch(&device));
            assert_eq!(fingerprint(&follow(new, &source, 0.0)), fingerprint(&source));
        }
    }
}
