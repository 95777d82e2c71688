//! A queue of keys.
//!
//! K. He, H. Fan, Y. Wu, S. Xie, R. Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", 2020: keys
//! of earlier batches, made by a slowly moving copy of the network, are the strangers of a query; its kin is its own new key.

use nearkin_sweep::{Kin, Relation, Vectors};
use serde::{Deserialize, Serialize};

use super::{MemoryError, check_shape, check_vectors};
use crate::loss::{Loss, LossError, Pull, Sides};
use crate::random::Stream;

/// A first-in, first-out memory of vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Queue {
    capacity: usize,
    dim: usize,
    /// The place to be written next: that of the oldest, once it is full.
    next: usize,
    vectors: Vec<f32>,
}

impl Queue {
    /// Empty, for up to `capacity` vectors: 65,536 in MoCo. Only what has been taken in is compared with.
    ///
    /// # Errors
    /// When the capacity or the dimension is zero.
    pub fn new(capacity: usize, dim: usize) -> Result<Self, MemoryError> {
        check_shape(capacity, dim)?;
        Ok(Self { capacity, dim, next: 0, vectors: Vec::new() })
    }

    /// Full of random unit vectors, as MoCo begins: the number of strangers is then the same from the first step on.
    ///
    /// # Errors
    /// When the capacity or the dimension is zero.
    pub fn random(capacity: usize, dim: usize, seed: u64) -> Result<Self, MemoryError> {
        Ok(Self { vectors: Stream::new(seed).on_sphere(capacity, dim), ..Self::new(capacity, dim)? })
    }

    /// How many vectors it holds now.
    pub fn len(&self) -> usize {
        self.vectors.len() / self.dim
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// How many vectors it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What it holds, in the order of its places.
    pub fn vectors(&self) -> Vectors<'_> {
        Vectors::new(&self.vectors, self.dim).expect("only whole vectors are taken in")
    }

    /// Takes in a batch, in place of the oldest; returns the place of its first vector. Vector `i` is at
    /// `(first + i) % capacity`.
    ///
    /// # Errors
    /// When the batch is of another dimension, is larger than the queue, or has a value that is not finite. Nothing is taken in
    /// then.
    pub fn enqueue(&mut self, batch: Vectors<'_>) -> Result<usize, MemoryError> {
        check_vectors(batch, self.dim)?;
        if batch.len() > self.capacity {
            return Err(MemoryError::Capacity { found: batch.len(), capacity: self.capacity });
        }
        let first = self.next;
        for vector in batch.data().chunks_exact(self.dim) {
            let place = self.next * self.dim;
            if place == self.vectors.len() {
                self.vectors.extend_from_slice(vector);
            } else {
                self.vectors[place..place + self.dim].copy_from_slice(vector);
            }
            self.next = (self.next + 1) % self.capacity;
        }
        Ok(first)
    }

    /// A loss of queries against their own keys, one each, and all that is queued. The gradient is that of the queries alone.
    ///
    /// With [`NtXent`](crate::losses::NtXent) this is MoCo's loss. It takes nothing in: [`enqueue`](Self::enqueue) the keys
    /// afterwards.
    ///
    /// # Errors
    /// When there is not one key a query, dimensions differ, or the loss cannot be taken.
    pub fn pull(&self, loss: &dyn Loss, queries: Vectors<'_>, keys: Vectors<'_>) -> Result<Pull, LossError> {
        super::check_count("keys", keys.len(), queries)?;
        if keys.dim() != self.dim {
            return Err(MemoryError::Dimension { found: keys.dim(), wanted: self.dim }.into());
        }
        let references = [keys.data(), &self.vectors].concat();
        let kin = OwnKey { keys: keys.len() };
        let found = loss.pull(&Sides::between(queries, Vectors::new(&references, self.dim)?, &kin))?;
        Ok(Pull { reference_gradient: Vec::new(), ..found })
    }
}

/// Keys of a batch, then queued ones: a query's kin is its own key, and other keys of the batch take no part.
struct OwnKey {
    keys: usize,
}

impl Kin for OwnKey {
    fn relate(&self, query: usize, first: usize, out: &mut [Relation]) {
        for (j, relation) in (first..).zip(out) {
            *relation = match j {
                j if j == query => Relation::Kin,
                j if j < self.keys => Relation::Excluded,
                _ => Relation::Stranger,
            };
        }
    }
}

/// A queue as it is read, before it is checked.
#[derive(Deserialize)]
struct Saved {
    capacity: usize,
    dim: usize,
    next: usize,
    vectors: Vec<f32>,
}

impl TryFrom<Saved> for Queue {
    type Error = MemoryError;

