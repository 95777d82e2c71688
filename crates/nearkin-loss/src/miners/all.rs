//! Every pair, or every triplet, as tuples: for losses that have no other way to take them all, and to check miners by.

use nearkin_sweep::Relation;

use super::{Cap, Miner, check_same_dim};
use crate::loss::{LossError, Sides};
use crate::tuples::Tuples;

/// Every pair, or with a cap some an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllPairsMiner {
    /// The most pairs of kin, and of strangers, that an anchor gives. Without it there are about `N²` pairs.
    pub cap: Option<Cap>,
}

/// Every triplet of an anchor, a kin and a stranger, or with a cap some an anchor, without listing the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllTripletsMiner {
    /// The most triplets that an anchor gives. Without it there may be about `N³`.
    pub cap: Option<Cap>,
}

impl Miner for AllPairsMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let (mut kin, mut strangers) = (Vec::new(), Vec::new());
        each_anchor(sides, |anchor, of_kin, of_strangers| {
            // Draws of an anchor's kin and of its strangers must differ.
            for (found, others, salt) in [(&mut kin, of_kin, 0), (&mut strangers, of_strangers, 1 << 63)] {
                let cap = self.cap.map(|cap| Cap { seed: cap.seed ^ salt, ..cap });
                let chosen = Cap::of(cap, others.len() as u64, anchor);
                found.extend(chosen.map(|place| (anchor as u32, others[place as usize])));
            }
        })?;
        Ok(Tuples::Pairs { kin, strangers })
    }
}

impl Miner for AllTripletsMiner {
    fn mine(&self, sides: &Sides<'_>) -> Result<Tuples, LossError> {
        let mut found = Vec::new();
        each_anchor(sides, |anchor, kin, strangers| {
            let width = strangers.len() as u64;
            let chosen = Cap::of(self.cap, kin.len() as u64 * width, anchor);
            let triplet = |place: u64| {
                [anchor as u32, kin[(place / width) as usize], strangers[(place % width) as usize]]
            };
            found.extend(chosen.map(triplet));
        })?;
        Ok(Tuples::Triplets(found))
    }
}

/// Calls `of_anchor` with each anchor, its kin and its strangers. Needs no scores.
fn each_anchor(sides: &Sides<'_>, mut of_anchor: impl FnMut(usize, &[u32], &[u32])) -> Result<(), LossError> {
    check_same_dim(sides)?;
    let (queries, others) = (sides.queries, sides.others());
    let mut relations = vec![Relation::default(); others.len()];
    let (mut kin, mut strangers) = (Vec::new(), Vec::new());
    for anchor in 0..queries.len() {
        sides.kin.relate(anchor, 0, &mut relations);
        kin.clear();
        strangers.clear();
        for (j, relation) in (0u32..).zip(&relations) {
            match relation {
                Relation::Kin => kin.push(j),
                Relation::Stranger => strangers.push(j),
                Relation::Excluded => {}
            }
        }
        of_anchor(anchor, &kin, &strangers);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn every_tuple_of_a_hand_worked_batch() {
        let kin = SameLabel::within(&[0, 0, 1]);
        let sides = Sides::within(Vectors::new(&[0.0; 3], 1).unwrap(), &kin);
        let pairs = AllPairsMiner::default().mine(&sides).unwrap();
        let strangers = vec![(0, 2), (1, 2), (2, 0), (2, 1)];
        assert_eq!(pairs, Tuples::Pairs { kin: vec![(0, 1), (1, 0)], strangers });
        let triplets = AllTripletsMiner::default().mine(&sides).unwrap();
        assert_eq!(triplets, Tuples::Triplets(vec![[0, 1, 2], [1, 0, 2]]));
    }

    #[test]
    fn a_cap_holds_and_sides_of_two_dimensions_are_refused() {
        let kin = SameLabel::within(&[0, 0, 0, 1, 1, 1]);
        let sides = Sides::within(Vectors::new(&[0.0; 6], 1).unwrap(), &kin);
        let cap = Some(Cap { per_anchor: 2, seed: 5 });
        let found = AllTripletsMiner { cap }.mine(&sides).unwrap().triplets();
        assert_eq!(found.len(), 12);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(AllPairsMiner { cap }.mine(&sides).unwrap().len(), 24);
        let two = Sides::between(sides.queries, Vectors::new(&[0.0; 6], 2).unwrap(), &kin);
        assert!(AllPairsMiner::default().mine(&two).is_err());
    }
}
