//! Bins of nearness whose edges are known to the last bit.

/// Bins a histogram.
pub(super) const BINS: usize = 1 << 16;

/// A score turned so that larger is nearer.
pub(crate) fn nearness(score: f32, larger_is_nearer: bool) -> f32 {
    if larger_is_nearer { score } else { -score }
}

/// Bins of equal width from `low` on. The first and the last also hold what lies beyond.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bins {
    low: f32,
    per_unit: f32,
}

impl Bins {
    /// Bins over `low..high`; a range too narrow to cut is widened.
    pub(super) fn over(low: f32, high: f32) -> Self {
        let width =
            (high - low).max(low.abs().max(high.abs()) * f32::EPSILON).max(f32::MIN_POSITIVE * BINS as f32);
        let per_unit = (f64::from(BINS as u32) / f64::from(width)).min(f64::from(f32::MAX)) as f32;
        Self { low, per_unit }
    }

    /// The bin of a nearness. It never falls as the nearness rises: a difference and a product of floats do not.
    pub(super) fn bin(&self, nearness: f32) -> usize {
        ((nearness - self.low) * self.per_unit).clamp(0.0, (BINS - 1) as f32) as usize
    }

    /// The least nearness, of all that f32 can hold, in `bin` or a later one.
    pub(super) fn edge(&self, bin: usize) -> f32 {
        let (mut below, mut at) = (ordered(f32::MIN), ordered(f32::MAX));
        if self.bin(f32::MIN) >= bin {
            return f32::MIN;
        }
        while at - below > 1 {
            let middle = below + (at - below) / 2;
            if self.bin(unordered(middle)) >= bin {
                at = middle;
            } else {
                below = middle;
            }
        }
        unordered(at)
    }
}

/// Whole numbers in the order of the floats.
fn ordered(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & 0x7fff_ffff);
    if x.is_sign_negative() { -bits } else { bits }
}

fn unordered(order: i64) -> f32 {
    let magnitude = f32::from_bits(order.unsigned_abs() as u32);
    if order < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_the_first_float_of_its_bin() {
        for bins in
            [Bins::over(-1.0, 1.0), Bins::over(0.999, 1.0), Bins::over(-3e7, -2.0), Bins::over(0.0, 1e-30)]
        {
            for bin in [1, 2, 77, 30_000, BINS - 1] {
                let edge = bins.edge(bin);
                assert!(bins.bin(edge) >= bin && bins.bin(edge.next_down()) < bin, "{bins:?} {bin} {edge}");
            }
            assert_eq!(bins.edge(0), f32::MIN);
        }
    }

    #[test]
    fn a_range_of_one_value_still_has_bins() {
        let bins = Bins::over(1.0, 1.0);
        assert!(bins.bin(1.0) < bins.bin(1.0f32.next_up()));
        let zero = Bins::over(0.0, 0.0);
        assert!(zero.bin(0.0) < zero.bin(1.0));
    }
}
