//! Which pairs belong together.

use crate::vectors::SweepError;

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

/// The kin relation of a sweep: labels, views of one sample, a neighbour graph, mined pairs.
pub trait Kin: Sync {
    /// Writes the relation of `query` to references `first..first + out.len()`.
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]);

    /// Writes how much each of those pairs counts, or returns `false`, having written nothing, when all count 1.
    fn weigh(&self, _query: usize, _first: usize, _out: &mut [f32]) -> bool {
        false
    }

    /// The label of a query, where labels are what makes kin. Losses that weigh classes need it.
    fn label(&self, _query: usize) -> Option<u32> {
        None
    }

    /// The label of a reference.
    fn reference_label(&self, reference: usize) -> Option<u32> {
        self.label(reference)
    }

    /// Whether `i` is to `j` what `j` is to `i`, for all pairs of one set. Then a loss may visit each pair once.
    fn is_symmetric(&self) -> bool {
        false
    }

    /// These relations as those of labels, where they are nothing else: whoever has the labels can then work every relation
    /// out, without asking for it here.
    fn same_label(&self) -> Option<SameLabel<'_>> {
        None
    }
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

    /// The labels of the queries.
    pub fn queries(&self) -> &'a [u32] {
        self.queries
    }

    /// The labels of the references.
    pub fn references(&self) -> &'a [u32] {
        self.references
    }

    /// Whether both sides are one set.
    pub fn is_within(&self) -> bool {
        self.same_set
    }
}

impl Kin for SameLabel<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        let label = self.queries[query];
        for (relation, &other) in out.iter_mut().zip(&self.references[first..]) {
            *relation = if label == other { Relation::Kin } else { Relation::Stranger };
        }
        if self.same_set {
            exclude(query, first, out);
        }
    }

    fn label(&self, query: usize) -> Option<u32> {
        self.queries.get(query).copied()
    }

    fn reference_label(&self, reference: usize) -> Option<u32> {
        self.references.get(reference).copied()
    }

    fn is_symmetric(&self) -> bool {
        self.same_set
    }

    fn same_label(&self) -> Option<SameLabel<'_>> {
        Some(*self)
    }
}

/// Takes `reference` out of a row of relations, if it lies in it.
fn exclude(reference: usize, first: usize, out: &mut [Relation]) {
    if let Some(relation) = reference.checked_sub(first).and_then(|j| out.get_mut(j)) {
        *relation = Relation::Excluded;
    }
}

/// Lists of references, one a query, each with a weight: a sparse matrix in compressed rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lists {
    starts: Vec<usize>,
    references: Vec<u32>,
    weights: Vec<f32>,
    all_count_one: bool,
}

impl Lists {
    /// From `(query, reference, weight)` in any order; the weights of a pair that is named twice add up.
    ///
    /// # Errors
    /// When a query is not below `queries`, or a weight is negative or not finite.
    pub fn new(queries: usize, pairs: impl IntoIterator<Item = (u32, u32, f32)>) -> Result<Self, SweepError> {
        let mut pairs: Vec<(u32, u32, f32)> = pairs.into_iter().collect();
        pairs.sort_by_key(|&(query, reference, _)| (query, reference));
        let mut lists = Self { starts: vec![0], ..Self::default() };
        for (query, reference, weight) in pairs {
            if query as usize >= queries {
                return Err(SweepError::NoSuchQuery { found: query as usize, queries });
            }
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(SweepError::Weight { query: query as usize, found: weight });
            }
            while lists.starts.len() <= query as usize {
                lists.starts.push(lists.references.len());
            }
            let in_row = lists.references.len() > lists.starts[query as usize];
            match lists.references.last() {
                Some(&last) if in_row && last == reference => {
                    if let Some(sum) = lists.weights.last_mut() {
                        *sum += weight;
                    }
                }
                _ => {
                    lists.references.push(reference);
                    lists.weights.push(weight);
                }
            }
        }
        lists.starts.resize(queries + 1, lists.references.len());
        lists.all_count_one = lists.weights.iter().all(|w| *w == 1.0);
        Ok(lists)
    }

    /// The references of a query in ascending order, with their weights.
    pub fn row(&self, query: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let row = self.starts[query]..self.starts[query + 1];
        self.references[row.clone()].iter().map(|&r| r as usize).zip(self.weights[row].iter().copied())
    }

    /// Those of `row` among `count` references from `first` on, as places from 0.
    fn part(&self, query: usize, first: usize, count: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let row = self.starts[query]..self.starts[query + 1];
        let references = &self.references[row.clone()];
        let from = references.partition_point(|&r| (r as usize) < first);
        let to = references.partition_point(|&r| (r as usize) < first + count);
        let places = references[from..to].iter().map(move |&r| r as usize - first);
        places.zip(self.weights[row][from..to].iter().copied())
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.references.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.references.is_empty()
    }
}

