//! The CIFAR binary layout (Krizhevsky 2009): rows of label bytes and 3×32×32 pixel bytes, CHW.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{check_split, class_names, open_maybe_gzip, without_gz};
use crate::attributes::Attributes;
use crate::dataset::{Block, Content, Kind, Media, Sample, Source};
use crate::error::DataError;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// What stands in front of the pixels of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One byte: the class.
    Ten,
    /// Two bytes: superclass, class.
    Hundred,
}

impl Layout {
    fn label_bytes(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }

    fn row(self) -> usize {
        self.label_bytes() + 3 * PLANE
    }

    fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Ten => "batches.meta.txt",
            Self::Hundred => "fine_label_names.txt",
        }
    }
}

pub(super) fn is_name(name: &str) -> bool {
    without_gz(name).ends_with(".bin")
}

/// Reads the files of the wanted split, in the order of their names, training data first.
pub(super) fn open(path: &Path, files: Vec<PathBuf>, wanted: Option<&str>) -> Result<Source, DataError> {
    let mut files: Vec<(Option<&str>, String, PathBuf)> = files
        .into_iter()
        .map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let stem = without_gz(&name).trim_end_matches(".bin").to_owned();
            (split_of(&stem), stem, file)
        })
        .collect();
    files.sort_by_key(|(split, stem, _)| (*split != Some("train"), stem.clone()));
    let mut available: Vec<String> =
        files.iter().filter_map(|(split, ..)| split.map(str::to_owned)).collect();
    available.dedup();
    check_split(path, wanted, &available)?;

    let mut blocks = Vec::new();
    let mut rows = Vec::new();
    let mut samples = Vec::new();
    let mut set_layout = None;
    for (split, stem, file) in &files {
        if wanted.is_some() && wanted != *split {
            continue;
        }
        let bytes = read_all(file)?;
        let layout = layout_of(file, bytes.len())?;
        if *set_layout.get_or_insert(layout) != layout {
            return Err(DataError::malformed(
                file,
                "row length",
                format!("{} bytes", layout.row()),
                "the same as in the other files of the folder",
            ));
        }
        for (i, row) in bytes.chunks_exact(layout.row()).enumerate() {
            let label = row[layout.label_bytes() - 1];
            if usize::from(label) >= layout.classes() {
                return Err(DataError::malformed(
                    file,
                    "label",
                    format!("{label} in row {i}"),
                    format!("0 to {}", layout.classes() - 1),
                ));
            }
            rows.push((blocks.len() as u32, i as u32));
            samples.push(Sample {
                id: format!("{stem}/{i}"),
                path: None,
                label: Some(u32::from(label)),
                split: split.map(str::to_owned),
            });
        }
        blocks.push(Block { width: SIDE, height: SIDE, channels: 3, pixels: interleave(&bytes, layout) });
    }
    let layout = set_layout.unwrap_or(Layout::Ten);
    let folder = files.first().and_then(|(_, _, file)| file.parent());
    Ok(Source {
        kind: Kind::Cifar,
        media: Media::Images,
        path: path.to_owned(),
        samples,
        classes: class_names(&folder.unwrap_or(Path::new("")).join(layout.names_file()), layout.classes())?,
        content: Content::Blocks { blocks, rows },
        attributes: Attributes::default(),
        warnings: Vec::new(),
    })
}

fn split_of(stem: &str) -> Option<&'static str> {
    if stem.starts_with("data_batch") || stem.starts_with("train") {
        Some("train")
    } else if stem.starts_with("test") {
        Some("test")
    } else {
        None
    }
}

fn read_all(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    open_maybe_gzip(path)?.read_to_end(&mut bytes).map_err(|source| DataError::read(path, source))?;
    Ok(bytes)
}

/// CIFAR-10's rows, unless only CIFAR-100's fit (or both do and CIFAR-100's names stand beside).
fn layout_of(path: &Path, len: usize) -> Result<Layout, DataError> {
    let fits = |layout: Layout| len > 0 && len.is_multiple_of(layout.row());
    let hundred_named = || path.with_file_name(Layout::Hundred.names_file()).is_file();
    match (fits(Layout::Ten), fits(Layout::Hundred)) {
        (true, true) if hundred_named() => Ok(Layout::Hundred),
        (true, _) => Ok(Layout::Ten),
        (false, true) => Ok(Layout::Hundred),
        (false, false) => Err(DataError::malformed(
            path,
            "file size",
            format!(
                "{len} bytes ({} rows of 3073 and {} bytes more)",
                len / Layout::Ten.row(),
                len % Layout::Ten.row()
            ),
            "whole rows of 3073 bytes (CIFAR-10) or 3074 bytes (CIFAR-100)",
        )),
    }
}

/// CHW rows to HWC images.
fn interleave(bytes: &[u8], layout: Layout) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(bytes.len());
    for row in bytes.chunks_exact(layout.row()) {
        let (red, rest) = row[layout.label_bytes()..].split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for ((&r, &g), &b) in red.iter().zip(green).zip(blue) {
            pixels.extend_from_slice(&[r, g, b]);
        }
    }
    pixels
}
