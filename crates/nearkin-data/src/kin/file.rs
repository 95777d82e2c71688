//! A kin graph in a file, for a run to repeat.
//!
//! Little-endian: the magic `nearkin-kin-1\0\0\0`, the data set's fingerprint (64 hex digits), samples and entries (u64 each), the
//! starts (u64, samples + 1), the neighbours (u32), and the BLAKE3 of all that (32 bytes).

use std::fs;
use std::path::Path;

use super::KinGraph;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::files::write_whole;

const MAGIC: &[u8; 16] = b"nearkin-kin-1\0\0\0";
const FINGERPRINT: usize = 64;
const HEADER: usize = MAGIC.len() + FINGERPRINT + 16;
const CHECKSUM: usize = 32;

impl KinGraph {
    /// A BLAKE3 hash (64 hex digits) of the graph alone, for a run's record.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        self.body(&mut |bytes| {
            hasher.update(bytes);
        });
        hasher.finalize().to_hex().to_string()
    }

    fn body(&self, take: &mut dyn FnMut(&[u8])) {
        for &start in &self.starts {
            take(&(start as u64).to_le_bytes());
        }
        for &neighbor in &self.neighbors {
            take(&neighbor.to_le_bytes());
        }
    }

    /// Writes the graph of a data set. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`DataError::Shape`] if the graph is not of as many samples; [`DataError::Write`].
    pub fn write(&self, path: &Path, dataset: &Dataset) -> Result<(), DataError> {
        if self.len() != dataset.len() {
            return Err(DataError::Shape {
                what: "samples of a kin graph",
                found: self.len().to_string(),
                wanted: format!("{}, as in the data set", dataset.len()),
            });
        }
        let mut bytes =
            Vec::with_capacity(HEADER + 8 * self.starts.len() + 4 * self.neighbors.len() + CHECKSUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(dataset.fingerprint().as_bytes());
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(self.neighbors.len() as u64).to_le_bytes());
        self.body(&mut |part| bytes.extend_from_slice(part));
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        write_whole(path, &bytes).map_err(|source| DataError::write(path, source))
    }

    /// Reads the graph of a data set.
    ///
    /// # Errors
    /// [`DataError::Read`]; [`DataError::Malformed`] if the file is no kin graph, is damaged, or was made of other data.
    pub fn read(path: &Path, dataset: &Dataset) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|source| DataError::read(path, source))?;
        let wrong = |field, found: String, wanted: &str| DataError::malformed(path, field, found, wanted);
        if !bytes.starts_with(MAGIC) || bytes.len() < HEADER + CHECKSUM {
            return Err(wrong(
                "kin graph",
                format!("{} bytes of another kind", bytes.len()),
                "a file that nearkin wrote",
            ));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if blake3::hash(content).as_bytes() != checksum {
            return Err(wrong(
                "checksum",
                "another".into(),
                "that of the content: the file is damaged, make it again",
            ));
        }
        let (header, body) = content.split_at(HEADER);
        let (found, data) = (&header[MAGIC.len()..MAGIC.len() + FINGERPRINT], dataset.fingerprint());
        if found != data.as_bytes() {
            let found = String::from_utf8_lossy(found).into_owned();
            let wanted =
                format!("{data}, that of {}: make the graph of these data", dataset.path().display());
            return Err(wrong("data fingerprint", found, &wanted));
        }
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let (samples, entries) = (number(HEADER - 16), number(HEADER - 8));
        let size = samples
            .checked_add(1)
            .and_then(|starts| starts.checked_mul(8))
            .and_then(|starts| starts.checked_add(entries.checked_mul(4)?));
        if size != Some(body.len() as u64) || samples != dataset.len() as u64 {
            let found = format!("{samples} samples and {entries} entries in {} bytes", body.len());
            return Err(wrong("size", found, "one row a sample, and as many bytes as they need"));
        }
        let (starts, neighbors) = body.split_at(8 * (dataset.len() + 1));
        let graph = Self {
            starts: starts.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word) as usize).collect(),
            neighbors: neighbors.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect(),
        };
        if !graph.is_sound() {
            return Err(wrong(
                "rows",
                "a pair that goes one way, or out of order".into(),
                "pairs both ways, ascending",
            ));
        }
        Ok(graph)
    }

    /// Whether everything holds that the other functions rely on.
    fn is_sound(&self) -> bool {
        let rows = self.starts.windows(2).all(|pair| pair[0] <= pair[1])
            && self.starts.first() == Some(&0)
            && self.starts.last() == Some(&self.neighbors.len());
        rows && (0..self.len()).all(|i| {
            let row = self.neighbors(i);
            row.windows(2).all(|pair| pair[0] < pair[1])
                && row.iter().all(|&j| j as usize != i && (j as usize) < self.len())
        }) && (0..self.len()).all(|i| self.neighbors(i).iter().all(|&j| self.joins(j as usize, i)))
    }
}
