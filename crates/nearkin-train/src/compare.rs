//! Several recipes under equal budgets and the same seeds, measured on the same data.
//!
//! K. Musgrave, S. Belongie, S.-N. Lim, "A Metric Learning Reality Check", 2020: methods seem to differ when their nets, batches,
//! augmentation and budgets do. What a comparison holds fixed, it should say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use nearkin_data::{Dataset, PrepareOptions, Prepared};
use nearkin_eval::{Labeled, LinearProbeOptions, RetrievalOptions, knn_accuracy, linear_probe, retrieval};
use nearkin_sweep::{Metric, Vectors};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::files::write_whole;
use crate::inputs::Inputs;
use crate::judge::{VOTE, VOTES};
use crate::model::{Encoder, Model, pixels, prepared_side};
use crate::progress::Event;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::training::{Training, resolve};

const RESULT: &str = "result.json";

/// A recipe that takes part.
#[derive(Debug, Clone, PartialEq)]
pub struct Contender {
    /// What the table calls it, and its folder.
    pub name: String,
    /// How it trains; its seed is replaced.
    pub recipe: Recipe,
}

/// What one contender came to with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Score {
    /// The contender.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// The recipe, so that a result is not taken for that of another.
    pub recipe: Recipe,
    /// The fingerprints of the data that it learned from, and of the data that it was measured on.
    pub data: [String; 2],
    /// precision@1
    pub precision_at_1: f64,
    /// R-precision
    pub r_precision: f64,
    /// MAP@R
    pub mean_average_precision_at_r: f64,
    /// What neighbours and a linear classifier say that know the training images' classes; `None` where the test images are of other
    /// classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_classes: Option<KnownClasses>,
    /// Seconds of training.
    pub seconds: f64,
}

/// Accuracy on test images of the training images' classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KnownClasses {
    /// Of the weighted vote of 200 neighbours.
    pub knn_accuracy: f64,
    /// Of a linear classifier on the embeddings.
    pub linear_probe_accuracy: f64,
    /// The same two behind the projection head, for networks that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind_head: Option<[f64; 2]>,
}

impl KnownClasses {
    /// What [`figures`](Self::figures) are called.
    pub const NAMES: [&str; 4] =
        ["200-NN", "linear probe", "200-NN behind the head", "linear probe behind it"];

    /// Accuracy of the neighbours and of the linear classifier, and the same two behind the head; `None` where there is no head.
    pub fn figures(&self) -> [Option<f64>; 4] {
        let [knn, probe] = self.behind_head.map_or([None; 2], |both| both.map(Some));
        [Some(self.knn_accuracy), Some(self.linear_probe_accuracy), knn, probe]
    }
}

