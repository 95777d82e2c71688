//! Building an index.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use nearkin_sweep::{Metric, Vectors};
use serde::{Deserialize, Serialize};

use crate::atomic::{Staged, folder, prefix};
use crate::embeddings::Embeddings;
use crate::error::{Fault, IndexError};
use crate::graph::{self, Drawn, MOST_ROWS};
use crate::growing::Ownership;
use crate::layout::{ALIGNMENT, HEADER, Header, Metadata, Role};
use crate::storage::{Encoded, Storage};

/// How an index is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Every query is compared with every row.
    #[default]
    Exact,
    /// Queries walk through a graph and see a small part of the rows: Malkov and Yashunin, *Efficient and robust
    /// approximate nearest neighbor search using Hierarchical Navigable Small World graphs* (2018).
    Hnsw {
        /// Links a row has on each level, twice as many on the lowest; 4 to 255. More find more, and take up to
        /// `34 m + 200` bytes a row on disk, and several times that in memory. 16 suits most embeddings.
        m: usize,
        /// Candidates among which a new row's links are chosen; `m` to 65 536. More find more, and take longer to
        /// build. 200 suits most embeddings.
        ef_construction: usize,
    },
}

impl Kind {
    /// Rows from which [`for_rows`](Self::for_rows) chooses a graph.
    pub const GRAPH_FROM: usize = 200_000;

    /// A kind that suits a number of rows: exact while a query takes a few milliseconds, a graph with `m` 16 and
    /// `ef_construction` 200 beyond.
    pub fn for_rows(rows: usize) -> Self {
        if rows < Self::GRAPH_FROM { Self::Exact } else { Self::Hnsw { m: 16, ef_construction: 200 } }
    }

    pub(crate) fn check(self, rows: usize) -> Result<(), IndexError> {
        let Self::Hnsw { m, ef_construction } = self else { return Ok(()) };
        if !(4..=255).contains(&m) {
            return Err(IndexError::BuildOption { option: "m", found: m, wanted: "4 to 255" });
        }
        if !(m..=65_536).contains(&ef_construction) {
            let (option, found) = ("ef_construction", ef_construction);
            return Err(IndexError::BuildOption { option, found, wanted: "m to 65536" });
        }
        if rows > MOST_ROWS {
            return Err(IndexError::TooManyRows { rows, most: MOST_ROWS });
        }
        Ok(())
    }
}

/// Settings of [`build`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// What near means; `None` takes the metric of the embeddings' [`Origin`](crate::Origin), or else cosine.
    pub metric: Option<Metric>,
    /// How the index is searched.
    pub kind: Kind,
    /// How its vectors are stored.
    pub storage: Storage,
}

/// What [`build`] is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Linking rows into a graph; counted in rows.
    Linking,
    /// Writing the file; counted in bytes.
    Writing,
}

/// How far [`build`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The stage; each counts from 0 to its own total.
    pub stage: Stage,
    /// What is done of it.
    pub done: usize,
    /// What there is to do.
    pub total: usize,
}

/// What [`build`] built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rows of the index.
    pub rows: usize,
    /// Values a vector.
    pub dim: usize,
    /// What near means.
    pub metric: Metric,
    /// How it is searched.
    pub kind: Kind,
    /// How its vectors are stored.
    pub storage: Storage,
    /// [`Index::ef`](crate::Index::ef), where it was measured: for a graph of 512 different vectors or more.
    pub ef: Option<usize>,
    /// Size of the file.
    pub bytes: u64,
}

