//! What a data set holds, for a person to read before training on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::{Dataset, Kind, Media};
use crate::error::DataError;

/// The most images whose headers [`Dataset::describe`] reads: enough to see what a set is like, and
/// a second's work on a disk that is not warm.
const MOST_INSPECTED: usize = 2000;

/// The most unreadable images that a summary names.
const MOST_NAMED: usize = 10;

/// What [`Dataset::describe`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The path of the set, without `#split`.
    pub path: PathBuf,
    /// What it holds.
    pub media: Media,
    /// How it is stored.
    pub kind: Kind,
    /// The number of samples.
    pub count: usize,
    /// Every class with its number of samples, in the order of the labels.
    pub classes: Vec<ClassCount>,
    /// Samples without a label.
    pub unlabelled: usize,
    /// How many samples were looked at for the four fields below: all, or an even choice of 2,000.
    pub inspected: usize,
    /// Image sizes, most frequent first.
    pub sizes: Vec<SizeCount>,
    /// Of sounds and series, the fewest, the median and the most steps.
    pub steps: Option<[usize; 3]>,
    /// Of sounds, the steps a second, most frequent first.
    pub rates: Vec<RateCount>,
    /// Channel counts, most frequent first.
    pub channels: Vec<ChannelCount>,
    /// The splits, in the order they first appear.
    pub splits: Vec<SplitCount>,
    /// Anything that may surprise: empty classes, ignored files, unreadable images.
    pub warnings: Vec<String>,
}

/// A class and its number of samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class.
    pub name: String,
    /// Its samples.
    pub count: usize,
}

/// An image size and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Images of that size.
    pub count: usize,
}

/// A rate of sounds and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateCount {
    /// Steps a second.
    pub rate: u32,
    /// Sounds of that rate.
    pub count: usize,
}

/// A number of channels and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelCount {
    /// Of images 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Samples with that many.
    pub count: usize,
}

/// A split and its number of samples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitCount {
    /// The split.
    pub name: String,
    /// Its samples.
    pub count: usize,
}

impl Dataset {
    /// Counts what there is, and reads the headers of at most 2,000 images, or as many sounds, evenly chosen.
    #[must_use]
    pub fn describe(&self) -> Summary {
        let mut per_class = vec![0; self.classes().len()];
        let mut per_split: Vec<SplitCount> = Vec::new();
        let mut unlabelled = 0;
        for sample in self.samples() {
            match sample.label {
                Some(label) => per_class[label as usize] += 1,
                None => unlabelled += 1,
            }
            if let Some(name) = &sample.split {
                match per_split.iter_mut().find(|split| split.name == *name) {
                    Some(split) => split.count += 1,
                    None => per_split.push(SplitCount { name: name.clone(), count: 1 }),
                }
            }
        }

        let inspected = self.len().min(MOST_INSPECTED);
        let look = |i| if self.media().is_signal() { self.look_at_signal(i) } else { self.look_at_image(i) };
        let probed: Vec<_> =
            (0..inspected).into_par_iter().map(|k| look(k * self.len() / inspected)).collect();
        let mut warnings = self.warnings().to_vec();
        let unreadable: Vec<_> = probed.iter().filter_map(|p| p.as_ref().err()).collect();
        if !unreadable.is_empty() {
            warnings.push(format!(
                "{} of {inspected} {} looked at cannot be read; training skips them",
                unreadable.len(),
                self.media()
            ));
            warnings.extend(unreadable.iter().take(MOST_NAMED).map(ToString::to_string));
        }
        let seen: Vec<Seen> = probed.into_iter().flatten().collect();
        let sizes = seen.iter().filter_map(|seen| seen.size).collect();
        let channels = seen.iter().map(|seen| seen.channels).collect();
        let rates = seen.iter().filter_map(|seen| seen.rate).collect();
        let mut steps: Vec<usize> = seen.iter().filter_map(|seen| seen.steps).collect();
        steps.sort_unstable();

        Summary {
            path: self.path().to_owned(),
            media: self.media(),
            kind: self.kind(),
            count: self.len(),
            classes: self
                .classes()
                .iter()
                .cloned()
                .zip(per_class)
                .map(|(name, count)| ClassCount { name, count })
                .collect(),
            unlabelled,
            inspected,
            sizes: most_frequent_first(sizes)
                .map(|((width, height), count)| SizeCount { width, height, count })
                .collect(),
            steps: steps.last().map(|&most| [steps[0], steps[steps.len() / 2], most]),
            rates: most_frequent_first(rates).map(|(rate, count)| RateCount { rate, count }).collect(),
            channels: most_frequent_first(channels)
                .map(|(channels, count)| ChannelCount { channels, count })
                .collect(),
            splits: per_split,
            warnings,
        }
    }
}

/// What a look at one sample tells.
struct Seen {
    size: Option<(usize, usize)>,
    steps: Option<usize>,
    rate: Option<u32>,
    channels: usize,
}

impl Dataset {
    fn look_at_image(&self, i: usize) -> Result<Seen, DataError> {
        let (width, height, channels) = self.probe(i)?;
        Ok(Seen { size: Some((width, height)), steps: None, rate: None, channels })
    }

    fn look_at_signal(&self, i: usize) -> Result<Seen, DataError> {
        let signal = self.signal(i)?;
        Ok(Seen { size: None, steps: Some(signal.steps()), rate: signal.rate, channels: signal.channels })
    }
}

fn most_frequent_first<T: Ord>(values: Vec<T>) -> impl Iterator<Item = (T, usize)> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts.into_iter()
}
