//! Vectors as a file holds them: f32, f16 or i8.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use half::f16;
use nearkin_sweep::Vectors;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::IndexError;

/// How an index stores its vectors.
///
/// A vector is rounded once, when it comes in. What the index returns and scores is the rounded vector, also before a compaction; queries are
/// rounded only to find candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Four bytes a value: as it is.
    #[default]
    F32,
    /// Two bytes a value: half precision (IEEE 754 binary16), 11 significant bits within ±65,504, fewer below 6e-5.
    F16,
    /// One byte a value, and four a vector: whole numbers `c` from −127 to 127 that stand for `s c`, where `s` is the vector's largest absolute
    /// value over 127, rounded up to 16 significant bits.
    I8,
}

impl Storage {
    const ALL: [Self; 3] = [Self::F32, Self::F16, Self::I8];

    /// `f32`, `f16` or `i8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        }
    }

    /// What a file calls it.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::I8 => 2,
        }
    }

    pub(crate) fn of_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|storage| storage.code() == code)
    }

    /// Bytes of some vectors; `None` where memory cannot address them.
    pub(crate) fn bytes(self, rows: usize, dim: usize) -> Option<usize> {
        let values = rows.checked_mul(dim)?;
        match self {
            Self::F32 => values.checked_mul(size_of::<f32>()),
            Self::F16 => values.checked_mul(size_of::<u16>()),
            Self::I8 => rows.checked_mul(size_of::<f32>())?.checked_add(values),
        }
    }

    /// The vectors that lie in so many bytes, which begin at a multiple of four.
    pub(crate) fn view(self, bytes: &[u8], rows: usize, dim: usize) -> Stored<'_> {
        let values = match self {
            Self::F32 => Values::F32(bytemuck::cast_slice(bytes)),
            Self::F16 => Values::F16(bytemuck::cast_slice(bytes)),
            Self::I8 => {
                let (scales, codes) = bytes.split_at(rows * size_of::<f32>());
                Values::I8 { scales: bytemuck::cast_slice(scales), codes: bytemuck::cast_slice(codes) }
            }
        };
        Stored { dim, values }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Vectors where they are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) dim: usize,
    pub(crate) values: Values<'a>,
}

/// Their values, one vector after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    /// Bits of half precision.
    F16(&'a [u16]),
    /// A scale for each vector.
    I8 {
        scales: &'a [f32],
        codes: &'a [i8],
    },
}

impl<'a> Stored<'a> {
    pub(crate) fn of(vectors: Vectors<'a>) -> Self {
        Self { dim: vectors.dim(), values: Values::F32(vectors.data()) }
    }

    pub(crate) fn len(&self) -> usize {
        match self.values {
            Values::F32(values) => values.len() / self.dim,
            Values::F16(values) => values.len() / self.dim,
            Values::I8 { scales, .. } => scales.len(),
        }
    }

    /// Whether these are not the vectors that came in.
    pub(crate) fn is_rounded(&self) -> bool {
        !matches!(self.values, Values::F32(_))
    }

    /// Some of the vectors.
    pub(crate) fn slice(&self, rows: Range<usize>) -> Self {
        let of_rows = rows.start * self.dim..rows.end * self.dim;
        let values = match self.values {
            Values::F32(values) => Values::F32(&values[of_rows]),
            Values::F16(values) => Values::F16(&values[of_rows]),
            Values::I8 { scales, codes } => Values::I8 { scales: &scales[rows], codes: &codes[of_rows] },
        };
        Self { values, ..*self }
    }

