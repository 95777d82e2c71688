//! What is measured: labelled samples, as the model places them and as they are.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use nearkin_data::Dataset;
use nearkin_data::table::Matrix;
use nearkin_eval::{Labeled, Pooling, class_overlap, pool};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{Inputs, Model, Recipe};

use super::{Args, Part};
use crate::commands::embed::{embed, embed_mirrored};
use crate::commands::{read, read_samples};
use crate::failure::Failure;
use crate::ui::Ui;

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
    /// The data that asks; of the run's data, the part that was asked for.
    pub fn asked(args: &Args, recipe: Option<&Recipe>, model: &Model, ui: &Ui) -> Result<Self, Failure> {
        let Some(part) = args.part else { return Self::at(&args.data, args, model, ui) };
        let Some(recipe) = recipe else {
            return Err(Failure::misuse(format!(
                "{} is no run of `nearkin train`, and so says nothing of parts of the data: leave out --part",
                args.model.display()
            )));
        };
        let recipe = Recipe {
            names: args.named.names.clone().or_else(|| recipe.names.clone()),
            attributes: args.attributes.clone().or_else(|| recipe.attributes.clone()),
            ..recipe.clone()
        };
        let (whole, notes) = recipe.open(&args.data)?;
        notes.iter().for_each(|note| ui.warn(note));
        let dataset = match part {
            Part::Test => recipe.test_part(&whole)?,
            Part::Train => recipe.training_part(&whole)?,
        };
        Self::of(read_samples(model, &dataset, ui)?, args, model, ui)
    }

    /// The data at a path.
    pub fn at(path: &Path, args: &Args, model: &Model, ui: &Ui) -> Result<Self, Failure> {
        let inputs = match &args.attributes {
            None => read(model, path, &args.named, ui)?,
            Some(attributes) => {
                let dataset = Dataset::open_named(path, args.named.names.as_ref())?;
                let (dataset, notes) = dataset.with_attributes(attributes)?;
                notes.iter().for_each(|note| ui.warn(note));
                read_samples(model, &dataset, ui)?
            }
        };
        Self::of(inputs, args, model, ui)
    }

    fn of(inputs: Inputs, args: &Args, model: &Model, ui: &Ui) -> Result<Self, Failure> {
        let Some((labels, classes)) = inputs.labels()? else {
            return Err(Failure::misuse(format!(
                "{} has no labels, and without them there is no right answer to measure",
                inputs.path().display()
            )));
        };
        if labels.len() < 2 {
            return Err(Failure::misuse(format!(
                "{} holds fewer than two {}",
                inputs.path().display(),
                inputs.noun()
            )));
        }
        let mut vectors = embed(model, &inputs, ui)?;
        if args.flip {
            vectors = averaged(model, &vectors, &embed_mirrored(model, &inputs, ui)?)?;
        }
        let baseline = model.baseline(&inputs)?;
        Ok(Self {
            fingerprint: inputs.fingerprint(),
            inputs,
            labels,
            classes,
            vectors,
            dim: model.dimension(),
            baseline,
        })
    }

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

/// The means of two embeddings of the same samples; where length means nothing, of unit length first.
fn averaged(model: &Model, one: &[f32], other: &[f32]) -> Result<Vec<f32>, Failure> {
    let dim = model.dimension();
    let mut both = [one, other].concat();
    if model.metric() == Metric::Cosine {
        both = Vectors::new(&both, dim)?.to_unit_length();
    }
    let samples = one.len() as u64 / dim as u64;
    let groups: Vec<u64> = (0..samples).chain(0..samples).collect();
    Ok(pool(Vectors::new(&both, dim)?, &groups, Pooling::Mean)?.vectors)
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

/// A model on data: what a protocol measures.
pub struct Case<'a> {
    pub model: &'a Model,
    pub query: &'a Set,
    pub reference: Option<&'a Set>,
    pub labels: Labels,
}

impl<'a> Case<'a> {
    pub fn new(model: &'a Model, query: &'a Set, reference: Option<&'a Set>) -> Self {
        Self { model, query, reference, labels: Labels::of(query, reference) }
    }

    /// The same measure of the learned embedding and of what it must beat.
    pub fn measure<T>(
        &self,
        of: impl Fn(Labeled<'_>, Option<Labeled<'_>>, Metric) -> Result<T, Failure>,
    ) -> Result<[T; 2], Failure> {
        let side = |query, reference: Option<Vectors<'_>>, metric| {
            let query = Labeled { vectors: query, labels: &self.labels.query };
            let reference = match (reference, &self.labels.reference) {
                (Some(vectors), Some(labels)) => Some(Labeled { vectors, labels }),
                _ => None,
            };
            of(query, reference, metric)
        };
        let learned = self.reference.map(Set::learned).transpose()?;
        let raw = self.reference.map(Set::raw).transpose()?;
        Ok([
            side(self.query.learned()?, learned, self.model.metric())?,
            side(self.query.raw()?, raw, self.model.baseline_metric())?,
        ])
    }

    /// By what metrics.
    pub fn by(&self) -> String {
        let (learned, baseline) = (self.model.metric(), self.model.baseline_metric());
        format!("{learned} for the learned embedding, {baseline} for {}", self.model.baseline_name())
    }

    /// `1200 images`.
    pub fn count(&self) -> String {
        format!("{} {}", self.query.inputs.len(), self.query.inputs.noun())
    }

    /// Refuses references, for protocols of one set.
    pub fn of_one_set(&self, protocol: &str) -> Result<(), Failure> {
        match self.reference {
            None => Ok(()),
            Some(_) => Err(Failure::misuse(format!(
                "{protocol} is measured within --data alone: leave out --reference"
            ))),
        }
    }

    /// What a reader must know of the data, whatever is measured.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.query.fingerprint == self.model.data() {
            notes.push(format!(
                "this is the data that the model was trained on: its figures say little about new {}",
                self.query.inputs.noun()
            ));
        }
        if !self.model.classes().is_empty() {
            let asked = self.query.present_classes();
            let seen = class_overlap(self.model.classes(), &asked);
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
        notes
    }
}
