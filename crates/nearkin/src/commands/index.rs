//! `nearkin index`

use std::path::PathBuf;

use clap::ValueEnum;
use nearkin_index::{BuildOptions, Embeddings, Kind, build};
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
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindArg {
    /// exact up to 200,000 vectors, hnsw beyond
    Auto,
    Exact,
    Hnsw,
}

impl Args {
    /// As `quickstart` indexes.
    pub fn new(embeddings: PathBuf, out: PathBuf) -> Self {
        Self { embeddings, out, metric: None, kind: KindArg::Auto }
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
    let options = BuildOptions { metric: args.metric, kind };
    let summary = build(&embeddings, &args.out, options, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    })?;
    bar.finish_and_clear();
    let (metric, kind) = (summary.metric, name(summary.kind));
    ui.print_json(&json!({
        "event": "indexed", "rows": summary.rows, "dimension": summary.dim, "metric": metric,
        "kind": kind, "bytes": summary.bytes, "out": args.out,
    }));
    ui.print(format!(
        "indexed {} vectors of {} values ({kind}, {metric}) in {}, {}",
        count(summary.rows),
        summary.dim,
        args.out.display(),
        bytes(summary.bytes)
    ));
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Exact => "exact",
        Kind::Hnsw { .. } => "hnsw",
    }
}
