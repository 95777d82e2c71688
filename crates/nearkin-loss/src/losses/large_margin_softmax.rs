//! The large-margin softmax.
//!
//! W. Liu, Y. Wen, Z. Yu, M. Yang, "Large-Margin Softmax Loss for Convolutional Neural Networks", 2016. With the angle
//! `θ_c` between a sample of class `y` and the vector of class `c`, lengths included:
//!
//! ```text
//! ℓ = −ln( e^{s‖x‖‖w_y‖ψ(θ_y)} / ( e^{s‖x‖‖w_y‖ψ(θ_y)} + Σ_{c≠y} e^{s·x·w_c} ) )
//!
//! ψ(θ) = (−1)^k cos(mθ) − 2k,   k = ⌊mθ/π⌋
//! ```
//!
//! one term a sample. The paper trains with `(λ cos θ + ψ(θ)) / (1 + λ)` in place of ψ, and lets λ fall.

use nearkin_sweep::{Metric, Row, RowSprings, Vectors, pull_rows};

use super::arc_face::check_scale;
use crate::classes::{ProxyInit, Spread, class_vectors, cross_entropy};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};
use crate::tuples::Tuples;

/// The large-margin softmax. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LargeMarginSoftmax {
    margin: u32,
    scale: f32,
    ease: f64,
}

impl Default for LargeMarginSoftmax {
    /// The paper's m = 4, and pytorch-metric-learning's, s = 1.
    fn default() -> Self {
        Self { margin: 4, scale: 1.0, ease: 0.0 }
    }
}

impl LargeMarginSoftmax {
    /// With the margin m, which multiplies angles, and the scale s.
    ///
    /// # Errors
    /// When m is not from 1 to 16, or s not above zero.
    pub fn new(margin: u32, scale: f32) -> Result<Self, LossError> {
        if !(1..=16).contains(&margin) {
            return Err(LossError::OutOfRange {
                name: "margin",
                found: margin.into(),
                wanted: "an integer from 1 to 16",
            });
        }
        Ok(Self { margin, scale: check_scale(scale)?, ease: 0.0 })
    }

    /// With the cosine mixed in, λ times as strong as ψ: 0 is the loss itself, ∞ would be a plain softmax.
    ///
    /// # Errors
    /// When λ is negative or not finite.
    pub fn eased(self, lambda: f32) -> Result<Self, LossError> {
        let lambda = check("lambda", lambda, |l| l >= 0.0, "zero or more, and finite")?;
        Ok(Self { ease: lambda.into(), ..self })
    }

    /// ψ as a function of `cos θ`, and its slope.
    ///
    /// `cos(mθ)` and `sin(mθ)/sin θ` are polynomials of the cosine, Chebyshev's, so nothing is singular where θ is 0 or π.
    fn psi(&self, cos: f64) -> (f64, f64) {
        let m = self.margin;
        // T_n and U_{n−1}, from n = 1 on.
        let (mut t, mut u, mut earlier) = (cos, 1.0, (1.0, 0.0));
        for _ in 1..m {
            let (before, below) = (t, u);
            t = 2.0 * cos * t - earlier.0;
            u = 2.0 * cos * u - earlier.1;
            earlier = (before, below);
        }
        let k = (f64::from(m) * cos.clamp(-1.0, 1.0).acos() / std::f64::consts::PI).floor();
        let sign = if k.rem_euclid(2.0) == 0.0 { 1.0 } else { -1.0 };
        let eased = |psi: f64, cosine: f64| (self.ease * cosine + psi) / (1.0 + self.ease);
        (eased(sign * t - 2.0 * k, cos), eased(sign * f64::from(m) * u, 1.0))
    }

    pub(super) fn pull_weighted(&self, sides: &Sides<'_>, weights: &[f32]) -> Result<Pull, LossError> {
        let classes = class_vectors(sides)?;
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        let (of_samples, of_classes) = (lengths(sides.queries), lengths(classes));
        let springs = Stretched { loss: self, sides, reducer, weights, of_samples, of_classes };
        let (gradients, rows) = pull_rows(sides.queries, sides.references, Metric::Dot, sides.kin, &springs)?;
        let mut total = Tally::default();
        rows.iter().for_each(|(tally, _)| total.add(tally));
        let scale = total.scale(reducer, sides.queries.len());
        let (mut query_gradient, mut reference_gradient) = gradients.scaled(scale);
        let dim = sides.queries.dim();
        let Stretched { of_samples, of_classes, .. } = springs;
        for (i, (_, stretch)) in rows.iter().enumerate() {
            let Some((own, force)) = *stretch else { continue };
            let (force, a, b) = (force * scale, of_samples[i], of_classes[own]);
            let add = |gradient: &mut [f32], at: usize, of: &[f32], slope: f64| {
                let gradient = &mut gradient[at * dim..(at + 1) * dim];
                gradient.iter_mut().zip(of).for_each(|(g, x)| *g += (slope * f64::from(*x)) as f32);
            };
            add(&mut query_gradient, i, sides.queries.row(i), force * b / a);
            add(&mut reference_gradient, own, classes.row(own), force * a / b);
        }
        Ok(Pull {
            loss: total.energy * scale,
            terms: total.terms as usize,
            active: total.active as usize,
            query_gradient,
            reference_gradient,
        })
    }
}

