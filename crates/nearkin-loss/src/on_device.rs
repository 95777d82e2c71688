//! Losses as tensor operations, for steps that do not wait for their device.
//!
//! Springs are functions of rows on the CPU, so a loss that only has these makes the host wait for the scores and the device
//! wait for the forces. A loss that a GPU should not wait for says its rows once more, as operations on a *panel*: some
//! queries against all references. Panels come one after the other and only their sums stay, so no matrix of scores is held,
//! by the tape neither: value and gradient are taken together, and go on the tape as one node. The kin relation must be that
//! of labels ([`Kin::same_label`](nearkin_sweep::Kin::same_label)).

use std::f32::consts::LN_2;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use nearkin_sweep::{Metric, SameLabel};

use crate::reducer::Reducer;

/// The most values in a panel: 64 MiB of scores, and a few times that for what is worked out from them. Tests see several.
const PANEL: usize = if cfg!(test) { 1 << 11 } else { 1 << 24 };

/// What a loss is evaluated on, on a device: as [`Sides`](crate::Sides), with labels.
pub struct DeviceSides<'a> {
    /// The vectors that ask, `[n, d]`, off the tape.
    pub queries: Tensor<2>,
    /// The vectors they are compared with, `[m, d]`; `None` when both are one set, whose vectors are excluded from their own
    /// rows.
    pub references: Option<Tensor<2>>,
    /// `[n, 1]`
    query_labels: Tensor<2, Int>,
    /// `[1, m]`
    reference_labels: Tensor<2, Int>,
    /// How terms become one number, in place of the loss's own way.
    pub reducer: Option<&'a Reducer>,
}

/// A loss's value and gradient, on its device.
#[derive(Debug)]
pub struct DevicePull {
    /// `[3]`: the loss, its terms, those that pulled.
    pub figures: Tensor<1>,
    /// `∂L/∂queries`. Among one set it holds both ends of every spring.
    pub query_gradient: Tensor<2>,
    /// `∂L/∂references`; `None` among one set.
    pub reference_gradient: Option<Tensor<2>>,
}

/// Some queries against all references, or what is worked out from it: `[rows, m]`.
pub struct Panel {
    /// The scores.
    pub scores: Tensor<2>,
    /// 1 for kin, else 0.
    pub kin: Tensor<2>,
    /// 1 for strangers, else 0.
    pub strangers: Tensor<2>,
}

/// What the springs of a panel come to.
pub struct PanelPull {
    /// Energies of terms, `[rows, 1]` or `[rows, m]`; 0 where there is no term.
    pub energies: Tensor<2>,
    /// How many of them are terms: 1 or 0 each.
    pub terms: Tensor<2>,
    /// `∂Σ energies/∂scores`, `[rows, m]`.
    pub forces: Tensor<2>,
}

/// A triplet for each query: `[n]` places of its kin and its stranger among the references.
pub struct DeviceTriplets {
    /// Where the kin are.
    pub kin: Tensor<1, Int>,
    /// Where the strangers are.
    pub strangers: Tensor<1, Int>,
    /// 1 for queries that have both, else 0.
    pub valid: Tensor<1>,
}

impl<'a> DeviceSides<'a> {
    pub(crate) fn new(
        queries: Tensor<2>,
        references: Option<Tensor<2>>,
        labels: SameLabel<'_>,
        device: &Device,
    ) -> Self {
        let ints = |labels: &[u32], shape: [usize; 2]| {
            // Labels are only compared: what counts is that different ones stay different.
            let labels: Vec<i32> = labels.iter().map(|label| *label as i32).collect();
            Tensor::from_data(TensorData::new(labels, shape), device)
        };
        Self {
            query_labels: ints(labels.queries(), [labels.queries().len(), 1]),
            reference_labels: ints(labels.references(), [1, labels.references().len()]),
            queries,
            references,
            reducer: None,
        }
    }

    /// The same with another reducer, unless one is named already.
    pub(crate) fn reduced(&self, reducer: &'a Reducer) -> Self {
        Self {
            queries: self.queries.clone(),
            references: self.references.clone(),
            query_labels: self.query_labels.clone(),
            reference_labels: self.reference_labels.clone(),
            reducer: Some(reducer),
        }
    }

