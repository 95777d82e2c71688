//! `nearkin map`: several maps of the same rows beside each other, as DrLIM's authors set theirs beside LLE's.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use nearkin_data::table::Matrix;
use nearkin_data::{Dataset, Features, PrepareOptions, Table, TableKind};
use nearkin_eval::{Comparison, Map, Report, neighbourhoods};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::{FitFile, FitReport, Inputs, Logged, Model, Run, pixels, prepared_side};
use serde_json::json;

use super::Named;
use super::fit::methods::Needs;
use super::fit::{Colours, Divided, Found, HoldOut, Kind, Method, TableArgs, fit, plane, typed, vectors};
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, table};

/// Part of the rows held out unless said otherwise.
const HOLD_OUT: f64 = 0.3;
/// The largest side of images compared by their pixels, chosen without being asked.
const USUAL_SIZE: usize = 32;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  nearkin map --data wine.csv --methods pca,lle,isomap,nca --out runs/maps
  nearkin map --data \"data/fashion-mnist#7000..9000\" --methods \"pca,lle --neighbors 20\" --model runs/a --out runs/b")]
pub struct Args {
    /// A table, or images, which are compared by their pixels
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Methods of `nearkin fit`, each perhaps with settings: "pca,lle --neighbors 20,nca"
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "pca,lle,isomap",
        allow_hyphen_values = true
    )]
    methods: Vec<String>,
    /// A run or model folder whose embedding is one of the maps; may be repeated
    #[arg(long, value_name = "DIR")]
    model: Vec<PathBuf>,
    /// The run folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Neighbours by which trustworthiness and continuity are measured
    #[arg(long, value_name = "K", default_value_t = NonZero::new(12).unwrap())]
    neighborhood: NonZero<usize>,
    /// Side of the square that images are cut to, in pixels [default: the images' own, at most 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(4..=256))]
    size: Option<u16>,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    hold_out: HoldOut,
    #[command(flatten)]
    device: OnDevice,
}

/// What was read: its rows become vectors once it is known which of them are held out.
enum Source {
    Table(Box<Table>),
    Pixels(Matrix),
}

/// What is mapped: rows as vectors, and what is known of them.
struct Rows {
    all: Matrix,
    colours: Colours,
    /// `scaled features` or `raw pixels`.
    name: &'static str,
    fingerprint: String,
    /// How a table's columns became vectors, for `run.toml`.
    settings: toml::Table,
    notes: Vec<String>,
}

/// One map: of the rows fitted to, and of the others where it has places for them.
struct Mapped {
    name: String,
    dim: usize,
    metric: Metric,
    train: Vec<f32>,
    unseen: Option<Vec<f32>>,
    seconds: f64,
    hint: String,
}

/// The measures of one map; `None` where it has none.
#[derive(serde::Serialize)]
struct Measured {
    accuracy: Option<f64>,
    accuracy_on_the_plane: Option<f64>,
    trustworthiness: Option<f64>,
    trustworthiness_unseen: Option<f64>,
    continuity: Option<f64>,
    continuity_unseen: Option<f64>,
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    Run::check_free(&args.out)?;
    let methods = methods(&args)?;
    let models: Vec<Model> = args
        .model
        .iter()
        .map(|folder| Ok(Model::open(folder, &args.device.open()?)?))
        .collect::<Result<_, Failure>>()?;
    let (source, colours, fingerprint) = read(&args, &methods, ui)?;
    let divided = args.hold_out.divide(HOLD_OUT, colours.strata(), colours.marks().len())?;
    let rows = match source {
        Source::Pixels(all) => Rows {
            all,
            colours,
            name: "raw pixels",
            fingerprint,
            settings: toml::Table::new(),
            notes: Vec::new(),
        },
        Source::Table(table) => {
            let options = args.table.features();
            let (features, notes) = Features::fit(&table, &divided.train, &args.table.categorical, options)?;
            Rows {
                all: features.apply(&table)?,
                colours,
                name: "scaled features",
                fingerprint,
                settings: args.table.settings(),
                notes,
            }
        }
    };
    rows.notes.iter().for_each(|note| ui.warn(note));

