//! How well 3 nearest neighbours classify under each metric: repeated stratified splits of a table.
//!
//! ```text
//! cargo run --release -p nearkin-classic --example uci -- wine.csv [splits, 30 by default] [method …]
//! ```
//!
//! The table is CSV with a header and the class in its last column; rows with a missing value (`?`) are left out, and their
//! number is told. Each split fits on 70 % of every class, scaled by their mean and deviation, and tests on the rest. Printed are
//! the mean accuracy, its 95 % interval over splits, and the seconds of a fit.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use nearkin_classic::{
    Dca, Itml, Lda, LinearMap, Lmnn, LocalFisher, Lsml, Mmc, Nca, Pca, RandomProjection, Rca, Scaler, Scml,
    Sdml, Stochastic, Whitening,
};
use nearkin_sweep::{Metric, Vectors, top_k};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Table {
    columns: usize,
    values: Vec<f32>,
    labels: Vec<u32>,
}

fn read(path: &str) -> Result<Table> {
    let mut reader = csv::Reader::from_path(path)?;
    let columns = reader.headers()?.len().saturating_sub(1);
    let (mut values, mut labels, mut classes, mut missing) = (Vec::new(), Vec::new(), BTreeMap::new(), 0);
    for record in reader.records() {
        let record = record?;
        if record.iter().any(|field| field == "?") {
            missing += 1;
            continue;
        }
        for field in record.iter().take(columns) {
            values.push(field.trim().parse::<f32>().map_err(|error| format!("{path}: {field:?}: {error}"))?);
        }
        let next = classes.len() as u32;
        labels.push(*classes.entry(record[columns].to_owned()).or_insert(next));
    }
    if missing > 0 {
        eprintln!("{path}: left out {missing} rows with missing values");
    }
    Ok(Table { columns, values, labels })
}

/// 70 % of every class, and the rest.
fn split(labels: &[u32], seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    labels.iter().enumerate().for_each(|(i, label)| classes.entry(*label).or_default().push(i));
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for mut members in classes.into_values() {
        for last in (1..members.len()).rev() {
            members.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
        }
        let kept = (members.len() as f64 * 0.7).round() as usize;
        train.extend_from_slice(&members[..kept]);
        test.extend_from_slice(&members[kept..]);
    }
    (train, test)
}

/// The share of test samples whose 3 nearest vote for their class; ties go to the nearest.
fn accuracy(train: &[f32], labels: &[u32], test: &[f32], wanted: &[u32], dims: usize) -> Result<f64> {
    let (train, test) = (Vectors::new(train, dims)?, Vectors::new(test, dims)?);
    let found = top_k(test, train, Metric::SquaredEuclidean, 3, false)?;
    let right = found.iter().zip(wanted).filter(|(nearest, wanted)| {
        let votes: Vec<u32> = nearest.iter().map(|n| labels[n.index]).collect();
        let most = votes.iter().rev().max_by_key(|v| votes.iter().filter(|other| other == v).count());
        most == Some(*wanted)
    });
    Ok(right.count() as f64 / wanted.len() as f64)
}

const METHODS: [&str; 20] = [
    "euclidean",
    "pca",
    "whitening",
    "projection",
    "lda",
    "lfda",
    "rca",
    "nca",
    "nca-stochastic",
    "lmnn",
    "lmnn-3-passes",
    "itml",
    "sdml",
    "mmc",
    "mmc-diagonal",
    "lsml",
    "scml",
    "dca",
    "nca-2d",
    "lmnn-2d",
];

