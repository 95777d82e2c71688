//! The log beside an index file: what was added and deleted since the file was written.
//!
//! It is called `<index>.<16 hexadecimal digits>.log`, where the digits are the first of the index file's checksum, so that a log never
//! meets another file than its own. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `MAGIC` |
//! | 8..16 | `VERSION` |
//! | 16..48 | checksum of the index file: BLAKE3, as in its header |
//! | 48.. | records, one after the other |
//!
//! A record is one change ([`Change`]), all of which counts or nothing:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | bytes of the change, u64 |
//! | 8..40 | BLAKE3 of the change |
//! | 40..48 | the first bytes of BLAKE3 of: the index file's checksum, where the record begins (u64), bytes 0..40 |
//! | 48.. | the change |
//!
//! A change is on disk before the next is written. So a record that is not whole, with none after it, was being written when a process
//! or the machine stopped, and nobody was told that it is there: it is cut off. One that has a whole record after it is damage.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::atomic::{Staged, folder};
use crate::error::{Damage, IndexError};
use crate::layout::Role;
use crate::rows::Segment;
use crate::texts::{Texts, take, take_u64};

const MAGIC: &[u8; 8] = b"nearlog\x1a";
const VERSION: u32 = 1;
const HEADER: usize = 48;
const RECORD: usize = 48;
/// Digits of the checksum in the name.
const DIGITS: usize = 16;

/// One change of an index.
#[derive(Debug)]
pub(crate) enum Change {
    /// These rows come in; rows with the same ids go out.
    Put(Segment),
    /// The rows with these ids go out.
    Delete(Vec<String>),
}

impl Change {
    const PUT: u8 = 1;
    const DELETE: u8 = 2;

    /// `PUT`, rows: u64, bytes of JSON: u64, JSON of the columns' roles, a [`Texts`] for each, vectors; or `DELETE`, ids: u64, a [`Texts`].
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Put(segment) => {
                let roles: Vec<&Role> = segment.columns().iter().map(|(role, _)| role).collect();
                let json = serde_json::to_vec(&roles).expect("names of columns are JSON");
                let mut bytes = vec![Self::PUT];
                for number in [segment.len(), json.len()] {
                    bytes.extend((number as u64).to_le_bytes());
                }
                bytes.extend(json);
                segment.columns().iter().for_each(|(_, texts)| Texts::write(texts, &mut bytes));
                bytes.extend_from_slice(bytemuck::cast_slice(segment.vectors().data()));
                bytes
            }
            Self::Delete(ids) => {
                let mut bytes = vec![Self::DELETE];
                bytes.extend((ids.len() as u64).to_le_bytes());
                Texts::write(ids, &mut bytes);
                bytes
            }
        }
    }

    fn parse(mut bytes: &[u8], dim: usize) -> Result<Self, String> {
        let kind = take(&mut bytes, 1)?[0];
        let rows = usize::try_from(take_u64(&mut bytes)?).map_err(|e| e.to_string())?;
        let column = |bytes: &mut &[u8]| -> Result<Vec<String>, String> {
            let texts = Texts::read(bytes, rows)?;
            Ok((0..rows).map(|row| texts.get(row).to_owned()).collect())
        };
        match kind {
            Self::PUT => {
                let json = take_u64(&mut bytes)?;
                let roles: Vec<Role> =
                    serde_json::from_slice(take(&mut bytes, json)?).map_err(|e| e.to_string())?;
                if roles.iter().filter(|role| **role == Role::Id).count() != 1 {
                    return Err("not one column of ids".to_owned());
                }
                let columns = roles.into_iter().map(|role| Ok((role, column(&mut bytes)?)));
                let columns = columns.collect::<Result<_, String>>()?;
                if Some(bytes.len()) != rows.checked_mul(dim).and_then(|n| n.checked_mul(size_of::<f32>())) {
                    return Err(format!("{} bytes of vectors for {rows} rows of {dim} values", bytes.len()));
                }
                let vectors = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
                Ok(Self::Put(Segment::new(dim, vectors, columns)))
            }
            Self::DELETE => {
                let ids = column(&mut bytes)?;
                if bytes.is_empty() { Ok(Self::Delete(ids)) } else { Err("bytes after the ids".to_owned()) }
            }
            other => Err(format!("a change of kind {other}")),
        }
    }
}

/// Where the log of an index file lies, by the file's checksum.
pub(crate) fn path_of(index: &Path, checksum: &[u8; 32]) -> PathBuf {
    let digits: String = checksum.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    let mut name = index.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{digits}.log"));
    index.with_file_name(name)
}

/// Removes a log, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), IndexError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(IndexError::write(path)(e)),
        _ => Ok(()),
    }
}

