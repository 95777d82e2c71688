//! NumPy's `.npy`, with a sidecar for what an array cannot hold.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::path::{Path, PathBuf};

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar, WriterBuilder};
use serde::{Deserialize, Serialize};

use super::companion::Companion;
use super::floats::Float;
use super::open;
use crate::atomic::Staged;
use crate::embeddings::Embeddings;
use crate::error::{Fault, IndexError};

const FORMAT: &str = "NumPy (.npy)";

/// The file `<name>.npy.json`.
#[derive(Serialize, Deserialize)]
struct Sidecar<'a> {
    /// BLAKE3 of the vectors as row-major little-endian f32: ties the sidecar to its array, also when a crash came
    /// between the two renames.
    vectors_blake3: String,
    #[serde(flatten)]
    companion: Companion<'a>,
}

fn sidecar_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".json");
    name.into()
}

fn checksum(vectors: &[f32]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for chunk in vectors.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().to_hex().to_string()
}

pub(super) fn read(path: &Path) -> Result<Embeddings, IndexError> {
    let (vectors, rows, dim) = read_array(path, &mut open(path)?)?;
    Ok(read_sidecar(path, &vectors)?.join(vectors, rows, dim))
}

/// The values, row-major, and the array's rows and columns.
fn read_array(path: &Path, file: &mut File) -> Result<(Vec<f32>, usize, usize), IndexError> {
    let fault = IndexError::file(path);
    let header = NpyHeader::from_reader(&mut *file)
        .map_err(|e| fault(Fault::NotThisFormat { format: FORMAT, detail: e.to_string() }))?;
    let (float, big_endian) = float_of(&header.dtype()).map_err(&fault)?;
    let &[rows, dim] = header.shape() else {
        return Err(fault(Fault::Shape { found: header.shape().to_vec() }));
    };
    let length = file.metadata().map_err(IndexError::read(path))?.len();
    let found = length - file.stream_position().map_err(IndexError::read(path))?.min(length);
    let wanted = rows.saturating_mul(dim).saturating_mul(float.bytes() as u64);
    let fits = |n: u64| usize::try_from(n).map_err(|_| fault(Fault::Size { found, wanted }));
    let (rows, dim, count) = (fits(rows)?, fits(dim)?, fits(rows.saturating_mul(dim))?);
    if found != wanted {
        return Err(fault(Fault::Size { found, wanted }));
    }
    let values = float.read(&mut BufReader::new(file), big_endian, count).map_err(IndexError::read(path))?;
    let vectors = match header.order() {
        Order::C => values,
        Order::Fortran => (0..count).map(|i| values[i % dim * rows + i / dim]).collect(),
    };
    Ok((vectors, rows, dim))
}

fn float_of(dtype: &DType) -> Result<(Float, bool), Fault> {
    let wrong = || Fault::ValueType {
        field: "array".to_owned(),
        found: dtype.descr(),
        wanted: "float16, float32 or float64",
    };
    let DType::Plain(plain) = dtype else { return Err(wrong()) };
    let float = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Float, 2) => Float::F16,
        (TypeChar::Float, 4) => Float::F32,
        (TypeChar::Float, 8) => Float::F64,
        _ => return Err(wrong()),
    };
    Ok((float, plain.endianness() == Endianness::Big))
}

fn read_sidecar(path: &Path, vectors: &[f32]) -> Result<Companion<'static>, IndexError> {
    let sidecar = sidecar_path(path);
    let text = match std::fs::read(&sidecar) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Companion::default()),
        Err(e) => return Err(IndexError::read(&sidecar)(e)),
    };
    let fault = |detail| {
        IndexError::file(path)(Fault::Companion {
            place: format!("its sidecar {}", sidecar.display()),
            detail,
            next: "write both again, or move the sidecar away to number the rows",
        })
    };
    let read: Sidecar<'static> = serde_json::from_slice(&text).map_err(|e| fault(e.to_string()))?;
    let found = checksum(vectors);
    if read.vectors_blake3 != found {
        return Err(fault(format!("it belongs to vectors {}, found vectors {found}", read.vectors_blake3)));
    }
    Ok(read.companion)
}

pub(super) fn write(table: &Embeddings, path: &Path) -> Result<(), IndexError> {
    let sidecar = Sidecar { vectors_blake3: checksum(&table.vectors), companion: Companion::of(table) };
    // Both are complete before either takes its name.
    let array = Staged::write(path, |writer| {
        let mut npy = npyz::WriteOptions::new()
            .default_dtype()
            .shape(&[table.len() as u64, table.dim as u64])
            .writer(&mut *writer)
            .begin_nd()?;
        npy.extend(table.vectors.iter().copied())?;
        npy.finish()
    })?;
    let sidecar = Staged::write(&sidecar_path(path), |writer| {
        serde_json::to_writer(&mut *writer, &sidecar)?;
        writer.write_all(b"\n")
    })?;
    array.publish()?;
    sidecar.publish()
}
