//! `nearkin search`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nearkin_data::{Dataset, Image, Limits, read_image};
use nearkin_eval::{Calibration, Hit as SheetHit, QueryRow, contact_sheet};
use nearkin_index::{Filter, Hit, SearchOptions, Snapshot};
use nearkin_sweep::{Metric, Vectors};
use nearkin_train::Model;
use serde_json::json;

use super::Named;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::pictures::picture;
use crate::ui::{Ui, table};

/// Side of a picture on the contact sheet.
const CELL: u32 = 128;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// An index made by `nearkin index`
    index: PathBuf,
    /// What to look for: an image file, a table whose rows ask, or the id of an indexed item; may be repeated
    #[arg(long, short = 'q', value_name = "FILE|ID", required = true)]
    query: Vec<String>,
    /// The run or model folder that made the vectors; needed for files, and for answers of "unknown" after `nearkin calibrate`
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Only find rows like this: 'category = "shoe" and price < 50', in columns id, label, path and those of the vectors' file
    #[arg(long = "where", value_name = "FILTER")]
    filter: Option<Filter>,
    /// How many neighbours
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    k: u32,
    /// Draw the hits as a contact sheet
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Where the sheet finds the pictures of items that are no files of their own, such as IDX images
    #[arg(long, value_name = "PATH", requires = "sheet")]
    data: Option<PathBuf>,
    /// Scan every vector even if the index has a graph
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    device: OnDevice,
}

impl Args {
    /// As `quickstart` searches.
    pub fn new(index: PathBuf, query: String, k: u32, sheet: PathBuf, data: PathBuf) -> Self {
        let device = OnDevice::cpu();
        Self {
            index,
            query: vec![query],
            model: None,
            filter: None,
            k,
            sheet: Some(sheet),
            data: Some(data),
            exact: false,
            device,
        }
    }
}

/// One thing that was asked for.
struct Asked {
    name: String,
    vector: Vec<f32>,
    /// The row of an indexed item, which is not its own neighbour.
    row: Option<usize>,
    label: Option<String>,
    image: Option<Image>,
}

/// Queries from which on their nearest scores are compared with those of the calibration.
const ENOUGH_FOR_DRIFT: usize = 30;
/// Chance below which a drift is worth a warning.
const IMPROBABLE: f64 = 1e-3;

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let index = Snapshot::open(&args.index)?;
    let model =
        args.model.as_ref().map(|folder| Model::open(folder, &args.device.open()?).map_err(Failure::from));
    let model = model.transpose()?;
    if let Some(model) = &model {
        index.check_model(model.hash(), &model.preprocessing())?;
    }
    let calibration = model.as_ref().and_then(|model| calibration_for(model, &index, ui));
    let selection = args.filter.as_ref().map(|filter| index.select(filter)).transpose();
    let selection = selection.map_err(|e| Failure::misuse(e.to_string()))?;
    let asked = ask(&args, model.as_ref(), &index, ui)?;
    let vectors: Vec<f32> = asked.iter().flat_map(|a| a.vector.iter().copied()).collect();
    let queries = Vectors::new(&vectors, index.dim())?;
    let options = SearchOptions { ef: None, exact: args.exact };
    // One more than asked for, since an indexed item finds itself.
    let found = index.search(queries, args.k as usize + 1, options, selection.as_ref())?;
    let mut found: Vec<Vec<Hit<'_>>> = asked
        .iter()
        .zip(found)
        .map(|(a, hits)| hits.into_iter().filter(|h| Some(h.index) != a.row).take(args.k as usize).collect())
        .collect();
    let nearest: Vec<f32> = found.iter().filter_map(|hits| Some(hits.first()?.score)).collect();
    for (asked, hits) in asked.iter().zip(&mut found) {
        let nearest = hits.first().copied();
        if let Some(calibration) = calibration {
            hits.retain(|hit| calibration.accepts(hit.score));
        }
        show(asked, hits, nearest, calibration, index.metric(), ui);
    }
    if let Some(calibration) =
        calibration.filter(|_| nearest.len() >= ENOUGH_FOR_DRIFT && selection.is_none())
    {
        check_drift(calibration, &nearest, ui)?;
    }
    if let Some(path) = &args.sheet {
        draw(path, args.data.as_deref(), &asked, &found)?;
        ui.print(format!("wrote {}", path.display()));
    }
    Ok(())
}

