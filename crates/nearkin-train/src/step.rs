//! One step's gradient, whole or in parts.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{FloatDType, Gradients, Tensor};
use nearkin_loss::Evaluated;

use crate::error::TrainError;
use crate::kept::Kept;
use crate::learner::Learner;
use crate::methods::{Batch, Method, Objective, OfBatch, Stepped};
use crate::precision::Precision;

/// What a step has found out.
pub(crate) struct Gradient {
    /// Off the tape.
    pub loss: Evaluated,
    pub encoded: Tensor<2>,
    pub gradients: Pulls,
}

/// The gradients of a [`Learner`].
pub(crate) struct Pulls {
    pub network: GradientsParams,
    pub proxies: Option<GradientsParams>,
    pub head: Option<GradientsParams>,
}

impl Pulls {
    /// The gradient of each part of a learner that learns.
    pub(crate) fn of(mut gradients: Gradients, learner: &Learner) -> Self {
        let proxies = learner.proxies.as_ref().map(|p| GradientsParams::from_module(&mut gradients, p));
        let head = learner.head.as_ref().map(|head| GradientsParams::from_module(&mut gradients, head));
        Self { network: GradientsParams::from_grads(gradients, &learner.network), proxies, head }
    }
}

/// The loss of a batch and its gradient for every parameter.
///
/// # Errors
/// When the loss cannot be taken.
pub(crate) fn gradient(
    method: &dyn Method,
    learner: &Learner,
    kept: &mut Kept,
    batch: Batch<'_>,
    parts: usize,
    precision: Precision,
) -> Result<Gradient, TrainError> {
    match method.objective() {
        Objective::OfBatch(method) => of_batch(method, learner, batch, parts, precision),
        Objective::Stateful(method) => {
            let Stepped { loss, encoded } = method.step(learner, kept, batch)?;
            let gradients = Pulls::of(loss.tensor.backward(), learner);
            Ok(Gradient { loss: loss.off_tape(), encoded: encoded.without_autodiff(), gradients })
        }
    }
}

/// With `parts` above 1 the views go through the encoder in that many parts, so that only one part's activations are
/// held, while the loss sees the whole batch (gradient caching: L. Gao et al., "Scaling Deep Contrastive Learning
/// Batch Size under Memory Limited Setup", 2021): encode all parts without keeping the tape, take the loss and its
/// gradient at the encoded vectors, encode each part again and pull that gradient back. The result is exact for
/// networks that treat each view alone; batch norms take the statistics of a part.
///
/// Whatever the network computes in, losses and gradients of parameters are f32.
fn of_batch(
    method: &dyn OfBatch,
    learner: &Learner,
    batch: Batch<'_>,
    parts: usize,
    precision: Precision,
) -> Result<Gradient, TrainError> {
    let network = &learner.network;
    let working = precision.working(network);
    let encode = |pixels| method.encode(&working, precision.pixels(pixels)).cast(FloatDType::F32);
    let pixels = batch.crops[0].clone();
    if parts == 1 {
        let encoded = encode(pixels);
        let loss = method.loss(network, encoded.clone(), learner.class_vectors(), batch.kin)?;
        let gradients = Pulls::of(loss.tensor.backward(), learner);
        return Ok(Gradient { loss: loss.off_tape(), encoded: encoded.inner(), gradients });
    }
    let parts: Vec<Tensor<4>> = pixels.chunk(parts, 0);
    let encoded: Vec<Tensor<2>> = parts.iter().map(|p| encode(p.clone()).detach()).collect();
    let encoded = Tensor::cat(encoded, 0).require_grad();
    let loss = method.loss(network, encoded.clone(), learner.class_vectors(), batch.kin)?;
    let gradients = loss.tensor.backward();
    let pull = encoded.grad(&gradients);
    let of_classes = Pulls::of(gradients, learner);
    let mut accumulated = GradientsAccumulator::new();
    if let Some(pull) = pull {
        let mut first = 0;
        for part in parts {
            let again = encode(part);
            let [count, dim] = again.dims();
            let pull = pull.clone().slice([first..first + count, 0..dim]);
            first += count;
            let gradients = (again * Tensor::from_inner(pull)).sum().backward();
            accumulated.accumulate(network, GradientsParams::from_grads(gradients, network));
        }
    }
    let gradients = Pulls { network: accumulated.grads(), ..of_classes };
    Ok(Gradient { loss: loss.off_tape(), encoded: encoded.inner(), gradients })
}