    /// The vectors that queries are compared with.
    pub fn others(&self) -> Tensor<2> {
        self.references.clone().unwrap_or_else(|| self.queries.clone())
    }

    /// Where each panel begins, and how many queries it holds.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let ([n, _], [m, _]) = (self.queries.dims(), self.others().dims());
        let rows = (PANEL / m.max(1)).clamp(1, n.max(1));
        (0..n).step_by(rows).map(move |first| (first, rows.min(n - first)))
    }

    /// Who is kin and who is a stranger to `count` queries from `first` on.
    fn relations(&self, first: usize, count: usize) -> [Tensor<2>; 2] {
        let [_, m] = self.reference_labels.dims();
        let of_rows = self.query_labels.clone().narrow(0, first, count).expand([count, m]);
        let kin = of_rows.equal(self.reference_labels.clone().expand([count, m])).float();
        let strangers = kin.clone() * -1.0 + 1.0;
        if self.references.is_some() {
            return [kin, strangers];
        }
        // A vector is neither to itself.
        let device = kin.device();
        let rows = Tensor::<1, Int>::arange(first as i64..(first + count) as i64, &device);
        let columns = Tensor::<1, Int>::arange(0..m as i64, &device);
        let rows: Tensor<2, Int> = rows.unsqueeze_dim(1);
        let columns: Tensor<2, Int> = columns.unsqueeze_dim(0);
        let itself = rows.expand([count, m]).equal(columns.expand([count, m]));
        [kin.mask_fill(itself.clone(), 0.0), strangers.mask_fill(itself, 0.0)]
    }
}

/// Evaluates springs of cosine similarities, panel by panel. `None` for reducers that need more than sums over all terms.
pub fn pull_cosine_panels(
    reducer: &Reducer,
    sides: &DeviceSides<'_>,
    springs: impl Fn(Panel) -> PanelPull,
) -> Option<DevicePull> {
    let reducer = sides.reducer.unwrap_or(reducer);
    if !reduces_here(reducer) {
        return None;
    }
    let (queries, reference_side) = (Unit::of(sides.queries.clone()), sides.references.clone().map(Unit::of));
    let references = reference_side.as_ref().unwrap_or(&queries);
    let mut at_queries = Vec::new();
    let mut at_references = references.vectors.zeros_like();
    let mut sums = Tensor::zeros([4], &references.vectors.device());
    for (first, count) in sides.panels() {
        let panel = queries.vectors.clone().narrow(0, first, count);
        let [kin, strangers] = sides.relations(first, count);
        let scores = panel.clone().matmul(references.vectors.clone().transpose());
        let pull = springs(Panel { scores, kin, strangers });
        sums = sums + sums_of(pull.energies, pull.terms, None);
        at_queries.push(pull.forces.clone().matmul(references.vectors.clone()));
        at_references = at_references + pull.forces.transpose().matmul(panel);
    }
    let (figures, scale) = reduced(sums, reducer);
    let scaled = |gradient: Tensor<2>| gradient * scale.clone().reshape([1, 1]);
    let at_queries = Tensor::cat(at_queries, 0);
    let (query_gradient, reference_gradient) = match &reference_side {
        Some(references) => {
            (queries.gradient(scaled(at_queries)), Some(references.gradient(scaled(at_references))))
        }
        None => (queries.gradient(scaled(at_queries + at_references)), None),
    };
    Some(DevicePull { figures, query_gradient, reference_gradient })
}

