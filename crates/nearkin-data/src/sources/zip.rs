//! A ZIP of image or sound files, read where it lies: nothing is unpacked to disk, so no name in it can lead anywhere.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;
use zip::result::ZipError;

use super::folder::{Listing, Sorted, media_of, sort};
use super::wav::read_wav;
use crate::attributes::Attributes;
use crate::dataset::{Content, Kind, Source};
use crate::decode::{Limits, decode, probe};
use crate::error::DataError;
use crate::image::Image;
use crate::signal::Signal;
use crate::store::read_exact_at;

/// The most bytes that an entry may unpack to. Larger image files exist, but none that a data set of them would be kept in; a
/// file that says less than it holds is cut there too.
const MOST_BYTES: u64 = 256 << 20;

pub(super) fn is_name(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".zip")
}

/// The images or sounds of one or more open ZIPs.
#[derive(Debug)]
pub(crate) struct ZipEntries {
    archives: Vec<(PathBuf, ZipArchive<Part>)>,
    entries: Vec<Entry>,
}

/// Where a file is, and what the ZIP's directory says of it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    archive: usize,
    index: usize,
    size: u64,
    crc: u32,
}

/// Reads the directories of the ZIPs at `paths`, which together are the set at `root`; no entry is opened. What several of them hold
/// alike counts once.
pub(super) fn open(root: &Path, paths: &[PathBuf]) -> Result<Source, DataError> {
    let mut archives = Vec::with_capacity(paths.len());
    let mut all = Listing { files: Vec::new(), folders: BTreeSet::new(), others: 0 };
    let mut known: HashMap<String, Entry> = HashMap::new();
    let mut copies = 0;
    for (number, path) in paths.iter().enumerate() {
        let (archive, listing) = list(path, number)?;
        archives.push((path.clone(), archive));
        all.folders.extend(listing.folders);
        all.others += listing.others;
        for (name, media, entry) in listing.files {
            match known.get(&name) {
                Some(first) if first.archive == entry.archive => {}
                Some(first) if (first.size, first.crc) == (entry.size, entry.crc) => {
                    copies += 1;
                    continue;
                }
                Some(first) => {
                    let other = archives[first.archive].0.display();
                    return Err(DataError::malformed(
                        path,
                        "entry",
                        format!("{name}, which {other} holds with other bytes"),
                        "different names for different files: give the ZIPs one by one",
                    ));
                }
                None => drop(known.insert(name.clone(), entry)),
            }
            all.files.push((name, media, entry));
        }
    }
    let Sorted { media, samples, places, classes, mut warnings } = sort(root, all)?;
    if copies > 0 {
        warnings.push(format!("{copies} {media} stand in two ZIPs alike and count once"));
    }
    Ok(Source {
        kind: Kind::Zip,
        media,
        path: root.to_owned(),
        samples,
        classes,
        content: Content::Zip(ZipEntries { archives, entries: places }),
        attributes: Attributes::default(),
        warnings,
    })
}

