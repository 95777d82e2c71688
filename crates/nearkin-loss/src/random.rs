//! Random numbers by counter: any of them can be had without those before it, so draws depend on neither order nor threads.
//!
//! The generator is splitmix64: G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014.

use std::collections::BTreeSet;

/// One stream of random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(u64);

/// 2⁶⁴ over the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// The stream of this name within this one.
    pub(crate) fn split(self, name: u64) -> Self {
        Self(mix(self.0 ^ mix(name.wrapping_add(GOLDEN))))
    }

    /// The number at place `counter`: splitmix64 after that many steps.
    pub(crate) fn bits(self, counter: u64) -> u64 {
        mix(self.0.wrapping_add(counter.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// From 0 to `n − 1`; 0 when `n` is.
    pub(crate) fn below(self, counter: u64, n: usize) -> usize {
        // The high half of the product: its bias is below n / 2⁶⁴.
        ((u128::from(self.bits(counter)) * n as u128) >> 64) as usize
    }

    /// From 0 to below 1.
    pub(crate) fn unit(self, counter: u64) -> f64 {
        (self.bits(counter) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 0 and variance 1, by Box and Muller.
    pub(crate) fn normal(self, counter: u64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit(2 * counter)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit(2 * counter + 1)).cos()
    }

    /// `most` different numbers below `n`, in ascending order, all sets equally likely; all of them if there are no more.
    /// (R. Floyd's algorithm: one draw a number.)
    pub(crate) fn choose(self, n: u64, most: u64) -> Vec<u64> {
        if n <= most {
            return (0..n).collect();
        }
        let mut chosen = BTreeSet::new();
        for last in n - most..n {
            let drawn = self.below(last, last as usize + 1) as u64;
            if !chosen.insert(drawn) {
                chosen.insert(last);
            }
        }
        chosen.into_iter().collect()
    }

    /// `count` vectors, evenly over the unit sphere, row-major.
    pub(crate) fn on_sphere(self, count: usize, dim: usize) -> Vec<f32> {
        let mut vectors: Vec<f32> = (0..(count * dim) as u64).map(|i| self.normal(i) as f32).collect();
        for row in vectors.chunks_exact_mut(dim.max(1)) {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32;
            if length > 0.0 {
                row.iter_mut().for_each(|x| *x /= length);
            }
        }
        vectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_moments_that_they_should() {
        let stream = Stream::new(7).split(3);
        let mean = |f: &dyn Fn(u64) -> f64| (0..20_000).map(f).sum::<f64>() / 20_000.0;
        assert!((mean(&|i| stream.unit(i)) - 0.5).abs() < 0.01);
        assert!(mean(&|i| stream.normal(i)).abs() < 0.03);
        assert!((mean(&|i| stream.normal(i).powi(2)) - 1.0).abs() < 0.05);
        assert!((mean(&|i| stream.below(i, 10) as f64) - 4.5).abs() < 0.1);
        assert!((0..1000).all(|i| stream.below(i, 3) < 3) && stream.below(5, 0) == 0);
    }

    #[test]
    fn streams_differ_by_seed_and_by_name() {
        let first = |stream: Stream| (0..4).map(|i| stream.bits(i)).collect::<Vec<u64>>();
        let all =
            [Stream::new(0), Stream::new(1), Stream::new(0).split(0), Stream::new(0).split(1)].map(first);
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }

    #[test]
    fn every_set_is_drawn_about_as_often_as_every_other() {
        // 10 sets of 2 out of 5; of 20,000 draws each gets 2,000 ± 42.
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..20_000 {
            *counts.entry(Stream::new(seed).split(3).choose(5, 2)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|c| (1800..2200).contains(c)), "{counts:?}");
        let stream = Stream::new(1);
        assert_eq!(stream.choose(3, 7), [0, 1, 2]);
        assert!(stream.choose(0, 7).is_empty() && stream.choose(9, 0).is_empty());
    }

    #[test]
    fn draws_of_neighbouring_anchors_and_seeds_are_independent_and_even() {
        for (a, b) in [((0, 0, 0), (0, 0, 1)), ((0, 0, 0), (0, 1, 0)), ((0, 0, 0), (1, 0, 0))] {
            let at = |(seed, anchor, draw): (u64, u64, u64), i: u64| {
                Stream::new(seed).split(anchor + i).unit(draw) - 0.5
            };
            let n = 10_000;
            let product: f64 = (0..n).map(|i| at(a, 7 * i) * at(b, 7 * i)).sum::<f64>() / n as f64;
            let mean: f64 = (0..n).map(|i| at(a, i)).sum::<f64>() / n as f64;
            // Standard errors: 1/12/100 and 0.29/100.
            assert!(product.abs() < 0.0035 && mean.abs() < 0.012, "{product} {mean}");
        }
    }
}
