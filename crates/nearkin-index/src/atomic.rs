//! Files that are either the old one or the whole new one.

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

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".nearkin-").suffix(".tmp");
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
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere").join("table.bin");
        let error = Staged::write(&path, |w| w.write_all(b"new")).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("table.bin"), "{error}");
    }
}
