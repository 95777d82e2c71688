//! Instance discrimination: every sample is a class of its own, and its class vector is what a memory holds of it.
//!
//! Z. Wu, Y. Xiong, S. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018. For a
//! query of sample `i` among `n`, with the cosines `s_j` of the query and the memory's vectors `b`:
//!
//! ```text
//! ℓ = −ln P(i),   P(j) = e^{s_j/τ} / Z,   Z = Σ_j e^{s_j/τ}
//! ```
//!
//! and, in place of that sum, noise-contrastive estimation from `m` draws `j_1 … j_m` of all slots alike:
//!
//! ```text
//! ℓ = −ln h(i) − Σ_k ln(1 − h(j_k)),   h(j) = P(j) / (P(j) + m/n)
//! ```
//!
//! with one constant Z, which the first batch's draws estimate. The proximal term adds `λ ‖x/‖x‖ − b_i‖²`.

use nearkin_sweep::{SweepError, Vectors};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{NormalizedSoftmax, sharpness};
use crate::exps::{sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::memory::{check_count, check_slots};
use crate::random::Stream;
use crate::tuples::Tuples;

/// The softmax over a whole memory, which is given as references and gets no gradient: theirs is zero. A sample is kin of its
/// slot. Reduced to the mean over queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NonParametricSoftmax(NormalizedSoftmax);

impl Default for NonParametricSoftmax {
    /// The paper's τ = 0.07.
    fn default() -> Self {
        Self(NormalizedSoftmax::new(0.07).expect("a temperature in range"))
    }
}

impl NonParametricSoftmax {
    /// With temperature τ.
    ///
    /// # Errors
    /// When τ is not above zero, or so small that a similarity over it leaves the range of f32.
    pub fn new(temperature: f32) -> Result<Self, LossError> {
        Ok(Self(NormalizedSoftmax::new(temperature)?))
    }
}

impl Loss for NonParametricSoftmax {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let found = self.0.pull(sides)?;
        Ok(Pull { reference_gradient: Pull::none(sides).reference_gradient, ..found })
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let found = self.0.pull_mined(sides, tuples)?;
        Ok(Pull { reference_gradient: Pull::none(sides).reference_gradient, ..found })
    }
}

/// The constant of [`NonParametricNce`]: plain data that goes into checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Normalizer {
    /// `ln Z`; `None` until a first batch has been seen.
    pub log_z: Option<f64>,
}

/// The same by noise-contrastive estimation: a query costs `O(m d)`, whatever the size of the memory. Reduced to the mean over
/// queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NonParametricNce {
    sharpness: f64,
    draws: usize,
    proximal: f64,
}

impl Default for NonParametricNce {
    /// The paper's: τ = 0.07, m = 4,096, no proximal term.
    fn default() -> Self {
        Self { sharpness: 1.0 / f64::from(0.07f32), draws: 4096, proximal: 0.0 }
    }
}

impl NonParametricNce {
    /// With temperature τ and `m` draws a query.
    ///
    /// # Errors
    /// When τ is not above zero, or too small, or there are no draws.
    pub fn new(temperature: f32, draws: usize) -> Result<Self, LossError> {
        if draws == 0 {
            return Err(LossError::OutOfRange { name: "draws", found: 0.0, wanted: "at least 1" });
        }
        sharpness(temperature)?;
        Ok(Self { sharpness: 1.0 / f64::from(temperature), draws, proximal: 0.0 })
    }

    /// With the proximal term of strength λ, which calms the jumps of samples that are seen once an epoch.
    ///
    /// # Errors
    /// When λ is negative or not finite.
    pub fn with_proximal(self, lambda: f32) -> Result<Self, LossError> {
        let lambda = check("lambda", lambda, |l| l >= 0.0, "zero or more, and finite")?;
        Ok(Self { proximal: lambda.into(), ..self })
    }

    /// The slots drawn for query number `query`, out of `slots`. One may be drawn twice, or be the query's own.
    pub fn draws(&self, seed: u64, query: usize, slots: usize) -> impl Iterator<Item = usize> + use<> {
        let stream = Stream::new(seed).split(query as u64);
        (0..self.draws as u64).map(move |k| stream.below(k, slots))
    }

