//! Every sample once, in order: for evaluation and embedding.

use super::{Sampler, check_sizes};
use crate::error::DataError;

/// Batches of consecutive samples; the last one may be smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequential {
    len: usize,
    batch: usize,
}

impl Sequential {
    /// Batches of `batch` out of `len` samples.
    ///
    /// # Errors
    /// [`DataError::Setting`] if either is 0.
    pub fn new(len: usize, batch: usize) -> Result<Self, DataError> {
        check_sizes(len, batch)?;
        Ok(Self { len, batch })
    }
}

impl Sampler for Sequential {
    fn batches(&self, _seed: u64, _epoch: u64) -> Vec<Vec<usize>> {
        (0..self.len)
            .step_by(self.batch)
            .map(|first| (first..(first + self.batch).min(self.len)).collect())
            .collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.len.div_ceil(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_in_order_and_the_last_batch_is_the_rest() {
        let sampler = Sequential::new(5, 2).unwrap();
        assert_eq!(sampler.batches(1, 1), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(sampler.batches_per_epoch(), 3);
        assert!(Sequential::new(0, 2).is_err());
        assert!(Sequential::new(2, 0).is_err());
    }
}
