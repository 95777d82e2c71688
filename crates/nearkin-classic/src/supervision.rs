//! What weak supervision says: that samples are kin or strangers, or which of two are nearer. Samples are named by their
//! places, counted from 0.
//!
//! ```
//! use nearkin_classic::{Pairs, Quadruplets, Triplets};
//!
//! // Said by hand,
//! let pairs = Pairs { kin: vec![(0, 1)], strangers: vec![(0, 2), (1, 3)] };
//! // or drawn from labels by a seed.
//! let labels = [0, 0, 1, 1, 1];
//! let drawn = Pairs::of_labels(&labels, 3, 7)?;
//! assert_eq!((drawn.kin.len(), drawn.strangers.len()), (3, 3));
//! let triplets = Triplets::of_labels(&labels, 5, 7)?;
//! assert!(triplets.0.iter().all(|t| labels[t.anchor as usize] == labels[t.kin as usize]));
//! let quadruplets = Quadruplets::of_labels(&labels, 5, 7)?;
//! assert_eq!(quadruplets.0.len(), 5);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use std::collections::HashSet;
use std::hash::Hash;

use nearkin_sweep::{Metric, Vectors, top_k};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::algebra::dot;
use crate::error::ClassicError;
use crate::input::{Classes, gather, setting};
use crate::random::{below, stream};

/// Pairs of samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pairs {
    /// To be near.
    pub kin: Vec<(u32, u32)>,
    /// To be far.
    pub strangers: Vec<(u32, u32)>,
}

/// `kin` is to be nearer to `anchor` than `stranger` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Triplet {
    /// The sample that both are compared to.
    pub anchor: u32,
    /// To be nearer.
    pub kin: u32,
    /// To be farther.
    pub stranger: u32,
}

/// Triplets of samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Triplets(pub Vec<Triplet>);

/// The two of `near` are to be nearer to each other than the two of `far` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quadruplet {
    /// To be nearer.
    pub near: (u32, u32),
    /// To be farther. The two pairs may share a sample.
    pub far: (u32, u32),
}

/// Comparisons of pairs of samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quadruplets(pub Vec<Quadruplet>);

/// Which sides a method needs pairs of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sides {
    /// At least one.
    Any,
    /// Kin and strangers.
    Both {
        /// What goes wrong otherwise.
        why: &'static str,
    },
}

impl Pairs {
    /// `count` pairs of kin and as many of strangers, fewer where there are not as many, drawn by the seed; none twice.
    ///
    /// # Errors
    /// Fewer than two classes, or no class of two.
    pub fn of_labels(labels: &[u32], count: usize, seed: u64) -> Result<Self, ClassicError> {
        let mut draw = Draw::new(labels, seed)?;
        let kin = draw.some(count, |draw| draw.kin().map(sorted));
        let strangers = draw.some(count, |draw| draw.strangers().map(sorted));
        Ok(Self { kin, strangers })
    }

    /// The same without strangers that are equal, which no metric can part.
    ///
    /// # Panics
    /// When a pair names a sample that is not there.
    #[must_use]
    pub fn parted(mut self, vectors: Vectors<'_>) -> Self {
        self.strangers.retain(|&(a, b)| vectors.row(a as usize) != vectors.row(b as usize));
        self
    }

    /// Kin with 1, then strangers with −1.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ((u32, u32), f64)> + '_ {
        let kin = self.kin.iter().map(|pair| (*pair, 1.0));
        kin.chain(self.strangers.iter().map(|pair| (*pair, -1.0)))
    }

    pub(crate) fn check(&self, samples: usize, sides: Sides) -> Result<(), ClassicError> {
        match (self.kin.is_empty(), self.strangers.is_empty(), sides) {
            (true, true, _) => return Err(ClassicError::NoTuples { what: "pairs" }),
            (false, true, Sides::Both { why }) => {
                return Err(ClassicError::OneSided { given: "kin", missing: "strangers", why });
            }
            (true, false, Sides::Both { why }) => {
                return Err(ClassicError::OneSided { given: "strangers", missing: "kin", why });
            }
            _ => {}
        }
        let check = |what, pairs: &[(u32, u32)]| check_all(what, pairs, samples, |&(a, b)| vec![(a, b)]);
        check("pair of kin", &self.kin)?;
        check("pair of strangers", &self.strangers)
    }
}

impl Triplets {
    /// `count` triplets, fewer where there are not as many, drawn by the seed; none twice.
    ///
    /// # Errors
    /// As [`Pairs::of_labels`].
    pub fn of_labels(labels: &[u32], count: usize, seed: u64) -> Result<Self, ClassicError> {
        Ok(Self(Draw::new(labels, seed)?.some(count, |draw| {
            let (anchor, kin) = draw.kin()?;
            let stranger = draw.stranger(anchor)?;
            Some(Triplet { anchor, kin, stranger })
        })))
    }

