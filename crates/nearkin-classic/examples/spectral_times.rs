//! Seconds to fit a spectral method to a table of numbers; `tests/golden/spectral.py times` is its peer.
//!
//! ```text
//! cargo run --release -p nearkin-classic --example spectral_times -- lle digits.csv
//! ```
//!
//! The table has no header; values are separated by commas. Prints one JSON object: the median of five fits (or as many as said), the peak memory
//! of the process so far, and the measure of the map: LLE's reconstruction error, the sum of
//! Isomap's or the eigenmaps' eigenvalues.

use std::time::Instant;

use nearkin_classic::spectral::{Isomap, LaplacianEigenmaps, Lle};
use nearkin_sweep::Vectors;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(method), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: spectral_times lle|isomap|eigenmaps TABLE [REPEATS] [NEIGHBORS]".into());
    };
    let repeats: usize = arguments.next().map_or(Ok(5), |count| count.parse())?;
    let neighbors: Option<usize> = arguments.next().map(|count| count.parse()).transpose()?;
    let text = std::fs::read_to_string(path)?;
    let rows: Vec<Vec<f32>> = text
        .lines()
        .map(|line| line.split(',').map(|value| value.trim().parse()).collect())
        .collect::<Result<_, _>>()?;
    let (count, dim) = (rows.len(), rows.first().map_or(0, Vec::len));
    let data = rows.concat();
    let points = Vectors::new(&data, dim)?;
    let mut seconds = Vec::new();
    let mut measure = 0.0;
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        measure = match method.as_str() {
            "lle" => {
                let settings = Lle::default();
                Lle { neighbors: neighbors.unwrap_or(settings.neighbors), ..settings }
                    .fit(points)?
                    .reconstruction_error()
            }
            "isomap" => {
                let settings = Isomap::default();
                // Not the residual variance, which costs a pass over all pairs that the peer's fit does not make.
                let map =
                    Isomap { neighbors: neighbors.unwrap_or(settings.neighbors), ..settings }.fit(points)?;
                map.embedding().iter().map(|&y| f64::from(y).powi(2)).sum()
            }
            "eigenmaps" => {
                let settings = LaplacianEigenmaps::default();
                LaplacianEigenmaps { neighbors: neighbors.unwrap_or(settings.neighbors), ..settings }
                    .fit(points)?
                    .eigenvalues()
                    .iter()
                    .sum()
            }
            other => return Err(format!("no method {other}: lle, isomap or eigenmaps").into()),
        };
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
    println!(
        r#"{{"what": "{method}", "points": {count}, "seconds": {:.4}, "measure": {measure:.6e}, "peak": "{peak}"}}"#,
        seconds[seconds.len() / 2]
    );
    Ok(())
}
