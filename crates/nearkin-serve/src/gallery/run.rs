//! A run on its way, read from its folder while another process writes it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use nearkin_train::SpringRecord;
use serde::Serialize;
use serde_json::Value;

use crate::error::ApiError;

/// Bytes of a log that are sent at once.
const CHUNK: u64 = 1 << 20;

/// Lines of a log after some place.
#[derive(Serialize)]
pub(crate) struct Lines {
    /// Where to go on.
    next: u64,
    /// Whether the log was shortened, as a resumed run does: what was read before is void, and this begins at the beginning.
    restarted: bool,
    /// Whether there are more already.
    more: bool,
    events: Vec<Value>,
}

/// What was logged after byte `from` of a run's `metrics.jsonl`. A line that is still being written is left for the next time.
pub(crate) fn logged(folder: &Path, from: u64) -> Result<Lines, ApiError> {
    let path = folder.join("metrics.jsonl");
    let broken = |e: std::io::Error| ApiError::internal(format!("cannot read {}: {e}", path.display()));
    let mut file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Ok(Lines { next: 0, restarted: from > 0, more: false, events: Vec::new() });
        }
        file => file.map_err(broken)?,
    };
    let size = file.metadata().map_err(broken)?.len();
    let restarted = from > size;
    let from = if restarted { 0 } else { from };
    file.seek(SeekFrom::Start(from)).map_err(broken)?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes).map_err(broken)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let next = from + whole as u64;
    Ok(Lines { next, restarted, more: whole > 0 && next < size, events })
}

/// Whether a run recorded springs.
pub(crate) fn has_springs(folder: &Path) -> bool {
    folder.join("springs.jsonl").is_file()
}

/// What a run of two dimensions recorded of its springs.
pub(crate) fn springs(folder: &Path) -> Result<SpringRecord, ApiError> {
    let record = SpringRecord::read(folder).map_err(|e| ApiError::internal(e.to_string()))?;
    record.ok_or_else(|| {
        let message =
            "this run recorded no springs: maps of two dimensions do, under losses of pairs such as drlim";
        ApiError::not_found("no_springs", message)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_followed_while_it_grows_and_after_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(logged(dir.path(), 0).unwrap().events.len(), 0);
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "{\"a\": 1}\n{\"a\": 2}\n{\"a\"").unwrap();
        let first = logged(dir.path(), 0).unwrap();
        assert_eq!((first.events.len(), first.next, first.restarted), (2, 18, false));
        assert_eq!(first.events[1]["a"], 2);
        assert_eq!(logged(dir.path(), first.next).unwrap().events.len(), 0);
        File::options().append(true).open(&path).unwrap().write_all(b": 3}\n").unwrap();
        let second = logged(dir.path(), first.next).unwrap();
        assert_eq!((second.events.len(), &second.events[0]["a"]), (1, &Value::from(3)));
        std::fs::write(&path, "{\"a\": 1}\n").unwrap();
        let third = logged(dir.path(), second.next).unwrap();
        assert_eq!((third.events.len(), third.restarted), (1, true));
    }
}
