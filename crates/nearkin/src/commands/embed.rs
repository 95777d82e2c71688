//! `nearkin embed`

use std::path::PathBuf;

use clap::ValueEnum;
use nearkin_index::{Embeddings, Origin};
use nearkin_train::{Contexts, Encoder, Inputs, Model};
use serde_json::json;

use super::Named;
use crate::cli::OnDevice;
use crate::failure::Failure;
use crate::ui::{Ui, count};

#[derive(Debug, clap::Args)]
#[command(after_help = super::train::DATA_HELP)]
pub struct Args {
    /// A run, or a model folder
    model: PathBuf,
    /// The images, sounds or series, or for a linear map the table, to embed
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    #[command(flatten)]
    named: Named,
    /// Where the vectors go: .parquet, .npy or .safetensors; ids, labels and paths are kept
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of sounds and series, which vectors stand for a sample: the mean of its contexts, the last, or all of them, with `ID@STEP` as
    /// ids and the sample's id in a column `sample`
    #[arg(long, value_name = "WHICH", default_value = "mean")]
    contexts: Which,
    #[command(flatten)]
    device: OnDevice,
}

/// Which contexts of a sound or a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Mean,
    Last,
    All,
}

impl Args {
    /// As `quickstart` embeds.
    pub fn new(model: PathBuf, data: PathBuf, out: PathBuf) -> Self {
        Self { model, data, named: Named::default(), out, contexts: Which::Mean, device: OnDevice::cpu() }
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let model = Model::open(&args.model, &args.device.open()?)?;
    let inputs = super::read(&model, &args.data, &args.named, ui)?;
    let embeddings = match args.contexts {
        Which::Mean => embeddings(&model, &inputs, ui)?,
        Which::Last => of_contexts(&model, &inputs, Contexts::Last, ui)?,
        Which::All => of_contexts(&model, &inputs, Contexts::All, ui)?,
    };
    embeddings.write(&args.out)?;
    let (n, dim) = (embeddings.len(), embeddings.dim);
    ui.print_json(&json!({ "event": "embedded", "rows": n, "dimension": dim, "out": args.out }));
    ui.print(format!("wrote {} vectors of {dim} values to {}", count(n), args.out.display()));
    Ok(())
}

fn embeddings(model: &Model, inputs: &Inputs, ui: &Ui) -> Result<Embeddings, Failure> {
    Ok(Embeddings { vectors: embed(model, inputs, ui)?, ..described(model, inputs) })
}

/// All but the vectors.
fn described(model: &Model, inputs: &Inputs) -> Embeddings {
    Embeddings {
        vectors: Vec::new(),
        dim: model.dimension(),
        ids: inputs.ids(),
        labels: inputs.label_names(),
        paths: inputs.paths(),
        columns: Default::default(),
        origin: Some(Origin {
            model: model.hash().to_owned(),
            metric: model.metric(),
            preprocessing: model.preprocessing(),
            normalized: false,
            data: inputs.fingerprint(),
        }),
    }
}

/// Embeddings of the last context of each sample, or of all its contexts.
fn of_contexts(model: &Model, inputs: &Inputs, which: Contexts, ui: &Ui) -> Result<Embeddings, Failure> {
    let (Encoder::Network(network), Inputs::Signals { prepared, .. }) = (&model.encoder, inputs) else {
        let name = inputs.noun();
        return Err(Failure::misuse(format!("--contexts is of sounds and series, and {name} have none")));
    };
    let bar = ui.bar("embedding", inputs.len());
    let found = network.embed_signals(prepared, which, &mut |done, _| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let mut whole = Embeddings { vectors: found.vectors, ..described(model, inputs) };
    if let Some(origin) = &mut whole.origin {
        origin.preprocessing += match which {
            Contexts::Mean => "",
            Contexts::Last => ", the last context",
            Contexts::All => ", every context",
        };
    }
    if which == Contexts::Last {
        return Ok(whole);
    }
    let owners = found.owners;
    let of_owner = |texts: &Vec<String>| owners.iter().map(|&i| texts[i].clone()).collect::<Vec<_>>();
    let step = |at: usize| at - owners.partition_point(|owner| *owner < owners[at]);
    let id = |(at, &owner): (usize, &usize)| format!("{}@{}", whole.ids[owner], step(at));
    Ok(Embeddings {
        ids: owners.iter().enumerate().map(id).collect(),
        labels: whole.labels.as_ref().map(of_owner),
        paths: whole.paths.as_ref().map(of_owner),
        columns: [("sample".to_owned(), of_owner(&whole.ids))].into_iter().collect(),
        ..whole
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
