//! What is measured, of the learned embedding and of what it must beat alike.

use std::collections::{BTreeSet, HashMap};

use nearkin_data::table::Matrix;
use nearkin_eval::{
    Labeled, MetricRow, Retrieval, RetrievalOptions, Weighting, class_overlap, knn_accuracy, retrieval,
    spectrum,
};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{Encoder, Inputs, Model};
use serde::Serialize;

use crate::failure::Failure;

/// τ of the vote (Wu et al. 2018).
const TEMPERATURE: f64 = 0.07;

/// A labelled data set, embedded.
pub struct Set {
    pub inputs: Inputs,
    pub labels: Vec<u32>,
    pub classes: Vec<String>,
    pub vectors: Vec<f32>,
    pub dim: usize,
    /// Raw pixels, or scaled features.
    pub baseline: Matrix,
    pub fingerprint: String,
}

impl Set {
    pub fn learned(&self) -> Result<Vectors<'_>, Failure> {
        Ok(Vectors::new(&self.vectors, self.dim)?)
    }

    fn raw(&self) -> Result<Vectors<'_>, Failure> {
        Ok(Vectors::new(&self.baseline.values, self.baseline.dim)?)
    }

    /// The classes that have a sample here.
    fn present_classes(&self) -> Vec<String> {
        let present: BTreeSet<u32> = self.labels.iter().copied().collect();
        present.into_iter().map(|label| self.classes[label as usize].clone()).collect()
    }
}

/// The measures of one kind of vectors.
#[derive(Debug, Serialize)]
pub struct Measures {
    #[serde(flatten)]
    pub retrieval: Retrieval,
    /// The share of queries whose class wins the vote of their nearest references.
    pub knn_accuracy: f64,
    pub spread: f64,
    pub effective_rank: f64,
}

/// All that an evaluation found.
pub struct Found {
    pub learned: Measures,
    pub baseline: Measures,
    /// How many neighbours voted.
    pub knn: usize,
    /// One sentence on what was compared with what.
    pub protocol: String,
    /// What a reader of the numbers must know.
    pub notes: Vec<String>,
    /// Labels of the queries and of the references, numbered alike.
    pub labels: Labels,
}

/// Class numbers shared by queries and references.
pub struct Labels {
    pub query: Vec<u32>,
    pub reference: Option<Vec<u32>>,
    pub classes: Vec<String>,
}

impl Labels {
    /// Numbers classes by name: two data sets may number theirs differently.
    fn of(query: &Set, reference: Option<&Set>) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut classes: Vec<String> = Vec::new();
        let mut number = |set: &Set| -> Vec<u32> {
            let own: Vec<u32> = set
                .classes
                .iter()
                .map(|name| {
                    *numbers.entry(name.clone()).or_insert_with(|| {
                        classes.push(name.clone());
                        classes.len() as u32 - 1
                    })
                })
                .collect();
            set.labels.iter().map(|&l| own[l as usize]).collect()
        };
        let (query, reference) = (number(query), reference.map(&mut number));
        Self { query, reference, classes }
    }
}

pub fn measure(model: &Model, query: &Set, reference: Option<&Set>, knn: usize) -> Result<Found, Failure> {
    let labels = Labels::of(query, reference);
    // A network's vote is always taken by cosine, so that its temperature means the same for every one. A linear map was fitted
    // for plain votes by its own distance.
    let (vote, weighting) = match model.encoder {
        Encoder::Network(_) => (Metric::Cosine, Weighting::Exp { temperature: TEMPERATURE }),
        Encoder::Linear(_) => (model.metric(), Weighting::Uniform),
    };
    let of =
        |query: Vectors<'_>, reference: Option<Vectors<'_>>, metric: Metric| -> Result<Measures, Failure> {
            let asked = Labeled { vectors: query, labels: &labels.query };
            let searched = match (reference, &labels.reference) {
                (Some(vectors), Some(labels)) => Some(Labeled { vectors, labels }),
                _ => None,
            };
            let options = RetrievalOptions { metric, ..RetrievalOptions::default() };
            let spectrum = spectrum(query)?;
            Ok(Measures {
                retrieval: retrieval(asked, searched, &options)?,
                knn_accuracy: knn_accuracy(asked, searched, vote, knn, weighting)?,
                spread: spectrum.spread,
                effective_rank: spectrum.effective_rank,
            })
        };
    let learned = of(query.learned()?, reference.map(Set::learned).transpose()?, model.metric())?;
    let baseline = of(query.raw()?, reference.map(Set::raw).transpose()?, model.baseline_metric())?;
    let by = format!(
        "{} for the learned embedding, {} for {}",
        model.metric(),
        model.baseline_metric(),
        model.baseline_name()
    );
    let (n, noun) = (query.inputs.len(), query.inputs.noun());
    let protocol = match reference {
        None => format!("each of {n} {noun} asks among all others; {by}"),
        Some(reference) => format!("{n} {noun} ask among {} references; {by}", reference.inputs.len()),
    };
    Ok(Found { notes: notes(model, query, &learned), learned, baseline, knn, protocol, labels })
}

fn notes(model: &Model, query: &Set, learned: &Measures) -> Vec<String> {
    let mut notes = Vec::new();
    if query.fingerprint == model.data() {
        notes.push(format!(
            "this is the data that the model was trained on: its figures say little about new {}",
            query.inputs.noun()
        ));
    }
    if !model.classes().is_empty() {
        let asked = query.present_classes();
        let seen = class_overlap(model.classes(), &asked);
        notes.push(match (seen.len(), asked.len()) {
            (0, n) => {
                format!("none of the {n} classes was seen in training: these figures are for new classes")
            }
            (s, n) if s == n => {
                format!("all {n} classes were seen in training: expect less on new classes")
            }
            (s, n) => format!("{s} of the {n} classes were seen in training, the others are new"),
        });
    }
    if learned.retrieval.lone_queries > 0 {
        let lone = learned.retrieval.lone_queries;
        notes.push(format!(
            "{lone} {} have no reference of their class and are left out of the averages",
            query.inputs.noun()
        ));
    }
    notes
}

impl Found {
    /// The rows of the table, each under its field's name.
    pub fn rows(&self) -> Vec<MetricRow> {
        let (l, p) = (&self.learned, &self.baseline);
        let row = |name: &str, learned: f64, baseline: f64, interval| MetricRow {
            name: name.to_owned(),
            learned,
            baseline: Some(baseline),
            interval,
        };
        let (lr, pr) = (&l.retrieval, &p.retrieval);
        let mut rows = vec![row(
            "precision_at_1",
            lr.precision_at_1,
            pr.precision_at_1,
            Some(lr.precision_at_1_interval),
        )];
        for (k, learned) in lr.recall_at_k.iter().filter(|(k, _)| **k > 1) {
            rows.push(row(
                &format!("recall_at_{k}"),
                *learned,
                pr.recall_at_k.get(k).copied().unwrap_or(0.0),
                None,
            ));
        }
        rows.push(row("r_precision", lr.r_precision, pr.r_precision, None));
        rows.push(row(
            "mean_average_precision_at_r",
            lr.mean_average_precision_at_r,
            pr.mean_average_precision_at_r,
            Some(lr.mean_average_precision_at_r_interval),
        ));
        rows.push(row(&format!("knn_accuracy ({}-NN)", self.knn), l.knn_accuracy, p.knn_accuracy, None));
        rows.push(row("effective_rank", l.effective_rank, p.effective_rank, None));
        rows
    }
}
