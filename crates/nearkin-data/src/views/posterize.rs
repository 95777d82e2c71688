//! Fewer shades.

/// Keeps the highest `bits` of each value, as Pillow does.
pub(super) fn apply(planes: &mut [u8], bits: u8) {
    let mask = !(0xff >> bits);
    planes.iter_mut().for_each(|value| *value &= mask);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_highest_bits_stay() {
        let mut planes = [0, 31, 32, 100, 255];
        super::apply(&mut planes, 3);
        assert_eq!(planes, [0, 0, 32, 96, 224]);
    }
}
