//! Classes of a few super-classes in one batch, so that many strangers are near: the sampling of Cakir, He, Xia, Kulis and Sclaroff
//! 2019, "Deep Metric Learning to Rank".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Sampler;
use super::pk::{PkSampler, without_singletons};
use super::plan::{Plan, batches_for, by_chance};
use crate::dataset::{Dataset, numbered};
use crate::error::DataError;
use crate::random::{Purpose, stream};

/// Where the super-class of a sample stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuperClasses {
    /// In the first so many folders of the class's name: 1 makes `Greek` of `Greek/character01`.
    FolderLevel(usize),
    /// In an attribute.
    Attribute(String),
}

impl SuperClasses {
    /// The number of every sample's super-class, and the names, in byte order.
    ///
    /// # Errors
    /// [`DataError::NoSuchAttribute`]; [`DataError::Setting`] for a level of 0, or a sample without a class that deep or without a
    /// value.
    pub fn find(&self, dataset: &Dataset) -> Result<(Vec<u32>, Vec<String>), DataError> {
        let names: Vec<Option<&str>> = match self {
            Self::FolderLevel(0) => {
                return Err(DataError::setting("folder-level", 0, "at least 1"));
            }
            Self::FolderLevel(level) => dataset
                .samples()
                .map(|sample| {
                    let class = dataset.classes()[sample.label? as usize].as_str();
                    let (end, _) = class.match_indices('/').nth(level - 1)?;
                    Some(&class[..end])
                })
                .collect(),
            Self::Attribute(name) => dataset.attribute(name)?,
        };
        for (i, name) in names.iter().enumerate() {
            if name.is_none() {
                let sample = dataset.sample(i);
                let class = sample.label.map_or("none", |label| &dataset.classes()[label as usize]);
                let (found, wanted) = match self {
                    Self::FolderLevel(level) => (
                        format!("class {class} of sample {}", sample.id),
                        format!("more than {level} levels of folders in every class"),
                    ),
                    Self::Attribute(name) => (
                        format!("no value of \"{name}\" for sample {}", sample.id),
                        "a value for every sample".to_owned(),
                    ),
                };
                return Err(DataError::Setting { field: "super-classes", found, wanted });
            }
        }
        let numbers = numbered(names.iter().copied().flatten());
        let found = names.iter().flatten().map(|name| numbers[name]).collect();
        Ok((found, numbers.into_keys().map(str::to_owned).collect()))
    }
}

/// Batches of `supers` different super-classes with `p` classes each, and `k` samples of each class.
///
/// Within a super-class samples are dealt out as [`PkSampler`] deals a whole set, in parts of `p × k`; a batch is made of parts of
/// different super-classes. Every sample of the classes that take part is visited at least once an epoch. Where super-classes are so
/// unequal that fewer than `supers` have parts left, parts of others come again.
///
/// Left out are classes with a single sample, and super-classes with fewer than `p` classes beside these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchical {
    supers: Vec<PkSampler>,
    per_batch: usize,
    left_out: usize,
}

impl Hierarchical {
    /// A sampler over the samples whose labels and super-classes are given.
    ///
    /// # Errors
    /// [`DataError::Shape`] if there is not one super-class a sample; [`DataError::Setting`] if `supers` or `p` is 0, both are 1,
    /// `k` is below 2, a class lies in two super-classes, or too few super-classes take part.
    pub fn new(
        labels: &[u32],
        super_classes: &[u32],
        supers: usize,
        p: usize,
        k: usize,
    ) -> Result<Self, DataError> {
        if labels.len() != super_classes.len() {
            return Err(DataError::Shape {
                what: "super-classes",
                found: super_classes.len().to_string(),
                wanted: format!("{}, one a sample", labels.len()),
            });
        }
        if supers == 0 {
            return Err(DataError::setting("super-classes a batch", 0, "at least 1"));
        }
        if p == 0 || supers * p < 2 {
            let wanted = "at least 1, and 2 where there is one super-class: one class alone has no strangers";
            return Err(DataError::setting("p (classes a super-class)", p, wanted));
        }
        if k < 2 {
            let wanted = "at least 2: a sample alone has no kin to learn from";
            return Err(DataError::setting("k (samples a class)", k, wanted));
        }
        let mut owners: BTreeMap<u32, u32> = BTreeMap::new();
        let mut groups: BTreeMap<u32, BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
        for (i, (&label, &super_class)) in labels.iter().zip(super_classes).enumerate() {
            let owner = *owners.entry(label).or_insert(super_class);
            if owner != super_class {
                let found = format!("class {label} in super-classes {owner} and {super_class}");
                return Err(DataError::setting("super-classes", found, "each class in one super-class"));
            }
            groups.entry(super_class).or_default().entry(label).or_default().push(i);
        }
        let found = groups.len();
        let mut used = 0;
        let mut samplers = Vec::new();
        for by_class in groups.into_values() {
            let (_, classes) = without_singletons(by_class);
            if classes.len() >= p {
                used += classes.iter().map(Vec::len).sum::<usize>();
                samplers.push(PkSampler::over(classes, p, k));
            }
        }
        if samplers.len() < supers {
            let wanted = format!(
                "at most {}, the number of super-classes with {p} or more classes of two or more samples ({found} \
                 super-classes in all)",
                samplers.len()
            );
            return Err(DataError::setting("super-classes a batch", supers, wanted));
        }
        Ok(Self { supers: samplers, per_batch: supers, left_out: labels.len() - used })
    }

