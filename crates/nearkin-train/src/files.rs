//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::TrainError;

/// Writes `bytes` beside `path`, flushes them to the disk and renames: a reader sees the old file or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    nearkin_data::write_whole(path, bytes).map_err(TrainError::io("write", path))
}

/// Fills a folder beside `path` and renames it into place, replacing what was there.
///
/// A process killed between the two renames leaves the new folder under its temporary name and the old one under
/// `.old`; [`restore`] puts that right.
pub(crate) fn write_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let (beside, old) = (beside(path), old(path));
    remove_folder(&beside)?;
    fs::create_dir_all(&beside).map_err(TrainError::io("create", &beside))?;
    let filled = fill(&beside).and_then(|()| {
        for entry in fs::read_dir(&beside).map_err(TrainError::io("read", &beside))?.flatten() {
            let file = entry.path();
            File::open(&file).and_then(|f| f.sync_all()).map_err(TrainError::io("flush", &file))?;
        }
        remove_folder(&old)?;
        if path.exists() {
            fs::rename(path, &old).map_err(TrainError::io("replace", path))?;
        }
        fs::rename(&beside, path).map_err(TrainError::io("write", path))?;
        // The rename itself must reach the disk before anything that relies on it is written.
        if let Some(parent) = path.parent() {
            File::open(parent).and_then(|f| f.sync_all()).map_err(TrainError::io("flush", parent))?;
        }
        remove_folder(&old)
    });
    if filled.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    filled
}

/// Puts back a folder whose replacement was cut off.
pub(crate) fn restore(path: &Path) -> Result<(), TrainError> {
    let old = old(path);
    if !path.exists() && old.exists() {
        fs::rename(&old, path).map_err(TrainError::io("restore", path))?;
    }
    Ok(())
}

pub(crate) fn remove_folder(path: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(TrainError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn beside(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

fn old(path: &Path) -> PathBuf {
    with_suffix(path, ".old")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_replaced_whole_and_a_failed_fill_leaves_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        write_folder(&folder, |f| write_whole(&f.join("a"), b"1")).unwrap();
        write_folder(&folder, |f| write_whole(&f.join("b"), b"2")).unwrap();
        assert!(!folder.join("a").exists() && folder.join("b").exists());
        let failed = write_folder(&folder, |_| Err(TrainError::setting("x", 1, "2")));
        assert!(failed.is_err() && folder.join("b").exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replacement_cut_off_in_the_middle_is_restored() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        fs::create_dir(old(&folder)).unwrap();
        restore(&folder).unwrap();
        assert!(folder.exists());
    }
}
