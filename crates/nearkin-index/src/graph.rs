//! A navigable small-world graph in flat arrays, as it lies in a file, and the search through it.
//!
//! Malkov and Yashunin, *Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
//! World graphs* (2018), algorithms 2 and 5.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Fills the slots of a list after its last link.
pub(crate) const NONE: u32 = u32::MAX;

/// A node at its distance from the query; ties go to the lowest node, so that searches repeat bit for bit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Near {
    pub(crate) distance: f32,
    pub(crate) node: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.node.cmp(&other.node))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A graph holds a number that points outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn;

/// A graph over rows `0..rows`. Its numbers may come from a damaged file, so every one is checked on use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Graph<'a> {
    /// Links a node has on each level above the ground; twice as many on the ground.
    pub(crate) m: usize,
    /// Where every search starts; it is on every level.
    pub(crate) entry: u32,
    /// `rows × 2m` links of level 0.
    pub(crate) ground: &'a [u32],
    /// `rows + 1` numbers: node `i` has lists `starts[i]..starts[i + 1]` of `upper`, one a level from level 1.
    pub(crate) starts: &'a [u32],
    /// Lists of `m` links.
    pub(crate) upper: &'a [u32],
    /// The next row with the same vector. Only the first row of such a chain has links: with more copies than a list
    /// is long, the copies would link to each other alone and cut themselves off.
    pub(crate) twins: &'a [u32],
}

/// What a search needs and can use again.
#[derive(Debug)]
pub(crate) struct Scratch {
    seen: Vec<u64>,
    touched: Vec<usize>,
    frontier: BinaryHeap<Reverse<Near>>,
    nearest: BinaryHeap<Near>,
}

