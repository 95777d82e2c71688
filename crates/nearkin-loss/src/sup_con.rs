//! SupCon, the supervised contrastive loss.
//!
//! P. Khosla et al., "Supervised Contrastive Learning", 2020, eq. 2 (`L_out`). For an anchor `i` with kin `P(i)`, cosine
//! similarities `s` and all others `a ≠ i` in the denominator:
//!
//! ```text
//! ℓ_i = −1/|P(i)| Σ_{p ∈ P(i)} ln( e^{s_ip/τ} / Σ_a e^{s_ia/τ} )
//! ```
//!
//! averaged over the anchors that have kin.

use nearkin_sweep::{
    Kin, Metric, Pull, Reduction, Relation, Settled, Springs, SweepError, Tile, Vectors, exp, pull,
};

use crate::loss::{Loss, LossError};
use crate::nt_xent::sharpness;

/// The SupCon loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SupCon {
    /// 1/τ
    sharpness: f32,
}

impl SupCon {
    /// With temperature τ; the paper uses 0.1.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)? })
    }
}

impl Loss for SupCon {
    fn pull(
        &self,
        queries: Vectors<'_>,
        references: Option<Vectors<'_>>,
        kin: &dyn Kin,
    ) -> Result<Pull, SweepError> {
        pull(queries, references, Metric::Cosine, kin, self, Reduction::Mean)
    }
}

/// What SupCon must know of a row.
#[derive(Debug)]
pub struct Partition {
    /// The highest `s/τ` so far.
    highest: f32,
    /// `Σ_a e^{s_a/τ − highest}`.
    sum: f64,
    /// `Σ_p s_p/τ`.
    kin_sum: f64,
    /// `|P|`
    kin: usize,
}

impl Default for Partition {
    fn default() -> Self {
        Self { highest: f32::NEG_INFINITY, sum: 0.0, kin_sum: 0.0, kin: 0 }
    }
}

impl Partition {
    /// `ln Σ_a e^{s_a/τ}`
    fn log_sum(&self) -> f64 {
        f64::from(self.highest) + self.sum.ln()
    }
}

impl Springs for SupCon {
    type Row = Partition;

    fn observe(&self, tile: Tile<'_>, scores: &[f32], row: &mut Partition) {
        let logits = || scores.iter().map(|s| s * self.sharpness).zip(tile.relations);
        let others = logits().filter(|(_, r)| **r != Relation::Excluded).map(|(x, _)| x);
        let highest = others.fold(row.highest, f32::max);
        if highest == f32::NEG_INFINITY {
            return;
        }
        let mut sum = 0.0;
        for (x, relation) in logits() {
            // A branch would keep the loop from running in vectors.
            sum += exp(x - highest) * f32::from(u8::from(*relation != Relation::Excluded));
            if *relation == Relation::Kin {
                row.kin_sum += f64::from(x);
                row.kin += 1;
            }
        }
        row.sum = row.sum * f64::from(row.highest - highest).exp() + f64::from(sum);
        row.highest = highest;
    }

    fn settle(&self, row: &Partition) -> Settled {
        if row.kin == 0 {
            return Settled::default();
        }
        let energy = row.log_sum() - row.kin_sum / row.kin as f64;
        Settled { energy, terms: 1, active: usize::from(energy > 0.0 || energy.is_nan()) }
    }

    fn force(&self, tile: Tile<'_>, row: &Partition, scores: &mut [f32]) {
        if row.kin == 0 {
            return scores.fill(0.0);
        }
        // ∂ℓ/∂s_a = (share of a − 1/|P| if a is kin) / τ
        let (log_sum, pull) = (row.log_sum() as f32, self.sharpness / row.kin as f32);
        for (s, relation) in scores.iter_mut().zip(tile.relations) {
            let push = self.sharpness * exp(*s * self.sharpness - log_sum);
            *s = match relation {
                Relation::Stranger => push,
                Relation::Kin => push - pull,
                Relation::Excluded => 0.0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    fn loss(points: &[f32], labels: &[u32], temperature: f32) -> Pull {
        let v = Vectors::new(points, 2).unwrap();
        SupCon::new(temperature).unwrap().pull(v, None, &SameLabel::within(labels)).unwrap()
    }

    #[test]
    fn a_hand_worked_batch_of_two_classes_at_right_angles() {
        // Each anchor: one kin at similarity 1, two strangers at 0: ℓ = ln(e^{1/τ} + 2) − 1/τ.
        let found = loss(&[2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 3.0], &[0, 0, 1, 1], 0.5);
        assert!((found.loss - ((2f64).exp() + 2.0).ln() + 2.0).abs() < 1e-6, "{}", found.loss);
    }

    #[test]
    fn anchors_without_kin_have_no_term_but_stand_in_denominators() {
        let points = [1.0, 0.0, 1.0, 0.1, 0.3, 1.0];
        let found = loss(&points, &[0, 0, 1], 0.2);
        assert_eq!(found.terms, 2);
        assert!(found.query_gradient[4..].iter().any(|g| *g != 0.0));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let points = [0.9, 0.1, -0.4, 0.3, 0.8, -0.2, -0.7, 0.5, 0.2, 0.6];
        let labels = [0, 1, 0, 1, 1];
        let found = loss(&points, &labels, 0.3);
        for i in 0..points.len() {
            let at = |h: f32| {
                let mut moved = points;
                moved[i] += h;
                loss(&moved, &labels, 0.3).loss
            };
            let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((slope - f64::from(found.query_gradient[i])).abs() < 2e-3, "{i}: {slope}");
        }
    }
}
