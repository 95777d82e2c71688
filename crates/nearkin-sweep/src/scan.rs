//! Finds the few scores of a row that matter: those within a bound.

use crate::wide::wide;

/// Set where a score is within the bound of its row.
pub(crate) const ROW: u8 = 1;
/// Set where a score is within the bound of its column.
pub(crate) const COLUMN: u8 = 2;

/// Calls `hit(place, distance, flags)` for every score whose distance, `sign · score`, is at most `bound`, or at most the
/// bound of its place in `bounds`, if there are any. What is not a number is within no bound.
///
/// Bounds that shrink on the way let more through than they should: `hit` compares again.
pub(crate) fn within(
    scores: &[f32],
    sign: f32,
    bound: f32,
    bounds: &[f32],
    flags: &mut Vec<u8>,
    mut hit: impl FnMut(usize, f32, u8),
) {
    flags.clear();
    flags.resize(scores.len().next_multiple_of(WORD), 0);
    wide(
        #[inline(always)]
        || {
            if bounds.is_empty() {
                for (flag, score) in flags.iter_mut().zip(scores) {
                    *flag = u8::from(sign * score <= bound) * ROW;
                }
            } else {
                for ((flag, score), of_column) in flags.iter_mut().zip(scores).zip(bounds) {
                    let distance = sign * score;
                    *flag = (u8::from(distance <= bound) * ROW) | (u8::from(distance <= *of_column) * COLUMN);
                }
            }
        },
    );
    for (word, bytes) in flags.chunks_exact(WORD).enumerate() {
        let mut left = bytes.try_into().map_or(0, u64::from_le_bytes);
        while left != 0 {
            let byte = left.trailing_zeros() as usize / 8;
            let place = word * WORD + byte;
            // 0.0 + normalises −0, so that equal scores tie.
            hit(place, 0.0 + sign * scores[place], bytes[byte]);
            left &= !(0xFF << (8 * byte));
        }
    }
}

/// Flags looked at together.
const WORD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_within_a_bound_is_hit_once_and_no_other() {
        for n in [0, 1, 7, 8, 9, 31, 64, 100] {
            let scores: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
            let bounds: Vec<f32> = (0..n).map(|i| ((i * 13) % 7) as f32 - 6.0).collect();
            let mut flags = Vec::new();
            for sign in [1.0, -1.0] {
                let mut found = vec![0; n];
                within(&scores, sign, -2.0, &bounds, &mut flags, |place, distance, flag| {
                    assert_eq!(distance, sign * scores[place]);
                    found[place] += flag;
                });
                for i in 0..n {
                    let distance = sign * scores[i];
                    let wanted = u8::from(distance <= -2.0) * ROW + u8::from(distance <= bounds[i]) * COLUMN;
                    assert_eq!(found[i], wanted);
                }
            }
        }
        within(&[f32::NAN], 1.0, f32::INFINITY, &[f32::INFINITY], &mut Vec::new(), |_, _, _| panic!("a hit"));
    }
}
