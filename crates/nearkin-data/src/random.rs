//! Counter-based randomness: a draw is a function of what it is for, not of what was drawn before.
//!
//! A [`stream`] is ChaCha with 8 rounds whose 256-bit key is the little-endian bytes of exactly
//! (seed: u64, epoch: u64, sample: u64, view: u32, purpose: u32), with block counter and nonce at 0.
//! No two purposes, views, samples or epochs share a stream, on any number of threads, in any order,
//! before or after a resume.
//!
//! The draws below are defined here in terms of `next_u32` and `next_u64`, so that an update of the
//! `rand` crates cannot change a run.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for. The values are part of the contract: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Augmenting one view of one sample.
    View = 1,
    /// Ordering an epoch into batches (sample and view are 0 unless the sampler says otherwise).
    Batches = 2,
    /// Splitting a data set (epoch, sample and view are 0 unless the splitter says otherwise).
    Split = 3,
    /// Initial values: weights, class vectors, memory banks.
    Init = 4,
    /// What a training method draws in a step, which stands in place of the epoch: masks, noise samples.
    Method = 5,
    /// Choosing parts of an image as seeds (the epoch is 0; the view counts the seeds of one image).
    Patches = 6,
}

/// The random stream of one purpose for one view of one sample in one epoch.
#[must_use]
pub fn stream(
    seed: u64,
    epoch: u64,
    sample: u64,
    view: u32,
    purpose: Purpose,
) -> impl Rng + Clone + Send + 'static {
    keyed(seed, epoch, sample, view, purpose)
}

/// [`stream`], with a type that has a name.
pub(crate) fn keyed(seed: u64, epoch: u64, sample: u64, view: u32, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    key[16..24].copy_from_slice(&sample.to_le_bytes());
    key[24..28].copy_from_slice(&view.to_le_bytes());
    key[28..].copy_from_slice(&(purpose as u32).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// A number in [0, 1): the top 24 bits of one `u32`, so every value is exact.
pub fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A number in [low, high); `low` itself if the two are equal.
pub fn uniform_between(rng: &mut impl Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * uniform(rng)
}

/// A number in [low, high] whose logarithm is evenly distributed, so that halving is as likely as doubling; both bounds above 0. `low`
/// itself if the two are equal.
pub fn log_uniform(rng: &mut impl Rng, low: f32, high: f32) -> f32 {
    low * libm::expf(libm::logf(high / low) * uniform(rng))
}

/// A number from the standard normal distribution (Box and Muller 1958), by functions that are the same on every machine.
pub fn normal(rng: &mut impl Rng) -> f32 {
    let (radius, angle) = (1.0 - uniform(rng), uniform(rng));
    libm::sqrtf(-2.0 * libm::logf(radius)) * libm::cosf(2.0 * std::f32::consts::PI * angle)
}

/// True with the given probability: never at 0, always at 1. Takes one `u32` either way.
pub fn bernoulli(rng: &mut impl Rng, probability: f32) -> bool {
    uniform(rng) < probability
}

/// An integer in [0, n), every value equally likely (Lemire 2019, "Fast random integer generation in
/// an interval"). 0 if `n` is 0.
pub fn below(rng: &mut impl Rng, n: usize) -> usize {
    let n = n as u64;
    // Below this the 2^64 values do not divide evenly among the n results.
    let uneven = if n == 0 { 0 } else { n.wrapping_neg() % n };
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= uneven {
            return (product >> 64) as usize;
        }
    }
}

/// Shuffles in place, every order equally likely (Fisher and Yates).
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_give_the_same_stream_and_any_other_number_another() {
        let first =
            |seed, epoch, sample, view, purpose| stream(seed, epoch, sample, view, purpose).next_u64();
        let base = first(1, 2, 3, 4, Purpose::View);
        assert_eq!(base, first(1, 2, 3, 4, Purpose::View));
        for other in [
            first(2, 2, 3, 4, Purpose::View),
            first(1, 3, 3, 4, Purpose::View),
            first(1, 2, 4, 4, Purpose::View),
            first(1, 2, 3, 5, Purpose::View),
            first(1, 2, 3, 4, Purpose::Batches),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_stream_is_chacha_with_8_rounds_keyed_by_the_five_numbers() {
        // The first words by an independent ChaCha. A change here would silently change every run.
        let first = |seed, epoch, sample, view| {
            let mut rng = stream(seed, epoch, sample, view, Purpose::View);
            [0; 4].map(|_: u32| rng.next_u32())
        };
        assert_eq!(first(0, 0, 0, 0), [3_436_371_722, 180_336_358, 1_491_211_183, 1_203_155_197]);
        assert_eq!(first(42, 3, 1000, 1), [2_561_369_437, 2_911_327_376, 3_261_674_417, 2_929_538_740]);
    }

    #[test]
    fn below_is_in_range_and_reaches_every_value() {
        let mut rng = stream(7, 0, 0, 0, Purpose::Split);
        let mut counts = [0; 6];
        for _ in 0..6000 {
            counts[below(&mut rng, 6)] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
        assert_eq!(below(&mut rng, 1), 0);
        assert_eq!(below(&mut rng, 0), 0);
    }

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut rng = stream(7, 0, 0, 0, Purpose::Split);
        let numbers: Vec<f64> = (0..20_000).map(|_| f64::from(normal(&mut rng))).collect();
        let moment = |power: i32| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64;
        assert!(moment(1).abs() < 0.03 && (moment(2) - 1.0).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.3);
    }

    #[test]
    fn certain_and_impossible_events_are_exact() {
        let mut rng = stream(7, 0, 0, 0, Purpose::Split);
        assert!((0..1000).all(|_| bernoulli(&mut rng, 1.0)));
        assert!(!(0..1000).any(|_| bernoulli(&mut rng, 0.0)));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&uniform(&mut rng))));
    }
}