/// The calibration of a model, if there is one that can be used for an index.
pub fn calibration_for<'a>(model: &'a Model, index: &Snapshot, ui: &Ui) -> Option<&'a Calibration> {
    let calibration = model.calibration()?;
    let fits = calibration.metric == index.metric();
    if !fits {
        ui.warn(format!(
            "the model was calibrated by {}, and the index is searched by {}: no answer will be \"unknown\"",
            calibration.metric,
            index.metric()
        ));
    }
    fits.then_some(calibration)
}

/// Says whether the queries look like what the model was calibrated on.
fn check_drift(calibration: &Calibration, nearest: &[f32], ui: &Ui) -> Result<(), Failure> {
    let drift = calibration.drift(nearest)?;
    ui.print_json(&json!({ "event": "drift", "drift": drift }));
    if drift.p_value < IMPROBABLE {
        ui.warn(format!(
            "the nearest scores of these {} queries are not distributed as those of the calibration (Kolmogorov-Smirnov {:.3}, \
             p {:.1e}): its rates may not hold here",
            drift.live, drift.statistic, drift.p_value
        ));
    }
    Ok(())
}

/// Turns what was typed into vectors: files through the model, ids by looking them up.
fn ask(args: &Args, model: Option<&Model>, index: &Snapshot, ui: &Ui) -> Result<Vec<Asked>, Failure> {
    // A table's name may be followed by a range of its rows.
    let is_file = |query: &String| {
        let table = query.rsplit_once('#').map(|(table, _)| table);
        [Some(&query[..]), table].into_iter().flatten().any(|path| Path::new(path).is_file())
    };
    let mut asked = Vec::new();
    for query in &args.query {
        if is_file(query) {
            let model = model
                .ok_or_else(|| Failure::misuse("a file needs --model, the run that made the vectors"))?;
            asked.extend(ask_file(model, query, ui)?);
            continue;
        }
        let row = index.find(query).ok_or_else(|| {
            let first = index
                .rows()
                .next()
                .map_or(String::new(), |row| format!(" (its first id is '{}')", index.id(row)));
            Failure::misuse(format!(
                "'{query}' is neither a file nor an id in {}{first}",
                args.index.display()
            ))
        })?;
        asked.push(Asked {
            name: query.clone(),
            vector: index.vector(row).to_vec(),
            row: Some(row),
            label: index.label(row).map(str::to_owned),
            image: None,
        });
    }
    Ok(asked)
}

/// The samples of a file: one picture, or each row of a table.
fn ask_file(model: &Model, query: &str, ui: &Ui) -> Result<Vec<Asked>, Failure> {
    // The way of any data set, so that a sample has one embedding whether it is asked for or indexed.
    let inputs = super::read(model, Path::new(query), &Named::default(), ui)?;
    let vectors = model.embed(&inputs, &mut |_, _| {})?;
    let (ids, labels) = (inputs.ids(), inputs.label_names());
    let asked = vectors.chunks_exact(model.dimension()).enumerate().map(|(i, vector)| {
        let image = inputs.images().map(|prepared| prepared.image(i)).transpose()?;
        let name = if image.is_some() { query.to_owned() } else { format!("{query}/{}", ids[i]) };
        let label = labels.as_ref().map(|labels| labels[i].clone()).filter(|label| !label.is_empty());
        Ok(Asked { name, vector: vector.to_vec(), row: None, label, image })
    });
    asked.collect()
}

