//! Every reducer, on losses of triplets, pairs, anchors and samples.

use nearkin_loss::losses::{
    Angular, ArcFace, Circle, GeneralizedLiftedStructure, LiftedStructure, MarginBased, MultiSimilarity,
    NtXent, TupletMargin,
};
use nearkin_loss::{Loss, OnSphere, Reduced, Reducer};

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
        "circle" => Box::new(Circle::default()),
        "angular" => Box::new(OnSphere(Angular::default())),
        "lifted_structure" => Box::new(OnSphere(LiftedStructure::default())),
        "generalized_lifted_structure" => Box::new(OnSphere(GeneralizedLiftedStructure::default())),
        "margin" => Box::new(OnSphere(MarginBased::default())),
        "tuplet_margin" => Box::new(TupletMargin::new(s.number("margin"), s.number("scale")).unwrap()),
        "arc_face" => Box::new(ArcFace::new(s.number("margin"), s.number("scale")).unwrap()),
        _ => return None,
    })
}

#[test]
fn every_reducer_agrees_with_its_peer() {
    compare("reducers.json", 86, |given| {
        Some(Box::new(Reduced { loss: loss(given)?, reducer: reducer(given.settings()) }) as _)
    });
}
