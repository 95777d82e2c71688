//! Indexes vectors that any model made, and finds the neighbours of the first.
//!
//! `cargo run --release --example search -- vectors.npy` (or .parquet, .safetensors)

use std::path::PathBuf;

use nearkin::index::{BuildOptions, Embeddings, Index, Kind, SearchOptions, build};
use nearkin::sweep::{Metric, Vectors};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = PathBuf::from(std::env::args().nth(1).ok_or("usage: search VECTORS")?);
    let embeddings = Embeddings::read(&path)?;

    let file = path.with_extension("index");
    let kind = Kind::for_rows(embeddings.len());
    let options = BuildOptions { metric: Some(Metric::Cosine), kind, ..BuildOptions::default() };
    build(&embeddings, &file, options, &mut |_| {})?;

    // The file is memory-mapped: opening it takes milliseconds, whatever its size.
    let index = Index::open(&file)?;
    let first = embeddings.vectors.get(..embeddings.dim).ok_or("no vectors")?;
    let hits = index.search(Vectors::new(first, embeddings.dim)?, 5, SearchOptions::default())?;
    for hit in &hits[0] {
        println!("{:.4}  {}  {}", hit.score, hit.id, hit.label.unwrap_or(""));
    }
    Ok(())
}
