//! The tuplet margin loss.
//!
//! B. Yu, D. Tao, "Deep Metric Learning with Tuplet Margin Loss", 2019. For an anchor `a`, each of its kin `p` and the
//! strangers `n` of `a`, with the angles `θ` between vectors:
//!
//! ```text
//! ℓ_ap = ln(1 + Σ_n e^{s (cos θ_an − cos(θ_ap − β))})
//! ```
//!
//! one term a pair of kin, also where its anchor has no stranger. The paper's intra-pair variance loss, which it adds, is
//! [`IntraPairVariance`](super::IntraPairVariance).

use nearkin_sweep::{Metric, Relation, Row};

use crate::exps::{exps, sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};

/// The tuplet margin loss. Reduced to the mean over pairs of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TupletMargin {
    /// β in radians
    margin: f64,
    /// s
    scale: f32,
}

impl TupletMargin {
    /// With the slack margin β in degrees and the scale s: 5.73° (0.1 rad) and 64 are the paper's and
    /// pytorch-metric-learning's.
    ///
    /// # Errors
    /// When the margin is not within 0 and 180, or the scale is not above zero.
    pub fn new(margin_in_degrees: f32, scale: f32) -> Result<Self, LossError> {
        let margin = check(
            "margin in degrees",
            margin_in_degrees,
            |m| (0.0..=180.0).contains(&m),
            "within 0 and 180",
        )?;
        Ok(Self {
            margin: f64::from(margin).to_radians(),
            scale: check("scale", scale, |s| s > 0.0, "above zero, and finite")?,
        })
    }

    /// `cos(θ − β)` of kin with `s = cos θ`, and its derivative for `s`. The derivative has no bound as kin coincide, where
    /// their direction is lost: at θ = 0 it counts without the part that grows.
    fn slackened(&self, s: f32) -> (f64, f64) {
        let s = f64::from(s).clamp(-1.0, 1.0);
        let (sin_margin, cos_margin) = self.margin.sin_cos();
        let sin = (1.0 - s * s).sqrt();
        let growing = if sin == 0.0 { 0.0 } else { sin_margin * s / sin };
        (s * cos_margin + sin * sin_margin, cos_margin - growing)
    }
}

impl Loss for TupletMargin {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, Metric::Cosine, &Reducer::Mean, sides)
    }
}

impl Springs for TupletMargin {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Stranger => self.scale * row.scores[j] + row.weight(j).ln(),
                _ => f32::NEG_INFINITY,
            };
        }
        let strangers = exps(forces);
        let log = strangers.log();
        let mut pushed = 0.0;
        let pulls: Vec<(usize, f32)> = row
            .kin()
            .map(|(p, s)| {
                let (slackened, slope) = self.slackened(s);
                let behind = log - f64::from(self.scale) * slackened;
                let c = terms.add_part(0, softplus(behind), row.weight(p));
                let pull = c * self.scale * sigmoid(behind) as f32;
                pushed += pull;
                (p, pull * slope as f32)
            })
            .collect();
        let share = if pushed == 0.0 { 0.0 } else { pushed / strangers.sum as f32 };
        forces.iter_mut().for_each(|x| *x *= share);
        for (p, pull) in pulls {
            forces[p] = -pull;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn hand_worked_kin_at_sixty_degrees() {
        // Kin at 60°, slackened by 15° to cos 45°; the stranger at right angles to the first and at 30° to the second.
        let kin = SameLabel::within(&[0, 0, 1]);
        let points = [1.0, 0.0, 0.5, 0.75f32.sqrt(), 0.0, 2.0];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let found = Loss::pull(&TupletMargin::new(15.0, 4.0).unwrap(), &sides).unwrap();
        let (near, first, second) = (0.5f64.sqrt(), 0.0, 0.75f64.sqrt());
        let wanted = (softplus(4.0 * (first - near)) + softplus(4.0 * (second - near))) / 2.0;
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
        assert_eq!(found.terms, 2);
    }

    #[test]
    fn a_negative_margin_or_scale_is_refused() {
        assert!(TupletMargin::new(-1.0, 64.0).is_err());
        assert!(TupletMargin::new(5.73, 0.0).unwrap_err().to_string().starts_with("scale = 0"));
    }
}
