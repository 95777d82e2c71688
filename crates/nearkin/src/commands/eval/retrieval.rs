//! Retrieval: who stands nearest to whom.

use nearkin_eval::{
    ClassRow, MetricRow, Retrieval, RetrievalOptions, Weighting, knn_accuracy, retrieval, spectrum,
};
use nearkin_sweep::Metric;
use nearkin_train::Encoder;
use serde::Serialize;

use super::{Found, case::Case, json};
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
}

pub fn measure(case: &Case<'_>, knn: Option<usize>) -> Result<Found, Failure> {
    // A network's vote is always taken by cosine, so that its temperature means the same for every one. A linear map was fitted
    // for plain votes by its own distance.
    let (vote, weighting, usual) = match case.model.encoder {
        Encoder::Network(_) => (Metric::Cosine, Weighting::Exp { temperature: TEMPERATURE }, NETWORK_VOTES),
        Encoder::Linear(_) => (case.model.metric(), Weighting::Uniform, LINEAR_VOTES),
    };
    let knn = knn.unwrap_or(usual);
    let [learned, baseline] = case.measure(|asked, searched, metric| {
        let options = RetrievalOptions { metric, ..RetrievalOptions::default() };
        let spectrum = spectrum(asked.vectors)?;
        Ok(Measures {
            retrieval: retrieval(asked, searched, &options)?,
            knn_accuracy: knn_accuracy(asked, searched, vote, knn, weighting)?,
            spread: spectrum.spread,
            effective_rank: spectrum.effective_rank,
        })
    })?;
    let (count, by) = (case.count(), case.by());
    let sentence = match case.reference {
        None => format!("each of {count} asks among all others; {by}"),
        Some(reference) => format!("{count} ask among {} references; {by}", reference.inputs.len()),
    };
    let mut notes = case.notes();
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
        curves: Vec::new(),
    })
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
    std::iter::once(first).chain(recalls).chain(rest).collect()
}
