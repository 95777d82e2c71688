//! The slice kernels as differentiable operations of Burn's CPU backend.
//!
//! [`super`] calls them only for f32 tensors on `flex`; other devices never get here.

use burn::backend::autodiff::{
    NodeId,
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, Ops, OpsKind},
};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, TensorData};

use super::activation::{self, Activation};
use super::conv::{self, ConvShape};
use super::gru::{self, Sequences};
use super::norm::{self, Affine, Channels};
use super::residual;
use super::rows;

#[backend_extension(Flex, Autodiff)]
pub trait FlexOps: Backend {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, shape: ConvShape) -> FloatTensor<Self>;

    /// Output, mean, biased variance.
    fn batch_norm_of_batch(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    fn batch_norm_of_statistics(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> FloatTensor<Self>;

    fn add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    fn layer_norm_of_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    fn softmax_of_rows(x: FloatTensor<Self>, scale: f32, causal: bool) -> FloatTensor<Self>;

    fn gru_of_sequences(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl FlexOps for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, shape: ConvShape) -> FlexTensor {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        tensor(conv::forward(slice(&x), slice(&weight), &shape), Shape::from(shape.output_tensor()))
    }

    fn batch_norm_of_batch(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        epsilon: f64,
        relu: bool,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let channels = channels(&x, &gamma);
        let x = x.to_contiguous();
        let statistics = norm::statistics(slice(&x), &channels);
        let length = gamma.shape();
        let mean = tensor(statistics.mean, length.clone());
        let variance = tensor(statistics.variance, length);
        let y = Self::batch_norm_of_statistics(x, gamma, beta, mean.clone(), variance.clone(), epsilon, relu);
        (y, mean, variance)
    }

    fn batch_norm_of_statistics(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        epsilon: f64,
        relu: bool,
    ) -> FlexTensor {
        let (shape, channels) = (x.shape(), channels(&x, &gamma));
        let per_channel = [&gamma, &beta, &mean, &variance].map(FlexTensor::to_contiguous);
        let [gamma, beta, mean, variance] = &per_channel;
        let inverse = norm::inverse_deviation(slice(variance), epsilon);
        let affine = Affine { mean: slice(mean), inverse: &inverse, gamma: slice(gamma), beta: slice(beta) };
        let y = norm::normalise(slice(&x.to_contiguous()), affine, relu, &channels);
        tensor(y, shape)
    }

    fn add_relu(a: FlexTensor, b: FlexTensor) -> FlexTensor {
        let shape = a.shape();
        let (a, b) = (a.to_contiguous(), b.to_contiguous());
        tensor(residual::add_relu(slice(&a), slice(&b)), shape)
    }

    fn activate(x: FlexTensor, activation: Activation) -> FlexTensor {
        tensor(activation::forward(slice(&x.to_contiguous()), activation), x.shape())
    }

    fn layer_norm_of_rows(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> FlexTensor {
        let shape = x.shape();
        let inputs = [x, gamma, beta].map(|input| input.to_contiguous());
        let [x, gamma, beta] = &inputs;
        tensor(rows::layer_norm(slice(x), slice(gamma), slice(beta), epsilon), shape)
    }

    fn softmax_of_rows(x: FlexTensor, scale: f32, causal: bool) -> FlexTensor {
        tensor(rows::softmax(slice(&x.to_contiguous()), last(&x), scale, causal), x.shape())
    }

    fn gru_of_sequences(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        gru_states(x, weight, bias).0
    }
}

/// Hidden states, and what their gradients need.
fn gru_states(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> (FlexTensor, FlexTensor) {
    let [n, steps, _] = x.shape().dims();
    let hidden = last(&weight);
    let inputs = [x, weight, bias].map(|input| input.to_contiguous());
    let [x, weight, bias] = &inputs;
    let states = gru::forward(slice(x), slice(weight), slice(bias), Sequences { steps, hidden });
    (
        tensor(states.hidden, Shape::new([n, steps, hidden])),
        tensor(states.kept, Shape::new([n, steps, 4 * hidden])),
    )
}

impl<C: CheckpointStrategy> FlexOps for Autodiff<Flex, C> {
    fn convolve(x: FloatTensor<Self>, weight: FloatTensor<Self>, shape: ConvShape) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let forward = |x: FloatTensor<Self>, weight: FloatTensor<Self>| {
            Flex::convolve(x.into_primitive(), weight.into_primitive(), shape)
        };
        match ConvBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let inputs = [&x, &weight].map(|input| prep.checkpoint(input));
                prep.finish((inputs, shape), forward(x, weight))
            }
            OpsKind::UnTracked(prep) => prep.finish(forward(x, weight)),
        }
    }

    fn batch_norm_of_batch(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let forward = |x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>| {
            Flex::batch_norm_of_batch(
                x.into_primitive(),
                gamma.into_primitive(),
                beta.into_primitive(),
                epsilon,
                relu,
            )
        };
        let (y, mean, variance) = match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let inputs = [&x, &gamma, &beta].map(|input| prep.checkpoint(input));
                let (y, mean, variance) = forward(x, gamma, beta);
                let state = NormState {
                    inputs,
                    mean: mean.clone(),
                    variance: variance.clone(),
                    epsilon,
                    relu,
                    of_batch: true,
                };
                (prep.finish(state, y), mean, variance)
            }
            OpsKind::UnTracked(prep) => {
                let (y, mean, variance) = forward(x, gamma, beta);
                (prep.finish(y), mean, variance)
            }
        };
        (y, Self::from_inner(mean), Self::from_inner(variance))
    }

    fn batch_norm_of_statistics(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        epsilon: f64,
        relu: bool,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let (mean, variance) = (mean.into_primitive(), variance.into_primitive());
        let forward = |x: FloatTensor<Self>,
                       gamma: FloatTensor<Self>,
                       beta: FloatTensor<Self>,
                       mean: FlexTensor,
                       variance: FlexTensor| {
            Flex::batch_norm_of_statistics(
                x.into_primitive(),
                gamma.into_primitive(),
                beta.into_primitive(),
                mean,
                variance,
                epsilon,
                relu,
            )
        };
        match NormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = NormState {
                    inputs: [&x, &gamma, &beta].map(|input| prep.checkpoint(input)),
                    mean: mean.clone(),
                    variance: variance.clone(),
                    epsilon,
                    relu,
                    of_batch: false,
                };
                prep.finish(state, forward(x, gamma, beta, mean, variance))
            }
            OpsKind::UnTracked(prep) => prep.finish(forward(x, gamma, beta, mean, variance)),
        }
    }

    fn add_relu(a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [a.node(), b.node()];
        let y = Flex::add_relu(a.into_primitive(), b.into_primitive());
        match AddReluBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let node = [x.node()];
        match ActivationBackward.prepare::<C>(node).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let y = Flex::activate(x.clone(), activation);
                let kept = if activation.keeps_output() { y.clone() } else { x };
                prep.finish((kept, activation), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::activate(x.into_primitive(), activation)),
        }
    }

    fn layer_norm_of_rows(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let forward = |x: FloatTensor<Self>, gamma: FloatTensor<Self>, beta: FloatTensor<Self>| {
            Flex::layer_norm_of_rows(
                x.into_primitive(),
                gamma.into_primitive(),
                beta.into_primitive(),
                epsilon,
            )
        };
        match LayerNormBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = ([&x, &gamma].map(|input| prep.checkpoint(input)), epsilon);
                prep.finish(state, forward(x, gamma, beta))
            }
            OpsKind::UnTracked(prep) => prep.finish(forward(x, gamma, beta)),
        }
    }

    fn softmax_of_rows(x: FloatTensor<Self>, scale: f32, causal: bool) -> FloatTensor<Self> {
        let node = [x.node()];
        let y = Flex::softmax_of_rows(x.into_primitive(), scale, causal);
        match SoftmaxBackward.prepare::<C>(node).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((y.clone(), scale), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn gru_of_sequences(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        match GruBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let of_weight = prep.checkpoint(&weight);
                let (states, kept) =
                    gru_states(x.into_primitive(), weight.into_primitive(), bias.into_primitive());
                prep.finish(GruState { weight: of_weight, states: states.clone(), kept }, states)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::gru_of_sequences(
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
            )),
        }
    }
}