    /// One of the vectors.
    pub(crate) fn row(&self, row: usize) -> Cow<'a, [f32]> {
        let one = self.slice(row..row + 1);
        match one.values {
            Values::F32(values) => Cow::Borrowed(values),
            Values::F16(_) | Values::I8 { .. } => {
                let mut out = vec![0.0; self.dim];
                one.decode(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// All of them.
    pub(crate) fn to_f32(self) -> Cow<'a, [f32]> {
        match self.values {
            Values::F32(values) => Cow::Borrowed(values),
            Values::F16(_) | Values::I8 { .. } => {
                let mut room = Vec::new();
                self.to_f32_in(&mut room);
                Cow::Owned(room)
            }
        }
    }

    /// All of them, where they lie or else in a room.
    pub(crate) fn to_f32_in<'r>(self, room: &'r mut Vec<f32>) -> &'r [f32]
    where
        'a: 'r,
    {
        const AT_A_TIME: usize = 64;
        if let Values::F32(values) = self.values {
            return values;
        }
        room.resize(self.len() * self.dim, 0.0);
        room.par_chunks_mut(AT_A_TIME * self.dim).enumerate().for_each(|(chunk, out)| {
            let first = chunk * AT_A_TIME;
            self.slice(first..first + out.len() / self.dim).decode(out);
        });
        room
    }

    fn decode(self, out: &mut [f32]) {
        Arch::new().dispatch(Decode { stored: self, out });
    }
}

struct Decode<'a> {
    stored: Stored<'a>,
    out: &'a mut [f32],
}

impl WithSimd for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { stored: Stored { dim, values }, out } = self;
        match values {
            Values::F32(values) => out.copy_from_slice(values),
            Values::F16(values) => {
                for (out, bits) in out.iter_mut().zip(values) {
                    *out = widen(*bits);
                }
            }
            Values::I8 { scales, codes } => {
                let rows = out.chunks_exact_mut(dim).zip(codes.chunks_exact(dim));
                for ((out, codes), scale) in rows.zip(scales) {
                    for (out, code) in out.iter_mut().zip(codes) {
                        *out = scale * f32::from(*code);
                    }
                }
            }
        }
    }
}

/// A finite number of half precision. Exact, and without the branches of `half`'s conversion, so that loops over it run in vectors.
#[inline(always)]
pub(crate) fn widen(bits: u16) -> f32 {
    // In f32's place the exponent is too small by 127 − 15, which a product with a power of two makes up for, of subnormal numbers too.
    const POWER: f32 = f32::from_bits((127 + 127 - 15) << 23);
    // The shift copies the sign to the left of the exponent's five bits, from where the mask takes but the first.
    let moved = i32::from(bits.cast_signed()) << 13;
    f32::from_bits(moved.cast_unsigned() & 0x8fff_e000) * POWER
}

/// Vectors as they will be stored.
pub(crate) enum Encoded<'a> {
    F32(Vectors<'a>),
    F16 { dim: usize, values: Vec<u16> },
    I8 { dim: usize, scales: Vec<f32>, codes: Vec<i8> },
}

impl<'a> Encoded<'a> {
    /// Rounds finite vectors. Those that are rounded already keep their bits.
    pub(crate) fn new(storage: Storage, vectors: Vectors<'a>) -> Result<Self, IndexError> {
        let (dim, data) = (vectors.dim(), vectors.data());
        Ok(match storage {
            Storage::F32 => Self::F32(vectors),
            Storage::F16 => {
                let values: Vec<u16> = data.par_iter().map(|x| f16::from_f32(*x).to_bits()).collect();
                if let Some(i) = values.iter().position(|bits| !f16::from_bits(*bits).is_finite()) {
                    return Err(IndexError::BeyondHalf { row: i / dim, position: i % dim, value: data[i] });
                }
                Self::F16 { dim, values }
            }
            Storage::I8 => {
                let scales: Vec<f32> = data.par_chunks_exact(dim).map(scale_of).collect();
                let mut codes = vec![0; data.len()];
                let rows = codes.par_chunks_exact_mut(dim).zip(data.par_chunks_exact(dim)).zip(&scales);
                rows.filter(|(_, scale)| **scale > 0.0).for_each(|((codes, row), scale)| {
                    for (code, x) in codes.iter_mut().zip(row) {
                        *code = (x / scale).round().clamp(-LARGEST, LARGEST) as i8;
                    }
                });
                Self::I8 { dim, scales, codes }
            }
        })
    }

    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::F32(_) => Storage::F32,
            Self::F16 { .. } => Storage::F16,
            Self::I8 { .. } => Storage::I8,
        }
    }

    pub(crate) fn view(&self) -> Stored<'_> {
        match self {
            Self::F32(vectors) => Stored::of(*vectors),
            Self::F16 { dim, values } => Stored { dim: *dim, values: Values::F16(values) },
            Self::I8 { dim, scales, codes } => Stored { dim: *dim, values: Values::I8 { scales, codes } },
        }
    }

    /// The bytes of a file, one part after the other.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::F32(vectors) => [bytemuck::cast_slice(vectors.data()), &[]],
            Self::F16 { values, .. } => [bytemuck::cast_slice(values), &[]],
            Self::I8 { scales, codes, .. } => [bytemuck::cast_slice(scales), bytemuck::cast_slice(codes)],
        }
    }
}

