//! `nearkin fit`

pub mod methods;
mod page;
mod rows;
mod scores;

use std::path::PathBuf;
use std::time::Instant;

use nearkin_classic::LinearMap;
use nearkin_data::table::Matrix;
use nearkin_data::{Features, Table};
use nearkin_index::Embeddings;
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{FitFile, FitReport, LinearCard, LinearModel, Logged, Model, Run};
use serde_json::json;

pub use self::methods::{Kind, Method};
use self::methods::{Needs, Samples, WithMethod};
pub use self::rows::{Colours, Divided, HoldOut, TableArgs, vectors};
pub use self::scores::{Scores, accuracy, plane};
use crate::failure::Failure;
use crate::ui::{Ui, count, table};

/// `nearkin fit METHOD …`
pub type Args = WithMethod<Common>;

/// What every method of `fit` takes.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// The table: .csv, .tsv, .parquet, .npy or .arff; FILE#a..b for a range of its rows
    #[arg(long, value_name = "FILE", help_heading = "Table and run")]
    data: PathBuf,
    /// The run folder to make
    #[arg(long, value_name = "DIR", help_heading = "Table and run")]
    out: PathBuf,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    hold_out: HoldOut,
}

/// What a method is given.
struct Given {
    table: Table,
    colours: Colours,
    divided: Divided,
    features: Features,
    /// The features of every row.
    all: Matrix,
}

impl Given {
    /// Reads the table, divides its rows, and fits the features to those that the method is to see.
    fn read(args: &Common, method: &Method, ui: &Ui) -> Result<Self, Failure> {
        let table = Table::open(&args.data, &args.table.options())?;
        let colours = Colours::of(&table, method.needs())?;
        let divided = args.hold_out.divide(0.0, colours.strata(), table.len())?;
        let (features, notes) =
            Features::fit(&table, &divided.train, &args.table.categorical, args.table.features())?;
        notes.iter().for_each(|note| ui.warn(note));
        let all = features.apply(&table)?;
        Ok(Self { table, colours, divided, features, all })
    }
}

/// What a method found.
pub struct Found {
    /// The places of the rows that it was fitted to.
    pub train: Vec<f32>,
    /// Those of the other rows, if the method has any for them.
    pub unseen: Option<Vec<f32>>,
    pub dim: usize,
    /// What a linear method leaves.
    pub map: Option<LinearMap>,
    /// What is to be said of how it was found.
    pub facts: Vec<(String, String)>,
    pub seconds: f64,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let Args { method, common: args } = args;
    Run::check_free(&args.out)?;
    let given = Given::read(&args, &method, ui)?;
    plan(&args, &method, &given, ui);
    let Given { table, colours, divided, features, all } = &given;
    let found = fit(&method, all, colours, divided, args.hold_out.seed)?;
    let (train, unseen) = (&found.train, found.unseen.as_deref());
    let scores = Scores::measure(train, unseen, found.dim, all, colours, divided, args.hold_out.knn)?;

    let file = FitFile {
        nearkin: env!("CARGO_PKG_VERSION").to_owned(),
        data: std::path::absolute(&args.data).unwrap_or_else(|_| args.data.clone()),
        fingerprint: table.fingerprint(),
        rows: divided.train.len(),
        held_out: divided.held_out.len(),
        classes: colours.classes().to_vec(),
        label: table.label_name().map(str::to_owned),
        id: table.id_name().map(str::to_owned),
        prepare: args.hold_out.settings(0.0).into_iter().chain(args.table.settings()).collect(),
        fit: method.settings()?,
    };
    let mut run = Run::create(&args.out, &file)?;
    let model = match &found.map {
        Some(map) => Some(save(&run, &file, &method, features, map)?),
        None => {
            embeddings(table, divided, &found)?.write(&args.out.join("embeddings.parquet"))?;
            None
        }
    };
    run.log(&Logged::Fit(FitReport {
        method: method.name(),
        rows: divided.train.len(),
        held_out: divided.held_out.len(),
        dimension: found.dim,
        seconds: found.seconds,
        measures: scores.rows.iter().map(|row| (row.name.clone(), row.learned, row.baseline)).collect(),
    }))?;
    let report = args.out.join("report.html");
    page::report(&args, &method, &given, &file.fingerprint, &found, &scores, model.as_deref())?
        .write(&report)?;
    say(&args, &method, divided, &found, &scores, ui);
    Ok(())
}

