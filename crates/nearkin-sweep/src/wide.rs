//! Loops over tiles, run with the widest instructions that the processor has.

use std::sync::LazyLock;

/// Found once: looking it up costs more than a short row.
static WIDEST: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// The widest instructions that the processor has.
pub(crate) fn widest() -> pulp::Arch {
    *WIDEST
}

/// Runs `work` compiled for AVX-512, AVX2 with FMA, NEON or plain instructions, whichever this processor has.
///
/// Only what is inlined is compiled so: write `wide(#[inline(always)] || …)`, and mark what it calls. No operation is fused or reordered, so the bits are the same with
/// every instruction set.
#[inline(always)]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    WIDEST.dispatch(work)
}

/// Values that are added up side by side in [`sum`].
const LANES: usize = 16;
/// Values that may be added up in `f32`.
const STRETCH: usize = 4096;

/// The sum of a row, in an order that runs in vectors and depends on the length alone: sixteen partial sums in `f32` over
/// stretches of 4,096 values, everything else in `f64`.
#[inline(always)]
pub fn sum(values: &[f32]) -> f64 {
    let mut total = 0.0;
    for stretch in values.chunks(STRETCH) {
        let mut lanes = [0.0f32; LANES];
        let whole = stretch.chunks_exact(LANES);
        for (lane, value) in lanes.iter_mut().zip(whole.remainder()) {
            *lane = *value;
        }
        for values in whole {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane += value;
            }
        }
        total += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
    }
    total
}

/// The largest value; −∞ of none. A NaN is passed over.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let whole = values.chunks_exact(LANES);
    for (lane, value) in lanes.iter_mut().zip(whole.remainder()) {
        *lane = value.max(*lane);
    }
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_every_length_adds_each_value_once() {
        for n in (0..70usize).chain([4095, 4096, 4097, 9000]) {
            let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(
                wide(
                    #[inline(always)]
                    || sum(&values)
                ),
                (n * n.saturating_sub(1) / 2) as f64
            );
            assert_eq!(
                wide(
                    #[inline(always)]
                    || max(&values)
                ),
                values.last().copied().unwrap_or(f32::NEG_INFINITY)
            );
        }
    }
}
