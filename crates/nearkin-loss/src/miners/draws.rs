//! Random numbers that depend on a seed and on what they are drawn for, and on nothing else: neither on the order of draws
//! nor on threads.

use std::collections::BTreeSet;

/// The finaliser of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// 64 random bits for draw `draw` of `anchor`.
pub(super) fn bits(seed: u64, anchor: u64, draw: u64) -> u64 {
    mix(mix(mix(seed) ^ anchor) ^ draw)
}

/// Uniform in `0..n`, which must not be empty.
pub(super) fn below(n: u64, seed: u64, anchor: u64, draw: u64) -> u64 {
    ((u128::from(bits(seed, anchor, draw)) * u128::from(n)) >> 64) as u64
}

/// Uniform in `[0, 1)`.
pub(super) fn unit(seed: u64, anchor: u64, draw: u64) -> f64 {
    (bits(seed, anchor, draw) >> 11) as f64 / (1u64 << 53) as f64
}

/// `most` different numbers below `n`, in ascending order, all sets equally likely; all of them if there are no more.
/// (R. Floyd's algorithm: one draw a number.)
pub(super) fn choose(n: u64, most: u64, seed: u64, anchor: u64) -> Vec<u64> {
    if n <= most {
        return (0..n).collect();
    }
    let mut chosen = BTreeSet::new();
    for last in n - most..n {
        let drawn = below(last + 1, seed, anchor, last);
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_drawn_about_as_often_as_every_other() {
        // 10 sets of 2 out of 5; of 20,000 draws each gets 2,000 ± 42.
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..20_000 {
            *counts.entry(choose(5, 2, seed, 3)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|c| (1800..2200).contains(c)), "{counts:?}");
        assert_eq!(choose(3, 7, 1, 0), [0, 1, 2]);
        assert!(choose(0, 7, 1, 0).is_empty() && choose(9, 0, 1, 0).is_empty());
    }

    #[test]
    fn draws_of_neighbouring_anchors_and_seeds_are_independent_and_even() {
        for (a, b) in [((0, 0, 0), (0, 0, 1)), ((0, 0, 0), (0, 1, 0)), ((0, 0, 0), (1, 0, 0))] {
            let at = |(seed, anchor, draw): (u64, u64, u64), i: u64| unit(seed, anchor + i, draw) - 0.5;
            let n = 10_000;
            let product: f64 = (0..n).map(|i| at(a, 7 * i) * at(b, 7 * i)).sum::<f64>() / n as f64;
            let mean: f64 = (0..n).map(|i| at(a, i)).sum::<f64>() / n as f64;
            // Standard errors: 1/12/100 and 0.29/100.
            assert!(product.abs() < 0.0035 && mean.abs() < 0.012, "{product} {mean}");
        }
    }
}
