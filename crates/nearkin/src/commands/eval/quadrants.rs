//! Linear classification of features pooled over the quadrants of an image.

use nearkin_data::table::Matrix;
use nearkin_eval::{Labeled, LinearSvm, LinearSvmOptions, MetricRow, chosen_c, linear_svm};
use nearkin_sweep::Vectors;
use nearkin_train::Encoder;
use serde::Serialize;

use super::case::{Case, Set};
use super::{Found, json};
use crate::failure::Failure;
use crate::ui::Ui;

/// The measures of one kind of features.
#[derive(Debug, Serialize)]
struct Measured {
    /// Values of an image.
    features: usize,
    #[serde(flatten)]
    svm: LinearSvm,
}

pub fn measure(case: &Case<'_>, ui: &Ui) -> Result<Found, Failure> {
    let Encoder::Network(model) = &case.model.encoder else {
        return Err(Failure::misuse(
            "--protocol quadrants is measured of networks: a linear map has no quadrants",
        ));
    };
    let (Some(reference), Some(fitted)) = (case.reference, &case.labels.reference) else {
        return Err(Failure::misuse(
            "--protocol quadrants fits its classifier to --reference: give it labelled images",
        ));
    };
    let pooled = |set: &Set| -> Result<Matrix, Failure> {
        let Some(images) = set.inputs.images() else {
            let noun = set.inputs.noun();
            return Err(Failure::misuse(format!(
                "--protocol quadrants is measured of images: {noun} have no quadrants"
            )));
        };
        let bar = ui.bar("pooling", images.len());
        let found = model.quadrants(images, &mut |done, _| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        Ok(found)
    };
    let svm = |asked: &Matrix, searched: &Matrix| -> Result<Measured, Failure> {
        let asked = Labeled { vectors: Vectors::new(&asked.values, asked.dim)?, labels: &case.labels.query };
        let searched = Labeled { vectors: Vectors::new(&searched.values, searched.dim)?, labels: fitted };
        let options = LinearSvmOptions::default();
        let options = LinearSvmOptions { c: chosen_c(searched, &options)?, ..options };
        Ok(Measured { features: asked.vectors.dim(), svm: linear_svm(searched, asked, &options)? })
    };
    let learned = svm(&pooled(case.query)?, &pooled(reference)?)?;
    let baseline = svm(&case.query.baseline, &reference.baseline)?;
    let row = |name: &str, learned: f64, baseline: f64| MetricRow {
        name: name.to_owned(),
        learned,
        baseline: Some(baseline),
        interval: None,
    };
    Ok(Found {
        rows: vec![
            row("linear_svm_accuracy", learned.svm.accuracy, baseline.svm.accuracy),
            row("fitted_accuracy", learned.svm.fitted_accuracy, baseline.svm.fitted_accuracy),
        ],
        sentence: format!(
            "linear SVMs, fitted to {} references, classify {}: {} features, each the largest of its quadrant, C = {}; {} values for {}, \
             C = {}",
            reference.inputs.len(),
            case.count(),
            learned.features,
            learned.svm.c,
            baseline.features,
            case.model.baseline_name(),
            baseline.svm.c,
        ),
        learned: json(&learned)?,
        baseline: json(&baseline)?,
        notes: case.notes(),
        curves: Vec::new(),
        per_class: Vec::new(),
    })
}
