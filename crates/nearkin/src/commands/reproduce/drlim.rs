//! What the three experiments of DrLIM share: maps of the same images by several methods, beside each other.

use std::sync::Arc;
use std::time::Instant;

use nearkin_classic::Pca;
use nearkin_data::table::Matrix;
use nearkin_data::{Dataset, PrepareOptions, Prepared};
use nearkin_eval::{Layer, Neighbourhoods, Panel, Shape, neighbourhoods, pale};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{Inputs, KinRule, MethodConfig, Model, OptimizerConfig, Recipe, Schedule, pixels};

use super::Setting;
use crate::commands::fit::{Colours, Divided, Found, Method, accuracy, fit, vectors};
use crate::commands::{embed, prepare};
use crate::failure::Failure;

pub const PAPER: &str =
    "R. Hadsell, S. Chopra, Y. LeCun, \"Dimensionality Reduction by Learning an Invariant Mapping\", 2006.";

/// Neighbours by which trustworthiness and continuity are measured.
const NEIGHBOURHOOD: usize = 12;

/// Images of one square size: those that maps are fitted to, and others that are placed afterwards.
pub struct Images {
    pub dataset: Dataset,
    prepared: Arc<Prepared>,
    pixels: Matrix,
    divided: Divided,
}

/// A map: of the images it was fitted to, and of the others where it has places for them.
pub struct Placed {
    pub name: String,
    pub dim: usize,
    pub train: Vec<f32>,
    pub unseen: Option<Vec<f32>>,
    pub seconds: f64,
}

impl Images {
    /// Cuts the images to squares of this side.
    pub fn new(
        dataset: Dataset,
        size: usize,
        divided: Divided,
        setting: &Setting<'_>,
    ) -> Result<Self, Failure> {
        let prepared = prepare(&dataset, &PrepareOptions::new(1, size), setting.ui)?;
        let pixels = pixels(&prepared, size, 1)?;
        Ok(Self { dataset, prepared, pixels, divided })
    }

    pub fn train(&self) -> &[usize] {
        &self.divided.train
    }

    pub fn unseen(&self) -> &[usize] {
        &self.divided.held_out
    }

    /// The part that maps are fitted to, as a data set.
    pub fn training_set(&self) -> Dataset {
        self.dataset.subset(&self.divided.train)
    }

    /// Maps the pixels by a classical method, written as after `nearkin fit`.
    pub fn classical(&self, name: &str, method: &str, setting: &Setting<'_>) -> Result<Placed, Failure> {
        setting.go_on()?;
        setting.ui.note(format!("mapping by {method}"));
        let nothing = Colours::Nothing { rows: self.dataset.len() };
        let Found { train, unseen, dim, seconds, .. } =
            fit(&Method::parse(method)?, &self.pixels, &nothing, &self.divided, setting.seed)?;
        Ok(Placed { name: name.to_owned(), dim, train, unseen, seconds })
    }

    /// Maps the images by a network; `trained` are the seconds that it learned.
    pub fn learned(
        &self,
        name: &str,
        (model, trained): (Model, f64),
        setting: &Setting<'_>,
    ) -> Result<Placed, Failure> {
        let start = Instant::now();
        let inputs =
            Inputs::Images { prepared: Arc::clone(&self.prepared), fingerprint: self.dataset.fingerprint() };
        let all = Matrix { values: embed::embed(&model, &inputs, setting.ui)?, dim: model.dimension() };
        Ok(Placed {
            name: name.to_owned(),
            dim: all.dim,
            train: all.select(&self.divided.train).values,
            unseen: Some(all.select(&self.divided.held_out).values),
            seconds: trained + start.elapsed().as_secs_f64(),
        })
    }

    /// How often the nearest of the images fitted to is of the class of an unseen one.
    pub fn nearest_class(&self, map: &Placed, labels: &[u32]) -> Result<Option<f64>, Failure> {
        let Some(unseen) = &map.unseen else { return Ok(None) };
        self.nearest((unseen, &map.train, map.dim), labels).map(Some)
    }

    /// The same by the pixels as they are.
    pub fn nearest_class_by_pixels(&self, labels: &[u32]) -> Result<f64, Failure> {
        let [train, unseen] = [self.train(), self.unseen()].map(|part| self.pixels.select(part));
        self.nearest((&unseen.values, &train.values, self.pixels.dim), labels)
    }

    fn nearest(&self, (unseen, train, dim): (&[f32], &[f32], usize), labels: &[u32]) -> Result<f64, Failure> {
        let of = |part: &[usize]| part.iter().map(|&i| labels[i]).collect::<Vec<u32>>();
        let (asking, searched) = (of(self.unseen()), of(self.train()));
        let (unseen, train) = (Vectors::new(unseen, dim)?, Vectors::new(train, dim)?);
        accuracy((unseen, &asking), Some((train, &searched)), Metric::Euclidean, 1)
    }

