//! Left to right.

/// Mirrors every row of the planes.
pub(super) fn apply(planes: &mut [f32], size: usize) {
    for row in planes.chunks_exact_mut(size) {
        row.reverse();
    }
}
