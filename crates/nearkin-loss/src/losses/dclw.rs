//! DCLW, the decoupled contrastive loss with weights.
//!
//! C.-H. Yeh et al., "Decoupled Contrastive Learning", 2022. As [`Dcl`], but kin that lie far apart pull more:
//!
//! ```text
//! ℓ_ip = −w_ip s_ip/τ + ln Σ_n e^{s_in/τ},   w_ip = 2 − e^{s_ip/σ} / mean over all pairs of kin of e^{s/σ}
//! ```
//!
//! one term a pair of kin. The weights are constants: no gradient flows through them.

use nearkin_sweep::{Metric, Row, map_rows};

use super::{Dcl, sharpness};
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};

/// The decoupled contrastive loss with von Mises–Fisher weights. Reduced to the mean over pairs of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dclw {
    unweighted: Dcl,
    /// 1/σ
    steepness: f32,
}

impl Dclw {
    /// With temperature τ and the width σ of the weights: 0.1 and 0.5 are lightly's.
    ///
    /// # Errors
    /// When τ or σ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32, sigma: f32) -> Result<Self, LossError> {
        let wanted = "above 1e-30";
        let steepness = sharpness(sigma).map_err(|_| LossError::OutOfRange {
            name: "sigma",
            found: sigma.into(),
            wanted,
        })?;
        Ok(Self { unweighted: Dcl::new(temperature)?, steepness })
    }
}

impl Loss for Dclw {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let steepness = f64::from(self.steepness);
        let &Sides { queries, references, kin, .. } = sides;
        // Relative to the nearest kin of all, e^{s/σ} cannot overflow.
        let nearest = map_rows(queries, references, Metric::Cosine, kin, |row, _| {
            row.kin().map(|(_, s)| s).fold(f32::NEG_INFINITY, f32::max)
        })?;
        let nearest = f64::from(nearest.into_iter().fold(f32::NEG_INFINITY, f32::max));
        let share = |s: f32| (steepness * (f64::from(s) - nearest)).exp();
        let rows = map_rows(queries, references, Metric::Cosine, kin, |row, _| {
            row.kin().fold([0.0; 2], |[sum, count], (p, s)| {
                let weight = f64::from(row.weight(p));
                [sum + weight * share(s), count + weight]
            })
        })?;
        let [sum, count] = rows.iter().fold([0.0; 2], |[a, b], [sum, count]| [a + sum, b + count]);
        let weight = move |s: f32| 2.0 - share(s) * count / sum;
        pull_springs(&Weighted { loss: self.unweighted, weight }, Metric::Cosine, &Reducer::Mean, sides)
    }
}

/// The loss with its weights found.
struct Weighted<W> {
    loss: Dcl,
    weight: W,
}

impl<W: Fn(f32) -> f64 + Sync> Springs for Weighted<W> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        self.loss.weighted_row(row, terms, forces, &self.weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_batch_of_two_samples_in_two_views() {
        // One sample's views coincide, the other's stand at right angles; across samples the cosines are 0, 0 and 1, 1.
        let kin = SameLabel::within(&[0, 1, 0, 1]);
        let points = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let found = Loss::pull(&Dclw::new(0.5, 0.5).unwrap(), &sides).unwrap();
        let e = 2f64.exp();
        let near = 2.0 - 2.0 * e / (e + 1.0);
        // The first sample's anchors see strangers at 1 and 0; the second's at 1, 1 and at 0, 0. Kin at 0 pull with nothing.
        let wanted = (2.0 * ((e + 1.0).ln() - near * 2.0) + (2.0 * e).ln() + 2f64.ln()) / 4.0;
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
    }

    #[test]
    fn a_width_of_zero_is_refused() {
        assert!(Dclw::new(0.1, 0.0).unwrap_err().to_string().starts_with("sigma = 0"));
    }
}