/// What one ZIP holds.
fn list(path: &Path, number: usize) -> Result<(ZipArchive<Part>, Listing<Entry>), DataError> {
    let read = |source| DataError::read(path, source);
    let file = File::open(path).map_err(read)?;
    let len = file.metadata().map_err(read)?.len();
    let mut archive = ZipArchive::new(Part { file: Arc::new(file), at: 0, len })
        .map_err(|error| problem(path, None, error))?;

    let mut listing = Listing { files: Vec::new(), folders: BTreeSet::new(), others: 0 };
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| problem(path, None, error))?;
        let name = entry.name().map_err(|error| problem(path, None, error))?.into_owned();
        let steps: Vec<&str> = name.split('/').filter(|step| !step.is_empty()).collect();
        // What macOS adds, and hidden files.
        if steps.iter().any(|step| step.starts_with('.') && *step != "..")
            || steps.first() == Some(&"__MACOSX")
        {
            continue;
        }
        if name.starts_with('/') || name.contains(['\\', '\0']) || steps.contains(&"..") {
            return Err(DataError::malformed(
                path,
                "name of an entry",
                format!("{name:?}"),
                "a path below the ZIP, with '/' between folders: pack it again",
            ));
        }
        let relative = steps.join("/");
        if entry.is_dir() {
            listing.folders.insert(relative);
            continue;
        }
        let Some(media) = media_of(&relative) else {
            listing.others += 1;
            continue;
        };
        if entry.encrypted() {
            return Err(DataError::malformed(
                path,
                "entry",
                format!("{relative} with a password"),
                "entries without: unpack it and open the folder",
            ));
        }
        // A ZIP need not list folders.
        let above = relative.match_indices('/').map(|(at, _)| relative[..at].to_owned());
        listing.folders.extend(above);
        let place = Entry { archive: number, index, size: entry.size(), crc: entry.crc32() };
        listing.files.push((relative, media, place));
    }
    while let Some(top) = common_top(&listing) {
        let below = |name: &str| name[top.len() + 1..].to_owned();
        listing.files.iter_mut().for_each(|(name, ..)| *name = below(name));
        let inner = format!("{top}/");
        listing.folders =
            listing.folders.iter().filter(|name| name.starts_with(&inner)).map(|name| below(name)).collect();
    }
    Ok((archive, listing))
}

/// The only folder at the top, if all files lie below it and some deeper still, so that classes are left without it.
fn common_top(listing: &Listing<Entry>) -> Option<String> {
    let (top, _) = listing.files.first()?.0.split_once('/')?;
    let mut deeper = false;
    for (name, ..) in &listing.files {
        let below = name.strip_prefix(top)?.strip_prefix('/')?;
        deeper |= below.contains('/');
    }
    deeper.then(|| top.to_owned())
}

impl ZipEntries {
    /// What the directory says of a sample's file: its size in bytes and its CRC-32.
    pub(crate) fn size_and_crc(&self, row: usize) -> (u64, u32) {
        (self.entries[row].size, self.entries[row].crc)
    }

    pub(crate) fn image(&self, row: usize, id: &str, limits: Limits) -> Result<Image, DataError> {
        decode(&self.bytes(row, id)?, limits)
            .map_err(|source| DataError::Image { path: self.path(row).join(id), source })
    }

    pub(crate) fn sound(&self, row: usize, id: &str) -> Result<Signal, DataError> {
        read_wav(&self.path(row).join(id), &self.bytes(row, id)?)
    }

    /// Width, height and channels.
    pub(crate) fn probe(&self, row: usize, id: &str) -> Result<(usize, usize, usize), DataError> {
        probe(&self.bytes(row, id)?)
            .map_err(|source| DataError::Image { path: self.path(row).join(id), source })
    }

    /// The unpacked file.
    fn bytes(&self, row: usize, id: &str) -> Result<Vec<u8>, DataError> {
        // The directory is shared, so a copy costs next to nothing and has a place of its own in the file.
        let mut archive = self.archives[self.entries[row].archive].1.clone();
        let entry = archive
            .by_index(self.entries[row].index)
            .map_err(|error| problem(self.path(row), Some(id), error))?;
        let mut bytes = Vec::new();
        let read = |source| DataError::read(self.path(row).join(id), source);
        // The buffer grows with what is really there.
        entry.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MOST_BYTES {
            let wanted = format!("at most {MOST_BYTES} bytes");
            return Err(DataError::malformed(self.path(row).join(id), "unpacked size", "more", wanted));
        }
        Ok(bytes)
    }

    fn path(&self, row: usize) -> &Path {
        &self.archives[self.entries[row].archive].0
    }
}

fn problem(path: &Path, id: Option<&str>, error: ZipError) -> DataError {
    let path = id.map_or_else(|| path.to_owned(), |id| path.join(id));
    match error {
        ZipError::Io(source) => DataError::read(path, source),
        other => DataError::malformed(path, "ZIP", other.to_string(), "a whole ZIP, stored or deflated"),
    }
}

/// A file read from a place of its own, whoever else reads from it.
#[derive(Clone, Debug)]
struct Part {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        read_exact_at(&self.file, &mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the file"))?;
        Ok(self.at)
    }
}
