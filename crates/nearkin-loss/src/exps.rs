//! Sums of exponentials that neither overflow nor underflow: what soft maxima are made of.

use nearkin_sweep::{Relation, exp, max, sum, wide};

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

    /// `1 / sum`: what each `e^{x_j − highest}` is to be multiplied by for `∂ log Σ/∂x_j`; 0 when there is none.
    pub(crate) fn share(&self) -> f64 {
        if self.sum == 0.0 { 0.0 } else { 1.0 / self.sum }
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

/// Values of a row that are told apart at once.
const TILE: usize = 256;

/// As [`exps`], of the kin and of the strangers of a row apart: each `x_j` becomes `e^{x_j − highest}` with the highest of its
/// own relation, and 0 where no spring joins the pair.
pub(crate) fn exps_apart(exponents: &mut [f32], relations: &[Relation]) -> [Exps; 2] {
    const APART: [Relation; 2] = [Relation::Kin, Relation::Stranger];
    wide(|| {
        let mut highest = [f32::NEG_INFINITY; 2];
        for (x, relations) in exponents.chunks(TILE).zip(relations.chunks(TILE)) {
            for (highest, wanted) in highest.iter_mut().zip(APART) {
                let mut tile = [f32::NEG_INFINITY; TILE];
                for ((t, x), relation) in tile.iter_mut().zip(x).zip(relations) {
                    *t = if *relation == wanted { *x } else { f32::NEG_INFINITY };
                }
                *highest = max(&tile).max(*highest);
            }
        }
        // Where none takes part, anything finite will do.
        let base = highest.map(|x| if x == f32::NEG_INFINITY { 0.0 } else { x });
        let mut sums = [0.0; 2];
        for (x, relations) in exponents.chunks_mut(TILE).zip(relations.chunks(TILE)) {
            let mut tiles = [[0.0; TILE]; 2];
            let [kin, strangers] = &mut tiles;
            for (((x, relation), kin), stranger) in x.iter_mut().zip(relations).zip(kin).zip(strangers) {
                let is_kin = *relation == Relation::Kin;
                let e = exp(*x - if is_kin { base[0] } else { base[1] });
                *kin = if is_kin { e } else { 0.0 };
                *stranger = if *relation == Relation::Stranger { e } else { 0.0 };
                *x = *kin + *stranger;
            }
            sums.iter_mut().zip(&tiles).for_each(|(total, tile)| *total += sum(tile));
        }
        [0, 1].map(|i| Exps { highest: highest[i].into(), sum: sums[i] })
    })
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

    #[test]
    fn kin_and_strangers_apart_are_what_each_is_alone() {
        let relation = |j: usize| [Relation::Kin, Relation::Stranger, Relation::Excluded][j * j % 3];
        let relations: Vec<Relation> = (0..700).map(relation).chain([Relation::Stranger]).collect();
        let x: Vec<f32> =
            (0..701).map(|j| (j * 37 % 101) as f32 * 0.5 - if j % 3 == 0 { 300.0 } else { 0.0 }).collect();
        let mut together = x.clone();
        let found = exps_apart(&mut together, &relations);
        for (found, wanted) in found.iter().zip([Relation::Kin, Relation::Stranger]) {
            let only = |(x, r): (&f32, &Relation)| if *r == wanted { *x } else { f32::NEG_INFINITY };
            let mut alone: Vec<f32> = x.iter().zip(&relations).map(only).collect();
            let wanted_sum = exps(&mut alone);
            assert_eq!(found.highest, wanted_sum.highest);
            assert!((found.sum - wanted_sum.sum).abs() < 1e-5 * wanted_sum.sum);
            for ((found, alone), relation) in together.iter().zip(&alone).zip(&relations) {
                assert!(*relation != wanted || found == alone);
            }
        }
        let [none, strangers] = exps_apart(&mut [1.0, f32::NAN], &[Relation::Stranger; 2]);
        assert!(none.is_empty() && none.log() == f64::NEG_INFINITY && none.share() == 0.0);
        assert!(strangers.log().is_nan());
    }
}
