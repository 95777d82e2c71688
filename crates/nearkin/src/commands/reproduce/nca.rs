//! Deep NCA: the chance that a sample picks a neighbour of its class, learned for a map on a plane and for a space of more dimensions.

use std::path::Path;

use nearkin_classic::Pca;
use nearkin_data::table::Matrix;
use nearkin_data::{Dataset, PrepareOptions};
use nearkin_eval::{Figure, Labeled, Layer, PALETTE, Panel, Shape, expected_accuracy, hue};
use nearkin_net::EncoderConfig;
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{MethodConfig, NcaMethod, OptimizerConfig, Recipe, Schedule, pixels};

use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::fit::accuracy;
use crate::commands::{embed, prepare, read_samples};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "nca",
    title: "Deep NCA: stochastic neighbours of unseen images",
    about: "the expected accuracy of deep NCA in 2 and 64 dimensions beside raw pixels and PCA, on the images in the repository",
    paper: "J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov, \"Neighbourhood Components Analysis\", 2004; with a net as in \
            R. Salakhutdinov, G. Hinton, \"Learning a Nonlinear Embedding by Preserving Class Neighbourhood Structure\", 2007.",
    data: Data::Own,
    goes_on: false,
    run,
};

/// Fashion-MNIST's 10,000 test images stand in the repository.
const DATA: &str = "data/fashion-mnist";
/// Images to learn from: the others are unseen.
const LEARNED: usize = 6000;
const SIDE: usize = 28;
const EPOCHS: usize = 20;
/// Dimensions of the larger map.
const DIMENSIONS: usize = 64;
/// Scales κ that are tried; the largest leave the nearest image alone.
const SCALES: [f64; 8] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Vectors of the images learned from and of the unseen ones.
struct Places {
    name: String,
    train: Matrix,
    unseen: Matrix,
    seconds: Option<f64>,
}

