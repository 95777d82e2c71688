//! One file a loss of joint-embedding methods that have no strangers: formulas of two views' vectors as tensor operations, which
//! Burn differentiates.
//!
//! Against collapse each does something else: a predictor and a twin ([`Regression`], whose other half is the method's), columns
//! that are decorrelated ([`BarlowTwins`], [`Vicreg`]) or whitened ([`WhiteningMse`]), codes that fill all prototypes
//! ([`Swapped`] with [`sinkhorn`]), or centring and sharpening ([`Distillation`]).

mod barlow_twins;
mod distillation;
mod regression;
mod swapped;
mod vicreg;
mod whitening_mse;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

pub use barlow_twins::BarlowTwins;
pub use distillation::Distillation;
pub use regression::{Regression, smooth_l1};
pub use swapped::{Swapped, sinkhorn};
pub use vicreg::Vicreg;
pub use whitening_mse::WhiteningMse;

/// The cross entropy of scores, `−ln softmax(s)_y`, in the mean over rows: a plain classifier's.
///
/// # Shapes
/// - `scores`: `[n, classes]`, and a class a row
pub fn cross_entropy(scores: Tensor<2>, classes: &[u32]) -> Tensor<1> {
    let [n, _] = scores.dims();
    let own: Vec<i64> = classes.iter().map(|&class| class.into()).collect();
    let own = Tensor::from_data(TensorData::new(own, [n, 1]), &scores.device());
    log_softmax(scores, 1).gather(1, own).sum().neg() / n as f64
}

/// `Σ x`, row by row: the backend's sum of a whole large tensor has no fixed order.
fn total(x: Tensor<2>) -> Tensor<1> {
    x.sum_dim(1).sum()
}

/// Rows of unit length; a row of zeros stays one.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}

/// Without a gradient, among tensors that have one.
fn fixed(x: Tensor<2>) -> Tensor<2> {
    Tensor::from_inner(x.without_autodiff())
}

/// Columns less their means.
fn centred(x: Tensor<2>) -> Tensor<2> {
    let mean = x.clone().mean_dim(0);
    x - mean
}

/// `Σ_{i ≠ j} c_ij²` of a square matrix.
fn off_diagonal(c: Tensor<2>) -> Tensor<1> {
    let [d, _] = c.dims();
    let diagonal = c.clone() * Tensor::eye(d, &c.device());
    total(c.square()) - total(diagonal.square())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use burn::tensor::{Device, TensorData};

    /// Values that look like noise.
    pub fn noise(n: usize, d: usize, seed: usize) -> Tensor<2> {
        let value = |i: usize| ((i + 31 * seed + 1) * 2_654_435_761 % 1009) as f32 / 504.0 - 1.0;
        let values: Vec<f32> = (0..n * d).map(value).collect();
        Tensor::from_data(TensorData::new(values, [n, d]), &Device::flex().autodiff())
    }

    pub fn of(rows: &[&[f32]]) -> Tensor<2> {
        let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
        Tensor::from_data(data, &Device::flex().autodiff())
    }

    pub fn value(x: Tensor<1>) -> f64 {
        f64::from(x.into_scalar::<f32>())
    }

    pub fn close(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-4 * wanted.abs().max(1.0), "{found} for {wanted}");
    }
}
