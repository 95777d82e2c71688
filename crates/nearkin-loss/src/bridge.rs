//! What makes a loss differentiable in Burn.
//!
//! A loss computes its value and its gradient in one go, on the CPU, from plain slices. The tape gets one node a side:
//! forward hands out the value, backward multiplies the gradient by whatever comes from above. Embeddings on a
//! GPU are copied to the host and the gradient back, `n × d` values each way. Losses of whole rows take their products on
//! the GPU all the same, panel by panel: scores come to the host, forces go back.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Device, Shape, Tensor, TensorData};
#[cfg(feature = "gpu")]
use burn_cubecl::CubeBackend;
use nearkin_sweep::{Accelerator, Kin, Panels, SweepError, Vectors};

use crate::loss::{Loss, LossError, Sides};

/// A loss on the tape.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The loss, shape `[1]`.
    pub tensor: Tensor<1>,
    /// The loss again, in full precision.
    pub value: f64,
    /// Number of terms.
    pub terms: usize,
    /// Number of terms that pulled.
    pub active: usize,
}

/// Evaluates `loss` on embeddings `[n, d]` against references `[m, d]`, or among themselves when there are none.
///
/// The gradient flows to the queries and to the references, unless they are detached.
///
/// # Errors
/// When the two sides differ in dimension, or a tensor cannot be read as f32.
pub fn evaluate(
    loss: &dyn Loss,
    queries: Tensor<2>,
    references: Option<Tensor<2>>,
    kin: &dyn Kin,
) -> Result<Evaluated, LossError> {
    let read = |t: &Tensor<2>| {
        t.clone()
            .into_data()
            .convert::<f32>()
            .try_to_vec::<f32>()
            .map_err(|e| LossError::Read(format!("{e:?}")))
    };
    let [_, dim] = queries.dims();
    let query_values = read(&queries)?;
    let reference_values = references.as_ref().map(read).transpose()?;
    // On the CPU the sweep's own products are faster; elsewhere the device takes them over, panel by panel.
    let device = queries.device().inner();
    let accelerator = (device != Device::flex()).then_some(OnDevice(device));
    let pull = {
        let accelerator = accelerator.as_ref().map(|a| a as &dyn Accelerator);
        let q = Vectors::new(&query_values, dim)?.on(accelerator);
        let r = match (&reference_values, &references) {
            (Some(values), Some(tensor)) => Some(Vectors::new(values, tensor.dims()[1])?),
            _ => None,
        };
        loss.pull(&Sides { queries: q, references: r, kin, reducer: None })?
    };
    let mut tensor = on_tape(queries, pull.loss as f32, pull.query_gradient);
    if let Some(references) = references {
        tensor = tensor + on_tape(references, 0.0, pull.reference_gradient);
    }
    Ok(Evaluated { tensor, value: pull.loss, terms: pull.terms, active: pull.active })
}

/// A device of Burn's that takes over the sweep's products, in tensor operations on panels of rows.
#[derive(Debug)]
struct OnDevice(Device);

impl Accelerator for OnDevice {
    fn load(
        &self,
        queries: &[f32],
        references: Option<&[f32]>,
        dim: usize,
    ) -> Result<Box<dyn Panels>, SweepError> {
        let tensor = |values: &[f32]| {
            let shape = [values.len() / dim, dim];
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &self.0)
        };
        let queries = tensor(queries);
        let references = references.map_or_else(|| queries.clone(), tensor);
        let at_references = Tensor::zeros(references.dims(), &self.0);
        Ok(Box::new(OnPanels { queries, references, at_queries: Vec::new(), at_references }))
    }
}

struct OnPanels {
    queries: Tensor<2>,
    references: Tensor<2>,
    /// The sums of each panel's queries.
    at_queries: Vec<Tensor<2>>,
    at_references: Tensor<2>,
}

impl OnPanels {
    fn panel(&self, first: usize, count: usize) -> Tensor<2> {
        let [_, dim] = self.queries.dims();
        self.queries.clone().slice([first..first + count, 0..dim])
    }
}

fn read(tensor: Tensor<2>) -> Result<Vec<f32>, SweepError> {
    let values = tensor.into_data().convert::<f32>().try_to_vec::<f32>();
    values.map_err(|e| SweepError::Accelerator(format!("{e:?}")))
}

impl Panels for OnPanels {
    fn scores(&mut self, first: usize, count: usize, out: &mut [f32]) -> Result<(), SweepError> {
        let scores = read(self.panel(first, count).matmul(self.references.clone().transpose()))?;
        if scores.len() != out.len() {
            return Err(SweepError::Accelerator(format!("{} scores for {}", scores.len(), out.len())));
        }
        out.copy_from_slice(&scores);
        Ok(())
    }

