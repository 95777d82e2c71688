//! Shifted digits: by pixels, a digit is nearer to another at the same place than to itself moved by 3 pixels. So a map of pixel
//! neighbours shows the shift; a map that is told which images are one digit moved does not.

use std::fmt::Write as _;

use nearkin_data::{DRLIM_SHIFTS, DRLIM_SIDE, Dataset, KinGraph, shifted};
use nearkin_eval::{Figure, PALETTE, variance_explained};
use nearkin_net::EncoderConfig;
use nearkin_sweep::Vectors;
use nearkin_train::{DrLimMethod, KinRule};

use super::drlim::{DIGITS_RATE, DIGITS_STIFFNESS, Images, PAPER, Placed, Point, digits, panel, recipe};
use super::{Data, Experiment, Finding, Outcome, Picture, Setting, Table};
use crate::commands::fit::Divided;
use crate::failure::Failure;

pub const EXPERIMENT: Experiment = Experiment {
    name: "drlim-shift",
    title: "DrLIM: shifted digits",
    about: "fours and nines moved by 3 and 6 pixels: kin by pixels fail, kin known by shift do not",
    paper: PAPER,
    data: Data::Given("a folder with MNIST's four IDX files"),
    goes_on: false,
    run,
};

/// Digits of each class that are moved: to fit to, and unseen.
const DIGITS: [usize; 2] = [1200, 400];
/// Nearest by pixels, the paper's number.
const NEIGHBOURS: usize = 5;
const EPOCHS: usize = 80;
/// What the shift may explain of a map, and what it must of those that fail.
const INVARIANT: f64 = 0.1;
const VARIES: f64 = 0.3;
/// How much better an unseen digit finds its class where kin are known.
const BETTER: f64 = 0.08;

struct Measured {
    map: Placed,
    accuracy: f64,
    /// Shares of the variance of the unseen digits' places.
    shift: f64,
    class: f64,
    /// That of the shift among the fitted.
    shift_fitted: f64,
}

fn run(setting: &Setting<'_>) -> Result<Outcome, Failure> {
    let (originals, count) = digits(setting, DIGITS)?;
    let dataset = shifted(&originals, &DRLIM_SHIFTS, DRLIM_SIDE)?;
    let fitted = count * DRLIM_SHIFTS.len();
    let labels = dataset.labels().unwrap_or_default();
    let shifts: Vec<u32> = (0..dataset.len()).map(|i| (i % DRLIM_SHIFTS.len()) as u32).collect();
    let divided = Divided { train: (0..fitted).collect(), held_out: (fitted..dataset.len()).collect() };
    let images = Images::new(dataset, DRLIM_SIDE, divided, setting)?;
    let training_set = images.training_set();
    let known = known_kin(&originals.subset(&(0..count).collect::<Vec<_>>()), &training_set, setting)?;

    let method = DrLimMethod { stiffness: DIGITS_STIFFNESS, ..DrLimMethod::default() };
    let recipe = |kin| {
        recipe(method.clone(), kin, EncoderConfig::LeNet {}, [DRLIM_SIDE, 2], (EPOCHS, DIGITS_RATE), setting)
    };
    let (by_shift, by_pixels) = (recipe(known), recipe(KinRule::Neighbours(NEIGHBOURS)));
    let epochs = by_shift.epochs;
    let trained = setting.train("run-known-shifts", by_shift, &training_set)?;
    let invariant = images.learned("DrLIM, kin by shift", trained, setting)?;
    let trained = setting.train("run-pixels", by_pixels, &training_set)?;
    let maps = [
        invariant,
        images.learned("DrLIM, kin by pixels", trained, setting)?,
        images.classical("LLE", "lle", setting)?,
        images.classical("Isomap", "isomap --neighbors 12 --landmarks 1000", setting)?,
        images.classical("PCA", "pca --dims 2", setting)?,
    ];
    let maps: Vec<Measured> =
        maps.into_iter().map(|map| measure(map, &images, &labels, &shifts)).collect::<Result<_, _>>()?;
    let by_pixels = images.nearest_class_by_pixels(&labels)?;
    let [known, pixels, lle, ..] = &maps[..] else { return Err(Failure::failed("a map is missing")) };
    Ok(Outcome {
        story: vec![
            format!(
                "Each digit is moved by −6, −3, 0, 3 and 6 pixels on a square of {DRLIM_SIDE}. A LeNet with 2 outputs is trained twice. \
                 First with kin known by the shift: all five places of a digit are kin, and kin with all places of the \
                 {NEIGHBOURS} digits nearest to it where none is moved. Then with kin by pixels: the {NEIGHBOURS} nearest moved digits."
            ),
            "By pixels, neighbours are digits that stand at the same place, so every map made from them shows where a digit \
             stands. Kin known by the shift make a map of digits alone. 1-NN asks for the class of an unseen moved digit among \
             the fitted ones."
                .into(),
        ],
        facts: vec![
            ("data".into(), format!("{fitted} moved digits to fit to, {} unseen", images.unseen().len())),
            ("net".into(), "LeNet, 2 outputs".into()),
            ("margin, stiffness of kin".into(), format!("{}, {DIGITS_STIFFNESS}", method.margin)),
            ("epochs, learning rate".into(), format!("{epochs}, {DIGITS_RATE}")),
        ],
        findings: vec![
            Finding::at_least(
                "1-NN accuracy of unseen digits: kin by shift less kin by pixels",
                known.accuracy - pixels.accuracy,
                BETTER,
            ),
            Finding::at_least(
                "1-NN accuracy of unseen digits: kin by shift less LLE",
                known.accuracy - lle.accuracy,
                BETTER,
            ),
            Finding::at_most("share of the variance that the shift explains, kin by shift", known.shift, INVARIANT),
            Finding::at_least("share of the variance that the shift explains, kin by pixels", pixels.shift, VARIES),
            Finding::at_least("share of the variance that the shift explains, LLE", lle.shift, VARIES),
        ],
        tables: vec![table(&maps, by_pixels)],
        figures: vec![figure(&maps, &images, &labels, &shifts)],
    })
}

