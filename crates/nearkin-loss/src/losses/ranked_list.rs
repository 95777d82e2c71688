//! The ranked list loss.
//!
//! X. Wang et al., "Ranked List Loss for Deep Metric Learning", 2019. For an anchor, with the Euclidean distance `d`,
//! the kin `p` beyond `α − m` and the strangers `n` within `α`:
//!
//! ```text
//! ℓ = (1 − λ) Σ_p w_p (d_p − (α − m)) / Σ_p w_p  +  λ Σ_n w_n (α − d_n) / Σ_n w_n
//! w_p = e^{T_p (d_p − (α − m))}      w_n = e^{T_n (α − d_n)}
//! ```
//!
//! one term an anchor; a sum over none is 0. The gradient flows through the weights. Strangers that coincide with the anchor
//! take part; pytorch-metric-learning leaves them out.

use nearkin_sweep::{Metric, Row};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};

/// The ranked list loss. Reduced to the mean over anchors. Its authors and pytorch-metric-learning take unit vectors:
/// [`OnSphere`](crate::OnSphere).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedList {
    boundary: f32,
    margin: f32,
    kin_sharpness: f64,
    stranger_sharpness: f64,
    balance: f64,
    floor: f64,
}

impl Default for RankedList {
    /// The paper's α = 1.2 and m = 0.4, with T_n = 10, T_p = 0, λ = ½.
    fn default() -> Self {
        Self {
            boundary: 1.2,
            margin: 0.4,
            kin_sharpness: 0.0,
            stranger_sharpness: 10.0,
            balance: 0.5,
            floor: 0.0,
        }
    }
}

impl RankedList {
    /// Pushes strangers beyond the boundary `α`, the nearer the more, by the sharpness `T_n`, and pulls kin to within `α − m`,
    /// all alike.
    ///
    /// # Errors
    /// When `α` is not above zero, `m` negative, or `T_n` negative or above 10⁶.
    pub fn new(boundary: f32, margin: f32, stranger_sharpness: f32) -> Result<Self, LossError> {
        Ok(Self {
            boundary: check("boundary", boundary, |a| a > 0.0, "above zero, and finite")?,
            margin: check("margin", margin, |m| m >= 0.0, "zero or more, and finite")?,
            stranger_sharpness: sharpness("stranger sharpness", stranger_sharpness)?,
            ..Self::default()
        })
    }

    /// With kin weighed by the sharpness `T_p`: the farther the more.
    ///
    /// # Errors
    /// When `T_p` is negative or above 10⁶.
    pub fn with_kin_sharpness(self, kin_sharpness: f32) -> Result<Self, LossError> {
        Ok(Self { kin_sharpness: sharpness("kin sharpness", kin_sharpness)?, ..self })
    }

    /// With the strangers' part `λ` of the loss.
    ///
    /// # Errors
    /// When `λ` is not within 0 and 1.
    pub fn with_balance(self, balance: f32) -> Result<Self, LossError> {
        let balance = check("balance", balance, |l| (0.0..=1.0).contains(&l), "within 0 and 1")?;
        Ok(Self { balance: balance.into(), ..self })
    }

    /// Adds `floor` for each reference to both sums of weights, `Σ w`: pytorch-metric-learning adds 10⁻⁵. The paper adds nothing,
    /// as does this loss unless told so.
    ///
    /// # Errors
    /// When it is negative or not finite.
    pub fn with_floor(self, floor: f32) -> Result<Self, LossError> {
        let floor = check("floor", floor, |f| f >= 0.0, "zero or more, and finite")?;
        Ok(Self { floor: floor.into(), ..self })
    }
}

fn sharpness(name: &'static str, sharpness: f32) -> Result<f64, LossError> {
    Ok(check(name, sharpness, |t| (0.0..=1e6).contains(&t), "from zero to a million")?.into())
}

/// A pair on the wrong side of its boundary: reference, how often it counts, and by how much, which becomes
/// `∂mean/∂(by how much)`.
type Beyond = (usize, f64, f64);

/// `Σ w x / (Σ w + floor)` with `w = e^{sharpness · x}`; 0 of none.
fn weighted_mean(pairs: &mut [Beyond], sharpness: f64, floor: f64) -> f64 {
    let highest = pairs.iter().map(|(.., x)| sharpness * x).fold(f64::NEG_INFINITY, f64::max);
    let weight = |counts: f64, x: f64| counts * (sharpness * x - highest).exp();
    let [sum, weights] = pairs.iter().fold([0.0; 2], |[sum, weights], &(_, counts, x)| {
        let w = weight(counts, x);
        [sum + w * x, weights + w]
    });
    if pairs.is_empty() {
        return 0.0;
    }
    let weights = weights + floor * (-highest).exp();
    let mean = sum / weights;
    for (_, counts, x) in pairs {
        *x = weight(*counts, *x) * (1.0 + sharpness * (*x - mean)) / weights;
    }
    mean
}

impl Loss for RankedList {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        pull_springs(self, Metric::Euclidean, &Reducer::Mean, sides)
    }
}

impl Springs for RankedList {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let floor = self.floor * row.scores.len() as f64;
        let (boundary, within) = (f64::from(self.boundary), f64::from(self.boundary - self.margin));
        let beyond = |(j, x): (usize, f64)| (x > 0.0 || x.is_nan()).then(|| (j, f64::from(row.weight(j)), x));
        let mut kin: Vec<Beyond> =
            row.kin().map(|(p, d)| (p, f64::from(d) - within)).filter_map(beyond).collect();
        let mut strangers: Vec<Beyond> =
            row.strangers().map(|(n, d)| (n, boundary - f64::from(d))).filter_map(beyond).collect();
        let near = weighted_mean(&mut kin, self.kin_sharpness, floor);
        let far = weighted_mean(&mut strangers, self.stranger_sharpness, floor);
        let c = f64::from(terms.add((1.0 - self.balance) * near + self.balance * far));
        for (p, _, slope) in kin {
            forces[p] = (c * (1.0 - self.balance) * slope) as f32;
        }
        for (n, _, slope) in strangers {
            forces[n] = (-c * self.balance * slope) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_hand_worked_anchor_on_a_line() {
        // α = 3, m = 1. Kin at 1 and 4: the second is beyond 2 by 2. Strangers at 2, 1, 5: 1 and 2 short of 3.
        let kin = SameLabel::between(&[0], &[0, 0, 1, 1, 1]);
        let (query, references) = ([0.0], [1.0, -4.0, 2.0, -1.0, 5.0]);
        let sides =
            Sides::between(Vectors::new(&query, 1).unwrap(), Vectors::new(&references, 1).unwrap(), &kin);
        let loss = RankedList::new(3.0, 1.0, 2f32.ln()).unwrap().with_balance(0.25).unwrap();
        let found = loss.pull(&sides).unwrap();
        // Strangers weigh 2 and 4.
        let wanted = 0.75 * 2.0 + 0.25 * (2.0 * 1.0 + 4.0 * 2.0) / 6.0;
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        assert!(RankedList::new(0.0, 0.4, 10.0).is_err());
        assert!(RankedList::new(1.2, 0.4, -1.0).is_err());
        let error = RankedList::default().with_balance(1.5).unwrap_err();
        assert!(error.to_string().starts_with("balance = 1.5"), "{error}");
    }
}
