//! How many true neighbours indexes find, and how fast.
//!
//! `cargo run --release -p nearkin-index --example recall -- QUERIES REFERENCE.index INDEX...`
//!
//! The truth is an exact search of the reference, an index of the same rows in f32. Prints a line of a Markdown table for each index and
//! beam: recall@10, milliseconds of a query that is asked alone (median), and queries a second when 64 are asked at once.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use nearkin_index::{Embeddings, Hit, Index, Kind, SearchOptions};
use nearkin_sweep::Vectors;

const K: usize = 10;
/// Queries that are timed one by one.
const ALONE: usize = 200;
const AT_ONCE: usize = 64;
const BEAMS: [usize; 6] = [50, 100, 200, 400, 800, 1_600];

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [queries, reference, indexes @ ..] = &paths[..] else {
        return Err("usage: recall QUERIES REFERENCE.index INDEX...".into());
    };
    let queries = Embeddings::read(Path::new(queries))?;
    let queries = Vectors::new(&queries.vectors, queries.dim)?;
    let reference = Index::open(Path::new(reference))?;
    let truth = reference.search(queries, K, SearchOptions { ef: None, exact: true })?;
    println!("| index | MiB | search | recall@10 | ms a query | queries/s, {AT_ONCE} at once |");
    println!("|---|---|---|---|---|---|");
    for path in indexes {
        let path = Path::new(path);
        let index = Index::open(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let mebibytes = std::fs::metadata(path)?.len() as f64 / (1u64 << 20) as f64;
        let mut searches = vec![("exact".to_owned(), SearchOptions { ef: None, exact: true })];
        if index.kind() != Kind::Exact {
            searches.push((format!("default: ef {}", index.ef()), SearchOptions::default()));
            let beam = |ef| (format!("ef {ef}"), SearchOptions { ef: Some(ef), exact: false });
            searches.extend(BEAMS.into_iter().map(beam));
        }
        for (search, options) in searches {
            let recall = recall(&truth, &index.search(queries, K, options)?);
            let (alone, rate) = speed(&index, queries, options)?;
            println!("| {name} | {mebibytes:.1} | {search} | {recall:.4} | {alone:.2} | {rate:.0} |");
        }
    }
    Ok(())
}

/// The share of the true neighbours among those found.
fn recall(truth: &[Vec<Hit<'_>>], found: &[Vec<Hit<'_>>]) -> f64 {
    let both = truth.iter().zip(found);
    let hits = both.map(|(truth, found)| {
        truth.iter().filter(|near| found.iter().any(|hit| hit.index == near.index)).count()
    });
    hits.sum::<usize>() as f64 / truth.iter().map(Vec::len).sum::<usize>() as f64
}

/// Milliseconds of a query alone, and queries a second of many at once.
fn speed(index: &Index, queries: Vectors<'_>, options: SearchOptions) -> Result<(f64, f64), Box<dyn Error>> {
    let dim = queries.dim();
    let mut alone = Vec::new();
    for query in queries.data().chunks_exact(dim).take(ALONE) {
        let begun = Instant::now();
        index.search(Vectors::new(query, dim)?, K, options)?;
        alone.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    alone.sort_by(f64::total_cmp);
    let begun = Instant::now();
    for batch in queries.data().chunks(AT_ONCE * dim) {
        index.search(Vectors::new(batch, dim)?, K, options)?;
    }
    let rate = queries.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((alone[alone.len() / 2], rate))
}
