//! Which classes make up which batch, so that each gets rid of all its groups of samples.

use std::collections::BinaryHeap;

use rand::Rng;

use crate::random::{below, shuffle};

/// No preference: chance decides.
pub(super) fn by_chance(_chosen: &[usize], _open: &dyn Fn(usize) -> bool) -> Option<usize> {
    None
}

/// The batches that it takes to place all groups, `p` of different classes in each.
pub(super) fn batches_for(groups: impl Iterator<Item = usize>, p: usize) -> usize {
    let (mut total, mut largest): (usize, usize) = (0, 0);
    for groups in groups {
        total += groups;
        largest = largest.max(groups);
    }
    total.div_ceil(p).max(largest)
}

/// Chooses the classes of batch after batch, at random in proportion to the groups they have left.
///
/// A class with as many groups left as there are batches left must be in every one of them. Taking
/// those first keeps, from batch to batch, the two facts that make the plan possible: no class has
/// more groups left than there are batches, and all groups left fit.
pub(super) struct Plan {
    left: Vec<usize>,
    /// Sums of `left`, for drawing in proportion to it.
    weights: Fenwick,
    /// (groups left, class) of every class with groups left; entries may be out of date.
    fullest: BinaryHeap<(usize, usize)>,
}

impl Plan {
    /// From the groups that each class has.
    pub(super) fn new(left: Vec<usize>) -> Self {
        let mut weights = Fenwick::new(left.len());
        for (class, &groups) in left.iter().enumerate() {
            weights.add(class, groups);
        }
        let fullest = left.iter().enumerate().map(|(c, &g)| (g, c)).collect();
        Self { left, weights, fullest }
    }

    /// The `p` classes of the next batch, of `batches_left` with this one. Where there is a choice, `prefer` is asked first: given
    /// the classes chosen so far and which others may be chosen, it names one of these, or leaves it to chance.
    pub(super) fn next(
        &mut self,
        p: usize,
        batches_left: usize,
        rng: &mut impl Rng,
        prefer: &impl Fn(&[usize], &dyn Fn(usize) -> bool) -> Option<usize>,
    ) -> Vec<usize> {
        let mut chosen = Vec::with_capacity(p);
        while let Some(&(groups, class)) = self.fullest.peek() {
            let stale = self.left[class] != groups;
            if !stale && (groups < batches_left || chosen.len() == p) {
                break;
            }
            self.fullest.pop();
            if !stale {
                self.choose(class, &mut chosen);
            }
        }
        while chosen.len() < p && self.weights.total() > 0 {
            let preferred = prefer(&chosen, &|class| self.left[class] > 0 && !chosen.contains(&class));
            let class = preferred.unwrap_or_else(|| self.weights.find(below(rng, self.weights.total())));
            self.choose(class, &mut chosen);
        }
        // No groups left elsewhere: classes that are through come again.
        while chosen.len() < p {
            let preferred = prefer(&chosen, &|class| !chosen.contains(&class));
            let class = preferred.unwrap_or_else(|| below(rng, self.left.len()));
            if !chosen.contains(&class) {
                chosen.push(class);
            }
        }
        // Only now, so that no class was drawn twice.
        for &class in &chosen {
            if self.left[class] > 0 {
                self.left[class] -= 1;
                self.weights.add(class, self.left[class]);
                self.fullest.push((self.left[class], class));
            }
        }
        shuffle(rng, &mut chosen);
        chosen
    }

    fn choose(&mut self, class: usize, chosen: &mut Vec<usize>) {
        self.weights.remove(class, self.left[class]);
        chosen.push(class);
    }
}

/// A Fenwick tree of counts: add, remove and find by running sum, each in O(log n).
struct Fenwick {
    sums: Vec<usize>,
    total: usize,
}

impl Fenwick {
    fn new(len: usize) -> Self {
        Self { sums: vec![0; len + 1], total: 0 }
    }

    fn total(&self) -> usize {
        self.total
    }

    fn add(&mut self, index: usize, count: usize) {
        self.total += count;
        let mut at = index + 1;
        while at < self.sums.len() {
            self.sums[at] += count;
            at += at & at.wrapping_neg();
        }
    }

    fn remove(&mut self, index: usize, count: usize) {
        self.total -= count;
        let mut at = index + 1;
        while at < self.sums.len() {
            self.sums[at] -= count;
            at += at & at.wrapping_neg();
        }
    }

    /// The index whose share of the running sum contains `position`, which is below the total.
    fn find(&self, mut position: usize) -> usize {
        let mut at = 0;
        let mut step = self.sums.len().next_power_of_two() / 2;
        while step > 0 {
            if let Some(&sum) = self.sums.get(at + step)
                && sum <= position
            {
                position -= sum;
                at += step;
            }
            step /= 2;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fenwick_finds_the_class_of_every_position() {
        let counts = [3, 0, 2, 1, 0, 4];
        let mut tree = Fenwick::new(counts.len());
        for (i, &count) in counts.iter().enumerate() {
            tree.add(i, count);
        }
        let found: Vec<usize> = (0..tree.total()).map(|at| tree.find(at)).collect();
        assert_eq!(found, [0, 0, 0, 2, 2, 3, 5, 5, 5, 5]);
    }
}
