//! Walks over the parameters of a module and their gradients.
//!
//! Every walk visits parameters in the order of the module's fields, so that sums and fingerprints
//! are the same in every run.

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;

use crate::kernels::is_flex_f32;

/// Names of buffers that are stored with a module but not learned.
pub(crate) const BUFFERS: [&str; 2] = ["running_mean", "running_var"];

/// Learned values of a module; running statistics do not count.
pub fn param_count<M: Module>(module: &M) -> usize {
    #[derive(Default)]
    struct Count {
        name: Vec<String>,
        values: usize,
    }
    impl ModuleVisitor for Count {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.name.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.name.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if !self.name.last().is_some_and(|name| BUFFERS.contains(&name.as_str())) {
                self.values += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count::default();
    module.visit(&mut count);
    count.values
}

/// BLAKE3 hash, in hexadecimal, of the names, shapes and exact bits of all float parameters and
/// running statistics: equal for two modules exactly if these are.
pub fn fingerprint<M: Module>(module: &M) -> String {
    #[derive(Default)]
    struct Hash {
        name: Vec<String>,
        hasher: blake3::Hasher,
    }
    impl ModuleVisitor for Hash {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.name.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.name.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            let head = format!("{}:{:?}:{:?};", self.name.join("."), data.dtype(), param.dims());
            self.hasher.update(head.as_bytes());
            self.hasher.update(data.as_bytes());
        }
    }
    let mut hash = Hash::default();
    module.visit(&mut hash);
    hash.hasher.finalize().to_hex().to_string()
}

/// Euclidean norm of all gradients together, `√ Σ g²`, for a log or for clipping.
///
/// Parameters without a gradient count as zero. On the CPU the sum is f64 in a fixed order.
pub fn grad_norm<M: Module>(module: &M, grads: &GradientsParams) -> f64 {
    struct Norm<'a> {
        grads: &'a GradientsParams,
        here: f64,
        /// Sum that stays on another device, to read it back once.
        there: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Norm<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(grad) = self.grads.get::<D>(param.id) else {
                return;
            };
            if is_flex_f32(&grad) {
                let data = grad.into_data();
                self.here += data.as_slice::<f32>().map_or(f64::NAN, sum_of_squares);
            } else {
                let sum = grad.square().sum();
                self.there = Some(match self.there.take() {
                    Some(total) => total + sum,
                    None => sum,
                });
            }
        }
    }
    let mut norm = Norm { grads, here: 0.0, there: None };
    module.visit(&mut norm);
    let there = norm.there.map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()));
    (norm.here + there).sqrt()
}

/// `Σ v²` in f64: eight partial sums, added in a fixed order.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (whole, rest) = values.as_chunks::<8>();
    for chunk in whole {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    let tail: f64 = rest.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    lanes.iter().sum::<f64>() + tail
}

/// Multiplies every gradient of a module by one factor.
pub fn scale_grads<M: Module>(module: &M, grads: &mut GradientsParams, factor: f64) {
    struct Scale<'a> {
        grads: &'a mut GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.remove::<D>(param.id) {
                self.grads.register(param.id, grad.mul_scalar(self.factor));
            }
        }
    }
    module.visit(&mut Scale { grads, factor });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::layers::BatchNorm;

    /// Gradients 3 (γ) and 4 (β) on a normalisation of one channel.
    fn example() -> (BatchNorm, GradientsParams) {
        let device = Device::flex().autodiff();
        let norm = BatchNorm::new(1, &Init::new(&device, 0));
        let loss = norm.gamma.val().mul_scalar(3.0) + norm.beta.val().mul_scalar(4.0);
        let grads = GradientsParams::from_grads(loss.backward(), &norm);
        (norm, grads)
    }

    #[test]
    fn the_norm_of_three_and_four_is_five_and_scales() {
        let (norm, mut grads) = example();
        assert_eq!(grad_norm(&norm, &grads), 5.0);
        scale_grads(&norm, &mut grads, 0.5);
        assert_eq!(grad_norm(&norm, &grads), 2.5);
        assert_eq!(grad_norm(&norm, &GradientsParams::new()), 0.0);
    }

    #[test]
    fn sums_of_squares_match_the_plain_sum() {
        let values: Vec<f32> = (0..29).map(|v| v as f32 / 4.0).collect();
        let plain: f64 = values.iter().map(|v| f64::from(v * v)).sum();
        assert_eq!(sum_of_squares(&values), plain);
    }

    #[test]
    fn running_statistics_are_fingerprinted_but_not_counted() {
        let (norm, _) = example();
        assert_eq!(param_count(&norm), 2);
        assert_eq!(param_count(&norm.valid()), 2);
        let before = fingerprint(&norm);
        norm.forward(Tensor::<2>::from_floats([[1.0], [2.0]], &Device::flex().autodiff()));
        assert_ne!(fingerprint(&norm), before);
    }
}
