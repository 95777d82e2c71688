//! The rows of an index at one moment.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fixedbitset::FixedBitSet;
use nearkin_sweep::{Metric, Vectors};
use rayon::prelude::*;
use serde::Serialize;

use crate::build::Kind;
use crate::embeddings::{Embeddings, Origin};
use crate::error::IndexError;
use crate::filter::{Filter, FilterError};
use crate::growing::log::{self, Change};
use crate::index::{Asked, Hit, Index, SearchOptions};
use crate::layout::Role;
use crate::rows::{Part, Rows, Segment};
use crate::storage::{Storage, Stored};

/// Tells snapshots apart, so that a selection of rows is not taken for one of another.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The rows of an index at one moment: those of the file, without what was deleted since it was written, and those added since. It never
/// changes; [`GrowingIndex`](crate::GrowingIndex) makes a new one for each change.
///
/// Rows have numbers, in the order in which they came. Deleted rows leave gaps, and the numbers hold in this snapshot alone: ids last.
///
/// The file's vectors are mapped, as by [`Index`]; those added since are in memory.
#[derive(Debug)]
pub struct Snapshot {
    number: u64,
    path: PathBuf,
    /// The file first, then stretches of the log.
    parts: Vec<Part>,
    /// The number of each part's first row, and one beyond the last.
    firsts: Vec<usize>,
}

/// What a compaction would fold into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pending {
    /// Rows that are only in the log.
    pub added: usize,
    /// Rows of the file that are deleted.
    pub deleted: usize,
}

/// Rows of a snapshot that a filter lets through.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    snapshot: u64,
    /// Of each part.
    rows: Vec<FixedBitSet>,
    /// The number of each part's first row.
    firsts: Vec<usize>,
    count: usize,
}

impl Selection {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their numbers in the snapshot, in order.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().zip(&self.firsts).flat_map(|(rows, first)| rows.ones().map(move |row| first + row))
    }
}