fn fit(method: &str, x: Vectors<'_>, labels: &[u32], seed: u64) -> Result<LinearMap> {
    let (d, two) = (x.dim(), x.dim().min(2));
    Ok(match method {
        "euclidean" => Scaler::none(d).map(),
        "pca" => Pca::new(d.div_ceil(2)).fit(x)?.map,
        "whitening" => Whitening::pca().fit(x)?.map,
        "projection" => RandomProjection::new(d.div_ceil(2)).seed(seed).fit(d)?,
        "lda" => Lda::new().ridge(1e-6).fit(x, labels)?.map,
        "lfda" => LocalFisher::new().ridge(1e-6).fit(x, labels)?.map,
        "rca" => Rca::new().ridge(1e-6).fit(x, labels)?,
        "nca" => Nca::new().fit(x, labels)?.map,
        "nca-stochastic" => {
            Nca::new().stochastic(Stochastic { seed, ..Stochastic::default() }).fit(x, labels)?.map
        }
        "lmnn" => Lmnn::new().fit(x, labels)?.map,
        "lmnn-3-passes" => Lmnn::new().passes(3).fit(x, labels)?.map,
        "itml" => Itml::new().fit_labels(x, labels, 1000, seed)?.map,
        "sdml" => Sdml::new().fit_labels(x, labels, 1000, seed)?.map,
        "mmc" => Mmc::full().ridge(1e-6).fit_labels(x, labels, 1000, seed)?.map,
        "mmc-diagonal" => Mmc::diagonal().ridge(1e-6).fit_labels(x, labels, 1000, seed)?.map,
        "lsml" => Lsml::new().weight(100.0).fit_labels(x, labels, 1000, seed)?.map,
        "scml" => Scml::new().seed(seed).fit_labels(x, labels)?.map,
        "dca" => Dca::new().ridge(1e-6).fit_labels(x, labels)?.map,
        "nca-2d" => Nca::new().dims(two).fit(x, labels)?.map,
        "lmnn-2d" => Lmnn::new().dims(two).start(nearkin_classic::Start::Auto).fit(x, labels)?.map,
        other => return Err(format!("no method {other:?}: choose of {METHODS:?}").into()),
    })
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: uci table.csv [splits] [method …]")?;
    let splits: u64 = arguments.next().map_or(Ok(30), |text| text.parse())?;
    let asked: Vec<String> = arguments.collect();
    let asked: Vec<&str> =
        if asked.is_empty() { METHODS.to_vec() } else { asked.iter().map(String::as_str).collect() };
    let table = read(&path)?;
    println!("{path}: {} rows, {} columns, {splits} splits", table.labels.len(), table.columns);
    for method in asked {
        let (mut found, mut seconds) = (Vec::new(), 0.0);
        let mut run = |seed: u64| -> Result<()> {
            let (train, test) = split(&table.labels, seed);
            let rows = |of: &[usize]| -> Vec<f32> {
                of.iter()
                    .flat_map(|&i| &table.values[i * table.columns..(i + 1) * table.columns])
                    .copied()
                    .collect()
            };
            let labels = |of: &[usize]| -> Vec<u32> { of.iter().map(|&i| table.labels[i]).collect() };
            let (raw, raw_test) = (rows(&train), rows(&test));
            let (raw, raw_test) =
                (Vectors::new(&raw, table.columns)?, Vectors::new(&raw_test, table.columns)?);
            let scaler = Scaler::standardise(raw)?;
            let scaled = scaler.transform(raw)?;
            let began = Instant::now();
            let map = fit(method, Vectors::new(&scaled, table.columns)?, &labels(&train), seed)?;
            seconds += began.elapsed().as_secs_f64();
            let map = map.after(&scaler)?;
            let (z, z_test) = (map.transform(raw)?, map.transform(raw_test)?);
            found.push(accuracy(&z, &labels(&train), &z_test, &labels(&test), map.matrix().rows())?);
            Ok(())
        };
        match (0..splits).try_for_each(&mut run) {
            Err(error) => println!("{method:>16}  {error}"),
            Ok(()) => {
                let n = found.len() as f64;
                let mean = found.iter().sum::<f64>() / n;
                let variance = found.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
                let half = 1.96 * (variance / n).sqrt();
                println!(
                    "{method:>16}  {:6.2} ± {:4.2} %  {:9.4} s",
                    100.0 * mean,
                    100.0 * half,
                    seconds / n
                );
            }
        }
    }
    Ok(())
}
