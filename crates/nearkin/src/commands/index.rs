//! `nearkin index`

use std::path::PathBuf;

use clap::ValueEnum;
use nearkin_index::{BuildOptions, Embeddings, Kind, Storage, build};
use nearkin_sweep::Metric;
use serde_json::json;

use crate::failure::Failure;
use crate::ui::{Ui, bytes, count};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Vectors: .parquet, .npy or .safetensors, from `nearkin embed` or from any other model
    embeddings: PathBuf,
    /// The index to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// dot, cosine, euclidean or squared-euclidean [default: the model's, else cosine]
    #[arg(long, value_name = "NAME")]
    metric: Option<Metric>,
    /// exact scans every vector; hnsw walks a graph: faster for large sets, and nearly always right
    #[arg(long, value_enum, default_value_t = KindArg::Auto)]
    kind: KindArg,
    /// How vectors are stored: fewer bytes are a smaller file
    #[arg(long, value_enum, default_value_t = StorageArg::F32)]
    storage: StorageArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    /// exact up to 200,000 vectors, hnsw beyond
    Auto,
    Exact,
    Hnsw,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StorageArg {
    /// As they are
    F32,
    /// Half the size; practically the same neighbours
    F16,
    /// A quarter of the size, and faster to search; one or two of a hundred neighbours differ
    I8,
}

impl Args {
    /// As `quickstart` indexes.
    pub fn new(embeddings: PathBuf, out: PathBuf) -> Self {
        Self { embeddings, out, metric: None, kind: KindArg::Auto, storage: StorageArg::F32 }
    }
}

pub fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    let embeddings = Embeddings::read(&args.embeddings)?;
    let kind = match args.kind {
        KindArg::Auto => Kind::for_rows(embeddings.len()),
        KindArg::Exact => Kind::Exact,
        KindArg::Hnsw => Kind::for_rows(Kind::GRAPH_FROM),
    };
    let bar = ui.bar("indexing", embeddings.len());
    let storage = match args.storage {
        StorageArg::F32 => Storage::F32,
        StorageArg::F16 => Storage::F16,
        StorageArg::I8 => Storage::I8,
    };
    let options = BuildOptions { metric: args.metric, kind, storage };
    let summary = build(&embeddings, &args.out, options, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    })?;
    bar.finish_and_clear();
    let (metric, kind) = (summary.metric, name(summary.kind));
    ui.print_json(&json!({
        "event": "indexed", "rows": summary.rows, "dimension": summary.dim, "metric": metric,
        "kind": kind, "storage": storage, "ef": summary.ef, "bytes": summary.bytes, "out": args.out,
    }));
    ui.print(format!(
        "indexed {} vectors of {} values ({kind}, {metric}, {storage}) in {}, {}",
        count(summary.rows),
        summary.dim,
        args.out.display(),
        bytes(summary.bytes)
    ));
    if summary.ef == Some(summary.rows) {
        ui.warn("a walk through the graph that finds 99 of 100 neighbours takes longer than comparing with every vector, which searches do instead: --kind exact is as good and smaller");
    }
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Exact => "exact",
        Kind::Hnsw { .. } => "hnsw",
    }
}
