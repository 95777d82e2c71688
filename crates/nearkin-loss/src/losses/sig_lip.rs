//! SigLIP, the pairwise sigmoid loss.
//!
//! X. Zhai, B. Mustafa, A. Kolesnikov, L. Beyer, "Sigmoid Loss for Language Image Pre-Training", 2023, algorithm 1. For a
//! query `i` and the references `j`, with cosine similarities `s`, `z = 1` for kin and −1 for strangers, a temperature
//! `t = e^{t'}` and a bias `b`:
//!
//! ```text
//! ℓ_i = Σ_j ln(1 + e^{−z_ij (t s_ij + b)})
//! ```
//!
//! one term a query. `t'` and `b` are trained along: [`SigLip::pull_with_parameters`] gives their gradients too.

use nearkin_sweep::{Metric, Relation, Row, RowSprings, exp, pull_rows, sum, wide};

use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{PARTS, Reducer, Tally, Terms};

/// The pairwise sigmoid loss. Reduced to the mean over queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SigLip {
    /// `t'`
    log_temperature: f32,
    bias: f32,
}

/// What [`SigLip`] does to embeddings, and to its own parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct SigLipPull {
    /// Value, counts, and gradients with respect to the embeddings.
    pub pull: Pull,
    /// `∂L/∂t'`, where the temperature is `e^{t'}`.
    pub log_temperature_gradient: f64,
    /// `∂L/∂b`
    pub bias_gradient: f64,
}

impl Default for SigLip {
    /// Where the paper starts: `t' = ln 10`, `b = −10`.
    fn default() -> Self {
        Self { log_temperature: std::f32::consts::LN_10, bias: -10.0 }
    }
}

impl SigLip {
    /// With `t'`, the logarithm of the temperature that similarities are multiplied by, and the bias `b`.
    ///
    /// # Errors
    /// When `t'` is above 80 or either is not finite.
    pub fn new(log_temperature: f32, bias: f32) -> Result<Self, LossError> {
        Ok(Self {
            log_temperature: check(
                "log temperature",
                log_temperature,
                |t| t <= 80.0,
                "80 or less, and finite",
            )?,
            bias: check("bias", bias, |_| true, "finite")?,
        })
    }

    /// Value and gradients, those of `t'` and `b` among them.
    ///
    /// # Errors
    /// When the two sides differ in dimension.
    pub fn pull_with_parameters(&self, sides: &Sides<'_>) -> Result<SigLipPull, LossError> {
        let reducer = sides.reducer.unwrap_or(&Reducer::Mean);
        let &Sides { queries, references, kin, .. } = sides;
        let springs = Reduced { loss: self, reducer, sides };
        let (gradients, rows) = pull_rows(queries, references, Metric::Cosine, kin, &springs)?;
        let (mut total, mut of_scores, mut of_bias) = (Tally::default(), 0.0, 0.0);
        for row in &rows {
            total.add(&row.tally);
            of_scores += row.of_scores;
            of_bias += row.of_bias;
        }
        // With one term a row, every reducer's factor comes last.
        let scale = total.scale(reducer, queries.len());
        let (query_gradient, reference_gradient) = gradients.scaled(scale);
        Ok(SigLipPull {
            pull: Pull {
                loss: total.energy * scale,
                terms: total.terms as usize,
                active: total.active as usize,
                query_gradient,
                reference_gradient,
            },
            log_temperature_gradient: of_scores * scale,
            bias_gradient: of_bias * scale,
        })
    }
}

impl Loss for SigLip {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        Ok(self.pull_with_parameters(sides)?.pull)
    }
}

struct Reduced<'a> {
    loss: &'a SigLip,
    reducer: &'a Reducer,
    sides: &'a Sides<'a>,
}

/// What a row adds to the loss and to the gradients of the parameters.
struct Added {
    tally: Tally,
    of_scores: f64,
    of_bias: f64,
}

/// Factors between 1 and 2 whose product stays within the range of f64.
const FACTORS: usize = 512;

