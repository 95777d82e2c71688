//! The HNSW graph: Malkov and Yashunin, *Efficient and robust approximate nearest neighbor search using Hierarchical
//! Navigable Small World graphs* (2018), built, stored and searched by the crate `hnsw_rs`.
//!
//! What is added here is what the library leaves to its users:
//!
//! - **Points are numbers of rows.** The library keeps a copy of every point. A point here is a row number, and
//!   [`Farness`] looks the vector up, so that the vectors lie in the file once and stay mapped.
//! - **Equal vectors are one point.** The library links a point to few of its copies and to nothing beyond them, so
//!   many copies would cut themselves off. Only the first row of equal vectors is a point; the others follow it in a
//!   chain.
//! - **Points go in one after the other.** The library's parallel insertion lets threads race. In sequence, with the
//!   library's fixed seed, the same vectors give the same graph.
//! - **A checksum comes first.** The library trusts the files it reads, and some damage makes it end the process. It
//!   is only given bytes that match the checksum taken when it wrote them.
//!
//! The part of an index that holds a graph is, little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..32 | BLAKE3 of the rest of the part |
//! | 32..40 | bytes of the library's graph file, u64 |
//! | 40..44 | the largest squared length of a row, f32 |
//! | 44..48 | zero |
//! | 48.. | for each row, the next row with the same vector, u32; `NONE` at the end of a chain |
//! | then | the library's graph file, and up to the end its data file |

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::api::AnnT;
use hnsw_rs::hnsw::Hnsw;
use hnsw_rs::hnswio::HnswIo;
use memmap2::Mmap;
use nearkin_sweep::{Metric, SweepError, Vectors};
use rayon::prelude::*;
use self_cell::self_cell;

use crate::index::distance::{dot, squared};
use crate::index::{DEFAULT_EF, SCANNED_FOR_ONE, exact};
use crate::storage::Stored;

/// Rows that a graph can hold: the library numbers points with 31 bits.
pub(crate) const MOST_ROWS: usize = 1 << 30;
/// Levels of a graph; the library stores no other number of them.
const LEVELS: usize = 16;
/// Ends a chain of equal vectors.
const NONE: u32 = u32::MAX;
/// Where the chains begin in the graph's part of a file.
const TWINS: usize = 48;
/// Bytes of a point: a row number and one more byte, so that no query, four bytes a value, is as long.
const POINT: usize = size_of::<u32>() + 1;
/// Rows between two reports of progress.
const REPORT_EVERY: usize = 256;
/// What the library's files are called while they lie in a temporary folder; it adds `.hnsw.graph` and `.hnsw.data`.
const NAME: &str = "graph";

/// Points that are linked last, and are queries before: about so many, and a sixteenth of a small graph.
const SAMPLE: usize = 1_024;
/// Points below which no sample says enough.
const FEWEST: usize = 512;
/// Neighbours that are looked for in the sample.
const NEIGHBORS: usize = 10;
/// The share of them that a beam must find: more than the 99% that searches are to find, as a sample errs, and queries may lie
/// further from the rows than rows do.
const WANTED: f64 = 0.995;

/// Vectors that outlive a graph over them.
#[derive(Debug)]
pub(crate) enum Store {
    Memory(Vec<f32>),
    Mapped { map: Arc<Mmap>, vectors: Range<usize> },
}

impl Store {
    fn data(&self) -> &[f32] {
        match self {
            Self::Memory(data) => data,
            Self::Mapped { map, vectors } => bytemuck::cast_slice(&map[vectors.clone()]),
        }
    }
}

/// How far two points, or a query and a point, are from each other.
///
/// The library stores the name of this type, with its modules, and asks for it when it loads a graph: to rename it is
/// to change the file format. So it has no parameters, whose names could depend on the compiler.
#[derive(Debug)]
pub(crate) struct Farness {
    metric: Metric,
    dim: usize,
    store: Store,
    /// No product of two rows is larger.
    longest: f32,
}

impl Farness {
    /// The vector of a point or a query; `None` for a row that is not there.
    fn vector<'a>(&'a self, bytes: &'a [u8]) -> Option<&'a [f32]> {
        match bytes.first_chunk() {
            Some(row) if bytes.len() == POINT => {
                let start = (u32::from_le_bytes(*row) as usize).checked_mul(self.dim)?;
                self.store.data().get(start..start.checked_add(self.dim)?)
            }
            _ => bytemuck::try_cast_slice(bytes).ok(),
        }
    }
}

