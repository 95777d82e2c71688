//! P classes, K samples each: the batch of Hermans, Beyer and Leibe 2017, "In Defense of the Triplet
//! Loss for Person Re-Identification".

use std::collections::BTreeMap;

use rand::Rng;

use super::plan::{Plan, batches_for, by_chance};
use super::{Sampler, by_class};
use crate::error::DataError;
use crate::random::{Purpose, shuffle, stream};

/// Batches of exactly `p` different classes with `k` samples each, class by class.
///
/// In an epoch, a class of n samples is shuffled and dealt out in ⌈n/k⌉ groups of `k`; the last group
/// is filled from the start of the same shuffled order, so that samples differ within a group as long
/// as the class has `k` of them, and repeat otherwise. Every sample is visited at least once. There
/// are as many batches as that needs: max(⌈groups/p⌉, groups of the largest class). Where classes are
/// so unequal that fewer than `p` have groups left, other classes come again.
///
/// `k = 2` makes the batches of Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective": one pair of each
/// of `p` classes; the first of a pair stands at an even place, the second behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PkSampler {
    /// The sample indices of every class that has at least two.
    classes: Vec<Vec<usize>>,
    p: usize,
    k: usize,
    singletons: usize,
}

impl PkSampler {
    /// A sampler over the samples whose labels are given.
    ///
    /// Classes with a single sample have no kin to learn from; they are left out and counted, see
    /// [`PkSampler::singletons`].
    ///
    /// # Errors
    /// [`DataError::Setting`] if `p` or `k` is below 2, or if fewer than `p` classes have two samples.
    pub fn new(labels: &[u32], p: usize, k: usize) -> Result<Self, DataError> {
        if p < 2 {
            return Err(DataError::setting(
                "p (classes a batch)",
                p,
                "at least 2: one class alone has no strangers to learn from",
            ));
        }
        if k < 2 {
            return Err(DataError::setting(
                "k (samples a class)",
                k,
                "at least 2: a sample alone has no kin to learn from",
            ));
        }
        let by_class = by_class(labels);
        let found = by_class.len();
        let (_, classes) = without_singletons(by_class);
        let singletons = found - classes.len();
        if classes.len() < p {
            return Err(DataError::setting(
                "p (classes a batch)",
                p,
                format!(
                    "at most {}, the number of classes with two or more samples ({found} classes, \
                     {singletons} of them with a single sample)",
                    classes.len()
                ),
            ));
        }
        Ok(Self { classes, p, k, singletons })
    }

    /// Batches over classes that are checked already: each has two samples, and there are at least `p`.
    pub(super) fn over(classes: Vec<Vec<usize>>, p: usize, k: usize) -> Self {
        Self { classes, p, k, singletons: 0 }
    }

    /// How many classes have a single sample and are left out.
    #[must_use]
    pub fn singletons(&self) -> usize {
        self.singletons
    }

    fn groups(&self) -> impl Iterator<Item = usize> {
        self.classes.iter().map(|class| class.len().div_ceil(self.k))
    }

    /// The batches that a generator of random numbers makes, with a say in which classes come together: see [`Plan::next`].
    pub(super) fn deal(
        &self,
        rng: &mut impl Rng,
        prefer: &impl Fn(&[usize], &dyn Fn(usize) -> bool) -> Option<usize>,
    ) -> Vec<Vec<usize>> {
        let mut orders = self.classes.clone();
        for order in &mut orders {
            shuffle(rng, order);
        }
        let mut dealt = vec![0; orders.len()];
        let mut plan = Plan::new(self.groups().collect());
        let count = self.batches_per_epoch();
        (0..count)
            .map(|done| {
                let mut batch = Vec::with_capacity(self.p * self.k);
                for class in plan.next(self.p, count - done, rng, prefer) {
                    let order = &orders[class];
                    let first = dealt[class] * self.k;
                    dealt[class] += 1;
                    batch.extend((first..first + self.k).map(|at| order[at % order.len()]));
                }
                batch
            })
            .collect()
    }
}

/// The labels of the classes that have two samples or more, and their samples.
pub(super) fn without_singletons(by_class: BTreeMap<u32, Vec<usize>>) -> (Vec<u32>, Vec<Vec<usize>>) {
    by_class.into_iter().filter(|(_, samples)| samples.len() > 1).unzip()
}