/// Trains each contender with each seed in a run folder of its own, `out/NAME/seed-N`, and measures its model on `test`, or without it
/// on the part of `data` that the recipes' split keeps for tests. A split by chance follows the seed, so that what is said of the
/// methods does not hang on one choice of classes.
///
/// What is finished is not done again, and what was interrupted is resumed, so that the same call goes on where the last one
/// stopped. `None` when `stop` was set on the way.
///
/// # Errors
/// As training and evaluation; when recipes divide the data differently, or not at all and there is no `test`; and when `out` holds
/// runs of other recipes or data.
pub fn compare(
    contenders: &[Contender],
    seeds: std::ops::Range<u64>,
    (data, test): (&Path, Option<&Path>),
    out: &Path,
    device: &Device,
    observer: &mut dyn FnMut(&str, u64, Event<'_>),
    stop: &AtomicBool,
) -> Result<Option<Vec<Score>>, TrainError> {
    let Some(first) = contenders.first() else { return Ok(Some(Vec::new())) };
    for other in contenders {
        let differ = [
            ("split", first.recipe.split != other.recipe.split),
            ("names", first.recipe.names != other.recipe.names),
            ("attributes", first.recipe.attributes != other.recipe.attributes),
        ];
        if let Some((field, _)) = differ.into_iter().find(|(_, differ)| *differ) {
            return Err(TrainError::OtherData { one: first.name.clone(), other: other.name.clone(), field });
        }
    }
    let (whole, _) = first.recipe.open(data)?;
    let (summary, given) = (whole.describe(), test.map(Dataset::open).transpose()?);
    let mut scores = Vec::new();
    // Round by round, so that an early look at the table compares like with like.
    for seed in seeds {
        let of_seed = Recipe { seed, ..first.recipe.clone() };
        let test = match &given {
            Some(test) => test.clone(),
            None => of_seed.test_part(&whole)?,
        };
        let train = of_seed.training_part(&whole)?;
        let data_of = [train.fingerprint(), test.fingerprint()];
        let classes = shared_classes(&train, &test);
        for Contender { name, recipe } in contenders {
            let recipe = resolve(Recipe { seed, ..recipe.clone() }, &summary)?;
            let folder = out.join(name).join(format!("seed-{seed}"));
            if let Some(score) = finished(&folder, &recipe, &data_of)? {
                scores.push(score);
                continue;
            }
            let mut hear = |event: Event<'_>| observer(name, seed, event);
            let training = match begun(&folder, &recipe, &data_of[0])? {
                true => Training::resume(&folder, device, &mut hear)?,
                false => Training::begin(recipe.clone(), data, &folder, device, &mut hear)?,
            };
            let outcome = training.run(&mut hear, stop)?;
            if outcome.interrupted || stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let model = Model::open(&folder, device)?;
            let asked = model.read_samples(&test, &mut |_, _| {})?;
            let vectors = model.embed(&asked, &mut |_, _| {})?;
            let [precision_at_1, r_precision, mean_average_precision_at_r] =
                measure(&model, &asked, &vectors)?;
            let known_classes = match &classes {
                None => None,
                Some([fit, labels]) => {
                    let searched = model.read_samples(&train, &mut |_, _| {})?;
                    Some(known_classes(&model, (&searched, fit), (&asked, &vectors, labels))?)
                }
            };
            let score = Score {
                name: name.clone(),
                seed,
                recipe,
                data: data_of.clone(),
                precision_at_1,
                r_precision,
                mean_average_precision_at_r,
                known_classes,
                seconds: outcome.seconds,
            };
            let path = folder.join(RESULT);
            let text =
                serde_json::to_string_pretty(&score).map_err(|e| TrainError::io("write", &path)(e.into()))?;
            write_whole(&path, text.as_bytes())?;
            scores.push(score);
        }
    }
    Ok(Some(scores))
}

/// The result of a run that is done.
fn finished(folder: &Path, recipe: &Recipe, data: &[String; 2]) -> Result<Option<Score>, TrainError> {
    let path = folder.join(RESULT);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(TrainError::io("read", &path))?,
    };
    let score: Score = serde_json::from_str(&text)
        .map_err(|e| TrainError::Toml { path: path.clone(), message: e.to_string() })?;
    if score.recipe != *recipe || score.data != *data {
        return Err(TrainError::OtherComparison(path));
    }
    Ok(Some(score))
}

/// Whether the run was begun, and is to go on.
fn begun(folder: &Path, recipe: &Recipe, data: &str) -> Result<bool, TrainError> {
    let path = folder.join("run.toml");
    if !path.is_file() {
        return Ok(false);
    }
    let (_, file) = Run::open(folder)?;
    if file.recipe != *recipe || file.fingerprint != data {
        return Err(TrainError::OtherComparison(path));
    }
    Ok(true)
}

fn measure(model: &Model, inputs: &Inputs, vectors: &[f32]) -> Result<[f64; 3], TrainError> {
    let (labels, _) = inputs.labels()?.ok_or(TrainError::NeedsLabels { method: "compare" })?;
    let vectors = Vectors::new(vectors, model.dimension())?;
    let options = RetrievalOptions { metric: model.metric(), ..RetrievalOptions::default() };
    let found = retrieval(Labeled { vectors, labels: &labels }, None, &options)?;
    Ok([found.precision_at_1, found.r_precision, found.mean_average_precision_at_r])
}

/// Class numbers of both sets, by one numbering; `None` unless every class of the test has samples to learn from.
fn shared_classes(fit: &Dataset, test: &Dataset) -> Option<[Vec<u32>; 2]> {
    let (of_fit, of_test) = (fit.labels()?, test.labels()?);
    let present = fit.present_classes();
    let numbers = |dataset: &Dataset, labels: &[u32]| -> Option<Vec<u32>> {
        let name = |label: &u32| &dataset.classes()[*label as usize];
        labels.iter().map(|l| present.iter().position(|p| p == name(l)).map(|at| at as u32)).collect()
    };
    Some([numbers(fit, &of_fit)?, numbers(test, &of_test)?])
}

