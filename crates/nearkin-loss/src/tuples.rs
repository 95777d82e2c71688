//! Pairs and triplets that a miner picked.

use nearkin_sweep::{Listed, Lists};

use crate::loss::{LossError, Sides};

/// Pairs of an anchor and another.
pub type Pairs = Vec<(u32, u32)>;

/// What a miner picks: pairs of kin and of strangers, or triplets of an anchor, a kin and a stranger.
///
/// The first of a pair or triplet is a query, the others are references (of the same set, if there is only one). Tuples may
/// repeat: a loss that sums over tuples then counts them as often.
#[derive(Debug, Clone, PartialEq)]
pub enum Tuples {
    /// Pairs `(anchor, other)`.
    Pairs {
        /// Those to pull together.
        kin: Vec<(u32, u32)>,
        /// Those to push apart.
        strangers: Vec<(u32, u32)>,
    },
    /// Triplets `[anchor, kin, stranger]`.
    Triplets(Vec<[u32; 3]>),
}

impl Tuples {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Tuples::Pairs { kin, strangers } => kin.len() + strangers.len(),
            Tuples::Triplets(triplets) => triplets.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As pairs: a triplet becomes the pair of its kin and that of its stranger.
    pub fn pairs(&self) -> (Pairs, Pairs) {
        match self {
            Tuples::Pairs { kin, strangers } => (kin.clone(), strangers.clone()),
            Tuples::Triplets(triplets) => {
                triplets.iter().map(|&[anchor, kin, stranger]| ((anchor, kin), (anchor, stranger))).unzip()
            }
        }
    }

    /// The kin relation of these pairs and no others; a pair counts as often as it is named.
    ///
    /// # Errors
    /// When a tuple names a vector that does not exist.
    pub fn as_kin(&self, sides: &Sides<'_>) -> Result<Listed, LossError> {
        let (kin, strangers) = self.pairs();
        let (n, m) = (sides.queries.len(), sides.others().len());
        if let Some(&(_, reference)) = kin.iter().chain(&strangers).find(|(_, r)| *r as usize >= m) {
            return Err(LossError::undefined(
                "a mined tuple",
                format!("it names reference {reference}, but there are {m}, counted from 0"),
            ));
        }
        let lists = |pairs: Vec<(u32, u32)>| Lists::new(n, pairs.into_iter().map(|(q, r)| (q, r, 1.0)));
        let labels: Option<Vec<u32>> = (0..n).map(|i| sides.kin.label(i)).collect();
        Ok(Listed { kin: lists(kin)?, strangers: lists(strangers)?, labels })
    }

    /// As triplets: of pairs, every kin of an anchor with every stranger of that anchor.
    pub fn triplets(&self) -> Vec<[u32; 3]> {
        match self {
            Tuples::Triplets(triplets) => triplets.clone(),
            Tuples::Pairs { kin, strangers } => {
                let mut of_anchor: Vec<(u32, u32)> = strangers.clone();
                of_anchor.sort_by_key(|&(anchor, _)| anchor);
                let strangers_of = |anchor: u32| {
                    let from = of_anchor.partition_point(|&(a, _)| a < anchor);
                    of_anchor[from..].iter().take_while(move |&&(a, _)| a == anchor).map(|&(_, n)| n)
                };
                kin.iter().flat_map(|&(a, p)| strangers_of(a).map(move |n| [a, p, n])).collect()
            }
        }
    }

    /// How often each vector of the one set occurs in the tuples, over the most that any does: the weight of each sample
    /// for losses of samples and classes. 1 for all when there is no tuple. With `anchors_only`, as it must be between two
    /// sets, only a tuple's anchors count.
    pub fn sample_weights(&self, samples: usize, anchors_only: bool) -> Vec<f32> {
        if self.is_empty() {
            return vec![1.0; samples];
        }
        let mut counts = vec![0u32; samples];
        let mut count = |i: u32| {
            if let Some(count) = counts.get_mut(i as usize) {
                *count += 1;
            }
        };
        match self {
            Tuples::Pairs { kin, strangers } => {
                for &(anchor, other) in kin.iter().chain(strangers) {
                    count(anchor);
                    if !anchors_only {
                        count(other);
                    }
                }
            }
            Tuples::Triplets(triplets) => {
                for triplet in triplets {
                    triplet.iter().take(if anchors_only { 1 } else { 3 }).for_each(|&i| count(i));
                }
            }
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        counts.into_iter().map(|c| c as f32 / most as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Tuples {
        Tuples::Pairs { kin: vec![(0, 1), (2, 3), (0, 4)], strangers: vec![(0, 5), (2, 6), (0, 7)] }
    }

    #[test]
    fn pairs_of_one_anchor_make_triplets_and_triplets_make_pairs() {
        let triplets = pairs().triplets();
        assert_eq!(triplets, [[0, 1, 5], [0, 1, 7], [2, 3, 6], [0, 4, 5], [0, 4, 7]]);
        let (kin, strangers) = Tuples::Triplets(triplets).pairs();
        assert_eq!(kin, [(0, 1), (0, 1), (2, 3), (0, 4), (0, 4)]);
        assert_eq!(strangers, [(0, 5), (0, 7), (2, 6), (0, 5), (0, 7)]);
    }

    #[test]
    fn samples_weigh_as_often_as_they_occur() {
        assert_eq!(pairs().sample_weights(4, true), [1.0, 0.0, 0.5, 0.0]);
        assert_eq!(pairs().sample_weights(9, false), [1.0, 0.25, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.0]);
        assert_eq!(Tuples::Triplets(vec![]).sample_weights(2, true), [1.0, 1.0]);
    }
}
