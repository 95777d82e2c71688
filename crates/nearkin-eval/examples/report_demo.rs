//! Writes a report about made-up embeddings, to look at:
//! `cargo run --release -p nearkin-eval --example report_demo -- demo.html sheet.png`.
//!
//! The ten classes are clouds in 32 dimensions; the baseline is the same clouds blurred. Every number is
//! measured by this crate, only the data is synthetic.

use std::error::Error;
use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use nearkin_eval::{
    ClassRow, Curve, Hit, Labeled, Map, MetricRow, Picture, QueryRow, Report, Retrieval, RetrievalOptions,
    Series, Weighting, contact_sheet, knn_accuracy, pca_2d, retrieval, spectrum,
};
use nearkin_sweep::{Metric, Vectors, top_k};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLASSES: [&str; 10] =
    ["ibis", "heron", "wren", "robin", "lark", "finch", "swift", "tern", "kestrel", "barn owl"];
const DIM: usize = 32;
const EACH: usize = 60;
const SEED: u64 = 7;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: report_demo REPORT.html [SHEET.png]")?;
    let labels: Vec<u32> = (0..CLASSES.len() * EACH).map(|i| (i / EACH) as u32).collect();
    let (near, far) = (clouds(0.55), clouds(2.0));
    let (learned, blurred) = (Vectors::new(&near, DIM)?, Vectors::new(&far, DIM)?);
    let found = measure(learned, &labels)?;
    let raw = measure(blurred, &labels)?;

    let sheet = sheet(learned, &labels)?;
    if let Some(path) = std::env::args().nth(2) {
        contact_sheet(&sheet, 96)?.save(path)?;
    }
    let report = Report {
        title: "Birds, SimCLR, ten classes".into(),
        subtitle: "A demo with synthetic data: what a nearkin report looks like.".into(),
        command: "nearkin train recipes/simclr.toml --data birds/ --out runs/birds".into(),
        facts: [
            ("Method", "SimCLR (NT-Xent, τ = 0.1)"),
            ("Encoder", "ConvNet-4, 32 dimensions"),
            ("Data", "600 synthetic samples"),
            ("Seed", "7"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        metrics: metric_rows(&found, &raw, learned, blurred, &labels)?,
        baseline_name: "Raw pixels".into(),
        curves: vec![
            curve("Loss", "loss", &[("train", 4.2, 0.9), ("validation", 4.4, 1.4)]),
            curve("Spread", "spread", &[("train", 0.2, 0.94)]),
        ],
        maps: vec![Map {
            hint: "The first two principal components.".into(),
            points: pca_2d(learned)?,
            labels: labels.clone(),
            classes: CLASSES.map(str::to_owned).to_vec(),
            ..Map::default()
        }],
        sheet,
        per_class: found
            .per_class
            .iter()
            .map(|class| ClassRow {
                name: CLASSES[class.label as usize].to_owned(),
                queries: class.queries,
                precision_at_1: class.precision_at_1,
                map_at_r: class.map_at_r,
            })
            .collect(),
        notes: vec![
            format!("{} queries, each searched among all the others.", found.queries),
            "The curves are drawn, not trained.".into(),
        ],
        skipped: vec![("Verification (TAR at FAR)".into(), "the data names no pairs".into())],
        ..Report::default()
    };
    report.write(path)?;
    Ok(())
}

fn measure(vectors: Vectors<'_>, labels: &[u32]) -> Result<Retrieval, Box<dyn Error>> {
    Ok(retrieval(Labeled { vectors, labels }, None, &RetrievalOptions::default())?)
}

fn metric_rows(
    found: &Retrieval,
    raw: &Retrieval,
    learned: Vectors<'_>,
    blurred: Vectors<'_>,
    labels: &[u32],
) -> Result<Vec<MetricRow>, Box<dyn Error>> {
    let row = |name: &str, learned, baseline| MetricRow {
        name: name.to_owned(),
        learned,
        baseline: Some(baseline),
        interval: None,
    };
    let knn = |vectors| {
        knn_accuracy(
            Labeled { vectors, labels },
            None,
            Metric::Cosine,
            20,
            Weighting::Exp { temperature: 0.07 },
        )
    };
    let (rank, raw_rank) = (spectrum(learned)?, spectrum(blurred)?);
    let mut rows = vec![
        MetricRow {
            interval: Some(found.precision_at_1_interval),
            ..row("precision_at_1", found.precision_at_1, raw.precision_at_1)
        },
        MetricRow {
            interval: Some(found.mean_average_precision_at_r_interval),
            ..row(
                "mean_average_precision_at_r",
                found.mean_average_precision_at_r,
                raw.mean_average_precision_at_r,
            )
        },
        row("r_precision", found.r_precision, raw.r_precision),
        row("knn_accuracy", knn(learned)?, knn(blurred)?),
    ];
    rows.extend(
        found
            .recall_at_k
            .iter()
            .skip(1)
            .map(|(k, &value)| row(&format!("recall_at_{k}"), value, raw.recall_at_k[k])),
    );
    rows.push(row("effective_rank", rank.effective_rank, raw_rank.effective_rank));
    rows.push(row("spread", rank.spread, raw_rank.spread));
    Ok(rows)
}

/// A cloud a class; the noise grows with the class, so that some are hard.
fn clouds(noise: f32) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let centers: Vec<f32> = (0..CLASSES.len() * DIM).map(|_| rng.random_range(-1.0..1.0)).collect();
    centers
        .chunks(DIM)
        .enumerate()
        .flat_map(|(class, center)| {
            center.repeat(EACH).into_iter().map(move |x| (x, noise * (0.6 + 0.12 * class as f32)))
        })
        .map(|(x, noise)| x + noise * (rng.random_range(-1.0..1.0) + rng.random_range(-1.0..1.0)))
        .collect()
}

