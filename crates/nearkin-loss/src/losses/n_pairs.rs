//! The multi-class N-pair loss, N-pair-mc.
//!
//! K. Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", 2016, eq. 7. Of `N` classes one pair each,
//! an anchor `a` and its kin `p`; with dot products `s`:
//!
//! ```text
//! ℓ_i = ln(1 + Σ_{j≠i} e^{s(a_i, p_j) − s(a_i, p_i)})
//! ```
//!
//! one term a pair. Since raw dot products grow with the embeddings, the paper keeps these short with an L2 penalty; as
//! TensorFlow has it, `λ/4` times the sum of the mean `‖a‖²` and the mean `‖p‖²` is added.

use std::collections::HashSet;

use nearkin_sweep::{Metric, Relation, Row, SameLabel, Vectors};

use crate::exps::{exps_apart, sigmoid, softplus};
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::reducer::{Reducer, Terms};
use crate::springs::{Springs, pull_springs};
use crate::tuples::Tuples;

/// The N-pair-mc loss. Reduced to the mean over pairs.
///
/// Between two sets the queries are anchors and the references their kin, as sampled. Among one set, or of tuples, the first
/// pair of kin of every label is taken, so labels are needed. pytorch-metric-learning's, which normalises, is
/// [`OnSphere`](crate::OnSphere)`(NPairs)`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NPairs {
    l2: f32,
}

impl NPairs {
    /// With the weight λ of the L2 penalty; 0, the default, for none. TensorFlow's is 0.002.
    ///
    /// # Errors
    /// When λ is negative or not finite.
    pub fn new(l2: f32) -> Result<Self, LossError> {
        Ok(Self { l2: check("l2", l2, |l| l >= 0.0, "zero or more, and finite")? })
    }

    /// Of anchors and their kin as two sets.
    fn of_sampled(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let mut pull = pull_springs(self, Metric::Dot, &Reducer::Mean, sides)?;
        let mut penalise = |vectors: Vectors<'_>, gradient: &mut [f32]| {
            let share = f64::from(self.l2) / (vectors.len().max(1) as f64);
            pull.loss += 0.25 * share * vectors.data().iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            gradient.iter_mut().zip(vectors.data()).for_each(|(g, x)| *g += (0.5 * share) as f32 * x);
        };
        if self.l2 > 0.0 {
            penalise(sides.queries, &mut pull.query_gradient);
            penalise(sides.others(), &mut pull.reference_gradient);
        }
        Ok(pull)
    }

    /// Of these pairs, one a label.
    fn of_pairs(&self, sides: &Sides<'_>, pairs: &[(u32, u32)]) -> Result<Pull, LossError> {
        let (vectors, dim) = (sides.queries, sides.queries.dim());
        let gather = |of: fn(&(u32, u32)) -> u32| -> Vec<f32> {
            pairs.iter().flat_map(|pair| vectors.row(of(pair) as usize)).copied().collect()
        };
        let (anchors, kin) = (gather(|pair| pair.0), gather(|pair| pair.1));
        let labels: Vec<u32> = pairs.iter().filter_map(|(a, _)| sides.kin.label(*a as usize)).collect();
        let found = self.of_sampled(&Sides {
            queries: Vectors::new(&anchors, dim)?,
            references: Some(Vectors::new(&kin, dim)?),
            kin: &SameLabel::between(&labels, &labels),
            reducer: sides.reducer,
        })?;
        let mut query_gradient = vec![0.0; vectors.data().len()];
        let mut scatter = |places: &mut dyn Iterator<Item = u32>, gradient: &[f32]| {
            for (i, row) in places.zip(gradient.chunks_exact(dim)) {
                let place = i as usize * dim..(i as usize + 1) * dim;
                query_gradient[place].iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
        };
        scatter(&mut pairs.iter().map(|pair| pair.0), &found.query_gradient);
        scatter(&mut pairs.iter().map(|pair| pair.1), &found.reference_gradient);
        Ok(Pull { query_gradient, reference_gradient: Vec::new(), ..found })
    }
}

