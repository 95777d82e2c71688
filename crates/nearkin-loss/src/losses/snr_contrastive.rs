//! The contrastive loss on the ratio of signal to noise.
//!
//! T. Yuan, W. Deng, J. Tang, Y. Tang, B. Chen, "Signal-To-Noise Ratio: A Robust Distance Metric for Deep Metric Learning",
//! 2019. An anchor is the signal, what another vector differs by is noise; with variances over the dimensions:
//!
//! ```text
//! d_ij = var(x_i − x_j) / var(x_i)      ℓ_p = max(0, d_p − m⁺)      ℓ_n = max(0, m⁻ − d_n)
//! ```
//!
//! one term a pair; kin and strangers are reduced each by themselves, and added. `d` is not symmetric. An anchor whose
//! values are all equal carries no signal, and has no term.
//!
//! The paper's regulariser of zero means is a loss of its own.

use nearkin_sweep::{Metric, Relation, Row, RowSprings, Vectors, map_rows, pull_rows};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};

/// The contrastive loss with the SNR distance. Kin and strangers are each reduced to the mean over active pairs.
///
/// pytorch-metric-learning's is [`OnSphere`](crate::OnSphere)`(SnrContrastive)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SnrContrastive {
    kin_margin: f32,
    stranger_margin: f32,
}

impl Default for SnrContrastive {
    /// pytorch-metric-learning's: kin within 0, strangers beyond 1.
    fn default() -> Self {
        Self { kin_margin: 0.0, stranger_margin: 1.0 }
    }
}

impl SnrContrastive {
    /// Pulls kin to within `kin_margin` and pushes strangers beyond `stranger_margin`, in shares of the anchor's variance.
    ///
    /// # Errors
    /// When a margin is not finite, or kin might lie beyond strangers.
    pub fn new(kin_margin: f32, stranger_margin: f32) -> Result<Self, LossError> {
        let kin_margin = check("kin margin", kin_margin, |_| true, "finite")?;
        let stranger_margin =
            check("stranger margin", stranger_margin, |m| m >= kin_margin, "at least the kin margin")?;
        Ok(Self { kin_margin, stranger_margin })
    }
}

/// Kin are part 0, strangers part 1.
const KIN: usize = 0;
const STRANGERS: usize = 1;

impl Loss for SnrContrastive {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let reducer = sides.reducer.unwrap_or(&Reducer::MeanActive);
        let (dim, kin) = (sides.queries.dim(), sides.kin);
        let queries = Centred::of(sides.queries);
        let references = sides.references.map(|r| (Centred::of(r), r.dim()));
        let signals = Vectors::new(&queries.vectors, dim)?;
        let others = match &references {
            Some((centred, dim)) => Some(Vectors::new(&centred.vectors, *dim)?),
            None => None,
        };
        // Of centred vectors, a variance is a squared length over the number of dimensions: the engine's own distance.
        let metric = Metric::SquaredEuclidean;
        let springs = |scales| Signals { loss: self, sides, reducer, powers: &queries.powers, scales };
        let none = springs(&|_| [1.0; PARTS]);
        let counted = map_rows(signals, others, metric, kin, |row, forces| none.pull(row, forces).0)?;
        let mut total = [Tally::default(); PARTS];
        counted.iter().for_each(|row| total.iter_mut().zip(row).for_each(|(total, row)| total.add(row)));
        let scales = total.map(|tally| tally.scale(reducer, signals.len()));
        let by_anchor = *reducer == Reducer::PerAnchor;
        let of_row = |query: usize| {
            std::array::from_fn(|part| match counted[query][part].terms {
                terms if by_anchor && terms > 0.0 => scales[part] / terms,
                _ => scales[part],
            })
        };
        let (gradients, rows) = pull_rows(signals, others, metric, kin, &springs(&of_row))?;
        let (mut query_gradient, mut reference_gradient) = gradients.scaled(1.0);
        let anchors = query_gradient.chunks_exact_mut(dim).zip(queries.vectors.chunks_exact(dim));
        for ((gradient, signal), ((_, at_power), power)) in anchors.zip(rows.iter().zip(&queries.powers)) {
            // Σ_j g_j ∂d_j/∂‖x‖² = −Σ_j g_j d_j / ‖x‖², and ∂‖x‖²/∂x = 2x.
            let g = if *at_power == 0.0 { 0.0 } else { (-2.0 * at_power / f64::from(*power)) as f32 };
            gradient.iter_mut().zip(signal).for_each(|(d, x)| *d += g * x);
        }
        // Moving all values of a vector alike changes nothing: the gradient is centred too.
        query_gradient.chunks_exact_mut(dim).for_each(centre);
        reference_gradient.chunks_exact_mut(dim).for_each(centre);
        let sum = |of: &dyn Fn(&[Tally; PARTS]) -> f64| rows.iter().map(|(row, _)| of(row)).sum::<f64>();
        Ok(Pull {
            loss: sum(&|row| row[KIN].energy) + sum(&|row| row[STRANGERS].energy),
            terms: sum(&|row| row[KIN].terms + row[STRANGERS].terms).round() as usize,
            active: sum(&|row| row[KIN].active + row[STRANGERS].active).round() as usize,
            query_gradient,
            reference_gradient,
        })
    }
}

