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

use nearkin_sweep::{Metric, Relation, Row, wide};
use serde::{Deserialize, Serialize};

use crate::exps::{sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::miners::{Difficulty, Miner, TripletMarginMiner};
#[cfg(feature = "burn")]
use crate::on_device::{
    DevicePull, DeviceSides, DeviceTriplets, above_zero, pull_device_triplets, softplus as softplus_of,
};
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
///
/// ```
/// use nearkin_loss::losses::{Margin, TripletMargin};
/// use nearkin_loss::miners::Difficulty;
/// use nearkin_loss::{Loss, Sides};
/// use nearkin_sweep::{Metric, SameLabel, Vectors};
///
/// // FaceNet's: squared distances, and only strangers that are farther than the kin, but within the margin.
/// let face_net = TripletMargin::new(Metric::SquaredEuclidean, Margin::Hinge(0.2))?.only(Difficulty::SemiHard, 0.2)?;
/// let kin = SameLabel::within(&[0, 0, 1]);
/// let points = [0.0, 1.0, -1.05];
/// let found = face_net.pull(&Sides::within(Vectors::new(&points, 1)?, &kin))?;
/// // Anchor 0: its stranger is at 1.1025, its kin at 1; anchor 1's stranger is at 4.2025, beyond the margin.
/// assert_eq!(found.terms, 1);
/// assert!((found.loss - 0.0975).abs() < 1e-6);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TripletMargin {
    metric: Metric,
    margin: Margin,
    swap: bool,
    /// Of all triplets, those of one difficulty within a margin.
    only: Option<(Difficulty, f32)>,
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
        Ok(Self { metric, margin, swap: false, only: None, sign })
    }

    /// With the anchor swap: the stranger's distance is the shorter of those to anchor and kin. Pays `O(d)` a triplet.
    #[must_use]
    pub fn with_swap(self) -> Self {
        Self { swap: true, ..self }
    }

    /// With the triplets of one difficulty only, told by this margin, usually the hinge's own. What
    /// [`TripletMarginMiner`] would list for [`Mined`](crate::miners::Mined), without the list.
    ///
    /// # Errors
    /// When the margin is negative or not finite.
    pub fn only(self, difficulty: Difficulty, margin: f32) -> Result<Self, LossError> {
        check("margin", margin, |m| m >= 0.0, "zero or more, and finite")?;
        Ok(Self { only: Some((difficulty, margin)), ..self })
    }

    /// Which gaps `d(a, n) − d(a, p)` take part: those above the first, up to the second.
    fn gaps(&self) -> (f32, f32) {
        const ALL: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);
        self.only.map_or(ALL, |(difficulty, margin)| difficulty.gaps(margin))
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
        if let (true, Some((difficulty, margin))) = (self.swap, self.only) {
            let miner = TripletMarginMiner::new(self.metric, margin, difficulty)?;
            return self.pull_mined(sides, &miner.mine(sides)?);
        }
        if self.swap {
            // All triplets of a few anchors at a time.
            return crate::triplets::pull_all(self, self.metric, &Reducer::MeanActive, sides);
        }
        pull_springs(self, self.metric, &Reducer::MeanActive, sides)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        pull_triplets(self, self.metric, &Reducer::MeanActive, sides, &tuples.triplets())
    }

    #[cfg(feature = "burn")]
    fn pull_mined_on_device(&self, sides: &DeviceSides<'_>, triplets: &DeviceTriplets) -> Option<DevicePull> {
        if self.swap {
            return None;
        }
        pull_device_triplets(self.metric, &Reducer::MeanActive, sides, triplets, |near, far| {
            let x = near - far;
            match self.margin {
                Margin::Hinge(margin) => {
                    let energy = (x + margin).clamp_min(0.0);
                    [energy.clone(), above_zero(energy)]
                }
                Margin::Soft => [softplus_of(x.clone()), x.lower_elem(0.0).bool_not().float()],
            }
        })
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
        let (above, up_to) = self.gaps();
        match self.margin {
            Margin::Hinge(margin) if sums_suffice(terms.reducer()) => {
                let mut found = if kin > FEW_KIN {
                    self.hinge_sorted(margin, row, forces)
                } else {
                    self.hinge_few(margin, row, forces)
                };
                let nan = |(s, r): (&f32, &Relation)| s.is_nan() & (*r != Relation::Excluded);
                let pairs = row.scores.iter().zip(row.relations);
                if wide(
                    #[inline(always)]
                    || pairs.fold(false, |any, pair| any | nan(pair)),
                ) {
                    found.energy = f64::NAN;
                }
                let c = terms.add_sum(0, found.energy, found.terms as f64, found.active as f64);
                forces.iter_mut().for_each(|g| *g *= c);
            }
            _ => {
                for (p, near) in row.kin() {
                    for (n, far) in row.strangers() {
                        let gap = self.sign * far - self.sign * near;
                        if gap <= above || gap > up_to {
                            continue;
                        }
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

/// What a row's triplets add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Hinged {
    energy: f64,
    terms: usize,
    active: usize,
}

impl TripletMargin {
    /// Each kin's threshold against every stranger, in vectors.
    fn hinge_few(&self, margin: f32, row: &Row<'_>, forces: &mut [f32]) -> Hinged {
        /// Values side by side, and how many of these may be added up in f32.
        const LANES: usize = 16;
        const STRETCH: usize = 16 * LANES;
        let (above, up_to) = self.gaps();
        // Whoever is no stranger is too far to be pulled.
        let mut far = vec![f32::INFINITY; row.scores.len().next_multiple_of(LANES)];
        for ((far, score), relation) in far.iter_mut().zip(row.scores).zip(row.relations) {
            *far = if *relation == Relation::Stranger { self.sign * score } else { f32::INFINITY };
        }
        let mut found = Hinged::default();
        for (p, near) in row.kin() {
            let near = self.sign * near;
            let threshold = near + margin;
            let (energy, terms, active) = wide(
                #[inline(always)]
                || {
                    let (mut energy, mut terms, mut active) = (0.0, [0.0f32; LANES], [0.0f32; LANES]);
                    for (far, forces) in far.chunks(STRETCH).zip(forces.chunks_mut(STRETCH)) {
                        let mut sums = [0.0f32; LANES];
                        for (far, forces) in far.as_chunks::<LANES>().0.iter().zip(forces.chunks_mut(LANES)) {
                            let mut pulled = [0.0f32; LANES];
                            for lane in 0..LANES {
                                let (gap, short) = (far[lane] - near, threshold - far[lane]);
                                let part = (gap > above) & (gap <= up_to) & (far[lane] < f32::INFINITY);
                                let pulls = part & (short > 0.0);
                                pulled[lane] = if pulls { 1.0 } else { 0.0 };
                                sums[lane] += if pulls { short } else { 0.0 };
                                terms[lane] += if part { 1.0 } else { 0.0 };
                                active[lane] += pulled[lane];
                            }
                            match forces.as_chunks_mut::<LANES>() {
                                ([forces], _) => {
                                    for lane in 0..LANES {
                                        forces[lane] -= self.sign * pulled[lane];
                                    }
                                }
                                (_, last) => {
                                    last.iter_mut().zip(pulled).for_each(|(f, p)| *f -= self.sign * p);
                                }
                            }
                        }
                        energy += sums.iter().map(|s| f64::from(*s)).sum::<f64>();
                    }
                    let count = |lanes: [f32; LANES]| lanes.iter().map(|l| *l as usize).sum::<usize>();
                    (energy, count(terms), count(active))
                },
            );
            found.energy += energy;
            found.terms += terms;
            found.active += active;
            forces[p] += self.sign * active as f32;
        }
        found
    }

    /// The same by sorting: with the strangers' distances in order and their prefix sums, a kin's triplets are a stretch of
    /// the strangers, and a stranger is pulled by as many kin as have begun and not yet ended.
    fn hinge_sorted(&self, margin: f32, row: &Row<'_>, forces: &mut [f32]) -> Hinged {
        let (above, up_to) = self.gaps();
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
        let mut found = Hinged::default();
        let mut begun = vec![0i32; strangers.len() + 1];
        for (p, near) in row.kin() {
            let near = self.sign * near;
            let threshold = near + margin;
            let start = strangers.partition_point(|(d, _)| d - near <= above);
            let end = strangers.partition_point(|(d, _)| d - near <= up_to).max(start);
            let pulled = strangers.partition_point(|(d, _)| *d < threshold).clamp(start, end);
            let active = pulled - start;
            found.energy += active as f64 * f64::from(threshold) - (prefix[pulled] - prefix[start]);
            found.terms += end - start;
            found.active += active;
            begun[start] += 1;
            begun[pulled] -= 1;
            forces[p] = self.sign * active as f32;
        }
        let mut pulling = 0;
        for ((_, n), begun) in strangers.iter().zip(begun) {
            pulling += begun;
            forces[*n as usize] = -self.sign * pulling as f32;
        }
        found
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
            for only in [None, Some(Difficulty::SemiHard), Some(Difficulty::Hard), Some(Difficulty::Easy)] {
                let loss = only.map_or(loss, |difficulty| loss.only(difficulty, 0.55).unwrap());
                let (mut few, mut sorted) = (vec![0.0; 90], vec![0.0; 90]);
                let (a, b) =
                    (loss.hinge_few(0.55, &row, &mut few), loss.hinge_sorted(0.55, &row, &mut sorted));
                assert!((a.energy - b.energy).abs() < 1e-3 && a.active == b.active, "{a:?} {b:?}");
                assert_eq!((a.terms, few), (b.terms, sorted));
            }
        }
    }

    #[test]
    fn triplets_of_one_difficulty_are_those_that_the_miner_lists() {
        // Ties and duplicates among whole numbers; few kin, and many.
        let points: Vec<f32> = (0..160).map(|i| (i * i * 37 % 53) as f32).collect();
        let vectors = Vectors::new(&points, 2).unwrap();
        for classes in [3, 20] {
            let labels: Vec<u32> = (0..80).map(|i| i % classes).collect();
            let kin = SameLabel::within(&labels);
            for reducer in [Reducer::Mean, Reducer::MeanActive, Reducer::PerAnchor] {
                let sides = Sides { reducer: Some(&reducer), ..Sides::within(vectors, &kin) };
                for difficulty in [Difficulty::All, Difficulty::Hard, Difficulty::SemiHard, Difficulty::Easy]
                {
                    for (metric, margin) in
                        [(Metric::Euclidean, Margin::Hinge(9.5)), (Metric::Dot, Margin::Soft)]
                    {
                        for swap in [false, true] {
                            let loss = TripletMargin::new(metric, margin).unwrap();
                            let loss = if swap { loss.with_swap() } else { loss };
                            let miner = TripletMarginMiner::new(metric, 9.5, difficulty).unwrap();
                            let listed = loss.pull_mined(&sides, &miner.mine(&sides).unwrap()).unwrap();
                            let found = loss.only(difficulty, 9.5).unwrap().pull(&sides).unwrap();
                            assert_eq!((found.terms, found.active), (listed.terms, listed.active));
                            assert!((found.loss - listed.loss).abs() <= 1e-5 * listed.loss, "{found:?}");
                            for (a, b) in found.query_gradient.iter().zip(&listed.query_gradient) {
                                assert!(
                                    (a - b).abs() < 1e-4 + 1e-4 * b.abs(),
                                    "{difficulty:?} {metric} {a} {b}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_negative_margin_is_refused() {
        let error = TripletMargin::new(Metric::Cosine, Margin::Hinge(-0.1)).unwrap_err();
        assert!(error.to_string().starts_with("margin = -0.1"), "{error}");
    }
}
