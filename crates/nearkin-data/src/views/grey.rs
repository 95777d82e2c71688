//! Dropping the colour.

use nearkin_sweep::wide;

use super::rgb;
use crate::image::luma;

/// Replaces red, green and blue planes by three times their ITU-R 601 grey; one channel stays as it is.
pub(super) fn apply(planes: &mut [u8], channels: usize) {
    if channels == 3 {
        let [red, green, blue] = rgb(planes);
        wide(
            #[inline(always)]
            || {
                for ((r, g), b) in red.iter_mut().zip(&mut *green).zip(&mut *blue) {
                    [*r, *g, *b] = [luma(*r, *g, *b); 3];
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_becomes_its_luma() {
        let mut planes = [255, 10, 0, 20, 0, 30];
        apply(&mut planes, 3);
        assert_eq!(planes, [76, 18, 76, 18, 76, 18]);
        apply(&mut planes, 1);
        assert_eq!(planes, [76, 18, 76, 18, 76, 18]);
    }
}
