//! Which samples belong together, as an explicit graph: the prior knowledge of Hadsell, Chopra and LeCun 2006 (DrLIM), where labels
//! are only one way to know.
//!
//! ```
//! use nearkin_data::KinGraph;
//!
//! let graph = KinGraph::from_pairs(4, [(0, 1), (2, 1)])?;
//! assert_eq!(graph.neighbors(1), [0, 2]);
//! // A batch of samples 2, 3 and 1: the first and the last are kin.
//! assert_eq!(graph.among(&[2, 3, 1]), [(0, 2)]);
//! # Ok::<(), nearkin_data::DataError>(())
//! ```

mod builders;
mod file;

use std::collections::HashMap;

pub use self::builders::Axis;
use crate::dataset::Dataset;
use crate::error::DataError;

/// The kin of each sample of a data set: both ways, no sample its own, in compressed rows (CSR). Two numbers an edge and one a
/// sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinGraph {
    /// The neighbours of sample i are `neighbors[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    /// Ascending in each row.
    neighbors: Vec<u32>,
}

impl KinGraph {
    /// From pairs in any order and either direction; a pair that is named again changes nothing, and one of a sample with itself
    /// is left out.
    ///
    /// # Errors
    /// [`DataError::Index`] for a sample not below `samples`; [`DataError::Setting`] for 2^32 samples or more.
    pub fn from_pairs(
        samples: usize,
        pairs: impl IntoIterator<Item = (usize, usize)>,
    ) -> Result<Self, DataError> {
        if u32::try_from(samples).is_err() {
            return Err(DataError::setting("samples of a kin graph", samples, "fewer than 2^32"));
        }
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); samples];
        for (a, b) in pairs {
            if let Some(index) = [a, b].into_iter().find(|&index| index >= samples) {
                return Err(DataError::Index { index, len: samples });
            }
            if a != b {
                rows[a].push(b as u32);
                rows[b].push(a as u32);
            }
        }
        let mut graph = Self { starts: vec![0], neighbors: Vec::new() };
        for mut row in rows {
            row.sort_unstable();
            row.dedup();
            graph.neighbors.extend(row);
            graph.starts.push(graph.neighbors.len());
        }
        Ok(graph)
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kin of sample `i`, ascending.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Self::len).
    #[must_use]
    pub fn neighbors(&self, i: usize) -> &[u32] {
        &self.neighbors[self.starts[i]..self.starts[i + 1]]
    }

    /// Whether two samples are kin.
    ///
    /// # Panics
    /// If `a` is not below [`len`](Self::len).
    #[must_use]
    pub fn joins(&self, a: usize, b: usize) -> bool {
        u32::try_from(b).is_ok_and(|b| self.neighbors(a).binary_search(&b).is_ok())
    }

    /// The number of pairs.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.neighbors.len() / 2
    }

    /// Each pair once, the lower sample first, in ascending order.
    pub fn edges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.len()).flat_map(|a| {
            let row = self.neighbors(a);
            let later = row.partition_point(|&b| (b as usize) < a);
            row[later..].iter().map(move |&b| (a as u32, b))
        })
    }

    /// The kin among the samples of a batch, as pairs of places in it, each once, the lower place first, in ascending order. A
    /// sample that stands in the batch again is kin of itself: its views belong together.
    ///
    /// # Panics
    /// If a sample is not below [`len`](Self::len).
    #[must_use]
    pub fn among(&self, batch: &[usize]) -> Vec<(u32, u32)> {
        let mut places: HashMap<usize, Vec<u32>> = HashMap::with_capacity(batch.len());
        for (place, &sample) in (0..).zip(batch) {
            places.entry(sample).or_default().push(place);
        }
        let mut pairs = Vec::new();
        for (place, &sample) in (0..).zip(batch) {
            let neighbors = self.neighbors(sample);
            // Whichever is shorter is walked.
            let mut add = |others: &[u32]| {
                pairs.extend(others.iter().filter(|&&other| other > place).map(|&other| (place, other)));
            };
            add(&places[&sample]);
            if neighbors.len() < places.len() {
                neighbors.iter().filter_map(|&b| places.get(&(b as usize))).for_each(|others| add(others));
            } else {
                let kin = places.iter().filter(|(b, _)| self.joins(sample, **b));
                kin.for_each(|(_, others)| add(others));
            }
        }
        pairs.sort_unstable();
        pairs
    }

    /// Kin by either graph.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the graphs differ in their number of samples.
    pub fn or(&self, other: &Self) -> Result<Self, DataError> {
        self.same_len(other)?;
        let both = self.edges().chain(other.edges()).map(|(a, b)| (a as usize, b as usize));
        Self::from_pairs(self.len(), both)
    }

    /// Kin of kin: a and c with a joined to some b here, and b to c in `next`. DrLIM pairs an image with the translations of its
    /// nearest neighbours: `nearest.then(&translations)`.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the graphs differ in their number of samples.
    pub fn then(&self, next: &Self) -> Result<Self, DataError> {
        self.same_len(next)?;
        let pairs = (0..self.len()).flat_map(|a| {
            let across = self.neighbors(a).iter().flat_map(|&b| next.neighbors(b as usize));
            across.map(move |&c| (a, c as usize))
        });
        Self::from_pairs(self.len(), pairs)
    }

    fn same_len(&self, other: &Self) -> Result<(), DataError> {
        if self.len() == other.len() {
            return Ok(());
        }
        Err(DataError::Shape {
            what: "samples of a kin graph",
            found: other.len().to_string(),
            wanted: format!("{}, as in the other graph", self.len()),
        })
    }

    /// The graph of `whole`, on a part of it: what preparation left, or one side of a split.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the graph is not of `whole`, or a sample of `part` is not in `whole`.
    pub fn on_part(&self, whole: &Dataset, part: &Dataset) -> Result<Self, DataError> {
        if self.len() != whole.len() {
            return Err(DataError::Shape {
                what: "samples of a kin graph",
                found: self.len().to_string(),
                wanted: format!("{}, as in the data set", whole.len()),
            });
        }
        let places: HashMap<usize, usize> = (0..whole.len()).map(|i| (whole.origin(i), i)).collect();
        let places = (0..part.len()).map(|i| {
            places.get(&part.origin(i)).copied().ok_or_else(|| DataError::Shape {
                what: "part of a data set",
                found: format!("sample {}", part.sample(i).id),
                wanted: "samples of the whole only".into(),
            })
        });
        let places: Vec<usize> = places.collect::<Result<_, _>>()?;
        let pairs = self.among(&places).into_iter().map(|(a, b)| (a as usize, b as usize));
        Self::from_pairs(part.len(), pairs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_go_both_ways_and_count_once() {
        let graph = KinGraph::from_pairs(5, [(3, 1), (1, 3), (1, 0), (2, 2)]).unwrap();
        assert_eq!((graph.len(), graph.pairs()), (5, 2));
        assert_eq!(graph.neighbors(1), [0, 3]);
        assert!(graph.neighbors(2).is_empty() && graph.joins(3, 1) && !graph.joins(3, 0));
        assert_eq!(graph.edges().collect::<Vec<_>>(), [(0, 1), (1, 3)]);
        assert!(matches!(KinGraph::from_pairs(2, [(0, 2)]), Err(DataError::Index { index: 2, len: 2 })));
        assert!(KinGraph::from_pairs(0, []).unwrap().is_empty());
    }

    #[test]
    fn a_sample_twice_in_a_batch_is_its_own_kin() {
        let graph = KinGraph::from_pairs(4, [(0, 1)]).unwrap();
        assert_eq!(graph.among(&[1, 3, 1, 0]), [(0, 2), (0, 3), (2, 3)]);
    }

    #[test]
    fn graphs_of_different_sets_do_not_mix() {
        let (a, b) = (KinGraph::from_pairs(2, []).unwrap(), KinGraph::from_pairs(3, []).unwrap());
        assert!(a.or(&b).is_err() && a.then(&b).is_err());
    }

    fn arbitrary(samples: usize) -> impl Strategy<Value = (KinGraph, BTreeSet<(usize, usize)>)> {
        prop::collection::vec((0..samples, 0..samples), 0..40).prop_map(move |pairs| {
            let graph = KinGraph::from_pairs(samples, pairs.clone()).unwrap();
            let both = pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).filter(|(a, b)| a != b);
            (graph, both.collect())
        })
    }

    proptest! {
        #[test]
        fn every_operation_agrees_with_sets_of_pairs(
            (one, one_set) in arbitrary(9),
            (two, two_set) in arbitrary(9),
            batch in prop::collection::vec(0usize..9, 0..14),
        ) {
            let all = |graph: &KinGraph| -> BTreeSet<(usize, usize)> {
                (0..9).flat_map(|a| graph.neighbors(a).iter().map(move |&b| (a, b as usize))).collect()
            };
            prop_assert_eq!(all(&one), one_set.clone());
            prop_assert_eq!(all(&one.or(&two).unwrap()), &one_set | &two_set);
            let mut across = BTreeSet::new();
            for &(a, b) in &one_set {
                for &(_, c) in two_set.iter().filter(|(first, c)| *first == b && *c != a) {
                    across.extend([(a, c), (c, a)]);
                }
            }
            prop_assert_eq!(all(&one.then(&two).unwrap()), across);
            let mut among = Vec::new();
            for i in 0..batch.len() {
                for j in i + 1..batch.len() {
                    if batch[i] == batch[j] || one_set.contains(&(batch[i], batch[j])) {
                        among.push((i as u32, j as u32));
                    }
                }
            }
            prop_assert_eq!(one.among(&batch), among);
        }
    }
}
