//! Fine-tuning with few labels: what the network is worth to one who labels a share of the samples.

use nearkin_eval::{Labeled, LinearProbeOptions, MetricRow, linear_probe};
use nearkin_sweep::Vectors;
use nearkin_train::{
    Encoder, FewLabels, FineTuneOptions, LabeledSamples, Samples, TrainError, balanced_share, fine_tune,
};
use serde_json::json;

use super::case::{Case, Set};
use super::{Args, Found, json};
use crate::failure::Failure;
use crate::ui::Ui;

/// The shares of the paper.
const SHARES: [f64; 2] = [0.01, 0.1];

pub fn measure(case: &Case<'_>, args: &Args, ui: &Ui) -> Result<Found, Failure> {
    let Encoder::Network(model) = &case.model.encoder else {
        return Err(Failure::misuse(
            "a linear map has no weights to tune: --protocol fine-tune is of networks",
        ));
    };
    let (Some(reference), Some(labels)) = (case.reference, &case.labels.reference) else {
        return Err(Failure::misuse("--protocol fine-tune learns from a share of --reference: name it"));
    };
    if args.flip {
        return Err(Failure::misuse(
            "--flip changes embeddings, and --protocol fine-tune changes the network",
        ));
    }
    let unknown = case.labels.query.iter().find(|label| !labels.contains(label));
    if let Some(&label) = unknown {
        return Err(Failure::misuse(format!(
            "{} has the class {}, of which {} has no sample to learn from",
            case.query.inputs.path().display(),
            case.labels.classes[label as usize],
            reference.inputs.path().display()
        )));
    }
    let (shares, mut notes) = shares(&args.share, labels)?;
    let (learning, asking) = (samples(reference)?, samples(case.query)?);
    let learn = LabeledSamples { samples: &learning, labels, vectors: &reference.vectors };
    let test = LabeledSamples { samples: &asking, labels: &case.labels.query, vectors: &case.query.vectors };
    let (mut learned, mut baseline) = (Vec::new(), Vec::new());
    for share in shares {
        let options = FineTuneOptions { share, epochs: args.epochs, seed: args.seed.unwrap_or(0) };
        let bar = ui.bar("fine-tuning", 0);
        let found = fine_tune(model, learn, test, &options, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        baseline.push(raw_probe(case, reference, labels, &found)?);
        learned.push(found);
    }
    notes.extend(case.notes());
    notes.push(format!(
        "the labelled samples were drawn with seed {}: with few of them, other draws give other figures",
        args.seed.unwrap_or(0)
    ));
    let counts: Vec<String> = learned.iter().map(|of| of.samples.to_string()).collect();
    Ok(Found {
        rows: learned.iter().zip(&baseline).flat_map(|(of, raw)| rows(of, *raw)).collect(),
        sentence: format!(
            "learned from {} of {} {} with labels, as many of each class, and measured on {}",
            counts.join(" and "),
            reference.inputs.len(),
            reference.inputs.noun(),
            case.count()
        ),
        baseline: learned
            .iter()
            .zip(&baseline)
            .map(|(of, raw)| json!({ "share": of.share, "linear_probe_accuracy": raw }))
            .collect(),
        learned: json(&learned)?,
        notes,
        curves: Vec::new(),
        per_class: Vec::new(),
    })
}

/// The shares that were asked for, or those of the paper that leave a sample for each class; and a note on the others.
fn shares(asked: &[f64], labels: &[u32]) -> Result<(Vec<f64>, Vec<String>), Failure> {
    let of = |share: f64| balanced_share(labels, share, 0).map(|_| share);
    if !asked.is_empty() {
        return Ok((asked.iter().map(|&share| of(share)).collect::<Result<_, TrainError>>()?, Vec::new()));
    }
    let (mut shares, mut errors) = (Vec::new(), Vec::new());
    for found in SHARES.map(of) {
        match found {
            Ok(share) => shares.push(share),
            Err(error) => errors.push(error),
        }
    }
    match errors.pop() {
        Some(error) if shares.is_empty() => Err(error.into()),
        Some(error) => Ok((shares, vec![format!("left out: {error}")])),
        None => Ok((shares, Vec::new())),
    }
}

fn samples(set: &Set) -> Result<Samples, Failure> {
    Samples::of(&set.inputs).ok_or_else(|| Failure::misuse("rows of a table cannot be fine-tuned on"))
}

/// A linear classifier on raw values of the same samples.
fn raw_probe(case: &Case<'_>, reference: &Set, labels: &[u32], found: &FewLabels) -> Result<f64, Failure> {
    let dim = reference.baseline.dim;
    let rows = Vectors::new(&reference.baseline.values, dim)?;
    let values: Vec<f32> = found.chosen.iter().flat_map(|&i| rows.row(i)).copied().collect();
    let own: Vec<u32> = found.chosen.iter().map(|&i| labels[i]).collect();
    let fit = Labeled { vectors: Vectors::new(&values, dim)?, labels: &own };
    let raw = &case.query.baseline;
    let test = Labeled { vectors: Vectors::new(&raw.values, raw.dim)?, labels: &case.labels.query };
    Ok(linear_probe(fit, test, &LinearProbeOptions::default())?.accuracy)
}

fn rows(of: &FewLabels, raw: f64) -> [MetricRow; 3] {
    let row = |name: &str, learned: f64, baseline: Option<f64>| MetricRow {
        name: format!("{name} ({} %)", (of.share * 1e4).round() / 1e2),
        learned,
        baseline,
        interval: None,
    };
    [
        row("fine_tuned_accuracy", of.fine_tuned_accuracy, None),
        row("linear_probe_accuracy", of.linear_probe_accuracy, Some(raw)),
        row("from_scratch_accuracy", of.from_scratch_accuracy, None),
    ]
}