impl Snapshot {
    /// Opens an index as it is now, for reading, whoever else writes to it. Changes no file.
    ///
    /// Reads and checks the header and the texts of the file, and the whole log beside it. A change that is being written just now, or was
    /// when a process or the machine stopped, is not there yet.
    ///
    /// # Errors
    /// As [`Index::open`], and when the log cannot be read or is damaged.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        loop {
            let index = Index::open(path)?;
            let checksum = index.checksum();
            let contents = log::read(&log::path_of(path, &checksum), &checksum, index.dim())?;
            // A compaction between the two may have taken the log away.
            if Index::checksum_of(path)? == checksum {
                return Ok(Self::new(index, contents.changes));
            }
        }
    }

    /// An index file and what its log says.
    pub(crate) fn new(index: Index, changes: Vec<Change>) -> Self {
        let path = index.file().to_owned();
        let mut parts = vec![Part::new(Rows::File(Box::new(index)))];
        changes.into_iter().for_each(|change| apply(&mut parts, change));
        Self::of_parts(path, parts)
    }

    fn of_parts(path: PathBuf, parts: Vec<Part>) -> Self {
        let mut firsts = vec![0];
        for part in &parts {
            firsts.push(firsts[firsts.len() - 1] + part.rows.len());
        }
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), path, parts, firsts }
    }

    /// The rows after a change.
    pub(crate) fn after(&self, change: Change) -> Self {
        let mut parts = self.parts.clone();
        apply(&mut parts, change);
        Self::of_parts(self.path.clone(), parts)
    }

    /// Number of rows that are not deleted.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.count).sum()
    }

    /// Whether every row is deleted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values a vector.
    pub fn dim(&self) -> usize {
        self.index().dim()
    }

    /// What near means.
    pub fn metric(&self) -> Metric {
        self.index().metric()
    }

    /// How the file is searched. Rows added since it was written are compared with every query.
    pub fn kind(&self) -> Kind {
        self.index().kind()
    }

    /// How vectors are stored. Those added since the file was written are in memory as f32, but of values that it can store.
    pub fn storage(&self) -> Storage {
        self.index().storage()
    }

    /// What made the vectors, if known; the fingerprint is of the data that the file was first built of.
    pub fn origin(&self) -> Option<&Origin> {
        self.index().origin()
    }

    /// Refuses the vectors of another model, or of this one from inputs prepared otherwise.
    ///
    /// # Errors
    /// As [`Index::check_model`].
    pub fn check_model(&self, model_hash: &str, preprocessing: &str) -> Result<(), IndexError> {
        self.index().check_model(model_hash, preprocessing)
    }

    /// What a compaction would fold into the file.
    pub fn pending(&self) -> Pending {
        let (file, log) = self.parts.split_first().expect("a snapshot holds the file");
        Pending { added: log.iter().map(|part| part.count).sum(), deleted: file.rows.len() - file.count }
    }

    /// The numbers of the rows that are not deleted, in order.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.parts
            .iter()
            .zip(&self.firsts)
            .flat_map(|(part, first)| part.live_rows().map(move |row| first + row))
    }

    /// The row with an id. The first call for an index file goes through all of its ids.
    pub fn find(&self, id: &str) -> Option<usize> {
        let found = self.parts.iter().zip(&self.firsts).rev();
        found.filter_map(|(part, first)| Some(first + part.find(id)?)).next()
    }

    /// The id of a row.
    ///
    /// # Panics
    /// When `row` is no number of a row, here and below; deleted rows still have what they had.
    pub fn id(&self, row: usize) -> &str {
        self.text(&Role::Id, row).unwrap_or_default()
    }

    /// The class name of a row, if it has one.
    pub fn label(&self, row: usize) -> Option<&str> {
        self.text(&Role::Label, row)
    }

    /// Where the sample of a row lies, if known.
    pub fn path_of(&self, row: usize) -> Option<&str> {
        self.text(&Role::Path, row)
    }

    /// The names of the further columns, in alphabetical order.
    pub fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .roles()
            .filter_map(|role| match role {
                Role::Column(name) => Some(name.as_str()),
                Role::Id | Role::Label | Role::Path => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The text of a row in a further column; `None` where it is empty or there is no such column.
    pub fn column(&self, name: &str, row: usize) -> Option<&str> {
        self.text(&Role::Column(name.to_owned()), row)
    }

    /// The vector of a row as it is stored: for cosine, of unit length; rounded to what the storage holds.
    pub fn vector(&self, row: usize) -> Cow<'_, [f32]> {
        let (part, row) = self.locate(row);
        part.rows.vectors().row(row)
    }

    /// All rows that are not deleted as a table, with vectors as they are stored.
    pub fn to_embeddings(&self) -> Embeddings {
        Embeddings { origin: self.origin().cloned(), ..Segment::gather(self.dim(), &self.parts).into_table() }
    }

    /// The rows that a filter lets through. It serves any number of searches of this snapshot.
    ///
    /// # Errors
    /// When the filter names a column that no row has.
    pub fn select(&self, filter: &Filter) -> Result<Selection, FilterError> {
        let roles: Vec<&Role> = self.roles().collect();
        filter.check(&roles)?;
        let of_part = |part: &Part| {
            let matches = filter.matches(&part.rows);
            let mut rows = FixedBitSet::with_capacity(part.rows.len());
            part.live_rows().filter(|&row| matches[row] == Some(true)).for_each(|row| rows.insert(row));
            rows
        };
        let rows: Vec<FixedBitSet> = self.parts.iter().map(of_part).collect();
        let count = rows.iter().map(|rows| rows.count_ones(..)).sum();
        Ok(Selection { snapshot: self.number, rows, firsts: self.firsts.clone(), count })
    }

    /// The `k` nearest rows of each query, nearest first; ties go to the row that came first. Only rows of `within`, if given.
    ///
    /// As [`Index::search`]: exact, or for the file's rows through its graph. Where few of these may be found, a walk would come across too
    /// few, and they are compared one by one instead. Fewer than `k` hits are returned when there are fewer rows.
    ///
    /// # Errors
    /// As [`Index::search`], and when the selection is of another snapshot.
    pub fn search(
        &self,
        queries: Vectors<'_>,
        k: usize,
        options: SearchOptions,
        within: Option<&Selection>,
    ) -> Result<Vec<Vec<Hit<'_>>>, IndexError> {
        if within.is_some_and(|selection| selection.snapshot != self.number) {
            return Err(IndexError::OtherSnapshot);
        }
        let asked = Asked::new(&self.path, self.dim(), self.metric(), queries, k)?;
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); asked.len()];
        for (p, part) in self.parts.iter().enumerate() {
            let keep = within.map(|selection| &selection.rows[p]).or(part.live.as_deref());
            let found = match &*part.rows {
                Rows::File(index) => index.candidates(&asked, options, keep)?,
                Rows::Log(segment) => asked.scan(Stored::of(segment.vectors()), keep)?,
            };
            for (all, found) in rows.iter_mut().zip(found) {
                all.extend(found.into_iter().map(|row| self.firsts[p] + row));
            }
        }
        let hits = rows.into_par_iter().enumerate().map(|(query, rows)| {
            let hits = rows.into_iter().map(|row| Hit {
                index: row,
                id: self.id(row),
                label: self.label(row),
                path: self.path_of(row),
                score: asked.score(query, &self.vector(row)),
            });
            asked.nearest(hits)
        });
        Ok(hits.collect())
    }

    /// The file.
    pub(crate) fn index(&self) -> &Index {
        match self.parts.first().map(|part| &*part.rows) {
            Some(Rows::File(index)) => index,
            _ => unreachable!("the first part of a snapshot is its file"),
        }
    }

    fn roles(&self) -> impl Iterator<Item = &Role> {
        self.parts.iter().flat_map(|part| part.rows.roles())
    }

    fn text(&self, role: &Role, row: usize) -> Option<&str> {
        let (part, row) = self.locate(row);
        part.rows.text(role, row)
    }

    /// The part that holds a row, and the row's number there.
    fn locate(&self, row: usize) -> (&Part, usize) {
        let part = self.firsts.partition_point(|first| *first <= row) - 1;
        (&self.parts[part], row - self.firsts[part])
    }
}

/// Makes a change. Stretches of the log are kept such that each is more than twice as long as the next: so there are few, and a row is
/// copied few times.
fn apply(parts: &mut Vec<Part>, change: Change) {
    let ids = match &change {
        Change::Put(segment) => segment.ids(),
        Change::Delete(ids) => ids,
    };
    for part in parts.iter_mut() {
        let rows: Vec<usize> = ids.iter().filter_map(|id| part.find(id)).collect();
        part.delete(&rows);
    }
    if let Change::Put(segment) = change {
        parts.push(Part::new(Rows::Log(segment)));
    }
    parts.retain(|part| part.count > 0 || matches!(*part.rows, Rows::File(_)));
    while let [_, .., long, short] = &parts[..]
        && long.count <= 2 * short.count
    {
        let dim = short.rows.vectors().dim;
        let merged = Segment::gather(dim, &parts[parts.len() - 2..]);
        parts.truncate(parts.len() - 2);
        parts.push(Part::new(Rows::Log(merged)));
    }
}
