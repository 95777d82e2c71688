//! At most so many tuples.

use super::Miner;
use crate::loss::{LossError, Sides};
use crate::random::Stream;
use crate::tuples::Tuples;

/// At most `per_anchor` tuples an anchor, drawn evenly. What is drawn hangs on seed and anchor alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The most that an anchor gives: triplets, or pairs of kin and as many of strangers.
    pub per_anchor: usize,
    /// Draws differ between seeds; give each step its own.
    pub seed: u64,
}

impl Cap {
    /// Which of an anchor's `count` tuples stay, in ascending order; all without a cap.
    pub(super) fn of(cap: Option<Cap>, count: u64, anchor: usize) -> impl Iterator<Item = u64> {
        let (all, chosen) = match cap {
            Some(Cap { per_anchor, seed }) => {
                (0..0, Stream::new(seed).split(anchor as u64).choose(count, per_anchor as u64))
            }
            None => (0..count, Vec::new()),
        };
        all.chain(chosen)
    }
}

/// What another miner picks, thinned out evenly: at most so many tuples an anchor, then at most so many in all. Of pairs,
/// kin and strangers are each capped by themselves.
///
/// Which tuples stay hangs on the seed and on the tuples alone; their order stays as it was.
///
/// ```
/// use nearkin_loss::miners::{AllTripletsMiner, Capped};
/// use nearkin_loss::{Miner, Sides};
/// use nearkin_sweep::{SameLabel, Vectors};
///
/// let every = AllTripletsMiner::default();
/// let capped = Capped { miner: every, per_anchor: Some(1), in_all: Some(3), seed: 7 };
/// let kin = SameLabel::within(&[0, 0, 1, 1]);
/// let points = [0.0, 3.0, 1.0, 7.0];
/// let sides = Sides::within(Vectors::new(&points, 1)?, &kin);
/// assert_eq!(every.mine(&sides)?.len(), 8);
/// assert_eq!(capped.mine(&sides)?.len(), 3);
/// # Ok::<(), nearkin_loss::LossError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capped<M> {
    /// What picks.
    pub miner: M,
    /// The most tuples an anchor, if there is a limit.
    pub per_anchor: Option<usize>,
    /// The most tuples in all, if there is a limit.
    pub in_all: Option<usize>,
    /// Draws differ between seeds; give each step its own.
    pub seed: u64,
}

impl<M: Miner> Miner for Capped<M> {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let pairs = |pairs: Vec<(u32, u32)>| self.thin(pairs, |&(a, j)| (a, u64::from(j)));
        Ok(match self.miner.mine(sides)? {
            Tuples::Pairs { kin, strangers } => {
                Tuples::Pairs { kin: pairs(kin), strangers: pairs(strangers) }
            }
            Tuples::Triplets(triplets) => {
                let of = |&[a, p, n]: &[u32; 3]| (a, (u64::from(p) << 32) | u64::from(n));
                Tuples::Triplets(self.thin(triplets, of))
            }
        })
    }
}

impl<M> Capped<M> {
    /// `of` tells a tuple's anchor and the rest of it. Those with the lowest draws stay; copies of a tuple share a draw, and
    /// the first goes first.
    fn thin<T: Copy>(&self, tuples: Vec<T>, of: impl Fn(&T) -> (u32, u64)) -> Vec<T> {
        let stream = Stream::new(self.seed);
        let mut left: Vec<(u32, u64, usize)> = (0..)
            .zip(&tuples)
            .map(|(place, tuple)| {
                let (anchor, rest) = of(tuple);
                (anchor, stream.split(anchor.into()).bits(rest), place)
            })
            .collect();
        if let Some(most) = self.per_anchor {
            left.sort_unstable();
            let mut kept = Vec::with_capacity(left.len());
            for of_anchor in left.chunk_by(|a, b| a.0 == b.0) {
                kept.extend_from_slice(&of_anchor[..of_anchor.len().min(most)]);
            }
            left = kept;
        }
        if let Some(most) = self.in_all.filter(|most| *most < left.len()) {
            left.sort_unstable_by_key(|&(_, draw, place)| (draw, place));
            left.truncate(most);
        }
        left.sort_unstable_by_key(|&(.., place)| place);
        left.into_iter().map(|(.., place)| tuples[place]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Tuples);

    impl Miner for Given {
        fn mine(&self, _sides: &Sides<'_>) -> Result<Tuples, LossError> {
            Ok(self.0.clone())
        }
    }

    fn capped(tuples: &Tuples, per_anchor: Option<usize>, in_all: Option<usize>, seed: u64) -> Tuples {
        let kin = nearkin_sweep::SameLabel::within(&[]);
        let sides = Sides::within(nearkin_sweep::Vectors::new(&[], 1).unwrap(), &kin);
        Capped { miner: Given(tuples.clone()), per_anchor, in_all, seed }.mine(&sides).unwrap()
    }

    #[test]
    fn caps_hold_for_anchors_and_for_all_and_keep_the_order() {
        let every: Vec<[u32; 3]> = (0..60).map(|i| [i / 10, i, 2 * i]).collect();
        let tuples = Tuples::Triplets(every.clone());
        assert_eq!(capped(&tuples, None, None, 1), tuples);
        assert_eq!(capped(&tuples, Some(10), Some(60), 1), tuples);
        for seed in 0..20 {
            let found = capped(&tuples, Some(3), Some(8), seed).triplets();
            assert_eq!(found.len(), 8);
            assert!(found.is_sorted() && found.iter().all(|t| every.contains(t)));
            assert!(found.chunk_by(|a, b| a[0] == b[0]).all(|of_anchor| of_anchor.len() <= 3));
        }
        assert_ne!(capped(&tuples, Some(3), None, 1), capped(&tuples, Some(3), None, 2));
        assert!(capped(&tuples, Some(0), None, 1).is_empty() && capped(&tuples, None, Some(0), 1).is_empty());
    }

    #[test]
    fn kin_and_strangers_are_capped_by_themselves_and_copies_count() {
        let tuples = Tuples::Pairs { kin: vec![(0, 1); 5], strangers: vec![(0, 2), (0, 3), (1, 2)] };
        let Tuples::Pairs { kin, strangers } = capped(&tuples, Some(1), None, 3) else { panic!("pairs") };
        assert_eq!((kin, strangers.len()), (vec![(0, 1)], 2));
    }

    #[test]
    fn every_tuple_stays_about_as_often_as_every_other() {
        let tuples = Tuples::Triplets((0..10).map(|i| [i / 5, i, 0]).collect());
        let mut counts = [0; 10];
        for seed in 0..5000 {
            capped(&tuples, Some(2), None, seed).triplets().iter().for_each(|t| counts[t[1] as usize] += 1);
        }
        // Each stays with probability 2/5: 2,000 ± 35.
        assert!(counts.iter().all(|c| (1850..2150).contains(c)), "{counts:?}");
    }
}