/// Kin are the pairs of a neighbour graph, all other pairs are strangers (DrLIM's prior knowledge).
#[derive(Debug, Clone)]
pub struct Graph {
    kin: Lists,
    same_set: bool,
}

impl Graph {
    /// Among one set: an edge `(i, j)` makes `i` and `j` kin of each other; a vector is excluded from its own row.
    ///
    /// # Errors
    /// When an edge names a vector that does not exist.
    pub fn within(vectors: usize, edges: impl IntoIterator<Item = (u32, u32)>) -> Result<Self, SweepError> {
        let mut both: Vec<(u32, u32)> = edges.into_iter().flat_map(|(i, j)| [(i, j), (j, i)]).collect();
        both.sort_unstable();
        both.dedup();
        let kin = Lists::new(vectors, both.into_iter().map(|(i, j)| (i, j, 1.0)))?;
        Ok(Self { kin, same_set: true })
    }

    /// Between two sets.
    pub fn between(kin: Lists) -> Self {
        Self { kin, same_set: false }
    }
}

impl Kin for Graph {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        out.fill(Relation::Stranger);
        for (place, _) in self.kin.part(query, first, out.len()) {
            out[place] = Relation::Kin;
        }
        if self.same_set {
            exclude(query, first, out);
        }
    }

    fn weigh(&self, query: usize, first: usize, out: &mut [f32]) -> bool {
        if self.kin.all_count_one {
            return false;
        }
        out.fill(1.0);
        for (place, weight) in self.kin.part(query, first, out.len()) {
            out[place] = weight;
        }
        true
    }

    fn is_symmetric(&self) -> bool {
        self.same_set
    }
}

/// Only listed pairs have springs: mined pairs, or kin and strangers that a user names. A pair in both lists is kin.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Kin of each query.
    pub kin: Lists,
    /// Strangers of each query.
    pub strangers: Lists,
    /// Labels of the queries, if there are any.
    pub labels: Option<Vec<u32>>,
}

impl Listed {
    /// The same pairs, each counting 1 however often it is named.
    #[must_use]
    pub fn once(mut self) -> Self {
        for lists in [&mut self.kin, &mut self.strangers] {
            lists.weights.fill(1.0);
            lists.all_count_one = true;
        }
        self
    }
}

impl Kin for Listed {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        out.fill(Relation::Excluded);
        for (place, _) in self.strangers.part(query, first, out.len()) {
            out[place] = Relation::Stranger;
        }
        for (place, _) in self.kin.part(query, first, out.len()) {
            out[place] = Relation::Kin;
        }
    }

    fn weigh(&self, query: usize, first: usize, out: &mut [f32]) -> bool {
        if self.kin.all_count_one && self.strangers.all_count_one {
            return false;
        }
        out.fill(0.0);
        for (place, weight) in self.strangers.part(query, first, out.len()) {
            out[place] = weight;
        }
        for (place, weight) in self.kin.part(query, first, out.len()) {
            out[place] = weight;
        }
        true
    }

    fn label(&self, query: usize) -> Option<u32> {
        self.labels.as_ref().and_then(|labels| labels.get(query)).copied()
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

    #[test]
    fn a_graph_relates_both_ends_of_an_edge() {
        let graph = Graph::within(4, [(0, 2), (2, 0), (1, 2)]).unwrap();
        let mut out = [Relation::default(); 4];
        graph.relate(2, 0, &mut out);
        assert_eq!(out, [Relation::Kin, Relation::Kin, Relation::Excluded, Relation::Stranger]);
        graph.relate(0, 1, &mut out[..2]);
        assert_eq!(out[..2], [Relation::Stranger, Relation::Kin]);
        assert!(!graph.weigh(2, 0, &mut [0.0; 4]));
    }

    #[test]
    fn listed_pairs_count_as_often_as_they_are_named() {
        let kin = Lists::new(3, [(2, 1, 1.0), (0, 1, 1.0), (0, 1, 1.0), (0, 2, 0.5)]).unwrap();
        assert_eq!(kin.row(0).collect::<Vec<_>>(), [(1, 2.0), (2, 0.5)]);
        assert_eq!((kin.row(1).count(), kin.row(2).count(), kin.len()), (0, 1, 3));
        let listed = Listed { kin, strangers: Lists::new(3, [(0, 0, 1.0)]).unwrap(), labels: None };
        let (mut relations, mut weights) = ([Relation::default(); 3], [0.0; 3]);
        listed.relate(0, 0, &mut relations);
        assert_eq!(relations, [Relation::Stranger, Relation::Kin, Relation::Kin]);
        assert!(listed.weigh(0, 0, &mut weights));
        assert_eq!(weights, [1.0, 2.0, 0.5]);
    }

    #[test]
    fn an_edge_to_nowhere_or_a_negative_weight_is_refused() {
        assert!(Lists::new(2, [(2, 0, 1.0)]).unwrap_err().to_string().contains("query 2"));
        assert!(Lists::new(2, [(1, 0, -1.0)]).unwrap_err().to_string().contains("-1"));
    }
}
