//! An index that grows.

pub(crate) mod log;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use nearkin_sweep::Vectors;
use same_file::Handle;
use serde::Serialize;

use self::log::{AppendError, Change, Log};
use crate::atomic::remove_litter;
use crate::build::{Progress, Summary, stage, stored};
use crate::embeddings::Embeddings;
use crate::error::IndexError;
use crate::index::Index;
use crate::rows::Segment;
use crate::snapshot::{Pending, Snapshot};
use crate::storage::Encoded;

/// An index that grows: its file, beside it a log of what was added and deleted since the file was written, and one writer at a time.
///
/// All methods take `&self`, from any number of threads. Searches go to a [`snapshot`](Self::snapshot) and wait for nobody; adding and
/// deleting go on during a compaction.
///
/// What [`add`](Self::add) and [`delete`](Self::delete) returned `Ok` for is on disk, and survives the end of the process and of the
/// machine at any moment. A change that had not returned is there whole or not at all.
///
/// The log's rows are held in memory, and compared with every query: [`compact`](Self::compact) folds them into the file.
#[derive(Debug)]
pub struct GrowingIndex {
    path: PathBuf,
    current: RwLock<Arc<Snapshot>>,
    writer: Mutex<Writer>,
    /// Held by a compaction, of which one runs at a time.
    compacting: Mutex<()>,
}

/// What to do with a row whose id is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EqualIds {
    /// Add nothing, and say so.
    #[default]
    Refuse,
    /// Put the new row in its place; it counts as the last to have come.
    Replace,
}

/// What [`GrowingIndex::add`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Rows with new ids.
    pub added: usize,
    /// Rows that took the place of others.
    pub replaced: usize,
}

/// What [`GrowingIndex::delete`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Rows that are gone.
    pub deleted: usize,
    /// Ids that no row had.
    pub missing: Vec<String>,
}

#[derive(Debug)]
struct Writer {
    /// Held, not used.
    _owned: Ownership,
    /// None is made before there is something to say.
    log: Option<Log>,
    /// Changes since a compaction began, as the log holds them.
    since: Option<Vec<Vec<u8>>>,
    /// Set when it is not known what is on disk.
    stale: bool,
}