    let (mut maps, mut left_out) = (Vec::new(), Vec::new());
    for (typed, method) in args.methods.iter().zip(&methods) {
        ui.note(format!("mapping by {typed}"));
        match fit(method, &rows.all, &rows.colours, &divided, args.hold_out.seed) {
            Ok(Found { train, unseen, dim, seconds, .. }) => {
                let hint = placed(method, !divided.held_out.is_empty());
                maps.push(Mapped {
                    name: typed.clone(),
                    dim,
                    metric: Metric::Euclidean,
                    train,
                    unseen,
                    seconds,
                    hint,
                });
            }
            Err(failure) => {
                ui.warn(format!("{typed} is left out: {}", failure.message));
                left_out.push((typed.clone(), failure.message));
            }
        }
    }
    let mut notes = rows.notes.clone();
    for (folder, model) in args.model.iter().zip(&models) {
        ui.note(format!("embedding by {}", folder.display()));
        maps.push(learned(&args.data, folder, model, &divided, ui)?);
        if model.data() == rows.fingerprint {
            let note = format!(
                "{} was made from this very data: the rows that are unseen by the other maps may not be by this one",
                folder.display()
            );
            ui.warn(&note);
            notes.push(note);
        }
    }
    if maps.is_empty() {
        return Err(Failure::failed("no method could map these rows, as said above"));
    }

    let measured: Vec<Measured> =
        maps.iter().map(|map| measure(map, &rows, &divided, &args)).collect::<Result<_, _>>()?;
    let file = file(&args, &methods, &rows, &divided)?;
    let mut run = Run::create(&args.out, &file)?;
    for (map, found) in maps.iter().zip(&measured) {
        let value = |name: &str, value: Option<f64>| value.map(|value| (name.to_owned(), value, None));
        let measures = [
            value("knn_accuracy", found.accuracy),
            value("knn_accuracy_on_the_plane", found.accuracy_on_the_plane),
            value("trustworthiness", found.trustworthiness),
            value("trustworthiness_unseen", found.trustworthiness_unseen),
            value("continuity", found.continuity),
            value("continuity_unseen", found.continuity_unseen),
        ];
        run.log(&Logged::Fit(FitReport {
            method: map.name.clone(),
            rows: divided.train.len(),
            held_out: divided.held_out.len(),
            dimension: map.dim,
            seconds: map.seconds,
            measures: measures.into_iter().flatten().collect(),
        }))?;
        ui.print_json(&json!({
            "event": "mapped", "method": map.name, "dimension": map.dim, "seconds": map.seconds,
            "places_unseen_rows": map.unseen.is_some(), "measures": found,
        }));
    }
    let baseline = baseline(&rows, &divided, &args)?;
    let comparison = comparison(&args, &rows, &divided, &maps, &measured, baseline);
    say(&comparison, ui);
    let path = args.out.join("report.html");
    let drawn = maps.iter().map(|map| draw(map, &rows.colours, &divided)).collect::<Result<_, _>>()?;
    let report = Report {
        title: format!("Maps of {}", args.data.display()),
        subtitle: format!(
            "{} rows mapped, {} held out and placed afterwards.",
            divided.train.len(),
            divided.held_out.len()
        ),
        command: typed(),
        facts: vec![
            ("data".into(), args.data.display().to_string()),
            ("data fingerprint".into(), rows.fingerprint.clone()),
            ("mapped".into(), format!("{} values a row, {}", rows.all.dim, rows.name)),
            ("seed".into(), args.hold_out.seed.to_string()),
            ("nearkin".into(), env!("CARGO_PKG_VERSION").into()),
        ],
        comparison: Some(comparison),
        maps: drawn,
        notes,
        skipped: left_out,
        ..Report::default()
    };
    report.write(&path)?;
    ui.print_json(&json!({ "event": "mapped", "out": args.out }));
    ui.print(format!("wrote {}", path.display()));
    Ok(())
}

