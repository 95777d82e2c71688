//! What the three experiments of DrLIM share: maps of the same images by several methods, beside each other.

use std::sync::Arc;
use std::time::Instant;

use nearkin_data::table::Matrix;
use nearkin_data::{Dataset, PrepareOptions, Prepared};
use nearkin_eval::{Figure, Layer, Neighbourhoods, PALETTE, Panel, Shape, SpringFilm, neighbourhoods, pale};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{Inputs, KinRule, MethodConfig, Model, OptimizerConfig, Recipe, Schedule, pixels};

use super::Setting;
use crate::commands::fit::{Colours, Divided, Found, Method, accuracy, fit, vectors};
use crate::commands::{embed, prepare};
use crate::failure::Failure;

pub const PAPER: &str =
    "R. Hadsell, S. Chopra, Y. LeCun, \"Dimensionality Reduction by Learning an Invariant Mapping\", 2006.";

/// Of the experiments on digits.
pub const DIGITS_RATE: f64 = 5e-3;
/// Stiffness of kin in the experiments on digits: so stiff that the whole map comes to lie within the margin and all strangers repel. The
/// softer kin are, the more the map shows how the digits are drawn, and the less which they are.
pub const DIGITS_STIFFNESS: f32 = 4096.0;
/// Points of a set that are drawn on a map: more would hide each other.
const SHOWN: usize = 1000;
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

/// A map whose points are coloured by group; of groups without a name nothing stands in the legend. Points of `seen` lie pale and
/// small below the others. Of many points some are drawn, evenly through the set.
pub fn panel(title: String, seen: &[Point], full: &[Point], groups: &[(String, [u8; 3])]) -> Panel {
    let layer = |points: &[Point], group: usize, name: &str, shape, colour| {
        let shown = points.len().min(SHOWN);
        let drawn = (0..shown).map(|i| points[i * points.len() / shown]);
        Layer {
            name: name.to_owned(),
            points: drawn.filter(|(_, of)| *of as usize == group).map(|(at, _)| at).collect(),
            colour,
            shape,
        }
    };
    let groups = groups.iter().enumerate();
    let below = groups.clone().map(|(g, (_, colour))| layer(seen, g, "", Shape::Dots(1.3), pale(*colour)));
    let above = groups.map(|(g, (name, colour))| layer(full, g, name, Shape::Dots(1.7), *colour));
    Panel { title, axes: None, layers: below.chain(above).collect() }
}

/// A place on a plane and the group it is coloured by.
pub type Point = ([f32; 2], u32);

/// Moments of the film of springs that are drawn, as shares of the way through it.
const MOMENTS: [f64; 4] = [0.0, 0.2, 0.5, 1.0];

/// The springs of a run on a plane at four moments: green between kin, red between strangers.
pub fn springs(film: &SpringFilm) -> Figure {
    let last = film.moments.len().saturating_sub(1);
    let mut classes = film.labels.clone();
    classes.sort_unstable();
    classes.dedup();
    let panel = |share: f64| {
        let moment = &film.moments[(share * last as f64).round() as usize];
        let lines = |kind: usize| {
            let ends = moment.springs[kind].iter().flat_map(|&(a, b, _)| [a, b]);
            ends.map(|end| moment.points[usize::from(end)]).collect()
        };
        let spring = |name: &str, kind: usize, colour| Layer {
            name: name.to_owned(),
            points: lines(kind),
            colour,
            shape: Shape::Segments(1.0),
        };
        let of = |class: u32| {
            let points = moment.points.iter().zip(&film.labels).filter(move |(_, label)| **label == class);
            points.map(|(point, _)| *point).collect()
        };
        let dots = classes.iter().enumerate().map(|(order, class)| Layer {
            name: film.classes.get(*class as usize).cloned().unwrap_or_default(),
            points: of(*class),
            colour: PALETTE[order % PALETTE.len()],
            shape: Shape::Dots(3.0),
        });
        let springs =
            [spring("kin attract", 0, [120, 200, 150]), spring("strangers repel", 1, [228, 130, 126])];
        Panel {
            title: format!("step {}", moment.step),
            axes: None,
            layers: springs.into_iter().chain(dots).collect(),
        }
    };
    let shown = if film.moments.is_empty() { &[][..] } else { &MOMENTS };
    Figure { panels: shown.iter().map(|share| panel(*share)).collect(), columns: MOMENTS.len() }
}