    /// The value, and the gradient of the queries; `reference_gradient` is empty. Query `i` is of the sample of slot
    /// `slots[i]` in `memory`. The seed must be another one each step. A `normalizer` without a value gets one.
    ///
    /// # Errors
    /// When there is not one slot a query, a slot does not exist, dimensions differ, or `ln Z` is not finite.
    pub fn pull(
        &self,
        queries: Vectors<'_>,
        memory: Vectors<'_>,
        slots: &[u32],
        seed: u64,
        normalizer: &mut Normalizer,
    ) -> Result<Pull, LossError> {
        if queries.dim() != memory.dim() {
            let (queries, references) = (queries.dim(), memory.dim());
            return Err(SweepError::DimensionMismatch { queries, references }.into());
        }
        check_count("slots", slots.len(), queries)?;
        check_slots(slots, memory.len())?;
        if queries.is_empty() {
            return Ok(Pull::default());
        }
        let query = |i: usize| Query::new(queries.row(i), memory);
        let log_z = match normalizer.log_z {
            Some(log_z) => log_z,
            None => {
                let log_sum = |i: usize| {
                    let query = query(i);
                    log_sum_exp(self.draws(seed, i, memory.len()).map(|j| self.sharpness * query.score(j).0))
                };
                let logs: Vec<f64> = (0..queries.len()).into_par_iter().map(log_sum).collect();
                let count = (queries.len() * self.draws) as f64;
                log_sum_exp(logs.into_iter()) + (memory.len() as f64 / count).ln()
            }
        };
        if !log_z.is_finite() {
            return Err(LossError::undefined(
                "noise-contrastive estimation",
                format!("ln Z is {log_z}: embeddings or a saved constant are not finite"),
            ));
        }
        normalizer.log_z = Some(log_z);
        // h(j) = σ(s_j/τ − offset)
        let offset = log_z + (self.draws as f64 / memory.len() as f64).ln();
        let scale = 1.0 / queries.len() as f64;
        let of_query = |(i, gradient): (usize, &mut [f32])| {
            let mut query = query(i);
            let own = slots[i] as usize;
            let (s, length) = query.score(own);
            let x = self.sharpness * s - offset;
            let mut energy = softplus(-x) + self.proximal * (2.0 - 2.0 * s);
            query.push(own, s, length, -self.sharpness * sigmoid(-x) - 2.0 * self.proximal);
            for j in self.draws(seed, i, memory.len()) {
                let (s, length) = query.score(j);
                let x = self.sharpness * s - offset;
                energy += softplus(x);
                query.push(j, s, length, self.sharpness * sigmoid(x));
            }
            query.finish(scale, gradient);
            energy
        };
        let mut query_gradient = vec![0.0; queries.data().len()];
        let rows = query_gradient.par_chunks_exact_mut(queries.dim()).enumerate();
        let energies: Vec<f64> = rows.map(of_query).collect();
        Ok(Pull {
            loss: scale * energies.iter().sum::<f64>(),
            terms: energies.len(),
            active: energies.iter().filter(|e| **e > 0.0 || e.is_nan()).count(),
            query_gradient,
            reference_gradient: Vec::new(),
        })
    }
}

/// A query of unit length, and what pulls at it.
struct Query<'a> {
    memory: Vectors<'a>,
    unit: Vec<f64>,
    length: f64,
    /// `Σ_j g_j b_j/‖b_j‖`
    pulls: Vec<f64>,
    /// `Σ_j g_j s_j`
    along: f64,
}

