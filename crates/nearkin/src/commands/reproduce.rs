//! `nearkin reproduce`: experiments of papers at a size for two cores, their findings asserted by numbers.
//!
//! An experiment is a file of `reproduce/` and a line of [`EXPERIMENTS`]. It says what it needs, does its work, and hands back what
//! it found; the frame here prints it and writes the page and its figures.

mod batch_hard;
mod calibration;
mod characters;
mod cifar10;
mod cpc;
mod drlim;
mod drlim_4v9;
mod drlim_pose;
mod drlim_shift;
mod facenet;
mod n_pair;
mod nca;
mod page;
mod simclr_views;
mod ucr;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use nearkin_data::Dataset;
use nearkin_eval::{Figure, Report};
use nearkin_train::{Event, Model, Recipe, Run, Training};
use serde::Serialize;
use serde_json::json;

use super::eval::curves;
use super::fit::typed;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::springs::film;
use crate::ui::{Ui, duration, table};

/// Every experiment that can be repeated.
const EXPERIMENTS: [&Experiment; 12] = [
    &drlim_4v9::EXPERIMENT,
    &drlim_shift::EXPERIMENT,
    &drlim_pose::EXPERIMENT,
    &facenet::EXPERIMENT,
    &batch_hard::EXPERIMENT,
    &n_pair::EXPERIMENT,
    &nca::EXPERIMENT,
    &calibration::EXPERIMENT,
    &simclr_views::EXPERIMENT,
    &cpc::EXPERIMENT,
    &ucr::EXPERIMENT,
    &cifar10::EXPERIMENT,
];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each experiment prints what it found beside what the paper leads one to want, writes a page with figures, and ends with exit code 1
if a finding does not hold.

Examples:
  nearkin reproduce drlim-pose
  nearkin reproduce drlim-4v9 --data mnist/ --out runs/4v9")]
pub struct Args {
    /// The experiment
    #[arg(value_name = "EXPERIMENT", value_parser = named())]
    experiment: &'static Experiment,
    /// The folder to make, for the page, its figures and the runs [default: runs/reproduce/EXPERIMENT]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The data that the experiment needs, unless it makes or finds its own
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Passes over the training data, in place of the experiment's: fewer to try it out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
}

/// The names of the experiments, with what each is and needs as help.
fn named() -> impl TypedValueParser<Value = &'static Experiment> {
    let value = |experiment: &&'static Experiment| {
        let needs = match experiment.data {
            Data::Own => "needs no data".to_owned(),
            Data::Given(what) => format!("--data {what}"),
        };
        PossibleValue::new(experiment.name).help(format!("{}; {needs}", experiment.about))
    };
    let find = |name: String| EXPERIMENTS.into_iter().find(|experiment| experiment.name == name);
    PossibleValuesParser::new(EXPERIMENTS.iter().map(value))
        .try_map(move |name| find(name).ok_or("no such experiment"))
}

/// An experiment of a paper.
#[derive(Debug)]
pub struct Experiment {
    /// As it is typed.
    pub name: &'static str,
    /// The headline of its page.
    pub title: &'static str,
    /// One line.
    pub about: &'static str,
    /// Authors, year, title.
    pub paper: &'static str,
    pub data: Data,
    /// Whether the same command goes on where it was stopped; else its folder must be new.
    pub goes_on: bool,
    pub run: fn(&Setting<'_>) -> Result<Outcome, Failure>,
}

/// Where an experiment's data comes from.
#[derive(Debug, Clone, Copy)]
pub enum Data {
    /// It makes its data, or takes that of the repository.
    Own,
    /// The user names it: what that must be.
    Given(&'static str),
}

/// What an experiment is run with.
pub struct Setting<'a> {
    data: Option<&'a Path>,
    /// Passes over the data that were asked for in place of the experiment's.
    epochs: Option<usize>,
    pub seed: u64,
    /// The folder of the experiment, which is there.
    out: &'a Path,
    stop: Arc<AtomicBool>,
    pub ui: &'a Ui,
}

/// What an experiment found.
pub struct Outcome {
    /// What was done, as paragraphs of Markdown.
    pub story: Vec<String>,
    /// Name and value of what a reader must know to repeat it: samples, settings.
    pub facts: Vec<(String, String)>,
    /// What must hold.
    pub findings: Vec<Finding>,
    pub tables: Vec<Table>,
    pub figures: Vec<Picture>,
}

/// A number that the paper leads one to expect.
#[derive(Debug, Clone)]
pub struct Finding {
    pub name: String,
    pub value: f64,
    pub wanted: Wanted,
}

/// The bound of a finding.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// Numbers beside each other: a name and values a row.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    pub title: String,
    /// One more than the values of a row: the first stands above the names.
    pub header: Vec<String>,
    /// `None` where a method has no value.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// A figure, and what to see in it.
pub struct Picture {
    /// The file's name, without its ending.
    pub name: String,
    pub caption: String,
    pub figure: Figure,
}

impl Finding {
    pub fn at_least(name: impl Into<String>, value: f64, bound: f64) -> Self {
        Self { name: name.into(), value, wanted: Wanted::AtLeast(bound) }
    }

    pub fn at_most(name: impl Into<String>, value: f64, bound: f64) -> Self {
        Self { name: name.into(), value, wanted: Wanted::AtMost(bound) }
    }

    /// Whether the value is within its bound; what is no number is not.
    pub fn holds(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(bound) => self.value >= bound,
            Wanted::AtMost(bound) => self.value <= bound,
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "at least {bound}"),
            Self::AtMost(bound) => write!(f, "at most {bound}"),
        }
    }
}

