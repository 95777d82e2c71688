//! How the terms of a loss become one number.

use serde::{Deserialize, Serialize};

use crate::classes::ProxyInit;
use crate::loss::{Loss, LossError, Pull, Sides};
#[cfg(feature = "burn")]
use crate::on_device::{DevicePull, DeviceSides, DeviceTriplets};
use crate::tuples::Tuples;

/// How terms become one number. A loss of two kinds of terms (contrastive: kin and strangers) reduces each, and adds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reducer {
    /// The mean of all terms.
    #[default]
    Mean,
    /// The mean of the terms above zero.
    MeanActive,
    /// The sum.
    Sum,
    /// The mean of the terms within bounds, exclusive; a bound may be infinite.
    Threshold {
        /// Terms at or below it are left out.
        low: f64,
        /// Terms at or above it are left out.
        high: f64,
    },
    /// The mean over all anchors of each anchor's mean. An anchor without terms counts as 0.
    PerAnchor,
    /// The mean of the terms, each times the weight of its anchor's label. Labels beyond the list weigh 1.
    ClassWeighted(Vec<f32>),
}

impl Reducer {
    /// Whether a term of this energy is taken in. One that is not a number is, so that it is seen.
    fn takes(&self, energy: f64) -> bool {
        match *self {
            Reducer::MeanActive => energy > 0.0 || energy.is_nan(),
            Reducer::Threshold { low, high } => (energy > low && energy < high) || energy.is_nan(),
            _ => true,
        }
    }
}

/// A loss with another reducer than its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Reduced<L> {
    /// The loss.
    pub loss: L,
    /// How its terms become one number.
    pub reducer: Reducer,
}

impl<L: Loss> Loss for Reduced<L> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.loss.pull(&Sides { reducer: Some(&self.reducer), ..*sides })
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.loss.pull_mined(&Sides { reducer: Some(&self.reducer), ..*sides }, tuples)
    }

    #[cfg(feature = "burn")]
    fn pull_on_device(&self, sides: &DeviceSides<'_>) -> Option<DevicePull> {
        self.loss.pull_on_device(&sides.reduced(&self.reducer))
    }

    #[cfg(feature = "burn")]
    fn pull_mined_on_device(&self, sides: &DeviceSides<'_>, triplets: &DeviceTriplets) -> Option<DevicePull> {
        self.loss.pull_mined_on_device(&sides.reduced(&self.reducer), triplets)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.loss.proxies()
    }
}

/// The most kinds of terms a loss has.
pub(crate) const PARTS: usize = 2;

/// What has been added up of one kind of terms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tally {
    /// Σ coefficient · energy
    pub energy: f64,
    /// Terms, counted as often as they weigh.
    pub terms: f64,
    /// Those that the reducer takes in.
    pub taken: f64,
    /// Those above zero.
    pub active: f64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.energy += other.energy;
        self.terms += other.terms;
        self.taken += other.taken;
        self.active += other.active;
    }

    /// `1/Z`: what the sum of the terms is multiplied by.
    pub(crate) fn scale(&self, reducer: &Reducer, anchors: usize) -> f64 {
        let z = match reducer {
            Reducer::Mean | Reducer::ClassWeighted(_) => self.terms,
            Reducer::MeanActive | Reducer::Threshold { .. } => self.taken,
            Reducer::Sum => 1.0,
            Reducer::PerAnchor => anchors as f64,
        };
        if z > 0.0 { 1.0 / z } else { 0.0 }
    }
}

/// Takes in the terms of one row, and says how strongly each pulls.
#[derive(Debug)]
pub struct Terms<'a> {
    reducer: &'a Reducer,
    /// What each kind of terms is multiplied by, anchor's weight included.
    factors: [f64; PARTS],
    pub(crate) tallies: [Tally; PARTS],
}

impl<'a> Terms<'a> {
    /// Of a row whose anchor has `label`; `scales` multiply each kind of terms.
    pub(crate) fn new(reducer: &'a Reducer, label: Option<u32>, scales: [f64; PARTS]) -> Self {
        let anchor = match (reducer, label) {
            (Reducer::ClassWeighted(weights), Some(label)) => {
                weights.get(label as usize).map_or(1.0, |w| f64::from(*w))
            }
            _ => 1.0,
        };
        Self { reducer, factors: scales.map(|s| s * anchor), tallies: Default::default() }
    }

