//! Every sample once, in random order.

use super::{Sampler, check_sizes};
use crate::error::DataError;
use crate::random::{Purpose, shuffle, stream};

/// Batches of a random permutation, another one each epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shuffled {
    len: usize,
    batch: usize,
    drop_last: bool,
}

impl Shuffled {
    /// Batches of `batch` out of `len` samples. With `drop_last`, the samples that do not fill a
    /// whole batch are left out of the epoch (others each time); without it they are a smaller one.
    ///
    /// # Errors
    /// [`DataError::Setting`] if `len` or `batch` is 0, or if `drop_last` would leave no batch.
    pub fn new(len: usize, batch: usize, drop_last: bool) -> Result<Self, DataError> {
        check_sizes(len, batch)?;
        if drop_last && len < batch {
            return Err(DataError::setting("batch", batch, format!("at most {len}, the number of samples")));
        }
        Ok(Self { len, batch, drop_last })
    }
}

impl Sampler for Shuffled {
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.len).collect();
        shuffle(&mut stream(seed, epoch, 0, 0, Purpose::Batches), &mut order);
        order.chunks(self.batch).take(self.batches_per_epoch()).map(<[usize]>::to_vec).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        if self.drop_last { self.len / self.batch } else { self.len.div_ceil(self.batch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_that_seed_and_epoch_determine() {
        let sampler = Shuffled::new(103, 10, false).unwrap();
        let batches = sampler.batches(5, 2);
        assert_eq!(batches, sampler.batches(5, 2));
        assert_ne!(batches, sampler.batches(5, 3));
        assert_ne!(batches, sampler.batches(6, 2));
        assert_eq!(batches.len(), sampler.batches_per_epoch());
        let mut all = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
    }

    #[test]
    fn drop_last_gives_whole_batches_only() {
        let sampler = Shuffled::new(103, 10, true).unwrap();
        let batches = sampler.batches(5, 2);
        assert_eq!(batches.len(), 10);
        assert!(batches.iter().all(|batch| batch.len() == 10));
        assert!(Shuffled::new(9, 10, true).is_err());
        assert!(Shuffled::new(9, 10, false).is_ok());
        assert!(Shuffled::new(0, 10, false).is_err());
    }
}
