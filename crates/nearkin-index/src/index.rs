//! Opening and searching an index.

mod asked;
pub(crate) mod distance;
pub(crate) mod exact;

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fixedbitset::FixedBitSet;
use memmap2::Mmap;
use nearkin_sweep::{Metric, Vectors};
use rayon::prelude::*;
use serde::Serialize;

pub(crate) use self::asked::Asked;
use crate::build::{Kind, Summary};
use crate::embeddings::Origin;
use crate::error::{Damage, IndexError};
use crate::graph::{Graph, LoadError, Store, Torn};
use crate::ids::Ids;
use crate::layout::{HEADER, Header, Metadata, Parts, Role};
use crate::map::map;
use crate::storage::{Storage, Stored};
use crate::texts::Texts;

/// The least beam of a search through a graph where none is given.
pub const DEFAULT_EF: usize = 100;

/// Rows that are compared one after the other in the time that a walk takes for each of its beam.
pub(crate) const SCANNED_FOR_ONE: usize = 250;

/// An open index. Its vectors stay on disk and are mapped, so that opening takes milliseconds and several processes
/// share them; ids and other texts are held in memory. The graph, if any, is loaded into memory by the first search that
/// uses it, which takes seconds for a large one, and some kilobytes a row; with vectors of f16 or i8, also these, as f32.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    map: Arc<Mmap>,
    header: Header,
    parts: Parts,
    metadata: Metadata,
    columns: Vec<Texts>,
    ids: OnceLock<Ids>,
    graph: OnceLock<Graph>,
    /// Held while the graph is loaded, so that searches at the same time wait for it and do not each load one.
    loading: Mutex<()>,
}

/// Settings of [`Index::search`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchOptions {
    /// Rows that a walk through the graph keeps in view: more find more, and take longer. `None` is the larger of
    /// [`Index::ef`] and `2 k`; less than `k` counts as `k`. An index without a graph has no use for it.
    pub ef: Option<usize>,
    /// Compare with every row although the index has a graph.
    pub exact: bool,
}

/// A row found near a query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hit<'a> {
    /// The row.
    pub index: usize,
    /// Its id.
    pub id: &'a str,
    /// Its class name, if it has one.
    pub label: Option<&'a str>,
    /// Where its sample lies, if known.
    pub path: Option<&'a str>,
    /// Its score with the query, by the index's metric.
    pub score: f32,
}

