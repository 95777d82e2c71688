//! What makes a loss differentiable in Burn.
//!
//! A loss computes its value and its gradient in one go, on the CPU, from plain slices. The tape gets one node a side:
//! forward hands out the value, backward multiplies the gradient by whatever comes from above.
//!
//! On a GPU, a loss that has a form for devices ([`Loss::pull_on_device`]) stays there, and its value with it, until someone
//! asks for it. For the others, embeddings are copied to the host and the gradient back, `n × d` values each way. Losses of
//! whole rows take their products on the GPU all the same, panel by panel: scores come to the host, forces go back.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Device, Shape, Tensor, TensorData};
#[cfg(feature = "gpu")]
use burn_cubecl::CubeBackend;
use nearkin_sweep::{Accelerator, Kin, Panels, SweepError, Vectors};

use crate::loss::{Loss, LossError, Pull, Sides};
use crate::on_device::{DevicePull, DeviceSides};

/// A loss on the tape.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The loss, shape `[1]`.
    pub tensor: Tensor<1>,
    held: Held,
}

/// Where a loss's figures are.
// A loss is held once a step: boxing the larger variant would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone)]
enum Held {
    Here(Figures),
    /// `[3]`, in the order of [`Figures`].
    OnDevice(Tensor<1>),
}

/// What a loss came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// The loss; in full precision where it was taken on the CPU.
    pub value: f64,
    /// Number of terms.
    pub terms: usize,
    /// Number of terms that pulled.
    pub active: usize,
}

impl Evaluated {
    /// A loss that is written in tensor operations, as one term.
    ///
    /// # Panics
    /// If it is not one value.
    pub fn of_tensor(tensor: Tensor<1>) -> Self {
        let value = tensor.clone().inner();
        let ones = Tensor::ones([2], &value.device());
        let held = Held::OnDevice(Tensor::cat(vec![value.reshape([1]), ones], 0));
        Self { tensor, held }
    }

    /// `Σ w ℓ` of some losses, with the terms of all.
    ///
    /// # Panics
    /// If there is none.
    pub fn sum(weighted: impl IntoIterator<Item = (f64, Self)>) -> Self {
        let of_figures = |held: &Held, device: &Device| match held {
            Held::OnDevice(figures) => figures.clone(),
            Held::Here(f) => Tensor::from_data([f.value as f32, f.terms as f32, f.active as f32], device),
        };
        let add = |a: Self, b: Self| {
            let device = a.tensor.device().inner();
            let held = match (&a.held, &b.held) {
                (Held::Here(a), Held::Here(b)) => Held::Here(Figures {
                    value: a.value + b.value,
                    terms: a.terms + b.terms,
                    active: a.active + b.active,
                }),
                (a, b) => Held::OnDevice(of_figures(a, &device) + of_figures(b, &device)),
            };
            Self { tensor: a.tensor + b.tensor, held }
        };
        let scaled = |(weight, loss): (f64, Self)| {
            let held = match loss.held {
                Held::Here(figures) => Held::Here(Figures { value: weight * figures.value, ..figures }),
                Held::OnDevice(figures) => {
                    let [value, counts] = [figures.clone().narrow(0, 0, 1), figures.narrow(0, 1, 2)];
                    Held::OnDevice(Tensor::cat(vec![value * weight, counts], 0))
                }
            };
            Self { tensor: loss.tensor * weight, held }
        };
        weighted.into_iter().map(scaled).reduce(add).expect("at least one loss")
    }

    /// The same without the tape, for keeping.
    #[must_use]
    pub fn off_tape(self) -> Self {
        Self { tensor: self.tensor.inner(), ..self }
    }

    /// The figures, if they are at hand without waiting for a device.
    pub fn known(&self) -> Option<Figures> {
        match self.held {
            Held::Here(figures) => Some(figures),
            Held::OnDevice(_) => None,
        }
    }

    /// The figures; waits for the device if they are there.
    ///
    /// # Errors
    /// When they cannot be read from it.
    pub fn figures(&self) -> Result<Figures, LossError> {
        Self::all_figures([self]).map(|all| all[0])
    }

