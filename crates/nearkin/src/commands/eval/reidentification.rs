//! Re-identification: does a query find its identity in the gallery, under other cameras?

use std::collections::HashMap;

use nearkin_eval::{
    Curve, Labeled, MetricRow, Pooled, Pooling, Reidentification, ReidentificationOptions, Reranking, Series,
    Sightings, pool, reidentification,
};
use nearkin_sweep::{Metric, Vectors};

use super::case::{Case, Set};
use super::{Args, Found, json};
use crate::failure::Failure;

/// Ranks of the CMC curve.
const RANKS: usize = 20;
/// The ranks of the table.
const STATED: [usize; 3] = [1, 5, 10];

pub fn measure(case: &Case<'_>, args: &Args) -> Result<Found, Failure> {
    if args.multi_query && args.camera.is_none() && case.reference.is_none() {
        return Err(Failure::misuse(
            "--multi-query pools all queries of an identity and camera, which needs --camera NAME, or a gallery of others as --reference",
        ));
    }
    let cameras = Cameras::of(case, args.camera.as_deref())?;
    let options = ReidentificationOptions {
        cmc_at: (1..=RANKS).collect(),
        reranking: args.rerank.then(Reranking::default),
        ..ReidentificationOptions::default()
    };
    let [learned, baseline] = case.measure(|query, gallery, metric| {
        let options = ReidentificationOptions { metric, ..options.clone() };
        rank(query, gallery, &cameras, &options, args.multi_query)
    })?;
    let mut sentence = match case.reference {
        None => format!("each of {} is looked for among all others", case.count()),
        Some(gallery) => format!("{} are looked for in a gallery of {}", case.count(), gallery.inputs.len()),
    };
    if let Some(camera) = &args.camera {
        sentence += &format!(", those of its identity and {camera} left out");
    }
    if args.multi_query {
        sentence += &format!("; queries of one identity and camera are pooled: {}", learned.queries);
    }
    if args.rerank {
        sentence += "; k-reciprocal re-ranking";
    }
    if args.flip {
        sentence += "; embeddings are averaged with those of mirror images";
    }
    let mut notes = case.notes();
    if learned.lone_queries > 0 {
        notes.push(format!(
            "{} queries have no picture in the gallery that counts and are left out",
            learned.lone_queries
        ));
    }
    Ok(Found {
        rows: rows(&learned, &baseline),
        curves: vec![cmc(&learned, &baseline, case.model.baseline_name())],
        sentence: format!("{sentence}; {}", case.by()),
        learned: json(&learned)?,
        baseline: json(&baseline)?,
        notes,
        per_class: Vec::new(),
    })
}

/// One camera a sample, numbered alike on both sides.
struct Cameras {
    query: Option<Vec<u32>>,
    gallery: Option<Vec<u32>>,
}

impl Cameras {
    fn of(case: &Case<'_>, name: Option<&str>) -> Result<Self, Failure> {
        let Some(name) = name else {
            return Ok(match case.reference {
                Some(_) => Self { query: None, gallery: None },
                // A camera for each sample leaves out of a query's ranking the query alone.
                None => Self { query: Some((0..case.labels.query.len() as u32).collect()), gallery: None },
            });
        };
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut column = |set: &Set| -> Result<Vec<u32>, Failure> {
            let images = set.inputs.images().ok_or_else(|| {
                Failure::misuse("rows of a table have no attributes to be a camera: leave out --camera")
            })?;
            let dataset = &images.dataset;
            let values = dataset.attribute(name).map_err(|e| Failure::misuse(e.to_string()))?;
            let numbered = values.into_iter().enumerate().map(|(i, value)| {
                let value = value.ok_or_else(|| {
                    Failure::misuse(format!(
                        "{} has no {name}: every sample needs one, or leave out --camera",
                        dataset.sample(i).id
                    ))
                })?;
                let next = numbers.len() as u32;
                Ok(*numbers.entry(value.to_owned()).or_insert(next))
            });
            numbered.collect()
        };
        Ok(Self { query: Some(column(case.query)?), gallery: case.reference.map(&mut column).transpose()? })
    }
}

fn rank(
    query: Labeled<'_>,
    gallery: Option<Labeled<'_>>,
    cameras: &Cameras,
    options: &ReidentificationOptions,
    multi_query: bool,
) -> Result<Reidentification, Failure> {
    let gallery = match gallery {
        Some(gallery) => Sightings { embeddings: gallery, cameras: cameras.gallery.as_deref() },
        None => Sightings { embeddings: query, cameras: cameras.query.as_deref() },
    };
    if !multi_query {
        let query = Sightings { embeddings: query, cameras: cameras.query.as_deref() };
        return Ok(reidentification(query, gallery, options)?);
    }
    let dim = query.vectors.dim();
    let values = match options.metric {
        Metric::Cosine => query.vectors.to_unit_length(),
        _ => query.vectors.data().to_vec(),
    };
    let camera = |i: usize| cameras.query.as_ref().map_or(0, |cameras| cameras[i]);
    let groups: Vec<u64> = query
        .labels
        .iter()
        .enumerate()
        .map(|(i, &label)| u64::from(label) << 32 | u64::from(camera(i)))
        .collect();
    let Pooled { vectors, firsts, .. } = pool(Vectors::new(&values, dim)?, &groups, Pooling::Mean)?;
    let labels: Vec<u32> = firsts.iter().map(|&i| query.labels[i]).collect();
    let of_groups: Option<Vec<u32>> =
        cameras.query.as_ref().map(|cameras| firsts.iter().map(|&i| cameras[i]).collect());
    let pooled = Sightings {
        embeddings: Labeled { vectors: Vectors::new(&vectors, dim)?, labels: &labels },
        cameras: of_groups.as_deref(),
    };
    Ok(reidentification(pooled, gallery, options)?)
}

fn rows(learned: &Reidentification, baseline: &Reidentification) -> Vec<MetricRow> {
    let at = |of: &Reidentification, k: usize| of.cmc_at_k.get(&k).copied().unwrap_or(f64::NAN);
    let mut rows: Vec<MetricRow> = STATED
        .into_iter()
        .map(|k| MetricRow {
            name: format!("cmc_at_{k}"),
            learned: at(learned, k),
            baseline: Some(at(baseline, k)),
            interval: (k == 1).then_some(learned.cmc_at_1_interval),
        })
        .collect();
    rows.push(MetricRow {
        name: "mean_average_precision".into(),
        learned: learned.mean_average_precision,
        baseline: Some(baseline.mean_average_precision),
        interval: Some(learned.mean_average_precision_interval),
    });
    rows
}

fn cmc(learned: &Reidentification, baseline: &Reidentification, baseline_name: &str) -> Curve {
    let series = |name: &str, of: &Reidentification| Series {
        name: name.to_owned(),
        points: of.cmc_at_k.iter().map(|(&k, &share)| (k as f64, share)).collect(),
    };
    Curve {
        title: "CMC: found among the first".into(),
        x_label: "rank".into(),
        y_label: "share of queries".into(),
        series: vec![series("learned", learned), series(baseline_name, baseline)],
    }
}
