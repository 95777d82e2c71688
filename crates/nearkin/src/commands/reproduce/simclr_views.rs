//! SimCLR's figure 5: single augmentations and pairs of them as the only difference between two views of an image.

use nearkin_data::{Affine, Blur, Crop, Cutout, Dataset, Jitter, ViewConfig};
use nearkin_eval::{Figure, Labeled, Layer, LinearProbeOptions, Panel, Shape, linear_probe};
use nearkin_net::EncoderConfig;
use nearkin_sweep::Vectors;
use nearkin_train::{MethodConfig, OptimizerConfig, Recipe, Schedule, SimClr};

use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::{embed, read_samples};
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "simclr-views",
    title: "SimCLR: single augmentations and pairs of them",
    about: "the crop × colour grid as a picture: a linear probe after training on each view and each pair of views",
    paper: "T. Chen, S. Kornblith, M. Norouzi, G. Hinton, \"A Simple Framework for Contrastive Learning of Visual Representations\", 2020, \
            section 3.1 and figure 5.",
    data: Data::Given("CIFAR-10, or another labelled set of images with parts train and test"),
    goes_on: false,
    run,
};

const EPOCHS: usize = 4;
/// As in the recipes of `recipes/simclr/`.
const SIDE: usize = 32;
const WIDTH: usize = 32;
const BATCH: usize = 64;
const TEMPERATURE: f32 = 0.2;
const RATE: f64 = 1e-3;
/// By how much two operations have to be better than one: a tie is not better.
const BETTER: f64 = 0.001;
/// Shades of the grid, from its lowest value to its highest.
const SHADES: [[f32; 3]; 2] = [[243.0, 246.0, 251.0], [120.0, 166.0, 236.0]];
const INK: [u8; 3] = [38, 44, 54];

/// An operation, as it changes a pipeline that changes nothing.
type Operation = (&'static str, fn(&mut ViewConfig));

const OPERATIONS: [Operation; 6] = [
    ("crop", |views| {
        views.crop = Crop::RandomResized { scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] };
    }),
    ("colour", |views| {
        views.jitter =
            Some(Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, probability: 0.8 });
    }),
    ("grey", |views| views.grey = 0.5),
    ("blur", |views| views.blur = Some(Blur { sigma: [0.1, 2.0], probability: 0.5 })),
    ("cutout", |views| views.cutout = Some(Cutout { side: 0.5, probability: 1.0 })),
    ("turn", |views| {
        views.affine =
            Some(Affine { degrees: 180.0, translate: 0.0, scale: [1.0; 2], shear: 0.0, probability: 1.0 });
    }),
];

/// Places of the two operations that the finding is about.
const CROP: usize = 0;
const COLOUR: usize = 1;

fn views(of: [usize; 2]) -> ViewConfig {
    let mut views = ViewConfig { crop: Crop::None {}, ..ViewConfig::default() };
    of.iter().for_each(|&at| OPERATIONS[at].1(&mut views));
    views
}

fn recipe(views: ViewConfig, epochs: usize, lr: f64, seed: u64) -> Recipe {
    let method = SimClr { batch: BATCH, temperature: TEMPERATURE, ..SimClr::default() };
    Recipe {
        seed,
        epochs,
        size: Some(SIDE),
        // One checkpoint, at the end.
        validate_every: epochs,
        encoder: EncoderConfig::SmallConv { width: WIDTH },
        optimizer: OptimizerConfig::AdamW { lr, weight_decay: 1e-4 },
        schedule: Schedule::default(),
        views: Some(views),
        ..Recipe::of(MethodConfig::Simclr(method))
    }
}

