//! `nearkin search`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nearkin_data::{Dataset, Image, Limits, read_image};
use nearkin_eval::{Hit as SheetHit, QueryRow, contact_sheet};
use nearkin_index::{Hit, Index, SearchOptions};
use nearkin_sweep::Vectors;
use nearkin_train::Model;
use serde_json::json;

use super::prepare;
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
    /// What to look for: an image file, or the id of an indexed item; may be repeated
    #[arg(long, short = 'q', value_name = "IMAGE|ID", required = true)]
    query: Vec<String>,
    /// The run or model folder that made the vectors; needed for image files
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
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

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let index = Index::open(&args.index)?;
    let asked = ask(&args, &index, ui)?;
    let vectors: Vec<f32> = asked.iter().flat_map(|a| a.vector.iter().copied()).collect();
    let queries = Vectors::new(&vectors, index.dim())?;
    let options = SearchOptions { ef: None, exact: args.exact };
    // One more than asked for, since an indexed item finds itself.
    let found = index.search(queries, args.k as usize + 1, options)?;
    let found: Vec<Vec<Hit<'_>>> = asked
        .iter()
        .zip(found)
        .map(|(a, hits)| hits.into_iter().filter(|h| Some(h.index) != a.row).take(args.k as usize).collect())
        .collect();
    for (asked, hits) in asked.iter().zip(&found) {
        show(asked, hits, &index, ui);
    }
    if let Some(path) = &args.sheet {
        draw(path, args.data.as_deref(), &asked, &found)?;
        ui.print(format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Turns what was typed into vectors: image files through the model, ids by looking them up.
fn ask(args: &Args, index: &Index, ui: &Ui) -> Result<Vec<Asked>, Failure> {
    let (files, ids): (Vec<&String>, Vec<&String>) = args.query.iter().partition(|q| Path::new(q).is_file());
    let embedded = if files.is_empty() { HashMap::new() } else { embed_files(args, index, &files, ui)? };
    let wanted: HashMap<&str, usize> =
        if ids.is_empty() { HashMap::new() } else { (0..index.len()).map(|i| (index.id(i), i)).collect() };
    let asked = args.query.iter().map(|query| {
        if let Some((vector, image)) = embedded.get(query) {
            let (name, vector, image) = (query.clone(), vector.clone(), Some(image.clone()));
            return Ok(Asked { name, vector, row: None, label: None, image });
        }
        let row = *wanted.get(query.as_str()).ok_or_else(|| {
            Failure::misuse(format!(
                "'{query}' is neither an image file nor an id in {} (its first id is '{}')",
                args.index.display(),
                index.id(0)
            ))
        })?;
        Ok(Asked {
            name: query.clone(),
            vector: index.vectors().row(row).to_vec(),
            row: Some(row),
            label: index.label(row).map(str::to_owned),
            image: None,
        })
    });
    asked.collect()
}

fn embed_files(
    args: &Args,
    index: &Index,
    files: &[&String],
    ui: &Ui,
) -> Result<HashMap<String, (Vec<f32>, Image)>, Failure> {
    let Some(folder) = &args.model else {
        return Err(Failure::misuse("an image file needs --model, the run that made the vectors"));
    };
    let model = Model::open(folder, &args.device.open()?)?;
    index.check_model(model.hash())?;
    let embed = |file: &&String| -> Result<(String, (Vec<f32>, Image)), Failure> {
        // The way of any data set, so that a picture has one embedding whether it is asked for or indexed.
        let prepared = prepare(&Dataset::open(Path::new(file))?, &model.prepare_options(), ui)?;
        let vector = model.embed(&prepared, &mut |_, _| {})?;
        Ok(((*file).clone(), (vector, prepared.image(0)?)))
    };
    files.iter().map(embed).collect()
}

fn show(asked: &Asked, hits: &[Hit<'_>], index: &Index, ui: &Ui) {
    let json_hits = hits.iter().enumerate().map(|(rank, h)| {
        json!({ "rank": rank + 1, "id": h.id, "label": h.label, "path": h.path, "score": h.score })
    });
    ui.print_json(&json!({
        "query": asked.name, "metric": index.metric(), "hits": json_hits.collect::<Vec<_>>(),
    }));
    let label = asked.label.as_ref().map_or(String::new(), |l| format!(" ({l})"));
    ui.print(format!("nearest to {}{label}, by {}:", asked.name, index.metric()));
    let rows = hits.iter().enumerate().map(|(rank, h)| {
        let place = h.path.filter(|p| !p.is_empty()).unwrap_or(h.id);
        [
            (rank + 1).to_string(),
            format!("{:.4}", h.score),
            h.label.unwrap_or("").to_owned(),
            place.to_owned(),
        ]
    });
    ui.print(table(["rank", "score", "label", "item"], rows, &[0, 1]));
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