/// Before the fit: what was chosen, and what was left alone.
fn plan(args: &Common, method: &Method, given: &Given, ui: &Ui) {
    let Given { table: read, colours, divided, features, .. } = given;
    let columns = features.columns.len();
    let categories = features.categorical();
    let wide = if features.dim() == columns { String::new() } else { format!(", {} values", features.dim()) };
    let categories = match categories.len() {
        0 => String::new(),
        n => format!(", {n} of them categories"),
    };
    let held_out = match divided.held_out.len() {
        0 => String::new(),
        n => format!("; {} held out to measure", count(n)),
    };
    let label = match (read.label_name(), colours) {
        (None, _) => "none".to_owned(),
        (Some(name), Colours::Classes { names, .. }) => format!("'{name}', {} classes", names.len()),
        (Some(name), _) => format!("'{name}', a number"),
    };
    let rows = [
        ["method", &method.name()],
        ["rows", &format!("{}{held_out}", count(divided.train.len()))],
        ["features", &format!("{columns} columns{categories}{wide}")],
        ["label", &label],
        ["scale", &name_of(&features.scale)],
        ["missing", &name_of(&features.missing)],
        ["run folder", &args.out.display().to_string()],
    ];
    if !ui.json() {
        ui.note(format!("{}\n", table(["plan", ""], rows.map(|r| r.map(str::to_owned)), &[])));
    }
}

/// Runs a method on the rows to fit to, and places the others.
pub fn fit(
    method: &Method,
    all: &Matrix,
    colours: &Colours,
    divided: &Divided,
    seed: u64,
) -> Result<Found, Failure> {
    let (train, held_out) = (all.select(&divided.train), all.select(&divided.held_out));
    let points = vectors(&train)?;
    let unseen = if divided.held_out.is_empty() { None } else { Some(vectors(&held_out)?) };
    let start = Instant::now();
    match method.kind() {
        Kind::Linear(linear) => {
            let (labels, numbers) = (colours.labels_of(&divided.train), colours.numbers_of(&divided.train));
            let samples = Samples { vectors: points, labels: &labels, numbers: &numbers, seed };
            let (map, facts) = linear.fit(&samples)?;
            let seconds = start.elapsed().as_secs_f64();
            let unseen = unseen.map(|unseen| map.transform(unseen)).transpose()?;
            let (train, dim) = (map.transform(points)?, map.matrix().rows());
            Ok(Found { train, unseen, dim, map: Some(map), facts, seconds })
        }
        Kind::Spectral(spectral) => {
            let mapped = spectral.fit(points, unseen)?;
            let seconds = start.elapsed().as_secs_f64();
            let methods::Mapped { train, unseen, dim, facts } = mapped;
            Ok(Found { train, unseen, dim, map: None, facts, seconds })
        }
    }
}

/// Writes the model; returns its hash.
fn save(
    run: &Run,
    file: &FitFile,
    method: &Method,
    features: &Features,
    map: &LinearMap,
) -> Result<String, Failure> {
    let card = LinearCard {
        nearkin: file.nearkin.clone(),
        method: method.name(),
        dimension: map.matrix().rows(),
        metric: Metric::Euclidean,
        data: file.fingerprint.clone(),
        classes: if method.needs() == Needs::Classes { file.classes.clone() } else { Vec::new() },
        label: file.label.clone(),
        id: file.id.clone(),
        features: features.clone(),
    };
    LinearModel::new(card, map.clone())?.save(&run.model())?;
    let model = Model::open(&run.model(), &nearkin_train::device("cpu")?)?;
    Ok(model.hash().to_owned())
}

