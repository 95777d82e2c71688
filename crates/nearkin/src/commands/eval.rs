//! `nearkin eval`

mod case;
mod clustering;
mod few_shot;
mod fine_tune;
mod page;
mod quadrants;
mod reidentification;
mod retrieval;
mod verification;

use std::path::PathBuf;

use clap::ValueEnum;
use nearkin_eval::{ClassRow, Curve, MetricRow};
use nearkin_train::{Model, Run};
use serde::Serialize;
use serde_json::Value;

use self::case::Case;
pub use self::case::Set;
pub use self::page::curves;
use super::Named;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, table};

const HELP: &str = "\
Protocols:
  retrieval     who stands nearest to whom: precision@1, recall@k, R-precision, MAP@R, kNN; for a run without labels also
                a linear probe (with --reference), alignment, uniformity, RankMe, LiDAR, and the same behind the head
  verification  are two samples kin? Over all pairs: true-accept rate at false-accept rates of 0.1, 0.01 and 0.001,
                equal error rate, area under the ROC curve; accuracy by ten folds over drawn pairs
  reid          CMC at 1, 5 and 10 and mAP of a gallery (--reference, or the others of --data); see --camera
  few-shot      5-way and 20-way episodes of unseen classes, with one example of each or five
  clustering    agglomeration into as many clusters as classes: AMI, NMI, ARI, pairwise and B-cubed F1
  quadrants     linear SVMs, fitted to --reference, on the encoder's features, each the largest of a quadrant of the image
  fine-tune     the whole network trained on a share of --reference with a linear classifier on top, beside a linear probe on
                the same samples and the same net from random weights; see --share

Examples:
  nearkin eval runs/a --data test/
  nearkin eval runs/a --data photos/ --part test --protocol verification
  nearkin eval runs/a --data queries/ --reference gallery/ --protocol reid --rerank
  nearkin eval runs/a --data test/ --reference train/ --protocol fine-tune --share 0.01
  nearkin eval runs/a --data photos/ --attributes cameras.csv --protocol reid --camera camera --flip";

#[derive(Debug, clap::Args)]
#[command(after_help = format!("{HELP}\n\n{}", super::train::DATA_HELP))]
pub struct Args {
    /// A run, or a model folder
    model: PathBuf,
    /// The labelled images, sounds, series, or rows of a table, that ask
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    #[command(flatten)]
    named: Named,
    /// Of --data, only the part that the run's split made
    #[arg(long, value_name = "PART")]
    part: Option<Part>,
    /// The labelled images or rows that are searched [default: the others of --data]
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// What is measured
    #[arg(long, value_name = "NAME", default_value = "retrieval")]
    protocol: Protocol,
    /// A CSV file of further columns of the images, by id or path [default with --part: the recipe's]
    #[arg(long, value_name = "FILE")]
    attributes: Option<PathBuf>,
    /// reid: the attribute that names the camera; an identity must be found under another one
    #[arg(long, value_name = "ATTRIBUTE")]
    camera: Option<String>,
    /// reid: make one query of all those of an identity and camera
    #[arg(long)]
    multi_query: bool,
    /// reid: rank by k-reciprocal neighbours (Zhong et al. 2017)
    #[arg(long)]
    rerank: bool,
    /// Average the embeddings of an image and of its mirror image
    #[arg(long)]
    flip: bool,
    /// retrieval: neighbours that vote on a class [default: 200 for a network, 3 for a linear map]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    knn: Option<usize>,
    /// fine-tune: the share of --reference whose labels are used; may be given again [default: 0.01 and 0.1]
    #[arg(long, value_name = "SHARE")]
    share: Vec<f64>,
    /// fine-tune: passes over that share [default: 60 at 0.01, 30 at 0.1, more where that is less than 600 steps]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    epochs: Option<usize>,
    /// fine-tune: the seed of the choice of samples and of all else that is random [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where the report goes [default: report.html in the run]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    device: OnDevice,
}

/// A part of the data that a run divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What was trained on
    Train,
    /// The rest
    Test,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Retrieval,
    Verification,
    Reid,
    FewShot,
    Clustering,
    Quadrants,
    FineTune,
}

