//! Losses taken in both directions.

use nearkin_sweep::{Kin, Relation};

use crate::classes::ProxyInit;
use crate::loss::{Loss, LossError, Pull, Sides};

/// The mean of a loss from queries to references and from references to queries.
///
/// Over [`InfoNce`](crate::losses::InfoNce) this is CLIP's loss (A. Radford et al., "Learning Transferable Visual Models From
/// Natural Language Supervision", 2021): images are queries, texts references, and each image is kin of its text. Among one
/// set both directions are the same, and the loss is taken once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BothWays<L>(pub L);

impl<L: Loss> Loss for BothWays<L> {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        let there = self.0.pull(sides)?;
        let Some(references) = sides.references else { return Ok(there) };
        let kin = Reversed(sides.kin);
        let back = self.0.pull(&Sides {
            queries: references,
            references: Some(sides.queries),
            kin: &kin,
            reducer: sides.reducer,
        })?;
        let mut both = Pull::none(sides);
        both.add(0.5, &there);
        both.add(
            0.5,
            &Pull {
                query_gradient: back.reference_gradient,
                reference_gradient: back.query_gradient,
                ..back
            },
        );
        Ok(both)
    }

    fn proxies(&self) -> Option<ProxyInit> {
        self.0.proxies()
    }
}

/// A kin relation read from its references.
struct Reversed<'a>(&'a dyn Kin);

impl Kin for Reversed<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        for (other, relation) in (first..).zip(out) {
            self.0.relate(other, query, std::slice::from_mut(relation));
        }
    }

    fn weigh(&self, query: usize, first: usize, out: &mut [f32]) -> bool {
        // A relation weighs all its pairs or none.
        (first..).zip(out).all(|(other, weight)| self.0.weigh(other, query, std::slice::from_mut(weight)))
    }

    fn label(&self, query: usize) -> Option<u32> {
        self.0.reference_label(query)
    }

    fn reference_label(&self, reference: usize) -> Option<u32> {
        self.0.label(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::InfoNce;
    use nearkin_sweep::{Metric, SameLabel, Vectors};

    #[test]
    fn clip_on_two_hand_worked_pairs() {
        // Scores [[1, 2], [0, 0]], kin on the diagonal. Rows: ln(1 + e) and ln 2. Columns: ln(1 + 1/e) and ln(1 + e²).
        let (images, texts, labels) = ([1.0, 0.0], [1.0, 2.0], [4, 5]);
        let kin = SameLabel::between(&labels, &labels);
        let sides = Sides::between(Vectors::new(&images, 1).unwrap(), Vectors::new(&texts, 1).unwrap(), &kin);
        let found = BothWays(InfoNce::new(Metric::Dot, 1.0).unwrap()).pull(&sides).unwrap();
        let e = 1f64.exp();
        let rows = (e.ln_1p() + 1f64.ln_1p()) / 2.0;
        let columns = ((1.0 / e).ln_1p() + (e * e).ln_1p()) / 2.0;
        assert!((found.loss - (rows + columns) / 2.0).abs() < 1e-6, "{}", found.loss);
        assert_eq!(found.terms, 4);
    }
}