/// Builds an index of a table and writes it to `path`, one file; the extension `.index` is customary.
///
/// For cosine the vectors are stored with unit length (a zero vector as it is: its cosine is 0 with everything). The
/// same table and settings give the same file. An index that was there is replaced, with what was added to it. `progress` is called now and then on the calling thread.
///
/// A graph is built on one thread: threads that insert at once would race, and no two graphs would be equal.
///
/// # Errors
/// When the table is not [valid](Embeddings::validate), a setting is out of range, a squared length overflows f32 (not
/// for cosine), a value is beyond what the storage can hold, someone is writing to the index that is there, or the file cannot be written; an index that was there is then as
/// it was.
pub fn build(
    embeddings: &Embeddings,
    path: &Path,
    options: BuildOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, IndexError> {
    embeddings.validate()?;
    let metric =
        options.metric.or(embeddings.origin.as_ref().map(|origin| origin.metric)).unwrap_or_default();
    let data = stored(embeddings.vectors()?, metric)?;
    let owned = Ownership::of_replaced(path)?;
    let encoded = Encoded::new(options.storage, Vectors::new(&data, embeddings.dim)?)?;
    let (staged, summary) = stage(embeddings, &encoded, path, metric, options.kind, progress)?;
    staged.publish()?;
    owned.remove_logs()?;
    Ok(summary)
}

/// Vectors as an index stores them: for cosine, of unit length.
pub(crate) fn stored(vectors: Vectors<'_>, metric: Metric) -> Result<Cow<'_, [f32]>, IndexError> {
    if let Some(row) = find_too_long(vectors, metric) {
        return Err(IndexError::TooLong { what: "row", which: row, metric });
    }
    Ok(if metric == Metric::Cosine {
        Cow::Owned(vectors.to_unit_length())
    } else {
        Cow::Borrowed(vectors.data())
    })
}

/// Writes the index of a valid table, whose vectors are given as they will be stored, beside `path`.
pub(crate) fn stage(
    embeddings: &Embeddings,
    vectors: &Encoded<'_>,
    path: &Path,
    metric: Metric,
    kind: Kind,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Staged, Summary), IndexError> {
    if cfg!(target_endian = "big") {
        return Err(IndexError::BigEndian);
    }
    kind.check(embeddings.len())?;
    let graph = match kind {
        Kind::Exact => Drawn::default(),
        Kind::Hnsw { m, ef_construction } => {
            // Beside the index, where there must be room for the graph in any case.
            let scratch = tempfile::Builder::new().prefix(&prefix(path)).tempdir_in(folder(path));
            let scratch = scratch.map_err(IndexError::write(path))?;
            let vectors = vectors.view().to_f32();
            let vectors = Vectors::new(&vectors, embeddings.dim)?;
            let mut linked = |done, total| progress(Progress { stage: Stage::Linking, done, total });
            graph::build(vectors, metric, m, ef_construction, scratch.path(), &mut linked)
                .map_err(IndexError::write(path))?
        }
    };
    let (staged, bytes) = write(embeddings, vectors, &graph, path, metric, kind, progress)?;
    let (rows, dim, storage) = (embeddings.len(), embeddings.dim, vectors.storage());
    Ok((staged, Summary { rows, dim, metric, kind, storage, ef: graph.ef, bytes }))
}

/// The first vector whose squared length is so large that a score could overflow, if the metric does not scale.
pub(crate) fn find_too_long(vectors: Vectors<'_>, metric: Metric) -> Option<usize> {
    // ‖a − b‖² ≤ 2 (‖a‖² + ‖b‖²), and its expanded form adds 2 |a·b| ≤ ‖a‖² + ‖b‖².
    let most = f64::from(f32::MAX) / 8.0;
    let length = |row: &[f32]| row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let too_long = |row: &[f32]| length(row) > most;
    if metric == Metric::Cosine {
        None
    } else {
        vectors.data().chunks_exact(vectors.dim()).position(too_long)
    }
}

fn write(
    embeddings: &Embeddings,
    vectors: &Encoded<'_>,
    graph: &Drawn,
    path: &Path,
    metric: Metric,
    kind: Kind,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Staged, u64), IndexError> {
    let mut roles = vec![Role::Id];
    let mut columns: Vec<&[String]> = vec![&embeddings.ids];
    let optional = [(Role::Label, &embeddings.labels), (Role::Path, &embeddings.paths)];
    for (role, column) in optional {
        if let Some(column) = column {
            roles.push(role);
            columns.push(column);
        }
    }
    for (name, column) in &embeddings.columns {
        roles.push(Role::Column(name.clone()));
        columns.push(column);
    }
    let metadata = Metadata { metric, kind, ef: graph.ef, origin: embeddings.origin.clone(), columns: roles };
    let metadata = metadata.to_bytes(&columns).map_err(|e| IndexError::write(path)(e.into()))?;

    let mut header = Header {
        rows: embeddings.len() as u64,
        dim: embeddings.dim as u64,
        storage: vectors.storage(),
        graph_bytes: graph.part.len() as u64,
        metadata_bytes: metadata.len() as u64,
        body_checksum: [0; 32],
        metadata_checksum: *blake3::hash(&metadata).as_bytes(),
    };
    let total = header.parts().ok_or(Fault::NoRows)?.metadata.end;
    let staged = Staged::write(path, |file| {
        // The header comes last: it holds the checksum of what follows it.
        file.write_all(&[0; HEADER])?;
        let mut body = Body { file, hasher: blake3::Hasher::new(), written: HEADER, total, progress };
        for part in vectors.parts() {
            body.write(part)?;
        }
        body.align()?;
        body.write(&graph.part)?;
        body.align()?;
        header.body_checksum = *body.hasher.finalize().as_bytes();
        file.write_all(&metadata)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header.to_bytes())
    })?;
    progress(Progress { stage: Stage::Writing, done: total, total });
    Ok((staged, total as u64))
}

/// The part of the file that is checksummed while it is written.
struct Body<'a, 'b> {
    file: &'a mut BufWriter<&'b mut File>,
    hasher: blake3::Hasher,
    written: usize,
    total: usize,
    progress: &'a mut dyn FnMut(Progress),
}

impl Body<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for chunk in bytes.chunks(1 << 24) {
            self.hasher.update(chunk);
            self.file.write_all(chunk)?;
            self.written += chunk.len();
            (self.progress)(Progress { stage: Stage::Writing, done: self.written, total: self.total });
        }
        Ok(())
    }

    fn align(&mut self) -> io::Result<()> {
        self.write(&[0; ALIGNMENT][..self.written.next_multiple_of(ALIGNMENT) - self.written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_number_of_rows() {
        assert_eq!(Kind::for_rows(Kind::GRAPH_FROM - 1), Kind::Exact);
        assert_eq!(Kind::for_rows(Kind::GRAPH_FROM), Kind::Hnsw { m: 16, ef_construction: 200 });
    }
}
