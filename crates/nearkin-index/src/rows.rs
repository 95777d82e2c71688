//! Rows that never change: those of an index file, and those of a stretch of its log.

use std::sync::{Arc, OnceLock};

use fixedbitset::FixedBitSet;
use nearkin_sweep::Vectors;

use crate::embeddings::Embeddings;
use crate::ids::Ids;
use crate::index::Index;
use crate::layout::Role;
use crate::storage::Stored;

/// Some rows of a snapshot.
#[derive(Debug)]
pub(crate) enum Rows {
    /// Those of the index file.
    File(Box<Index>),
    /// Those that its log added.
    Log(Segment),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::File(index) => index.len(),
            Self::Log(segment) => segment.len(),
        }
    }

    pub(crate) fn vectors(&self) -> Stored<'_> {
        match self {
            Self::File(index) => index.stored(),
            Self::Log(segment) => Stored::of(segment.vectors()),
        }
    }

    /// What a row has in a column; `None` where that is nothing.
    pub(crate) fn text(&self, role: &Role, row: usize) -> Option<&str> {
        match self {
            Self::File(index) => index.text(role, row),
            Self::Log(segment) => {
                segment.column(role).map(|texts| &texts[row][..]).filter(|text| !text.is_empty())
            }
        }
    }

    /// What a function makes of each row's text in a column, empty where there is none.
    pub(crate) fn map<T: Copy>(&self, role: &Role, of: impl Fn(&str) -> T) -> Vec<T> {
        let mapped = match self {
            Self::File(index) => index.texts(role).map(|texts| texts.map(index.len(), &of)),
            Self::Log(segment) => {
                segment.column(role).map(|texts| texts.iter().map(|text| of(text)).collect())
            }
        };
        mapped.unwrap_or_else(|| vec![of(""); self.len()])
    }

    /// The columns there are.
    pub(crate) fn roles(&self) -> Vec<&Role> {
        match self {
            Self::File(index) => index.roles().iter().collect(),
            Self::Log(segment) => segment.columns.iter().map(|(role, _)| role).collect(),
        }
    }

    /// The row with an id, deleted or not.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        match self {
            Self::File(index) => index.find(id),
            Self::Log(segment) => segment.find(id),
        }
    }
}

/// Rows, of which some may be deleted.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) rows: Arc<Rows>,
    /// The rows that are not deleted; `None` while all are there.
    pub(crate) live: Option<Arc<FixedBitSet>>,
    /// How many these are.
    pub(crate) count: usize,
}

impl Part {
    pub(crate) fn new(rows: Rows) -> Self {
        let count = rows.len();
        Self { rows: Arc::new(rows), live: None, count }
    }

    pub(crate) fn is_live(&self, row: usize) -> bool {
        self.live.as_ref().is_none_or(|live| live.contains(row))
    }

    pub(crate) fn live_rows(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.rows.len()).filter(|&row| self.is_live(row))
    }

    /// The live row with an id.
    pub(crate) fn find(&self, id: &str) -> Option<usize> {
        self.rows.find(id).filter(|&row| self.is_live(row))
    }

    /// Deletes live rows.
    pub(crate) fn delete(&mut self, rows: &[usize]) {
        let Some(_) = rows.first() else { return };
        let mut live = match &self.live {
            Some(live) => FixedBitSet::clone(live),
            None => {
                let mut all = FixedBitSet::with_capacity(self.rows.len());
                all.insert_range(..);
                all
            }
        };
        rows.iter().for_each(|&row| live.remove(row));
        self.count = live.count_ones(..);
        self.live = Some(Arc::new(live));
    }
}

/// Rows in memory, as the index stores them: for cosine, of unit length; of values that its storage holds, but as f32.
#[derive(Debug)]
pub(crate) struct Segment {
    dim: usize,
    vectors: Vec<f32>,
    /// One text a row; among them one column of ids.
    columns: Vec<(Role, Vec<String>)>,
    ids: OnceLock<Ids>,
}

impl Segment {
    pub(crate) fn new(dim: usize, vectors: Vec<f32>, columns: Vec<(Role, Vec<String>)>) -> Self {
        Self { dim, vectors, columns, ids: OnceLock::new() }
    }

    /// Rows of a valid table, whose vectors are given as the index stores them.
    pub(crate) fn of(table: &Embeddings, vectors: Vec<f32>) -> Self {
        let optional = [(Role::Label, &table.labels), (Role::Path, &table.paths)];
        let optional = optional.into_iter().filter_map(|(role, column)| Some((role, column.clone()?)));
        let further = table.columns.iter().map(|(name, column)| (Role::Column(name.clone()), column.clone()));
        let columns = [(Role::Id, table.ids.clone())].into_iter().chain(optional).chain(further).collect();
        Self::new(table.dim, vectors, columns)
    }

    pub(crate) fn len(&self) -> usize {
        self.vectors.len() / self.dim
    }

    pub(crate) fn vectors(&self) -> Vectors<'_> {
        Vectors::new(&self.vectors, self.dim).expect("a segment holds whole vectors of at least one value")
    }

    pub(crate) fn columns(&self) -> &[(Role, Vec<String>)] {
        &self.columns
    }

    fn column(&self, role: &Role) -> Option<&[String]> {
        self.columns.iter().find(|(other, _)| other == role).map(|(_, texts)| &texts[..])
    }

    pub(crate) fn ids(&self) -> &[String] {
        self.column(&Role::Id).unwrap_or_default()
    }

    fn find(&self, id: &str) -> Option<usize> {
        let names = self.ids();
        self.ids.get_or_init(|| Ids::new(names.len(), |row| &names[row])).find(id, |row| &names[row])
    }

    /// The live rows of some parts, one after the other. A column that a part lacks is empty there.
    pub(crate) fn gather(dim: usize, parts: &[Part]) -> Self {
        let mut roles: Vec<Role> = parts.iter().flat_map(|part| part.rows.roles()).cloned().collect();
        roles.sort_unstable();
        roles.dedup();
        let live = || parts.iter().flat_map(|part| part.live_rows().map(|row| (&*part.rows, row)));
        let mut vectors = Vec::new();
        live().for_each(|(rows, row)| vectors.extend_from_slice(&rows.vectors().row(row)));
        let column = |role: Role| {
            let texts = live().map(|(rows, row)| rows.text(&role, row).unwrap_or_default().to_owned());
            let texts = texts.collect();
            (role, texts)
        };
        Self::new(dim, vectors, roles.into_iter().map(column).collect())
    }

    /// The rows as a table, but for their origin.
    pub(crate) fn into_table(self) -> Embeddings {
        let mut table = Embeddings { vectors: self.vectors, dim: self.dim, ..Embeddings::default() };
        for (role, texts) in self.columns {
            match role {
                Role::Id => table.ids = texts,
                Role::Label => table.labels = Some(texts),
                Role::Path => table.paths = Some(texts),
                Role::Column(name) => {
                    table.columns.insert(name, texts);
                }
            }
        }
        table
    }
}
