//! What a method keeps from step to step without a gradient.

use nearkin_loss::losses::Normalizer;
use nearkin_loss::memory::{Bank, Queue};
use serde::{Deserialize, Serialize};

/// A method's memory. It is plain data on the host, and goes into checkpoints bit by bit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    /// A vector for each sample: NPID's.
    pub bank: Option<Bank>,
    /// The constant Z of noise-contrastive estimation: NPID's.
    #[serde(with = "bits")]
    pub normalizer: Normalizer,
    /// Vectors of earlier batches, one queue a view: MoCo's keys, NNCLR's supports, SwAV's features.
    pub queues: Vec<Queue>,
    /// Samples whose vectors the queues have taken in.
    pub queued: usize,
    /// The running mean of a twin's scores: DINO's.
    pub centre: Vec<f32>,
}

impl Kept {
    /// The bytes of a checkpoint's file, JSON: the shortest decimals that name an f32, so that all bits come back.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|e| e.to_string())
    }

    /// What [`to_bytes`](Self::to_bytes) wrote, each memory checked.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
}

/// An f64 by its bits: a parser of decimals may miss the last of them.
mod bits {
    use nearkin_loss::losses::Normalizer;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(normalizer: &Normalizer, to: S) -> Result<S::Ok, S::Error> {
        normalizer.log_z.map(f64::to_bits).serialize(to)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Normalizer, D::Error> {
        Ok(Normalizer { log_z: Option::deserialize(from)?.map(f64::from_bits) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::Vectors;

    #[test]
    fn what_is_kept_comes_back_bit_by_bit_and_broken_bytes_are_refused() {
        let mut queue = Queue::random(4, 3, 9).unwrap();
        queue.enqueue(Vectors::new(&[0.1, f32::MIN_POSITIVE, -0.0], 3).unwrap()).unwrap();
        let kept = Kept {
            bank: Some(Bank::random(5, 3, 0.5, 4).unwrap()),
            normalizer: Normalizer { log_z: Some(std::f64::consts::LN_2) },
            queues: vec![queue],
            queued: 1,
            centre: vec![1e-30, 2.5],
        };
        let bytes = kept.to_bytes().unwrap();
        assert_eq!(Kept::from_bytes(&bytes).unwrap(), kept);
        assert_eq!(Kept::from_bytes(&Kept::default().to_bytes().unwrap()).unwrap(), Kept::default());
        assert!(Kept::from_bytes(&bytes[..bytes.len() - 4]).is_err());
    }
}
