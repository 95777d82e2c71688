//! A list of pairs from a labelled set.

use std::collections::{BTreeMap, HashSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::undefined;
use crate::error::EvalError;

/// Pairs of a labelled set for [`verify_pairs`](super::verify_pairs), fold after fold, with whether each is kin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnPairs {
    /// Two places each, the lower first; no pair twice.
    pub pairs: Vec<(u32, u32)>,
    /// Whether a pair has one label.
    pub kin: Vec<bool>,
    /// Whether no class is in two folds.
    pub classes_apart: bool,
}

/// Draws pairs as the list of Labeled Faces in the Wild is made (Huang et al. 2007): equally many of kin and of strangers in each of
/// `folds` folds, and no class in two folds, so that a threshold is judged on other classes than those it was chosen by. Where there
/// are fewer than two classes a fold, the samples of each class are dealt to the folds instead.
///
/// A fold gets `per_fold` pairs of each kind, or half of those it has, if that is less. All folds get equally many.
///
/// # Errors
/// Fewer than 2 folds, and folds too small to hold both a pair of kin and two pairs of strangers.
pub fn draw_pairs(labels: &[u32], folds: usize, per_fold: usize, seed: u64) -> Result<DrawnPairs, EvalError> {
    if folds < 2 {
        return Err(EvalError::Setting { field: "folds", found: folds.to_string(), wanted: "at least 2" });
    }
    let mut members: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    (0u32..).zip(labels).for_each(|(i, &label)| members.entry(label).or_default().push(i));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let classes_apart = members.values().filter(|class| class.len() > 1).count() >= 2 * folds;
    // Of each fold: its classes.
    let mut dealt: Vec<Vec<Vec<u32>>> = vec![Vec::new(); folds];
    if classes_apart {
        // Classes of one sample give no kin, so that they are dealt after all others.
        let (mut crowds, mut lone): (Vec<_>, Vec<_>) =
            members.into_values().partition(|class| class.len() > 1);
        shuffle(&mut rng, &mut crowds);
        shuffle(&mut rng, &mut lone);
        for (i, class) in crowds.into_iter().chain(lone).enumerate() {
            dealt[i % folds].push(class);
        }
    } else {
        for mut class in members.into_values() {
            shuffle(&mut rng, &mut class);
            for (fold, classes) in dealt.iter_mut().enumerate() {
                let part: Vec<u32> = class.iter().copied().skip(fold).step_by(folds).collect();
                if !part.is_empty() {
                    classes.push(part);
                }
            }
        }
    }
    let pairs_of = |n: usize| n * n.saturating_sub(1) / 2;
    let fewest = dealt.iter().map(|classes| {
        let kin: usize = classes.iter().map(|class| pairs_of(class.len())).sum();
        let strangers = pairs_of(classes.iter().map(Vec::len).sum()) - kin;
        kin.div_ceil(2).min(strangers / 2)
    });
    let each = fewest.min().unwrap_or(0).min(per_fold);
    if each == 0 {
        return Err(undefined("too few samples for so many folds with pairs of kin and of strangers each"));
    }
    let (mut pairs, mut kin) = (Vec::new(), Vec::new());
    for classes in &dealt {
        let all: Vec<(usize, u32)> =
            classes.iter().enumerate().flat_map(|(c, class)| class.iter().map(move |&i| (c, i))).collect();
        let crowds: Vec<(usize, u32)> = all.iter().copied().filter(|(c, _)| classes[*c].len() > 1).collect();
        for wanted in [true, false] {
            let mut drawn: HashSet<(u32, u32)> = HashSet::new();
            while drawn.len() < each {
                let (class, a) = if wanted {
                    crowds[rng.random_range(0..crowds.len())]
                } else {
                    all[rng.random_range(0..all.len())]
                };
                let (other, b) = match wanted {
                    true => (class, classes[class][rng.random_range(0..classes[class].len())]),
                    false => all[rng.random_range(0..all.len())],
                };
                let pair = (a.min(b), a.max(b));
                if a != b && (class == other) == wanted && drawn.insert(pair) {
                    pairs.push(pair);
                    kin.push(wanted);
                }
            }
        }
    }
    Ok(DrawnPairs { pairs, kin, classes_apart })
}

fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[u32], folds: usize, per_fold: usize) -> DrawnPairs {
        let drawn = draw_pairs(labels, folds, per_fold, 7).unwrap();
        assert_eq!(drawn, draw_pairs(labels, folds, per_fold, 7).unwrap());
        assert_ne!(drawn.pairs, draw_pairs(labels, folds, per_fold, 8).unwrap().pairs);
        let distinct: HashSet<_> = drawn.pairs.iter().collect();
        assert_eq!((distinct.len(), drawn.pairs.len() % (2 * folds)), (drawn.pairs.len(), 0));
        for ((a, b), kin) in drawn.pairs.iter().zip(&drawn.kin) {
            assert!(a < b);
            assert_eq!(labels[*a as usize] == labels[*b as usize], *kin);
        }
        for fold in drawn.kin.chunks(drawn.kin.len() / folds) {
            assert_eq!(2 * fold.iter().filter(|kin| **kin).count(), fold.len());
        }
        drawn
    }

    #[test]
    fn folds_are_balanced_and_share_no_class_where_classes_suffice() {
        let labels: Vec<u32> = (0..200).map(|i| i / 8).collect();
        let drawn = check(&labels, 10, 20);
        assert!(drawn.classes_apart);
        assert_eq!(drawn.pairs.len(), 10 * 2 * 20);
        let classes = |fold: &[(u32, u32)]| -> HashSet<u32> {
            fold.iter().flat_map(|(a, b)| [labels[*a as usize], labels[*b as usize]]).collect()
        };
        let folds: Vec<HashSet<u32>> = drawn.pairs.chunks(40).map(classes).collect();
        for (i, one) in folds.iter().enumerate() {
            assert!(folds[..i].iter().all(|other| one.is_disjoint(other)));
        }
    }

    #[test]
    fn with_few_classes_samples_are_dealt() {
        let labels: Vec<u32> = (0..400).map(|i| i % 4).collect();
        let drawn = check(&labels, 10, 1_000);
        assert!(!drawn.classes_apart);
        // 40 samples a fold, 10 a class: half of its 180 pairs of kin.
        assert_eq!(drawn.pairs.len(), 10 * 2 * 90);
        let error = draw_pairs(&[0, 0, 1, 1], 10, 5, 0).unwrap_err().to_string();
        assert!(error.contains("too few samples"), "{error}");
        assert!(draw_pairs(&labels, 1, 5, 0).unwrap_err().to_string().contains("folds"));
    }
}