/// Each query's hardest kin and hardest stranger, among equals the first; but scores that are equal on the CPU may be rounded
/// apart on a device.
pub(crate) fn hardest_triplets(metric: Metric, sides: &DeviceSides<'_>) -> DeviceTriplets {
    let unit = |vectors: Tensor<2>| match metric {
        Metric::Cosine => Unit::of(vectors).vectors,
        _ => vectors,
    };
    let (queries, references) = (unit(sides.queries.clone()), unit(sides.others()));
    let half_square = |vectors: &Tensor<2>| vectors.clone().square().sum_dim(1) / 2.0;
    let of_references = half_square(&references).transpose();
    let mut found: [Vec<Tensor<2, Int>>; 2] = Default::default();
    let mut valid = Vec::new();
    for (first, count) in sides.panels() {
        // The lower, the farther: a·b, or for distances a·b − ‖b‖²/2, which orders a row as −‖a − b‖² does.
        let mut near = queries.clone().narrow(0, first, count).matmul(references.clone().transpose());
        if !metric.larger_is_nearer() {
            near = near - of_references.clone();
        }
        let [kin, strangers] = sides.relations(first, count);
        let only = |near: Tensor<2>, these: &Tensor<2>| {
            near.mask_fill(these.clone().equal_elem(0.0), f32::NEG_INFINITY).argmax(1)
        };
        found[0].push(only(-near.clone(), &kin));
        found[1].push(only(near, &strangers));
        valid.push(kin.sum_dim(1).greater_elem(0.0).float() * strangers.sum_dim(1).greater_elem(0.0).float());
    }
    let [n, _] = queries.dims();
    let [kin, strangers] = found.map(|places| Tensor::cat(places, 0).reshape([n]));
    DeviceTriplets { kin, strangers, valid: Tensor::cat(valid, 0).reshape([n]) }
}

/// Evaluates triplets: `energies` of `[n]` distances to the kin and to the stranger (similarities count as `−s`), and which of
/// these are active, 1 or 0. The gradient is a tape's, over `n × d` values. `None` for reducers as above.
pub(crate) fn pull_device_triplets(
    metric: Metric,
    reducer: &Reducer,
    sides: &DeviceSides<'_>,
    triplets: &DeviceTriplets,
    energies: impl Fn(Tensor<1>, Tensor<1>) -> [Tensor<1>; 2],
) -> Option<DevicePull> {
    let reducer = sides.reducer.unwrap_or(reducer);
    if !reduces_here(reducer) {
        return None;
    }
    let leaf = |vectors: Tensor<2>| Tensor::from_inner(vectors).require_grad();
    let queries = leaf(sides.queries.clone());
    let reference_side = sides.references.clone().map(leaf);
    let others = reference_side.as_ref().unwrap_or(&queries);
    let of = |places: &Tensor<1, Int>| others.clone().select(0, Tensor::from_inner(places.clone()));
    let near = distances(metric, queries.clone(), of(&triplets.kin));
    let far = distances(metric, queries.clone(), of(&triplets.strangers));
    // Where there is no triplet, places are whatever was found first.
    let missing = triplets.valid.clone().equal_elem(0.0);
    let [energies, active] = energies(near, far);
    let energies = energies.mask_fill(Tensor::from_inner(missing.clone()), 0.0);
    let active = active.inner().mask_fill(missing, 0.0);
    let sums = sums_of(energies.clone().inner(), triplets.valid.clone(), Some(active));
    let (figures, scale) = reduced(sums, reducer);
    let gradients = energies.sum().backward();
    let gradient = |side: &Tensor<2>| {
        let found = side.grad(&gradients).unwrap_or_else(|| side.clone().inner().zeros_like());
        found * scale.clone().reshape([1, 1])
    };
    Some(DevicePull {
        figures,
        query_gradient: gradient(&queries),
        reference_gradient: reference_side.as_ref().map(gradient),
    })
}

/// Distances of pairs of rows, `[n]`; similarities count as `−s`.
fn distances(metric: Metric, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let [n, _] = a.dims();
    let sum = |x: Tensor<2>| -> Tensor<1> { x.sum_dim(1).reshape([n]) };
    let unit = |x: Tensor<2>| {
        let (length, zero) = lengths(x.clone());
        (x / length).mask_fill(zero, 0.0)
    };
    match metric {
        Metric::Dot => -sum(a * b),
        Metric::Cosine => {
            let (a, b) = (unit(a), unit(b));
            -sum(a * b)
        }
        Metric::SquaredEuclidean => sum((a - b).square()),
        Metric::Euclidean => {
            let (length, zero) = lengths(a - b);
            length.mask_fill(zero.narrow(1, 0, 1), 0.0).reshape([n])
        }
    }
}