    /// The figures of several losses, in one wait.
    ///
    /// # Errors
    /// As [`figures`](Self::figures).
    pub fn all_figures<'a>(all: impl IntoIterator<Item = &'a Self>) -> Result<Vec<Figures>, LossError> {
        let all: Vec<&Self> = all.into_iter().collect();
        let there = all.iter().filter_map(|one| match &one.held {
            Held::Here(_) => None,
            Held::OnDevice(figures) => Some(figures.clone()),
        });
        let there: Vec<Tensor<1>> = there.collect();
        let read = if there.is_empty() { Vec::new() } else { read(Tensor::cat(there, 0))? };
        let (of_device, _) = read.as_chunks();
        let mut of_device = of_device.iter();
        let figures = |one: &Self| {
            one.known().or_else(|| {
                let [value, terms, active] = *of_device.next()?;
                Some(Figures { value: value.into(), terms: terms as usize, active: active as usize })
            })
        };
        let found: Option<Vec<Figures>> = all.into_iter().map(figures).collect();
        found.ok_or_else(|| LossError::Read("fewer values than were asked for".into()))
    }
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
    // On the CPU the sweep is faster; elsewhere the device takes the loss over, or at least its products.
    let device = queries.device().inner();
    if device == Device::flex() {
        return on_host(loss, queries, references, kin, None);
    }
    match on_device(loss, &queries, references.as_ref(), kin)? {
        Some(evaluated) => Ok(evaluated),
        None => on_host(loss, queries, references, kin, Some(&OnDevice(device))),
    }
}

