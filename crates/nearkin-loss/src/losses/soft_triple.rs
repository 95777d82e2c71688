//! The SoftTriple loss.
//!
//! Q. Qian, L. Shang, B. Sun, J. Hu, H. Li, R. Jin, "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling", 2019. With
//! the cosines `s_ck` of a sample of class `y` with the `K` centres of class `c`:
//!
//! ```text
//! S_c = Σ_k q_ck s_ck,   q_ck = e^{s_ck/γ} / Σ_l e^{s_cl/γ}
//!
//! ℓ = −ln( e^{λ(S_y − δ)} / ( e^{λ(S_y − δ)} + Σ_{c≠y} e^{λS_c} ) )
//! ```
//!
//! one term a sample. The regulariser, which lets centres of a class merge, adds for `C` classes with unit centres `w`
//!
//! ```text
//! τ / (C K (K − 1)) · Σ_c Σ_{k<l} ‖w_ck − w_cl‖
//! ```
//!
//! The centres of a class are `K` references in sequence.

use nearkin_sweep::{Metric, Row, Vectors};

use super::sub_center_arc_face::check_centers;
use crate::classes::{ProxyInit, Spread, check_blocks, class_vectors, cross_entropy, pull_classes};
use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::Terms;
use crate::springs::Springs;
use crate::tuples::Tuples;
use crate::unit::Unit;

/// The SoftTriple loss. Reduced to the mean over samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftTriple {
    centers: usize,
    scale: f32,
    gamma: f32,
    margin: f32,
    merging: f32,
}

impl Default for SoftTriple {
    /// The paper's and pytorch-metric-learning's: K = 10, λ = 20, γ = 0.1, δ = 0.01, without the regulariser.
    fn default() -> Self {
        Self { centers: 10, scale: 20.0, gamma: 0.1, margin: 0.01, merging: 0.0 }
    }
}

impl SoftTriple {
    /// With the number of centres a class K, the scale λ, the softness γ among the centres of a class, and the margin δ.
    ///
    /// # Errors
    /// When K is 0, λ or γ not above zero, or δ not finite.
    pub fn new(centers: usize, scale: f32, gamma: f32, margin: f32) -> Result<Self, LossError> {
        Ok(Self {
            centers: check_centers(centers)?,
            scale: check("scale", scale, |s| s > 0.0, "above zero, and finite")?,
            gamma: check("gamma", gamma, |g| g > 1e-30, "above 1e-30, and finite")?,
            margin: check("margin", margin, |_| true, "finite")?,
            merging: 0.0,
        })
    }

    /// With the regulariser of strength τ; the paper's is 0.2.
    ///
    /// # Errors
    /// When τ is negative or not finite.
    pub fn with_merging(self, tau: f32) -> Result<Self, LossError> {
        Ok(Self { merging: check("tau", tau, |t| t >= 0.0, "zero or more, and finite")?, ..self })
    }

    fn pull_weighted(&self, sides: &Sides<'_>, weights: &[f32]) -> Result<Pull, LossError> {
        check_blocks(sides, self.centers)?;
        let mut found = pull_classes(self, Metric::Cosine, sides, weights)?;
        if self.merging > 0.0 && self.centers > 1 {
            self.merge(class_vectors(sides)?, &mut found);
        }
        Ok(found)
    }

    /// Adds the regulariser.
    fn merge(&self, centers: Vectors<'_>, found: &mut Pull) {
        let (dim, k) = (centers.dim(), self.centers);
        let unit = Unit::of(centers);
        let strength = f64::from(self.merging) / (centers.len() * (k - 1)) as f64;
        let mut gradient = vec![0.0f32; centers.data().len()];
        let classes = unit.vectors.chunks_exact(k * dim).zip(gradient.chunks_exact_mut(k * dim));
        for (class, gradient) in classes {
            for (a, b) in (0..k).flat_map(|a| (a + 1..k).map(move |b| (a, b))) {
                let distance =
                    Metric::Euclidean.score(&class[a * dim..(a + 1) * dim], &class[b * dim..(b + 1) * dim]);
                found.loss += strength * f64::from(distance);
                // Centres that have merged stay so.
                let slope = if distance > 0.0 { strength as f32 / distance } else { 0.0 };
                for d in 0..dim {
                    let pull = slope * (class[a * dim + d] - class[b * dim + d]);
                    gradient[a * dim + d] += pull;
                    gradient[b * dim + d] -= pull;
                }
            }
        }
        unit.chain(dim, &mut gradient);
        found.reference_gradient.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
    }
}

impl Loss for SoftTriple {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &[])
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull_weighted(sides, &tuples.sample_weights(sides.queries.len(), false))
    }

    fn proxies(&self) -> Option<ProxyInit> {
        Some(ProxyInit { per_class: self.centers, spread: Spread::UniformByRows })
    }
}

impl Springs for SoftTriple {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let Some((own, _)) = row.kin().next() else { return };
        let own = own / self.centers;
        let soft = 1.0 / self.gamma;
        // Forces become ∂S_c/∂s_ck = q_ck (1 + (s_ck − S_c)/γ).
        let classes = row.scores.chunks(self.centers).zip(forces.chunks_mut(self.centers));
        let similarity = |(scores, slopes): (&[f32], &mut [f32])| {
            slopes.iter_mut().zip(scores).for_each(|(x, s)| *x = soft * s);
            let share = (1.0 / exps(slopes).sum) as f32;
            slopes.iter_mut().for_each(|x| *x *= share);
            let similarity: f32 = slopes.iter().zip(scores).map(|(q, s)| q * s).sum();
            slopes.iter_mut().zip(scores).for_each(|(q, s)| *q *= 1.0 + soft * (s - similarity));
            self.scale * similarity
        };
        let mut logits: Vec<f32> = classes.map(similarity).collect();
        logits[own] -= self.scale * self.margin;
        let c = terms.add(cross_entropy(&mut logits, own)) * self.scale;
        for (slopes, x) in forces.chunks_mut(self.centers).zip(logits) {
            slopes.iter_mut().for_each(|g| *g *= c * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn a_hand_worked_sample_with_two_centres_a_class() {
        // Own class: cosines 1 and 0, γ = 1: S = e/(e + 1). The other: both −1, S = −1.
        let kin = SameLabel::between(&[1], &[0, 0, 1, 1]);
        let (sample, centers) = ([3.0, 0.0], [-1.0, 0.0, -2.0, 0.0, 2.0, 0.0, 0.0, 1.0]);
        let sides =
            Sides::between(Vectors::new(&sample, 2).unwrap(), Vectors::new(&centers, 2).unwrap(), &kin);
        let loss = SoftTriple::new(2, 2.0, 1.0, 0.5).unwrap();
        let e = 1f64.exp();
        let wanted = (2.0 * (-1.0 - (e / (e + 1.0) - 0.5))).exp().ln_1p();
        let found = Loss::pull(&loss, &sides).unwrap().loss;
        assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        // Distances of centres: 0 and √2, times τ / (2·2·1).
        let found = Loss::pull(&loss.with_merging(0.2).unwrap(), &sides).unwrap().loss;
        assert!((found - wanted - 0.05 * 2f64.sqrt()).abs() < 1e-6, "{found}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(SoftTriple::new(0, 20.0, 0.1, 0.01).is_err());
        assert!(SoftTriple::new(10, 20.0, 0.0, 0.01).unwrap_err().to_string().starts_with("gamma = 0"));
        assert!(SoftTriple::default().with_merging(f32::NAN).is_err());
    }
}