/// `[n, 1]` lengths of rows, 1 in place of 0, so that no root has a slope without end; and `[n, d]`, where they are 0.
fn lengths(x: Tensor<2>) -> (Tensor<2>, Tensor<2, Bool>) {
    let shape = x.dims();
    let square = x.square().sum_dim(1);
    let zero = square.clone().equal_elem(0.0);
    (square.mask_fill(zero.clone(), 1.0).sqrt(), zero.expand(shape))
}

/// Vectors of unit length, and the way back.
struct Unit {
    vectors: Tensor<2>,
    /// `[n, 1]`: 1 over the length; 0 for a zero vector, which scores 0 with everything.
    scale: Tensor<2>,
}

impl Unit {
    fn of(vectors: Tensor<2>) -> Self {
        let (length, zero) = lengths(vectors.clone());
        let scale = length.recip().mask_fill(zero.narrow(1, 0, 1), 0.0);
        Self { vectors: vectors * scale.clone(), scale }
    }

    /// The gradient for the vectors, from that for their directions.
    fn gradient(&self, of_unit: Tensor<2>) -> Tensor<2> {
        let along = (of_unit.clone() * self.vectors.clone()).sum_dim(1);
        (of_unit - self.vectors.clone() * along) * self.scale.clone()
    }
}

/// Whether sums over all terms are enough for a reducer.
fn reduces_here(reducer: &Reducer) -> bool {
    matches!(reducer, Reducer::Mean | Reducer::MeanActive | Reducer::Sum)
}

/// `[4]`: energy, terms, terms above zero, active terms, which are those above zero unless told otherwise.
fn sums_of<const D: usize>(energies: Tensor<D>, terms: Tensor<D>, active: Option<Tensor<D>>) -> Tensor<1> {
    let above = (above_zero(energies.clone()) * terms.clone()).sum();
    let active = active.map_or_else(|| above.clone(), Tensor::sum);
    Tensor::cat(vec![energies.sum(), terms.sum(), above, active], 0)
}

/// 1 where a value is above zero or is not a number, which is to be seen; else 0.
pub(crate) fn above_zero<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.lower_equal_elem(0.0).bool_not().float()
}

/// The figures of a [`DevicePull`], and what the gradient of the summed energies is to be multiplied by.
fn reduced(sums: Tensor<1>, reducer: &Reducer) -> (Tensor<1>, Tensor<1>) {
    let [energy, terms, above, active] = [0, 1, 2, 3].map(|i| sums.clone().narrow(0, i, 1));
    let count = match reducer {
        Reducer::MeanActive => above,
        Reducer::Sum => terms.ones_like(),
        _ => terms.clone(),
    };
    let none = count.clone().equal_elem(0.0);
    let scale = count.mask_fill(none.clone(), 1.0).recip().mask_fill(none, 0.0);
    (Tensor::cat(vec![energy * scale.clone(), terms, active], 0), scale)
}

/// `e^{x − highest}` of each row where `these` is 1, else 0; the highest; and their sum, `[rows, 1]`.
pub(crate) fn panel_exps(x: Tensor<2>, these: Tensor<2>) -> [Tensor<2>; 3] {
    let x = x.mask_fill(these.equal_elem(0.0), f32::NEG_INFINITY);
    // Of a row without any, every e^{−∞ − lowest} is 0.
    let highest = x.clone().max_dim(1).clamp_min(f32::MIN);
    let exps = (x - highest.clone()).exp();
    let sum = exps.clone().sum_dim(1);
    [exps, highest, sum]
}

/// `ln(1 + e^x)` without overflow.
pub(crate) fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let power = (-x.clone().abs()).exp();
    // Shaders have no logarithm near 1 of their own: ln(1 + u) makes nothing of a small u.
    let small = power.clone().lower_elem(1e-3);
    let log = power.clone().log1p().mask_where(small, power.clone() - power.square() / 2.0);
    let sum = x.clone().clamp_min(0.0) + log;
    // At 0 both parts have a kink, and a tape finds a slope of 0 or 1; the tangent there has the function's, 1/2.
    let tangent = x.clone() / 2.0 + LN_2;
    sum.mask_where(x.equal_elem(0.0), tangent)
}
