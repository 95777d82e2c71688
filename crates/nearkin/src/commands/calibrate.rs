//! `nearkin calibrate`

use std::path::PathBuf;

use nearkin_eval::{Labeled, calibrate};
use nearkin_train::{Model, Run};
use serde_json::json;

use super::eval::{self, Part, Set};
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, count};

#[derive(Debug, clap::Args)]
#[command(after_help = super::train::DATA_HELP)]
pub struct Args {
    /// A run, or a model folder
    model: PathBuf,
    /// Labelled images, or rows of a table, that the model was not trained on
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Of --data, only the part that the run's split made
    #[arg(long, value_name = "PART")]
    part: Option<Part>,
    /// The share of pairs of strangers that may be taken for kin
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    far: f64,
    #[command(flatten)]
    device: OnDevice,
}

/// False accepts below which a rate is luck.
const FEW: u64 = 10;

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    if !(args.far > 0.0 && args.far < 0.5) {
        return Err(Failure::misuse(format!("--far is {}, wanted a rate above 0 and below 0.5", args.far)));
    }
    let model = Model::open(&args.model, &args.device.open()?)?;
    let recipe = Run::open(&args.model).ok().map(|(_, file)| file.recipe);
    let measured = eval::Args::new(args.model.clone(), args.data).of_part(args.part);
    let set = Set::asked(&measured, recipe.as_ref(), &model, ui)?;
    if set.fingerprint == model.data() {
        ui.warn(
            "this is the data that the model was trained on, whose classes it tells apart far better than new ones: the threshold \
             will accept more strangers than it says",
        );
    }
    let samples = Labeled { vectors: set.learned()?, labels: &set.labels };
    let found = calibrate(samples, model.metric(), args.far, model.hash(), &set.fingerprint)?;
    let file = Model::write_calibration(&args.model, &found)?;
    if found.false_accepts < FEW {
        ui.warn(format!(
            "only {} pairs of strangers are accepted at {:e}, too few to say much: calibrate on more samples or at a higher rate",
            found.false_accepts, args.far
        ));
    }
    let (low, high) = found.false_accept_rate_interval;
    ui.print_json(&json!({
        "event": "calibrated", "metric": found.metric, "threshold": found.threshold, "samples": found.samples,
        "classes": found.classes, "wanted_false_accept_rate": found.wanted_false_accept_rate,
        "false_accept_rate": found.false_accept_rate, "false_accept_rate_interval": [low, high],
        "true_accept_rate": found.true_accept_rate, "true_accept_rate_interval": found.true_accept_rate_interval,
        "unknown_accept_rate": found.unknown_accept_rate, "out": file,
    }));
    let (side, metric) = (if found.metric.larger_is_nearer() { "at least" } else { "at most" }, found.metric);
    ui.print(format!(
        "kin from a {metric} of {side} {} on, by {} {} of {} classes",
        found.threshold,
        count(found.samples),
        set.inputs.noun(),
        count(found.classes)
    ));
    ui.print(format!(
        "of pairs of strangers {:.2e} are accepted; on as many other classes {low:.2e} to {high:.2e}, 19 times of 20",
        found.false_accept_rate
    ));
    let (low, high) = found.true_accept_rate_interval;
    ui.print(format!(
        "of pairs of kin {:.1} % are accepted ({:.1} to {:.1} %)",
        100.0 * found.true_accept_rate,
        100.0 * low,
        100.0 * high
    ));
    ui.print(format!(
        "a query of an unknown class finds a wrong neighbour among {} of other classes {:.1} times of 100",
        count(found.samples),
        100.0 * found.unknown_accept_rate
    ));
    ui.print(format!("wrote {}", file.display()));
    Ok(())
}
