//! Reads what peers compute, and compares.

use std::collections::HashMap;
use std::path::PathBuf;

use nearkin_loss::{Loss, Pull, Sides, Tuples};
use nearkin_sweep::{SameLabel, Vectors};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub struct Batch {
    pub dim: usize,
    pub labels: Vec<u32>,
    pub embeddings: Vec<f32>,
    pub ref_labels: Option<Vec<u32>>,
    pub ref_embeddings: Option<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
pub struct Case {
    pub name: String,
    pub batch: String,
    pub settings: Settings,
    pub tuples: Option<Listed>,
    pub weights: Option<String>,
    pub value: f64,
    pub gradient: Option<Vec<f64>>,
    pub ref_gradient: Option<Vec<f64>>,
    pub weight_gradient: Option<Vec<f64>>,
    pub peer_is_wrong: Option<String>,
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    weights: HashMap<String, Value>,
    cases: Vec<Case>,
}

/// A case's settings, by the peer's names.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Settings(HashMap<String, Value>);

impl Settings {
    #[track_caller]
    pub fn number(&self, name: &str) -> f32 {
        self.0.get(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {name} in {self:?}"))
            as f32
    }

    pub fn number_or(&self, name: &str, default: f32) -> f32 {
        self.0.get(name).and_then(Value::as_f64).map_or(default, |x| x as f32)
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn list(&self, name: &str) -> Option<Vec<f32>> {
        let list = self.0.get(name)?.as_array()?;
        Some(list.iter().map(|x| x.as_f64().unwrap() as f32).collect())
    }
}

/// Tuples as the files hold them.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Listed {
    Pairs { a1: Vec<u32>, p: Vec<u32>, a2: Vec<u32>, n: Vec<u32> },
    Triplets { a: Vec<u32>, p: Vec<u32>, n: Vec<u32> },
}

impl Listed {
    pub fn tuples(&self) -> Tuples {
        let pairs = |a: &[u32], b: &[u32]| a.iter().copied().zip(b.iter().copied()).collect();
        match self {
            Listed::Pairs { a1, p, a2, n } => Tuples::Pairs { kin: pairs(a1, p), strangers: pairs(a2, n) },
            Listed::Triplets { a, p, n } => {
                Tuples::Triplets(a.iter().zip(p).zip(n).map(|((a, p), n)| [*a, *p, *n]).collect())
            }
        }
    }
}

pub fn read<T: serde::de::DeserializeOwned>(file: &str) -> T {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{file}: {e}"))
}

pub fn batches() -> HashMap<String, Batch> {
    read("batches.json")
}

/// A case with all that it needs.
pub struct Given<'a> {
    pub case: &'a Case,
    pub batch: &'a Batch,
    /// Proxies or class vectors, row-major, of the batch's dimension.
    pub weights: Option<&'a [f32]>,
}

impl Given<'_> {
    pub fn settings(&self) -> &Settings {
        &self.case.settings
    }
}

/// Compares a loss with all cases of a file that are not the peer's mistakes. `build` makes the loss of a case, and may
/// pass over cases that no loss here stands for; at least `fewest` must remain.
///
/// Cases with weights take these as references, of class `row / per_class`; see [`Proxied`] for others.
#[track_caller]
pub fn compare(file: &str, fewest: usize, build: impl Fn(&Given<'_>) -> Option<Box<dyn Loss>>) {
    compare_with(file, fewest, |given| {
        let loss = build(given)?;
        Some(evaluate(given, loss.as_ref(), 1))
    });
}

/// As [`compare`], for losses whose classes have `per_class` vectors each: those of class `c` are rows `c · per_class ..`.
#[track_caller]
pub fn compare_proxies(
    file: &str,
    fewest: usize,
    build: impl Fn(&Given<'_>) -> Option<(Box<dyn Loss>, usize)>,
) {
    compare_with(file, fewest, |given| {
        let (loss, per_class) = build(given)?;
        Some(evaluate(given, loss.as_ref(), per_class))
    });
}

/// As [`compare`], for what is no [`Loss`]: `pull` returns value and gradients.
#[track_caller]
pub fn compare_with(file: &str, fewest: usize, pull: impl Fn(&Given<'_>) -> Option<Pull>) {
    let (batches, file_of): (_, File) = (batches(), read(file));
    let weights: HashMap<String, Vec<f32>> =
        file_of.weights.iter().map(|(name, value)| (name.clone(), flat(value))).collect();
    let mut compared = 0;
    for case in file_of.cases.iter().filter(|case| case.peer_is_wrong.is_none()) {
        let weights = case.weights.as_ref().and_then(|name| weights.get(name)).map(Vec::as_slice);
        let given = Given { case, batch: &batches[&case.batch], weights };
        if let Some(found) = pull(&given) {
            assert_same(file, case, &found);
            compared += 1;
        }
    }
    assert!(compared >= fewest, "{file}: only {compared} of {} cases were compared", file_of.cases.len());
}

fn flat(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap() as f32],
    }
}

pub fn evaluate(given: &Given<'_>, loss: &dyn Loss, per_class: usize) -> Pull {
    let batch = given.batch;
    let vectors = |values| Vectors::new(values, batch.dim).unwrap();
    let queries = vectors(&batch.embeddings);
    let pull = |sides: Sides<'_>| match &given.case.tuples {
        Some(listed) => loss.pull_mined(&sides, &listed.tuples()).unwrap(),
        None => loss.pull(&sides).unwrap(),
    };
    match (given.weights, &batch.ref_labels, &batch.ref_embeddings) {
        (Some(weights), ..) => {
            let rows = weights.len() / batch.dim;
            let classes: Vec<u32> = (0..rows).map(|row| (row / per_class) as u32).collect();
            pull(Sides::between(queries, vectors(weights), &SameLabel::between(&batch.labels, &classes)))
        }
        (None, Some(labels), Some(references)) => {
            pull(Sides::between(queries, vectors(references), &SameLabel::between(&batch.labels, labels)))
        }
        _ => pull(Sides::within(queries, &SameLabel::within(&batch.labels))),
    }
}

/// 1e-5 relative for the value, 1e-4 of the largest component for a gradient.
fn assert_same(file: &str, case: &Case, found: &Pull) {
    let name = format!("{file}: {} on {} {:?}", case.name, case.batch, case.settings);
    let close = (found.loss - case.value).abs() <= 1e-5 * case.value.abs().max(1e-2);
    assert!(close, "{name}: value {}, wanted {}", found.loss, case.value);
    let references = case.ref_gradient.as_ref().or(case.weight_gradient.as_ref());
    if let Some(wanted) = &case.gradient {
        assert_gradient(&name, &found.query_gradient, wanted);
        if let Some(wanted) = references {
            assert_gradient(&format!("{name}, references"), &found.reference_gradient, wanted);
        }
    } else {
        let all = found.query_gradient.iter().chain(&found.reference_gradient);
        assert!(all.into_iter().all(|g| g.is_finite()), "{name}: the gradient is not finite");
    }
}

pub fn assert_gradient(name: &str, found: &[f32], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len(), "{name}");
    let scale = wanted.iter().fold(1e-3, |m: f64, g| m.max(g.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let difference = (f64::from(*found) - wanted).abs();
        assert!(
            difference <= 1e-4 * scale,
            "{name}: gradient {i} is {found}, wanted {wanted} (largest {scale})"
        );
    }
}