impl RowSprings for Reduced<'_> {
    type Kept = Added;

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> Added {
        let (temperature, bias) = (self.loss.log_temperature.exp(), self.loss.bias);
        let sign = |relation: Relation| match relation {
            Relation::Kin => 1.0,
            Relation::Stranger => -1.0,
            Relation::Excluded => 0.0,
        };
        // How far a pair is on the wrong side: ℓ = Σ ln(1 + e^x) with x = −z (t s + b).
        let mut wrong = vec![0.0f32; row.scores.len()];
        let linear = wide(|| {
            let pairs = row.scores.iter().zip(row.relations).zip(wrong.iter_mut().zip(&mut *forces));
            for ((score, relation), (x, e)) in pairs {
                *x = -sign(*relation) * (temperature * score + bias);
                *e = if *relation == Relation::Excluded { 0.0 } else { exp(-x.abs()) };
                *x = if *relation == Relation::Excluded { 0.0 } else { *x };
            }
            // ln(1 + e^x) = max(0, x) + ln(1 + e^{−|x|})
            wrong.chunks(FACTORS).map(|x| x.iter().map(|x| f64::from(x.max(0.0))).sum::<f64>()).sum::<f64>()
        });
        let energy = if row.weights.is_empty() {
            // One logarithm for many factors 1 + e^{−|x|}.
            let product = |e: &[f32]| e.iter().map(|e| 1.0 + f64::from(*e)).product::<f64>().ln();
            linear + forces.chunks(FACTORS).map(product).sum::<f64>()
        } else {
            let pairs = wrong.iter().zip(&*forces).zip(row.weights);
            pairs.map(|((x, e), w)| f64::from(*w) * f64::from(x.max(0.0) + e.ln_1p())).sum()
        };
        let mut terms = Terms::new(self.reducer, self.sides.kin.label(row.query), [1.0; PARTS]);
        let c = terms.add(energy);
        let (of_scores, of_bias) = wide(|| {
            // ∂ℓ/∂x = σ(x), and the force of a pair is −z t σ(x).
            for (j, (e, x)) in forces.iter_mut().zip(&wrong).enumerate() {
                let sigmoid = if *x >= 0.0 { 1.0 } else { *e } / (1.0 + *e);
                *e = -sign(row.relations[j]) * row.weight(j) * c * sigmoid;
            }
            let of_bias = sum(forces);
            wrong.iter_mut().zip(&*forces).zip(row.scores).for_each(|((x, g), s)| *x = g * s);
            forces.iter_mut().for_each(|g| *g *= temperature);
            (f64::from(temperature) * sum(&wrong), of_bias)
        });
        Added { tally: terms.tallies[0], of_scores, of_bias }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn two_hand_worked_pairs_at_right_angles() {
        // Kin at cosine 1, strangers at 0, with t = 2 and b = −1: ln(1 + e^{−1}) each, so ℓ = 2 ln(1 + e^{−1}).
        let labels = [0, 1];
        let kin = SameLabel::between(&labels, &labels);
        let (images, texts) = ([1.0, 0.0, 0.0, 2.0], [3.0, 0.0, 0.0, 1.0]);
        let sides = Sides::between(Vectors::new(&images, 2).unwrap(), Vectors::new(&texts, 2).unwrap(), &kin);
        let found = SigLip::new(2f32.ln(), -1.0).unwrap().pull_with_parameters(&sides).unwrap();
        assert!((found.pull.loss - 2.0 * (-1f64).exp().ln_1p()).abs() < 1e-6, "{}", found.pull.loss);
        // With σ = σ(−1): kin give −σ s t and −σ, strangers at 0 nothing and σ.
        let sigmoid = 1.0 / (1.0 + 1f64.exp());
        assert!((found.log_temperature_gradient + 2.0 * sigmoid).abs() < 1e-6);
        assert!(found.bias_gradient.abs() < 1e-6);
        assert_eq!(found.pull.terms, 2);
        let sum = Sides { reducer: Some(&Reducer::Sum), ..sides };
        let summed = SigLip::new(2f32.ln(), -1.0).unwrap().pull_with_parameters(&sum).unwrap();
        assert!((summed.pull.loss - 2.0 * found.pull.loss).abs() < 1e-6);
        assert!((summed.log_temperature_gradient - 2.0 * found.log_temperature_gradient).abs() < 1e-6);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        assert!(SigLip::new(81.0, 0.0).unwrap_err().to_string().starts_with("log temperature = 81"));
        assert!(SigLip::new(0.0, f32::NAN).is_err());
    }
}