/// Puts a loss that is taken on plain slices of queries on their tape: against a memory, say, whose vectors have no gradient. On
/// any device the queries are copied to the host.
///
/// # Errors
/// Those of `of`, and when the tensor cannot be read as f32.
pub fn evaluate_with(
    queries: Tensor<2>,
    of: impl FnOnce(Vectors<'_>) -> Result<Pull, LossError>,
) -> Result<Evaluated, LossError> {
    let [_, dim] = queries.dims();
    let values = read(queries.clone())?;
    let Pull { loss, terms, active, query_gradient, .. } = of(Vectors::new(&values, dim)?)?;
    let device = queries.device().inner();
    let gradient = Tensor::from_data(TensorData::new(query_gradient, queries.dims()), &device);
    let tensor = on_tape(queries, Tensor::from_data([loss as f32], &device), gradient);
    Ok(Evaluated { tensor, held: Held::Here(Figures { value: loss, terms, active }) })
}

/// By springs, on slices; with the products of whole rows on a device.
fn on_host(
    loss: &dyn Loss,
    queries: Tensor<2>,
    references: Option<Tensor<2>>,
    kin: &dyn Kin,
    accelerator: Option<&dyn Accelerator>,
) -> Result<Evaluated, LossError> {
    let [_, dim] = queries.dims();
    let query_values = read(queries.clone())?;
    let reference_values = references.clone().map(read).transpose()?;
    let pull = {
        let q = Vectors::new(&query_values, dim)?.on(accelerator);
        let r = match (&reference_values, &references) {
            (Some(values), Some(tensor)) => Some(Vectors::new(values, tensor.dims()[1])?),
            _ => None,
        };
        loss.pull(&Sides { queries: q, references: r, kin, reducer: None })?
    };
    let device = queries.device().inner();
    let value = Tensor::<1>::from_data([pull.loss as f32], &device);
    let gradient =
        |values: Vec<f32>, x: &Tensor<2>| Tensor::<2>::from_data(TensorData::new(values, x.dims()), &device);
    let at_queries = gradient(pull.query_gradient, &queries);
    let mut tensor = on_tape(queries, value.clone(), at_queries);
    if let Some(references) = references {
        let at_references = gradient(pull.reference_gradient, &references);
        tensor = tensor + on_tape(references, value.zeros_like(), at_references);
    }
    let figures = Figures { value: pull.loss, terms: pull.terms, active: pull.active };
    Ok(Evaluated { tensor, held: Held::Here(figures) })
}

/// By tensor operations, without waiting for them; `None` if the loss, its reducer or the kin relation has no such form.
fn on_device(
    loss: &dyn Loss,
    queries: &Tensor<2>,
    references: Option<&Tensor<2>>,
    kin: &dyn Kin,
) -> Result<Option<Evaluated>, LossError> {
    let Some(labels) = kin.same_label().filter(|labels| labels.is_within() == references.is_none()) else {
        return Ok(None);
    };
    let [n, dim] = queries.dims();
    let [m, of_references] = references.map_or([n, dim], |r| r.dims());
    if of_references != dim {
        return Err(SweepError::DimensionMismatch { queries: dim, references: of_references }.into());
    }
    // Too few labels are the sweep's to report, and vectors of no values its to refuse.
    if n == 0 || m == 0 || dim == 0 || labels.queries().len() != n || labels.references().len() != m {
        return Ok(None);
    }
    let inner = |x: &Tensor<2>| x.clone().inner();
    let device = queries.device().inner();
    let sides = DeviceSides::new(inner(queries), references.map(inner), labels, &device);
    let Some(DevicePull { figures, query_gradient, reference_gradient }) = loss.pull_on_device(&sides) else {
        return Ok(None);
    };
    let value = figures.clone().narrow(0, 0, 1);
    let mut tensor = on_tape(queries.clone(), value.clone(), query_gradient);
    if let (Some(references), Some(gradient)) = (references, reference_gradient) {
        tensor = tensor + on_tape(references.clone(), value.zeros_like(), gradient);
    }
    Ok(Some(Evaluated { tensor, held: Held::OnDevice(figures) }))
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, LossError> {
    let values = tensor.into_data().convert::<f32>().try_to_vec::<f32>();
    values.map_err(|e| LossError::Read(format!("{e:?}")))
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

fn read_panel(tensor: Tensor<2>) -> Result<Vec<f32>, SweepError> {
    read(tensor).map_err(|e| SweepError::Accelerator(e.to_string()))
}

impl Panels for OnPanels {
    fn scores(&mut self, first: usize, count: usize, out: &mut [f32]) -> Result<(), SweepError> {
        let scores = read_panel(self.panel(first, count).matmul(self.references.clone().transpose()))?;
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
        let at_queries = if self.at_queries.is_empty() {
            Vec::new()
        } else {
            read_panel(Tensor::cat(self.at_queries, 0))?
        };
        Ok((at_queries, read_panel(self.at_references)?))
    }
}

/// A scalar on the tape of `x` whose value and gradient with respect to `x` are known already, off the tape.
fn on_tape(x: Tensor<2>, value: Tensor<1>, gradient: Tensor<2>) -> Tensor<1> {
    if !x.is_autodiff() {
        return value;
    }
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
        assert_eq!(bank.known(), both.known());
        let gradients = bank.tensor.backward();
        assert!(q.grad(&gradients).is_some() && r.grad(&gradients).is_none());
    }

    #[test]
    fn a_loss_of_slices_has_its_gradient_on_the_tape() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data(points(), &device).require_grad();
        let found = evaluate_with(x.clone() * 2.0, |queries| {
            let query_gradient: Vec<f32> = queries.data().iter().map(|v| 2.0 * v).collect();
            let loss = queries.data().iter().map(|v| f64::from(v * v)).sum();
            Ok(Pull { loss, terms: 4, active: 4, query_gradient, ..Pull::default() })
        })
        .unwrap();
        let wanted: f32 = points().iter::<f32>().map(|v| 4.0 * v * v).sum();
        assert!((found.known().unwrap().value - f64::from(wanted)).abs() < 1e-5);
        let gradient = values(x.grad(&found.tensor.backward()).unwrap());
        for (found, x) in gradient.iter().zip(points().iter::<f32>()) {
            assert!((found - 8.0 * x).abs() < 1e-5);
        }
    }

    #[test]
    fn losses_add_up_wherever_their_figures_are() {
        let device = Device::flex().autodiff();
        let here = |loss: f64| {
            let x = Tensor::<2>::from_data(points(), &device);
            let pull = Pull { loss, terms: 3, active: 2, query_gradient: vec![0.0; 8], ..Pull::default() };
            evaluate_with(x, |_| Ok(pull)).unwrap()
        };
        let there = || Evaluated::of_tensor(Tensor::from_data([5.0], &device));
        let sum = Evaluated::sum([(1.0, here(2.0)), (0.5, here(4.0))]);
        assert_eq!(sum.known(), Some(Figures { value: 4.0, terms: 6, active: 4 }));
        let sum = Evaluated::sum([(1.0, here(2.0)), (2.0, there())]);
        assert_eq!(sum.figures().unwrap(), Figures { value: 12.0, terms: 4, active: 3 });
        assert_eq!(values(sum.tensor), [12.0]);
    }

    #[test]
    fn without_autodiff_there_is_a_value_and_no_tape() {
        let x = Tensor::<2>::from_data(points(), &Device::flex());
        let loss = NtXent::new(0.5).unwrap();
        let found = evaluate(&loss, x, None, &SameLabel::within(&[0, 1, 0, 1])).unwrap();
        let value = found.figures().unwrap().value;
        assert!((f64::from(values(found.tensor)[0]) - value).abs() < 1e-6);
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

    /// Losses that have a form for devices, with all their settings.
    fn losses_on_devices() -> Vec<(&'static str, Box<dyn Loss>)> {
        use crate::losses::SupCon;
        use crate::{Reduced, Reducer};
        let mut all: Vec<(&str, Box<dyn Loss>)> = Vec::new();
        for temperature in [0.5, 0.07, 0.01] {
            all.push(("NT-Xent", Box::new(NtXent::new(temperature).unwrap())));
            all.push(("SupCon", Box::new(SupCon::new(temperature).unwrap())));
        }
        for reducer in [Reducer::Sum, Reducer::MeanActive, Reducer::Mean] {
            all.push(("reduced", Box::new(Reduced { loss: SupCon::new(0.2).unwrap(), reducer })));
        }
        for metric in Metric::ALL {
            for margin in [Margin::Soft, Margin::Hinge(0.1), Margin::Hinge(50.0)] {
                let loss = TripletMargin::new(metric, margin).unwrap();
                let loss = Mined { miner: BatchHardMiner { metric }, loss };
                all.push(("batch hard", Box::new(loss)));
                let reducer = Reducer::Mean;
                all.push(("batch hard, reduced", Box::new(Reduced { loss, reducer })));
            }
        }
        all
    }

    /// Value and gradients, by springs on the CPU and by tensor operations.
    fn both(loss: &dyn Loss, sides: [&Tensor<2>; 2], kin: &SameLabel<'_>) -> [(Figures, Vec<Vec<f32>>); 2] {
        let [q, r] = sides.map(|side| side.clone().require_grad());
        let references = (!kin.is_within()).then(|| r.clone());
        let found = |evaluated: Evaluated| {
            let gradients = (evaluated.tensor.clone() * 2.0).backward();
            let of = |side: &Tensor<2>| side.grad(&gradients).map(values);
            let figures = evaluated.figures().unwrap();
            assert!(
                (f64::from(values(evaluated.tensor)[0]) - figures.value).abs() <= 1e-6 * figures.value.abs()
            );
            (figures, [&q, &r].into_iter().filter_map(of).collect())
        };
        let here = on_host(loss, q.clone(), references.clone(), kin, None).unwrap();
        let there = on_device(loss, &q, references.as_ref(), kin).unwrap().expect("a form for devices");
        assert!(there.known().is_none() && here.known().is_some());
        [found(here), found(there)]
    }

    /// Evenly spread over −1 to 1 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
    fn random(shape: [usize; 2], seed: u64) -> TensorData {
        let value = |i: usize| {
            let mut z = (seed + i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        TensorData::new((0..shape[0] * shape[1]).map(value).collect(), shape)
    }

    #[test]
    fn on_a_device_losses_are_the_springs_in_value_and_gradient() {
        let device = other_device().autodiff();
        let (n, m, dim) = (96, 70, 16);
        let tensor = |rows, seed| Tensor::<2>::from_data(random([rows, dim], seed), &device);
        let (q, r) = (tensor(n, 1), tensor(m, 40_000));
        // Views of samples, classes of several sizes, everyone alone, and one class.
        let labelings: [&dyn Fn(u32) -> u32; 5] = [&|i| i % 48, &|i| i % 7, &|i| i * i % 31, &|i| i, &|_| 3];
        for (l, label) in labelings.iter().enumerate() {
            let labels = |count: usize| (0..count as u32).map(label).collect::<Vec<u32>>();
            let (ql, rl) = (labels(n), labels(m));
            for kin in [SameLabel::within(&ql), SameLabel::between(&ql, &rl)] {
                for (name, loss) in losses_on_devices() {
                    let [(here, springs), (there, tensors)] = both(loss.as_ref(), [&q, &r], &kin);
                    let case = format!("{name}, labels {l}, within {}: {here:?} {there:?}", kin.is_within());
                    assert!((here.value - there.value).abs() <= 1e-5 * here.value.abs().max(1e-2), "{case}");
                    assert_eq!((here.terms, here.active), (there.terms, there.active), "{case}");
                    assert_eq!(springs.len(), tensors.len(), "{case}");
                    for (springs, tensors) in springs.iter().zip(&tensors) {
                        let most = springs.iter().fold(0.0f32, |most, g| most.max(g.abs()));
                        for (a, b) in springs.iter().zip(tensors) {
                            assert!((a - b).abs() <= 1e-4 * most + 1e-9, "{case}: {a} {b} of {most}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn on_a_device_zeros_and_duplicates_have_the_springs_gradient() {
        let device = other_device().autodiff();
        let labels = [0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 3, 3];
        // A zero vector is as far from all others by their product: whoever is hardest for it is a matter of taste.
        for zeros in [false, true] {
            let mut points = random([12, 4], 5).try_to_vec::<f32>().unwrap();
            if zeros {
                points[..4].fill(0.0);
            }
            let copy: Vec<f32> = points[8..16].to_vec();
            points[16..24].copy_from_slice(&copy);
            let x = Tensor::<2>::from_data(TensorData::new(points, [12, 4]), &device);
            for (name, loss) in losses_on_devices() {
                let [(here, springs), (there, tensors)] =
                    both(loss.as_ref(), [&x, &x], &SameLabel::within(&labels));
                assert!((here.value - there.value).abs() <= 1e-5 * here.value.abs().max(1e-2), "{name}");
                assert!(tensors[0].iter().all(|g| g.is_finite()), "{name}");
                // Duplicates are as hard as each other, and either may be chosen: sums over them agree.
                for column in 0..if zeros { 0 } else { 4 } {
                    let sum = |values: &[f32]| values.iter().skip(column).step_by(4).sum::<f32>();
                    let (a, b) = (sum(&springs[0]), sum(&tensors[0]));
                    let most = springs[0].iter().fold(0.0f32, |most, g| most.max(g.abs()));
                    assert!((a - b).abs() <= 1e-3 * most + 1e-9, "{name}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn on_a_device_ties_have_the_springs_gradient() {
        let device = other_device().autodiff();
        // Whole numbers on a grid: the kin is often as far as the stranger, and several are as far as each other.
        let grid: Vec<f32> = (0..36).flat_map(|i| [(i % 6) as f32, (i / 6) as f32]).collect();
        let x = Tensor::<2>::from_data(TensorData::new(grid, [36, 2]), &device);
        let labels: Vec<u32> = (0..36).map(|i| i * 5 % 7).collect();
        let kin = SameLabel::within(&labels);
        for metric in [Metric::Euclidean, Metric::SquaredEuclidean, Metric::Dot] {
            let loss = TripletMargin::new(metric, Margin::Soft).unwrap();
            let loss = Mined { miner: BatchHardMiner { metric }, loss };
            let [(here, springs), (there, tensors)] = both(&loss, [&x, &x], &kin);
            assert_eq!((here.terms, here.active), (there.terms, there.active), "{metric}");
            for (a, b) in springs[0].iter().zip(&tensors[0]) {
                assert!((a - b).abs() <= 1e-5, "{metric}: {a} {b}");
            }
        }
    }

    #[test]
    fn on_a_device_a_stranger_as_near_as_the_kin_is_pulled_by_half() {
        let device = other_device().autodiff();
        // Anchor 0 has its kin at 1 and its stranger at −1; all others have their stranger farther than their kin, or no kin.
        let x = Tensor::<2>::from_data(TensorData::new(vec![0.0f32, 1.0, -1.0], [3, 1]), &device);
        let metric = Metric::Euclidean;
        let loss = TripletMargin::new(metric, Margin::Soft).unwrap();
        let loss = crate::Reduced {
            loss: Mined { miner: BatchHardMiner { metric }, loss },
            reducer: crate::Reducer::Sum,
        };
        let [_, (figures, gradient)] = both(&loss, [&x, &x], &SameLabel::within(&[0, 0, 1]));
        // Anchor 0's distances are both 1, anchor 1's are 1 and 2: ln 2 + ln(1 + e^−1), twice over in `both`'s gradient.
        let other = (1.0 + (-1.0f32).exp()).ln();
        assert!((figures.value as f32 - 2f32.ln() - other).abs() < 1e-6, "{figures:?}");
        assert_eq!((figures.terms, figures.active), (2, 1));
        let slope = 1.0 / (1.0 + 1.0f32.exp());
        let wanted = [-1.0 - slope, 0.5, 0.5 + slope].map(|g| 2.0 * g);
        for (found, wanted) in gradient[0].iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{gradient:?} for {wanted}");
        }
    }

    #[test]
    fn on_a_device_what_is_not_a_number_is_seen() {
        let device = other_device();
        let mut points = random([12, 4], 5).try_to_vec::<f32>().unwrap();
        points[21] = f32::NAN;
        let x = Tensor::<2>::from_data(TensorData::new(points, [12, 4]), &device);
        let labels: Vec<u32> = (0..12).map(|i| i % 4).collect();
        for (name, loss) in losses_on_devices() {
            let found = on_device(loss.as_ref(), &x, None, &SameLabel::within(&labels)).unwrap().unwrap();
            assert!(found.figures().unwrap().value.is_nan(), "{name}");
        }
    }

    #[test]
    fn a_loss_without_a_form_for_devices_is_left_to_the_springs() {
        use crate::losses::MultiSimilarity;
        use nearkin_sweep::Graph;
        let x = Tensor::<2>::from_data(points(), &Device::flex());
        let labels = [0, 1, 0, 1];
        let none = |loss: &dyn Loss, kin: &dyn Kin| on_device(loss, &x, None, kin).unwrap().is_none();
        assert!(none(&MultiSimilarity::default(), &SameLabel::within(&labels)));
        assert!(none(&NtXent::new(0.5).unwrap(), &Graph::within(4, [(0, 2), (1, 3)]).unwrap()));
        let swapped = TripletMargin::new(Metric::Dot, Margin::Soft).unwrap().with_swap();
        let miner = BatchHardMiner { metric: Metric::Dot };
        assert!(none(&Mined { miner, loss: swapped }, &SameLabel::within(&labels)));
    }

    #[test]
    fn a_formula_in_tensor_operations_is_a_loss() {
        let device = Device::flex().autodiff();
        let x = Tensor::<2>::from_data(points(), &device).require_grad();
        let found = Evaluated::of_tensor(x.clone().square().sum());
        let wanted: f32 = points().try_to_vec::<f32>().unwrap().iter().map(|x| x * x).sum();
        let figures = Evaluated::all_figures([&found, &found]).unwrap();
        assert!(figures.iter().all(|f| (f.value - f64::from(wanted)).abs() < 1e-6 && f.active == 1));
        assert!(x.grad(&found.tensor.backward()).is_some());
    }
}
