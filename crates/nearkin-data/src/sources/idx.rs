//! IDX files, the storage of MNIST and its relatives (LeCun, Cortes and Burges).
//!
//! A header of big-endian 32-bit words: a magic number (data type 0x08 = unsigned byte, number of
//! dimensions), then one word a dimension; then the bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{check_split, class_names, open_maybe_gzip, without_gz};
use crate::attributes::Attributes;
use crate::dataset::{Block, Content, Kind, Media, Sample, Source};
use crate::error::DataError;

pub(super) const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
/// A file of our own convention: IDX has no place for names.
const NAMES: &str = "classes.txt";

/// Whether a file is named as IDX images are: `train-images-idx3-ubyte`, `t10k-images.idx3-ubyte.gz`.
pub(super) fn is_images_name(name: &str) -> bool {
    let name = without_gz(name);
    name.contains("images") && name.ends_with("idx3-ubyte")
}

/// Reads pairs of images and labels. All labels are read, so that the classes are those of the whole
/// set; images only of the wanted split.
pub(super) fn open(path: &Path, images: Vec<PathBuf>, wanted: Option<&str>) -> Result<Source, DataError> {
    let mut pairs: Vec<(Option<String>, PathBuf)> =
        images.into_iter().map(|file| (split_of(&file), file)).collect();
    // Training data first, so that its sample numbers do not depend on what else is there.
    pairs.sort_by_key(|(split, file)| (split.as_deref() != Some("train"), file.clone()));
    let available: Vec<String> = pairs.iter().filter_map(|(split, _)| split.clone()).collect();
    check_split(path, wanted, &available)?;

    let mut blocks = Vec::new();
    let mut rows = Vec::new();
    let mut samples: Vec<Sample> = Vec::new();
    let mut warnings = Vec::new();
    let mut class_count = 0;
    for (split, file) in pairs {
        let labels_file = labels_beside(&file);
        let labels = match &labels_file {
            Some(labels_file) => Some(read_labels(labels_file)?),
            None => {
                warnings
                    .push(format!("{}: no labels file beside it: its samples have no label", file.display()));
                None
            }
        };
        let most = labels.iter().flatten().max();
        class_count = class_count.max(most.map_or(0, |&label| usize::from(label) + 1));
        if wanted.is_some() && wanted != split.as_deref() {
            continue;
        }
        let (count, block) = read_images(&file)?;
        if let (Some(labels), Some(labels_file)) = (&labels, labels_file)
            && labels.len() != count
        {
            return Err(DataError::malformed(
                labels_file,
                "number of labels",
                labels.len().to_string(),
                format!("{count}, the number of images in {}", file.display()),
            ));
        }
        let stem = split.clone().unwrap_or_else(|| "images".into());
        for i in 0..count {
            rows.push((blocks.len() as u32, i as u32));
            samples.push(Sample {
                id: format!("{stem}/{i}"),
                path: None,
                label: labels.as_ref().map(|labels| u32::from(labels[i])),
                split: split.clone(),
            });
        }
        blocks.push(block);
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    Ok(Source {
        kind: Kind::Idx,
        media: Media::Images,
        path: path.to_owned(),
        samples,
        classes: class_names(&folder.join(NAMES), class_count)?,
        content: Content::Blocks { blocks, rows },
        attributes: Attributes::default(),
        warnings,
    })
}

/// `train-images-…` is split `train`, `t10k-…` is `test`, any other prefix names itself.
fn split_of(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_string_lossy().into_owned();
    let front = name.split("images").next()?;
    let front = front.trim_end_matches(['-', '_', '.']);
    match front {
        "" => None,
        // A file that does not follow the naming has no split in its name.
        _ if front.len() == name.len() => None,
        "t10k" => Some("test".into()),
        other => Some(other.to_owned()),
    }
}

/// The labels file of an images file, by name, zipped or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_string_lossy().into_owned();
    let name = name.replace("images", "labels").replace("idx3", "idx1");
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    [name.clone(), plain.to_owned(), format!("{plain}.gz")]
        .into_iter()
        .map(|name| images.with_file_name(name))
        .find(|file| file.is_file() && file != images)
}

fn read_images(path: &Path) -> Result<(usize, Block), DataError> {
    let mut reader = open_maybe_gzip(path)?;
    let [count, height, width] = read_header(path, &mut reader, IMAGES_MAGIC)?;
    if width == 0 || height == 0 {
        return Err(DataError::malformed(
            path,
            "image size",
            format!("{width}x{height}"),
            "sides of at least 1",
        ));
    }
    let pixels = read_body(path, reader, &[count, height, width])?;
    let block = Block { width: width as usize, height: height as usize, channels: 1, pixels };
    Ok((count as usize, block))
}

fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut reader = open_maybe_gzip(path)?;
    let [count] = read_header(path, &mut reader, LABELS_MAGIC)?;
    read_body(path, reader, &[count])
}

fn read_header<const DIMS: usize>(
    path: &Path,
    reader: &mut impl Read,
    magic: u32,
) -> Result<[u32; DIMS], DataError> {
    let mut word = || {
        let mut bytes = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut bytes).map_err(|source| DataError::read(path, source))?;
        let whole: [u8; 4] = bytes.as_slice().try_into().map_err(|_| {
            DataError::malformed(
                path,
                "IDX header",
                "the end of the file",
                format!("{} bytes", 4 * (1 + DIMS)),
            )
        })?;
        Ok::<_, DataError>(u32::from_be_bytes(whole))
    };
    let found = word()?;
    if found != magic {
        return Err(DataError::malformed(
            path,
            "IDX magic number",
            format!("{found:#010x}"),
            format!("{magic:#010x} (unsigned bytes, {DIMS} dimensions)"),
        ));
    }
    let mut dims = [0; DIMS];
    for dim in &mut dims {
        *dim = word()?;
    }
    Ok(dims)
}

/// Exactly the bytes that the dimensions ask for. The buffer grows with what is really there, so a
/// lying header costs no memory.
fn read_body(path: &Path, mut reader: impl Read, dims: &[u32]) -> Result<Vec<u8>, DataError> {
    let shape = || {
        let dims: Vec<_> = dims.iter().map(ToString::to_string).collect();
        dims.join("x")
    };
    let wanted = dims
        .iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(u64::from(dim)))
        .filter(|&product| product < isize::MAX as u64)
        .ok_or_else(|| DataError::malformed(path, "IDX dimensions", shape(), "a size that fits in memory"))?;
    let mut body = Vec::new();
    reader
        .by_ref()
        .take(wanted + 1)
        .read_to_end(&mut body)
        .map_err(|source| DataError::read(path, source))?;
    if body.len() as u64 != wanted {
        let found = if body.len() as u64 > wanted {
            "more".to_owned()
        } else {
            format!("{} (the file is truncated)", body.len())
        };
        return Err(DataError::malformed(
            path,
            "bytes after the header",
            found,
            format!("{wanted} for {}", shape()),
        ));
    }
    Ok(body)
}