/// Removes the logs of an index but one: those of files that it has replaced, or was about to be replaced by.
pub(crate) fn remove_others(index: &Path, but: Option<&Path>) -> io::Result<()> {
    let Some(name) = index.file_name() else { return Ok(()) };
    let name = name.to_string_lossy();
    for entry in std::fs::read_dir(folder(index))? {
        let entry = entry?;
        let found = entry.file_name();
        let digits = found
            .to_str()
            .and_then(|found| found.strip_prefix(&*name)?.strip_prefix('.')?.strip_suffix(".log"));
        let is_log = digits.is_some_and(|d| d.len() == DIGITS && d.bytes().all(|b| b.is_ascii_hexdigit()));
        if is_log && but.and_then(Path::file_name) != Some(&found) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What a log says, and where its last whole record ends.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) changes: Vec<Change>,
    pub(crate) end: u64,
}

/// Reads the log of the index file with a checksum; one that is not there says nothing.
pub(crate) fn read(path: &Path, checksum: &[u8; 32], dim: usize) -> Result<Contents, IndexError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(e) => return Err(IndexError::read(path)(e)),
    };
    parse(&bytes, checksum, dim).map_err(|damage| IndexError::Index { path: path.to_owned(), damage })
}

fn parse(bytes: &[u8], checksum: &[u8; 32], dim: usize) -> Result<Contents, Damage> {
    let field = |detail: String| Damage::Field { field: "log", detail };
    let (header, _) = bytes.split_at_checked(HEADER).ok_or_else(|| field("it has no header".to_owned()))?;
    if &header[..8] != MAGIC {
        return Err(field("it does not begin like one".to_owned()));
    }
    let found = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if found != VERSION {
        return Err(Damage::Version { found, wanted: VERSION });
    }
    if header[16..] != checksum[..] {
        return Err(field("it is the log of another index".to_owned()));
    }
    let mut contents = Contents { changes: Vec::new(), end: HEADER as u64 };
    let mut at = HEADER;
    while at < bytes.len() {
        let Some(change) = record_at(bytes, at, checksum) else {
            // The last record was cut short, unless others follow it.
            return match (at + 1..bytes.len()).any(|later| record_at(bytes, later, checksum).is_some()) {
                true => Err(Damage::Checksum { part: "log" }),
                false => Ok(contents),
            };
        };
        contents.changes.push(Change::parse(change, dim).map_err(field)?);
        at += RECORD + change.len();
        contents.end = at as u64;
    }
    Ok(contents)
}

/// The change of the record that begins somewhere, if a whole one does.
fn record_at<'a>(bytes: &'a [u8], at: usize, checksum: &[u8; 32]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.get(at..)?.split_at_checked(RECORD)?;
    let length = usize::try_from(u64::from_le_bytes(*head.first_chunk()?)).ok()?;
    let change = rest.get(..length)?;
    let whole =
        record_check(checksum, at as u64, &head[..40]) == head[40..] && blake3::hash(change) == head[8..40];
    whole.then_some(change)
}

fn record_check(checksum: &[u8; 32], at: u64, head: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(checksum).update(&at.to_le_bytes()).update(head);
    let hash = *hasher.finalize().as_bytes();
    hash.first_chunk().copied().unwrap_or_default()
}

fn record(checksum: &[u8; 32], at: u64, change: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD + change.len());
    bytes.extend((change.len() as u64).to_le_bytes());
    bytes.extend(blake3::hash(change).as_bytes());
    let check = record_check(checksum, at, &bytes);
    bytes.extend(check);
    bytes.extend(change);
    bytes
}

/// A log that is written to.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    checksum: [u8; 32],
    file: File,
    end: u64,
}

/// Why a change is not in a log.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// It could not be written, and nothing of it is left.
    Undone(IndexError),
    /// It is not known what is on disk.
    Unknown(IndexError),
}

impl Log {
    /// Writes a new log with some changes, as [`Change::to_bytes`] makes them, and waits until it is on disk.
    pub(crate) fn create(path: &Path, checksum: [u8; 32], changes: &[Vec<u8>]) -> Result<Self, IndexError> {
        let mut end = HEADER as u64;
        Staged::write(path, |file| {
            file.write_all(MAGIC)?;
            file.write_all(&u64::from(VERSION).to_le_bytes())?;
            file.write_all(&checksum)?;
            for change in changes {
                let record = record(&checksum, end, change);
                file.write_all(&record)?;
                end += record.len() as u64;
            }
            Ok(())
        })?
        .publish()?;
        Self::open(path, checksum, end)
    }

    /// Opens a log whose last whole record ends at `end`, and cuts off what follows.
    pub(crate) fn open(path: &Path, checksum: [u8; 32], end: u64) -> Result<Self, IndexError> {
        let open = || {
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() > end {
                file.set_len(end)?;
                file.sync_all()?;
            }
            Ok(file)
        };
        let file = open().map_err(IndexError::write(path))?;
        Ok(Self { path: path.to_owned(), checksum, file, end })
    }