fn lengths(vectors: Vectors<'_>) -> Vec<f64> {
    let length = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    vectors.data().chunks_exact(vectors.dim()).map(length).collect()
}

/// Springs of the dot product, and of the lengths of a sample and its class vector: that of its own class pulls at both.
struct Stretched<'a> {
    loss: &'a LargeMarginSoftmax,
    sides: &'a Sides<'a>,
    reducer: &'a Reducer,
    /// One a sample; empty when all weigh 1.
    weights: &'a [f32],
    of_samples: Vec<f64>,
    of_classes: Vec<f64>,
}

impl RowSprings for Stretched<'_> {
    /// The term, the sample's class vector, and the force on the product of both lengths at a given angle.
    type Kept = (Tally, Option<(usize, f64)>);

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Self::Kept {
        let mut terms = Terms::new(self.reducer, self.sides.kin.label(row.query), [1.0; PARTS]);
        // A sample whose class has no vector has no term.
        let Some((own, dot)) = row.kin().next() else { return (terms.tallies[0], None) };
        let scale = self.loss.scale;
        let lengths = self.of_samples[row.query] * self.of_classes[own];
        let cos = if lengths == 0.0 { 0.0 } else { (f64::from(dot) / lengths).clamp(-1.0, 1.0) };
        let (psi, slope) = self.loss.psi(cos);
        forces.iter_mut().zip(row.scores).for_each(|(x, s)| *x = scale * s);
        forces[own] = (f64::from(scale) * lengths * psi) as f32;
        let energy = cross_entropy(forces, own);
        let weight = self.weights.get(row.query).copied().unwrap_or(1.0);
        let c = terms.add(f64::from(weight) * energy) * weight * scale;
        forces.iter_mut().for_each(|x| *x *= c);
        let pull = f64::from(forces[own]);
        // A vector of zeros has no angle, and so no force.
        forces[own] = if lengths == 0.0 { 0.0 } else { (pull * slope) as f32 };
        // ∂(ab ψ(s/ab))/∂(ab) = ψ − cos θ · ψ'
        let stretch = (lengths != 0.0).then_some((own, pull * (psi - cos * slope)));
        (terms.tallies[0], stretch)
    }
}

impl Loss for LargeMarginSoftmax {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &[])
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &tuples.sample_weights(sides.queries.len(), false))
    }

    fn proxies(&self) -> Option<ProxyInit> {
        Some(ProxyInit { per_class: 1, spread: Spread::Normal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    fn pull(loss: &LargeMarginSoftmax, sample: &[f32]) -> f64 {
        let kin = SameLabel::between(&[1], &[0, 1]);
        let classes = [0.0, 1.0, 2.0, 0.0];
        let sides =
            Sides::between(Vectors::new(sample, 2).unwrap(), Vectors::new(&classes, 2).unwrap(), &kin);
        Loss::pull(loss, &sides).unwrap().loss
    }

    #[test]
    fn a_hand_worked_sample_at_half_a_right_angle() {
        // θ = 45°, m = 3: mθ = 135°, k = 0, ψ = cos 135° = −√½. ‖x‖‖w‖ = √2·2: the logits are −2 and, of the other class, 1.
        let loss = LargeMarginSoftmax::new(3, 1.0).unwrap();
        assert!((pull(&loss, &[1.0, 1.0]) - 3f64.exp().ln_1p()).abs() < 1e-6);
        // Eased with λ = 1: ψ = (√½ − √½)/2 = 0.
        assert!((pull(&loss.eased(1.0).unwrap(), &[1.0, 1.0]) - 1f64.exp().ln_1p()).abs() < 1e-6);
    }

    #[test]
    fn psi_falls_without_a_jump() {
        let loss = LargeMarginSoftmax::default();
        let at = |degrees: f64| loss.psi(degrees.to_radians().cos()).0;
        assert!((at(0.0) - 1.0).abs() < 1e-9 && (at(180.0) + 7.0).abs() < 1e-9);
        for i in 1..1800 {
            let (before, here) = (at(f64::from(i - 1) / 10.0), at(f64::from(i) / 10.0));
            assert!(here < before && before - here < 0.01, "{i}: {before} {here}");
        }
    }

    #[test]
    fn a_margin_of_zero_is_refused() {
        assert!(LargeMarginSoftmax::new(0, 1.0).unwrap_err().to_string().starts_with("margin = 0"));
        assert!(LargeMarginSoftmax::new(4, -1.0).is_err());
        assert!(LargeMarginSoftmax::default().eased(-1.0).is_err());
    }
}
