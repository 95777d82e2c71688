//! Springs on a matrix of scores that is given: for those who have distances, but no vectors.

use nearkin_sweep::{Kin, Relation, Row, SweepError};
use rayon::prelude::*;

use crate::loss::{LossError, Pull};
use crate::reducer::{PARTS, Reducer, Tally, Terms};
use crate::springs::{Springs, counts, scales, total};

/// A loss of a matrix of scores.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MatrixPull {
    /// The loss; 0 when there is no term.
    pub loss: f64,
    /// Number of terms.
    pub terms: usize,
    /// Number of terms above zero.
    pub active: usize,
    /// `∂L/∂scores`, row-major.
    pub forces: Vec<f32>,
}

/// Evaluates springs on scores, row-major, of one row a query and `references` columns.
///
/// Whether a score is a distance or a similarity is what the springs were made for. Unlike all else here this needs memory for
/// one force a score.
///
/// # Errors
/// When the scores are no whole number of rows.
pub fn pull_matrix<S: Springs>(
    springs: &S,
    reducer: &Reducer,
    scores: &[f32],
    references: usize,
    kin: &dyn Kin,
) -> Result<MatrixPull, LossError> {
    if references == 0 {
        return Err(SweepError::NoDimensions.into());
    }
    if !scores.len().is_multiple_of(references) {
        return Err(SweepError::Ragged { len: scores.len(), dim: references }.into());
    }
    let queries = scores.len() / references;
    let mut forces = vec![0.0; scores.len()];
    let mut pass = |scales: &(dyn Fn(usize) -> [f64; PARTS] + Sync)| -> Vec<[Tally; PARTS]> {
        let rows = scores.par_chunks_exact(references).zip(forces.par_chunks_exact_mut(references));
        let of_row = |(relations, weights): &mut (Vec<Relation>, Vec<f32>),
                      (query, (scores, forces)): Item<'_>| {
            relations.resize(references, Relation::default());
            kin.relate(query, 0, relations);
            weights.resize(references, 1.0);
            if !kin.weigh(query, 0, weights) {
                weights.clear();
            }
            forces.fill(0.0);
            let mut terms = Terms::new(reducer, kin.label(query), scales(query));
            springs.row(&Row { query, scores, relations, weights }, &mut terms, forces);
            terms.tallies
        };
        rows.enumerate().map_init(Default::default, of_row).collect()
    };
    let counted = pass(&|_| [1.0; PARTS]);
    let total = total(&pass(&scales(&counted, reducer, queries)));
    let Pull { terms, active, .. } = counts(&total);
    Ok(MatrixPull { loss: total.iter().map(|t| t.energy).sum(), terms, active, forces })
}

/// A query, its scores, and room for its forces.
type Item<'a> = (usize, (&'a [f32], &'a mut [f32]));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{Contrastive, Margin, MultiSimilarity, SupCon, TripletMargin};
    use crate::springs::pull_springs;
    use crate::{Sides, losses};
    use nearkin_sweep::{Metric, SameLabel, Vectors};

    /// Against vectors along the axes, a query's dot products are its components, and its gradient is the forces.
    #[track_caller]
    fn agrees<S: Springs>(springs: &S) {
        let (labels, n) = ([0, 1, 0, 2, 1, 0], 6);
        let scores: Vec<f32> = (0..n * n).map(|i| ((i * i * 7 + 3 * i) % 19) as f32 / 19.0 - 0.4).collect();
        let mut axes = vec![0.0; n * n];
        (0..n).for_each(|i| axes[i * n + i] = 1.0);
        let kin = SameLabel::within(&labels);
        let sides = Sides::between(Vectors::new(&scores, n).unwrap(), Vectors::new(&axes, n).unwrap(), &kin);
        for reducer in [
            Reducer::Mean,
            Reducer::MeanActive,
            Reducer::Sum,
            Reducer::PerAnchor,
            Reducer::ClassWeighted(vec![1.0, 0.5, 2.0]),
        ] {
            let wanted = pull_springs(springs, Metric::Dot, &reducer, &sides).unwrap();
            let found = pull_matrix(springs, &reducer, &scores, n, &kin).unwrap();
            assert!((found.loss - wanted.loss).abs() < 1e-6, "{reducer:?}: {} {}", found.loss, wanted.loss);
            assert_eq!((found.terms, found.active), (wanted.terms, wanted.active));
            for (found, wanted) in found.forces.iter().zip(&wanted.query_gradient) {
                assert!((found - wanted).abs() < 1e-6, "{reducer:?}: {found} for {wanted}");
            }
        }
    }

    #[test]
    fn agrees_with_vectors_of_the_same_scores() {
        agrees(&Contrastive::new(Metric::Dot, 0.5, 0.1).unwrap());
        agrees(&MultiSimilarity::default());
        agrees(&SupCon::new(0.3).unwrap());
        agrees(&TripletMargin::new(Metric::Dot, Margin::Hinge(0.2)).unwrap());
        agrees(&losses::CosFace::new(0.2, 3.0).unwrap());
    }

    #[test]
    fn hand_worked_distances() {
        // Distances of two queries to a kin and a stranger: kin 2 beyond 0 and 4 beyond 0, strangers 1 within 3 and beyond it.
        let kin = SameLabel::between(&[0, 1], &[0, 1]);
        let loss = Contrastive::new(Metric::Euclidean, 0.0, 3.0).unwrap();
        let found = pull_matrix(&loss, &Reducer::MeanActive, &[2.0, 2.0, 5.0, 4.0], 2, &kin).unwrap();
        assert_eq!(found.loss, (2.0 + 4.0) / 2.0 + 1.0);
        assert_eq!(found.forces, [0.5, -1.0, 0.0, 0.5]);
        assert_eq!((found.terms, found.active), (4, 3));
    }

    #[test]
    fn ragged_scores_are_refused() {
        let kin = SameLabel::between(&[0], &[0, 1]);
        let pull =
            |scores: &[f32], m| pull_matrix(&MultiSimilarity::default(), &Reducer::Mean, scores, m, &kin);
        assert!(pull(&[1.0; 3], 2).is_err() && pull(&[], 0).is_err());
        assert_eq!(pull(&[], 2).unwrap(), MatrixPull::default());
    }
}
