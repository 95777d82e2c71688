//! Which pairs belong together.

/// What a query and a reference are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Relation {
    /// They belong apart: a negative.
    #[default]
    Stranger,
    /// They belong together: a positive.
    Kin,
    /// No spring joins them, such as a vector and itself.
    Excluded,
}

/// The kin relation of a sweep: labels, views of one sample, a neighbour graph.
pub trait Kin: Sync {
    /// Writes the relation of `query` to references `first..first + out.len()`.
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]);
}

/// Kin are the pairs with the same label (or, with sample numbers as labels, views of the same sample).
#[derive(Debug, Clone, Copy)]
pub struct SameLabel<'a> {
    queries: &'a [u32],
    references: &'a [u32],
    same_set: bool,
}

impl<'a> SameLabel<'a> {
    /// Among one set: a vector is excluded from its own row.
    pub fn within(labels: &'a [u32]) -> Self {
        Self { queries: labels, references: labels, same_set: true }
    }

    /// Between two sets: every pair has a spring.
    pub fn between(queries: &'a [u32], references: &'a [u32]) -> Self {
        Self { queries, references, same_set: false }
    }
}

impl Kin for SameLabel<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        let label = self.queries[query];
        for (relation, &other) in out.iter_mut().zip(&self.references[first..]) {
            *relation = if label == other { Relation::Kin } else { Relation::Stranger };
        }
        if self.same_set
            && let Some(own) = query.checked_sub(first).and_then(|j| out.get_mut(j))
        {
            *own = Relation::Excluded;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_excluded_from_its_own_row_in_whichever_tile_it_lies() {
        let labels = [7, 7, 8, 7];
        let kin = SameLabel::within(&labels);
        let mut out = [Relation::default(); 2];
        kin.relate(3, 2, &mut out);
        assert_eq!(out, [Relation::Stranger, Relation::Excluded]);
        kin.relate(3, 0, &mut out);
        assert_eq!(out, [Relation::Kin, Relation::Kin]);
    }
}