impl Distance<u8> for Farness {
    /// For Euclidean distance and cosine, `‖a − b‖²` (of unit vectors it is `2 − 2 cos`; a zero vector is a little
    /// out of place, and there is only one). For dot products, `L² − a·b`, where `L` is the length of the longest
    /// row: no distance, but the library needs none. This is the graph of Morozov and Babenko, *Non-metric similarity
    /// graphs for maximum inner product search* (2018), and finds far more than the usual reduction to distances,
    /// which puts all queries far from all vectors. The library ends the process at a negative number or NaN, so
    /// rounding below zero is zero, and what a damaged vector gives is far away.
    fn eval(&self, a: &[u8], b: &[u8]) -> f32 {
        let (Some(a), Some(b)) = (self.vector(a), self.vector(b)) else { return f32::INFINITY };
        let farness = match self.metric {
            Metric::Dot => self.longest - dot(a, b),
            Metric::Cosine | Metric::Euclidean | Metric::SquaredEuclidean => squared(a, b),
        };
        if farness.is_nan() { f32::INFINITY } else { farness.max(0.0) }
    }
}

/// Chains equal vectors: the rows that begin a chain, and the next row of each row's chain.
fn chain_twins(vectors: Vectors<'_>) -> (Vec<u32>, Vec<u32>) {
    let mut last_with: HashMap<&[u8], u32> = HashMap::with_capacity(vectors.len());
    let (mut firsts, mut twins) = (Vec::new(), vec![NONE; vectors.len()]);
    for row in 0..vectors.len() as u32 {
        match last_with.insert(bytemuck::cast_slice(vectors.row(row as usize)), row) {
            Some(last) => twins[last as usize] = row,
            None => firsts.push(row),
        }
    }
    (firsts, twins)
}

/// What a file keeps of a graph.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    /// Its part of the file.
    pub(crate) part: Vec<u8>,
    /// The beam of a search where none is given; `None` where there were too few points to measure one.
    pub(crate) ef: Option<usize>,
}

/// Builds the graph of at most [`MOST_ROWS`] vectors, at least one, of unit length for cosine. The library writes to an empty folder first.
/// `progress` hears how many of how many points are in.
///
/// A sample of the points comes in last. Before, when they are to the graph what later queries are, their neighbours are looked for with
/// wider and wider beams, until 99.5% of the ten nearest are found: that is the beam of searches. Where comparing with every row is faster
/// than such a walk, it is all rows.
pub(crate) fn build(
    vectors: Vectors<'_>,
    metric: Metric,
    m: usize,
    ef_construction: usize,
    folder: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> io::Result<Drawn> {
    let (points, twins) = chain_twins(vectors);
    let every = (points.len() / SAMPLE).max(16);
    let in_sample = |place: usize| points.len() >= FEWEST && place % every == every - 1;
    let some = |sample: bool| -> Vec<u32> {
        let places = (0..points.len()).filter(|place| in_sample(*place) == sample);
        places.map(|place| points[place]).collect()
    };
    let (others, sample) = (some(false), some(true));
    let longest = (0..vectors.len()).map(|row| dot(vectors.row(row), vectors.row(row))).fold(0.0, f32::max);
    let store = Store::Memory(vectors.data().to_vec());
    let farness = Farness { metric, dim: vectors.dim(), store, longest };
    let graph = Hnsw::new(m, points.len(), LEVELS, ef_construction, farness);
    let mut ef = None;
    for (done, &row) in others.iter().chain(&sample).enumerate() {
        if done % REPORT_EVERY == 0 {
            progress(done, points.len());
        }
        if done == others.len() {
            ef = Some(beam(&graph, vectors, metric, &others, &sample).map_err(io::Error::other)?);
        }
        let mut point = [0; POINT];
        point[..size_of::<u32>()].copy_from_slice(&row.to_le_bytes());
        graph.insert_slice((&point, row as usize));
    }
    progress(points.len(), points.len());

    // The library panics when it cannot create a file.
    catch_unwind(AssertUnwindSafe(|| graph.file_dump(folder, NAME)))
        .map_err(|_| io::Error::other("cannot create a temporary file for the graph"))?
        .map_err(|e| io::Error::other(format!("cannot write the graph to a temporary file ({e})")))?;
    drop(graph);
    let [topology, points] = files(folder).map(std::fs::read);
    let (topology, points) = (topology?, points?);
    let mut part = vec![0; 32];
    part.extend((topology.len() as u64).to_le_bytes());
    part.extend(longest.to_le_bytes());
    part.extend([0; 4]);
    part.extend_from_slice(bytemuck::cast_slice(&twins));
    part.extend(topology);
    part.extend(points);
    let checksum = blake3::hash(&part[32..]);
    part[..32].copy_from_slice(checksum.as_bytes());
    Ok(Drawn { part, ef })
}

/// The beam with which a graph of some rows finds enough of the neighbours of others; all rows, where comparing with them is faster.
fn beam(
    graph: &Walk<'_>,
    vectors: Vectors<'_>,
    metric: Metric,
    rows: &[u32],
    sample: &[u32],
) -> Result<usize, SweepError> {
    let queries: Vec<f32> = sample.iter().flat_map(|&row| vectors.row(row as usize)).copied().collect();
    let queries = Vectors::new(&queries, vectors.dim())?;
    let keep: FixedBitSet = rows.iter().map(|&row| row as usize).collect();
    let near = exact::nearest(queries, Stored::of(vectors), metric, NEIGHBORS, Some(&keep))?;
    let wanted = near.iter().map(Vec::len).sum::<usize>() as f64 * WANTED;
    let finds_enough = |ef: usize| {
        let found_of = |(query, near): (usize, &Vec<usize>)| {
            let found = graph.search(bytemuck::cast_slice(queries.row(query)), NEIGHBORS, ef);
            found.iter().filter(|found| near.contains(&found.d_id)).count()
        };
        near.par_iter().enumerate().map(found_of).sum::<usize>() as f64 >= wanted
    };
    let widths = (0..).map(|doubled| DEFAULT_EF << doubled);
    let pay = |ef: &usize| *ef == DEFAULT_EF || ef * SCANNED_FOR_ONE < vectors.len();
    Ok(widths.take_while(pay).find(|ef| finds_enough(*ef)).unwrap_or(vectors.len()))
}

/// The library's files in a folder: graph and data.
fn files(folder: &Path) -> [PathBuf; 2] {
    ["graph", "data"].map(|kind| folder.join(format!("{NAME}.hnsw.{kind}")))
}

type Walk<'a> = Hnsw<'a, u8, Farness>;

self_cell!(
    /// A graph in memory. The library lends it from what loaded it.
    struct Loaded {
        owner: HnswIo,
        #[not_covariant]
        dependent: Walk,
    }
);

/// A graph ready for searches.
pub(crate) struct Graph {
    loaded: Loaded,
    twins: Vec<u32>,
    longest: f32,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("rows", &self.twins.len()).finish_non_exhaustive()
    }
}

