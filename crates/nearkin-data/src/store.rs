//! Decoded samples: in memory up to a budget, the rest in a file without a name.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// Where the bytes of one sample are.
enum Place {
    Memory(Box<[u8]>),
    Disk { offset: u64 },
}

struct Entry {
    size: [usize; 2],
    len: usize,
    place: Place,
}

/// Samples as bytes, each with its size, kept in the order they came. What the two numbers of a size mean is their owner's.
pub(crate) struct Store {
    entries: Vec<Entry>,
    spill: Option<Spill<File>>,
    in_memory: u64,
}

/// The spill file and how much is in it; on Unix it has no name, so it cannot outlive the process.
struct Spill<F> {
    folder: PathBuf,
    file: F,
    len: u64,
}

/// A store that is being filled.
pub(crate) struct StoreWriter {
    budget: u64,
    folder: PathBuf,
    entries: Vec<Entry>,
    spill: Option<Spill<BufWriter<File>>>,
    in_memory: u64,
}

impl StoreWriter {
    pub(crate) fn new(budget: u64, folder: &Path) -> Self {
        Self { budget, folder: folder.to_owned(), entries: Vec::new(), spill: None, in_memory: 0 }
    }

    pub(crate) fn push(&mut self, size: [usize; 2], bytes: Vec<u8>) -> Result<(), DataError> {
        let len = bytes.len() as u64;
        // Once one sample has gone to disk all later ones do, so that memory holds a prefix.
        let place = if self.spill.is_none() && self.in_memory + len <= self.budget {
            self.in_memory += len;
            Place::Memory(bytes.into_boxed_slice())
        } else {
            let spill = match &mut self.spill {
                Some(spill) => spill,
                None => self.spill.insert(create_spill(&self.folder)?),
            };
            let offset = spill.len;
            spill.file.write_all(&bytes).map_err(|source| spill_error(&self.folder, "write", source))?;
            spill.len += len;
            Place::Disk { offset }
        };
        self.entries.push(Entry { size, len: len as usize, place });
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Store, DataError> {
        let spill = match self.spill {
            Some(spill) => {
                let file = spill
                    .file
                    .into_inner()
                    .map_err(|error| spill_error(&self.folder, "write", error.into_error()))?;
                Some(Spill { folder: spill.folder, file, len: spill.len })
            }
            None => None,
        };
        Ok(Store { entries: self.entries, spill, in_memory: self.in_memory })
    }
}

impl Store {
    pub(crate) fn size(&self, i: usize) -> Result<[usize; 2], DataError> {
        self.entry(i).map(|entry| entry.size)
    }

    fn entry(&self, i: usize) -> Result<&Entry, DataError> {
        self.entries.get(i).ok_or(DataError::Index { index: i, len: self.entries.len() })
    }

    pub(crate) fn bytes(&self, i: usize) -> Result<Vec<u8>, DataError> {
        let entry = self.entry(i)?;
        Ok(match (&entry.place, &self.spill) {
            (Place::Memory(bytes), _) => bytes.to_vec(),
            (Place::Disk { offset }, Some(spill)) => {
                let mut bytes = vec![0; entry.len];
                read_exact_at(&spill.file, &mut bytes, *offset)
                    .map_err(|source| spill_error(&spill.folder, "read", source))?;
                bytes
            }
            (Place::Disk { .. }, None) => unreachable!("an entry on disk implies a spill file"),
        })
    }

    pub(crate) fn in_memory(&self) -> u64 {
        self.in_memory
    }

    pub(crate) fn on_disk(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.len)
    }
}

fn create_spill(folder: &Path) -> Result<Spill<BufWriter<File>>, DataError> {
    let file = tempfile::tempfile_in(folder).map_err(|source| spill_error(folder, "create", source))?;
    Ok(Spill { folder: folder.to_owned(), file: BufWriter::with_capacity(1 << 20, file), len: 0 })
}

fn spill_error(folder: &Path, action: &'static str, source: io::Error) -> DataError {
    DataError::Spill { folder: folder.to_owned(), action, source }
}

/// Reads at a place, whatever else reads from the file.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Reads at a place, whatever else reads from the file.
#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