#[derive(Debug)]
struct ConvBackward;

impl Backward<Flex, 2> for ConvBackward {
    /// Input and weight.
    type State = ([NodeId; 2], ConvShape);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (inputs, shape) = ops.state;
        let [x, weight]: [FlexTensor; 2] = inputs.map(|node| checkpointer.retrieve_node_output(node));
        let [x_node, weight_node] = ops.parents;
        if let Some(node) = x_node {
            let dx = conv::data_gradient(slice(&dy), slice(&weight.to_contiguous()), &shape);
            grads.register::<Flex>(node.id, tensor(dx, x.shape()));
        }
        if let Some(node) = weight_node {
            let dw = conv::weight_gradient(slice(&x.to_contiguous()), slice(&dy), &shape);
            grads.register::<Flex>(node.id, tensor(dw, weight.shape()));
        }
    }
}

#[derive(Debug)]
struct NormBackward;

#[derive(Clone, Debug)]
struct NormState {
    /// Input, γ, β.
    inputs: [NodeId; 3],
    mean: FlexTensor,
    variance: FlexTensor,
    epsilon: f64,
    relu: bool,
    of_batch: bool,
}

impl Backward<Flex, 3> for NormBackward {
    type State = NormState;

    fn backward(self, ops: Ops<NormState, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        // dy, over which dx is written.
        let mut dx = grads.consume::<Flex>(&ops.node).to_contiguous();
        let state = ops.state;
        let inputs = state.inputs.map(|node| {
            let input: FlexTensor = checkpointer.retrieve_node_output(node);
            input.to_contiguous()
        });
        let [x, gamma, beta] = &inputs;
        let statistics = [&state.mean, &state.variance].map(FlexTensor::to_contiguous);
        let [mean, variance] = &statistics;
        let inverse = norm::inverse_deviation(slice(variance), state.epsilon);
        let affine = Affine { mean: slice(mean), inverse: &inverse, gamma: slice(gamma), beta: slice(beta) };
        let channels = channels(x, gamma);
        let found =
            norm::gradients(slice(x), slice_mut(&mut dx), affine, state.relu, state.of_batch, &channels);
        let gradients = [dx, tensor(found.gamma, gamma.shape()), tensor(found.beta, beta.shape())];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

#[derive(Debug)]
struct AddReluBackward;

impl Backward<Flex, 2> for AddReluBackward {
    /// The output.
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        // dy, over which dx is written.
        let mut dx = grads.consume::<Flex>(&ops.node).to_contiguous();
        residual::gradient(slice(&ops.state), slice_mut(&mut dx));
        for node in ops.parents.into_iter().flatten() {
            grads.register::<Flex>(node.id, dx.clone());
        }
    }
}

#[derive(Debug)]
struct ActivationBackward;

impl Backward<Flex, 1> for ActivationBackward {
    /// The output, or the input: what the gradient is worked out from.
    type State = (FlexTensor, Activation);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (kept, activation) = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node {
            let dx = activation::gradient(slice(&kept.to_contiguous()), slice(&dy), activation);
            grads.register::<Flex>(node.id, tensor(dx, kept.shape()));
        }
    }
}

