//! `nearkin compare`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args as ClapArgs;
use nearkin_data::SplitRule;
use nearkin_eval::{MethodSummary, PairedDifference, compare_methods};
use nearkin_train::{Contender, Event, KnownClasses, Score, compare, contender, raw_pixels};
use serde_json::json;

use crate::cli::OnDevice;
use crate::commands::train::interruptible;
use crate::failure::Failure;
use crate::ui::{Ui, duration, table};

const EXAMPLE: &str = "\
Examples: eight methods on Omniglot, half of the characters to learn from and the others to be measured on
  nearkin compare recipes/compare/*.toml --data omniglot/ --split class-fraction=0.5 --out runs/omniglot
methods without labels on CIFAR-10, measured by 200 neighbours and a linear probe, beside raw pixels and an untrained net
  nearkin compare recipes/cifar10/*.toml --data cifar10#train --test cifar10#test --seeds 1 --out runs/cifar10";

/// What to compare, on what.
#[derive(Debug, ClapArgs)]
#[command(after_help = format!("{EXAMPLE}\n\n{}", super::train::DATA_HELP))]
pub struct Args {
    /// The recipes, two or more; a recipe is called as its file is
    #[arg(required = true, num_args = 2.., value_name = "RECIPE")]
    recipes: Vec<PathBuf>,
    /// Labelled images to train on; with a split, to be measured on too
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Labelled images to measure on [default: what the split keeps]. Of classes that are not among the others, retrieval is measured;
    /// of the same classes, also the vote of 200 neighbours and a linear probe
    #[arg(long, value_name = "PATH", conflicts_with = "split")]
    test: Option<PathBuf>,
    /// How --data is divided into what is trained on and what is measured, in place of the recipes': classes=0-40,
    /// classes=NAME,NAME, class-fraction=0.5, sample-fraction=0.8 or ATTRIBUTE=VALUE,VALUE. Fractions are drawn by each seed anew
    #[arg(long, value_name = "RULE")]
    split: Option<SplitRule>,
    /// Runs of each recipe, with the seeds 0, 1, 2 …
    #[arg(long, default_value = "5", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Replaces the epochs of every recipe
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Folder for the runs and the table; the same command goes on where it was stopped
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    device: OnDevice,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let device = args.device.open()?;
    let mut contenders: Vec<Contender> = Vec::new();
    for path in &args.recipes {
        let mut one = contender(path)?;
        if contenders.iter().any(|other| other.name == one.name) {
            return Err(Failure::misuse(format!("two recipes are called {}: rename one", one.name)));
        }
        one.recipe.split = args.split.clone().or(one.recipe.split);
        one.recipe.epochs = args.epochs.unwrap_or(one.recipe.epochs);
        contenders.push(one);
    }
    let total = contenders.len() as u64 * args.seeds;
    let mut done = 0;
    let mut observer = |name: &str, seed: u64, event: Event<'_>| match event {
        Event::Warning(text) if seed == 0 => ui.warn(format!("{name}: {text}")),
        Event::EpochDone(report) if report.epoch == report.epochs => {
            done += 1;
            ui.note(format!(
                "{name}, seed {seed}: loss {:.4}, {}  ({done} of at most {total} runs)",
                report.loss,
                duration(report.seconds)
            ));
        }
        _ => {}
    };
    let stop: &AtomicBool = &*interruptible()?;
    let found = compare(
        &contenders,
        0..args.seeds,
        (&args.data, args.test.as_deref()),
        &args.out,
        &device,
        &mut observer,
        stop,
    )?;
    let Some(scores) = found else {
        return Err(Failure::interrupted("saved; the same command goes on from there".to_owned()));
    };
    let pixels = match (&args.test, contenders.first()) {
        (Some(test), Some(first)) => raw_pixels(&first.recipe, (&args.data, test), &args.out)?,
        _ => None,
    };
    show(&contenders, &scores, pixels, ui)
}

fn show(
    contenders: &[Contender],
    scores: &[Score],
    pixels: Option<KnownClasses>,
    ui: &Ui,
) -> Result<(), Failure> {
    for score in scores {
        ui.print_json(&json!({
            "name": score.name, "seed": score.seed, "precision_at_1": score.precision_at_1,
            "r_precision": score.r_precision, "mean_average_precision_at_r": score.mean_average_precision_at_r,
            "known_classes": score.known_classes, "seconds": score.seconds,
        }));
    }
    if let Some(pixels) = pixels {
        ui.print_json(&json!({ "name": "raw pixels", "known_classes": pixels }));
    }
    if scores.iter().all(|score| score.known_classes.is_some()) {
        return show_known(contenders, scores, pixels, ui);
    }
    let of = |figure: fn(&Score) -> f64| {
        let values: Vec<(&str, Vec<f64>)> = contenders
            .iter()
            .map(|contender| {
                let own = scores.iter().filter(|score| score.name == contender.name);
                (contender.name.as_str(), own.map(figure).collect())
            })
            .collect();
        let slices: Vec<(&str, &[f64])> = values.iter().map(|(name, v)| (*name, v.as_slice())).collect();
        compare_methods(&slices)
    };
    let (by_map, by_precision, by_seconds) =
        (of(|s| s.mean_average_precision_at_r)?, of(|s| s.precision_at_1)?, of(|s| s.seconds)?);
    let rows = by_map.iter().map(|one| {
        let precision = named(&by_precision, &one.name).map_or_else(String::new, mean);
        let seconds = named(&by_seconds, &one.name).map_or(0.0, |s| s.mean);
        let behind = match &one.behind_best {
            None => "best".to_owned(),
            Some(PairedDifference { mean, interval: Some((low, high)) }) => {
                format!("{mean:.3} ({low:.3} to {high:.3})")
            }
            Some(PairedDifference { mean, interval: None }) => format!("{mean:.3}"),
        };
        [one.name.clone(), mean(one), behind, precision, duration(seconds)]
    });
    let head = ["recipe", "MAP@R", "behind the best", "precision@1", "a run"];
    ui.print(table(head, rows, &[1, 2, 3, 4]));
    ui.note("Means over the seeds with 95 % t-intervals; what lies behind the best is paired by seed.");
    Ok(())
}

/// Where the test images are of the training images' classes: what neighbours and a linear classifier make of them.
fn show_known(
    contenders: &[Contender],
    scores: &[Score],
    pixels: Option<KnownClasses>,
    ui: &Ui,
) -> Result<(), Failure> {
    let mut rows: Vec<(f64, [String; 6])> = Vec::new();
    for contender in contenders {
        let own: Vec<&Score> = scores.iter().filter(|score| score.name == contender.name).collect();
        let of = |figure: &dyn Fn(&Score) -> Option<f64>| -> Result<Option<MethodSummary>, Failure> {
            let values: Vec<f64> = own.iter().filter_map(|score| figure(score)).collect();
            if values.is_empty() {
                return Ok(None);
            }
            Ok(compare_methods(&[(contender.name.as_str(), &values)])?.into_iter().next())
        };
        let mut cells = Vec::new();
        for at in 0..KnownClasses::NAMES.len() {
            cells.push(of(&|score: &Score| score.known_classes.as_ref().and_then(|k| k.figures()[at]))?);
        }
        let seconds = of(&|score| Some(score.seconds))?.map_or(0.0, |summary| summary.mean);
        let order = cells[0].as_ref().map_or(0.0, |summary| summary.mean);
        let [knn, probe, knn_behind, probe_behind] =
            [0, 1, 2, 3].map(|at| cells[at].as_ref().map_or_else(String::new, mean));
        rows.push((order, [contender.name.clone(), knn, probe, knn_behind, probe_behind, duration(seconds)]));
    }
    if let Some(KnownClasses { knn_accuracy, linear_probe_accuracy, .. }) = pixels {
        let [knn, probe] = [knn_accuracy, linear_probe_accuracy].map(|value| format!("{value:.3}"));
        let none = String::new;
        rows.push((knn_accuracy, ["raw pixels".to_owned(), knn, probe, none(), none(), none()]));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let [knn, probe, knn_behind, probe_behind] = KnownClasses::NAMES;
    let head = ["recipe", knn, probe, knn_behind, probe_behind, "a run"];
    ui.print(table(head, rows.into_iter().map(|(_, row)| row), &[1, 2, 3, 4, 5]));
    ui.note(
        "Accuracy on the test images of neighbours and a linear classifier that know the classes of the training images; means over \
         the seeds with 95 % t-intervals.",
    );
    Ok(())
}

fn named<'a>(all: &'a [MethodSummary], name: &str) -> Option<&'a MethodSummary> {
    all.iter().find(|one| one.name == name)
}

fn mean(of: &MethodSummary) -> String {
    let half = of.interval.map_or(String::new(), |(low, high)| format!(" ± {:.3}", 0.5 * (high - low)));
    format!("{:.3}{half}", of.mean)
}
