//! Cross-batch memory.
//!
//! X. Wang, H. Zhang, W. Huang, M. Scott, "Cross-Batch Memory for Embedding Learning", 2020: embeddings drift so slowly that
//! those of earlier batches still serve as references. A batch is taken in first, and then compared with all that is held.

use nearkin_sweep::{Kin, Relation, Vectors};
use serde::{Deserialize, Serialize};

use super::{MemoryError, Queue, check_count};
use crate::loss::{Loss, LossError, Pull, Sides};

/// A first-in, first-out memory of embeddings and their labels, around any loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct CrossBatchMemory {
    embeddings: Queue,
    labels: Vec<u32>,
}

impl CrossBatchMemory {
    /// Empty, for up to `capacity` embeddings: 1,024 is pytorch-metric-learning's default; the paper goes up to the whole
    /// training set.
    ///
    /// # Errors
    /// When the capacity or the dimension is zero.
    pub fn new(capacity: usize, dim: usize) -> Result<Self, MemoryError> {
        Ok(Self { embeddings: Queue::new(capacity, dim)?, labels: Vec::new() })
    }

    /// What it holds.
    pub fn embeddings(&self) -> Vectors<'_> {
        self.embeddings.vectors()
    }

    /// The label of each embedding that it holds.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Takes in a batch, in place of the oldest; returns the place of its first embedding.
    ///
    /// # Errors
    /// When there is not one label an embedding, and as [`Queue::enqueue`]. Nothing is taken in then.
    pub fn enqueue(&mut self, batch: Vectors<'_>, labels: &[u32]) -> Result<usize, MemoryError> {
        check_count("labels", labels.len(), batch)?;
        let first = self.embeddings.enqueue(batch)?;
        self.labels.resize(self.embeddings.len(), 0);
        for (i, label) in labels.iter().enumerate() {
            self.labels[(first + i) % self.embeddings.capacity()] = *label;
        }
        Ok(first)
    }

    /// Takes in a batch, and then the loss of it against all that is held, except that no embedding meets its own copy. The
    /// gradient is that of the batch as queries alone.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue), and when the loss cannot be taken.
    pub fn pull(&mut self, loss: &dyn Loss, batch: Vectors<'_>, labels: &[u32]) -> Result<Pull, LossError> {
        let first = self.enqueue(batch, labels)?;
        let kin = NotItsCopy { labels, memory: self, first };
        let found = loss.pull(&Sides::between(batch, self.embeddings(), &kin))?;
        Ok(Pull { reference_gradient: Vec::new(), ..found })
    }
}

/// Kin by label, where the copy of query `i` is at place `first + i`, around the end.
struct NotItsCopy<'a> {
    labels: &'a [u32],
    memory: &'a CrossBatchMemory,
    first: usize,
}

impl Kin for NotItsCopy<'_> {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        let label = self.labels[query];
        for (relation, other) in out.iter_mut().zip(&self.memory.labels[first..]) {
            *relation = if *other == label { Relation::Kin } else { Relation::Stranger };
        }
        let copy = (self.first + query) % self.memory.embeddings.capacity();
        if let Some(relation) = copy.checked_sub(first).and_then(|j| out.get_mut(j)) {
            *relation = Relation::Excluded;
        }
    }

    fn label(&self, query: usize) -> Option<u32> {
        self.labels.get(query).copied()
    }

    fn reference_label(&self, reference: usize) -> Option<u32> {
        self.memory.labels.get(reference).copied()
    }
}

/// A memory as it is read, before it is checked.
#[derive(Deserialize)]
struct Saved {
    embeddings: Queue,
    labels: Vec<u32>,
}

impl TryFrom<Saved> for CrossBatchMemory {
    type Error = MemoryError;

    fn try_from(Saved { embeddings, labels }: Saved) -> Result<Self, MemoryError> {
        check_count("labels", labels.len(), embeddings.vectors())?;
        Ok(Self { embeddings, labels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::Contrastive;
    use nearkin_sweep::Metric;

    #[test]
    fn a_hand_worked_second_batch_on_a_line() {
        // Held: 0 of class 0 and 5 of class 1. Then 2 of class 0 takes the place of 0: its kin would be its own copy, and its
        // stranger lies 3 away, within the margin of 4.
        let loss = Contrastive::new(Metric::Euclidean, 0.0, 4.0).unwrap();
        let mut memory = CrossBatchMemory::new(2, 1).unwrap();
        let mut pull = |points: &[f32], labels: &[u32]| {
            memory.pull(&loss, Vectors::new(points, 1).unwrap(), labels).unwrap()
        };
        let found = pull(&[0.0, 5.0], &[0, 1]);
        assert_eq!((found.loss, found.terms), (0.0, 2));
        let found = pull(&[2.0], &[0]);
        assert_eq!((found.loss, found.terms), (1.0, 1));
        assert_eq!((found.query_gradient, found.reference_gradient), (vec![1.0], vec![]));
        assert_eq!((memory.embeddings().data(), memory.labels()), (&[2.0, 5.0][..], &[0, 1][..]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut memory = CrossBatchMemory::new(2, 1).unwrap();
        let two = Vectors::new(&[0.0, 1.0], 1).unwrap();
        let error = memory.enqueue(two, &[0]).unwrap_err();
        assert_eq!(error, MemoryError::Count { what: "labels", found: 1, wanted: 2 });
        assert_eq!(memory, CrossBatchMemory::new(2, 1).unwrap());
        memory.enqueue(two, &[3, 4]).unwrap();
        let mut saved = serde_json::to_value(&memory).unwrap();
        assert_eq!(serde_json::from_value::<CrossBatchMemory>(saved.clone()).unwrap(), memory);
        saved["labels"] = serde_json::json!([3]);
        assert!(serde_json::from_value::<CrossBatchMemory>(saved).is_err());
    }
}
