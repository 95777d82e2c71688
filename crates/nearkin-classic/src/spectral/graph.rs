//! The graph of nearest neighbours that the methods of manifolds start from.
//!
//! ```
//! use nearkin_classic::spectral::NeighborGraph;
//! use nearkin_sweep::Vectors;
//!
//! let points = [0.0, 1.0, 2.0, 50.0, 51.0];
//! let graph = NeighborGraph::symmetric(Vectors::new(&points, 1)?, 1)?;
//! assert_eq!(graph.pieces(), [3, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::HashMap;

use nearkin_sweep::{Metric, Neighbor, Vectors, top_k};

use crate::error::ClassicError;
use crate::input::check_finite;

/// Each point's nearest others by Euclidean distance, as the rows of a sparse matrix of distances.
///
/// Source: [`nearkin_sweep::top_k`], so ties go to the point of lowest index. Cost: `n² d / 2` multiplications; memory: two numbers
/// an edge, and the sweep's tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct NeighborGraph {
    neighbors: usize,
    starts: Vec<usize>,
    columns: Vec<u32>,
    distances: Vec<f32>,
}

impl NeighborGraph {
    /// An edge from each point to each of its `neighbors` nearest others.
    ///
    /// # Errors
    /// When a value is not finite or distances leave the range of f32, or `neighbors` is not between 1 and the number of points less 1.
    pub fn directed(points: Vectors<'_>, neighbors: usize) -> Result<Self, ClassicError> {
        check_finite(points)?;
        if neighbors == 0 || neighbors >= points.len() {
            return Err(ClassicError::Neighbors { found: neighbors, samples: points.len() });
        }
        Ok(Self::from_rows(neighbors, nearest(points, points, neighbors, true)?))
    }

    /// The same with each edge both ways: two points are joined if either is among the other's nearest.
    ///
    /// # Errors
    /// As [`directed`](Self::directed).
    pub fn symmetric(points: Vectors<'_>, neighbors: usize) -> Result<Self, ClassicError> {
        let directed = Self::directed(points, neighbors)?;
        let mut rows = vec![Vec::with_capacity(2 * neighbors); directed.len()];
        for i in 0..directed.len() {
            for (j, distance) in directed.edges(i) {
                rows[i].push(Neighbor { index: j, score: distance });
                rows[j].push(Neighbor { index: i, score: distance });
            }
        }
        for row in &mut rows {
            // The two ways of an edge may differ in their last bit: the shorter stays, on both.
            row.sort_by(|a, b| a.index.cmp(&b.index).then(a.score.total_cmp(&b.score)));
            row.dedup_by_key(|neighbor| neighbor.index);
        }
        Ok(Self::from_rows(neighbors, rows))
    }

    fn from_rows(neighbors: usize, rows: Vec<Vec<Neighbor>>) -> Self {
        let mut graph = Self { neighbors, starts: vec![0], columns: Vec::new(), distances: Vec::new() };
        for row in rows {
            graph.columns.extend(row.iter().map(|neighbor| neighbor.index as u32));
            graph.distances.extend(row.iter().map(|neighbor| neighbor.score));
            graph.starts.push(graph.columns.len());
        }
        graph
    }

    /// Points.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The neighbours of point `i` and their distances: nearest first in a directed graph, by index in a symmetric one.
    ///
    /// # Panics
    /// When `i` is not below [`len`](Self::len).
    pub fn edges(&self, i: usize) -> impl ExactSizeIterator<Item = (usize, f32)> {
        let range = self.starts[i]..self.starts[i + 1];
        self.columns[range.clone()].iter().map(|&j| j as usize).zip(self.distances[range].iter().copied())
    }

    /// Distances of all edges.
    pub(crate) fn distances(&self) -> &[f32] {
        &self.distances
    }

