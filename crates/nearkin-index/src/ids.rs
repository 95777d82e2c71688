//! Finding a row by its id.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// Row numbers by id. The ids themselves stay where they are: this takes about 5 bytes a row.
#[derive(Debug)]
pub(crate) struct Ids {
    hasher: RandomState,
    rows: HashTable<u32>,
}

impl Ids {
    /// The rows `0..count`, of different ids.
    pub(crate) fn new<'a>(count: usize, id: impl Fn(usize) -> &'a str) -> Self {
        let hasher = RandomState::new();
        let mut rows = HashTable::with_capacity(count);
        let hash = |row: &u32| hasher.hash_one(id(*row as usize));
        // Rows of one file or stretch of a log are far fewer than 2³².
        for row in 0..count as u32 {
            rows.insert_unique(hash(&row), row, hash);
        }
        Self { hasher, rows }
    }

    /// The row with an id.
    pub(crate) fn find<'a>(&self, wanted: &str, id: impl Fn(usize) -> &'a str) -> Option<usize> {
        let found = self.rows.find(self.hasher.hash_one(wanted), |row| id(*row as usize) == wanted);
        found.map(|row| *row as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_finds_its_row_and_no_other_does() {
        let names: Vec<String> = (0..1000).map(|i| format!("row {i}")).collect();
        let id = |row: usize| names[row].as_str();
        let ids = Ids::new(names.len(), id);
        for (row, name) in names.iter().enumerate() {
            assert_eq!(ids.find(name, id), Some(row));
        }
        assert_eq!(ids.find("row 1000", id), None);
        assert_eq!(Ids::new(0, id).find("row 1", id), None);
    }
}