    fn try_from(Saved { capacity, dim, next, vectors }: Saved) -> Result<Self, MemoryError> {
        let refuse = |why: String| Err(MemoryError::Saved(why));
        let most = check_shape(capacity, dim)?;
        if vectors.len() > most || !vectors.len().is_multiple_of(dim) {
            return refuse(format!(
                "{} values are not up to {capacity} vectors of {dim} dimensions",
                vectors.len()
            ));
        }
        if next >= capacity || (vectors.len() < most && next * dim != vectors.len()) {
            return refuse(format!(
                "the next place cannot be {next} with {} of {capacity} vectors",
                vectors.len() / dim
            ));
        }
        check_vectors(
            Vectors::new(&vectors, dim).map_err(|error| MemoryError::Saved(error.to_string()))?,
            dim,
        )?;
        Ok(Self { capacity, dim, next, vectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::NtXent;

    fn batch(values: &[f32]) -> Vectors<'_> {
        Vectors::new(values, 1).unwrap()
    }

    #[test]
    fn the_oldest_make_room() {
        let mut queue = Queue::new(3, 1).unwrap();
        assert_eq!(queue.enqueue(batch(&[1.0, 2.0])), Ok(0));
        assert_eq!((queue.vectors().data(), queue.len()), (&[1.0, 2.0][..], 2));
        assert_eq!(queue.enqueue(batch(&[3.0, 4.0])), Ok(2));
        assert_eq!(queue.vectors().data(), [4.0, 2.0, 3.0]);
        assert_eq!(queue.enqueue(batch(&[5.0, 6.0, 7.0])), Ok(1));
        assert_eq!(queue.vectors().data(), [7.0, 5.0, 6.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_leaves_the_queue_as_it_was() {
        let mut queue = Queue::new(2, 1).unwrap();
        queue.enqueue(batch(&[1.0])).unwrap();
        let before = queue.clone();
        let wrong = Vectors::new(&[0.0, 1.0], 2).unwrap();
        assert_eq!(queue.enqueue(wrong), Err(MemoryError::Dimension { found: 2, wanted: 1 }));
        assert_eq!(queue.enqueue(batch(&[0.0; 3])), Err(MemoryError::Capacity { found: 3, capacity: 2 }));
        assert_eq!(queue.enqueue(batch(&[0.0, f32::NAN])), Err(MemoryError::NotFinite { vector: 1 }));
        assert_eq!(queue, before);
        assert!(Queue::new(0, 4).is_err() && Queue::new(4, 0).is_err() && Queue::new(usize::MAX, 2).is_err());
    }

    #[test]
    fn a_hand_worked_query_with_its_key_and_two_queued() {
        // Cosine 1 with its key, 0 and −1 with what is queued; the other key of the batch takes no part.
        let mut queue = Queue::new(2, 2).unwrap();
        queue.enqueue(Vectors::new(&[0.0, 1.0, -1.0, 0.0], 2).unwrap()).unwrap();
        let (queries, keys) = ([2.0, 0.0, -3.0, 0.0], [1.0, 0.0, -1.0, 0.0]);
        let found = queue
            .pull(
                &NtXent::new(0.5).unwrap(),
                Vectors::new(&queries, 2).unwrap(),
                Vectors::new(&keys, 2).unwrap(),
            )
            .unwrap();
        // The second query meets itself in the queue: cosines 1 with its key, 0 and 1 with what is queued.
        let wanted = [((-2f64).exp() + (-4f64).exp()).ln_1p(), ((-2f64).exp() + 1.0).ln_1p()];
        assert!((found.loss - (wanted[0] + wanted[1]) / 2.0).abs() < 1e-6, "{}", found.loss);
        assert!(found.reference_gradient.is_empty() && found.query_gradient.len() == 4);
    }

    #[test]
    fn a_saved_queue_comes_back_and_a_broken_one_is_refused() {
        let mut queue = Queue::random(4, 3, 9).unwrap();
        queue.enqueue(Vectors::new(&[0.1, 0.2, 0.3], 3).unwrap()).unwrap();
        let saved = serde_json::to_string(&queue).unwrap();
        assert_eq!(serde_json::from_str::<Queue>(&saved).unwrap(), queue);
        for broken in [
            r#"{"capacity":2,"dim":2,"next":0,"vectors":[1,2,3]}"#,
            r#"{"capacity":1,"dim":2,"next":0,"vectors":[1,2,3,4]}"#,
            r#"{"capacity":2,"dim":2,"next":0,"vectors":[1,2]}"#,
            r#"{"capacity":2,"dim":2,"next":2,"vectors":[1,2,3,4]}"#,
            r#"{"capacity":2,"dim":0,"next":0,"vectors":[]}"#,
            r#"{"capacity":2,"dim":1,"next":1,"vectors":[1e39]}"#,
        ] {
            assert!(serde_json::from_str::<Queue>(broken).is_err(), "{broken}");
        }
    }
}