/// The largest code.
const LARGEST: f32 = 127.0;

/// What a code of 1 stands for in a vector; 0 where all values are too small for a scale.
///
/// Rounded up to 16 significant bits, so that its products with codes are exact, and a vector that was rounded once is rounded to itself.
fn scale_of(row: &[f32]) -> f32 {
    let scale = row.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())) / LARGEST;
    if scale < f32::MIN_POSITIVE { 0.0 } else { f32::from_bits((scale.to_bits() + 0xff) & !0xff) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_finite_number_of_half_precision_is_widened_exactly() {
        for bits in (0..=u16::MAX).filter(|bits| f16::from_bits(*bits).is_finite()) {
            assert_eq!(widen(bits).to_bits(), f16::from_bits(bits).to_f32().to_bits(), "{bits:#x}");
        }
    }

    fn rounded(storage: Storage, data: &[f32], dim: usize) -> Vec<f32> {
        let encoded = Encoded::new(storage, Vectors::new(data, dim).unwrap()).unwrap();
        let bytes = encoded.parts().concat();
        let rows = data.len() / dim;
        assert_eq!(storage.bytes(rows, dim), Some(bytes.len()));
        assert_eq!((encoded.view().len(), encoded.storage()), (rows, storage));
        let all = encoded.view().to_f32().into_owned();
        let by_row: Vec<f32> = (0..rows).flat_map(|row| encoded.view().row(row).into_owned()).collect();
        assert_eq!(all, by_row);
        all
    }

    proptest! {
        #[test]
        fn values_are_within_half_a_step_and_a_second_rounding_changes_nothing(
            dim in 1usize..40, rows in 1usize..90, seed in any::<u64>(), exponent in -30i32..14
        ) {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2f32.powi(exponent)
            };
            let data: Vec<f32> = (0..rows * dim).map(|_| next()).collect();
            for storage in Storage::ALL {
                let once = rounded(storage, &data, dim);
                for (row, kept) in data.chunks(dim).zip(once.chunks(dim)) {
                    let largest = row.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
                    for (x, kept) in row.iter().zip(kept) {
                        let step = match storage {
                            Storage::F32 => 0.0,
                            Storage::F16 => (x.abs() * 2f32.powi(-11)).max(2f32.powi(-25)),
                            Storage::I8 => largest / 253.9,
                        };
                        prop_assert!((x - kept).abs() <= step, "{storage}: {kept} for {x}, of {largest}");
                    }
                }
                prop_assert_eq!(&rounded(storage, &once, dim), &once);
            }
        }
    }

    #[test]
    fn zero_vectors_and_vanishing_ones_are_zero_as_i8() {
        assert_eq!(rounded(Storage::I8, &[0.0, 0.0, 1e-44, -1e-44, 2.0, -1.0], 2)[..4], [0.0; 4]);
    }

    #[test]
    fn a_value_beyond_half_precision_is_an_error_that_names_it() {
        let data = [1.0, 2.0, 3.0, -65_520.0];
        let encoded = Encoded::new(Storage::F16, Vectors::new(&data, 2).unwrap()).map(|_| ());
        let error = encoded.unwrap_err();
        assert!(matches!(error, IndexError::BeyondHalf { row: 1, position: 1, value: -65_520.0 }), "{error}");
        assert!(Encoded::new(Storage::F16, Vectors::new(&[65_504.0], 1).unwrap()).is_ok());
    }
}
