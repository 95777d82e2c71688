//! Samples kept out of training: to choose the best epoch, or to measure.

use nearkin_data::random::{Purpose, shuffle, stream};

/// Fewest held-out samples of a class: one alone has nothing to find.
const FEWEST: usize = 2;

/// Splits sample numbers into (training, held out), both ascending: of each class `fraction` of its samples, chosen by
/// the seed. Classes too small to spare two keep all of theirs.
pub fn split(labels: &[u32], fraction: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let classes = labels.iter().max().map_or(0, |c| *c as usize + 1);
    let mut members = vec![Vec::new(); classes];
    for (i, &label) in labels.iter().enumerate() {
        members[label as usize].push(i);
    }
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (class, mut members) in members.into_iter().enumerate() {
        shuffle(&mut stream(seed, 0, class as u64, 0, Purpose::Split), &mut members);
        let wanted = (members.len() as f64 * fraction).round() as usize;
        let spared = if wanted >= FEWEST && members.len() - wanted >= FEWEST { wanted } else { 0 };
        held_out.extend_from_slice(&members[..spared]);
        train.extend_from_slice(&members[spared..]);
    }
    train.sort_unstable();
    held_out.sort_unstable();
    (train, held_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_gives_its_share_and_small_classes_give_nothing() {
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i >= 90) + u32::from(i >= 98)).collect();
        let (train, held_out) = split(&labels, 0.2, 3);
        assert_eq!(held_out.iter().filter(|i| **i < 90).count(), 18);
        assert_eq!(held_out.iter().filter(|i| **i >= 90).count(), 2);
        let mut all = [train, held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides() {
        let labels = [0; 50];
        assert_eq!(split(&labels, 0.3, 1), split(&labels, 0.3, 1));
        assert_ne!(split(&labels, 0.3, 1), split(&labels, 0.3, 2));
        assert!(split(&labels, 0.0, 1).1.is_empty());
    }
}