fn methods(args: &Args) -> Result<Vec<Method>, Failure> {
    let parsed = |text: &String| {
        let method = Method::parse(text)?;
        if method.needs() == Needs::Numbers {
            return Err(Failure::misuse(format!(
                "{text} learns from numbers, and maps are compared by classes: see `nearkin fit {text}`"
            )));
        }
        Ok(method)
    };
    args.methods.iter().filter(|text| !text.trim().is_empty()).map(parsed).collect()
}

/// What a map can do for unseen rows, in a sentence.
fn placed(method: &Method, wanted: bool) -> String {
    match (method.kind(), wanted) {
        (_, false) => String::new(),
        (Kind::Linear(_), true) => "Unseen rows are placed by the same linear map.".into(),
        (Kind::Spectral(spectral), true) => match spectral.placing() {
            Ok(how) => format!("Unseen rows are placed by {how}."),
            Err(why) => format!("Unseen rows are not on this map: {why}."),
        },
    }
}

/// Reads a table or images, with what their labels say and the data's fingerprint.
fn read(args: &Args, methods: &[Method], ui: &Ui) -> Result<(Source, Colours, String), Failure> {
    let needs = methods.iter().map(Method::needs).find(|needs| *needs != Needs::Nothing);
    if TableKind::at(&args.data)?.is_some() {
        let table = Table::open(&args.data, &args.table.options())?;
        let colours = Colours::of(&table, needs.unwrap_or(Needs::Nothing))?;
        let fingerprint = table.fingerprint();
        return Ok((Source::Table(Box::new(table)), colours, fingerprint));
    }
    let dataset = Dataset::open(&args.data)?;
    let summary = dataset.describe();
    let side = summary.sizes.first().map_or(USUAL_SIZE, |s| s.width.min(s.height));
    let size = args.size.map_or(side.clamp(4, USUAL_SIZE), usize::from);
    let channels = if summary.channels.iter().any(|c| c.channels == 3) { 3 } else { 1 };
    let prepared = super::prepare(&dataset, &PrepareOptions::new(channels, prepared_side(size)), ui)?;
    let inputs = Inputs::Images { prepared: Arc::clone(&prepared), fingerprint: dataset.fingerprint() };
    let colours = Colours::of_inputs(&inputs)?;
    if needs.is_some() && colours.classes().len() < 2 {
        return Err(Failure::misuse(format!(
            "{} has fewer than two classes, and a method asked for learns by telling classes apart",
            args.data.display()
        )));
    }
    Ok((Source::Pixels(pixels(&prepared, size, channels)?), colours, inputs.fingerprint()))
}

/// The map of a model: its embedding of the same rows.
fn learned(data: &Path, folder: &Path, model: &Model, divided: &Divided, ui: &Ui) -> Result<Mapped, Failure> {
    let inputs = super::read(model, data, &Named::default(), ui)?;
    let rows = divided.train.len() + divided.held_out.len();
    if inputs.len() != rows {
        return Err(Failure::failed(format!(
            "{} reads {} of the {rows} rows: remove those that cannot be read",
            folder.display(),
            inputs.len()
        )));
    }
    let start = Instant::now();
    let mut all = super::embed::embed(model, &inputs, ui)?;
    let seconds = start.elapsed().as_secs_f64();
    let dim = model.dimension();
    if model.metric() == Metric::Cosine {
        // On the sphere, where they are compared.
        for row in all.chunks_exact_mut(dim) {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            row.iter_mut().for_each(|x| *x /= norm);
        }
    }
    let all = Matrix { values: all, dim };
    Ok(Mapped {
        name: format!("{} ({})", folder.display(), model.method()),
        dim,
        metric: model.metric(),
        train: all.select(&divided.train).values,
        unseen: Some(all.select(&divided.held_out).values),
        seconds,
        hint: "Every row is placed by the model.".into(),
    })
}