    /// Of every sample with its nearest `kin` of its class and its nearest `strangers` of all others, each with each.
    ///
    /// # Errors
    /// Values that are not finite; fewer than two classes; no class of two; a number of 0.
    pub fn of_neighbours(
        vectors: Vectors<'_>,
        labels: &[u32],
        kin: usize,
        strangers: usize,
    ) -> Result<Self, ClassicError> {
        crate::input::check(vectors, 2, "neighbours are compared")?;
        setting("kin", kin as f64, kin > 0, "1 or more")?;
        setting("strangers", strangers as f64, strangers > 0, "1 or more")?;
        let classes = Classes::new(vectors.len(), labels)?;
        classes.check_kin("class")?;
        let mut found = Vec::new();
        for members in &classes.members {
            let others: Vec<usize> =
                (0..vectors.len()).filter(|&i| labels[i] != labels[members[0]]).collect();
            let (own, other) = (gather(vectors, members), gather(vectors, &others));
            let (own, other) = (Vectors::new(&own, vectors.dim())?, Vectors::new(&other, vectors.dim())?);
            let near_kin = top_k(own, own, Metric::SquaredEuclidean, kin, true)?;
            let near_strangers = top_k(own, other, Metric::SquaredEuclidean, strangers, false)?;
            for ((anchor, kin), strangers) in members.iter().zip(near_kin).zip(near_strangers) {
                let each = kin.iter().flat_map(|k| strangers.iter().map(move |s| (k.index, s.index)));
                found.extend(each.map(|(k, s)| Triplet {
                    anchor: *anchor as u32,
                    kin: members[k] as u32,
                    stranger: others[s] as u32,
                }));
            }
        }
        found.sort_by_key(|t| t.anchor);
        Ok(Self(found))
    }

    pub(crate) fn check(&self, samples: usize) -> Result<(), ClassicError> {
        if self.0.is_empty() {
            return Err(ClassicError::NoTuples { what: "triplets" });
        }
        check_all("triplet", &self.0, samples, |t| {
            vec![(t.anchor, t.kin), (t.anchor, t.stranger), (t.kin, t.stranger)]
        })
    }
}

impl Quadruplets {
    /// `count` comparisons of a pair of kin with a pair of strangers, fewer where there are not as many, drawn by the seed; none
    /// twice.
    ///
    /// # Errors
    /// As [`Pairs::of_labels`].
    pub fn of_labels(labels: &[u32], count: usize, seed: u64) -> Result<Self, ClassicError> {
        Ok(Self(Draw::new(labels, seed)?.some(count, |draw| {
            Some(Quadruplet { near: sorted(draw.kin()?), far: sorted(draw.strangers()?) })
        })))
    }

    pub(crate) fn check(&self, samples: usize) -> Result<(), ClassicError> {
        if self.0.is_empty() {
            return Err(ClassicError::NoTuples { what: "quadruplets" });
        }
        check_all("quadruplet", &self.0, samples, |q| vec![q.near, q.far])?;
        match self.0.iter().position(|q| sorted(q.near) == sorted(q.far)) {
            Some(at) => Err(ClassicError::ComparedWithItself { at, pair: self.0[at].near }),
            None => Ok(()),
        }
    }
}

/// Refuses tuples of samples that are not there, or the same where they must differ.
fn check_all<T>(
    what: &'static str,
    tuples: &[T],
    samples: usize,
    different: impl Fn(&T) -> Vec<(u32, u32)>,
) -> Result<(), ClassicError> {
    for (at, tuple) in tuples.iter().enumerate() {
        for (a, b) in different(tuple) {
            if let Some(sample) = [a, b].into_iter().find(|&i| i as usize >= samples) {
                return Err(ClassicError::NoSuchSample { what, at, sample, samples });
            }
            if a == b {
                return Err(ClassicError::SameTwice { what, at, sample: a });
            }
        }
    }
    Ok(())
}

fn sorted((a, b): (u32, u32)) -> (u32, u32) {
    (a.min(b), a.max(b))
}

/// `x_a − x_b`.
pub(crate) fn difference(vectors: Vectors<'_>, (a, b): (u32, u32)) -> Vec<f64> {
    let ends = vectors.row(a as usize).iter().zip(vectors.row(b as usize));
    ends.map(|(x, y)| f64::from(*x) - f64::from(*y)).collect()
}

/// `‖z_a − z_b‖²` of images with `k` values each.
pub(crate) fn square(z: &[f64], k: usize, (a, b): (u32, u32)) -> f64 {
    let ends = z[a as usize * k..][..k].iter().zip(&z[b as usize * k..][..k]);
    let apart: Vec<f64> = ends.map(|(a, b)| a - b).collect();
    dot(&apart, &apart)
}

