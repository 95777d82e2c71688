//! The index file, byte by byte.
//!
//! All numbers are little-endian. Vectors begin at a multiple of 64 bytes, so that they can be used where they are
//! mapped; gaps are zero.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `MAGIC` |
//! | 8..12 | version: 1 where the vectors are f32, which every nearkin reads, otherwise `VERSION` |
//! | 12..16 | storage of the vectors: 0 f32, 1 f16, 2 i8 |
//! | 16..48 | rows, dimension, bytes of the graph, bytes of metadata: u64 each |
//! | 48..80 | BLAKE3 of everything from byte 192 to the metadata |
//! | 80..112 | BLAKE3 of the metadata |
//! | 112..144 | BLAKE3 of bytes 0..112 |
//! | 192.. | vectors: rows × dimension × f32, or f16, or for i8 a scale (f32) for each row and then rows × dimension × i8 |
//! | next multiple of 64 | graph, if any ([`crate::graph`]) |
//! | next multiple of 64 | metadata: length of the JSON as u64, JSON ([`Metadata`]), a [`Texts`] for each role |

use std::ops::Range;

use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use crate::build::Kind;
use crate::embeddings::Origin;
use crate::error::Damage;
use crate::storage::Storage;
use crate::texts::{Texts, take, take_u64};

pub(crate) const HEADER: usize = 192;
pub(crate) const ALIGNMENT: usize = 64;
const MAGIC: &[u8; 8] = b"nearkin\x1a";
const VERSION: u32 = 2;

/// The numbers of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) rows: u64,
    pub(crate) dim: u64,
    pub(crate) storage: Storage,
    pub(crate) graph_bytes: u64,
    pub(crate) metadata_bytes: u64,
    pub(crate) body_checksum: [u8; 32],
    pub(crate) metadata_checksum: [u8; 32],
}

/// Where the parts of a file lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) vectors: Range<usize>,
    pub(crate) graph: Range<usize>,
    pub(crate) metadata: Range<usize>,
}

impl Header {
    /// BLAKE3 of all fields, and so of the whole file.
    pub(crate) fn checksum(self) -> [u8; 32] {
        self.to_bytes()[112..144].try_into().unwrap_or_default()
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(MAGIC);
        let version = if self.storage == Storage::F32 { 1 } else { VERSION };
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.storage.code().to_le_bytes());
        for (i, number) in
            [self.rows, self.dim, self.graph_bytes, self.metadata_bytes].into_iter().enumerate()
        {
            bytes[16 + 8 * i..24 + 8 * i].copy_from_slice(&number.to_le_bytes());
        }
        bytes[48..80].copy_from_slice(&self.body_checksum);
        bytes[80..112].copy_from_slice(&self.metadata_checksum);
        let checksum = *blake3::hash(&bytes[..112]).as_bytes();
        bytes[112..144].copy_from_slice(&checksum);
        bytes
    }

    /// Reads the header of a file of `size` bytes, of which `bytes` are the first, as many as a header has or all.
    pub(crate) fn parse(bytes: &[u8], size: u64) -> Result<(Self, Parts), Damage> {
        if !bytes.starts_with(MAGIC) {
            return Err(Damage::Foreign);
        }
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Err(Damage::Size { found: size, wanted: HEADER as u64 });
        };
        let short = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap_or_default());
        let found = short(8);
        if !(1..=VERSION).contains(&found) {
            return Err(Damage::Version { found, wanted: VERSION });
        }
        if blake3::hash(&bytes[..112]) != bytes[112..144] {
            return Err(Damage::Checksum { part: "header" });
        }
        let storage = Storage::of_code(short(12)).ok_or(Damage::Storage { found: short(12) })?;
        let number = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().unwrap_or_default());
        let checksum = |i: usize| bytes[i..i + 32].try_into().unwrap_or_default();
        let header = Self {
            rows: number(16),
            dim: number(24),
            storage,
            graph_bytes: number(32),
            metadata_bytes: number(40),
            body_checksum: checksum(48),
            metadata_checksum: checksum(80),
        };
        let parts = header.parts().ok_or_else(|| Damage::Field {
            field: "size",
            detail: format!("{} rows of {} values", header.rows, header.dim),
        })?;
        let wanted = parts.metadata.end as u64;
        if size != wanted {
            return Err(Damage::Size { found: size, wanted });
        }
        Ok((header, parts))
    }

    /// Where the parts lie; `None` when there are no vectors, or more than memory can address.
    pub(crate) fn parts(&self) -> Option<Parts> {
        let (rows, dim) = (usize::try_from(self.rows).ok()?, usize::try_from(self.dim).ok()?);
        if rows == 0 || dim == 0 {
            return None;
        }
        let range = |start: usize, bytes: usize| Some(start..start.checked_add(bytes)?);
        let vectors = range(HEADER, self.storage.bytes(rows, dim)?)?;
        let graph_start = vectors.end.checked_next_multiple_of(ALIGNMENT)?;
        let graph = range(graph_start, usize::try_from(self.graph_bytes).ok()?)?;
        let metadata_start = graph.end.checked_next_multiple_of(ALIGNMENT)?;
        let metadata = range(metadata_start, usize::try_from(self.metadata_bytes).ok()?)?;
        Some(Parts { vectors, graph, metadata })
    }
}

/// What the index says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) metric: Metric,
    pub(crate) kind: Kind,
    /// The beam of searches through the graph, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ef: Option<usize>,
    pub(crate) origin: Option<Origin>,
    /// What each of the columns of texts that follow is.
    pub(crate) columns: Vec<Role>,
}

/// What a column of texts is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    Id,
    Label,
    Path,
    Column(String),
}

impl Role {
    /// The column that is called so.
    pub(crate) fn named(name: String) -> Self {
        match &name[..] {
            "id" => Self::Id,
            "label" => Self::Label,
            "path" => Self::Path,
            _ => Self::Column(name),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Id => "id",
            Self::Label => "label",
            Self::Path => "path",
            Self::Column(name) => name,
        }
    }
}

impl Metadata {
    pub(crate) fn to_bytes(&self, columns: &[&[String]]) -> serde_json::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json);
        columns.iter().for_each(|column| Texts::write(column, &mut bytes));
        Ok(bytes)
    }

    pub(crate) fn parse(mut bytes: &[u8], rows: usize) -> Result<(Self, Vec<Texts>), Damage> {
        let damage = |detail: String| Damage::Field { field: "metadata", detail };
        let length = take_u64(&mut bytes).map_err(damage)?;
        let json = take(&mut bytes, length).map_err(damage)?;
        let metadata: Self = serde_json::from_slice(json).map_err(|e| damage(e.to_string()))?;
        metadata.kind.check(rows).map_err(|e| damage(e.to_string()))?;
        let columns = metadata
            .columns
            .iter()
            .map(|_| Texts::read(&mut bytes, rows))
            .collect::<Result<_, _>>()
            .map_err(damage)?;
        if !bytes.is_empty() {
            return Err(damage(format!("{} bytes too many", bytes.len())));
        }
        Ok((metadata, columns))
    }
}
