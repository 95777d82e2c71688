//! What is bright becomes dark.

use nearkin_sweep::wide;

/// Inverts all values of a normalised plane from `threshold` on; a value and its inverse add up to `sum`.
pub(super) fn apply(plane: &mut [f32], threshold: f32, sum: f32) {
    wide(
        #[inline(always)]
        || {
            for value in &mut *plane {
                *value = if *value >= threshold { sum - *value } else { *value };
            }
        },
    );
}

#[cfg(test)]
mod tests {
    #[test]
    fn bright_values_are_inverted() {
        let mut plane = [0.0, 0.4, 0.5, 0.75, 1.0];
        super::apply(&mut plane, 0.5, 1.0);
        assert_eq!(plane, [0.0, 0.4, 0.5, 0.25, 0.0]);
    }
}