fn show(
    asked: &Asked,
    hits: &[Hit<'_>],
    nearest: Option<Hit<'_>>,
    calibration: Option<&Calibration>,
    metric: Metric,
    ui: &Ui,
) {
    let rate_at = |score: f32| calibration.map(|calibration| calibration.false_accept_rate_at(score));
    let json_hits = hits.iter().enumerate().map(|(rank, h)| {
        let mut hit =
            json!({ "rank": rank + 1, "id": h.id, "label": h.label, "path": h.path, "score": h.score });
        if let Some(rate) = rate_at(h.score) {
            hit["false_accept_rate"] = json!(rate);
        }
        hit
    });
    let mut answer = json!({ "query": asked.name, "metric": metric, "hits": json_hits.collect::<Vec<_>>() });
    if let Some(calibration) = calibration {
        answer["unknown"] = json!(hits.is_empty());
        answer["threshold"] = json!(calibration.threshold);
        answer["nearest_score"] = json!(nearest.map(|hit| hit.score));
    }
    ui.print_json(&answer);
    let label = asked.label.as_ref().map_or(String::new(), |l| format!(" ({l})"));
    if let (Some(calibration), Some(hit), true) = (calibration, nearest, hits.is_empty()) {
        ui.print(format!(
            "{}{label}: unknown; the nearest has a {metric} of {:.4}, and kin begin at {:.4}: {:.2e} of pairs of strangers are as near",
            asked.name,
            hit.score,
            calibration.threshold,
            calibration.false_accept_rate_at(hit.score)
        ));
        return;
    }
    ui.print(format!("nearest to {}{label}, by {metric}:", asked.name));
    let row = |(rank, h): (usize, &Hit<'_>)| {
        let place = h.path.filter(|p| !p.is_empty()).unwrap_or(h.id);
        let rate = rate_at(h.score).map_or(String::new(), |rate| format!("{rate:.1e}"));
        [
            (rank + 1).to_string(),
            format!("{:.4}", h.score),
            rate,
            h.label.unwrap_or("").to_owned(),
            place.to_owned(),
        ]
    };
    let rows = hits.iter().enumerate().map(row);
    ui.print(match calibration {
        Some(_) => table(["rank", "score", "false accepts", "label", "item"], rows, &[0, 1, 2]),
        None => {
            let rows = rows.map(|[rank, score, _, label, place]| [rank, score, label, place]);
            table(["rank", "score", "label", "item"], rows, &[0, 1])
        }
    });
}

fn draw(path: &Path, data: Option<&Path>, asked: &[Asked], found: &[Vec<Hit<'_>>]) -> Result<(), Failure> {
    let dataset = data.map(Dataset::open).transpose()?;
    let numbers: HashMap<&str, usize> =
        dataset.iter().flat_map(|d| d.samples().enumerate().map(|(i, s)| (s.id.as_str(), i))).collect();
    let image_of = |id: &str, file: Option<&str>| -> Result<Image, Failure> {
        if let (Some(dataset), Some(&i)) = (&dataset, numbers.get(id)) {
            return Ok(dataset.image(i)?);
        }
        match file.filter(|f| Path::new(f).is_file()) {
            Some(file) => Ok(read_image(Path::new(file), Limits::default())?),
            None => Err(Failure::misuse(format!(
                "no picture of '{id}' for the sheet: give the data set that holds it with --data"
            ))),
        }
    };
    let row = |(asked, hits): (&Asked, &Vec<Hit<'_>>)| -> Result<QueryRow, Failure> {
        let image = match &asked.image {
            Some(image) => image.clone(),
            None => image_of(&asked.name, Some(&asked.name))?,
        };
        let caption = asked.label.clone().unwrap_or_else(|| asked.name.clone());
        let hit = |h: &Hit<'_>| -> Result<SheetHit, Failure> {
            Ok(SheetHit {
                picture: picture(&image_of(h.id, h.path)?, h.label.unwrap_or(h.id))?,
                right: asked.label.as_deref().zip(h.label).map(|(a, b)| a == b),
                score: h.score,
            })
        };
        Ok(QueryRow {
            query: picture(&image, caption)?,
            hits: hits.iter().map(hit).collect::<Result<_, _>>()?,
        })
    };
    let rows = asked.iter().zip(found).map(row).collect::<Result<Vec<_>, _>>()?;
    let sheet = contact_sheet(&rows, CELL)?;
    sheet
        .save_with_format(path, image::ImageFormat::Png)
        .map_err(|e| Failure::failed(format!("cannot write {}: {e}", path.display())))
}