fn length(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

impl<'a> Query<'a> {
    fn new(query: &[f32], memory: Vectors<'a>) -> Self {
        let wide = || query.iter().map(|x| f64::from(*x));
        let length = length(wide());
        let scale = if length == 0.0 { 0.0 } else { 1.0 / length };
        let unit: Vec<f64> = wide().map(|x| x * scale).collect();
        Self { memory, pulls: vec![0.0; unit.len()], unit, length, along: 0.0 }
    }

    /// The cosine with a slot's vector, and that vector's length.
    fn score(&self, slot: usize) -> (f64, f64) {
        let vector = || self.memory.row(slot).iter().map(|x| f64::from(*x));
        let length = length(vector());
        let dot: f64 = self.unit.iter().zip(vector()).map(|(q, b)| q * b).sum();
        (if length == 0.0 { 0.0 } else { dot / length }, length)
    }

    fn push(&mut self, slot: usize, score: f64, length: f64, force: f64) {
        if length != 0.0 {
            let force_a_unit = force / length;
            let vector = self.memory.row(slot).iter().map(|x| f64::from(*x));
            self.pulls.iter_mut().zip(vector).for_each(|(p, b)| *p += force_a_unit * b);
            self.along += force * score;
        }
    }

    /// `scale · ∂ℓ/∂x`: what pulls across the query, over its length.
    fn finish(&self, scale: f64, gradient: &mut [f32]) {
        if self.length == 0.0 {
            return;
        }
        let scale = scale / self.length;
        for ((g, p), u) in gradient.iter_mut().zip(&self.pulls).zip(&self.unit) {
            *g = (scale * (p - self.along * u)) as f32;
        }
    }
}

/// `ln Σ e^x`; −∞ of none.
fn log_sum_exp(exponents: impl Iterator<Item = f64>) -> f64 {
    let (mut highest, mut sum) = (f64::NEG_INFINITY, 0.0);
    for x in exponents {
        if x <= highest {
            sum += (x - highest).exp();
        } else {
            sum = sum * (highest - x).exp() + 1.0;
            highest = x;
        }
    }
    highest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(values: &[f32]) -> Vectors<'_> {
        Vectors::new(values, 2).unwrap()
    }

    #[test]
    fn a_hand_worked_query_against_one_slot() {
        // n = 1: every draw is the query's own slot, at cosine 1. ln Z = 1/τ, so P = 1, h = 1/(1 + 3), and with λ = 0.5 the
        // proximal term of two equal unit vectors is 0. ℓ = ln 4 − 3 ln ¾.
        let loss = NonParametricNce::new(0.5, 3).unwrap().with_proximal(0.5).unwrap();
        let mut normalizer = Normalizer::default();
        let found = loss.pull(vectors(&[3.0, 0.0]), vectors(&[2.0, 0.0]), &[0], 1, &mut normalizer).unwrap();
        assert!((normalizer.log_z.unwrap() - 2.0).abs() < 1e-9);
        assert!((found.loss - (4f64.ln() - 3.0 * 0.75f64.ln())).abs() < 1e-9, "{}", found.loss);
        // The constant stays: the opposite query has cosine −1, P = e^{−4}, and a proximal term of ½·4.
        let found = loss.pull(vectors(&[-3.0, 0.0]), vectors(&[2.0, 0.0]), &[0], 2, &mut normalizer).unwrap();
        let h = (-4f64).exp() / ((-4f64).exp() + 3.0);
        assert!((found.loss - (2.0 - h.ln() - 3.0 * (1.0 - h).ln())).abs() < 1e-9, "{}", found.loss);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let loss = NonParametricNce::default();
        let mut normalizer = Normalizer::default();
        let (one, two) = ([1.0, 0.0], [1.0, 0.0, 0.0, 1.0]);
        let mut pull = |queries: &[f32], memory: &[f32], slots: &[u32]| {
            loss.pull(vectors(queries), vectors(memory), slots, 1, &mut normalizer)
        };
        assert!(pull(&one, &two, &[2]).unwrap_err().to_string().contains("slot 2"));
        assert!(pull(&one, &two, &[0, 1]).is_err());
        assert!(pull(&[f32::NAN, 0.0], &two, &[0]).unwrap_err().to_string().contains("ln Z"));
        assert_eq!(pull(&[], &two, &[]).unwrap(), Pull::default());
        assert_eq!(normalizer, Normalizer::default());
        assert!(NonParametricNce::new(0.07, 0).is_err() && NonParametricSoftmax::new(0.0).is_err());
    }
}