/// Train and unseen places on the plane.
fn flat(map: &Mapped, divided: &Divided) -> Result<(Vec<f32>, Option<Vec<f32>>), Failure> {
    let points = plane(&map.train, map.unseen.as_deref(), map.dim)?;
    let (train, unseen) = points.split_at(divided.train.len());
    Ok((train.concat(), map.unseen.as_ref().map(|_| unseen.concat())))
}

fn measure(map: &Mapped, rows: &Rows, divided: &Divided, args: &Args) -> Result<Measured, Failure> {
    let (train, unseen) = flat(map, divided)?;
    let k = args.hold_out.knn.get();
    let accuracy = |train: &[f32], unseen: &Option<Vec<f32>>, dim, metric| -> Result<Option<f64>, Failure> {
        match unseen {
            Some(unseen) => {
                accuracy(Vectors::new(unseen, dim)?, Vectors::new(train, dim)?, rows, divided, metric, k)
            }
            None => Ok(None),
        }
    };
    let kept = |numbers: &[usize], places: &[f32]| -> Result<[Option<f64>; 2], Failure> {
        let near = args.neighborhood.get();
        if 2 * near >= numbers.len() {
            return Ok([None; 2]);
        }
        let features = rows.all.select(numbers);
        let found = neighbourhoods(vectors(&features)?, Vectors::new(places, 2)?, near)?;
        Ok([Some(found.trustworthiness), Some(found.continuity)])
    };
    let [trustworthiness, continuity] = kept(&divided.train, &train)?;
    let [trustworthiness_unseen, continuity_unseen] = match &unseen {
        Some(unseen) => kept(&divided.held_out, unseen)?,
        None => [None; 2],
    };
    Ok(Measured {
        accuracy: accuracy(&map.train, &map.unseen, map.dim, map.metric)?,
        accuracy_on_the_plane: accuracy(&train, &unseen, 2, Metric::Euclidean)?,
        trustworthiness,
        trustworthiness_unseen,
        continuity,
        continuity_unseen,
    })
}

/// How often the `k` nearest rows fitted to vote for the class of an unseen row.
fn accuracy(
    unseen: Vectors<'_>,
    train: Vectors<'_>,
    rows: &Rows,
    divided: &Divided,
    metric: Metric,
    k: usize,
) -> Result<Option<f64>, Failure> {
    if rows.colours.classes().len() < 2 || unseen.is_empty() {
        return Ok(None);
    }
    let (asking, searched) =
        (rows.colours.labels_of(&divided.held_out), rows.colours.labels_of(&divided.train));
    Ok(Some(super::fit::accuracy((unseen, &asking), Some((train, &searched)), metric, k)?))
}

/// The accuracy of the rows as they are.
fn baseline(rows: &Rows, divided: &Divided, args: &Args) -> Result<Option<f64>, Failure> {
    let (train, unseen) = (rows.all.select(&divided.train), rows.all.select(&divided.held_out));
    let k = args.hold_out.knn.get();
    accuracy(vectors(&unseen)?, vectors(&train)?, rows, divided, Metric::Euclidean, k)
}