/// The grid's values; below the diagonal stands what is above it.
type Grid = [[f64; OPERATIONS.len()]; OPERATIONS.len()];

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let all = Dataset::open(setting.data()?)?;
    let parts = [all.split("train")?, all.split("test")?];
    let epochs = setting.epochs(EPOCHS);
    let probed = |name: &str, views: ViewConfig, epochs: usize, lr: f64| -> Result<f64, Failure> {
        let (model, _) = setting.train(name, recipe(views, epochs, lr, setting.seed), &parts[0])?;
        let mut sides = Vec::new();
        for part in &parts {
            let inputs = read_samples(&model, part, setting.ui)?;
            let Some((labels, _)) = inputs.labels()? else {
                return Err(Failure::misuse(format!("{} has no labels for a probe", all.path().display())));
            };
            sides.push((embed::embed(&model, &inputs, setting.ui)?, labels));
        }
        let side = |at: usize| -> Result<Labeled<'_>, Failure> {
            let (vectors, labels) = &sides[at];
            Ok(Labeled { vectors: Vectors::new(vectors, model.dimension())?, labels })
        };
        Ok(linear_probe(side(0)?, side(1)?, &LinearProbeOptions::default())?.accuracy)
    };
    // At a rate of 0 nothing is learned.
    let untrained = probed("run-untrained", views([CROP, CROP]), 1, 0.0)?;
    let mut grid = Grid::default();
    let all_of = |row: usize| (row..OPERATIONS.len()).map(move |column| [row, column]);
    for [row, column] in (0..OPERATIONS.len()).flat_map(all_of) {
        let names = [row, column].map(|at| OPERATIONS[at].0);
        let name = if row == column { names[0].to_owned() } else { names.join("-") };
        let found = probed(&format!("run-{name}"), views([row, column]), epochs, RATE)?;
        (grid[row][column], grid[column][row]) = (found, found);
    }
    let both = grid[CROP][COLOUR];
    let header = std::iter::once(String::new()).chain(OPERATIONS.map(|(name, _)| name.to_owned()));
    let rows =
        OPERATIONS.iter().zip(&grid).map(|((name, _), row)| ((*name).to_owned(), row.map(Some).to_vec()));
    Ok(Outcome {
        story: vec![
            "A small net learns without labels by SimCLR, and all that differs between two views of an image is one operation, or two. A \
             linear classifier on its features, fitted to the labels of the same images, says on the test images what it has learned. \
             On the diagonal stand single operations."
                .into(),
            "The paper changes one of the two views alone, after a crop that all its images need to have one size; images here have one \
             size, and both views are changed. The pipeline has one order of operations, so the grid is symmetric."
                .into(),
        ],
        facts: vec![
            ("learned from".into(), format!("{} images, their labels unused", parts[0].len())),
            ("measured on".into(), format!("{} test images", parts[1].len())),
            ("net".into(), format!("small-conv of width {WIDTH}, a head of 256 and 128 units")),
            ("batch, temperature".into(), format!("{BATCH}, {TEMPERATURE}")),
            ("optimizer".into(), format!("AdamW, rate {RATE}, a cosine to zero")),
            ("epochs".into(), epochs.to_string()),
            ("the same net, untrained".into(), format!("{untrained:.3}")),
        ],
        findings: vec![
            Finding::at_least("crop and colour less crop alone", both - grid[CROP][CROP], BETTER),
            Finding::at_least("crop and colour less colour alone", both - grid[COLOUR][COLOUR], BETTER),
        ],
        tables: vec![Table {
            title: "Accuracy of a linear probe".into(),
            header: header.collect(),
            rows: rows.collect(),
        }],
        figures: vec![picture(&grid)],
    })
}

/// The grid as the paper draws it: a shade and a number a cell.
fn picture(grid: &Grid) -> Picture {
    let values = || grid.iter().flatten().copied();
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let last = (OPERATIONS.len() - 1) as f32;
    let word =
        |text: String, at: [f32; 2]| Layer { name: text, points: vec![at], colour: INK, shape: Shape::Words };
    let mut layers = Vec::new();
    for (row, values) in grid.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            let share = if high > low { ((value - low) / (high - low)) as f32 } else { 0.0 };
            let colour =
                [0, 1, 2].map(|c| (SHADES[0][c] + (SHADES[1][c] - SHADES[0][c]) * share).round() as u8);
            let at = [column as f32, last - row as f32];
            layers.push(Layer { name: String::new(), points: vec![at], colour, shape: Shape::Cells });
            // Without its leading zero, so that neighbours stay apart.
            layers.push(word(format!("{value:.3}").trim_start_matches('0').to_owned(), at));
        }
    }
    for (place, (name, _)) in OPERATIONS.iter().enumerate() {
        layers.push(word((*name).to_owned(), [-1.1, last - place as f32]));
        layers.push(word((*name).to_owned(), [place as f32, last + 0.8]));
    }
    Picture {
        name: EXPERIMENT.name.into(),
        caption: "Accuracy of a linear probe after training on one operation (the diagonal) or two.".into(),
        figure: Figure {
            panels: vec![Panel { title: "linear probe, by what views differ in".into(), axes: None, layers }],
            columns: 1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_changes_a_setting_of_its_own_and_pairs_have_both() {
        let none = ViewConfig { crop: Crop::None {}, ..ViewConfig::default() };
        for row in 0..OPERATIONS.len() {
            assert_ne!(views([row, row]), none);
            for column in 0..row {
                let pair = views([row, column]);
                assert_eq!(pair, views([column, row]));
                assert!(pair != views([row, row]) && pair != views([column, column]));
            }
        }
    }

    #[test]
    fn the_grid_is_drawn_with_a_number_in_each_cell() {
        let mut grid = Grid::default();
        grid.iter_mut().flatten().enumerate().for_each(|(i, value)| *value = i as f64 / 100.0);
        let svg = picture(&grid).figure.svg().unwrap();
        assert!(svg.contains(">.350<") && svg.matches("<rect").count() == 37, "{svg}");
        assert_eq!(svg.matches(">cutout<").count(), 2);
        // The highest value has the deepest shade.
        assert!(svg.contains("fill=\"#78a6ec\"") && svg.contains("fill=\"#f3f6fb\""), "{svg}");
    }
}