fn curve(title: &str, y_label: &str, series: &[(&str, f64, f64)]) -> Curve {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let series = series
        .iter()
        .map(|&(name, first, last)| Series {
            name: name.to_owned(),
            points: (1..=60)
                .map(|epoch| {
                    (
                        f64::from(epoch),
                        last + (first - last) * (-f64::from(epoch) / 14.0).exp()
                            + rng.random_range(-0.03..0.03),
                    )
                })
                .collect(),
        })
        .collect();
    Curve { title: title.to_owned(), x_label: "epoch".into(), y_label: y_label.to_owned(), series }
}

fn sheet(vectors: Vectors<'_>, labels: &[u32]) -> Result<Vec<QueryRow>, Box<dyn Error>> {
    let near = top_k(vectors, vectors, Metric::Cosine, 8, true)?;
    let picture = |i: usize| -> Result<Picture, Box<dyn Error>> {
        Ok(Picture { png: glyph(labels[i], i)?, caption: format!("{} {i}", CLASSES[labels[i] as usize]) })
    };
    [5, 100, 455, 560, 590]
        .into_iter()
        .map(|query| {
            let hits: Result<Vec<Hit>, Box<dyn Error>> = near[query]
                .iter()
                .map(|n| {
                    Ok(Hit {
                        picture: picture(n.index)?,
                        right: Some(labels[n.index] == labels[query]),
                        score: n.score,
                    })
                })
                .collect();
            Ok(QueryRow { query: picture(query)?, hits: hits? })
        })
        .collect()
}

/// Stripes that differ by class, in a shade that differs by sample.
fn glyph(class: u32, sample: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let shade = 60 + (sample * 37 % 120) as u8;
    let picture = RgbImage::from_fn(48, 48, |x, y| {
        let stripe = ((x * (class + 1) + y * (10 - class)) / 48).is_multiple_of(2);
        if stripe { Rgb([shade, 120, 200 - shade / 2]) } else { Rgb([240, 235, 220]) }
    });
    let mut png = Vec::new();
    picture.write_to(&mut Cursor::new(&mut png), ImageFormat::Png)?;
    Ok(png)
}