fn comparison(
    args: &Args,
    rows: &Rows,
    divided: &Divided,
    maps: &[Mapped],
    measured: &[Measured],
    baseline: Option<f64>,
) -> Comparison {
    let (k, near) = (args.hold_out.knn, args.neighborhood);
    let measures = [
        ("dimensions".to_owned(), false),
        (format!("{k}-NN, unseen"), true),
        (format!("{k}-NN on the plane, unseen"), true),
        ("trustworthiness, fitted".to_owned(), true),
        ("trustworthiness, unseen".to_owned(), true),
        ("continuity, fitted".to_owned(), true),
        ("continuity, unseen".to_owned(), true),
        ("seconds".to_owned(), false),
    ];
    let mut lines: Vec<(String, Vec<Option<f64>>)> = maps
        .iter()
        .zip(measured)
        .map(|(map, found)| {
            let values = vec![
                Some(map.dim as f64),
                found.accuracy,
                found.accuracy_on_the_plane,
                found.trustworthiness,
                found.trustworthiness_unseen,
                found.continuity,
                found.continuity_unseen,
                Some(map.seconds),
            ];
            (map.name.clone(), values)
        })
        .collect();
    let mut values = vec![None; measures.len()];
    (values[0], values[1]) = (Some(rows.all.dim as f64), baseline);
    lines.push((format!("{} (no map)", rows.name), values));
    Comparison {
        hint: format!(
            "k-NN: how often the {k} nearest of the {} rows mapped vote for the class of one of the {} unseen rows, in the map's own \
             dimensions and on the plane that is drawn. Trustworthiness and continuity (Venna and Kaski 2001): whether the {near} \
             nearest on the plane were near among the {}, and whether those stay near; about 0.5 for a map at random. Each is taken \
             among the rows fitted to and among the unseen rows. A dash: the method has no places for unseen rows, or there are \
             fewer than {} of them.",
            divided.train.len(),
            divided.held_out.len(),
            rows.name,
            2 * near.get() + 1
        ),
        measures: measures.into(),
        rows: lines,
    }
}

fn draw(map: &Mapped, colours: &Colours, divided: &Divided) -> Result<Map, Failure> {
    let marks = colours.marks();
    let mut order = divided.order();
    let fitted = divided.train.len();
    order.truncate(fitted + map.unseen.as_ref().map_or(0, |_| divided.held_out.len()));
    let flat = match map.dim {
        1 => " Of one dimension.".to_owned(),
        2 => String::new(),
        dim => format!(" The first two principal components of {dim} dimensions."),
    };
    Ok(Map {
        title: map.name.clone(),
        hint: format!("{}{flat}", map.hint).trim().to_owned(),
        points: plane(&map.train, map.unseen.as_deref(), map.dim)?,
        labels: order.iter().map(|&i| marks[i]).collect(),
        classes: colours.names(),
        unseen: (0..order.len()).map(|at| at >= fitted).collect(),
    })
}

fn file(args: &Args, methods: &[Method], rows: &Rows, divided: &Divided) -> Result<FitFile, Failure> {
    let settings = methods.iter().map(|method| Ok(method.settings()?.into()));
    let settings: Vec<toml::Value> = settings.collect::<Result<_, Failure>>()?;
    let models: Vec<toml::Value> =
        args.model.iter().map(|folder| folder.display().to_string().into()).collect();
    Ok(FitFile {
        nearkin: env!("CARGO_PKG_VERSION").to_owned(),
        data: std::path::absolute(&args.data).unwrap_or_else(|_| args.data.clone()),
        fingerprint: rows.fingerprint.clone(),
        rows: divided.train.len(),
        held_out: divided.held_out.len(),
        classes: rows.colours.classes().to_vec(),
        label: args.table.label.clone(),
        id: args.table.id.clone(),
        prepare: args.hold_out.settings(HOLD_OUT).into_iter().chain(rows.settings.clone()).collect(),
        fit: toml::Table::from_iter([("methods".into(), settings.into()), ("models".into(), models.into())]),
    })
}

fn say(comparison: &Comparison, ui: &Ui) {
    let cell = |value: &Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let rows = comparison.rows.iter().map(|(name, values)| {
        let [_, own, plane, trust, trust_unseen, continuity, continuity_unseen, _] = &values[..] else {
            return Default::default();
        };
        [
            name.clone(),
            cell(own),
            cell(plane),
            format!("{} / {}", cell(trust), cell(trust_unseen)),
            format!("{} / {}", cell(continuity), cell(continuity_unseen)),
        ]
    });
    let header = ["", "k-NN", "on the plane", "trustworthiness", "continuity"];
    ui.print(table(header, rows, &[1, 2, 3, 4]));
    ui.print("k-NN of unseen rows; trustworthiness and continuity on the plane, of fitted / unseen rows.");
}