/// The label of an anchor, of which there must be one.
fn label(sides: &Sides<'_>, anchor: usize) -> Result<u32, LossError> {
    let why = "it takes one pair of each label, but this kin relation has no labels; give anchors and kin as two sets";
    sides.kin.label(anchor).ok_or_else(|| LossError::undefined("the N-pair loss among one set", why))
}

impl Loss for NPairs {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        if sides.references.is_some() {
            return self.of_sampled(sides);
        }
        let n = sides.queries.len();
        let (mut seen, mut pairs) = (HashSet::new(), Vec::new());
        let mut relations = vec![Relation::default(); n];
        for anchor in 0..n {
            let label = label(sides, anchor)?;
            if !seen.contains(&label) {
                sides.kin.relate(anchor, 0, &mut relations);
                if let Some(kin) = relations.iter().position(|r| *r == Relation::Kin) {
                    seen.insert(label);
                    pairs.push((anchor as u32, kin as u32));
                }
            }
        }
        self.of_pairs(sides, &pairs)
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        let listed = tuples.as_kin(sides)?;
        if sides.references.is_some() {
            return self.of_sampled(&Sides { kin: &listed, ..*sides });
        }
        let (mut seen, mut pairs) = (HashSet::new(), Vec::new());
        for (anchor, kin) in tuples.pairs().0 {
            if seen.insert(label(sides, anchor as usize)?) {
                pairs.push((anchor, kin));
            }
        }
        self.of_pairs(sides, &pairs)
    }
}

impl Springs for NPairs {
    fn row(&self, row: &Row<'_>, terms: &mut Terms<'_>, forces: &mut [f32]) {
        forces.copy_from_slice(row.scores);
        forces.iter_mut().zip(row.weights).for_each(|(x, w)| *x += w.ln());
        let [_, strangers] = exps_apart(forces, row.relations);
        let log = strangers.log();
        // With l the log of the strangers' sum: ℓ = ln(1 + e^{l − s}), ∂ℓ/∂l = −∂ℓ/∂s = σ(l − s).
        let mut pushed = 0.0;
        for (p, score) in row.kin() {
            let behind = log - f64::from(score);
            let c = f64::from(terms.add_part(0, softplus(behind), row.weight(p))) * sigmoid(behind);
            forces[p] = -c as f32;
            pushed += c;
        }
        let push = (pushed * strangers.share()) as f32;
        for (g, relation) in forces.iter_mut().zip(row.relations) {
            if *relation == Relation::Stranger {
                *g *= push;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::Graph;

    #[test]
    fn a_hand_worked_batch_of_two_classes() {
        // The first pairs are 0 and 1 (2 · 3 = 6) and 2 and 3 (1 · 1 = 1); across, 2 · 1 = 2 and 1 · 3 = 3. The last is not
        // taken. ℓ = ln(1 + e^{2 − 6}) and ln(1 + e^{3 − 1}).
        let kin = SameLabel::within(&[5, 5, 2, 2, 5]);
        let points = [2.0, 3.0, 1.0, 1.0, 9.0];
        let sides = Sides::within(Vectors::new(&points, 1).unwrap(), &kin);
        let found = NPairs::default().pull(&sides).unwrap();
        let wanted = ((-4f64).exp().ln_1p() + 2f64.exp().ln_1p()) / 2.0;
        assert!((found.loss - wanted).abs() < 1e-6, "{} for {wanted}", found.loss);
        assert_eq!((found.terms, found.query_gradient[4]), (2, 0.0));
        // Anchors of mean square 5/2, kin of mean square 5: λ/4 · 15/2.
        let kept_short = NPairs::new(0.4).unwrap().pull(&sides).unwrap();
        assert!((kept_short.loss - wanted - 0.75).abs() < 1e-6, "{}", kept_short.loss);
    }

    #[test]
    fn kin_without_labels_are_refused_among_one_set() {
        let kin = Graph::within(2, [(0, 1)]).unwrap();
        let error = NPairs::default().pull(&Sides::within(Vectors::new(&[1.0, 2.0], 1).unwrap(), &kin));
        assert!(error.unwrap_err().to_string().contains("two sets"));
        assert!(NPairs::new(-0.1).is_err());
    }
}
