//! Building the graph, with the same bits on any number of threads.
//!
//! Malkov and Yashunin (2018) insert one point after the other. Here points are inserted in batches: every point of a
//! batch searches the graph as it was before the batch, in parallel, and then all links are made in a fixed order.
//! Batches are a small part of what is already there, so hardly any point misses a neighbour in its own batch. This is
//! the deterministic scheme of Manohar et al., *ParlayANN* (2024). Points are inserted in an order that does not
//! depend on that of the rows, those with the most levels first, so that the entry never moves.
//!
//! The graph is our own because it must be mapped and searched in place, never panic on a damaged file, and repeat bit
//! for bit when built in parallel; the libraries that build one load it whole, trust their files, and let threads race.

use std::collections::HashMap;

use nearkin_sweep::{Metric, Vectors};
use rayon::prelude::*;

use crate::graph::{Graph, NONE, Near, Scratch, Torn};
use crate::index::distance::farness;

/// Rows that a graph can hold: its numbers are 32 bits, and lists above the ground are counted over all rows.
pub(crate) const MOST_ROWS: usize = 1 << 30;
/// A batch is at most this part of the points that are in, and of all points.
const BATCH_OF_DONE: usize = 8;
const BATCH_OF_ALL: usize = 50;
/// Levels are drawn as `⌊−ln u / ln m⌋` from 64 bits, so this is beyond every draw.
const MOST_LEVELS: f64 = 64.0;

/// A graph that owns its arrays; see [`Graph`].
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) m: usize,
    pub(crate) entry: u32,
    pub(crate) ground: Vec<u32>,
    pub(crate) starts: Vec<u32>,
    pub(crate) upper: Vec<u32>,
    pub(crate) twins: Vec<u32>,
}

impl Links {
    pub(crate) fn graph(&self) -> Graph<'_> {
        Graph {
            m: self.m,
            entry: self.entry,
            ground: &self.ground,
            starts: &self.starts,
            upper: &self.upper,
            twins: &self.twins,
        }
    }

    fn most(&self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }

    fn set(&mut self, node: u32, level: usize, links: impl ExactSizeIterator<Item = u32>) {
        let most = self.most(level);
        let slots = if level == 0 {
            &mut self.ground[node as usize * most..][..most]
        } else {
            &mut self.upper[(self.starts[node as usize] as usize + level - 1) * most..][..most]
        };
        slots.fill(NONE);
        slots.iter_mut().zip(links).for_each(|(slot, link)| *slot = link);
    }
}

/// The vectors and what near means among them. For dot products the graph is that of Morozov and Babenko, *Non-metric
/// similarity graphs for maximum inner product search* (2018): the same construction, with the product for a
/// nearness although it is no metric. It finds far more than the usual reduction to distances, which puts all queries
/// far from all vectors.
struct Space<'a> {
    vectors: Vectors<'a>,
    metric: Metric,
}

impl Space<'_> {
    fn distance(&self, a: u32, b: u32) -> f32 {
        farness(self.metric, self.vectors.row(a as usize), self.vectors.row(b as usize))
    }

    /// At most `most` of these neighbours of a point, nearest first, without those that lie nearer to one already
    /// taken than to the point (algorithm 4, without its two extensions).
    fn select(&self, candidates: &[Near], most: usize) -> Vec<Near> {
        let mut taken: Vec<Near> = Vec::with_capacity(most);
        for &candidate in candidates {
            if taken.len() == most {
                break;
            }
            if taken.iter().all(|near| self.distance(near.node, candidate.node) >= candidate.distance) {
                taken.push(candidate);
            }
        }
        taken
    }
}

