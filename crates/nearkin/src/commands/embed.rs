//! `nearkin embed`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nearkin_data::{Dataset, Prepared};
use nearkin_index::{Embeddings, Origin};
use nearkin_train::Model;
use serde_json::json;

use super::prepare;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, count};

#[derive(Debug, clap::Args)]
#[command(after_help = super::train::DATA_HELP)]
pub struct Args {
    /// A run, or a model folder
    model: PathBuf,
    /// The images to embed
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Where the vectors go: .parquet, .npy or .safetensors; ids, labels and paths are kept
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    device: OnDevice,
}

impl Args {
    /// As `quickstart` embeds.
    pub fn new(model: PathBuf, data: PathBuf, out: PathBuf) -> Self {
        Self { model, data, out, device: OnDevice::cpu() }
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let model = Model::open(&args.model, &args.device.open()?)?;
    let dataset = Dataset::open(&args.data)?;
    let embeddings = embed_dataset(&model, &dataset, ui)?;
    embeddings.write(&args.out)?;
    let (n, dim) = (embeddings.len(), embeddings.dim);
    ui.print_json(&json!({ "event": "embedded", "rows": n, "dimension": dim, "out": args.out }));
    ui.print(format!("wrote {} vectors of {dim} values to {}", count(n), args.out.display()));
    Ok(())
}

fn embed_dataset(model: &Model, dataset: &Dataset, ui: &Ui) -> Result<Embeddings, Failure> {
    let prepared = prepare(dataset, &model.prepare_options(), ui)?;
    let vectors = embed(model, &prepared, ui)?;
    let data = &prepared.dataset;
    let labelled = data.labels().is_some();
    let label = |i: usize| data.sample(i).label.map(|l| data.classes()[l as usize].clone());
    let path = |i: usize| data.sample(i).path.as_deref().map(shown);
    Ok(Embeddings {
        vectors,
        dim: model.card.dimension,
        ids: data.samples().map(|s| s.id.clone()).collect(),
        labels: labelled.then(|| (0..data.len()).filter_map(label).collect()),
        paths: (0..data.len()).map(path).collect(),
        columns: Default::default(),
        origin: Some(Origin {
            model: model.hash().to_owned(),
            metric: model.card.metric,
            normalized: false,
            data: dataset.fingerprint(),
        }),
    })
}

/// Embeds prepared images, with a bar.
pub fn embed(model: &Model, prepared: &Arc<Prepared>, ui: &Ui) -> Result<Vec<f32>, Failure> {
    let bar = ui.bar("embedding", prepared.len());
    let vectors = model.embed(prepared, &mut |done, _| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(vectors)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
