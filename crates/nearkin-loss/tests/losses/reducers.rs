//! Every reducer, on losses of triplets, pairs, anchors and samples.

use nearkin_loss::losses::{MultiSimilarity, NtXent};
use nearkin_loss::{Loss, Reduced, Reducer};

use crate::golden::{Given, Settings, compare};
use crate::{contrastive, triplet_margin};

fn reducer(s: &Settings) -> Reducer {
    match s.text("reducer") {
        "mean" => Reducer::Mean,
        "avg_non_zero" => Reducer::MeanActive,
        "sum" => Reducer::Sum,
        "per_anchor" => Reducer::PerAnchor,
        "class_weighted" => Reducer::ClassWeighted(s.list("class_weights").unwrap()),
        "threshold" => Reducer::Threshold {
            low: s.number_or("low", f32::NEG_INFINITY).into(),
            high: s.number_or("high", f32::INFINITY).into(),
        },
        other => panic!("{other}"),
    }
}

fn loss(given: &Given<'_>) -> Option<Box<dyn Loss>> {
    let s = given.settings();
    Some(match s.text("loss") {
        "triplet_margin" => triplet_margin::of(s)?,
        "contrastive" => contrastive::of(s),
        "nt_xent" => Box::new(NtXent::new(s.number("temperature")).unwrap()),
        "multi_similarity" => {
            Box::new(MultiSimilarity::new(s.number("alpha"), s.number("beta"), s.number("base")).unwrap())
        }
        _ => return None,
    })
}

#[test]
fn every_reducer_agrees_with_its_peer() {
    compare("reducers.json", 60, |given| {
        Some(Box::new(Reduced { loss: loss(given)?, reducer: reducer(given.settings()) }) as _)
    });
}