    /// Whether neighbours on the map are neighbours by pixels and the other way round, among the unseen images.
    pub fn unseen_neighbourhoods(&self, map: &Placed) -> Result<Option<Neighbourhoods>, Failure> {
        let Some(unseen) = &map.unseen else { return Ok(None) };
        self.neighbourhoods(self.unseen(), unseen, map.dim).map(Some)
    }

    /// The same among the images that the map was fitted to.
    pub fn train_neighbourhoods(&self, map: &Placed) -> Result<Neighbourhoods, Failure> {
        self.neighbourhoods(self.train(), &map.train, map.dim)
    }

    fn neighbourhoods(&self, part: &[usize], places: &[f32], dim: usize) -> Result<Neighbourhoods, Failure> {
        let pixels = self.pixels.select(part);
        Ok(neighbourhoods(vectors(&pixels)?, Vectors::new(places, dim)?, NEIGHBOURHOOD)?)
    }
}

/// The two digits of the paper's experiments.
const DIGITS: [&str; 2] = ["4", "9"];

/// The first images of the digits 4 and 9 in MNIST's two splits, so many of each digit, and how many of them are to be fitted to:
/// those come first.
pub fn digits(setting: &Setting<'_>, [fitted, unseen]: [usize; 2]) -> Result<(Dataset, usize), Failure> {
    let path = setting.data()?;
    let all = Dataset::open(path)?;
    let classes: Vec<u32> = DIGITS
        .iter()
        .filter_map(|digit| all.classes().iter().position(|name| name == digit).map(|at| at as u32))
        .collect();
    let is_of = |i: usize, split: &str, class: u32| {
        let sample = all.sample(i);
        sample.split.as_deref() == Some(split) && sample.label == Some(class)
    };
    let part = |split: &str, count: usize| -> Vec<usize> {
        let first = |&class: &u32| (0..all.len()).filter(move |&i| is_of(i, split, class)).take(count);
        let mut chosen: Vec<usize> = classes.iter().flat_map(first).collect();
        chosen.sort_unstable();
        chosen
    };
    let (train, test) = (part("train", fitted), part("test", unseen));
    if classes.len() < DIGITS.len() || train.is_empty() || test.is_empty() {
        return Err(Failure::misuse(format!(
            "{} holds {} fours and nines to fit to and {} unseen ones: wanted is MNIST, with its four files train-… and t10k-…",
            path.display(),
            train.len(),
            test.len()
        )));
    }
    Ok((all.subset(&[&train[..], &test].concat()), train.len()))
}

/// DrLIM's recipe on one kind of kin; what differs between the experiments is given.
pub fn recipe(
    method: nearkin_train::DrLimMethod,
    kin: KinRule,
    encoder: nearkin_net::EncoderConfig,
    [size, dims]: [usize; 2],
    (epochs, lr): (usize, f64),
    setting: &Setting<'_>,
) -> Recipe {
    let epochs = setting.epochs(epochs);
    Recipe {
        seed: setting.seed,
        epochs,
        // One checkpoint, at the end: a run of minutes.
        validate_every: epochs,
        size: Some(size),
        channels: Some(1),
        embedding: Some(dims),
        kin: Some(kin),
        encoder,
        optimizer: OptimizerConfig::AdamW { lr, weight_decay: 0.0 },
        schedule: Schedule::default(),
        ..Recipe::of(MethodConfig::Drlim(method))
    }
}

/// Points in three dimensions as they are seen from their principal directions: `[first, second]` of them give the plane.
pub fn seen_along(points: &[f32], [first, second]: [usize; 2]) -> Result<Vec<[f32; 2]>, Failure> {
    let points = Vectors::new(points, 3)?;
    let turned = Pca::new(3).fit(points)?.map.transform(points)?;
    Ok(turned.chunks_exact(3).map(|p| [p[first], p[second]]).collect())
}

/// A map whose points are coloured by group; of groups without a name nothing stands in the legend. Points of `seen` lie pale and
/// small below the others.
pub fn panel(
    title: String,
    seen: &[([f32; 2], u32)],
    full: &[([f32; 2], u32)],
    groups: &[(String, [u8; 3])],
) -> Panel {
    let layer = |points: &[([f32; 2], u32)], group: usize, named: bool, shape, colour| Layer {
        name: if named { groups[group].0.clone() } else { String::new() },
        points: points.iter().filter(|(_, of)| *of as usize == group).map(|(at, _)| *at).collect(),
        colour,
        shape,
    };
    let below = (0..groups.len()).map(|g| layer(seen, g, false, Shape::Dots(1.3), pale(groups[g].1)));
    let above = (0..groups.len()).map(|g| layer(full, g, true, Shape::Dots(1.7), groups[g].1));
    Panel { title, axes: None, layers: below.chain(above).collect() }
}
