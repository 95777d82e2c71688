//! `nearkin embed`

use std::path::PathBuf;

use nearkin_index::{Embeddings, Origin};
use nearkin_train::{Inputs, Model};
use serde_json::json;

use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, count};

#[derive(Debug, clap::Args)]
#[command(after_help = super::train::DATA_HELP)]
pub struct Args {
    /// A run, or a model folder
    model: PathBuf,
    /// The images, or for a linear map the table, to embed
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
    let inputs = super::read(&model, &args.data, ui)?;
    let embeddings = embeddings(&model, &inputs, ui)?;
    embeddings.write(&args.out)?;
    let (n, dim) = (embeddings.len(), embeddings.dim);
    ui.print_json(&json!({ "event": "embedded", "rows": n, "dimension": dim, "out": args.out }));
    ui.print(format!("wrote {} vectors of {dim} values to {}", count(n), args.out.display()));
    Ok(())
}

fn embeddings(model: &Model, inputs: &Inputs, ui: &Ui) -> Result<Embeddings, Failure> {
    Ok(Embeddings {
        vectors: embed(model, inputs, ui)?,
        dim: model.dimension(),
        ids: inputs.ids(),
        labels: inputs.label_names(),
        paths: inputs.paths(),
        columns: Default::default(),
        origin: Some(Origin {
            model: model.hash().to_owned(),
            metric: model.metric(),
            normalized: false,
            data: inputs.fingerprint(),
        }),
    })
}

/// Embeds samples, with a bar.
pub fn embed(model: &Model, inputs: &Inputs, ui: &Ui) -> Result<Vec<f32>, Failure> {
    with_bar(inputs, ui, |progress| Ok(model.embed(inputs, progress)?))
}

/// Embeds the mirror images of images, with a bar.
pub fn embed_mirrored(model: &Model, inputs: &Inputs, ui: &Ui) -> Result<Vec<f32>, Failure> {
    with_bar(inputs, ui, |progress| Ok(model.embed_mirrored(inputs, progress)?))
}

fn with_bar(
    inputs: &Inputs,
    ui: &Ui,
    embed: impl FnOnce(&mut dyn FnMut(usize, usize)) -> Result<Vec<f32>, Failure>,
) -> Result<Vec<f32>, Failure> {
    let bar = ui.bar("embedding", inputs.len());
    let vectors = embed(&mut |done, _| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(vectors)
}
