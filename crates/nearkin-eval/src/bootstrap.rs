//! How far a mean over queries could move with other queries of the same kind.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Resamples drawn. 1,000 is usual for percentile intervals (Efron & Tibshirani 1993, chapter 13).
const RESAMPLES: u64 = 1_000;
/// Any fixed number: two evaluations of one model must report the same interval.
const SEED: u64 = 0x6e65_6172_6b69_6e00;
/// Tails left out on either side of a 95 % interval.
const TAIL: f64 = 0.025;

/// 95 % percentile-bootstrap intervals of the means of two values a query, both over the same resamples.
///
/// Queries are drawn with replacement, the references stay as they are. Each resample has its own random
/// stream, so the result does not depend on the number of threads. `values` must not be empty.
pub(crate) fn mean_intervals(values: &[[f64; 2]]) -> [(f64, f64); 2] {
    let means: Vec<[f64; 2]> = (0..RESAMPLES)
        .into_par_iter()
        .map(|resample| {
            let mut rng = ChaCha8Rng::seed_from_u64(SEED);
            rng.set_stream(resample);
            let mut sum = [0.0; 2];
            for _ in 0..values.len() {
                let drawn = values[rng.random_range(0..values.len())];
                sum = [sum[0] + drawn[0], sum[1] + drawn[1]];
            }
            sum.map(|s| s / values.len() as f64)
        })
        .collect();
    [0, 1].map(|which| interval(means.iter().map(|m| m[which]).collect()))
}

/// What `measure` makes of each of 1,000 resamples of `n` things, told how often each of them was drawn. The streams are those of
/// [`mean_intervals`].
pub(crate) fn resampled<T: Send>(n: usize, measure: impl Fn(&[u32]) -> T + Sync) -> Vec<T> {
    (0..RESAMPLES)
        .into_par_iter()
        .map_init(
            || vec![0u32; n],
            |drawn, resample| {
                let mut rng = ChaCha8Rng::seed_from_u64(SEED);
                rng.set_stream(resample);
                drawn.fill(0);
                (0..n).for_each(|_| drawn[rng.random_range(0..n)] += 1);
                measure(drawn)
            },
        )
        .collect()
}

/// The 95 % percentile interval of what resamples gave, which must not be nothing.
pub(crate) fn interval(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_unstable_by(f64::total_cmp);
    (quantile(&values, TAIL), quantile(&values, 1.0 - TAIL))
}

/// The `q` quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_constant_is_that_constant() {
        assert_eq!(mean_intervals(&[[1.0, 0.25]; 7]), [(1.0, 1.0), (0.25, 0.25)]);
    }

    #[test]
    fn the_interval_of_a_coin_is_near_the_normal_one() {
        let values: Vec<[f64; 2]> = (0..400).map(|i| [f64::from(i % 2), 0.0]).collect();
        let [(low, high), _] = mean_intervals(&values);
        // The standard error is 0.5 / √400 = 0.025, so the normal interval is 0.5 ± 0.049.
        assert!((low - 0.451).abs() < 0.01 && (high - 0.549).abs() < 0.01, "({low}, {high})");
    }

    #[test]
    fn the_interval_is_the_same_on_any_number_of_threads() {
        let values: Vec<[f64; 2]> = (0..97).map(|i| [f64::from(i % 3) / 3.0, f64::from(i % 7)]).collect();
        let on = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| mean_intervals(&values))
        };
        assert_eq!(on(1), on(5));
    }

    #[test]
    fn counts_of_a_resample_are_its_draws() {
        let values: Vec<[f64; 2]> = (0..50).map(|i| [f64::from(i * i), 0.0]).collect();
        let means = resampled(50, |drawn| {
            assert_eq!(drawn.iter().sum::<u32>(), 50);
            drawn.iter().zip(&values).map(|(n, v)| f64::from(*n) * v[0]).sum::<f64>() / 50.0
        });
        let [(low, high), _] = mean_intervals(&values);
        let found = interval(means);
        assert!((found.0 - low).abs() < 1e-9 && (found.1 - high).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0], 0.25), 0.5);
        assert_eq!(quantile(&[4.0], 0.975), 4.0);
    }
}
