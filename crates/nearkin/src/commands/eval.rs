//! `nearkin eval`

mod measures;
mod page;

use std::path::{Path, PathBuf};

use nearkin_train::{Encoder, Model};
use serde_json::json;

use self::measures::{Set, measure};
pub use self::page::curves;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, table};

#[derive(Debug, clap::Args)]
#[command(after_help = super::train::DATA_HELP)]
pub struct Args {
    /// A run, or a model folder
    model: PathBuf,
    /// The labelled images, or rows of a table, that ask
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// The labelled images or rows that are searched [default: the others of --data]
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Neighbours that vote on a class [default: 200 for a network, 3 for a linear map]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    knn: Option<usize>,
    /// Where the report goes [default: report.html in the run]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    device: OnDevice,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(n) => Ok(n),
        Err(e) => Err(format!("{e}")),
    }
}

impl Args {
    /// As `quickstart` evaluates.
    pub fn new(model: PathBuf, data: PathBuf) -> Self {
        Self { model, data, reference: None, knn: None, report: None, device: OnDevice::cpu() }
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let model = Model::open(&args.model, &args.device.open()?)?;
    let open = |path| Set::read(&model, path, ui);
    let query = open(&args.data)?;
    let reference = args.reference.as_deref().map(open).transpose()?;
    let usual = if matches!(model.encoder, Encoder::Network(_)) { 200 } else { 3 };
    let found = measure(&model, &query, reference.as_ref(), args.knn.unwrap_or(usual))?;
    for note in &found.notes {
        ui.warn(note);
    }
    ui.print_json(&json!({ "event": "evaluated", "learned": found.learned, "baseline": found.baseline, "baseline_name": model.baseline_name(), "notes": found.notes }));
    let rows = found.rows().into_iter().map(|row| {
        let interval = row.interval.map_or(String::new(), |(low, high)| format!("{low:.3} – {high:.3}"));
        let baseline = row.baseline.map_or(String::new(), |b| format!("{b:.3}"));
        [row.name, format!("{:.3}", row.learned), interval, baseline]
    });
    ui.print(table(["", "learned", "95 % interval", model.baseline_name()], rows, &[1, 2, 3]));
    ui.print(format!("{}.", found.protocol));
    let path = args.report.clone().unwrap_or_else(|| args.model.join("report.html"));
    page::report(&args, &model, &query, reference.as_ref(), &found)?.write(&path)?;
    ui.print(format!("wrote {}", path.display()));
    Ok(())
}

impl Set {
    fn read(model: &Model, path: &Path, ui: &Ui) -> Result<Self, Failure> {
        let inputs = super::read(model, path, ui)?;
        let Some((labels, classes)) = inputs.labels()? else {
            return Err(Failure::misuse(format!(
                "{} has no labels, and without them there is no right answer to measure",
                path.display()
            )));
        };
        if labels.len() < 2 {
            return Err(Failure::misuse(format!(
                "{} holds fewer than two {}",
                path.display(),
                inputs.noun()
            )));
        }
        let vectors = super::embed::embed(model, &inputs, ui)?;
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
}
