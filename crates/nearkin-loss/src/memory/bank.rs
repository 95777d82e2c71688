//! A memory bank: one slot a sample.
//!
//! Z. Wu, Y. Xiong, S. Yu, D. Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", 2018.

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use super::{MemoryError, check_count, check_shape, check_slots, check_vectors};
use crate::random::Stream;
use crate::unit::Unit;

/// A unit vector for each sample of a training set, which follows the sample's embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct Bank {
    dim: usize,
    momentum: f32,
    vectors: Vec<f32>,
}

impl Bank {
    /// `slots` random unit vectors. The momentum, 0.5 in the paper's code, is what remains of a slot when it is updated.
    ///
    /// # Errors
    /// When there is no slot or no dimension, or the momentum is not from 0 to below 1.
    pub fn random(slots: usize, dim: usize, momentum: f32, seed: u64) -> Result<Self, MemoryError> {
        check_shape(slots, dim)?;
        check_momentum(momentum)?;
        Ok(Self { dim, momentum, vectors: Stream::new(seed).on_sphere(slots, dim) })
    }

    /// From vectors in the order of the slots, scaled to unit length.
    ///
    /// # Errors
    /// When there is none, one is not finite, or the momentum is not from 0 to below 1.
    pub fn of(vectors: Vectors<'_>, momentum: f32) -> Result<Self, MemoryError> {
        check_shape(vectors.len(), vectors.dim())?;
        check_vectors(vectors, vectors.dim())?;
        check_momentum(momentum)?;
        Ok(Self { dim: vectors.dim(), momentum, vectors: Unit::of(vectors).vectors })
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.vectors.len() / self.dim
    }

    /// Whether there is none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// The vectors, in the order of the slots.
    pub fn vectors(&self) -> Vectors<'_> {
        Vectors::new(&self.vectors, self.dim).expect("a bank has whole vectors")
    }

    /// Moves each slot towards the embedding of its sample, on the sphere: `b ← (m b + (1 − m) v/‖v‖)`, scaled to unit length.
    /// A slot that is named twice moves twice, in order; one whose sum has no direction stays.
    ///
    /// # Errors
    /// When there is not one slot an embedding, a slot does not exist, or an embedding is of another dimension or not finite.
    /// No slot moves then.
    pub fn update(&mut self, slots: &[u32], embeddings: Vectors<'_>) -> Result<(), MemoryError> {
        check_vectors(embeddings, self.dim)?;
        check_count("slots", slots.len(), embeddings)?;
        check_slots(slots, self.len())?;
        let unit = Unit::of(embeddings);
        for (slot, embedding) in slots.iter().zip(unit.vectors.chunks_exact(self.dim)) {
            let own = &mut self.vectors[*slot as usize * self.dim..][..self.dim];
            let mix = |(b, v): (&f32, &f32)| self.momentum * b + (1.0 - self.momentum) * v;
            let length = own.iter().zip(embedding).map(mix).map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            if length > 0.0 {
                for (b, v) in own.iter_mut().zip(embedding) {
                    *b = mix((b, v)) / length as f32;
                }
            }
        }
        Ok(())
    }
}

fn check_momentum(momentum: f32) -> Result<(), MemoryError> {
    if (0.0..1.0).contains(&momentum) { Ok(()) } else { Err(MemoryError::Momentum { found: momentum }) }
}

/// A bank as it is read, before it is checked.
#[derive(Deserialize)]
struct Saved {
    dim: usize,
    momentum: f32,
    vectors: Vec<f32>,
}

impl TryFrom<Saved> for Bank {
    type Error = MemoryError;

    fn try_from(Saved { dim, momentum, vectors }: Saved) -> Result<Self, MemoryError> {
        let whole = Vectors::new(&vectors, dim).map_err(|error| MemoryError::Saved(error.to_string()))?;
        check_shape(whole.len(), dim)?;
        check_vectors(whole, dim)?;
        check_momentum(momentum)?;
        // As it was: to scale it again could change its last bits.
        Ok(Self { dim, momentum, vectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_moves_along_the_sphere() {
        let mut bank = Bank::of(Vectors::new(&[2.0, 0.0, 0.0, -3.0], 2).unwrap(), 0.5).unwrap();
        assert_eq!(bank.vectors().data(), [1.0, 0.0, 0.0, -1.0]);
        // Half way between (1, 0) and (0, 1). The second slot meets its opposite and stays.
        bank.update(&[0, 1], Vectors::new(&[0.0, 7.0, 0.0, 4.0], 2).unwrap()).unwrap();
        let half = 0.5f32.sqrt();
        for (found, wanted) in bank.vectors().data().iter().zip([half, half, 0.0, -1.0]) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut bank = Bank::random(3, 2, 0.5, 1).unwrap();
        let before = bank.clone();
        let one = Vectors::new(&[1.0, 0.0], 2).unwrap();
        assert_eq!(bank.update(&[3], one), Err(MemoryError::NoSuchSlot { found: 3, slots: 3 }));
        assert!(bank.update(&[0, 1], one).is_err());
        assert!(bank.update(&[0], Vectors::new(&[f32::INFINITY, 0.0], 2).unwrap()).is_err());
        assert_eq!(bank, before);
        assert!(Bank::random(3, 2, 1.0, 1).is_err() && Bank::random(0, 2, 0.5, 1).is_err());
    }

    #[test]
    fn a_saved_bank_comes_back_and_a_broken_one_is_refused() {
        let bank = Bank::random(5, 3, 0.5, 4).unwrap();
        let mut saved = serde_json::to_value(&bank).unwrap();
        assert_eq!(serde_json::from_value::<Bank>(saved.clone()).unwrap(), bank);
        saved["dim"] = 4.into();
        assert!(serde_json::from_value::<Bank>(saved.clone()).is_err());
        saved["dim"] = 3.into();
        saved["momentum"] = 1.5.into();
        assert!(serde_json::from_value::<Bank>(saved).unwrap_err().to_string().contains("momentum"));
    }
}
