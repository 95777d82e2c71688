//! Which samples make a batch.

mod class_balanced;
mod hard_class;
mod hierarchical;
mod kin_pairs;
mod pk;
mod plan;
mod sequential;
mod shuffled;

pub use class_balanced::ClassBalanced;
pub use hard_class::{ClassNearness, HardClass};
pub use hierarchical::{Hierarchical, SuperClasses};
pub use kin_pairs::KinPairs;
pub use pk::PkSampler;
pub use sequential::Sequential;
pub use shuffled::Shuffled;

use std::collections::BTreeMap;

use crate::error::DataError;

/// Orders a data set into the batches of an epoch.
pub trait Sampler: Send + Sync {
    /// The batches of an epoch, as sample indices. A pure function of what the sampler was made of, the
    /// seed and the epoch: a resumed run repeats it.
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>>;

    /// The number of batches of every epoch.
    fn batches_per_epoch(&self) -> usize;
}

/// The samples of each class.
fn by_class(labels: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut by_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, &label) in labels.iter().enumerate() {
        by_class.entry(label).or_default().push(i);
    }
    by_class
}

fn check_sizes(len: usize, batch: usize) -> Result<(), DataError> {
    if batch == 0 {
        return Err(DataError::setting("batch", 0, "at least 1 sample"));
    }
    if len == 0 {
        return Err(DataError::setting("data set", "0 samples", "at least 1"));
    }
    Ok(())
}
