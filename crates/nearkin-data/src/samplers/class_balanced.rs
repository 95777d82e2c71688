//! Every class as often as every other, however many samples it has.

use super::{Sampler, by_class, check_sizes};
use crate::error::DataError;
use crate::random::{Purpose, shuffle, stream};

/// The view number of the streams that order the classes of a round.
const ROUNDS: u32 = 1;
/// The view number of the streams that order a class's samples.
const TURNS: u32 = 2;

/// Batches of an endless sequence of rounds. A round holds one sample of each class, in an order of its own; a class gives its
/// samples one after another, and when all have been, in another order. Batches cut through rounds, and epochs too, so over any
/// number of steps from the first
///
/// - the classes differ by at most one in how often they were drawn, and
/// - the samples of a class differ by at most one.
///
/// An epoch has as many whole batches as it takes for as many draws as there are samples: samples of small classes come several
/// times, those of large ones wait for a later epoch, after `classes × largest class` draws at the latest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassBalanced {
    classes: Vec<Vec<usize>>,
    len: usize,
    batch: usize,
}

impl ClassBalanced {
    /// Batches of `batch` over the samples whose labels are given.
    ///
    /// # Errors
    /// [`DataError::Setting`] if there are no samples or `batch` is 0.
    pub fn new(labels: &[u32], batch: usize) -> Result<Self, DataError> {
        check_sizes(labels.len(), batch)?;
        Ok(Self { classes: by_class(labels).into_values().collect(), len: labels.len(), batch })
    }
}

impl Sampler for ClassBalanced {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let draws = (self.batches_per_epoch() * self.batch) as u64;
        let classes = self.classes.len() as u64;
        let first = epoch.wrapping_mul(draws);
        let mut round: Option<(u64, Vec<usize>)> = None;
        // The turn that each class is in, and its order.
        let mut turns: Vec<Option<(u64, Vec<usize>)>> = vec![None; self.classes.len()];
        let sequence: Vec<usize> = (0..draws)
            .map(|i| {
                let draw = first.wrapping_add(i);
                let number = draw / classes;
                let (_, order) = match round.take() {
                    Some(known) if known.0 == number => round.insert(known),
                    _ => {
                        let mut order: Vec<usize> = (0..self.classes.len()).collect();
                        shuffle(&mut stream(seed, number, 0, ROUNDS, Purpose::Batches), &mut order);
                        round.insert((number, order))
                    }
                };
                let class = order[(draw % classes) as usize];
                let samples = &self.classes[class];
                // A class is drawn once a round, so the round counts its draws.
                let (turn, place) = (number / samples.len() as u64, number % samples.len() as u64);
                let (_, order) = match turns[class].take() {
                    Some(known) if known.0 == turn => turns[class].insert(known),
                    _ => {
                        let mut order = samples.clone();
                        shuffle(&mut stream(seed, turn, class as u64, TURNS, Purpose::Batches), &mut order);
                        turns[class].insert((turn, order))
                    }
                };
                order[place as usize]
            })
            .collect();
        sequence.chunks(self.batch).map(<[usize]>::to_vec).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.len.div_ceil(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_samples_or_no_batch_is_refused() {
        assert!(ClassBalanced::new(&[], 2).is_err());
        assert!(ClassBalanced::new(&[1], 0).is_err());
    }

    proptest! {
        #[test]
        fn classes_and_their_samples_are_drawn_equally_often_through_all_epochs(
            sizes in prop::collection::vec(1usize..15, 1..8),
            batch in 1usize..9,
            seed in any::<u64>(),
            epochs in 1u64..6,
        ) {
            let labels: Vec<u32> =
                (5..).zip(&sizes).flat_map(|(class, &size)| std::iter::repeat_n(class, size)).collect();
            let sampler = ClassBalanced::new(&labels, batch).unwrap();
            let mut drawn = vec![0usize; labels.len()];
            for epoch in 0..epochs {
                let batches = sampler.batches(seed, epoch);
                prop_assert_eq!(&batches, &sampler.batches(seed, epoch));
                prop_assert_eq!(batches.len(), sampler.batches_per_epoch());
                for batch_found in &batches {
                    prop_assert_eq!(batch_found.len(), batch);
                    batch_found.iter().for_each(|&i| drawn[i] += 1);
                    let mut of_class = Vec::new();
                    let mut first = 0;
                    for &size in &sizes {
                        let class = &drawn[first..first + size];
                        first += size;
                        prop_assert!(class.iter().max().unwrap() - class.iter().min().unwrap() <= 1);
                        of_class.push(class.iter().sum::<usize>());
                    }
                    prop_assert!(of_class.iter().max().unwrap() - of_class.iter().min().unwrap() <= 1);
                }
            }
        }
    }
}