/// Vectors less their means, and their squared lengths.
struct Centred {
    vectors: Vec<f32>,
    powers: Vec<f32>,
}

impl Centred {
    fn of(vectors: Vectors<'_>) -> Self {
        let mut centred = vectors.data().to_vec();
        centred.chunks_exact_mut(vectors.dim()).for_each(centre);
        let power = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() as f32;
        let powers = centred.chunks_exact(vectors.dim()).map(power).collect();
        Self { vectors: centred, powers }
    }
}

/// Takes the mean from every value.
fn centre(row: &mut [f32]) {
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / row.len() as f64;
    row.iter_mut().for_each(|x| *x = (f64::from(*x) - mean) as f32);
}

/// The loss on centred vectors.
struct Signals<'a> {
    loss: &'a SnrContrastive,
    sides: &'a Sides<'a>,
    reducer: &'a Reducer,
    /// `‖x‖²` of each query.
    powers: &'a [f32],
    scales: &'a (dyn Fn(usize) -> [f64; PARTS] + Sync),
}

impl RowSprings for Signals<'_> {
    /// And `Σ_j g_j d_j`, with `g_j` the slope of the distance.
    type Kept = ([Tally; PARTS], f64);

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Self::Kept {
        let power = self.powers[row.query];
        let mut terms = Terms::new(self.reducer, self.sides.kin.label(row.query), (self.scales)(row.query));
        let mut at_power = 0.0;
        if power == 0.0 {
            return (terms.tallies, at_power);
        }
        for (j, (&noise, relation)) in row.scores.iter().zip(row.relations).enumerate() {
            let distance = noise / power;
            let (part, direction, beyond) = match relation {
                Relation::Kin => (KIN, 1.0, distance - self.loss.kin_margin),
                Relation::Stranger => (STRANGERS, -1.0, self.loss.stranger_margin - distance),
                Relation::Excluded => continue,
            };
            // Unlike max(0, x), this lets what is not a number be seen.
            let energy = if beyond <= 0.0 { 0.0 } else { beyond };
            let c = terms.add_part(part, energy.into(), row.weight(j));
            if energy != 0.0 {
                forces[j] = direction * c / power;
                at_power += f64::from(direction * c) * f64::from(distance);
            }
        }
        (terms.tallies, at_power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::SameLabel;

    #[test]
    fn a_hand_worked_signal_and_two_noises() {
        // The signal (3, 1) has variance 1. Its kin (5, 1) differs by (2, 0), variance 1: d = 1. Its stranger (3.5, 1.5)
        // differs by (½, ½), variance 0: d = 0.
        let kin = SameLabel::between(&[0], &[0, 1]);
        let (signal, others) = ([3.0, 1.0], [5.0, 1.0, 3.5, 1.5]);
        let sides =
            Sides::between(Vectors::new(&signal, 2).unwrap(), Vectors::new(&others, 2).unwrap(), &kin);
        let found = SnrContrastive::new(0.25, 0.5).unwrap().pull(&sides).unwrap();
        assert!((found.loss - (0.75 + 0.5)).abs() < 1e-6, "{}", found.loss);
        assert_eq!((found.terms, found.active), (2, 2));
        assert_eq!(SnrContrastive::default().pull(&sides).unwrap().loss, 2.0);
    }

    #[test]
    fn an_anchor_without_signal_has_no_term() {
        let kin = SameLabel::within(&[0, 0]);
        let points = [1.0, 1.0, 1.0, 2.0];
        let found =
            SnrContrastive::default().pull(&Sides::within(Vectors::new(&points, 2).unwrap(), &kin)).unwrap();
        assert_eq!(found.terms, 1);
        assert_eq!(found.loss, 1.0);
    }

    #[test]
    fn margins_that_contradict_each_other_are_refused() {
        assert!(SnrContrastive::new(1.0, 0.5).unwrap_err().to_string().contains("stranger margin = 0.5"));
    }
}
