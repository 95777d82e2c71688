//! The triplet loss.
//!
//! K. Weinberger, L. Saul, "Distance Metric Learning for Large Margin Nearest Neighbor Classification", 2009; F. Schroff,
//! D. Kalenichenko, J. Philbin, "FaceNet", 2015, eq. 3; A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss",
//! 2017. For a distance `d` (a similarity counts as `−s`), an anchor `a`, kin `p`, stranger `n`:
//!
//! ```text
//! ℓ = φ( d(a, p) − d(a, n) ),   φ(x) = max(0, m + x)  or  ln(1 + e^x)
//! ```
//!
//! one term a triplet. With `swap` (V. Balntas et al., "Learning Local Feature Descriptors with Triplets and Shallow
//! Convolutional Neural Networks", 2016), `d(a, n)` is `min(d(a, n), d(p, n))`.

use nearkin_sweep::{Metric, Relation, Row};
use serde::{Deserialize, Serialize};

use crate::exps::{sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms, sums_suffice};
use crate::springs::{Springs, pull_springs};
use crate::triplets::{TripletSprings, pull_triplets};
use crate::tuples::Tuples;

/// How far beyond the kin the stranger must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Margin {
    /// `max(0, m + x)`: no pull once the gap is `m`, in units of the metric.
    Hinge(f32),
    /// `ln(1 + e^x)`: pulls less the wider the gap, but always. Hermans et al. find it best.
    Soft,
}

/// The triplet loss over all triplets of a batch, or mined ones. Reduced to the mean over active triplets.
///
/// With a soft margin a triplet counts as active while its stranger is not farther than its kin. All triplets are never listed: with a hinge, an anchor's `P` kin and `N` strangers cost `O(N log N + P log N)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TripletMargin {
    metric: Metric,
    margin: Margin,
    swap: bool,
    /// 1 for distances, −1 for similarities.
    sign: f32,
}

impl TripletMargin {
    /// pytorch-metric-learning's margin is 0.05 (0.2 from version 3 on), FaceNet's 0.2 with the squared distance of unit
    /// vectors.
    ///
    /// # Errors
    /// When a hinge's margin is negative or not finite.
    pub fn new(metric: Metric, margin: Margin) -> Result<Self, LossError> {
        if let Margin::Hinge(m) = margin {
            check("margin", m, |m| m >= 0.0, "zero or more, and finite")?;
        }
        let sign = if metric.larger_is_nearer() { -1.0 } else { 1.0 };
        Ok(Self { metric, margin, swap: false, sign })
    }

    /// With the anchor swap: the stranger's distance is the shorter of those to anchor and kin. Pays `O(d)` a triplet.
    #[must_use]
    pub fn with_swap(self) -> Self {
        Self { swap: true, ..self }
    }

    /// `φ(x)` and its derivative.
    fn term(&self, x: f64) -> (f64, f64) {
        match self.margin {
            Margin::Hinge(m) => {
                let energy = f64::from(m) + x;
                if energy <= 0.0 { (0.0, 0.0) } else { (energy, 1.0) }
            }
            Margin::Soft => (softplus(x), sigmoid(x)),
        }
    }
}

impl Loss for TripletMargin {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        if self.swap {
            // All triplets of a few anchors at a time.
            return crate::triplets::pull_all(self, self.metric, &Reducer::MeanActive, sides);
        }
        pull_springs(self, self.metric, &Reducer::MeanActive, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        pull_triplets(self, self.metric, &Reducer::MeanActive, sides, &tuples.triplets())
    }
}

impl TripletSprings for TripletMargin {
    fn needs_third_side(&self) -> bool {
        self.swap
    }

    /// A soft margin's energy is never zero: what a reader wants to know is whether the stranger is not yet farther than the kin.
    fn is_active(&self, [near, far, third]: [f32; 3], energy: f64) -> bool {
        let gap = self.sign * (far - near);
        match self.margin {
            Margin::Hinge(_) => energy > 0.0,
            Margin::Soft => gap <= 0.0 || (self.swap && self.sign * (third - near) <= 0.0),
        }
    }

    fn triplet(&self, [near, far, third]: [f32; 3]) -> (f64, [f32; 3]) {
        let (near, far, third) = (self.sign * near, self.sign * far, self.sign * third);
        let swapped = self.swap && third < far;
        let (energy, slope) = self.term(f64::from(near) - f64::from(if swapped { third } else { far }));
        let g = self.sign * slope as f32;
        (energy, if swapped { [g, 0.0, -g] } else { [g, -g, 0.0] })
    }
}

/// Kin up to which each is compared with every stranger; beyond, strangers are sorted.
const FEW_KIN: usize = 24;

impl Springs for TripletMargin {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let (kin, strangers) = row.counts();
        if kin == 0 || strangers == 0 {
            return;
        }
        match self.margin {
            Margin::Hinge(margin) if sums_suffice(terms.reducer()) => {
                let (energy, active) = if kin <= FEW_KIN {
                    self.hinge_few(margin, row, forces)
                } else {
                    self.hinge_sorted(margin, row, forces)
                };
                let c = terms.add_sum(0, energy, (kin * strangers) as f64, active as f64);
                forces.iter_mut().for_each(|g| *g *= c);
            }
            _ => {
                for (p, near) in row.kin() {
                    for (n, far) in row.strangers() {
                        let scores = [near, far, 0.0];
                        let (energy, [g, h, _]) = self.triplet(scores);
                        let c = terms.add_as(energy, self.is_active(scores, energy));
                        forces[p] += c * g;
                        forces[n] += c * h;
                    }
                }
            }
        }
    }
}