    fn pull(&mut self, first: usize, count: usize, forces: &[f32]) -> Result<(), SweepError> {
        let [references, _] = self.references.dims();
        let data = TensorData::new(forces.to_vec(), [count, references]);
        let forces = Tensor::<2>::from_data(data, &self.queries.device());
        self.at_queries.push(forces.clone().matmul(self.references.clone()));
        let pulled = forces.transpose().matmul(self.panel(first, count));
        self.at_references = self.at_references.clone() + pulled;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(Vec<f32>, Vec<f32>), SweepError> {
        let at_queries =
            if self.at_queries.is_empty() { Vec::new() } else { read(Tensor::cat(self.at_queries, 0))? };
        Ok((at_queries, read(self.at_references)?))
    }
}

/// A scalar on the tape of `x` whose value and gradient with respect to `x` are known already.
fn on_tape(x: Tensor<2>, value: f32, gradient: Vec<f32>) -> Tensor<1> {
    let (shape, tracked) = (x.dims(), x.is_autodiff());
    let device = if tracked { x.device().inner() } else { x.device() };
    let value = Tensor::<1>::from_data([value], &device);
    if !tracked {
        return value;
    }
    let gradient = Tensor::<2>::from_data(TensorData::new(gradient, shape), &device);
    Tensor::from_dispatch(Dispatch::known_gradient(
        x.into_dispatch(),
        Tensor::from_inner(value).into_dispatch(),
        Tensor::from_inner(gradient).into_dispatch(),
    ))
}

/// The operation `x ↦ value` with `∂value/∂x = gradient`.
#[cfg_attr(not(feature = "gpu"), backend_extension(Flex, Autodiff))]
#[cfg_attr(feature = "gpu", backend_extension(Flex, Cube, Autodiff))]
trait KnownGradient: Backend {
    fn known_gradient(
        x: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

macro_rules! without_a_tape {
    ($backend:ty) => {
        impl KnownGradient for $backend {
            fn known_gradient(
                _: FloatTensor<Self>,
                value: FloatTensor<Self>,
                _: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                value
            }
        }
    };
}
without_a_tape!(Flex);
#[cfg(feature = "gpu")]
without_a_tape!(CubeBackend);

impl<B: Backend, C: CheckpointStrategy> KnownGradient for Autodiff<B, C> {
    fn known_gradient(
        x: FloatTensor<Self>,
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Held;
        impl<B: Backend> Backward<B, 1> for Held {
            type State = FloatTensor<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                let above = grads.consume::<B>(&ops.node);
                if let [Some(parent)] = ops.parents {
                    let shape = ops.state.shape();
                    let above = B::float_expand(B::float_reshape(above, Shape::new([1, 1])), shape);
                    grads.register::<B>(parent.id, B::float_mul(ops.state, above));
                }
            }
        }
        match Held.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(gradient.into_primitive(), value.into_primitive()),
            OpsKind::UnTracked(prepared) => prepared.finish(value.into_primitive()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Margin, NtXent, TripletMargin};
    use crate::miners::{BatchHardMiner, Mined};
    use nearkin_sweep::{Metric, SameLabel};

    fn points() -> TensorData {
        TensorData::new(vec![0.9, 0.1, -0.4, 0.3, 0.8, -0.2, -0.7, 0.5f32], [4, 2])
    }

    fn values<const D: usize>(t: Tensor<D>) -> Vec<f32> {
        t.into_data().try_to_vec().unwrap()
    }

    /// NT-Xent for two samples in two views, in tensor operations.
    fn nt_xent_of_tensors(x: Tensor<2>, temperature: f32, device: &Device) -> Tensor<1> {
        let z = x.clone() / x.square().sum_dim(1).sqrt();
        let scores = z.clone().matmul(z.transpose()) / temperature - Tensor::<2>::eye(4, device) * 1e9;
        let log_shares = burn::tensor::activation::log_softmax(scores, 1);
        let kin: Tensor<2> = Tensor::from_data(
            [[0., 0., 1., 0.], [0., 0., 0., 1.], [1., 0., 0., 0.], [0., 1., 0., 0.]],
            device,
        );
        (log_shares * kin).sum() / -4.0
    }

    #[test]
    fn a_loss_in_the_middle_of_a_graph_has_the_gradient_of_the_tensor_formula() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data(points(), &device).require_grad();
        let loss = NtXent::new(0.3).unwrap();
        let ours =
            evaluate(&loss, (x.clone() * 2.0).tanh(), None, &SameLabel::within(&[0, 1, 0, 1])).unwrap();
        let gradient = values(x.grad(&(ours.tensor.clone() * 3.0).backward()).unwrap());
        let formula = nt_xent_of_tensors((x.clone() * 2.0).tanh(), 0.3, &device);
        let wanted = values(x.grad(&(formula.clone() * 3.0).backward()).unwrap());
        assert!((values(ours.tensor)[0] - values(formula)[0]).abs() < 1e-6);
        for (found, wanted) in gradient.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-5, "{found} for {wanted}");
        }
    }

