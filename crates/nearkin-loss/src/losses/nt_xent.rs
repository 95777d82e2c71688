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
//! one term a pair of kin. With two views a sample each anchor has one kin and this is SimCLR's loss; with labels it is
//! pytorch-metric-learning's `NTXentLoss`, where other kin do not stand in the denominator.

use std::collections::HashMap;

use nearkin_sweep::{Metric, Relation, Row};

#[cfg(feature = "burn")]
use burn::tensor::activation::sigmoid as sigmoid_of;

use super::{SupCon, sharpness};
use crate::exps::{exps, sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides};
#[cfg(feature = "burn")]
use crate::on_device::{
    DevicePull, DeviceSides, Panel, PanelPull, panel_exps, pull_cosine_panels, softplus as softplus_of,
};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pairs_meet_once, pull_springs};

/// The NT-Xent loss. Reduced to the mean over pairs of kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NtXent {
    /// 1/τ
    sharpness: f32,
    /// The same loss where every anchor has at most one kin.
    of_views: SupCon,
}

impl NtXent {
    /// With temperature τ: 0.07 is pytorch-metric-learning's default, 0.5 SimCLR's for CIFAR-10 and lightly's.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self { sharpness: sharpness(temperature)?, of_views: SupCon::new(temperature)? })
    }
}

impl Loss for NtXent {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        // With one kin an anchor, this is SupCon, which visits each pair once.
        if pairs_meet_once(sides) && at_most_one_kin(sides) {
            return self.of_views.pull(&Sides { reducer: Some(reducer), ..*sides });
        }
        pull_springs(self, Metric::Cosine, reducer, sides)
    }

    #[cfg(feature = "burn")]
    fn pull_on_device(&self, sides: &DeviceSides<'_>) -> Option<DevicePull> {
        pull_cosine_panels(&Reducer::Mean, sides, |Panel { scores, kin, strangers }| {
            let x = scores * self.sharpness;
            let [exps, highest, sum] = panel_exps(x.clone(), strangers);
            // As in `row` below; without strangers there is no energy.
            let none = sum.clone().equal_elem(0.0);
            let behind = highest + sum.clone().log() - x;
            let energies = softplus_of(behind.clone()) * kin.clone();
            let pulls = sigmoid_of(behind) * kin.clone() * self.sharpness;
            let share = pulls.clone().sum_dim(1) / sum.mask_fill(none, 1.0);
            PanelPull { energies, terms: kin, forces: exps * share - pulls }
        })
    }
}

/// Whether every label stands at most twice in the batch.
fn at_most_one_kin(sides: &Sides<'_>) -> bool {
    let mut members = HashMap::new();
    (0..sides.queries.len()).all(|i| {
        sides.kin.label(i).is_some_and(|label| {
            let count = members.entry(label).or_insert(0);
            *count += 1;
            *count <= 2
        })
    })
}

impl Springs for NtXent {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        for (j, (x, relation)) in forces.iter_mut().zip(row.relations).enumerate() {
            *x = match relation {
                Relation::Stranger => self.sharpness * row.scores[j] + row.weight(j).ln(),
                _ => f32::NEG_INFINITY,
            };
        }
        let strangers = exps(forces);
        let log = strangers.log();
        // With x = s_p/τ and l = ln Σ_n e^{s_n/τ}: ℓ = ln(1 + e^{l − x}), ∂ℓ/∂l = −∂ℓ/∂x = σ(l − x).
        let mut pushed = 0.0;
        for (p, s) in row.kin() {
            let behind = log - f64::from(self.sharpness) * f64::from(s);
            let c = terms.add_part(0, softplus(behind), row.weight(p));
            let pull = c * sigmoid(behind) as f32 * self.sharpness;
            forces[p] = -pull;
            pushed += pull;
        }
        if pushed != 0.0 {
            let share = pushed / strangers.sum as f32;
            for (g, relation) in forces.iter_mut().zip(row.relations) {
                if *relation == Relation::Stranger {
                    *g *= share;
                }
            }
        } else {
            forces.fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn loss(points: &[f32], labels: &[u32], temperature: f32) -> Pull {
        let kin = SameLabel::within(labels);
        Loss::pull(&NtXent::new(temperature).unwrap(), &Sides::within(Vectors::new(points, 2).unwrap(), &kin))
            .unwrap()
    }

    #[test]
    fn a_hand_worked_batch_of_two_samples_in_two_views() {
        // Views of a sample point the same way, samples stand at right angles: ℓ = ln(1 + 2 e^{−1/τ}).
        let found = loss(&[1.0, 0.0, 0.0, 2.0, 3.0, 0.0, 0.0, 1.0], &[0, 1, 0, 1], 0.5);
        assert!((found.loss - (2.0 * (-2f64).exp()).ln_1p()).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 4);
    }

    #[test]
    fn other_kin_do_not_stand_in_the_denominator() {
        // Three kin in one point, one stranger opposite: each of the six pairs has ℓ = ln(1 + e^{−2/τ}).
        let found = loss(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, -1.0, 0.0], &[0, 0, 0, 1], 1.0);
        assert_eq!(found.terms, 6);
        assert!((found.loss - (-2f64).exp().ln_1p()).abs() < 1e-6, "{}", found.loss);
    }

    #[test]
    fn a_temperature_of_zero_is_refused() {
        assert!(NtXent::new(0.0).unwrap_err().to_string().starts_with("temperature = 0"));
        assert!(NtXent::new(f32::NAN).is_err());
    }
}
