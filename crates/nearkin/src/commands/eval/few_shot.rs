//! Few-shot classification: episodes of a few classes with one or five examples each.

use std::collections::BTreeMap;

use nearkin_eval::{FewShot, FewShotOptions, MetricRow, few_shot};
use serde::Serialize;

use super::{Found, case::Case, json};
use crate::failure::Failure;

/// Classes and examples of each (Vinyals et al. 2016).
const EPISODES: [(usize, usize); 4] = [(5, 1), (5, 5), (20, 1), (20, 5)];

/// Accuracy over one kind of episodes.
#[derive(Debug, Serialize)]
struct Measured {
    ways: usize,
    shots: usize,
    #[serde(flatten)]
    found: FewShot,
}

pub fn measure(case: &Case<'_>) -> Result<Found, Failure> {
    case.of_one_set("few-shot classification")?;
    let options = FewShotOptions::default();
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    case.labels.query.iter().for_each(|&label| *sizes.entry(label).or_default() += 1);
    let enough = |shots: usize| sizes.values().filter(|size| **size >= shots + options.queries).count();
    let (possible, not): (Vec<_>, Vec<_>) =
        EPISODES.into_iter().partition(|(ways, shots)| enough(*shots) >= *ways);
    if possible.is_empty() {
        return Err(Failure::misuse(format!(
            "{} has {} classes of at least {} samples: 5-way 1-shot episodes take 5 of them",
            case.query.inputs.path().display(),
            enough(1),
            1 + options.queries
        )));
    }
    let [learned, baseline] = case.measure(|asked, _, metric| {
        let of = |&(ways, shots): &(usize, usize)| -> Result<Measured, Failure> {
            let options = FewShotOptions { metric, ways, shots, ..options.clone() };
            Ok(Measured { ways, shots, found: few_shot(asked, &options)? })
        };
        possible.iter().map(of).collect::<Result<Vec<_>, _>>()
    })?;
    let mut notes = case.notes();
    notes.extend(not.iter().map(|(ways, shots)| {
        let (there, needed) = (enough(*shots), shots + options.queries);
        format!("{ways}-way {shots}-shot is left out: only {there} classes have {needed} samples")
    }));
    let rows = learned.iter().zip(&baseline).map(|(l, b)| MetricRow {
        name: format!("accuracy_{}_way_{}_shot", l.ways, l.shots),
        learned: l.found.accuracy,
        baseline: Some(b.found.accuracy),
        interval: Some(l.found.interval),
    });
    Ok(Found {
        rows: rows.collect(),
        sentence: format!(
            "{} episodes of {}, {} queries a class, each to the nearest class mean; {}",
            options.episodes,
            case.count(),
            options.queries,
            case.by()
        ),
        learned: json(&learned)?,
        baseline: json(&baseline)?,
        notes,
        curves: Vec::new(),
        per_class: Vec::new(),
    })
}