/// All that an evaluation found, whatever the protocol.
pub struct Found {
    /// The rows of the table, each under its field's name.
    pub rows: Vec<MetricRow>,
    /// Everything, for programs.
    pub learned: Value,
    pub baseline: Value,
    /// One sentence on what was compared with what.
    pub sentence: String,
    /// What a reader of the numbers must know.
    pub notes: Vec<String>,
    pub curves: Vec<Curve>,
    pub per_class: Vec<ClassRow>,
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
        Self {
            model,
            data,
            named: Named::default(),
            part: None,
            reference: None,
            protocol: Protocol::Retrieval,
            attributes: None,
            camera: None,
            multi_query: false,
            rerank: false,
            flip: false,
            knn: None,
            share: Vec::new(),
            epochs: None,
            seed: None,
            report: None,
            device: OnDevice::cpu(),
        }
    }

    /// Of a part of the data.
    pub fn of_part(self, part: Option<Part>) -> Self {
        Self { part, ..self }
    }

    /// Refuses settings of another protocol.
    fn check(&self) -> Result<(), Failure> {
        let settings = [
            ("--camera", self.camera.is_some(), Protocol::Reid),
            ("--multi-query", self.multi_query, Protocol::Reid),
            ("--rerank", self.rerank, Protocol::Reid),
            ("--knn", self.knn.is_some(), Protocol::Retrieval),
            ("--share", !self.share.is_empty(), Protocol::FineTune),
            ("--epochs", self.epochs.is_some(), Protocol::FineTune),
            ("--seed", self.seed.is_some(), Protocol::FineTune),
        ];
        for (name, given, protocol) in settings {
            if given && self.protocol != protocol {
                return Err(Failure::misuse(format!("{name} is a setting of --protocol {protocol}")));
            }
        }
        if self.flip && self.protocol == Protocol::Quadrants {
            return Err(Failure::misuse(
                "--flip averages embeddings, and --protocol quadrants measures none",
            ));
        }
        Ok(())
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    args.check()?;
    let model = Model::open(&args.model, &args.device.open()?)?;
    let trained = Run::open(&args.model).ok().map(|(_, file)| file);
    let query = Set::asked(&args, trained.as_ref().map(|file| &file.recipe), &model, ui)?;
    let reference = args.reference.as_deref().map(|path| Set::at(path, &args, &model, ui)).transpose()?;
    let case = Case::new(&model, &query, reference.as_ref());
    let mut found = match args.protocol {
        Protocol::Retrieval => {
            retrieval::measure(&case, args.knn, trained.as_ref().map(|file| &file.recipe))?
        }
        Protocol::Verification => verification::measure(&case)?,
        Protocol::Reid => reidentification::measure(&case, &args)?,
        Protocol::FewShot => few_shot::measure(&case)?,
        Protocol::Clustering => clustering::measure(&case)?,
        Protocol::Quadrants => quadrants::measure(&case, ui)?,
        Protocol::FineTune => fine_tune::measure(&case, &args, ui)?,
    };
    if let Some(file) = trained.filter(|file| args.part.is_none() && file.recipe.split.is_some())
        && std::path::absolute(&args.data).is_ok_and(|data| data == file.data)
    {
        found.notes.push("the run was trained on a part of this data: --part test measures the other".into());
    }
    for note in &found.notes {
        ui.warn(note);
    }
    ui.print_json(&serde_json::json!({
        "event": "evaluated", "protocol": args.protocol.to_string(), "learned": found.learned,
        "baseline": found.baseline, "baseline_name": model.baseline_name(), "notes": found.notes,
    }));
    let rows = found.rows.iter().map(|row| {
        let interval = row.interval.map_or(String::new(), |(low, high)| format!("{low:.3} – {high:.3}"));
        let baseline = row.baseline.map_or(String::new(), |b| format!("{b:.3}"));
        [row.name.clone(), format!("{:.3}", row.learned), interval, baseline]
    });
    ui.print(table(["", "learned", "95 % interval", model.baseline_name()], rows, &[1, 2, 3]));
    ui.print(format!("{}.", found.sentence));
    let path = args.report.clone().unwrap_or_else(|| args.model.join("report.html"));
    page::report(&args, &case, found)?.write(&path)?;
    ui.print(format!("wrote {}", path.display()));
    Ok(())
}

/// What serde makes of it.
fn json(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|e| Failure::failed(format!("cannot write JSON: {e}")))
}