fn known_classes(
    model: &Model,
    (searched, fit): (&Inputs, &[u32]),
    (asked, vectors, labels): (&Inputs, &[f32], &[u32]),
) -> Result<KnownClasses, TrainError> {
    let of = |fitted: &[f32], asked: &[f32], dim: usize| accuracies((fitted, fit), (asked, labels), dim);
    let found = of(&model.embed(searched, &mut |_, _| {})?, vectors, model.dimension())?;
    let behind_head = match (&model.encoder, searched.images(), asked.images()) {
        (Encoder::Network(network), Some(searched), Some(asked)) => {
            match (network.project(searched)?, network.project(asked)?) {
                (Some(fitted), Some(asked)) => Some(of(&fitted.values, &asked.values, asked.dim)?),
                _ => None,
            }
        }
        _ => None,
    };
    let [knn_accuracy, linear_probe_accuracy] = found;
    Ok(KnownClasses { knn_accuracy, linear_probe_accuracy, behind_head })
}

/// Of the vote of neighbours, and of a linear classifier.
fn accuracies(
    (fitted, fit): (&[f32], &[u32]),
    (asked, labels): (&[f32], &[u32]),
    dim: usize,
) -> Result<[f64; 2], TrainError> {
    let fit = Labeled { vectors: Vectors::new(fitted, dim)?, labels: fit };
    let asked = Labeled { vectors: Vectors::new(asked, dim)?, labels };
    Ok([
        knn_accuracy(asked, Some(fit), Metric::Cosine, VOTES, VOTE)?,
        linear_probe(fit, asked, &LinearProbeOptions::default())?.accuracy,
    ])
}

/// What the pixels themselves come to, less the mean of the training images, at the size and channels of a recipe for this data;
/// `None` where the test images are of other classes, or no images. Kept in `out`, so that it is measured once.
///
/// # Errors
/// When images cannot be read.
pub fn raw_pixels(
    recipe: &Recipe,
    (data, test): (&Path, &Path),
    out: &Path,
) -> Result<Option<KnownClasses>, TrainError> {
    let (whole, _) = recipe.open(data)?;
    if whole.media().is_signal() {
        return Ok(None);
    }
    let recipe = resolve(recipe.clone(), &whole.describe())?;
    let (fit, test) = (recipe.training_part(&whole)?, Dataset::open(test)?);
    let Some([fit_labels, labels]) = shared_classes(&fit, &test) else { return Ok(None) };
    let path = out.join("raw-pixels.json");
    let data_of = [fit.fingerprint(), test.fingerprint()];
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok((found, figures)) = serde_json::from_str::<([String; 2], KnownClasses)>(&text)
        && found == data_of
    {
        return Ok(Some(figures));
    }
    let (size, channels) = (recipe.size.unwrap_or(32), recipe.channels.unwrap_or(3));
    let read = |dataset: &Dataset| {
        let options = PrepareOptions::new(channels, prepared_side(size));
        pixels(&Arc::new(Prepared::prepare(dataset, &options, &mut |_, _| {})?), size, channels)
    };
    let (mut fitted, mut asked) = (read(&fit)?, read(&test)?);
    let dim = fitted.dim;
    let rows = (fitted.values.len() / dim) as f64;
    let mut mean = vec![0.0; dim];
    for row in fitted.values.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) / rows);
    }
    for row in fitted.values.chunks_exact_mut(dim).chain(asked.values.chunks_exact_mut(dim)) {
        row.iter_mut().zip(&mean).for_each(|(x, m)| *x -= *m as f32);
    }
    let [knn_accuracy, linear_probe_accuracy] =
        accuracies((&fitted.values, &fit_labels), (&asked.values, &labels), dim)?;
    let found = KnownClasses { knn_accuracy, linear_probe_accuracy, behind_head: None };
    let text =
        serde_json::to_string(&(data_of, found)).map_err(|e| TrainError::io("write", &path)(e.into()))?;
    write_whole(&path, text.as_bytes())?;
    Ok(Some(found))
}

/// The contender of a recipe file, called as the file is.
///
/// # Errors
/// As [`Recipe::read`].
pub fn contender(path: &Path) -> Result<Contender, TrainError> {
    let name = path.file_stem().map_or_else(PathBuf::new, PathBuf::from).display().to_string();
    Ok(Contender { name, recipe: Recipe::read(path)? })
}