    #[test]
    fn references_get_their_gradient_unless_they_are_detached() {
        let device = Device::flex().autodiff();
        let loss = Mined {
            miner: BatchHardMiner { metric: Metric::Euclidean },
            loss: TripletMargin::new(Metric::Euclidean, Margin::Soft).unwrap(),
        };
        let labels = [0, 0, 1, 1];
        let kin = SameLabel::between(&labels, &labels);
        let q = Tensor::<2>::from_data(points(), &device).require_grad();
        let r = (Tensor::<2>::from_data(points(), &device) + 0.1).require_grad();
        let both = evaluate(&loss, q.clone(), Some(r.clone()), &kin).unwrap();
        let gradients = both.tensor.backward();
        assert!(q.grad(&gradients).is_some() && r.grad(&gradients).is_some());
        let bank = evaluate(&loss, q.clone(), Some(r.clone().detach()), &kin).unwrap();
        assert_eq!(bank.value, both.value);
        let gradients = bank.tensor.backward();
        assert!(q.grad(&gradients).is_some() && r.grad(&gradients).is_none());
    }

    #[test]
    fn without_autodiff_there_is_a_value_and_no_tape() {
        let x = Tensor::<2>::from_data(points(), &Device::flex());
        let loss = NtXent::new(0.5).unwrap();
        let found = evaluate(&loss, x, None, &SameLabel::within(&[0, 1, 0, 1])).unwrap();
        assert!((f64::from(values(found.tensor)[0]) - found.value).abs() < 1e-6);
    }

    /// A device whose tensor operations stand in for a GPU's: a real one where this build has it.
    fn other_device() -> Device {
        #[cfg(feature = "wgpu")]
        return Device::wgpu(burn::tensor::DeviceKind::DefaultDevice);
        #[cfg(not(feature = "wgpu"))]
        Device::flex()
    }

    #[test]
    fn panels_of_tensor_operations_give_what_the_sweep_gives() {
        use crate::losses::{Contrastive, MultiSimilarity, Nca, SupCon};
        use crate::{OnSphere, Sides};
        let device = OnDevice(other_device());
        let (n, m, dim) = (300, 170, 6);
        let value = |i: usize| ((i * 2_654_435_761 + 7) % 1013) as f32 / 506.0 - 1.0;
        let (q, r): (Vec<f32>, Vec<f32>) =
            ((0..n * dim).map(value).collect(), (5..5 + m * dim).map(value).collect());
        let labels = |count: usize| (0..count as u32).map(|i| i % 29).collect::<Vec<u32>>();
        let (ql, rl) = (labels(n), labels(m));
        let losses: [Box<dyn Loss>; 5] = [
            Box::new(SupCon::new(0.2).unwrap()),
            Box::new(MultiSimilarity::default()),
            Box::new(OnSphere(Contrastive::new(Metric::Euclidean, 0.0, 1.0).unwrap())),
            Box::new(TripletMargin::new(Metric::SquaredEuclidean, Margin::Hinge(0.3)).unwrap()),
            Box::new(Nca::default()),
        ];
        for (l, loss) in losses.iter().enumerate() {
            for between in [false, true] {
                let (within, between_kin) = (SameLabel::within(&ql), SameLabel::between(&ql, &rl));
                let pull = |on: Option<&dyn Accelerator>| {
                    let queries = Vectors::new(&q, dim).unwrap().on(on);
                    let sides = match between {
                        false => Sides::within(queries, &within),
                        true => Sides::between(queries, Vectors::new(&r, dim).unwrap(), &between_kin),
                    };
                    loss.pull(&sides).unwrap()
                };
                let (here, there) = (pull(None), pull(Some(&device)));
                assert!(
                    (here.loss - there.loss).abs() < 1e-5 * here.loss.abs(),
                    "{l}: {} {}",
                    here.loss,
                    there.loss
                );
                assert_eq!(
                    (here.terms, here.query_gradient.len()),
                    (there.terms, there.query_gradient.len())
                );
                let pairs = here.query_gradient.iter().zip(&there.query_gradient);
                for (a, b) in pairs.chain(here.reference_gradient.iter().zip(&there.reference_gradient)) {
                    assert!((a - b).abs() < 1e-5 + 1e-3 * a.abs(), "{l}: {a} {b}");
                }
            }
        }
    }
}
