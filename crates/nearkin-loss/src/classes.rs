//! What losses of samples and classes share: queries are samples, references are learned class vectors (proxies), and a
//! sample is kin of its class.

use nearkin_sweep::{Metric, Row};
use serde::{Deserialize, Serialize};

use crate::exps::exps;
use crate::loss::{LossError, Pull, Sides};
use crate::random::Stream;
use crate::reducer::{PARTS, Reducer, Terms};
use crate::springs::{Springs, pull_springs};

/// How the class vectors of a loss begin. Those of class `c` are rows `c · per_class` to `(c + 1) · per_class − 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProxyInit {
    /// Vectors a class.
    pub per_class: usize,
    /// What their components are drawn from.
    pub spread: Spread,
}

/// A distribution of the components of class vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Normal, of variance 1.
    Normal,
    /// Normal, of variance `2 / rows`: Kaiming's, by the number of vectors.
    NormalByRows,
    /// Uniform from `−1/√rows` to `1/√rows`.
    UniformByRows,
}

impl ProxyInit {
    /// Class vectors for so many classes, row-major: the same for the same seed.
    pub fn draw(&self, classes: usize, dim: usize, seed: u64) -> Vec<f32> {
        let rows = classes * self.per_class;
        let stream = Stream::new(seed);
        let spread = (rows.max(1) as f64).sqrt();
        let one = |i: u64| match self.spread {
            Spread::Normal => stream.normal(i),
            Spread::NormalByRows => stream.normal(i) * std::f64::consts::SQRT_2 / spread,
            Spread::UniformByRows => (2.0 * stream.unit(i) - 1.0) / spread,
        };
        (0..(rows * dim) as u64).map(|i| one(i) as f32).collect()
    }
}

/// Evaluates a loss of one term a sample, times the weight of each sample; all weigh 1 when there are no `weights`.
pub(crate) fn pull_classes<S: Springs>(
    springs: &S,
    metric: Metric,
    sides: &Sides<'_>,
    weights: &[f32],
) -> Result<Pull, LossError> {
    class_vectors(sides)?;
    pull_springs(&Weighted { springs, weights }, metric, &Reducer::Mean, sides)
}

/// The references, without which there is no class.
pub(crate) fn class_vectors<'a>(sides: &Sides<'a>) -> Result<nearkin_sweep::Vectors<'a>, LossError> {
    sides.references.ok_or_else(|| {
        LossError::undefined("a loss of classes", "it needs class vectors: give them as references")
    })
}

/// A loss of one term a sample, with a weight for each.
struct Weighted<'a, S> {
    springs: &'a S,
    weights: &'a [f32],
}

impl<S: Springs> Springs for Weighted<'_, S> {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        let Some(weight) = self.weights.get(row.query) else {
            return self.springs.row(row, terms, forces);
        };
        // Among themselves, terms only add up.
        let mut own = Terms::new(&Reducer::Sum, None, [1.0; PARTS]);
        self.springs.row(row, &mut own, forces);
        if own.tallies[0].terms > 0.0 {
            let c = terms.add(f64::from(*weight) * own.tallies[0].energy) * weight;
            forces.iter_mut().for_each(|g| *g *= c);
        }
    }
}

/// The cross entropy `−ln( e^{z_own} / Σ_c e^{z_c} )`, in place: each logit `z` becomes `∂ℓ/∂z`.
pub(crate) fn cross_entropy(logits: &mut [f32], own: usize) -> f64 {
    let logit = f64::from(logits[own]);
    let all = exps(logits);
    let share = (1.0 / all.sum) as f32;
    logits.iter_mut().for_each(|x| *x *= share);
    logits[own] -= 1.0;
    all.log() - logit
}

/// Cross entropy over classes whose logits are `scale · s`, but `scale · target(s)` for the sample's own; `target` also gives
/// its slope. A sample whose class has no vector has no term.
pub(crate) fn margin_row(
    row: &Row<'_>,
    terms: &mut Terms<'_>,
    forces: &mut [f32],
    scale: f32,
    target: impl FnOnce(f32) -> (f32, f32),
) {
    let Some((own, score)) = row.kin().next() else { return };
    let (target, slope) = target(score);
    forces.iter_mut().zip(row.scores).for_each(|(x, s)| *x = scale * s);
    forces[own] = scale * target;
    let c = terms.add(cross_entropy(forces, own)) * scale;
    forces.iter_mut().for_each(|x| *x *= c);
    forces[own] *= slope;
}

/// Whether the references are whole classes of `per_class` vectors, one after the other.
///
/// # Errors
/// When they are not.
pub(crate) fn check_blocks(sides: &Sides<'_>, per_class: usize) -> Result<(), LossError> {
    let rows = class_vectors(sides)?.len();
    let refuse = |why: String| Err(LossError::undefined("a loss of several centres a class", why));
    if !rows.is_multiple_of(per_class) {
        return refuse(format!("{rows} class vectors are no whole number of classes of {per_class}"));
    }
    let class = |row: usize| sides.kin.reference_label(row);
    match (0..rows).find(|&row| class(row) != class(row - row % per_class)) {
        Some(row) => refuse(format!(
            "class vector {row} is of another class than vector {}: those of a class must be {per_class} rows in sequence",
            row - row % per_class
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn class_vectors_begin_as_they_should() {
        let init = |spread| ProxyInit { per_class: 2, spread }.draw(50, 100, 1);
        let variance = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64;
        assert_eq!(init(Spread::Normal).len(), 50 * 2 * 100);
        assert!((variance(&init(Spread::Normal)) - 1.0).abs() < 0.05);
        assert!((variance(&init(Spread::NormalByRows)) - 0.02).abs() < 0.001);
        let uniform = init(Spread::UniformByRows);
        assert!(uniform.iter().all(|x| x.abs() <= 0.1) && uniform.iter().any(|x| x.abs() > 0.09));
        assert_eq!(uniform, init(Spread::UniformByRows));
    }

    #[test]
    fn classes_that_are_not_whole_are_refused() {
        let (one, four) = ([1.0, 0.0], [0.0; 8]);
        let of = |labels: &[u32], vectors: usize| {
            let kin = SameLabel::between(&[0], labels);
            let references = Vectors::new(&four[..vectors * 2], 2).unwrap();
            check_blocks(&Sides::between(Vectors::new(&one, 2).unwrap(), references, &kin), 2)
        };
        assert!(of(&[0, 0, 1, 1], 4).is_ok());
        assert!(of(&[0, 0, 1], 3).unwrap_err().to_string().contains("3 class vectors"));
        assert!(of(&[0, 1, 1, 0], 4).unwrap_err().to_string().contains("class vector 1"));
        let kin = SameLabel::within(&[0]);
        let alone = Sides::within(Vectors::new(&one, 2).unwrap(), &kin);
        assert!(check_blocks(&alone, 1).unwrap_err().to_string().contains("as references"));
    }
}