    /// The sizes of the connected pieces, largest first; edges count both ways.
    pub fn pieces(&self) -> Vec<usize> {
        fn root(parents: &mut [usize], mut i: usize) -> usize {
            while parents[i] != i {
                parents[i] = parents[parents[i]];
                i = parents[i];
            }
            i
        }
        let mut parents: Vec<usize> = (0..self.len()).collect();
        for i in 0..self.len() {
            for (j, _) in self.edges(i) {
                let (a, b) = (root(&mut parents, i), root(&mut parents, j));
                parents[a.max(b)] = a.min(b);
            }
        }
        let mut sizes = vec![0; self.len()];
        (0..self.len()).for_each(|i| sizes[root(&mut parents, i)] += 1);
        sizes.retain(|&size| size > 0);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    /// The sizes of the closed groups, largest first: strongly connected groups of points that no edge leaves. One in a symmetric
    /// graph's piece, at least one in a directed one's.
    pub(crate) fn closed_groups(&self) -> Vec<usize> {
        // R. Tarjan, "Depth-first search and linear graph algorithms", 1972, with a stack of its own for the recursion.
        const NEW: usize = usize::MAX;
        let n = self.len();
        let (mut order, mut low, mut group) = (vec![NEW; n], vec![NEW; n], vec![NEW; n]);
        let (mut waiting, mut sizes, mut visited) = (Vec::new(), Vec::new(), 0);
        for start in 0..n {
            if order[start] != NEW {
                continue;
            }
            let mut path = vec![(start, self.starts[start])];
            while let Some((i, edge)) = path.pop() {
                if edge == self.starts[i] {
                    (order[i], low[i]) = (visited, visited);
                    visited += 1;
                    waiting.push(i);
                }
                if edge < self.starts[i + 1] {
                    path.push((i, edge + 1));
                    let j = self.columns[edge] as usize;
                    if order[j] == NEW {
                        path.push((j, self.starts[j]));
                    } else if group[j] == NEW {
                        low[i] = low[i].min(order[j]);
                    }
                    continue;
                }
                if let Some(&(parent, _)) = path.last() {
                    low[parent] = low[parent].min(low[i]);
                }
                if low[i] == order[i] {
                    let first = waiting.iter().rposition(|&j| j == i).unwrap_or(0);
                    waiting[first..].iter().for_each(|&j| group[j] = sizes.len());
                    sizes.push(waiting.len() - first);
                    waiting.truncate(first);
                }
            }
        }
        for i in 0..n {
            if self.edges(i).any(|(j, _)| group[j] != group[i]) {
                sizes[group[i]] = 0;
            }
        }
        sizes.retain(|&size| size > 0);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes
    }

    /// # Errors
    /// When the graph is in several pieces.
    pub(crate) fn require_whole(&self) -> Result<(), ClassicError> {
        let pieces = self.pieces();
        if pieces.len() > 1 {
            return Err(ClassicError::Pieces { neighbors: self.neighbors, pieces });
        }
        Ok(())
    }

    /// # Errors
    /// When the graph is in several pieces, or holds several closed groups.
    pub(crate) fn require_one_closed_group(&self) -> Result<(), ClassicError> {
        self.require_whole()?;
        let groups = self.closed_groups();
        if groups.len() > 1 {
            return Err(ClassicError::ClosedGroups { neighbors: self.neighbors, groups });
        }
        Ok(())
    }
}

/// The nearest references of each query by Euclidean distance, as [`top_k`] finds them.
///
/// # Errors
/// When a query's distances leave the range of f32.
pub(crate) fn nearest(
    queries: Vectors<'_>,
    references: Vectors<'_>,
    count: usize,
    exclude_self: bool,
) -> Result<Vec<Vec<Neighbor>>, ClassicError> {
    let found = top_k(queries, references, Metric::Euclidean, count, exclude_self)?;
    // A distance that is not a number makes no neighbour.
    let torn = |near: &Vec<Neighbor>| near.len() < count || near.iter().any(|near| !near.score.is_finite());
    match found.iter().position(torn) {
        None => Ok(found),
        Some(sample) => Err(ClassicError::OutOfRange { sample }),
    }
}

/// The first of each group of equal points, ascending, and for each point the place of its first among these.
pub(crate) fn distinct(points: Vectors<'_>) -> (Vec<usize>, Vec<usize>) {
    let mut firsts = Vec::new();
    let mut places = HashMap::new();
    let mut place = |i| {
        // Adding 0 makes 0 of −0, which is as near.
        let bits: Vec<u32> = points.row(i).iter().map(|x| (x + 0.0).to_bits()).collect();
        *places.entry(bits).or_insert_with(|| {
            firsts.push(i);
            firsts.len() - 1
        })
    };
    let place_of = (0..points.len()).map(&mut place).collect();
    (firsts, place_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_graph_both_ways() {
        // 0, 1, 3 and 7 on a line: each has its left one nearest, but for the first.
        let points = [0.0, 1.0, 3.0, 7.0];
        let v = Vectors::new(&points, 1).unwrap();
        let directed = NeighborGraph::directed(v, 1).unwrap();
        let edges = |graph: &NeighborGraph, i| graph.edges(i).collect::<Vec<_>>();
        assert_eq!(
            (0..4).map(|i| edges(&directed, i)[0]).collect::<Vec<_>>(),
            [(1, 1.0), (0, 1.0), (1, 2.0), (2, 4.0)]
        );
        let symmetric = NeighborGraph::symmetric(v, 1).unwrap();
        assert_eq!(edges(&symmetric, 1), [(0, 1.0), (2, 2.0)]);
        assert_eq!(edges(&symmetric, 2), [(1, 2.0), (3, 4.0)]);
        assert_eq!(symmetric.pieces(), [4]);
    }

    #[test]
    fn a_graph_in_pieces_is_refused_with_their_sizes_and_advice() {
        let points = [0.0, 1.0, 2.0, 100.0, 101.0];
        let graph = NeighborGraph::symmetric(Vectors::new(&points, 1).unwrap(), 1).unwrap();
        assert_eq!(graph.pieces(), [3, 2]);
        let message = graph.require_whole().unwrap_err().to_string();
        assert!(message.contains("2 pieces, of 3, 2 samples") && message.contains("raise"), "{message}");
    }

    #[test]
    fn copies_of_a_point_are_one() {
        let points = [0.0, 1.0, 2.0, 2.0, -0.0, 1.0, 5.0, 5.0];
        let (firsts, place_of) = distinct(Vectors::new(&points, 2).unwrap());
        assert_eq!((firsts, place_of), (vec![0, 1, 3], vec![0, 1, 0, 2]));
    }

    #[test]
    fn closed_groups_are_those_that_no_edge_leaves() {
        // Two tight pairs, a triple, and a point between them whose nearest is in the triple.
        let points = [0.0, 1.0, 40.0, 41.0, 20.0, 21.0, 22.5, 25.0];
        let v = Vectors::new(&points, 1).unwrap();
        let graph = NeighborGraph::directed(v, 1).unwrap();
        assert_eq!(graph.closed_groups(), [2, 2, 2]);
        let graph = NeighborGraph::directed(v, 2).unwrap();
        assert_eq!(graph.closed_groups(), [3]);
        assert!(graph.require_one_closed_group().is_ok());
    }

    #[test]
    fn bad_input_is_refused() {
        let with_nan = [0.0, 1.0, f32::NAN, 3.0];
        let error = NeighborGraph::directed(Vectors::new(&with_nan, 2).unwrap(), 1).unwrap_err();
        assert!(error.to_string().contains("sample 1 holds NaN in column 0"), "{error}");
        let large = [1e20, 2e20, 3e20];
        let error = NeighborGraph::directed(Vectors::new(&large, 1).unwrap(), 1).unwrap_err();
        assert_eq!(error, ClassicError::OutOfRange { sample: 0 });
        let points = [0.0, 1.0, 2.0];
        for k in [0, 3] {
            let error = NeighborGraph::directed(Vectors::new(&points, 1).unwrap(), k).unwrap_err();
            assert_eq!(error, ClassicError::Neighbors { found: k, samples: 3 });
        }
    }
}
