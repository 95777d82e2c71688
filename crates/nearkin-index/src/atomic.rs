//! Files that are either the old one or the whole new one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::IndexError;

/// A complete file on disk under a temporary name, ready to take its final one.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    /// Writes a file beside `path` and waits until it is on disk. On error nothing remains of it.
    pub(crate) fn write(
        path: &Path,
        contents: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> Result<Self, IndexError> {
        let staged = || {
            let mut file = beside(path)?;
            let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
            contents(&mut writer)?;
            writer.flush()?;
            drop(writer);
            file.as_file().sync_all()?;
            Ok(Self { file, path: path.to_owned() })
        };
        staged().map_err(IndexError::write(path))
    }

    /// Where the file lies until it has its final name.
    pub(crate) fn beside(&self) -> &Path {
        self.file.path()
    }

    /// Takes the lock that a writer of the file holds, before anyone else can see the file. The lock goes with the handle returned.
    pub(crate) fn lock(&self) -> Result<File, IndexError> {
        let locked = || {
            let file = self.file.as_file().try_clone()?;
            file.lock()?;
            Ok(file)
        };
        locked().map_err(IndexError::write(&self.path))
    }

    /// Gives the file its final name, replacing what is there.
    pub(crate) fn publish(self) -> Result<(), IndexError> {
        let Self { file, path } = self;
        file.persist(&path).map_err(|e| IndexError::write(&path)(e.error))?;
        sync_folder(folder(&path)).map_err(IndexError::write(&path))
    }
}

/// The folder of a file; `.` for a bare name, whose parent is an empty path.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the names of temporary files and folders for a file begin with.
pub(crate) fn prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".nearkin-");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push("-");
    prefix
}

/// Removes the temporary files and folders for a file, and for its logs, that a killed process has left. For the only process that writes
/// the file.
pub(crate) fn remove_litter(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_litter = |found: &str| {
        let rest = found.strip_prefix(".nearkin-").and_then(|rest| rest.strip_prefix(&*name));
        rest.and_then(|rest| rest.rsplit_once('-')).is_some_and(|(log, random)| {
            let random = random.strip_suffix(".tmp").unwrap_or(random);
            let is_log = log.starts_with('.') && log.ends_with(".log");
            (log.is_empty() || is_log) && random.bytes().all(|b| b.is_ascii_alphanumeric())
        })
    };
    for entry in std::fs::read_dir(folder(path))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_litter) {
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // A temporary file is private by default; this one becomes an ordinary file, so the umask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path))
}

/// Makes the rename itself last. Only Unix can open a folder for that; elsewhere the file system orders it.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_names_the_file_leaves_the_old_one_and_no_litter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.bin");
        std::fs::write(&path, b"old").unwrap();
        let full = |writer: &mut BufWriter<&mut File>| {
            writer.write_all(b"half of the new")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = Staged::write(&path, full).map(|_| ()).unwrap_err();
        assert!(matches!(&error, IndexError::Write { path: named, .. } if *named == path), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_published_file_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.bin");
        std::fs::write(&path, b"old").unwrap();
        Staged::write(&path, |w| w.write_all(b"new")).unwrap().publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn litter_of_a_file_is_removed_and_that_of_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.index");
        let log = folder.path().join("a.index.00112233aabbccdd.log");
        let write = |w: &mut BufWriter<&mut File>| w.write_all(b"x");
        let others = ["a.index-2", "a", "b.index", "a.index.parquet"].map(|name| folder.path().join(name));
        let mut kept = Vec::new();
        for (path, own) in
            [(&path, true), (&log, true)].into_iter().chain(others.iter().map(|path| (path, false)))
        {
            let (_, left) = Staged::write(path, write).unwrap().file.keep().unwrap();
            kept.push((left, own));
        }
        std::fs::create_dir(folder.path().join(".nearkin-a.index-Ab3dE9")).unwrap();
        std::fs::write(&path, "x").unwrap();
        remove_litter(&path).unwrap();
        for (left, own) in kept {
            assert_eq!(left.exists(), !own, "{}", left.display());
        }
        assert!(path.exists() && !folder.path().join(".nearkin-a.index-Ab3dE9").exists());
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere").join("table.bin");
        let error = Staged::write(&path, |w| w.write_all(b"new")).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("table.bin"), "{error}");
    }
}
