//! NT-Xent, the normalised temperature-scaled cross entropy.
//!
//! T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A Simple Framework for Contrastive Learning of Visual
//! Representations", 2020, eq. 1. For an anchor `i` and each of its kin `p`, with cosine similarities `s` and the
//! strangers `n` of `i`:
//!
//! ```text
//! ℓ_ip = −ln( e^{s_ip/τ} / ( e^{s_ip/τ} + Σ_n e^{s_in/τ} ) )
//! ```
//!
//! averaged over all pairs. With two views a sample each anchor has one kin and this is SimCLR's loss; with labels it
//! is pytorch-metric-learning's `NTXentLoss`, where other kin do not stand in the denominator.

use nearkin_sweep::{
    Kin, Metric, Pull, Reduction, Relation, Settled, Springs, SweepError, Tile, Vectors, exp, pull,
};

use crate::loss::{Loss, LossError};

/// The NT-Xent loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NtXent {
    /// 1/τ
    sharpness: f32,
}

impl NtXent {
    /// With temperature τ: 0.07 is pytorch-metric-learning's default, 0.5 SimCLR's for CIFAR-10 and lightly's.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)? })
    }
}

/// `1/τ` of a temperature in range.
pub(crate) fn sharpness(temperature: f32) -> Result<f32, LossError> {
    let sharpness = 1.0 / temperature;
    if temperature > 0.0 && sharpness < 1e30 {
        Ok(sharpness)
    } else {
        Err(LossError::OutOfRange { name: "temperature", found: temperature.into(), wanted: "above 1e-30" })
    }
}

impl Loss for NtXent {
    fn pull(
        &self,
        queries: Vectors<'_>,
        references: Option<Vectors<'_>>,
        kin: &dyn Kin,
    ) -> Result<Pull, SweepError> {
        pull(queries, references, Metric::Cosine, kin, self, Reduction::Mean)
    }
}

/// What NT-Xent must know of a row.
#[derive(Debug)]
pub struct Competition {
    /// `s_p/τ` of each kin.
    kin: Vec<f32>,
    /// The highest `s_n/τ` so far.
    highest: f32,
    /// `Σ_n e^{s_n/τ − highest}`.
    strangers: f64,
}

impl Default for Competition {
    fn default() -> Self {
        Self { kin: Vec::new(), highest: f32::NEG_INFINITY, strangers: 0.0 }
    }
}

impl Competition {
    /// `ln Σ_n e^{s_n/τ}`
    fn log_strangers(&self) -> f64 {
        f64::from(self.highest) + self.strangers.ln()
    }

    /// The terms of the row: of each kin `(ℓ_p, e^{−ℓ_p})`; none without a stranger.
    fn terms(&self) -> impl Iterator<Item = (f64, f64)> {
        let log_strangers = self.log_strangers();
        let kin = if self.strangers > 0.0 { &self.kin[..] } else { &[] };
        kin.iter().map(move |s| term(log_strangers, *s))
    }
}

impl Springs for NtXent {
    type Row = Competition;

    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut Competition) {
        let logits = || scores.iter().map(|s| s * self.sharpness).zip(tile.relations);
        let strangers = logits().filter(|(_, r)| **r == Relation::Stranger).map(|(x, _)| x);
        let highest = strangers.fold(row.highest, f32::max);
        if highest > f32::NEG_INFINITY {
            let mut sum = 0.0;
            for (x, relation) in logits() {
                // A branch would keep the loop from running in vectors.
                sum += exp(x - highest) * f32::from(u8::from(*relation == Relation::Stranger));
            }
            row.strangers = row.strangers * f64::from(row.highest - highest).exp() + f64::from(sum);
            row.highest = highest;
        }
        row.kin.extend(logits().filter(|(_, r)| **r == Relation::Kin).map(|(x, _)| x));
    }

    fn settle(&self, row: &Competition) -> Settled {
        let mut settled = Settled::default();
        for (energy, _) in row.terms() {
            settled.energy += energy;
            settled.terms += 1;
            settled.active += usize::from(energy > 0.0 || energy.is_nan());
        }
        settled
    }

    fn force(&self, tile: Tile<'_>, row: &Competition, scores: &mut [f32]) {
        if row.strangers == 0.0 {
            return scores.fill(0.0);
        }
        let log_strangers = row.log_strangers();
        // With q_p = e^{−ℓ_p} the share of kin p: ∂/∂s_p = (q_p − 1)/τ and ∂/∂s_n = Σ_p (1 − q_p) e^{s_n/τ} / (τ Σ).
        let pushed: f64 = row.terms().map(|(_, share)| 1.0 - share).sum();
        let push = f64::from(self.sharpness) * pushed;
        for (s, relation) in scores.iter_mut().zip(tile.relations) {
            let logit = *s * self.sharpness;
            *s = match relation {
                Relation::Stranger => push as f32 * exp(logit - log_strangers as f32),
                Relation::Excluded => 0.0,
                Relation::Kin => {
                    let (_, share) = term(log_strangers, logit);
                    (f64::from(self.sharpness) * (share - 1.0)) as f32
                }
            };
        }
    }
}

/// `(ℓ_p, e^{−ℓ_p})` of a kin with logit `s_p/τ`, where `ℓ = ln(1 + e^x)` and `x = ln Σ_n e^{s_n/τ} − s_p/τ`.
fn term(log_strangers: f64, logit: f32) -> (f64, f64) {
    let x = log_strangers - f64::from(logit);
    let energy = x.max(0.0) + (-x.abs()).exp().ln_1p();
    (energy, (-energy).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    fn pull(points: &[f32], labels: &[u32], temperature: f32) -> Pull {
        let v = Vectors::new(points, 2).unwrap();
        NtXent::new(temperature).unwrap().pull(v, None, &SameLabel::within(labels)).unwrap()
    }

    #[test]
    fn a_hand_worked_batch_of_two_samples_in_two_views() {
        // Kin coincide, strangers are orthogonal: ℓ = ln(1 + 2 e^{−1/τ}).
        let points = [2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 3.0];
        let found = pull(&points, &[0, 0, 1, 1], 0.5);
        assert!((found.loss - (2.0 * (-2f64).exp()).ln_1p()).abs() < 1e-6, "{}", found.loss);
        assert_eq!((found.terms, found.active), (4, 4));
    }

    #[test]
    fn a_tiny_temperature_neither_overflows_nor_loses_the_gradient() {
        let points = [1.0, 0.1, -1.0, 0.1, 1.0, 0.2, -1.0, 0.3];
        let found = pull(&points, &[0, 0, 1, 1], 0.001);
        // Opposite kin, coinciding strangers: about (s_n − s_p)/τ ≈ 2,000.
        assert!(found.loss > 1000.0 && found.loss.is_finite());
        assert!(found.query_gradient.iter().all(|g| g.is_finite()));
        assert!(found.query_gradient.iter().any(|g| *g != 0.0));
    }

    #[test]
    fn one_class_or_no_kin_is_no_loss() {
        let points = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        for labels in [[0, 0, 0], [0, 1, 2]] {
            let found = pull(&points, &labels, 0.1);
            assert_eq!((found.loss, found.terms), (0.0, 0));
            assert!(found.query_gradient.iter().all(|g| *g == 0.0));
        }
    }

    #[test]
    fn a_temperature_of_zero_is_refused() {
        assert!(NtXent::new(0.0).is_err() && NtXent::new(-1.0).is_err() && NtXent::new(f32::NAN).is_err());
    }
}
