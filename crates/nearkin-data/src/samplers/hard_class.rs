//! Classes that lie near each other in one batch: the hard negative class mining of Sohn 2016, "Improved Deep Metric Learning with
//! Multi-class N-pair Loss Objective", section 3.2.3.

use super::pk::{PkSampler, without_singletons};
use super::plan::by_chance;
use super::{Sampler, by_class};
use crate::error::DataError;
use crate::random::{Purpose, stream};

/// For each class, some classes near it: what a trainer finds from the embeddings it has, for example the nearest class means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassNearness {
    /// By label: (label, distance), nearest first.
    near: Vec<Vec<(u32, f32)>>,
}

impl ClassNearness {
    /// From a list for each label, in any order: other labels and how far they are, smaller is nearer. Lists may be short, or empty
    /// for classes of which nothing is known; the few dozen nearest are as good as all.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a distance that is not a number, or a label beyond the number of lists.
    pub fn new(mut near: Vec<Vec<(u32, f32)>>) -> Result<Self, DataError> {
        let classes = near.len();
        for (class, list) in near.iter_mut().enumerate() {
            for &(other, distance) in list.iter() {
                if distance.is_nan() || other as usize >= classes {
                    return Err(DataError::Setting {
                        field: "class nearness",
                        found: format!("class {other} at distance {distance} from class {class}"),
                        wanted: format!("distances that are numbers, to classes below {classes}"),
                    });
                }
            }
            list.retain(|&(other, _)| other as usize != class);
            list.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        }
        Ok(Self { near })
    }
}

/// [`PkSampler`]'s batches with other company: after classes that must come now, the first class of a batch is drawn at random, in
/// proportion to the groups of samples it has left; each further one is the nearest to any of those chosen so far that has groups
/// left and stands in their lists, and where there is none, a random one again. So every sample is visited at least once an epoch,
/// as there.
///
/// The batches are a function of seed, epoch and the table of nearness in force. A run that resumes must give the same table again:
/// find it at the start of an epoch, from the weights of that moment. Before the first table all company is random.
#[derive(Clone, Debug, PartialEq)]
pub struct HardClass {
    pk: PkSampler,
    /// The label of each of the sampler's classes, ascending.
    labels: Vec<u32>,
    nearness: ClassNearness,
}

impl HardClass {
    /// Batches of `p` classes with `k` samples each; `k = 2` for N-pair.
    ///
    /// # Errors
    /// As [`PkSampler::new`].
    pub fn new(labels: &[u32], p: usize, k: usize) -> Result<Self, DataError> {
        let pk = PkSampler::new(labels, p, k)?;
        let (labels, _) = without_singletons(by_class(labels));
        Ok(Self { pk, labels, nearness: ClassNearness::default() })
    }

    /// Puts another table in force.
    pub fn renew(&mut self, nearness: ClassNearness) {
        self.nearness = nearness;
    }

    /// How many classes have a single sample and are left out.
    #[must_use]
    pub fn singletons(&self) -> usize {
        self.pk.singletons()
    }

    /// The open class nearest to any chosen one; ties go to the lowest.
    fn nearest(&self, chosen: &[usize], open: &dyn Fn(usize) -> bool) -> Option<usize> {
        let first_open = |class: &usize| {
            let list = self.nearness.near.get(self.labels[*class] as usize)?;
            list.iter().find_map(|&(label, distance)| {
                let class = self.labels.binary_search(&label).ok()?;
                open(class).then_some((distance, class))
            })
        };
        let nearest =
            chosen.iter().filter_map(first_open).min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        nearest.map(|(_, class)| class)
    }
}

impl Sampler for HardClass {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = stream(seed, epoch, 0, 0, Purpose::Batches);
        if self.nearness.near.is_empty() {
            return self.pk.deal(&mut rng, &by_chance);
        }
        self.pk.deal(&mut rng, &|chosen: &[usize], open: &dyn Fn(usize) -> bool| self.nearest(chosen, open))
    }

    fn batches_per_epoch(&self) -> usize {
        self.pk.batches_per_epoch()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_table_the_batches_are_those_of_pk() {
        let labels: Vec<u32> = (0..40).map(|i| i % 8).collect();
        let hard = HardClass::new(&labels, 3, 2).unwrap();
        assert_eq!(hard.batches(4, 2), PkSampler::new(&labels, 3, 2).unwrap().batches(4, 2));
    }

    #[test]
    fn near_classes_share_batches() {
        // Labels 10 to 17 with three groups each, of which 2i and 2i + 1 are twins; 18 has one sample.
        let mut labels: Vec<u32> = (0..48).map(|i| 10 + i % 8).collect();
        labels.push(18);
        let mut near = vec![Vec::new(); 19];
        for label in 10u32..18 {
            near[label as usize] = vec![(10 + (label + 3) % 8, 2.0), (18, 0.1), (label ^ 1, 0.5)];
        }
        let mut hard = HardClass::new(&labels, 2, 2).unwrap();
        assert_eq!(hard.singletons(), 1);
        let twins = |hard: &HardClass| {
            let batches = hard.batches(1, 0);
            batches.iter().filter(|batch| labels[batch[0]] ^ 1 == labels[batch[2]]).count()
        };
        assert!(twins(&hard) < 6, "{}", twins(&hard));
        hard.renew(ClassNearness::new(near).unwrap());
        assert_eq!(twins(&hard), 12);
    }

    #[test]
    fn a_table_that_is_none_is_refused() {
        assert!(ClassNearness::new(vec![vec![(1, 0.0)]]).is_err());
        assert!(ClassNearness::new(vec![vec![], vec![(0, f32::NAN)]]).is_err());
        let table = ClassNearness::new(vec![vec![(0, 0.0), (1, 3.0), (2, 1.0)], vec![], vec![]]).unwrap();
        assert_eq!(table.near[0], [(2, 1.0), (1, 3.0)]);
    }

    proptest! {
        #[test]
        fn whatever_the_table_every_sample_is_visited_and_classes_differ(
            sizes in prop::collection::vec(2usize..20, 2..12),
            p in 2usize..6,
            k in 2usize..5,
            seed in any::<u64>(),
            table in prop::collection::vec(prop::collection::vec((0u32..12, 0f32..1.0), 0..6), 12),
        ) {
            let p = p.min(sizes.len());
            let labels: Vec<u32> =
                (0..).zip(&sizes).flat_map(|(class, &size)| std::iter::repeat_n(class, size)).collect();
            let mut sampler = HardClass::new(&labels, p, k).unwrap();
            sampler.renew(ClassNearness::new(table).unwrap());
            let batches = sampler.batches(seed, 3);
            prop_assert_eq!(&batches, &sampler.batches(seed, 3));
            prop_assert_eq!(batches.len(), sampler.batches_per_epoch());
            for batch in &batches {
                prop_assert_eq!(batch.len(), p * k);
                let classes: BTreeSet<u32> = batch.iter().step_by(k).map(|&i| labels[i]).collect();
                prop_assert_eq!(classes.len(), p);
                prop_assert!(batch.chunks(k).all(|group| group.iter().all(|&i| labels[i] == labels[group[0]])));
            }
            let visited: BTreeSet<usize> = batches.concat().into_iter().collect();
            prop_assert_eq!(visited.len(), labels.len());
        }
    }
}