impl Sampler for PkSampler {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        self.deal(&mut stream(seed, epoch, 0, 0, Purpose::Batches), &by_chance)
    }

    fn batches_per_epoch(&self) -> usize {
        batches_for(self.groups(), self.p)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_numbers_are_named() {
        let error = PkSampler::new(&[0, 0, 1, 1, 2], 3, 2).unwrap_err().to_string();
        assert!(error.contains("at most 2") && error.contains("3 classes, 1 of them"), "{error}");
        let error = PkSampler::new(&[7; 10], 2, 2).unwrap_err().to_string();
        assert!(error.contains("at most 1"), "{error}");
        assert!(PkSampler::new(&[0, 0, 1, 1], 1, 2).is_err());
        assert!(PkSampler::new(&[0, 0, 1, 1], 2, 1).is_err());
        assert!(PkSampler::new(&[], 2, 2).is_err());
    }

    #[test]
    fn singletons_are_left_out_and_counted() {
        let sampler = PkSampler::new(&[0, 1, 1, 2, 2, 3], 2, 2).unwrap();
        assert_eq!(sampler.singletons(), 2);
        let all: BTreeSet<usize> = sampler.batches(0, 0).concat().into_iter().collect();
        assert_eq!(all, BTreeSet::from([1, 2, 3, 4]));
    }

    #[test]
    fn the_batches_of_a_seed_never_change() {
        let labels: Vec<u32> = (0..12).map(|i| i % 4).collect();
        let batches = PkSampler::new(&labels, 2, 2).unwrap().batches(1, 0);
        assert_eq!(batches[0], [0, 8, 6, 10]);
    }

    #[test]
    fn two_samples_a_class_are_pairs_of_different_classes_and_visit_all() {
        let labels: Vec<u32> = (0..35).map(|i| i % 7).collect();
        let batches = PkSampler::new(&labels, 5, 2).unwrap().batches(3, 1);
        for batch in &batches {
            assert_eq!(batch.len(), 10);
            let classes: BTreeSet<u32> = batch.iter().step_by(2).map(|&i| labels[i]).collect();
            assert_eq!(classes.len(), 5);
            assert!(batch.chunks(2).all(|pair| labels[pair[0]] == labels[pair[1]] && pair[0] != pair[1]));
        }
        assert_eq!(batches.concat().into_iter().collect::<BTreeSet<_>>().len(), 35);
    }

    #[test]
    fn equal_classes_visit_every_sample_exactly_once() {
        let labels: Vec<u32> = (0..60).map(|i| i % 6).collect();
        let sampler = PkSampler::new(&labels, 3, 5).unwrap();
        let mut all = sampler.batches(3, 1).concat();
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn every_batch_has_p_classes_of_k_and_every_sample_is_visited(
            sizes in prop::collection::vec(2usize..30, 2..20),
            p in 2usize..8,
            k in 2usize..6,
            seed in any::<u64>(),
            epoch in 0u64..5,
        ) {
            let p = p.min(sizes.len());
            let labels: Vec<u32> = sizes
                .iter()
                .enumerate()
                .flat_map(|(class, &size)| std::iter::repeat_n(class as u32 * 3, size))
                .collect();
            let sampler = PkSampler::new(&labels, p, k).unwrap();
            let batches = sampler.batches(seed, epoch);
            prop_assert_eq!(&batches, &sampler.batches(seed, epoch));
            prop_assert_eq!(batches.len(), sampler.batches_per_epoch());
            let mut visited = BTreeSet::new();
            for batch in &batches {
                prop_assert_eq!(batch.len(), p * k);
                let mut classes = BTreeSet::new();
                for group in batch.chunks(k) {
                    let class = labels[group[0]];
                    prop_assert!(group.iter().all(|&i| labels[i] == class));
                    prop_assert!(classes.insert(class), "a class twice in a batch");
                    let different: BTreeSet<_> = group.iter().collect();
                    let size = sizes[class as usize / 3];
                    prop_assert_eq!(different.len(), size.min(k));
                }
                visited.extend(batch.iter().copied());
            }
            prop_assert_eq!(visited.len(), labels.len());
        }
    }
}
