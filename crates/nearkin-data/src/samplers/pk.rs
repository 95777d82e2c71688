//! P classes, K samples each: the batch of Hermans, Beyer and Leibe 2017, "In Defense of the Triplet
//! Loss for Person Re-Identification".

use std::collections::{BTreeMap, BinaryHeap};

use rand::Rng;

use super::Sampler;
use crate::error::DataError;
use crate::random::{Purpose, below, shuffle, stream};

/// Batches of exactly `p` different classes with `k` samples each, class by class.
///
/// In an epoch, a class of n samples is shuffled and dealt out in ⌈n/k⌉ groups of `k`; the last group
/// is filled from the start of the same shuffled order, so that samples differ within a group as long
/// as the class has `k` of them, and repeat otherwise. Every sample is visited at least once. There
/// are as many batches as that needs: max(⌈groups/p⌉, groups of the largest class). Where classes are
/// so unequal that fewer than `p` have groups left, other classes come again.
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
        let mut by_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (i, &label) in labels.iter().enumerate() {
            by_class.entry(label).or_default().push(i);
        }
        let found = by_class.len();
        let classes: Vec<_> = by_class.into_values().filter(|c| c.len() > 1).collect();
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

    /// How many classes have a single sample and are left out.
    #[must_use]
    pub fn singletons(&self) -> usize {
        self.singletons
    }

    fn groups(&self) -> impl Iterator<Item = usize> {
        self.classes.iter().map(|class| class.len().div_ceil(self.k))
    }
}

impl Sampler for PkSampler {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = stream(seed, epoch, 0, 0, Purpose::Batches);
        let mut orders = self.classes.clone();
        for order in &mut orders {
            shuffle(&mut rng, order);
        }
        let mut dealt = vec![0; orders.len()];
        let mut plan = Plan::new(self.groups().collect());
        let count = self.batches_per_epoch();
        (0..count)
            .map(|done| {
                let mut batch = Vec::with_capacity(self.p * self.k);
                for class in plan.next(self.p, count - done, &mut rng) {
                    let order = &orders[class];
                    let first = dealt[class] * self.k;
                    dealt[class] += 1;
                    batch.extend((first..first + self.k).map(|at| order[at % order.len()]));
                }
                batch
            })
            .collect()
    }

    fn batches_per_epoch(&self) -> usize {
        let total: usize = self.groups().sum();
        let largest = self.groups().max().unwrap_or(0);
        total.div_ceil(self.p).max(largest)
    }
}

/// Chooses the classes of batch after batch, at random in proportion to the groups they have left.
///
/// A class with as many groups left as there are batches left must be in every one of them. Taking
/// those first keeps, from batch to batch, the two facts that make the plan possible: no class has
/// more groups left than there are batches, and all groups left fit.
struct Plan {
    left: Vec<usize>,
    /// Sums of `left`, for drawing in proportion to it.
    weights: Fenwick,
    /// (groups left, class) of every class with groups left; entries may be out of date.
    fullest: BinaryHeap<(usize, usize)>,
}

impl Plan {
    fn new(left: Vec<usize>) -> Self {
        let mut weights = Fenwick::new(left.len());
        for (class, &groups) in left.iter().enumerate() {
            weights.add(class, groups);
        }
        let fullest = left.iter().enumerate().map(|(c, &g)| (g, c)).collect();
        Self { left, weights, fullest }
    }

    fn next(&mut self, p: usize, batches_left: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(p);
        while let Some(&(groups, class)) = self.fullest.peek() {
            let stale = self.left[class] != groups;
            if !stale && (groups < batches_left || chosen.len() == p) {
                break;
            }
            self.fullest.pop();
            if !stale {
                self.choose(class, &mut chosen);
            }
        }
        while chosen.len() < p && self.weights.total() > 0 {
            let class = self.weights.find(below(rng, self.weights.total()));
            self.choose(class, &mut chosen);
        }
        // No groups left elsewhere: classes that are through come again.
        while chosen.len() < p {
            let class = below(rng, self.left.len());
            if !chosen.contains(&class) {
                chosen.push(class);
            }
        }
        // Only now, so that no class was drawn twice.
        for &class in &chosen {
            if self.left[class] > 0 {
                self.left[class] -= 1;
                self.weights.add(class, self.left[class]);
                self.fullest.push((self.left[class], class));
            }
        }
        shuffle(rng, &mut chosen);
        chosen
    }

    fn choose(&mut self, class: usize, chosen: &mut Vec<usize>) {
        self.weights.remove(class, self.left[class]);
        chosen.push(class);
    }
}

/// A Fenwick tree of counts: add, remove and find by running sum, each in O(log n).
struct Fenwick {
    sums: Vec<usize>,
    total: usize,
}

impl Fenwick {
    fn new(len: usize) -> Self {
        Self { sums: vec![0; len + 1], total: 0 }
    }

    fn total(&self) -> usize {
        self.total
    }

    fn add(&mut self, index: usize, count: usize) {
        self.total += count;
        let mut at = index + 1;
        while at < self.sums.len() {
            self.sums[at] += count;
            at += at & at.wrapping_neg();
        }
    }

    fn remove(&mut self, index: usize, count: usize) {
        self.total -= count;
        let mut at = index + 1;
        while at < self.sums.len() {
            self.sums[at] -= count;
            at += at & at.wrapping_neg();
        }
    }

    /// The index whose share of the running sum contains `position`, which is below the total.
    fn find(&self, mut position: usize) -> usize {
        let mut at = 0;
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            if let Some(&sum) = self.sums.get(at + step)
                && sum <= position
            {
                position -= sum;
                at += step;
            }
            step /= 2;
        }
        at
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
    fn equal_classes_visit_every_sample_exactly_once() {
        let labels: Vec<u32> = (0..60).map(|i| i % 6).collect();
        let sampler = PkSampler::new(&labels, 3, 5).unwrap();
        let mut all = sampler.batches(3, 1).concat();
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn fenwick_finds_the_class_of_every_position() {
        let counts = [3, 0, 2, 1, 0, 4];
        let mut tree = Fenwick::new(counts.len());
        for (i, &count) in counts.iter().enumerate() {
            tree.add(i, count);
        }
        let found: Vec<usize> = (0..tree.total()).map(|at| tree.find(at)).collect();
        assert_eq!(found, [0, 0, 0, 2, 2, 3, 5, 5, 5, 5]);
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