/// The map of a method that leaves no model: a table of vectors, each row marked as fitted or held out.
fn embeddings(table: &Table, divided: &Divided, found: &Found) -> Result<Embeddings, Failure> {
    let ids = table.ids();
    let labels = table.labels();
    let mut rows: Vec<(usize, &[f32], &str)> = Vec::new();
    let places = |vectors| Vectors::new(vectors, found.dim);
    let train = places(&found.train)?;
    rows.extend(divided.train.iter().enumerate().map(|(at, &row)| (row, train.row(at), "train")));
    let none = Vec::new();
    let unseen = places(found.unseen.as_ref().unwrap_or(&none))?;
    if !unseen.is_empty() {
        rows.extend(divided.held_out.iter().enumerate().map(|(at, &row)| (row, unseen.row(at), "held-out")));
    }
    rows.sort_by_key(|row| row.0);
    Ok(Embeddings {
        vectors: rows.iter().flat_map(|row| row.1).copied().collect(),
        dim: found.dim,
        ids: rows.iter().map(|row| ids[row.0].clone()).collect(),
        labels: labels.map(|labels| rows.iter().map(|row| labels[row.0].clone()).collect()),
        paths: None,
        columns: [("split".to_owned(), rows.iter().map(|row| row.2.to_owned()).collect())].into(),
        origin: None,
    })
}

fn say(args: &Common, method: &Method, divided: &Divided, found: &Found, scores: &Scores, ui: &Ui) {
    let folder = args.out.display();
    let measures: serde_json::Map<String, serde_json::Value> = scores
        .rows
        .iter()
        .map(|row| (row.name.clone(), json!({ "learned": row.learned, "baseline": row.baseline })))
        .collect();
    ui.print_json(&json!({
        "event": "fitted", "method": method.name(), "folder": args.out, "model": found.map.is_some(),
        "rows": divided.train.len(), "held_out": divided.held_out.len(), "dimension": found.dim,
        "seconds": found.seconds, "measured": scores.on, "measures": measures,
    }));
    let seconds = format!("{:.2} s", found.seconds);
    match found.map {
        Some(_) => ui.print(format!("fitted {folder}/model in {seconds}, {} values an embedding", found.dim)),
        None => {
            ui.print(format!(
                "mapped the rows in {seconds}: {folder}/embeddings.parquet, {} values a row",
                found.dim
            ));
            let placed = match method.kind() {
                Kind::Spectral(spectral) => match (spectral.placing(), divided.held_out.is_empty()) {
                    (Ok(how), false) => format!("; the held-out rows were placed by {how}"),
                    (Err(why), false) => format!("; the held-out rows are not on it: {why}"),
                    (_, true) => String::new(),
                },
                Kind::Linear(_) => String::new(),
            };
            ui.print(format!(
                "{} makes a map of these rows and no model: `embed` and `search --model` have nothing to take{placed}",
                method.name()
            ));
        }
    }
    if !scores.rows.is_empty() {
        let rows = scores.rows.iter().map(|row| {
            let baseline = row.baseline.map_or(String::new(), |b| format!("{b:.3}"));
            [row.name.clone(), format!("{:.3}", row.learned), baseline]
        });
        ui.print(table(["", "learned", rows::BASELINE], rows, &[1, 2]));
    }
    ui.print(format!("{}.", scores.on));
    scores.notes.iter().for_each(|note| ui.warn(note));
    ui.print(format!("wrote {folder}/report.html"));
}

/// A choice, as it is typed.
fn name_of(choice: &impl serde::Serialize) -> String {
    toml::Value::try_from(choice).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The command as it was typed.
pub fn typed() -> String {
    let quoted = |word: String| if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word };
    let words: Vec<String> = std::env::args().skip(1).map(quoted).collect();
    format!("nearkin {}", words.join(" "))
}
