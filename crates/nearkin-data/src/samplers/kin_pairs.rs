//! Samples with some of their kin: batches for a neighbour graph, as Hadsell, Chopra and LeCun 2006 (DrLIM) train on.

use super::Sampler;
use crate::error::DataError;
use crate::kin::KinGraph;
use crate::random::{Purpose, shuffle, stream};

/// Batches of groups: a sample and `kin` of its neighbours behind it. Neighbours are drawn without repetition as long as there are
/// as many, and come again otherwise. A sample may stand in a batch more than once, as the neighbour of several; all other pairs of a
/// batch are strangers unless the graph joins them too, which [`KinGraph::among`] tells.
///
/// In an epoch, every sample that has kin leads a group at least once, in a random order; the last batch is filled from the start of
/// the same order. Which neighbours it meets changes from epoch to epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinPairs {
    graph: KinGraph,
    /// The samples that have kin.
    leaders: Vec<usize>,
    groups: usize,
    kin: usize,
}

impl KinPairs {
    /// Batches of `groups` samples with `kin` neighbours each: `groups × (1 + kin)` samples. DrLIM's pairs are `kin = 1`.
    ///
    /// # Errors
    /// [`DataError::Setting`] if `groups` is below 2 or beyond the samples with kin, or `kin` is 0.
    pub fn new(graph: KinGraph, groups: usize, kin: usize) -> Result<Self, DataError> {
        let leaders: Vec<usize> = (0..graph.len()).filter(|&i| !graph.neighbors(i).is_empty()).collect();
        if groups < 2 || groups > leaders.len() {
            let wanted = format!(
                "2 to {}, the number of samples with kin (of {}): one group alone has no strangers",
                leaders.len(),
                graph.len()
            );
            return Err(DataError::setting("groups a batch", groups, wanted));
        }
        if kin == 0 {
            return Err(DataError::setting("kin a sample", 0, "at least 1"));
        }
        Ok(Self { graph, leaders, groups, kin })
    }

    /// How many samples have no kin and are left out.
    #[must_use]
    pub fn without_kin(&self) -> usize {
        self.graph.len() - self.leaders.len()
    }
}

impl Sampler for KinPairs {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = stream(seed, epoch, 0, 0, Purpose::Batches);
        let mut order = self.leaders.clone();
        shuffle(&mut rng, &mut order);
        let count = self.batches_per_epoch() * self.groups;
        let mut sequence = Vec::with_capacity(count * (1 + self.kin));
        for place in 0..count {
            let leader = order[place % order.len()];
            let mut neighbors = self.graph.neighbors(leader).to_vec();
            shuffle(&mut rng, &mut neighbors);
            sequence.push(leader);
            sequence.extend(neighbors.iter().cycle().take(self.kin).map(|&other| other as usize));
        }
        sequence.chunks(self.groups * (1 + self.kin)).map(<[usize]>::to_vec).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.leaders.len().div_ceil(self.groups)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn too_few_samples_with_kin_are_named() {
        let graph = KinGraph::from_pairs(5, [(0, 1), (1, 2)]).unwrap();
        let sampler = KinPairs::new(graph.clone(), 3, 1).unwrap();
        assert_eq!(sampler.without_kin(), 2);
        let text = KinPairs::new(graph.clone(), 4, 1).unwrap_err().to_string();
        assert!(text.contains("2 to 3, the number of samples with kin (of 5)"), "{text}");
        assert!(KinPairs::new(graph.clone(), 1, 1).is_err());
        assert!(KinPairs::new(graph, 2, 0).is_err());
    }

    proptest! {
        #[test]
        fn every_sample_with_kin_leads_a_group_of_its_neighbours(
            pairs in prop::collection::vec((0usize..30, 0usize..30), 3..80),
            groups in 2usize..9,
            kin in 1usize..5,
            seed in any::<u64>(),
        ) {
            let graph = KinGraph::from_pairs(30, pairs).unwrap();
            let Ok(sampler) = KinPairs::new(graph.clone(), groups, kin) else { return Ok(()) };
            let batches = sampler.batches(seed, 1);
            prop_assert_eq!(&batches, &sampler.batches(seed, 1));
            prop_assert_eq!(batches.len(), sampler.batches_per_epoch());
            let mut leaders = BTreeSet::new();
            for batch in &batches {
                prop_assert_eq!(batch.len(), groups * (1 + kin));
                for group in batch.chunks(1 + kin) {
                    leaders.insert(group[0]);
                    prop_assert!(group[1..].iter().all(|&other| graph.joins(group[0], other)));
                    let different: BTreeSet<_> = group[1..].iter().collect();
                    prop_assert_eq!(different.len(), kin.min(graph.neighbors(group[0]).len()));
                }
            }
            prop_assert_eq!(leaders.len() + sampler.without_kin(), 30);
        }
    }
}