    /// How many samples take no part.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    fn parts(&self) -> impl Iterator<Item = usize> {
        self.supers.iter().map(Sampler::batches_per_epoch)
    }
}

impl Sampler for Hierarchical {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = stream(seed, epoch, 0, 0, Purpose::Batches);
        let parts: Vec<Vec<Vec<usize>>> =
            self.supers.iter().map(|sampler| sampler.deal(&mut rng, &by_chance)).collect();
        let mut given = vec![0; parts.len()];
        let mut plan = Plan::new(self.parts().collect());
        let count = self.batches_per_epoch();
        (0..count)
            .map(|done| {
                let mut batch = Vec::new();
                for super_class in plan.next(self.per_batch, count - done, &mut rng, &by_chance) {
                    let parts = &parts[super_class];
                    batch.extend_from_slice(&parts[given[super_class] % parts.len()]);
                    given[super_class] += 1;
                }
                batch
            })
            .collect()
    }

    fn batches_per_epoch(&self) -> usize {
        batches_for(self.parts(), self.per_batch)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_numbers_are_named() {
        // Super-class 0: classes 0, 1 (and 2, a single sample); super-class 1: class 3 alone.
        let (labels, supers) = ([0, 0, 1, 1, 2, 3, 3], [0, 0, 0, 0, 0, 1, 1]);
        let text = Hierarchical::new(&labels, &supers, 2, 2, 2).unwrap_err().to_string();
        assert!(text.contains("at most 1") && text.contains("(2 super-classes in all)"), "{text}");
        assert_eq!(Hierarchical::new(&labels, &supers, 1, 2, 2).unwrap().left_out(), 3);
        assert_eq!(Hierarchical::new(&labels, &supers, 2, 1, 2).unwrap().left_out(), 1);
        assert!(Hierarchical::new(&labels, &supers, 0, 2, 2).is_err());
        assert!(Hierarchical::new(&labels, &supers, 1, 1, 2).is_err());
        assert!(Hierarchical::new(&labels, &supers, 1, 2, 1).is_err());
        assert!(Hierarchical::new(&labels, &supers[1..], 1, 2, 2).is_err());
        let text = Hierarchical::new(&[0, 0], &[0, 1], 1, 2, 2).unwrap_err().to_string();
        assert!(text.contains("class 0 in super-classes 0 and 1"), "{text}");
    }

    proptest! {
        #[test]
        fn batches_are_made_of_whole_super_classes_and_every_sample_is_visited(
            sizes in prop::collection::vec(prop::collection::vec(1usize..9, 1..6), 1..6),
            supers in 1usize..4,
            p in 1usize..4,
            k in 2usize..4,
            seed in any::<u64>(),
            epoch in 0u64..4,
        ) {
            let (mut labels, mut owners, mut class) = (Vec::new(), Vec::new(), 0);
            for (owner, sizes) in (0..).zip(&sizes) {
                for &size in sizes {
                    labels.extend(std::iter::repeat_n(class, size));
                    owners.extend(std::iter::repeat_n(owner, size));
                    class += 1;
                }
            }
            let takes_part = |sizes: &&Vec<usize>| sizes.iter().filter(|&&n| n > 1).count() >= p;
            let able = sizes.iter().filter(takes_part).count();
            let sampler = Hierarchical::new(&labels, &owners, supers, p, k);
            if supers * p < 2 || able < supers {
                prop_assert!(sampler.is_err());
                return Ok(());
            }
            let sampler = sampler.unwrap();
            let batches = sampler.batches(seed, epoch);
            prop_assert_eq!(&batches, &sampler.batches(seed, epoch));
            prop_assert_eq!(batches.len(), sampler.batches_per_epoch());
            let mut visited = BTreeSet::new();
            for batch in &batches {
                prop_assert_eq!(batch.len(), supers * p * k);
                let mut seen = BTreeSet::new();
                for part in batch.chunks(p * k) {
                    let owner = owners[part[0]];
                    prop_assert!(seen.insert(owner));
                    prop_assert!(part.iter().all(|&i| owners[i] == owner));
                    let classes: BTreeSet<u32> = part.iter().step_by(k).map(|&i| labels[i]).collect();
                    prop_assert_eq!(classes.len(), p);
                    prop_assert!(part.chunks(k).all(|g| g.iter().all(|&i| labels[i] == labels[g[0]])));
                }
                visited.extend(batch.iter().copied());
            }
            prop_assert_eq!(visited.len() + sampler.left_out(), labels.len());
        }
    }
}