impl Index {
    /// Opens an index.
    ///
    /// Reads and checks the header and the metadata. Vectors and graph are not read: see [`verify`](Self::verify).
    /// While it is open, nothing may write into the file in place; nearkin never does, it replaces files.
    ///
    /// # Errors
    /// When the file cannot be read, is no index, is of another version of the format, or is damaged.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        if cfg!(target_endian = "big") {
            return Err(IndexError::BigEndian);
        }
        let damaged = |damage| IndexError::Index { path: path.to_owned(), damage };
        let mut file = File::open(path).map_err(IndexError::read(path))?;
        let size = file.metadata().map_err(IndexError::read(path))?.len();
        let mut start = Vec::with_capacity(HEADER);
        file.by_ref().take(HEADER as u64).read_to_end(&mut start).map_err(IndexError::read(path))?;
        let (header, parts) = Header::parse(&start, size).map_err(damaged)?;
        let map = map(&file).map_err(IndexError::read(path))?;
        // The size again: what is mapped counts, and the file could have changed since.
        if map.len() != parts.metadata.end {
            return Err(damaged(Damage::Size { found: map.len() as u64, wanted: parts.metadata.end as u64 }));
        }
        // A copy, so that what is checked is what is used.
        let bytes = map[parts.metadata.clone()].to_vec();
        if blake3::hash(&bytes) != header.metadata_checksum {
            return Err(damaged(Damage::Checksum { part: "metadata" }));
        }
        let rows = header.rows as usize;
        let (metadata, columns) = Metadata::parse(&bytes, rows).map_err(damaged)?;
        if metadata.columns.iter().filter(|role| **role == Role::Id).count() != 1 {
            return Err(damaged(Damage::Field {
                field: "metadata",
                detail: "not one column of ids".to_owned(),
            }));
        }
        if metadata.kind == Kind::Exact && header.graph_bytes != 0 {
            let detail = format!("{} bytes in an exact index", header.graph_bytes);
            return Err(damaged(Damage::Field { field: "graph", detail }));
        }
        let (ids, graph, loading) = (OnceLock::new(), OnceLock::new(), Mutex::new(()));
        Ok(Self {
            path: path.to_owned(),
            map: Arc::new(map),
            header,
            parts,
            metadata,
            columns,
            ids,
            graph,
            loading,
        })
    }

    /// Reads the whole file and checks it against its checksums. [`open`](Self::open) leaves out the vectors and the
    /// graph. Damaged vectors give wrong results; a graph is checked before it is loaded.
    ///
    /// # Errors
    /// When a byte has changed since the index was built.
    pub fn verify(&self) -> Result<(), IndexError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.map[HEADER..self.parts.metadata.start]);
        if hasher.finalize() != self.header.body_checksum {
            return Err(self.damaged(Damage::Checksum { part: "vectors or graph" }));
        }
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.header.rows as usize
    }

    /// Whether there are no rows, which no index has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values a vector.
    pub fn dim(&self) -> usize {
        self.header.dim as usize
    }

    /// What near means.
    pub fn metric(&self) -> Metric {
        self.metadata.metric
    }

    /// How it is searched.
    pub fn kind(&self) -> Kind {
        self.metadata.kind
    }

    /// How its vectors are stored.
    pub fn storage(&self) -> Storage {
        self.header.storage
    }

    /// The beam of a search through the graph where none is given: that with which 99.5% of the ten nearest were found when the graph was
    /// built, for rows that it had not seen, and [`DEFAULT_EF`] at least. It is all rows where comparing with them is faster than such a walk,
    /// as it is for vectors without structure; searches are exact then. An index without a graph has no use for it.
    pub fn ef(&self) -> usize {
        self.metadata.ef.unwrap_or(DEFAULT_EF)
    }

    /// What made the vectors, if known.
    pub fn origin(&self) -> Option<&Origin> {
        self.metadata.origin.as_ref()
    }

    /// The id of row `i`.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub fn id(&self, i: usize) -> &str {
        self.text(&Role::Id, i).unwrap_or_default()
    }

    /// The class name of row `i`, if it has one.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub fn label(&self, i: usize) -> Option<&str> {
        self.text(&Role::Label, i)
    }

    /// Where the sample of row `i` lies, if known.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub fn path(&self, i: usize) -> Option<&str> {
        self.text(&Role::Path, i)
    }

    /// The names of the further columns, in alphabetical order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.metadata.columns.iter().filter_map(|role| match role {
            Role::Column(name) => Some(name.as_str()),
            Role::Id | Role::Label | Role::Path => None,
        })
    }

    /// The text of row `i` in a further column; `None` where it is empty or there is no such column.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub fn column(&self, name: &str, i: usize) -> Option<&str> {
        self.text(&Role::Column(name.to_owned()), i)
    }

    /// All vectors as they are stored, one after the other: for cosine, of unit length; rounded to what the storage holds. Those of f32 lie
    /// where they are mapped.
    pub fn vectors(&self) -> Cow<'_, [f32]> {
        self.stored().to_f32()
    }

    pub(crate) fn stored(&self) -> Stored<'_> {
        self.storage().view(&self.map[self.parts.vectors.clone()], self.len(), self.dim())
    }

    /// Refuses the vectors of another model, or of this one from inputs prepared otherwise ([`Origin::preprocessing`]).
    ///
    /// # Errors
    /// When the index was made with another model than `model_hash`, does not say with which, or says that its inputs were prepared
    /// otherwise.
    pub fn check_model(&self, model_hash: &str, preprocessing: &str) -> Result<(), IndexError> {
        let (path, query_model) = (self.path.clone(), model_hash.to_owned());
        let Some(origin) = self.origin() else { return Err(IndexError::NoModel { path, query_model }) };
        let prepared = [&origin.preprocessing, preprocessing];
        let alike = prepared[0] == prepared[1] || prepared.iter().any(|text| text.is_empty());
        let [index, query] = prepared.map(str::to_owned);
        match origin.model == model_hash {
            true if alike => Ok(()),
            true => Err(IndexError::OtherPreprocessing { path, index, query }),
            false => {
                let preprocessing = (!alike).then_some((index, query));
                Err(IndexError::OtherModel {
                    path,
                    index_model: origin.model.clone(),
                    query_model,
                    preprocessing,
                })
            }
        }
    }

    /// Refuses vectors of another origin.
    ///
    /// # Errors
    /// As [`check_model`](Self::check_model); also when only one of the two was scaled to unit length (not for cosine, which ignores
    /// lengths).
    pub fn check_origin(&self, origin: &Origin) -> Result<(), IndexError> {
        self.check_model(&origin.model, &origin.preprocessing)?;
        let (own, metric) = (self.origin().is_some_and(|own| own.normalized), self.metric());
        if own != origin.normalized && metric != Metric::Cosine {
            return Err(IndexError::OtherNormalization { path: self.path.clone(), index: own, metric });
        }
        Ok(())
    }

    /// The `k` nearest rows of each query, nearest first; ties go to the lowest row.
    ///
    /// An exact search sees every row. A search through a graph sees a small part of them and may miss some, and
    /// returns fewer than `k` hits if it does not come across as many; one whose beam would hold all rows is exact.
    /// Scores of both are computed alike, from the pair alone, in f64 and rounded once. Fewer than `k` hits are
    /// returned when there are fewer rows. Results do not depend on the number of threads.
    ///
    /// # Errors
    /// When `k` is 0, a query has another dimension than the index or a value that is not finite, a squared length
    /// overflows f32 (not for cosine), or the graph is damaged or cannot be unpacked into a temporary folder.
    pub fn search(
        &self,
        queries: Vectors<'_>,
        k: usize,
        options: SearchOptions,
    ) -> Result<Vec<Vec<Hit<'_>>>, IndexError> {
        let asked = Asked::new(&self.path, self.dim(), self.metric(), queries, k)?;
        let rows = self.candidates(&asked, options, None)?;
        let hits = rows.into_par_iter().enumerate().map(|(query, rows)| {
            let vectors = self.stored();
            let hits = rows.into_iter().map(|index| Hit {
                index,
                id: self.id(index),
                label: self.label(index),
                path: self.path(index),
                score: asked.score(query, &vectors.row(index)),
            });
            asked.nearest(hits)
        });
        Ok(hits.collect())
    }

    /// Rows near each query, in no order, the `k` nearest among them; only rows of `keep`, if given.
    pub(crate) fn candidates(
        &self,
        asked: &Asked<'_>,
        options: SearchOptions,
        keep: Option<&FixedBitSet>,
    ) -> Result<Vec<Vec<usize>>, IndexError> {
        let rows = self.len();
        let kept = keep.map_or(rows, |keep| keep.count_ones(..));
        let ef = options.ef.unwrap_or(self.ef().max(asked.k.saturating_mul(2))).max(asked.k);
        // Of the rows in a beam, the same share may be found as of all rows.
        let ef = ef.saturating_mul(rows).div_ceil(kept.max(1));
        let pays = if keep.is_none() { ef < rows } else { ef.saturating_mul(SCANNED_FOR_ONE) < kept };
        if self.kind() == Kind::Exact || options.exact || !pays {
            return asked.scan(self.stored(), keep);
        }
        let graph = self.graph()?;
        let lets_through = |row: usize| keep.is_none_or(|keep| keep.contains(row));
        let walk =
            |query| graph.search(self.metric(), asked.prepared().row(query), asked.k, ef, lets_through);
        let found = (0..asked.len()).into_par_iter().map(walk).collect::<Result<Vec<_>, Torn>>();
        let mut found = found.map_err(|Torn| self.torn())?;
        if keep.is_some() {
            // What may be found can lie far from a query, and its beam elsewhere.
            for (query, rows) in
                found.iter_mut().enumerate().filter(|(_, rows)| rows.len() < asked.k.min(kept))
            {
                *rows = asked.only(query).scan(self.stored(), keep)?.remove(0);
            }
        }
        Ok(found)
    }

    /// The row with an id. The first call goes through all of them, and takes some bytes a row.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.ids.get_or_init(|| Ids::new(self.len(), |row| self.id(row))).find(id, |row| self.id(row))
    }

    /// What building it would tell.
    pub(crate) fn summary(&self) -> Summary {
        let bytes = self.parts.metadata.end as u64;
        Summary {
            rows: self.len(),
            dim: self.dim(),
            metric: self.metric(),
            kind: self.kind(),
            storage: self.storage(),
            ef: self.metadata.ef,
            bytes,
        }
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.path
    }

    /// The [`checksum`](Self::checksum) of the file that lies somewhere now.
    pub(crate) fn checksum_of(path: &Path) -> Result<[u8; 32], IndexError> {
        let mut start = Vec::with_capacity(HEADER);
        let mut file = File::open(path).map_err(IndexError::read(path))?;
        let size = file.metadata().map_err(IndexError::read(path))?.len();
        file.by_ref().take(HEADER as u64).read_to_end(&mut start).map_err(IndexError::read(path))?;
        let parsed = Header::parse(&start, size);
        let (header, _) = parsed.map_err(|damage| IndexError::Index { path: path.to_owned(), damage })?;
        Ok(header.checksum())
    }

    /// What tells this file from any other: BLAKE3 of its header, which holds those of all else.
    pub(crate) fn checksum(&self) -> [u8; 32] {
        self.header.checksum()
    }

    pub(crate) fn roles(&self) -> &[Role] {
        &self.metadata.columns
    }

    /// A column of texts with each distinct one once.
    pub(crate) fn texts(&self, role: &Role) -> Option<&Texts> {
        let column = self.metadata.columns.iter().position(|other| other == role)?;
        Some(&self.columns[column])
    }

    pub(crate) fn text(&self, role: &Role, i: usize) -> Option<&str> {
        Some(self.texts(role)?.get(i)).filter(|text| !text.is_empty())
    }

    /// The graph of an index that has one.
    fn graph(&self) -> Result<&Graph, IndexError> {
        // A panic while it was held left nothing half done.
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(graph) = self.graph.get() {
            return Ok(graph);
        }
        let part = &self.map[self.parts.graph.clone()];
        let store = match self.storage() {
            Storage::F32 => Store::Mapped { map: Arc::clone(&self.map), vectors: self.parts.vectors.clone() },
            // A walk compares far too many pairs to decode vectors again and again.
            Storage::F16 | Storage::I8 => Store::Memory(self.vectors().into_owned()),
        };
        let graph = Graph::load(part, self.len(), self.dim(), self.metric(), store);
        let graph = graph.map_err(|error| match error {
            LoadError::Checksum => self.damaged(Damage::Checksum { part: "graph" }),
            LoadError::Torn(Torn) => self.torn(),
            LoadError::Unpack(source) => {
                IndexError::Unpack { path: self.path.clone(), folder: std::env::temp_dir(), source }
            }
        })?;
        Ok(self.graph.get_or_init(|| graph))
    }

    fn torn(&self) -> IndexError {
        self.damaged(Damage::Field { field: "graph", detail: "its parts do not fit together".to_owned() })
    }

    fn damaged(&self, damage: Damage) -> IndexError {
        IndexError::Index { path: self.path.clone(), damage }
    }
}