/// Adds the gradient of `factor · ‖z_a − z_b‖²` with respect to the images.
pub(crate) fn pull_together(at_z: &mut [f64], z: &[f64], k: usize, (a, b): (u32, u32), factor: f64) {
    for c in 0..k {
        let (a, b) = (a as usize * k + c, b as usize * k + c);
        let force = 2.0 * factor * (z[a] - z[b]);
        at_z[a] += force;
        at_z[b] -= force;
    }
}

/// Draws of kin and strangers.
struct Draw<'a> {
    labels: &'a [u32],
    /// Classes of two samples or more.
    families: Vec<Vec<usize>>,
    /// Pairs of samples that are strangers, as a part of all: small where one class is nearly all.
    strangers: f64,
    rng: ChaCha8Rng,
}

impl<'a> Draw<'a> {
    fn new(labels: &'a [u32], seed: u64) -> Result<Self, ClassicError> {
        let classes = Classes::new(labels.len(), labels)?;
        classes.check_kin("class")?;
        let share = |members: &Vec<usize>| members.len() as f64 / labels.len() as f64;
        let strangers = classes.members.iter().map(|members| share(members) * (1.0 - share(members))).sum();
        let families = classes.members.into_iter().filter(|m| m.len() > 1).collect();
        Ok(Self { labels, families, strangers, rng: stream(seed) })
    }

    /// Up to `count` different ones.
    fn some<T: Copy + Eq + Hash>(&mut self, count: usize, one: impl Fn(&mut Self) -> Option<T>) -> Vec<T> {
        let (mut found, mut seen, mut failed) = (Vec::new(), HashSet::new(), 0.0);
        // A draw fails when it is none or was there before. Of the last one missing, one draw in as many as were found, of those that
        // are any: with so many failures in a row there is hardly one left.
        while found.len() < count && failed * self.strangers < 20.0 * (found.len() + 1) as f64 {
            match one(self).filter(|one| seen.insert(*one)) {
                Some(one) => {
                    found.push(one);
                    failed = 0.0;
                }
                None => failed += 1.0,
            }
        }
        found
    }

    fn kin(&mut self) -> Option<(u32, u32)> {
        let members = &self.families[below(&mut self.rng, self.families.len())];
        let [a, b] = [0; 2].map(|_| members[below(&mut self.rng, members.len())] as u32);
        (a != b).then_some((a, b))
    }

    fn strangers(&mut self) -> Option<(u32, u32)> {
        let a = below(&mut self.rng, self.labels.len()) as u32;
        Some((a, self.stranger(a)?))
    }