impl Setting<'_> {
    /// The data that the user named.
    pub fn data(&self) -> Result<&Path, Failure> {
        self.data.ok_or_else(|| Failure::failed("the experiment was given no data"))
    }

    /// The passes asked for, or else the experiment's own number.
    pub fn epochs(&self, usual: usize) -> usize {
        self.epochs.unwrap_or(usual)
    }

    /// A file or folder of the experiment.
    pub fn path(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Trains a recipe on a data set in the run folder `name`; gives the model and the seconds it took.
    pub fn train(&self, name: &str, recipe: Recipe, dataset: &Dataset) -> Result<(Model, f64), Failure> {
        let device = OnDevice::cpu().open()?;
        let folder = self.path(name);
        let epochs = recipe.epochs;
        let bar = self.ui.bar("training", 0);
        self.ui.note(format!("training {name} on {} samples, {} epochs", dataset.len(), recipe.epochs));
        let mut observer = |event: Event<'_>| match event {
            Event::Warning(text) => self.ui.warn(text),
            Event::Stepped(report) => {
                bar.set_length(report.steps as u64);
                bar.set_position(report.step as u64);
                bar.set_message(format!("loss {:.4}", report.loss));
            }
            _ => {}
        };
        let training = Training::begin_on(recipe, dataset, &folder, &device, &mut observer)?;
        let outcome = training.run(&mut observer, &self.stop)?;
        bar.finish_and_clear();
        if outcome.interrupted {
            return Err(Failure::interrupted(format!(
                "{} holds what was trained so far; the experiment itself starts anew",
                folder.display()
            )));
        }
        let report = Report {
            title: format!("nearkin: {name} of the experiment"),
            subtitle: format!("{} samples, {} epochs.", dataset.len(), epochs),
            command: typed(),
            curves: curves(&folder)?,
            springs: film(&folder)?,
            ..Report::default()
        };
        report.write(folder.join("report.html"))?;
        Ok((Model::open(&folder, &device)?, outcome.seconds))
    }

    /// Ends the experiment if the user asked for it: between two long steps that cannot be stopped themselves.
    pub fn go_on(&self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::interrupted("nothing was measured yet; the experiment starts anew"));
        }
        Ok(())
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let experiment = args.experiment;
    match (experiment.data, &args.data) {
        (Data::Given(what), None) => {
            return Err(Failure::misuse(format!("{} needs --data {what}", experiment.name)));
        }
        (Data::Own, Some(data)) => {
            return Err(Failure::misuse(format!(
                "{} makes its own data and takes no --data {}",
                experiment.name,
                data.display()
            )));
        }
        _ => {}
    }
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs/reproduce").join(experiment.name));
    if !experiment.goes_on {
        Run::check_free(&out)?;
    }
    std::fs::create_dir_all(&out)
        .map_err(|e| Failure::failed(format!("cannot make {}: {e}", out.display())))?;
    let setting = Setting {
        data: args.data.as_deref(),
        epochs: args.epochs.map(|n| n as usize),
        seed: args.seed,
        out: &out,
        stop: super::train::interruptible()?,
        ui,
    };
    let start = Instant::now();
    let outcome = (experiment.run)(&setting)?;
    let seconds = start.elapsed().as_secs_f64();
    let page = page::write(experiment, &setting, &outcome, seconds)?;
    say(experiment, &outcome, ui);
    let failed = outcome.findings.iter().filter(|finding| !finding.holds()).count();
    ui.print_json(&json!({
        "event": "reproduced", "experiment": experiment.name, "out": out, "page": page,
        "seconds": seconds, "holds": failed == 0,
    }));
    ui.print(format!("wrote {} in {}", page.display(), duration(seconds)));
    if failed > 0 {
        let all = outcome.findings.len();
        return Err(Failure::failed(format!(
            "{failed} of {all} findings of {} do not hold, as said above",
            experiment.name
        )));
    }
    Ok(())
}

fn say(experiment: &Experiment, outcome: &Outcome, ui: &Ui) {
    for found in &outcome.tables {
        ui.print_json(&json!({ "event": "table", "experiment": experiment.name, "table": found }));
        ui.print(format!("\n{}\n{}", found.title, page::columns(found)));
    }
    for finding in &outcome.findings {
        let Finding { name, value, wanted } = finding;
        ui.print_json(&json!({
            "event": "finding", "experiment": experiment.name, "name": name, "value": value,
            "wanted": wanted.to_string(), "holds": finding.holds(),
        }));
    }
    let rows = outcome.findings.iter().map(|finding| {
        let holds = if finding.holds() { "holds" } else { "DOES NOT HOLD" };
        [finding.name.clone(), format!("{:.3}", finding.value), finding.wanted.to_string(), holds.to_owned()]
    });
    ui.print(format!("\n{}\n", table(["finding", "value", "wanted", ""], rows, &[1])));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_that_is_no_number_does_not_hold() {
        assert!(Finding::at_least("x", 0.95, 0.95).holds() && !Finding::at_least("x", 0.94, 0.95).holds());
        assert!(Finding::at_most("x", 0.05, 0.05).holds() && !Finding::at_most("x", 0.06, 0.05).holds());
        assert!(
            !Finding::at_least("x", f64::NAN, 0.0).holds() && !Finding::at_most("x", f64::NAN, 0.0).holds()
        );
    }

    #[test]
    fn every_experiment_has_a_name_of_its_own() {
        let mut names: Vec<&str> = EXPERIMENTS.iter().map(|experiment| experiment.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), EXPERIMENTS.len());
    }
}