impl TripletMargin {
    /// Energy and number of active triplets; each kin's threshold against every stranger, in vectors.
    fn hinge_few(&self, margin: f32, row: &Row<'_>, forces: &mut [f32]) -> (f64, usize) {
        let (mut energy, mut active) = (0.0, 0);
        for (p, near) in row.kin() {
            let threshold = self.sign * near + margin;
            let (sum, count) = nearkin_sweep::wide(
                #[inline(always)]
                || {
                    let (mut total, mut counted) = (0.0f64, 0);
                    let tiles =
                        row.scores.chunks(256).zip(row.relations.chunks(256)).zip(forces.chunks_mut(256));
                    for ((scores, relations), forces) in tiles {
                        let (mut sums, mut count) = ([0.0f32; 16], 0u32);
                        for (lane, ((score, relation), force)) in
                            scores.iter().zip(relations).zip(forces).enumerate()
                        {
                            let short = threshold - self.sign * score;
                            let pulls = (*relation == Relation::Stranger) & ((short > 0.0) | short.is_nan());
                            *force -= if pulls { self.sign } else { 0.0 };
                            sums[lane % 16] += if pulls { short } else { 0.0 };
                            count += u32::from(pulls);
                        }
                        total += sums.iter().map(|s| f64::from(*s)).sum::<f64>();
                        counted += count as usize;
                    }
                    (total, counted)
                },
            );
            energy += sum;
            active += count;
            forces[p] += self.sign * count as f32;
        }
        (energy, active)
    }

    /// The same by sorting: with the strangers' distances in order and their prefix sums, a kin's active triplets are a
    /// prefix, and a stranger's are the kin whose thresholds lie beyond it.
    fn hinge_sorted(&self, margin: f32, row: &Row<'_>, forces: &mut [f32]) -> (f64, usize) {
        let mut strangers: Vec<(f32, u32)> =
            row.strangers().map(|(n, s)| (self.sign * s, n as u32)).collect();
        strangers.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut prefix = Vec::with_capacity(strangers.len() + 1);
        prefix.push(0.0);
        let mut sum = 0.0;
        for (d, _) in &strangers {
            sum += f64::from(*d);
            prefix.push(sum);
        }
        let mut thresholds: Vec<(f32, usize)> = row.kin().map(|(p, s)| (self.sign * s + margin, p)).collect();
        let (mut energy, mut active) = (0.0, 0);
        for &(threshold, p) in &thresholds {
            let count = strangers.partition_point(|(d, _)| *d < threshold);
            energy += count as f64 * f64::from(threshold) - prefix[count];
            active += count;
            forces[p] = self.sign * count as f32;
        }
        thresholds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0;
        for (d, n) in &strangers {
            while thresholds.get(below).is_some_and(|(threshold, _)| threshold <= d) {
                below += 1;
            }
            forces[*n as usize] = -self.sign * (thresholds.len() - below) as f32;
        }
        if row.scores.iter().any(|s| s.is_nan()) {
            energy = f64::NAN;
        }
        (energy, active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    fn pull(points: &[f32], labels: &[u32], loss: &TripletMargin) -> Pull {
        let kin = SameLabel::within(labels);
        Loss::pull(loss, &Sides::within(Vectors::new(points, 1).unwrap(), &kin)).unwrap()
    }

    #[test]
    fn a_hand_worked_batch_on_a_line() {
        // Anchor 0: kin at 3, strangers at 1 and 7: 3 − 1 + 1 = 3 and 0. Anchor 3: kin at 3, strangers at 2 and 4: 2 and 0.
        // Anchor 1: kin at 6, strangers at 1 and 2: 6 and 5. Anchor 7: kin at 6, strangers at 7 and 4: 0 and 3.
        let loss = TripletMargin::new(Metric::Euclidean, Margin::Hinge(1.0)).unwrap();
        let found = pull(&[0.0, 3.0, 1.0, 7.0], &[0, 0, 1, 1], &loss);
        assert_eq!((found.terms, found.active), (8, 5));
        assert!((found.loss - 19.0 / 5.0).abs() < 1e-6, "{}", found.loss);
    }

    #[test]
    fn sorting_and_comparing_agree() {
        let scores: Vec<f32> =
            (0..90u32).map(|i| (u64::from(i) * 2_654_435_761 % 97) as f32 / 10.0).collect();
        let relations: Vec<Relation> = (0..90)
            .map(|i| match i % 5 {
                0 | 1 => Relation::Kin,
                2 => Relation::Excluded,
                _ => Relation::Stranger,
            })
            .collect();
        let row = Row { query: 0, scores: &scores, relations: &relations, weights: &[] };
        for metric in [Metric::Euclidean, Metric::Cosine] {
            let loss = TripletMargin::new(metric, Margin::Hinge(0.55)).unwrap();
            let (mut few, mut sorted) = (vec![0.0; 90], vec![0.0; 90]);
            let (a, b) = (loss.hinge_few(0.55, &row, &mut few), loss.hinge_sorted(0.55, &row, &mut sorted));
            assert!((a.0 - b.0).abs() < 1e-3 && a.1 == b.1, "{a:?} {b:?}");
            assert_eq!(few, sorted);
        }
    }

    #[test]
    fn a_negative_margin_is_refused() {
        let error = TripletMargin::new(Metric::Cosine, Margin::Hinge(-0.1)).unwrap_err();
        assert!(error.to_string().starts_with("margin = -0.1"), "{error}");
    }
}
