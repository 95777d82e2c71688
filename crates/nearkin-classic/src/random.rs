//! Random numbers by seed: ChaCha with 8 rounds, and draws defined here so that no update of a crate changes a fit.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The stream of a seed.
pub(crate) fn stream(seed: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// The stream of one draw among many: a function of the seed and two counters, and of nothing drawn before.
pub(crate) fn draw(seed: u64, first: u64, second: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip([seed, first, second]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A number in [0, 1) of 53 bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Numbers from the standard normal distribution (G. Box, M. Muller, 1958).
pub(crate) fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f64> {
    let mut found = Vec::with_capacity(count + 1);
    while found.len() < count {
        // 1 − u is above 0, so its logarithm is finite.
        let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * uniform(rng)).sin_cos();
        found.extend([radius * cosine, radius * sine]);
    }
    found.truncate(count);
    found
}

/// An integer in [0, n) for n above 0. Some values are likelier than others by at most n / 2⁶⁴.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Shuffles in place (R. Fisher, F. Yates, 1938).
pub(crate) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}
