//! Sums of exponentials that neither overflow nor underflow: what soft maxima are made of.

use nearkin_sweep::{exp, max, sum, wide};

/// `Σ_j e^{x_j}`, held as `e^highest · sum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exps {
    /// The highest exponent; −∞ when there is none.
    pub highest: f64,
    /// `Σ_j e^{x_j − highest}`; 0 when there is none.
    pub sum: f64,
}

impl Exps {
    /// `ln Σ_j e^{x_j}`; −∞ when there is none.
    pub fn log(&self) -> f64 {
        self.highest + self.sum.ln()
    }

    /// `ln(1 + Σ_j e^{x_j})`, and how much of it each `e^{x_j − highest}` is worth: `∂/∂x_j = share · e^{x_j − highest}`.
    pub fn log_with_one(&self) -> (f64, f64) {
        if self.sum == 0.0 {
            return (0.0, 0.0);
        }
        let log = softplus(self.log());
        (log, (self.highest - log).exp())
    }

    /// Together with another sum: `ln(Σ + Σ')`.
    pub fn log_with(&self, other: &Exps) -> f64 {
        let (a, b) = (self.log(), other.log());
        if a == f64::NEG_INFINITY { b } else { a + softplus(b - a) }
    }

    /// Whether nothing was added up.
    pub fn is_empty(&self) -> bool {
        self.sum == 0.0
    }
}

/// `ln(1 + e^x)` without overflow.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p() + if x.is_nan() { x } else { 0.0 }
}

/// `1 / (1 + e^{−x})`
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Turns exponents `x_j` into `e^{x_j − highest}`, in place, and adds these up. −∞ stands for a pair that takes no part.
///
/// `∂ log Σ/∂x_j` is then the value left in place `j` over `sum`.
pub fn exps(exponents: &mut [f32]) -> Exps {
    wide(
        #[inline(always)]
        || {
            let highest = max(exponents);
            if highest == f32::NEG_INFINITY {
                // None takes part, or none is a number, which must not go unseen.
                let unseen = exponents.iter().any(|x| x.is_nan());
                exponents.fill(0.0);
                return Exps { highest: f64::NEG_INFINITY, sum: if unseen { f64::NAN } else { 0.0 } };
            }
            exponents.iter_mut().for_each(|x| *x = exp(*x - highest));
            Exps { highest: highest.into(), sum: sum(exponents) }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_of_sums_agree_with_the_formula_and_survive_extremes() {
        let mut x = [1.0f32, -2.0, f32::NEG_INFINITY, 3.5];
        let wanted = [1.0f64, -2.0, 3.5].iter().map(|x| x.exp()).sum::<f64>();
        let found = exps(&mut x);
        assert!((found.log() - wanted.ln()).abs() < 1e-6);
        assert!((found.log_with_one().0 - (1.0 + wanted).ln()).abs() < 1e-6);
        assert!((found.log_with(&found) - (2.0 * wanted).ln()).abs() < 1e-6);
        assert_eq!(x[2], 0.0);
        let huge = exps(&mut [1e30, 1e30]);
        assert!((huge.log() - 1e30).abs() < 1e24);
        let none = exps(&mut [f32::NEG_INFINITY; 3]);
        assert!(none.is_empty() && none.log_with_one() == (0.0, 0.0));
        assert!(exps(&mut [f32::NAN, 1.0]).log().is_nan());
        assert!(exps(&mut [f32::NAN]).log().is_nan() && softplus(f64::NAN).is_nan());
    }

    /// Zeros, denormals, infinities, what is not a number, and the usual.
    fn adversarial(n: usize, seed: usize) -> Vec<f32> {
        let special = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, 1e30, -1e30, f32::NEG_INFINITY];
        let value = |i: usize| match (i * 7 + seed) % 23 {
            k if k < special.len() => special[k],
            k => (k as f32 - 14.0) * 1.37 + i as f32 * 1e-3,
        };
        (0..n).map(value).collect()
    }

    #[test]
    fn the_widest_instructions_and_plain_ones_give_the_same_bits() {
        for n in 1..=1025 {
            for seed in 0..3 {
                let mut values = adversarial(n, seed);
                if seed == 2 {
                    values[n / 2] = if n % 2 == 0 { f32::NAN } else { f32::INFINITY };
                }
                let (mut wide, mut plain) = (values.clone(), values.clone());
                let highest = max(&plain);
                let found = exps(&mut wide);
                // The same steps without the dispatch.
                if highest == f32::NEG_INFINITY {
                    continue;
                }
                plain.iter_mut().for_each(|x| *x = exp(*x - highest));
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                assert_eq!(bits(&wide), bits(&plain), "{n} {seed}");
                assert_eq!(found.sum.to_bits(), sum(&plain).to_bits(), "{n} {seed}");
            }
        }
    }
}