impl Scratch {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            seen: vec![0; rows.div_ceil(64)],
            touched: Vec::new(),
            frontier: BinaryHeap::new(),
            nearest: BinaryHeap::new(),
        }
    }

    fn clear(&mut self) {
        self.touched.drain(..).for_each(|word| self.seen[word] = 0);
        self.frontier.clear();
        self.nearest.clear();
    }

    /// Marks a node, and says whether it was new.
    fn see(&mut self, node: u32) -> bool {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        if self.seen[word] == 0 {
            self.touched.push(word);
        }
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

impl<'a> Graph<'a> {
    fn rows(&self) -> usize {
        self.twins.len()
    }

    /// Levels above the ground that a node is on.
    pub(crate) fn level(&self, node: u32) -> Result<usize, Torn> {
        let node = node as usize;
        let (start, end) = (self.starts.get(node).ok_or(Torn)?, self.starts.get(node + 1).ok_or(Torn)?);
        Ok(end.checked_sub(*start).ok_or(Torn)? as usize)
    }

    /// The links of a node on a level.
    pub(crate) fn links(&self, node: u32, level: usize) -> Result<&'a [u32], Torn> {
        let node = node as usize;
        let slots = if level == 0 {
            self.ground.chunks_exact(2 * self.m).nth(node)
        } else {
            let (start, end) = (self.starts.get(node).ok_or(Torn)?, self.starts.get(node + 1).ok_or(Torn)?);
            let list =
                (*start as usize).checked_add(level - 1).filter(|&list| list < *end as usize).ok_or(Torn)?;
            self.upper.chunks_exact(self.m).nth(list)
        };
        let slots = slots.ok_or(Torn)?;
        Ok(&slots[..slots.iter().position(|&link| link == NONE).unwrap_or(slots.len())])
    }

    /// The `ef` nearest nodes of a level that a walk from `from` finds, nearest first (algorithm 2).
    pub(crate) fn search_level(
        &self,
        level: usize,
        from: &[Near],
        ef: usize,
        distance: &impl Fn(u32) -> f32,
        scratch: &mut Scratch,
    ) -> Result<Vec<Near>, Torn> {
        scratch.clear();
        for &near in from {
            scratch.see(near.node);
            scratch.frontier.push(Reverse(near));
            scratch.nearest.push(near);
        }
        while let Some(Reverse(closest)) = scratch.frontier.pop() {
            let full = scratch.nearest.len() >= ef;
            if full && scratch.nearest.peek().is_some_and(|farthest| closest > *farthest) {
                break;
            }
            for &link in self.links(closest.node, level)? {
                if link as usize >= self.rows() {
                    return Err(Torn);
                }
                if !scratch.see(link) {
                    continue;
                }
                let near = Near { distance: distance(link), node: link };
                if scratch.nearest.len() < ef
                    || scratch.nearest.peek().is_some_and(|farthest| near < *farthest)
                {
                    scratch.frontier.push(Reverse(near));
                    scratch.nearest.push(near);
                    if scratch.nearest.len() > ef {
                        scratch.nearest.pop();
                    }
                }
            }
        }
        let mut nearest: Vec<Near> = scratch.nearest.drain().collect();
        nearest.sort_unstable();
        Ok(nearest)
    }

    /// The node where a search of `level` starts: the end of a greedy walk down from the entry.
    pub(crate) fn descend(
        &self,
        level: usize,
        distance: &impl Fn(u32) -> f32,
        scratch: &mut Scratch,
    ) -> Result<Vec<Near>, Torn> {
        if self.entry as usize >= self.rows() {
            return Err(Torn);
        }
        let mut nearest = vec![Near { distance: distance(self.entry), node: self.entry }];
        for level in (level + 1..=self.level(self.entry)?).rev() {
            nearest = self.search_level(level, &nearest, 1, distance, scratch)?;
        }
        Ok(nearest)
    }

    /// The `k` nearest rows of a query, nearest first, found by a beam of `ef` nodes on the ground (algorithm 5).
    pub(crate) fn search(
        &self,
        k: usize,
        ef: usize,
        distance: &impl Fn(u32) -> f32,
        scratch: &mut Scratch,
    ) -> Result<Vec<u32>, Torn> {
        let start = self.descend(0, distance, scratch)?;
        let mut rows = Vec::with_capacity(k);
        for near in self.search_level(0, &start, ef.max(k), distance, scratch)? {
            let mut row = near.node;
            while row != NONE && rows.len() < k {
                rows.push(row);
                let next = *self.twins.get(row as usize).ok_or(Torn)?;
                // Chains ascend, so a damaged one cannot turn in a circle.
                if next <= row {
                    return Err(Torn);
                }
                row = next;
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Graph<'_> = Graph {
        m: 1,
        entry: 0,
        // 0 – 1 – 2, and row 3 is a copy of row 1.
        ground: &[1, NONE, 0, 2, 1, NONE, NONE, NONE],
        starts: &[0, 1, 1, 2, 2],
        upper: &[2, 0],
        twins: &[NONE, 3, NONE, NONE],
    };

    fn at(position: f32) -> impl Fn(u32) -> f32 {
        move |node| (position - [0.0, 1.0, 2.0, 1.0][node as usize]).abs()
    }

    #[test]
    fn copies_of_a_vector_are_found_through_the_first() {
        let mut scratch = Scratch::new(4);
        assert_eq!(LINE.search(3, 3, &at(1.9), &mut scratch), Ok(vec![2, 1, 3]));
        assert_eq!(LINE.search(4, 4, &at(-1.0), &mut scratch), Ok(vec![0, 1, 3, 2]));
        assert_eq!(LINE.search(2, 1, &at(1.1), &mut scratch), Ok(vec![1, 3]));
    }

    #[test]
    fn numbers_that_point_outside_are_torn_and_never_panic() {
        let mut scratch = Scratch::new(4);
        let torn = [
            Graph { entry: 9, ..LINE },
            Graph { ground: &[7, NONE, 0, 2, 1, NONE, NONE, NONE], ..LINE },
            Graph { ground: &[1, NONE], ..LINE },
            Graph { starts: &[5, 1, 1, 2, 2], ..LINE },
            Graph { upper: &[1, 0], ..LINE },
            Graph { upper: &[], ..LINE },
            Graph { twins: &[NONE, 1, NONE, NONE], ..LINE },
            Graph { twins: &[NONE, 8, NONE, NONE], ..LINE },
        ];
        for graph in torn {
            assert_eq!(graph.search(4, 4, &at(1.0), &mut scratch), Err(Torn), "{graph:?}");
        }
    }
}