impl GrowingIndex {
    /// Opens an index for writing, and clears away what a process that was stopped has left half done.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; [`IndexError::Busy`] while there is another writer.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        let owned = Ownership::take(path)?;
        let index = Index::open(path)?;
        let checksum = index.checksum();
        let log_path = log::path_of(path, &checksum);
        let contents = log::read(&log_path, &checksum, index.dim())?;
        // Nobody else may write here: what lies beside is left over.
        let clear = || remove_litter(path).and_then(|()| log::remove_others(path, Some(&log_path)));
        clear().map_err(IndexError::write(path))?;
        let log = if contents.end > 0 { Some(Log::open(&log_path, checksum, contents.end)?) } else { None };
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(Snapshot::new(index, contents.changes))),
            writer: Mutex::new(Writer { _owned: owned, log, since: None, stale: false }),
            compacting: Mutex::new(()),
        })
    }

    /// The file of the index.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows as they are now. A snapshot never changes, whatever happens to the index later, and costs nothing.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        // Nothing that could panic runs while it is held.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds rows: all, or on error none. Each call writes to the disk and waits for it, so a call with many rows is far faster than many
    /// calls with one.
    ///
    /// # Errors
    /// When the table is not [valid](Embeddings::validate), has another dimension than the index, holds vectors of another origin
    /// ([`Index::check_origin`]) or says nothing of its model while the index does; when a squared length overflows f32 (not for cosine) or a value is beyond what the storage can hold; when an id is there already and
    /// is to be refused; and when the log cannot be written.
    pub fn add(&self, rows: &Embeddings, equal_ids: EqualIds) -> Result<Added, IndexError> {
        rows.validate()?;
        let snapshot = self.snapshot();
        let path = || self.path.clone();
        let (found, wanted) = (rows.dim, snapshot.dim());
        if found != wanted {
            return Err(IndexError::RowDimension { path: path(), found, wanted });
        }
        match (&rows.origin, snapshot.origin()) {
            (Some(origin), Some(_)) => snapshot.index().check_origin(origin)?,
            (None, Some(_)) => return Err(IndexError::UnknownModel { path: path(), known: "the index's" }),
            (Some(_), None) => return Err(IndexError::UnknownModel { path: path(), known: "those to add" }),
            (None, None) => {}
        }
        let vectors = stored(rows.vectors()?, snapshot.metric())?;
        // Rounded now, so that a compaction changes no score.
        let vectors = Encoded::new(snapshot.storage(), Vectors::new(&vectors, rows.dim)?)?;
        let vectors = vectors.view().to_f32().into_owned();
        let change = Change::Put(Segment::of(rows, vectors));
        let bytes = change.to_bytes();

        let mut writer = self.writer()?;
        let snapshot = self.snapshot();
        let there = |id: &&String| snapshot.find(id).is_some();
        if equal_ids == EqualIds::Refuse
            && let Some(id) = rows.ids.iter().find(there)
        {
            return Err(IndexError::IdExists { path: path(), id: id.clone() });
        }
        let replaced = rows.ids.iter().filter(there).count();
        self.write(&mut writer, &snapshot, change, bytes)?;
        Ok(Added { added: rows.len() - replaced, replaced })
    }

    /// Deletes the rows with some ids, in one step. Ids that are not there are no error.
    ///
    /// # Errors
    /// When the log cannot be written; nothing is deleted then.
    pub fn delete(&self, ids: &[String]) -> Result<Deleted, IndexError> {
        let mut writer = self.writer()?;
        let snapshot = self.snapshot();
        let (mut there, mut missing): (Vec<String>, Vec<String>) =
            ids.iter().cloned().partition(|id| snapshot.find(id).is_some());
        there.sort_unstable();
        there.dedup();
        missing.sort_unstable();
        missing.dedup();
        let deleted = there.len();
        if deleted > 0 {
            let change = Change::Delete(there);
            let bytes = change.to_bytes();
            self.write(&mut writer, &snapshot, change, bytes)?;
        }
        Ok(Deleted { deleted, missing })
    }

    /// Writes the file anew, with what was added and without what was deleted, and empties the log. The new file is the one that
    /// [`build`](crate::build) would make of the same rows. Searches and changes go on meanwhile; what is changed meanwhile stays in the
    /// log. At every moment the file and its log hold all rows.
    ///
    /// Takes the memory of all rows, and for a graph the time of building it; nothing where there is nothing to fold in.
    ///
    /// # Errors
    /// [`IndexError::NothingLeft`] when every row is deleted, and when a file cannot be written; the index is then as it was.
    pub fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<Summary, IndexError> {
        let _only = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = {
            let mut writer = self.writer()?;
            writer.since = Some(Vec::new());
            self.snapshot()
        };
        let compacted = self.fold(&snapshot, progress);
        if let Ok(mut writer) = self.writer() {
            writer.since = None;
        }
        compacted
    }

    fn fold(&self, snapshot: &Snapshot, progress: &mut dyn FnMut(Progress)) -> Result<Summary, IndexError> {
        if snapshot.is_empty() {
            return Err(IndexError::NothingLeft { path: self.path.clone() });
        }
        let old = snapshot.index();
        let new = if snapshot.pending() == Pending::default() {
            None
        } else {
            let rows = snapshot.to_embeddings();
            let encoded = Encoded::new(old.storage(), Vectors::new(&rows.vectors, rows.dim)?)?;
            Some(stage(&rows, &encoded, &self.path, old.metric(), old.kind(), progress)?)
        };

        let mut writer = self.writer()?;
        let checksum = match &new {
            Some((staged, _)) => Index::checksum_of(staged.beside())?,
            None => old.checksum(),
        };
        let log_path = log::path_of(&self.path, &checksum);
        let since = writer.since.take().unwrap_or_default();
        let log = if since.is_empty() {
            log::remove(&log_path)?;
            None
        } else {
            Some(Log::create(&log_path, checksum, &since)?)
        };
        let summary = match new {
            // The file held these rows already, and its new log says no more than was changed since.
            None => old.summary(),
            Some((_, summary)) if checksum == old.checksum() => summary,
            Some((staged, summary)) => {
                let locked = staged.lock()?;
                // This rename is the compaction: the old file's log goes out of use with it, and the new one comes in.
                staged.publish().inspect_err(|_| writer.stale = true)?;
                writer._owned = Ownership { path: self.path.clone(), _file: Some(locked) };
                summary
            }
        };
        writer.log = log;
        let opened = Index::open(&self.path).and_then(|index| {
            let contents = log::read(&log_path, &checksum, index.dim())?;
            Ok(Snapshot::new(index, contents.changes))
        });
        self.publish(opened.inspect_err(|_| writer.stale = true)?);
        // If one stays, the next writer tries again.
        let _ = log::remove_others(&self.path, Some(&log_path));
        Ok(summary)
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, IndexError> {
        // Whoever panicked while holding it may have left the log and the rows apart.
        match self.writer.lock() {
            Ok(writer) if !writer.stale => Ok(writer),
            _ => Err(IndexError::Stale { path: self.path.clone() }),
        }
    }

    fn write(
        &self,
        writer: &mut Writer,
        snapshot: &Snapshot,
        change: Change,
        bytes: Vec<u8>,
    ) -> Result<(), IndexError> {
        let log = match &mut writer.log {
            Some(log) => log,
            none => {
                let checksum = snapshot.index().checksum();
                none.insert(Log::create(&log::path_of(&self.path, &checksum), checksum, &[])?)
            }
        };
        match log.append(&bytes) {
            Ok(()) => {}
            Err(AppendError::Undone(error)) => return Err(error),
            Err(AppendError::Unknown(error)) => {
                writer.stale = true;
                return Err(error);
            }
        }
        if let Some(since) = &mut writer.since {
            since.push(bytes);
        }
        self.publish(snapshot.after(change));
        Ok(())
    }

    fn publish(&self, snapshot: Snapshot) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// The right to write to an index, which one process at a time has: a lock on its file.
#[derive(Debug)]
pub(crate) struct Ownership {
    path: PathBuf,
    /// Locked; there is none where there is no index yet.
    _file: Option<File>,
}

impl Ownership {
    /// Takes it, if nobody has it.
    pub(crate) fn take(path: &Path) -> Result<Self, IndexError> {
        loop {
            let file = File::open(path).map_err(IndexError::read(path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(IndexError::Busy { path: path.to_owned() }),
                Err(TryLockError::Error(e)) => return Err(IndexError::read(path)(e)),
            }
            // Before the lock was taken, a compaction may have put another file there.
            let same = || -> io::Result<bool> {
                Ok(Handle::from_file(file.try_clone()?)? == Handle::from_path(path)?)
            };
            if same().map_err(IndexError::read(path))? {
                return Ok(Self { path: path.to_owned(), _file: Some(file) });
            }
        }
    }

    /// Takes that of a file that is to be replaced, if there is one. What cannot be opened nobody writes to.
    pub(crate) fn of_replaced(path: &Path) -> Result<Self, IndexError> {
        match Self::take(path) {
            Err(IndexError::Read { .. }) => Ok(Self { path: path.to_owned(), _file: None }),
            taken => taken,
        }
    }

    /// Removes all logs, when a file that needs none has been put there.
    pub(crate) fn remove_logs(self) -> Result<(), IndexError> {
        log::remove_others(&self.path, None).map_err(IndexError::write(&self.path))
    }
}
