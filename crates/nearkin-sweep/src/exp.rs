//! An exponential that compilers vectorise.

const SHIFT: f32 = 12_582_912.0;

/// `e^x` with a relative error below 3e-7; 0 below −87.3 and finite up to 88.
///
/// `f32::exp` is a call for each value; this is a handful of multiply-adds that a loop over a row runs in vectors.
/// `x` is split into `n ln 2 + f`; a polynomial approximates `e^f` on [-½ ln 2, ½ ln 2] (coefficients: Cephes, `expf`).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let y = x * std::f32::consts::LOG2_E;
    // Adding 1.5 · 2²³ rounds to the nearest integer, and leaves that integer in the low bits.
    let shifted = y.clamp(-126.0, 127.0) + SHIFT;
    let whole = shifted - SHIFT;
    // The part after the point from x itself: ln 2 in two pieces keeps the digits that y has lost.
    let f = (x.clamp(-87.336_54, 88.029_69) - whole * 0.693_359_4) - whole * -2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * f + 1.398_199_9e-3;
    let p = p * f + 8.333_452e-3;
    let p = p * f + 4.166_579_6e-2;
    let p = p * f + 1.666_666_5e-1;
    let p = p * f + 0.5;
    let p = p * f * f + f + 1.0;
    let integer = shifted.to_bits().wrapping_sub(SHIFT.to_bits());
    let scaled = p * f32::from_bits(integer.wrapping_add(127) << 23);
    if y < -126.0 { 0.0 } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library_over_its_range() {
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let wanted = f64::from(x).exp();
            assert!(
                (f64::from(exp(x)) - wanted).abs() <= 3e-7 * wanted,
                "exp({x}) = {} for {wanted}",
                exp(x)
            );
        }
    }

    #[test]
    fn exp_of_the_far_left_is_zero_and_of_zero_is_one() {
        assert_eq!((exp(-1e30), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan());
    }
}
