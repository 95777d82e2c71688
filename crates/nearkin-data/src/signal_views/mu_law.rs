//! The rounding of a telephone: μ-law of 8 bits (ITU-T G.711).

const MU: f32 = 255.0;
/// The loudest value that is told apart, in units of the view's scale: more than speech reaches.
const LOUDEST: f32 = 8.0;

/// Rounds every value to one of 256 levels, which lie closer together near 0: `sgn(x) ln(1 + μ|x|) / ln(1 + μ)` in equal steps.
pub(super) fn apply(values: &mut [f32]) {
    let whole = libm::log1pf(MU);
    for x in values {
        let loudness = (x.abs() / LOUDEST).min(1.0);
        let level = (libm::log1pf(MU * loudness) / whole * 127.0).round() / 127.0;
        *x = libm::expm1f(level.min(1.0) * whole) / MU * LOUDEST * x.signum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_few_and_closest_where_it_is_quiet() {
        let values: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 500.0).collect();
        let mut rounded = values.clone();
        apply(&mut rounded);
        for (x, y) in values.iter().zip(&rounded) {
            assert!((x - y).abs() <= 0.025 * x.abs() + 1e-3, "{x} {y}");
        }
        let mut levels: Vec<u32> = rounded.iter().map(|x| x.to_bits()).collect();
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() <= 258, "{}", levels.len());
        let mut loud = [100.0];
        apply(&mut loud);
        assert!((loud[0] - LOUDEST).abs() < 1e-3);
    }
}
