//! SupCon, the supervised contrastive loss.
//!
//! P. Khosla et al., "Supervised Contrastive Learning", 2020, eq. 2 (`L_out`). For an anchor `i` with kin `P`, and `A` all
//! others, kin and strangers, with cosine similarities `s`:
//!
//! ```text
//! ℓ_i = −(1/|P|) Σ_{p∈P} ln( e^{s_ip/τ} / Σ_{a∈A} e^{s_ia/τ} )
//! ```
//!
//! one term an anchor with kin; other anchors stand in denominators only.

use nearkin_sweep::{Bond, Metric, PairSprings, Relation, Row, exp};

use super::sharpness;
use crate::exps::exps;
use crate::loss::{Loss, LossError, Pull, Sides};
#[cfg(feature = "burn")]
use crate::on_device::{DevicePull, DeviceSides, Panel, PanelPull, panel_exps, pull_cosine_panels};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, SumSprings, pairs_meet_once, pull_springs, pull_sums};
use crate::tuples::Tuples;

/// The supervised contrastive loss. Reduced to the mean over active anchors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SupCon {
    /// 1/τ
    sharpness: f32,
}

impl SupCon {
    /// With temperature τ; the paper's and pytorch-metric-learning's is 0.1.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)? })
    }
}

impl Loss for SupCon {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let reducer = Reducer::MeanActive;
        // e^{(s − 1)/τ} is at least e^{−2/τ}, which must not vanish.
        if pairs_meet_once(sides) && self.sharpness < 40.0 {
            pull_sums(self, Metric::Cosine, &reducer, sides)
        } else {
            pull_springs(self, Metric::Cosine, &reducer, sides)
        }
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.pull(&Sides { kin: &tuples.as_kin(sides)?.once(), ..*sides })
    }

    #[cfg(feature = "burn")]
    fn pull_on_device(&self, sides: &DeviceSides<'_>) -> Option<DevicePull> {
        pull_cosine_panels(&Reducer::MeanActive, sides, |Panel { scores, kin, strangers }| {
            let count = kin.clone().sum_dim(1);
            let alone = count.clone().equal_elem(0.0);
            let share_of_kin = kin.clone() / count.mask_fill(alone.clone(), 1.0);
            let mean = (scores.clone() * share_of_kin.clone()).sum_dim(1);
            let [exps, highest, sum] = panel_exps(scores * self.sharpness, kin + strangers);
            let energies = highest + sum.clone().log() - mean * self.sharpness;
            let forces = (exps / sum - share_of_kin) * self.sharpness;
            let [rows, references] = forces.dims();
            PanelPull {
                energies: energies.mask_fill(alone.clone(), 0.0),
                terms: alone.clone().bool_not().float(),
                forces: forces.mask_fill(alone.expand([rows, references]), 0.0),
            }
        })
    }
}

impl Springs for SupCon {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let kin: f64 = row.kin().map(|(j, _)| f64::from(row.weight(j))).sum();
        if kin == 0.0 {
            return;
        }
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Excluded => f32::NEG_INFINITY,
                _ => self.sharpness * row.scores[j] + row.weight(j).ln(),
            };
        }
        let all = exps(forces);
        let mean = row.kin().map(|(j, s)| f64::from(row.weight(j) * s)).sum::<f64>() / kin;
        let c = terms.add(all.log() - f64::from(self.sharpness) * mean) * self.sharpness;
        // ∂ℓ/∂s_a = (share of a − 1/|P| if a is kin) / τ
        let share = c / all.sum as f32;
        forces.iter_mut().for_each(|x| *x *= share);
        for (j, _) in row.kin() {
            forces[j] -= c * row.weight(j) / kin as f32;
        }
    }
}

/// Sums: `Σ_a e^{(s−1)/τ}`, `Σ_p s`, `|P|`. Ends: what a pair's `e^{(s−1)/τ}` and its being kin weigh.
impl PairSprings<3, 2> for SupCon {
    #[inline(always)]
    fn add(&self, score: f32, bond: Bond) -> [f32; 3] {
        let x = exp((score - 1.0) * self.sharpness) * (bond.kin + bond.stranger);
        [x, score * bond.kin, bond.kin]
    }

    #[inline(always)]
    fn force(&self, score: f32, bond: Bond, [share, kin]: [f32; 2]) -> f32 {
        exp((score - 1.0) * self.sharpness) * (bond.kin + bond.stranger) * share - bond.kin * kin
    }
}

impl SumSprings<3, 2> for SupCon {
    fn settle(&self, &[all, similarity, kin]: &[f64; 3], terms: &mut Terms<'_>) -> [f32; 2] {
        if kin == 0.0 {
            return [0.0; 2];
        }
        let sharpness = f64::from(self.sharpness);
        let c = f64::from(terms.add(all.ln() + sharpness * (1.0 - similarity / kin))) * sharpness;
        [(c / all) as f32, (c / kin) as f32]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn loss(points: &[f32], labels: &[u32], temperature: f32) -> Pull {
        let kin = SameLabel::within(labels);
        Loss::pull(&SupCon::new(temperature).unwrap(), &Sides::within(Vectors::new(points, 2).unwrap(), &kin))
            .unwrap()
    }

    #[test]
    fn a_hand_worked_batch_of_two_classes_at_right_angles() {
        // Each anchor: one kin at similarity 1, two strangers at 0: ℓ = ln(e^{1/τ} + 2) − 1/τ.
        for temperature in [0.5f32, 0.02] {
            let found = loss(&[2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 3.0], &[0, 0, 1, 1], temperature);
            let wanted = (2.0 * (-1.0 / f64::from(temperature)).exp()).ln_1p();
            assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
        }
    }

    #[test]
    fn anchors_without_kin_have_no_term_but_stand_in_denominators() {
        let points = [1.0, 0.0, 1.0, 0.1, 0.3, 1.0];
        let found = loss(&points, &[0, 0, 1], 0.2);
        assert_eq!(found.terms, 2);
        assert!(found.query_gradient[4..].iter().any(|g| *g != 0.0));
    }
}