    /// How the terms are reduced.
    pub(crate) fn reducer(&self) -> &Reducer {
        self.reducer
    }

    /// Takes in a term; returns what its force on a pair, `∂energy/∂s`, is to be multiplied by.
    pub fn add(&mut self, energy: f64) -> f32 {
        self.add_part(0, energy, 1.0)
    }

    /// The same for a term whose report as active is another matter than its being above zero: a soft margin's never is zero.
    pub fn add_as(&mut self, energy: f64, active: bool) -> f32 {
        let before = self.tallies[0].active;
        let coefficient = self.add_part(0, energy, 1.0);
        self.tallies[0].active = before + f64::from(u8::from(active || energy.is_nan()));
        coefficient
    }

    /// The same for a term of kind `part` (0 or 1) that counts `weight` times.
    ///
    /// # Panics
    /// When `part` is neither.
    #[inline]
    pub fn add_part(&mut self, part: usize, energy: f64, weight: f32) -> f32 {
        let taken = self.reducer.takes(energy);
        let (factor, weight) = (self.factors[part], f64::from(weight));
        let tally = &mut self.tallies[part];
        tally.terms += weight;
        tally.active += if energy > 0.0 || energy.is_nan() { weight } else { 0.0 };
        if !taken {
            return 0.0;
        }
        tally.taken += weight;
        let coefficient = factor * weight;
        tally.energy += coefficient * energy;
        coefficient as f32
    }

    /// Takes in many terms of kind `part` at once: their sum, how many there are, how many are above zero. Only for reducers
    /// that [`sums_suffice`](Self::sums_suffice) for.
    pub(crate) fn add_sum(&mut self, part: usize, energy: f64, terms: f64, active: f64) -> f32 {
        let taken = if *self.reducer == Reducer::MeanActive { active } else { terms };
        let factor = self.factors[part];
        self.tallies[part].add(&Tally { energy: factor * energy, terms, taken, active });
        factor as f32
    }
}

/// Whether a reducer needs no more of the terms of a row than their sum and their counts.
pub(crate) fn sums_suffice(reducer: &Reducer) -> bool {
    !matches!(reducer, Reducer::Threshold { .. } | Reducer::PerAnchor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(reducer: &Reducer, rows: &[(u32, &[f64])]) -> f64 {
        let mut total = Tally::default();
        for (label, energies) in rows {
            let scale = if *reducer == Reducer::PerAnchor { 1.0 / energies.len().max(1) as f64 } else { 1.0 };
            let mut terms = Terms::new(reducer, Some(*label), [scale; PARTS]);
            energies.iter().for_each(|e| {
                terms.add(*e);
            });
            total.add(&terms.tallies[0]);
        }
        total.energy * total.scale(reducer, rows.len())
    }

    #[test]
    fn each_reducer_on_a_hand_worked_batch() {
        let rows: [(u32, &[f64]); 3] = [(0, &[1.0, 3.0]), (1, &[0.0, 5.0, 1.0]), (2, &[])];
        assert_eq!(reduced(&Reducer::Mean, &rows), 2.0);
        assert_eq!(reduced(&Reducer::MeanActive, &rows), 2.5);
        assert_eq!(reduced(&Reducer::Sum, &rows), 10.0);
        assert_eq!(reduced(&Reducer::Threshold { low: 1.0, high: 5.0 }, &rows), 3.0);
        assert_eq!(reduced(&Reducer::PerAnchor, &rows), (2.0 + 2.0 + 0.0) / 3.0);
        assert_eq!(reduced(&Reducer::ClassWeighted(vec![2.0, 0.5]), &rows), (8.0 + 3.0) / 5.0);
    }

    #[test]
    fn a_term_that_is_not_a_number_is_seen_by_every_reducer() {
        for reducer in [Reducer::Mean, Reducer::MeanActive, Reducer::Threshold { low: 0.0, high: 9.0 }] {
            assert!(reduced(&reducer, &[(0, &[1.0, f64::NAN])]).is_nan(), "{reducer:?}");
        }
    }
}
