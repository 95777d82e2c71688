//! Floating-point numbers of a file, as f32.

use std::io::{self, Read};

use half::{bf16, f16};

/// A type of floating-point number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    /// Bytes a number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Reads `count` numbers. An f64 is rounded to the nearest f32, which is infinite beyond its range.
    ///
    /// The caller has checked that the file holds them, so that a header alone cannot make this allocate.
    pub(super) fn read(self, reader: &mut impl Read, big_endian: bool, count: usize) -> io::Result<Vec<f32>> {
        match self {
            Self::F16 => read(reader, big_endian, count, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => read(reader, big_endian, count, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => read(reader, big_endian, count, f32::from_le_bytes),
            Self::F64 => read(reader, big_endian, count, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn read<const BYTES: usize>(
    reader: &mut impl Read,
    big_endian: bool,
    count: usize,
    from_le_bytes: impl Fn([u8; BYTES]) -> f32,
) -> io::Result<Vec<f32>> {
    const NUMBERS: usize = 1 << 16;
    let mut numbers = Vec::with_capacity(count);
    let mut buffer = vec![0; NUMBERS.min(count) * BYTES];
    while numbers.len() < count {
        let bytes = &mut buffer[..NUMBERS.min(count - numbers.len()) * BYTES];
        reader.read_exact(bytes)?;
        let (chunks, _) = bytes.as_chunks::<BYTES>();
        numbers.extend(chunks.iter().map(|&(mut number)| {
            if big_endian {
                number.reverse();
            }
            from_le_bytes(number)
        }));
    }
    Ok(numbers)
}