    /// Adds a change, as [`Change::to_bytes`] makes it, and waits until it is on disk.
    pub(crate) fn append(&mut self, change: &[u8]) -> Result<(), AppendError> {
        let record = record(&self.checksum, self.end, change);
        let end = self.end;
        let mut written = || {
            self.file.seek(SeekFrom::Start(end))?;
            self.file.write_all(&record)?;
            self.file.sync_data()
        };
        let Err(error) = written() else {
            self.end += record.len() as u64;
            return Ok(());
        };
        let error = IndexError::write(&self.path)(error);
        // Records before this one are on disk; without its bytes the file is what it was.
        match self.file.set_len(end).and_then(|()| self.file.sync_all()) {
            Ok(()) => Err(AppendError::Undone(error)),
            Err(_) => Err(AppendError::Unknown(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKSUM: [u8; 32] = [7; 32];

    fn put(first: usize, rows: usize) -> Change {
        let ids = (first..first + rows).map(|row| format!("row {row}")).collect();
        let labels = (0..rows).map(|row| ["kea", ""][row % 2].to_owned()).collect();
        let vectors = (0..2 * rows).map(|i| i as f32).collect();
        Change::Put(Segment::new(2, vectors, vec![(Role::Id, ids), (Role::Label, labels)]))
    }

    fn written(changes: &[Change]) -> (Vec<u8>, Vec<usize>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut log = Log::create(&path, CHECKSUM, &[]).unwrap();
        let mut ends = vec![HEADER];
        for change in changes {
            log.append(&change.to_bytes()).unwrap();
            ends.push(log.end as usize);
        }
        (std::fs::read(&path).unwrap(), ends)
    }

    fn described(change: &Change) -> String {
        match change {
            Change::Put(segment) => format!("put {:?} {:?}", segment.columns(), segment.vectors().data()),
            Change::Delete(ids) => format!("delete {ids:?}"),
        }
    }

    fn some() -> Vec<Change> {
        vec![put(0, 3), Change::Delete(vec!["row 1".into(), "row 7".into()]), put(5, 1)]
    }

    #[test]
    fn changes_come_back_in_order() {
        let changes = some();
        let (bytes, ends) = written(&changes);
        let contents = parse(&bytes, &CHECKSUM, 2).unwrap();
        assert_eq!(contents.end as usize, *ends.last().unwrap());
        let all = |changes: &[Change]| changes.iter().map(described).collect::<Vec<_>>();
        assert_eq!(all(&contents.changes), all(&changes));
        let all_at_once: Vec<Vec<u8>> = changes.iter().map(Change::to_bytes).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.log");
        Log::create(&path, CHECKSUM, &all_at_once).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), bytes);
    }

    #[test]
    fn a_tail_cut_anywhere_or_filled_with_zeros_leaves_the_records_before_it() {
        let (bytes, ends) = written(&some());
        for cut in HEADER..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let contents = parse(&bytes[..cut], &CHECKSUM, 2).unwrap();
            assert_eq!((contents.changes.len(), contents.end as usize), (whole, ends[whole]));
            if whole + 2 == ends.len() {
                // The system extended the file, and wrote only a part.
                let mut zeros = bytes.clone();
                zeros[cut..].fill(0);
                let contents = parse(&zeros, &CHECKSUM, 2).unwrap();
                // The last bytes may be zeros in any case.
                assert!(contents.end as usize == ends[whole] || zeros == bytes);
            }
        }
    }

    #[test]
    fn damage_before_the_last_record_is_an_error_and_never_a_shorter_log() {
        let (bytes, ends) = written(&some());
        for i in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[i] ^= 0x10;
            let found = parse(&changed, &CHECKSUM, 2);
            match found {
                // Bytes 12..16 pad the version.
                Ok(contents) if (12..16).contains(&i) => assert_eq!(contents.changes.len(), 3),
                Ok(contents) => assert!(i >= ends[2] && contents.end as usize == ends[2], "byte {i}"),
                Err(_) => assert!(i < ends[2], "byte {i}"),
            }
        }
    }

    #[test]
    fn the_log_of_another_index_is_refused() {
        let (bytes, _) = written(&some());
        let error = parse(&bytes, &[8; 32], 2).unwrap_err();
        assert!(error.to_string().contains("another index"), "{error}");
        assert!(parse(&bytes, &CHECKSUM, 3).is_err(), "vectors of another dimension");
        assert!(parse(b"nearlog", &CHECKSUM, 2).is_err());
    }

    #[test]
    fn other_logs_of_an_index_are_removed_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("a.index");
        let own = path_of(&index, &CHECKSUM);
        assert_eq!(own.file_name().unwrap(), "a.index.0707070707070707.log");
        let names =
            ["a.index.00ff00ff00ff00ff.log", "a.index", "b.index.00ff00ff00ff00ff.log", "a.index.x.log"];
        for name in names {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::write(&own, "x").unwrap();
        remove_others(&index, Some(&own)).unwrap();
        assert!(own.exists());
        let left = names.map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false, true, true, true]);
        remove_others(&index, None).unwrap();
        assert!(!own.exists());
    }
}
