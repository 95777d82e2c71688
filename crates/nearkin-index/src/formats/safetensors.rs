//! `.safetensors`: one tensor, and the rest of the table in the header's metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::companion::Companion;
use super::floats::Float;
use super::open;
use crate::atomic::Staged;
use crate::embeddings::Embeddings;
use crate::error::{Fault, IndexError};

const FORMAT: &str = "safetensors";
/// The tensor's name.
const TENSOR: &str = "embeddings";
/// The key of the header's metadata.
const KEY: &str = "nearkin";
/// The longest header that the format's readers accept.
const LONGEST_HEADER: u64 = 100_000_000;

pub(super) fn read(path: &Path) -> Result<Embeddings, IndexError> {
    let fault = IndexError::file(path);
    let mut file = open(path)?;
    let (header, data_start) = read_header(path, &mut file)?;
    let tensors = header.tensors();
    let (name, tensor) = choose(&tensors).map_err(&fault)?;
    let &[rows, dim] = &tensor.shape[..] else {
        return Err(fault(Fault::Shape { found: tensor.shape.iter().map(|&n| n as u64).collect() }));
    };
    let float = match tensor.dtype {
        Dtype::F16 => Float::F16,
        Dtype::BF16 => Float::Bf16,
        Dtype::F32 => Float::F32,
        Dtype::F64 => Float::F64,
        other => {
            let (field, found) = (format!("tensor '{name}'"), other.to_string());
            return Err(fault(Fault::ValueType { field, found, wanted: "F16, BF16, F32 or F64" }));
        }
    };
    let start = |tensor: &TensorInfo| SeekFrom::Start(data_start + tensor.data_offsets.0 as u64);
    file.seek(start(tensor)).map_err(IndexError::read(path))?;
    // The header's check ties the shape to the offsets, and the size of the file to the offsets.
    let vectors =
        float.read(&mut BufReader::new(&mut file), false, rows * dim).map_err(IndexError::read(path))?;

    let metadata = header.metadata().as_ref();
    let mut companion = match metadata.and_then(|m| m.get(KEY)) {
        None => Companion::default(),
        Some(json) => serde_json::from_str(json).map_err(|e| {
            fault(Fault::Companion {
                place: format!("'{KEY}' in its metadata"),
                detail: e.to_string(),
                next: "write the file again, or drop that key to number the rows",
            })
        })?,
    };
    if let (None, Some(tensor)) = (&companion.labels, tensors.get("labels")) {
        file.seek(start(tensor)).map_err(IndexError::read(path))?;
        companion.labels = Some(Cow::Owned(read_labels(path, &mut file, tensor)?));
    }
    Ok(companion.join(vectors, rows, dim))
}

/// The header, and where the data begins.
fn read_header(path: &Path, file: &mut File) -> Result<(Metadata, u64), IndexError> {
    let fault = IndexError::file(path);
    let not = |detail: String| fault(Fault::NotThisFormat { format: FORMAT, detail });
    let length = file.metadata().map_err(IndexError::read(path))?.len();
    let mut size = [0; 8];
    if length < size.len() as u64 {
        return Err(not(format!("found {length} bytes, wanted at least 8")));
    }
    file.read_exact(&mut size).map_err(IndexError::read(path))?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST_HEADER.min(length - 8) {
        return Err(not(format!("a header of {size} bytes in a file of {length}")));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(IndexError::read(path))?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| not(e.to_string()))?;
    let (found, wanted) = (length - 8 - size, header.data_len() as u64);
    if found != wanted {
        return Err(fault(Fault::Size { found, wanted }));
    }
    Ok((header, 8 + size))
}

fn choose<'a>(tensors: &'a HashMap<String, &'a TensorInfo>) -> Result<(&'a str, &'a TensorInfo), Fault> {
    if let Some(tensor) = tensors.get(TENSOR) {
        return Ok((TENSOR, tensor));
    }
    let names = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join(", ")
    };
    let tables: Vec<(&str, &TensorInfo)> =
        tensors.iter().filter(|(_, t)| t.shape.len() == 2).map(|(name, t)| (name.as_str(), *t)).collect();
    match tables[..] {
        [only] => Ok(only),
        [] => Err(Fault::NoVectors {
            found: format!("tensors [{}]", names(tensors.keys().map(String::as_str).collect())),
            wanted: "a tensor of two dimensions",
        }),
        _ => Err(Fault::SeveralVectors {
            found: names(tables.into_iter().map(|(name, _)| name).collect()),
            wanted: TENSOR,
        }),
    }
}

/// Class numbers as class names. Whether there is one a row is for the table's own check.
fn read_labels(path: &Path, file: &mut File, tensor: &TensorInfo) -> Result<Vec<String>, IndexError> {
    let mut bytes = vec![0; tensor.data_offsets.1 - tensor.data_offsets.0];
    file.read_exact(&mut bytes).map_err(IndexError::read(path))?;
    macro_rules! texts {
        ($integer:ty) => {
            bytes.as_chunks().0.iter().map(|&b| <$integer>::from_le_bytes(b).to_string()).collect()
        };
    }
    Ok(match tensor.dtype {
        Dtype::I8 => texts!(i8),
        Dtype::U8 => texts!(u8),
        Dtype::I16 => texts!(i16),
        Dtype::U16 => texts!(u16),
        Dtype::I32 => texts!(i32),
        Dtype::U32 => texts!(u32),
        Dtype::I64 => texts!(i64),
        Dtype::U64 => texts!(u64),
        other => {
            return Err(IndexError::file(path)(Fault::ValueType {
                field: "tensor 'labels'".to_owned(),
                found: other.to_string(),
                wanted: "integers",
            }));
        }
    })
}

pub(super) fn write(table: &Embeddings, path: &Path) -> Result<(), IndexError> {
    let unwritable = |detail: String| IndexError::file(path)(Fault::Unwritable { format: FORMAT, detail });
    let companion = serde_json::to_string(&Companion::of(table)).map_err(|e| unwritable(e.to_string()))?;
    let bytes = table.vectors.len() * size_of::<f32>();
    let tensor =
        TensorInfo { dtype: Dtype::F32, shape: vec![table.len(), table.dim], data_offsets: (0, bytes) };
    let metadata = HashMap::from([(KEY.to_owned(), companion)]);
    let header = Metadata::new(Some(metadata), vec![(TENSOR.to_owned(), tensor)])
        .map_err(|e| unwritable(e.to_string()))?;
    let mut header = serde_json::to_vec(&header).map_err(|e| unwritable(e.to_string()))?;
    // The format asks for data aligned to 8 bytes, with spaces before it.
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > LONGEST_HEADER {
        return Err(unwritable(format!(
            "its ids and texts take {} bytes of a header's {LONGEST_HEADER}",
            header.len()
        )));
    }
    Staged::write(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(&header)?;
        table.vectors.iter().try_for_each(|x| writer.write_all(&x.to_le_bytes()))
    })?
    .publish()
}