/// A bijection of 64-bit numbers that looks random (the finaliser of SplitMix64): levels and order are functions of
/// the row alone.
fn scramble(row: u32) -> u64 {
    let mut x = u64::from(row).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Levels above the ground, exponentially distributed (algorithm 1, line 4, with `mL = 1 / ln m`).
fn draw_level(row: u32, m: usize) -> u32 {
    let uniform = (scramble(row) as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    (-uniform.ln() / (m as f64).ln()).min(MOST_LEVELS) as u32
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

/// Builds the graph of at most [`MOST_ROWS`] vectors, at least one, of unit length for cosine. `progress` hears how many of how many rows are in.
pub(crate) fn build(
    vectors: Vectors<'_>,
    metric: Metric,
    m: usize,
    ef_construction: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Links {
    let (mut order, twins) = chain_twins(vectors);
    let mut levels = vec![0; vectors.len()];
    order.iter().for_each(|&row| levels[row as usize] = draw_level(row, m));
    order.sort_unstable_by_key(|&row| (std::cmp::Reverse(levels[row as usize]), scramble(row)));
    let mut starts = vec![0];
    let mut lists = 0;
    starts.extend(levels.iter().map(|level| {
        lists += level;
        lists
    }));
    let mut links = Links {
        m,
        entry: order[0],
        ground: vec![NONE; vectors.len() * 2 * m],
        starts,
        upper: vec![NONE; lists as usize * m],
        twins,
    };

    let space = Space { vectors, metric };
    let mut done = 1;
    progress(done, order.len());
    while done < order.len() {
        let size = (done / BATCH_OF_DONE).min(order.len() / BATCH_OF_ALL).max(1);
        let batch = &order[done..order.len().min(done + size)];
        insert(&space, &mut links, batch, ef_construction).expect("links made here lead to rows");
        done += batch.len();
        progress(done, order.len());
    }
    links
}

/// A new link back to a point that was already in.
struct Back {
    target: u32,
    level: usize,
    source: Near,
}

fn insert(space: &Space<'_>, links: &mut Links, batch: &[u32], ef_construction: usize) -> Result<(), Torn> {
    let graph = links.graph();
    // Neighbours of each point on each of its levels, from its highest down.
    let chosen: Vec<Vec<Vec<Near>>> = batch
        .par_iter()
        .map_init(
            || Scratch::new(graph.twins.len()),
            |scratch, &point| {
                let distance = |other| space.distance(point, other);
                let top = graph.level(point)?;
                let mut from = graph.descend(top, &distance, scratch)?;
                (0..=top)
                    .rev()
                    .map(|level| {
                        from = graph.search_level(level, &from, ef_construction, &distance, scratch)?;
                        Ok(space.select(&from, links.m))
                    })
                    .collect()
            },
        )
        .collect::<Result<_, Torn>>()?;

    let mut backs = Vec::new();
    for (&point, chosen) in batch.iter().zip(&chosen) {
        for (level, near) in chosen.iter().rev().enumerate() {
            links.set(point, level, near.iter().map(|near| near.node));
            backs.extend(near.iter().map(|near| Back {
                target: near.node,
                level,
                source: Near { distance: near.distance, node: point },
            }));
        }
    }
    backs.sort_unstable_by_key(|back| (back.target, back.level, back.source.node));
    let graph = links.graph();
    let groups: Vec<&[Back]> = backs.chunk_by(|a, b| (a.target, a.level) == (b.target, b.level)).collect();
    let merged: Vec<Vec<u32>> = groups
        .par_iter()
        .map(|group| {
            let (target, level) = (group[0].target, group[0].level);
            let old = graph.links(target, level)?;
            if old.len() + group.len() <= links.most(level) {
                return Ok(old.iter().copied().chain(group.iter().map(|back| back.source.node)).collect());
            }
            let mut all: Vec<Near> =
                old.iter().map(|&node| Near { distance: space.distance(target, node), node }).collect();
            all.extend(group.iter().map(|back| back.source));
            all.sort_unstable();
            Ok(space.select(&all, links.most(level)).into_iter().map(|near| near.node).collect())
        })
        .collect::<Result<_, Torn>>()?;
    for (group, merged) in groups.iter().zip(merged) {
        links.set(group[0].target, group[0].level, merged.into_iter());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::unit_length;

    /// `rows` points around `centres` centres, from a fixed generator.
    fn clusters(rows: usize, dim: usize, centres: usize) -> Vec<f32> {
        let value = |i: usize| (scramble(i as u32) >> 40) as f32 / (1 << 24) as f32 - 0.5;
        (0..rows * dim)
            .map(|i| 4.0 * value(1_000_000_000 + (i / dim % centres) * dim + i % dim) + value(i))
            .collect()
    }

    #[test]
    fn a_build_has_the_same_bits_on_any_number_of_threads() {
        let data = clusters(1_500, 8, 20);
        let vectors = Vectors::new(&data, 8).unwrap();
        let build_on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let links = pool.install(|| build(vectors, Metric::Euclidean, 8, 40, &mut |_, _| ()));
            (links.ground, links.starts, links.upper, links.entry)
        };
        assert!(build_on(1) == build_on(3));
    }

    #[test]
    fn every_row_finds_itself_also_among_many_copies() {
        let (rows, dim) = (3_000, 6);
        let mut data = clusters(rows, dim, 30);
        // 1 000 copies of one vector: many more than a list is long.
        for row in (0..rows).step_by(3) {
            let copy = data[..dim].to_vec();
            data[row * dim..(row + 1) * dim].copy_from_slice(&copy);
        }
        let unit = unit_length(Vectors::new(&data, dim).unwrap());
        for (metric, data) in [(Metric::Euclidean, &data), (Metric::Cosine, &unit)] {
            let space = Space { vectors: Vectors::new(data, dim).unwrap(), metric };
            let links = build(space.vectors, metric, 8, 60, &mut |_, _| ());
            let mut scratch = Scratch::new(rows);
            let mut missed = 0;
            for row in 0..rows as u32 {
                let distance = |other| space.distance(row, other);
                let found = links.graph().search(rows / 3 + 1, 60, &distance, &mut scratch);
                missed += usize::from(!found.unwrap().contains(&row));
            }
            assert_eq!(missed, 0, "{metric}");
        }
    }

    #[test]
    fn levels_thin_out_by_m() {
        let on_level = |level| (0..100_000).filter(|&row| draw_level(row, 16) >= level).count() as f64;
        assert!((on_level(1) / 100_000.0 - 1.0 / 16.0).abs() < 0.004);
        assert!((on_level(2) / on_level(1) - 1.0 / 16.0).abs() < 0.02);
    }

    #[test]
    fn one_row_and_two_equal_rows_are_graphs() {
        for data in [vec![1.0, 2.0], vec![1.0, 2.0, 1.0, 2.0]] {
            let vectors = Vectors::new(&data, 2).unwrap();
            let links = build(vectors, Metric::Cosine, 4, 10, &mut |_, _| ());
            let found = links.graph().search(5, 5, &|_| 0.0, &mut Scratch::new(vectors.len())).unwrap();
            assert_eq!(found, (0..vectors.len() as u32).collect::<Vec<_>>());
        }
    }
}
