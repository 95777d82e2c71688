//! From a path to samples: one reader a storage kind, and the detection between them.

mod cifar;
mod folder;
mod idx;
mod manifest;
mod ts;
mod wav;
mod zip;

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

pub(crate) use self::wav::read_wav;
pub(crate) use self::zip::ZipEntries;
use crate::dataset::Source;
use crate::error::DataError;

/// Divides `path#split`. A file or folder that really has a `#` in its name wins.
pub(crate) fn divide_at_split(path: &Path) -> (PathBuf, Option<String>) {
    if !path.exists()
        && let Some((front, split)) = path.to_str().and_then(|text| text.rsplit_once('#'))
        && !split.is_empty()
        && !split.contains(std::path::is_separator)
    {
        return (front.into(), Some(split.to_owned()));
    }
    (path.to_owned(), None)
}

/// Reads the source at `path`. With a split, a reader may leave the other splits' samples out, but
/// gives the classes of the whole set.
pub(crate) fn open(path: &Path, split: Option<&str>) -> Result<Source, DataError> {
    let metadata = std::fs::metadata(path).map_err(|source| DataError::read(path, source))?;
    if metadata.is_dir() {
        let names = file_names(path)?;
        let idx: Vec<_> = names.iter().filter(|n| idx::is_images_name(n)).collect();
        if !idx.is_empty() {
            let files = idx.into_iter().map(|name| path.join(name)).collect();
            return idx::open(path, files, split);
        }
        let cifar: Vec<_> = names.iter().filter(|n| cifar::is_name(n)).collect();
        let has_samples = names.iter().any(|name| folder::media_of(name).is_some());
        if !cifar.is_empty() && !has_samples {
            let files = cifar.into_iter().map(|name| path.join(name)).collect();
            return cifar::open(path, files, split);
        }
        let zips: Vec<_> = names.iter().filter(|n| zip::is_name(n)).map(|name| path.join(name)).collect();
        if !zips.is_empty() && !has_samples && !has_folders(path)? {
            return zip::open(path, &zips);
        }
        let series: Vec<_> = names.iter().filter(|n| ts::is_name(n)).map(|name| path.join(name)).collect();
        if !series.is_empty() && !has_samples {
            return ts::open(path, &series);
        }
        return folder::open(path);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if without_gz(&name).ends_with(".csv") {
        manifest::open(path)
    } else if zip::is_name(&name) {
        zip::open(path, &[path.to_owned()])
    } else if cifar::is_name(&name) {
        cifar::open(path, vec![path.to_owned()], split)
    } else if ts::is_name(&name) {
        ts::open(path, &[path.to_owned()])
    } else if let Some(media) = folder::media_of(&name) {
        Ok(folder::one_file(path, name, media))
    } else if idx::is_images_name(&name) || starts_like_idx_images(path)? {
        idx::open(path, vec![path.to_owned()], split)
    } else {
        let found = format!("a file of an unknown kind ({} bytes)", metadata.len());
        Err(DataError::NotADataset { path: path.to_owned(), found })
    }
}

/// Whether a path with a table's ending is a manifest of images: a CSV file whose header has a column `path`.
///
/// # Errors
/// [`DataError::Read`] when the file cannot be read.
pub(crate) fn is_manifest(path: &Path) -> Result<bool, DataError> {
    let (path, _) = divide_at_split(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !without_gz(&name).ends_with(".csv") {
        return Ok(false);
    }
    let mut start = Vec::new();
    open_maybe_gzip(&path)?
        .take(1 << 16)
        .read_to_end(&mut start)
        .map_err(|source| DataError::read(&path, source))?;
    let header = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let header = String::from_utf8_lossy(header);
    Ok(header.trim_start_matches('\u{feff}').split(',').any(|name| name.trim().trim_matches('"') == "path"))
}

/// Refuses a split that is not among `available`.
fn check_split(path: &Path, split: Option<&str>, available: &[String]) -> Result<(), DataError> {
    match split {
        Some(wanted) if !available.iter().any(|name| name == wanted) => Err(DataError::NoSuchSplit {
            path: path.to_owned(),
            wanted: wanted.to_owned(),
            available: available.to_vec(),
        }),
        _ => Ok(()),
    }
}

/// The files of a folder that are not hidden, sorted by name.
fn file_names(folder: &Path) -> Result<Vec<String>, DataError> {
    names_of(folder, Path::is_file)
}

/// Whether a folder holds others that are not hidden.
fn has_folders(folder: &Path) -> Result<bool, DataError> {
    Ok(!names_of(folder, Path::is_dir)?.is_empty())
}

fn names_of(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(|source| DataError::read(folder, source))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| DataError::read(folder, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && wanted(&entry.path()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `name` in lower case without a final `.gz`.
pub(crate) fn without_gz(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_suffix(".gz").unwrap_or(&name).to_owned()
}

/// Opens a file, unpacking gzip if its first bytes say so.
pub(crate) fn open_maybe_gzip(path: &Path) -> Result<Box<dyn Read>, DataError> {
    let read = |source| DataError::read(path, source);
    let mut file = BufReader::new(File::open(path).map_err(read)?);
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(read)?;
    let zipped = magic == [0x1F, 0x8B];
    let whole = Cursor::new(magic).chain(file);
    Ok(if zipped { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

fn starts_like_idx_images(path: &Path) -> Result<bool, DataError> {
    let mut magic = Vec::new();
    let mut reader = open_maybe_gzip(path)?.take(4);
    // A damaged gzip is simply not an IDX file here.
    Ok(reader.read_to_end(&mut magic).is_ok() && magic == idx::IMAGES_MAGIC.to_be_bytes())
}

/// The names of `classes` classes, one a line of `file`; their numbers if there is no such file.
fn class_names(file: &Path, classes: usize) -> Result<Vec<String>, DataError> {
    if !file.is_file() {
        return Ok((0..classes).map(|label| label.to_string()).collect());
    }
    let text = std::fs::read_to_string(file).map_err(|source| DataError::read(file, source))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != classes {
        return Err(DataError::malformed(
            file,
            "number of class names",
            names.len().to_string(),
            format!("{classes}, one a line"),
        ));
    }
    Ok(names)
}

/// A CSV reader's error, with the line.
pub(crate) fn csv_problem(path: &Path, error: &csv::Error) -> DataError {
    DataError::Manifest {
        path: path.to_owned(),
        line: error.position().map_or(1, csv::Position::line),
        problem: format!("not a CSV file in UTF-8: {error}"),
    }
}