/// The expected accuracy of unseen images.
struct Expected {
    /// With the squared distances as they are, κ = 1.
    plain: f64,
    /// With the κ of [`SCALES`] that suits best, which is `scale`.
    best: f64,
    scale: f64,
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    if !Path::new(DATA).exists() {
        return Err(Failure::misuse(format!(
            "no {DATA} here: nca runs on the images in the repository, so run it from there"
        )));
    }
    let all = Dataset::open(Path::new(DATA))?;
    let [train, unseen] = [0..LEARNED, LEARNED..all.len()].map(|part| all.subset(&part.collect::<Vec<_>>()));
    let labels = |part: &Dataset| part.labels().unwrap_or_default();
    let (train_labels, unseen_labels) = (labels(&train), labels(&unseen));
    let epochs = setting.epochs(EPOCHS);
    let deep = |name: &str, run: &str, dims: usize| -> Result<Places, Failure> {
        let method = NcaMethod { classes: 10, per_class: 12, scale: 1.0, sphere: false };
        let recipe = Recipe {
            seed: setting.seed,
            epochs,
            hold_out: 0.0,
            validate_every: epochs,
            size: Some(SIDE),
            channels: Some(1),
            embedding: Some(dims),
            encoder: EncoderConfig::SmallConv { width: 16 },
            optimizer: OptimizerConfig::AdamW { lr: 1e-3, weight_decay: 1e-4 },
            schedule: Schedule::default(),
            views: Some(Default::default()),
            ..Recipe::of(MethodConfig::Nca(method))
        };
        let (model, seconds) = setting.train(run, recipe, &train)?;
        let place = |part: &Dataset| -> Result<Matrix, Failure> {
            let values = embed::embed(&model, &read_samples(&model, part, setting.ui)?, setting.ui)?;
            Ok(Matrix { values, dim: dims })
        };
        Ok(Places {
            name: name.to_owned(),
            train: place(&train)?,
            unseen: place(&unseen)?,
            seconds: Some(seconds),
        })
    };
    let wide = deep("deep NCA, 64 dimensions", "run-64", DIMENSIONS)?;
    let plane = deep("deep NCA, 2 dimensions", "run-2", 2)?;
    let raw = |part: &Dataset| -> Result<Matrix, Failure> {
        Ok(pixels(&prepare(part, &PrepareOptions::new(1, SIDE), setting.ui)?, SIDE, 1)?)
    };
    let expected = |of: &Places| -> Result<Expected, Failure> {
        let asking =
            Labeled { vectors: Vectors::new(&of.unseen.values, of.unseen.dim)?, labels: &unseen_labels };
        let searched =
            Labeled { vectors: Vectors::new(&of.train.values, of.train.dim)?, labels: &train_labels };
        let at = |scale: f64| -> Result<f64, Failure> {
            let metric = Metric::SquaredEuclidean;
            Ok(expected_accuracy(asking, Some(searched), metric, 1.0 / scale)?.expected_accuracy)
        };
        let mut found = Expected { plain: at(1.0)?, best: 0.0, scale: 1.0 };
        for scale in SCALES {
            let best = at(scale)?;
            if best > found.best {
                (found.best, found.scale) = (best, scale);
            }
        }
        Ok(found)
    };
    let (train_pixels, unseen_pixels) = (raw(&train)?, raw(&unseen)?);
    let pca = Pca::new(2).fit(Vectors::new(&train_pixels.values, train_pixels.dim)?)?.map;
    let project = |of: &Matrix| -> Result<Matrix, Failure> {
        Ok(Matrix { values: pca.transform(Vectors::new(&of.values, of.dim)?)?, dim: 2 })
    };
    let pca = Places {
        name: "PCA of pixels, 2 dimensions".into(),
        train: project(&train_pixels)?,
        unseen: project(&unseen_pixels)?,
        seconds: None,
    };
    let raw = Places { name: "raw pixels".into(), train: train_pixels, unseen: unseen_pixels, seconds: None };
    let found = [wide, plane, raw, pca]
        .into_iter()
        .map(|of| Ok((expected(&of)?, of)))
        .collect::<Result<Vec<(Expected, Places)>, Failure>>()?;
    let mut rows = Vec::new();
    for (expected, of) in &found {
        let nearest = accuracy(
            (Vectors::new(&of.unseen.values, of.unseen.dim)?, &unseen_labels),
            Some((Vectors::new(&of.train.values, of.train.dim)?, &train_labels)),
            Metric::Euclidean,
            1,
        )?;
        let values = [expected.plain, expected.best, expected.scale, nearest].map(Some);
        rows.push((of.name.clone(), values.into_iter().chain([of.seconds.map(f64::round)]).collect()));
    }
    let [(wide, _), (in_plane, plane), (raw, _), (in_pca, pca)] = &found[..] else {
        return Err(Failure::failed("a map is missing"));
    };
    Ok(Outcome {
        story: vec![
            format!(
                "A net learns from {LEARNED} images of Fashion-MNIST, ten classes; the other {} are unseen. The expected accuracy is \
                 that of a classifier that picks one of the images learned from at random, with probability proportional to \
                 exp(−κ d²): what NCA maximises, here measured on unseen images. The nets learn with κ = 1, since they set the scale \
                 themselves. Pixels know no scale, so every map is also given the κ that suits it best.",
                unseen.len()
            ),
        ],
        facts: vec![
            ("data".into(), format!("{DATA}: {LEARNED} images to learn from, {} unseen", unseen.len())),
            ("net".into(), "small-conv of width 16".into()),
            ("batch".into(), "10 classes × 12 images".into()),
            ("epochs".into(), epochs.to_string()),
        ],
        findings: vec![
            Finding::at_least(
                "expected accuracy, each at its best κ: deep NCA in 64 dimensions less raw pixels",
                wide.best - raw.best,
                0.03,
            ),
            Finding::at_least(
                "expected accuracy, each at its best κ: deep NCA in 2 dimensions less PCA in 2",
                in_plane.best - in_pca.best,
                0.2,
            ),
        ],
        tables: vec![Table {
            title: "Unseen images".into(),
            header: [
                "",
                "expected accuracy, κ = 1",
                "at the best κ",
                "the best κ",
                "1-NN accuracy",
                "seconds of training",
            ]
                .map(str::to_owned)
                .to_vec(),
            rows,
        }],
        figures: vec![Picture {
            name: "nca".into(),
            caption: "Unseen images on a plane, coloured by class: deep NCA's, and that of the first two principal components."
                .into(),
            figure: Figure {
                panels: [plane, pca].map(|of| panel(of, &unseen_labels, all.classes())).to_vec(),
                columns: 2,
            },
        }],
    })
}

/// The unseen images of a map on a plane.
fn panel(of: &Places, labels: &[u32], classes: &[String]) -> Panel {
    let points: Vec<[f32; 2]> = of.unseen.values.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
    let colour = |class: usize| match PALETTE.get(class) {
        Some(colour) => *colour,
        None => hue(class as f64 / classes.len() as f64),
    };
    let layer = |(class, name): (usize, &String)| Layer {
        name: name.clone(),
        points: points.iter().zip(labels).filter(|(_, l)| **l as usize == class).map(|(p, _)| *p).collect(),
        colour: colour(class),
        shape: Shape::Dots(1.3),
    };
    Panel { title: of.name.clone(), axes: None, layers: classes.iter().enumerate().map(layer).collect() }
}
