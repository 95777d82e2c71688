//! One step's gradient, whole or in parts.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{FloatDType, Gradients, Tensor};
use nearkin_loss::Evaluated;

use crate::error::TrainError;
use crate::learner::Learner;
use crate::methods::{BatchKin, Method};
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
}

/// The loss of a batch and its gradient for every parameter.
///
/// With `parts` above 1 the views go through the encoder in that many parts, so that only one part's activations are
/// held, while the loss sees the whole batch (gradient caching: L. Gao et al., "Scaling Deep Contrastive Learning
/// Batch Size under Memory Limited Setup", 2021): encode all parts without keeping the tape, take the loss and its
/// gradient at the encoded vectors, encode each part again and pull that gradient back. The result is exact for
/// networks that treat each view alone; batch norms take the statistics of a part.
///
/// Whatever the network computes in, losses and gradients of parameters are f32.
pub(crate) fn gradient(
    method: &dyn Method,
    learner: &Learner,
    pixels: Tensor<4>,
    batch: BatchKin<'_>,
    parts: usize,
    precision: Precision,
) -> Result<Gradient, TrainError> {
    let network = &learner.network;
    let working = precision.working(network);
    let encode = |pixels| method.encode(&working, precision.pixels(pixels)).cast(FloatDType::F32);
    let of_proxies = |gradients: &mut Gradients| {
        learner.proxies.as_ref().map(|proxies| GradientsParams::from_module(gradients, proxies))
    };
    if parts == 1 {
        let encoded = encode(pixels);
        let loss = method.loss(encoded.clone(), learner.proxies(), batch)?;
        let mut gradients = loss.tensor.backward();
        let proxies = of_proxies(&mut gradients);
        let gradients = Pulls { network: GradientsParams::from_grads(gradients, network), proxies };
        return Ok(Gradient { loss: loss.off_tape(), encoded: encoded.inner(), gradients });
    }
    let parts: Vec<Tensor<4>> = pixels.chunk(parts, 0);
    let encoded: Vec<Tensor<2>> = parts.iter().map(|p| encode(p.clone()).detach()).collect();
    let encoded = Tensor::cat(encoded, 0).require_grad();
    let loss = method.loss(encoded.clone(), learner.proxies(), batch)?;
    let mut gradients = loss.tensor.backward();
    let proxies = of_proxies(&mut gradients);
    let mut accumulated = GradientsAccumulator::new();
    if let Some(pull) = encoded.grad(&gradients) {
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
    let gradients = Pulls { network: accumulated.grads(), proxies };
    Ok(Gradient { loss: loss.off_tape(), encoded: encoded.inner(), gradients })
}
