//! What products in bf16 would gain: the rate of one tile in registers, beside the same tile in f32.
//!
//! There is no bf16 path; this measures whether one would pay on the processor at hand.

use std::time::Instant;

/// Rows and columns of a tile.
const SIDE: usize = 16;
/// Panels of columns that a tile of rows meets: they lie in the second cache, as in the sweep.
const PANELS: usize = 64;
const REPEATS: usize = 4000;

/// Billions of operations a second of one core, with vectors of `dim` values, or none where the processor lacks the
/// instructions.
pub fn rate(dim: usize, halves: bool) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16") {
        // Two halves share a lane.
        let rows = if halves { dim / 2 } else { dim };
        let group = vec![[1.0f32; SIDE]; rows];
        let panels = vec![[1.0f32; SIDE]; rows * PANELS];
        let mut out = [[0.0f32; SIDE]; SIDE];
        let start = Instant::now();
        for _ in 0..REPEATS {
            for panel in panels.chunks_exact(rows) {
                // SAFETY: the processor has the instructions, asked above.
                #[allow(unsafe_code)]
                unsafe {
                    if halves {
                        x86::tile_of_halves(&group, panel, &mut out);
                    } else {
                        x86::tile(&group, panel, &mut out);
                    }
                }
                std::hint::black_box(&mut out);
            }
        }
        let operations = 2.0 * (SIDE * SIDE * dim * PANELS * REPEATS) as f64;
        return Some(operations / start.elapsed().as_secs_f64() / 1e9);
    }
    let _ = (dim, halves);
    None
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::SIDE;
    use std::arch::x86_64::{
        __m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_epi32, _mm512_set1_ps,
        _mm512_setzero_ps,
    };
    use std::mem::transmute;

    #[target_feature(enable = "avx512f")]
    pub fn tile(group: &[[f32; SIDE]], panel: &[[f32; SIDE]], out: &mut [[f32; SIDE]; SIDE]) {
        let mut sums = [_mm512_setzero_ps(); SIDE];
        for (queries, references) in group.iter().zip(panel) {
            // SAFETY: sixteen f32 and a vector of them have the same size, and any bits are valid in both.
            let references = unsafe { transmute::<[f32; SIDE], __m512>(*references) };
            for (sum, query) in sums.iter_mut().zip(queries) {
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(*query), references, *sum);
            }
        }
        // SAFETY: as above.
        *out = unsafe { transmute::<[__m512; SIDE], [[f32; SIDE]; SIDE]>(sums) };
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn tile_of_halves(group: &[[f32; SIDE]], panel: &[[f32; SIDE]], out: &mut [[f32; SIDE]; SIDE]) {
        let mut sums = [_mm512_setzero_ps(); SIDE];
        for (queries, references) in group.iter().zip(panel) {
            // SAFETY: all of these are 64 bytes, and any bits are valid in each.
            let references = unsafe { transmute::<[f32; SIDE], __m512bh>(*references) };
            for (sum, query) in sums.iter_mut().zip(queries) {
                let pair = _mm512_set1_epi32(query.to_bits() as i32);
                // SAFETY: as above.
                *sum = _mm512_dpbf16_ps(*sum, unsafe { transmute::<__m512i, __m512bh>(pair) }, references);
            }
        }
        // SAFETY: as above.
        *out = unsafe { transmute::<[__m512; SIDE], [[f32; SIDE]; SIDE]>(sums) };
    }
}
