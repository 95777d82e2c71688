//! Retrieval: who stands nearest to whom.

use nearkin_eval::{
    ClassRow, Curve, MetricRow, Retrieval, RetrievalOptions, Series, Weighting, knn_accuracy, retrieval,
    spectrum,
};
use nearkin_sweep::Metric;
use nearkin_train::{Encoder, Judgement, LabeledImages, Recipe, judge};
use serde::Serialize;

use super::case::{Case, Set};
use super::{Found, json};
use crate::failure::Failure;

/// τ of the vote (Wu et al. 2018).
const TEMPERATURE: f64 = 0.07;
/// Neighbours that vote, unless told otherwise: of a network, and of a linear map.
const NETWORK_VOTES: usize = 200;
const LINEAR_VOTES: usize = 3;

/// The measures of one kind of vectors.
#[derive(Debug, Serialize)]
struct Measures {
    #[serde(flatten)]
    retrieval: Retrieval,
    /// The share of queries whose class wins the vote of their nearest references.
    knn_accuracy: f64,
    spread: f64,
    effective_rank: f64,
    /// Of a network that learned without labels.
    #[serde(flatten)]
    judgement: Option<Judgement>,
}

pub fn measure(case: &Case<'_>, knn: Option<usize>, trained: Option<&Recipe>) -> Result<Found, Failure> {
    // A network's vote is always taken by cosine, so that its temperature means the same for every one. A linear map was fitted
    // for plain votes by its own distance.
    let (vote, weighting, usual) = match case.model.encoder {
        Encoder::Network(_) => (Metric::Cosine, Weighting::Exp { temperature: TEMPERATURE }, NETWORK_VOTES),
        Encoder::Linear(_) => (case.model.metric(), Weighting::Uniform, LINEAR_VOTES),
    };
    let knn = knn.unwrap_or(usual);
    let [mut learned, baseline] = case.measure(|asked, searched, metric| {
        let options = RetrievalOptions { metric, ..RetrievalOptions::default() };
        let spectrum = spectrum(asked.vectors)?;
        Ok(Measures {
            retrieval: retrieval(asked, searched, &options)?,
            knn_accuracy: knn_accuracy(asked, searched, vote, knn, weighting)?,
            spread: spectrum.spread,
            effective_rank: spectrum.effective_rank,
            judgement: None,
        })
    })?;
    learned.judgement = judgement(case, trained)?;
    let (count, by) = (case.count(), case.by());
    let sentence = match case.reference {
        None => format!("each of {count} asks among all others; {by}"),
        Some(reference) => format!("{count} ask among {} references; {by}", reference.inputs.len()),
    };
    let mut notes = case.notes();
    notes.extend(learned.judgement.iter().filter_map(|j| j.collapse).map(|kind| kind.advice().to_owned()));
    if learned.retrieval.lone_queries > 0 {
        let (lone, noun) = (learned.retrieval.lone_queries, case.query.inputs.noun());
        notes
            .push(format!("{lone} {noun} have no reference of their class and are left out of the averages"));
    }
    let class = |label: u32| case.labels.classes[label as usize].clone();
    let per_class = learned.retrieval.per_class.iter().map(|of| ClassRow {
        name: class(of.label),
        queries: of.queries,
        precision_at_1: of.precision_at_1,
        map_at_r: of.map_at_r,
    });
    Ok(Found {
        rows: rows(&learned, &baseline, knn),
        per_class: per_class.collect(),
        learned: json(&learned)?,
        baseline: json(&baseline)?,
        sentence,
        notes,
        curves: learned.judgement.iter().map(spectrum_curve).collect(),
    })
}

/// Of a network of a method without labels, whose run says which views it was trained on.
fn judgement(case: &Case<'_>, trained: Option<&Recipe>) -> Result<Option<Judgement>, Failure> {
    let (Encoder::Network(model), Some(recipe)) = (&case.model.encoder, trained) else { return Ok(None) };
    let (false, Some(views)) = (recipe.method.card().needs_labels, &recipe.views) else { return Ok(None) };
    let Some(query) = images(case.query, &case.labels.query) else { return Ok(None) };
    let reference = match (case.reference, &case.labels.reference) {
        (Some(set), Some(labels)) => images(set, labels),
        _ => None,
    };
    Ok(Some(judge(model, query, reference, views)?))
}

/// A row without a baseline.
fn alone(name: &str, learned: f64) -> MetricRow {
    MetricRow { name: name.to_owned(), learned, baseline: None, interval: None }
}

fn images<'a>(set: &'a Set, labels: &'a [u32]) -> Option<LabeledImages<'a>> {
    Some(LabeledImages { images: set.inputs.images()?, labels, vectors: &set.vectors })
}

/// Singular values over the first, on a logarithmic scale.
fn spectrum_curve(judgement: &Judgement) -> Curve {
    let values = judgement.spectrum.iter().enumerate().filter(|(_, value)| **value > 0.0);
    Curve {
        title: "Spectrum of the embedding".to_owned(),
        x_label: "direction".to_owned(),
        y_label: "log10 of its share of the first".to_owned(),
        series: vec![Series {
            name: "singular values".to_owned(),
            points: values.map(|(at, value)| ((at + 1) as f64, f64::from(value.log10()))).collect(),
        }],
    }
}

/// The rows of the table, each under its field's name.
fn rows(learned: &Measures, baseline: &Measures, knn: usize) -> Vec<MetricRow> {
    let row = |name: &str, learned: f64, baseline: f64, interval| MetricRow {
        name: name.to_owned(),
        learned,
        baseline: Some(baseline),
        interval,
    };
    let (lr, br) = (&learned.retrieval, &baseline.retrieval);
    let first = row("precision_at_1", lr.precision_at_1, br.precision_at_1, Some(lr.precision_at_1_interval));
    let recalls = lr.recall_at_k.iter().filter(|(k, _)| **k > 1).map(|(k, learned)| {
        row(&format!("recall_at_{k}"), *learned, br.recall_at_k.get(k).copied().unwrap_or(0.0), None)
    });
    let rest = [
        row("r_precision", lr.r_precision, br.r_precision, None),
        row(
            "mean_average_precision_at_r",
            lr.mean_average_precision_at_r,
            br.mean_average_precision_at_r,
            Some(lr.mean_average_precision_at_r_interval),
        ),
        row(&format!("knn_accuracy ({knn}-NN)"), learned.knn_accuracy, baseline.knn_accuracy, None),
        row("effective_rank", learned.effective_rank, baseline.effective_rank, None),
    ];
    let judged = learned.judgement.iter().flat_map(|judged| {
        let behind = judged.behind_head.as_ref();
        let all = [
            ("linear_probe_accuracy", judged.linear_probe_accuracy),
            ("knn_accuracy_behind_head", behind.map(|b| b.knn_accuracy)),
            ("linear_probe_accuracy_behind_head", behind.and_then(|b| b.linear_probe_accuracy)),
            ("effective_rank_behind_head", behind.map(|b| b.effective_rank)),
            ("rank_me", Some(judged.rank_me)),
            ("lidar", Some(judged.lidar)),
            ("alignment", Some(judged.alignment)),
            ("uniformity", Some(judged.uniformity)),
        ];
        all.into_iter().filter_map(|(name, value)| Some(alone(name, value?)))
    });
    std::iter::once(first).chain(recalls).chain(rest).chain(judged).collect()
}