    fn stranger(&mut self, of: u32) -> Option<u32> {
        let other = below(&mut self.rng, self.labels.len());
        (self.labels[of as usize] != self.labels[other]).then_some(other as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [u32; 9] = [0, 0, 0, 1, 1, 2, 2, 2, 7];

    #[test]
    fn draws_honour_labels_differ_and_follow_the_seed() {
        let label = |i: u32| LABELS[i as usize];
        let pairs = Pairs::of_labels(&LABELS, 1000, 3).unwrap();
        // 3 + 1 + 3 pairs of kin; of 36 pairs the others are strangers.
        assert_eq!((pairs.kin.len(), pairs.strangers.len()), (7, 29));
        assert!(pairs.kin.iter().all(|&(a, b)| a < b && label(a) == label(b)));
        assert!(pairs.strangers.iter().all(|&(a, b)| a < b && label(a) != label(b)));
        pairs.check(9, Sides::Both { why: "" }).unwrap();
        let triplets = Triplets::of_labels(&LABELS, 30, 3).unwrap();
        let honoured = |t: &Triplet| label(t.anchor) == label(t.kin) && label(t.anchor) != label(t.stranger);
        assert!(triplets.0.len() == 30 && triplets.0.iter().all(honoured));
        triplets.check(9).unwrap();
        let quadruplets = Quadruplets::of_labels(&LABELS, 30, 3).unwrap();
        let honoured =
            |q: &Quadruplet| label(q.near.0) == label(q.near.1) && label(q.far.0) != label(q.far.1);
        assert!(quadruplets.0.len() == 30 && quadruplets.0.iter().all(honoured));
        quadruplets.check(9).unwrap();
        for (seed, same) in [(3, true), (4, false)] {
            assert_eq!(Triplets::of_labels(&LABELS, 30, seed).unwrap() == triplets, same);
            assert_eq!(Quadruplets::of_labels(&LABELS, 30, seed).unwrap() == quadruplets, same);
        }
    }

    #[test]
    fn as_many_are_drawn_as_asked_for_where_one_class_is_nearly_all() {
        let labels: Vec<u32> = (0..1000).map(|i| u32::from(i < 5)).collect();
        let pairs = Pairs::of_labels(&labels, 1000, 3).unwrap();
        assert_eq!((pairs.kin.len(), pairs.strangers.len()), (1000, 1000));
        assert_eq!(Triplets::of_labels(&labels, 1000, 3).unwrap().0.len(), 1000);
        assert_eq!(Quadruplets::of_labels(&labels, 1000, 3).unwrap().0.len(), 1000);
    }

    #[test]
    fn triplets_of_neighbours_are_those_of_brute_force() {
        let samples = [0.0, 7.13, 5.29, 3.31, 1.47, 8.53, 6.61, 4.79, 2.83];
        let vectors = Vectors::new(&samples, 1).unwrap();
        let found = Triplets::of_neighbours(vectors, &LABELS, 2, 3).unwrap();
        let mut wanted = Vec::new();
        for a in 0..9u32 {
            let near = |kin: bool, count: usize| {
                let mut others: Vec<u32> =
                    (0..9).filter(|&b| a != b && (LABELS[a as usize] == LABELS[b as usize]) == kin).collect();
                others.sort_by(|&b, &c| {
                    let far = |b: u32| (samples[a as usize] - samples[b as usize]).abs();
                    far(b).total_cmp(&far(c))
                });
                others.truncate(count);
                others
            };
            for kin in near(true, 2) {
                wanted.extend(near(false, 3).into_iter().map(|stranger| Triplet {
                    anchor: a,
                    kin,
                    stranger,
                }));
            }
        }
        assert_eq!(found.0, wanted);
    }

    #[test]
    fn tuples_that_say_nothing_are_refused_with_the_reason() {
        let pairs = |kin: &[(u32, u32)], strangers: &[(u32, u32)]| {
            let pairs = Pairs { kin: kin.to_vec(), strangers: strangers.to_vec() };
            pairs.check(4, Sides::Both { why: "all would shrink" }).unwrap_err().to_string()
        };
        assert!(pairs(&[], &[]).contains("no pairs to learn from"));
        assert!(pairs(&[(0, 1)], &[]).contains("pairs of kin and none of strangers: all would shrink"));
        assert!(pairs(&[], &[(0, 1)]).contains("pairs of strangers and none of kin"));
        let text = pairs(&[(0, 1), (2, 4)], &[(0, 1)]);
        assert!(text.contains("pair of kin 1 names sample 4, wanted below 4"), "{text}");
        assert!(pairs(&[(0, 1)], &[(3, 3)]).contains("pair of strangers 0 names sample 3 twice"));
        assert!(Pairs { kin: vec![(0, 1)], strangers: vec![] }.check(2, Sides::Any).is_ok());

        let triplet = |anchor, kin, stranger| Triplets(vec![Triplet { anchor, kin, stranger }]).check(4);
        assert!(matches!(triplet(0, 1, 4), Err(ClassicError::NoSuchSample { what: "triplet", at: 0, .. })));
        assert!(matches!(triplet(0, 1, 1), Err(ClassicError::SameTwice { sample: 1, .. })));
        assert!(matches!(Triplets(vec![]).check(4), Err(ClassicError::NoTuples { what: "triplets" })));

        let quadruplet = |near, far| Quadruplets(vec![Quadruplet { near, far }]).check(4);
        assert!(quadruplet((0, 1), (1, 2)).is_ok());
        assert!(matches!(quadruplet((0, 1), (2, 2)), Err(ClassicError::SameTwice { .. })));
        assert!(matches!(quadruplet((0, 9), (2, 1)), Err(ClassicError::NoSuchSample { sample: 9, .. })));
        assert!(matches!(quadruplet((0, 1), (1, 0)), Err(ClassicError::ComparedWithItself { at: 0, .. })));
        assert!(Quadruplets(vec![]).check(4).is_err());
    }

    #[test]
    fn labels_without_kin_or_strangers_are_refused() {
        assert!(matches!(Pairs::of_labels(&[1; 4], 3, 0), Err(ClassicError::OneClass { .. })));
        assert!(matches!(Triplets::of_labels(&[1, 2, 3], 3, 0), Err(ClassicError::NoKin { .. })));
        assert!(matches!(Quadruplets::of_labels(&[], 3, 0), Err(ClassicError::OneClass { samples: 0, .. })));
    }

    #[test]
    fn equal_strangers_are_left_out() {
        let samples = [1.0, 2.0, 1.0];
        let pairs = Pairs { kin: vec![(0, 1)], strangers: vec![(0, 2), (1, 2)] };
        assert_eq!(pairs.parted(Vectors::new(&samples, 1).unwrap()).strangers, [(1, 2)]);
    }
}