/// Kin as the paper knows them, written as a list of pairs that the run names.
fn known_kin(originals: &Dataset, moved: &Dataset, setting: &Setting<'_>) -> Result<KinRule, Failure> {
    let nearest = KinGraph::nearest_pixels(originals, NEIGHBOURS)?;
    let places = DRLIM_SHIFTS.len();
    let id = |digit: usize, place: usize| &moved.sample(digit * places + place).id;
    let mut text = String::from("a,b\n");
    for digit in 0..originals.len() {
        for place in 0..places {
            for other in place + 1..places {
                let _ = writeln!(text, "{},{}", id(digit, place), id(digit, other));
            }
        }
    }
    for (a, b) in nearest.edges() {
        for place in 0..places {
            for other in 0..places {
                let _ = writeln!(text, "{},{}", id(a as usize, place), id(b as usize, other));
            }
        }
    }
    let path = setting.path("kin-by-shift.csv");
    std::fs::write(&path, text)
        .map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))?;
    Ok(KinRule::Pairs(path))
}

fn measure(map: Placed, images: &Images, labels: &[u32], shifts: &[u32]) -> Result<Measured, Failure> {
    let nothing = || Failure::failed(format!("{} has no places for unseen digits", map.name));
    let of = |levels: &[u32], part: &[usize]| part.iter().map(|&i| levels[i]).collect::<Vec<u32>>();
    let unseen = Vectors::new(map.unseen.as_deref().ok_or_else(nothing)?, map.dim)?;
    let (shift, class) = (of(shifts, images.unseen()), of(labels, images.unseen()));
    let explained = variance_explained(unseen, &[&shift, &class])?;
    let shift_fitted = of(shifts, images.train());
    let fitted = variance_explained(Vectors::new(&map.train, map.dim)?, &[&shift_fitted])?;
    Ok(Measured {
        accuracy: images.nearest_class(&map, labels)?.ok_or_else(nothing)?,
        shift: explained[0].eta_squared,
        class: explained[1].eta_squared,
        shift_fitted: fitted[0].eta_squared,
        map,
    })
}

fn table(maps: &[Measured], by_pixels: f64) -> Table {
    let header = [
        "",
        "1-NN, unseen",
        "shift explains, unseen",
        "shift explains, fitted",
        "class explains, unseen",
        "seconds",
    ];
    let row = |found: &Measured| {
        let values = [found.accuracy, found.shift, found.shift_fitted, found.class, found.map.seconds];
        (found.map.name.clone(), values.map(Some).to_vec())
    };
    let pixels = ("the pixels themselves".to_owned(), [Some(by_pixels), None, None, None, None].to_vec());
    Table {
        title: "What each map on a plane shows".into(),
        header: header.map(str::to_owned).to_vec(),
        rows: maps.iter().map(row).chain([pixels]).collect(),
    }
}

/// Unseen digits by class above, by shift below.
fn figure(maps: &[Measured], images: &Images, labels: &[u32], shifts: &[u32]) -> Picture {
    let first = labels.iter().copied().min().unwrap_or_default();
    let classes: Vec<(String, [u8; 3])> =
        [("4", PALETTE[0]), ("9", PALETTE[1])].map(|(name, colour)| (name.to_owned(), colour)).to_vec();
    // Left to right: blues through grey to reds.
    let scale = [[42, 78, 178], [120, 160, 222], [120, 120, 120], [236, 152, 110], [190, 45, 40]];
    let by_shift: Vec<(String, [u8; 3])> =
        DRLIM_SHIFTS.iter().zip(scale).map(|(shift, colour)| (format!("{shift:+}"), colour)).collect();
    let drawn = |found: &Measured, of: &dyn Fn(usize) -> u32| -> Vec<Point> {
        let places = found.map.unseen.as_deref().unwrap_or_default();
        places.chunks_exact(2).zip(images.unseen()).map(|(p, &i)| ([p[0], p[1]], of(i))).collect()
    };
    let class = |i: usize| u32::from(labels[i] != first);
    let shift = |i: usize| shifts[i];
    let above = maps
        .iter()
        .map(|found| panel(format!("{}: class", found.map.name), &[], &drawn(found, &class), &classes));
    let below = maps
        .iter()
        .map(|found| panel(format!("{}: shift", found.map.name), &[], &drawn(found, &shift), &by_shift));
    Picture {
        name: "drlim-shift".into(),
        caption: "Unseen moved digits on five maps. Above coloured by class, below by the shift in pixels."
            .into(),
        figure: Figure { panels: above.chain(below).collect(), columns: maps.len() },
    }
}