/// Why a graph could not be loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// Its bytes are not those that were written.
    Checksum,
    /// Its numbers do not fit together.
    Torn(Torn),
    /// The library's files could not be unpacked.
    Unpack(io::Error),
}

/// A graph holds a number that points outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn;

impl Graph {
    /// Loads the graph over `rows` vectors from its part of a file. The library's files are unpacked into a temporary
    /// folder for as long as that takes.
    pub(crate) fn load(
        part: &[u8],
        rows: usize,
        dim: usize,
        metric: Metric,
        store: Store,
    ) -> Result<Self, LoadError> {
        // A copy, so that what is checked is what is used: the map could change.
        let part = part.to_vec();
        let torn = LoadError::Torn(Torn);
        let Some((checksum, rest)) = part.split_at_checked(32) else { return Err(torn) };
        if blake3::hash(rest) != *checksum {
            return Err(LoadError::Checksum);
        }
        let cut = || {
            let twins_end = rows.checked_mul(size_of::<u32>())?.checked_add(TWINS)?;
            let length = usize::try_from(u64::from_le_bytes(part.get(32..40)?.try_into().ok()?)).ok()?;
            let longest = f32::from_le_bytes(part.get(40..44)?.try_into().ok()?);
            let (topology, points) = part.get(twins_end..)?.split_at_checked(length)?;
            let twins = part.get(TWINS..twins_end)?.as_chunks().0.iter().map(|row| u32::from_le_bytes(*row));
            Some((longest, twins.collect::<Vec<u32>>(), [topology, points]))
        };
        let (longest, twins, contents) = cut().ok_or(torn)?;

        let folder = tempfile::tempdir().map_err(LoadError::Unpack)?;
        for (file, contents) in files(folder.path()).iter().zip(contents) {
            std::fs::write(file, contents).map_err(LoadError::Unpack)?;
        }
        let farness = Farness { metric, dim, store, longest };
        // The library panics at files it cannot make sense of.
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            Loaded::try_new(HnswIo::new(folder.path(), NAME), |io| {
                io.load_hnsw_with_dist(farness).map_err(|e| io::Error::other(e.to_string()))
            })
        }));
        let loaded = loaded.map_err(|_| LoadError::Torn(Torn))?.map_err(LoadError::Unpack)?;
        Ok(Self { loaded, twins, longest })
    }

    /// The rows that a beam of `ef` points comes across near a query and that `keep` lets through, in no order; of equal vectors, the
    /// first `k` of these. For cosine the query has unit length.
    pub(crate) fn search(
        &self,
        metric: Metric,
        query: &[f32],
        k: usize,
        ef: usize,
        keep: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>, Torn> {
        let scaled: Vec<f32>;
        let query = if metric == Metric::Dot {
            // The order of the products does not depend on the query's length; `L² − a·b` must not be negative.
            let length = query.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            let scale = if length > 0.0 { f64::from(self.longest).sqrt() / length } else { 0.0 };
            scaled = query.iter().map(|&x| (f64::from(x) * scale) as f32).collect();
            &scaled
        } else {
            query
        };
        let found = self.loaded.with_dependent(|_, graph| graph.search(bytemuck::cast_slice(query), ef, ef));
        let mut rows = Vec::with_capacity(found.len());
        for near in found {
            let (mut row, mut room) = (near.d_id, k);
            while room > 0 {
                if keep(row) {
                    rows.push(row);
                    room -= 1;
                }
                match *self.twins.get(row).ok_or(Torn)? {
                    NONE => break,
                    // Chains ascend.
                    next if (next as usize) <= row || next as usize >= self.twins.len() => return Err(Torn),
                    next => row = next as usize,
                }
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rows` points around `centres` centres, from a fixed generator.
    fn clusters(rows: usize, dim: usize, centres: usize) -> Vec<f32> {
        let value = |i: usize| {
            let scrambled = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let scrambled = (scrambled ^ (scrambled >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (scrambled >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..rows * dim)
            .map(|i| 4.0 * value(1_000_000_000 + (i / dim % centres) * dim + i % dim) + value(i))
            .collect()
    }

    fn part(data: &[f32], dim: usize, metric: Metric, m: usize, ef_construction: usize) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let vectors = Vectors::new(data, dim).unwrap();
        build(vectors, metric, m, ef_construction, folder.path(), &mut |_, _| ()).unwrap().part
    }

    fn load(part: &[u8], data: &[f32], dim: usize, metric: Metric) -> Result<Graph, LoadError> {
        Graph::load(part, data.len() / dim, dim, metric, Store::Memory(data.to_vec()))
    }

    #[test]
    fn every_row_finds_itself_also_among_many_copies() {
        let (rows, dim) = (1_500, 6);
        let mut data = clusters(rows, dim, 30);
        // 500 copies of one vector: many more than a list is long.
        for row in (0..rows).step_by(3) {
            let copy = data[..dim].to_vec();
            data[row * dim..(row + 1) * dim].copy_from_slice(&copy);
        }
        let unit = Vectors::new(&data, dim).unwrap().to_unit_length();
        for (metric, data) in [(Metric::Euclidean, &data), (Metric::Cosine, &unit)] {
            let graph = load(&part(data, dim, metric, 8, 60), data, dim, metric).unwrap();
            let missed = (0..rows).filter(|&row| {
                let query = &data[row * dim..(row + 1) * dim];
                !graph.search(metric, query, rows / 3, 60, |_| true).unwrap().contains(&row)
            });
            assert_eq!(missed.count(), 0, "{metric}");
        }
    }

    #[test]
    fn one_row_and_two_equal_rows_are_graphs_for_vectors_as_short_as_a_row_number() {
        for data in [vec![1.0], vec![1.0, 1.0]] {
            for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
                let graph = load(&part(&data, 1, metric, 4, 10), &data, 1, metric).unwrap();
                let found = graph.search(metric, &[0.0], 5, 5, |_| true).unwrap();
                assert_eq!(found, (0..data.len()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn damage_is_found_before_the_library_sees_it() {
        let data = clusters(40, 3, 4);
        let whole = part(&data, 3, Metric::Euclidean, 4, 10);
        for i in (0..whole.len()).step_by(97) {
            let mut changed = whole.clone();
            changed[i] ^= 0x40;
            assert!(matches!(load(&changed, &data, 3, Metric::Euclidean), Err(LoadError::Checksum)));
        }
        assert!(matches!(load(&whole[..31], &data, 3, Metric::Euclidean), Err(LoadError::Torn(Torn))));
        assert!(matches!(load(&whole[..99], &data, 3, Metric::Euclidean), Err(LoadError::Checksum)));
    }

    #[test]
    fn damaged_vectors_are_far_away_and_never_a_panic() {
        let mut data = clusters(40, 3, 4);
        let whole = part(&data, 3, Metric::Dot, 4, 10);
        data[..60].fill(f32::NAN);
        let graph = load(&whole, &data, 3, Metric::Dot).unwrap();
        assert!(graph.search(Metric::Dot, &[1.0, 2.0, 3.0], 5, 10, |_| true).is_ok());
    }
}