#[derive(Debug)]
struct LayerNormBackward;

impl Backward<Flex, 3> for LayerNormBackward {
    /// Input, γ, ε.
    type State = ([NodeId; 2], f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (inputs, epsilon) = ops.state;
        let inputs = inputs.map(|node| {
            let input: FlexTensor = checkpointer.retrieve_node_output(node);
            input.to_contiguous()
        });
        let [x, gamma] = &inputs;
        let found = rows::layer_norm_gradients(slice(x), slice(&dy), slice(gamma), epsilon);
        let gradients = [(found.x, x), (found.gamma, gamma), (found.beta, gamma)];
        for (node, (gradient, input)) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(gradient, input.shape()));
            }
        }
    }
}

#[derive(Debug)]
struct SoftmaxBackward;

impl Backward<Flex, 1> for SoftmaxBackward {
    /// The output and the scale.
    type State = (FlexTensor, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let (y, scale) = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node {
            let dx = rows::softmax_gradient(slice(&y), slice(&dy), last(&y), scale);
            grads.register::<Flex>(node.id, tensor(dx, y.shape()));
        }
    }
}

#[derive(Debug)]
struct GruBackward;

#[derive(Clone, Debug)]
struct GruState {
    weight: NodeId,
    states: FlexTensor,
    kept: FlexTensor,
}

impl Backward<Flex, 3> for GruBackward {
    type State = GruState;

    fn backward(self, ops: Ops<GruState, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let GruState { weight, states, kept } = ops.state;
        let weight: FlexTensor = checkpointer.retrieve_node_output(weight);
        let weight = weight.to_contiguous();
        let [n, steps, hidden] = states.shape().dims();
        let shape = Sequences { steps, hidden };
        let found = gru::gradients((slice(&states), slice(&kept)), slice(&dy), slice(&weight), shape);
        let gradients = [
            tensor(found.x, Shape::new([n, steps, 3 * hidden])),
            tensor(found.weight, weight.shape()),
            tensor(found.bias, Shape::new([3 * hidden])),
        ];
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Length of the last axis.
fn last(tensor: &FlexTensor) -> usize {
    tensor.shape().as_slice().last().copied().expect("the caller has checked the shape")
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the caller has chosen f32 tensors and made them contiguous")
}

/// Copies what other tensors hold too.
fn slice_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    tensor.storage_mut()
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Of a tensor with so many values a channel as this has.
fn channels(x: &FlexTensor, per_channel: &FlexTensor) -> Channels {
    Channels::new(x.shape().as_slice(), last(per_channel)).expect("the caller has checked the shape")
}
