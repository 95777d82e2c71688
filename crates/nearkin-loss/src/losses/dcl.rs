//! DCL, the decoupled contrastive loss.
//!
//! C.-H. Yeh et al., "Decoupled Contrastive Learning", 2022. For an anchor `i` and each of its kin `p`, with cosine
//! similarities `s` and the strangers `n` of `i`:
//!
//! ```text
//! ℓ_ip = −s_ip/τ + ln Σ_n e^{s_in/τ}
//! ```
//!
//! one term a pair of kin: [`NtXent`](super::NtXent) without the kin in the denominator, so that near kin do not weaken the
//! push of the strangers. Terms may be negative. An anchor without strangers has no term.

use nearkin_sweep::{Metric, Relation, Row};

use super::sharpness;
use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};

/// The decoupled contrastive loss. Reduced to the mean over pairs of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dcl {
    /// 1/τ
    sharpness: f32,
}

impl Dcl {
    /// With temperature τ: 0.1 is lightly's.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)? })
    }

    /// A row whose kin at similarity `s` pull as strongly as `weight(s)` says.
    pub(super) fn weighted_row(
        self,
        row: &Row<'_>,
        terms: &mut Terms<'_>,
        forces: &mut [f32],
        weight: impl Fn(f32) -> f64,
    ) {
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Stranger => self.sharpness * row.scores[j] + row.weight(j).ln(),
                _ => f32::NEG_INFINITY,
            };
        }
        let strangers = exps(forces);
        if strangers.is_empty() {
            return;
        }
        let log = strangers.log();
        let mut pushed = 0.0;
        let pulls: Vec<(usize, f32)> = row
            .kin()
            .map(|(p, s)| {
                let weight = weight(s);
                let energy = log - weight * f64::from(self.sharpness) * f64::from(s);
                let c = terms.add_part(0, energy, row.weight(p)) * self.sharpness;
                pushed += c;
                (p, c * weight as f32)
            })
            .collect();
        let share = if pushed == 0.0 { 0.0 } else { pushed / strangers.sum as f32 };
        forces.iter_mut().for_each(|x| *x *= share);
        for (p, c) in pulls {
            forces[p] = -c;
        }
    }
}

impl Loss for Dcl {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, Metric::Cosine, &Reducer::Mean, sides)
    }
}

impl Springs for Dcl {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        self.weighted_row(row, terms, forces, |_| 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_of_two_samples_in_two_views() {
        // Views of a sample point the same way, samples stand at right angles: ℓ = ln 2 − 1/τ.
        let kin = SameLabel::within(&[0, 1, 0, 1]);
        let points = [1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 1.0];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let found = Loss::pull(&Dcl::new(0.5).unwrap(), &sides).unwrap();
        assert!((found.loss - (2f64.ln() - 2.0)).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 4);
    }

    #[test]
    fn a_batch_without_strangers_has_no_term() {
        let kin = SameLabel::within(&[0, 0]);
        let sides = Sides::within(Vectors::new(&[1.0, 0.0, 0.0, 1.0], 2).unwrap(), &kin);
        let found = Loss::pull(&Dcl::new(0.5).unwrap(), &sides).unwrap();
        assert_eq!(found, Pull::none(&sides));
    }

    #[test]
    fn a_temperature_of_zero_is_refused() {
        assert!(Dcl::new(0.0).is_err());
    }
}
