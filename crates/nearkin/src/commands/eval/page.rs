//! The report of an evaluation.

use std::path::Path;

use nearkin_eval::{Curve, Hit, Map, QueryRow, Report, Series, pca_2d};
use nearkin_sweep::{Metric, Neighbor, Vectors, top_k};
use nearkin_train::{Encoder, Logged, Run};

use super::case::Case;
use super::{Args, Found};
use crate::commands::fit::typed;
use crate::failure::Failure;
use crate::pictures::picture;
use crate::springs::film;

/// Queries shown with their neighbours: half of them with a right nearest neighbour, half with a wrong one.
const SHOWN: usize = 12;
/// Neighbours shown of each.
const NEIGHBOURS: usize = 8;
/// Points on the map.
const POINTS: usize = 3000;

pub fn report(args: &Args, case: &Case<'_>, found: Found) -> Result<Report, Failure> {
    let (model, query) = (case.model, case.query);
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let (encoder, made) = match &model.encoder {
        Encoder::Network(m) => {
            let network = &m.card.network;
            let encoder =
                format!("{}, {} × {} × {}", network.encoder, network.channels, network.size, network.size);
            (encoder, fact("epoch kept", m.card.epoch.to_string()))
        }
        Encoder::Linear(m) => {
            let features = &m.card.features;
            let encoder =
                format!("a linear map of {} values of {} columns", features.dim(), features.columns.len());
            (encoder, fact("label", m.card.label.clone().unwrap_or_else(|| "none".into())))
        }
    };
    let nearkin = match &model.encoder {
        Encoder::Network(m) => &m.card.nearkin,
        Encoder::Linear(m) => &m.card.nearkin,
    };
    Ok(Report {
        title: format!("nearkin: {}", args.model.display()),
        subtitle: format!("{}.", found.sentence),
        command: typed(),
        facts: vec![
            fact("method", model.method().to_owned()),
            fact("encoder", encoder),
            fact("embedding", format!("{} values, compared by {}", model.dimension(), model.metric())),
            made,
            fact("data", args.data.display().to_string()),
            fact("data fingerprint", query.fingerprint.clone()),
            fact("model hash", model.hash().to_owned()),
            fact("nearkin", nearkin.clone()),
        ],
        metrics: found.rows,
        baseline_name: model.baseline_name().to_owned(),
        curves: found.curves.into_iter().chain(curves(&args.model)?).collect(),
        maps: vec![map(case)?],
        springs: film(&args.model)?,
        sheet: sheet(case)?,
        per_class: found.per_class,
        notes: found.notes,
        skipped: query.inputs.images().map_or(Vec::new(), |prepared| {
            prepared.skipped.iter().map(|s| (s.path.display().to_string(), s.reason.clone())).collect()
        }),
        ..Report::default()
    })
}

/// How the run went, if the model is in one.
pub fn curves(folder: &Path) -> Result<Vec<Curve>, Failure> {
    let Ok((run, _)) = Run::open(folder) else { return Ok(Vec::new()) };
    let logged = run.logged()?;
    let steps = |value: fn(&nearkin_train::StepReport) -> f64| -> Vec<(f64, f64)> {
        let steps = logged.iter().filter_map(|l| if let Logged::Step(s) = l { Some(s) } else { None });
        steps.map(|s| (s.step as f64, value(s))).collect()
    };
    let forces = |value: fn(&nearkin_train::Forces) -> f64| -> Vec<(f64, f64)> {
        let steps = logged.iter().filter_map(|l| if let Logged::Step(s) = l { Some(s) } else { None });
        steps.filter_map(|s| s.forces.as_ref().map(|f| (s.step as f64, value(f)))).collect()
    };
    let validations = |value: fn(&nearkin_train::Validation) -> f64| -> Vec<(f64, f64)> {
        let epochs = logged.iter().filter_map(|l| if let Logged::Epoch(e) = l { Some(e) } else { None });
        epochs.filter_map(|e| e.validation.as_ref().map(|v| (e.epoch as f64, value(v)))).collect()
    };
    let probed = logged.iter().filter_map(|l| if let Logged::Epoch(e) = l { Some(e) } else { None });
    let probed = probed.filter_map(|e| Some((e.epoch as f64, e.online_probe_accuracy?))).collect();
    let curve = |title: &str, x: &str, y: &str, series: Vec<(&str, Vec<(f64, f64)>)>| Curve {
        title: title.to_owned(),
        x_label: x.to_owned(),
        y_label: y.to_owned(),
        series: series.into_iter().map(|(name, points)| Series { name: name.to_owned(), points }).collect(),
    };
    let all = vec![
        curve("Loss", "step", "loss", vec![("loss", steps(|s| s.loss))]),
        curve(
            "Held-out samples",
            "epoch",
            "score",
            vec![
                ("precision@1", validations(|v| v.precision_at_1)),
                ("MAP@R", validations(|v| v.mean_average_precision_at_r)),
            ],
        ),
        curve(
            "Online linear probe: labels judge, and train nothing of the network",
            "epoch",
            "accuracy",
            vec![("accuracy of an epoch", probed)],
        ),
        curve(
            "Mean force of a pair",
            "step",
            "force",
            vec![("kin attract", forces(|f| f.attraction)), ("strangers repel", forces(|f| f.repulsion))],
        ),
        curve("Terms that pull", "step", "share", vec![("active", steps(|s| s.active))]),
        curve("Effective rank of a batch", "step", "directions", vec![("rank", steps(|s| s.effective_rank))]),
    ];
    let drawn = |c: &Curve| c.series.iter().all(|s| !s.points.is_empty());
    Ok(all.into_iter().filter(drawn).collect())
}

/// `count` of `all`, evenly spaced.
fn evenly(all: &[usize], count: usize) -> Vec<usize> {
    let count = count.min(all.len());
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

fn map(case: &Case<'_>) -> Result<Map, Failure> {
    let (model, query) = (case.model, case.query);
    let all: Vec<usize> = (0..query.inputs.len()).collect();
    let chosen = evenly(&all, POINTS);
    let vectors = query.learned()?;
    if query.dim == 2 && model.metric() != Metric::Cosine {
        // A map already.
        return Ok(Map {
            hint: "Every sample as the model places it.".into(),
            points: chosen.iter().map(|&i| [vectors.row(i)[0], vectors.row(i)[1]]).collect(),
            labels: chosen.iter().map(|&i| case.labels.query[i]).collect(),
            classes: case.labels.classes.clone(),
            ..Map::default()
        });
    }
    // A network's on the sphere, where the embedding is compared or at least comparable.
    let sphere = matches!(model.encoder, Encoder::Network(_)) || model.metric() == Metric::Cosine;
    let places = chosen.iter().flat_map(|&i| {
        let row = vectors.row(i);
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        row.iter().map(move |x| if sphere { x / norm } else { *x })
    });
    let places: Vec<f32> = places.collect();
    Ok(Map {
        hint: "The first two principal components: the flat view that keeps most of the variance. Classes that touch here may still be \
               apart in the other dimensions."
            .into(),
        points: pca_2d(Vectors::new(&places, query.dim)?)?,
        labels: chosen.iter().map(|&i| case.labels.query[i]).collect(),
        classes: case.labels.classes.clone(),
        ..Map::default()
    })
}

fn sheet(case: &Case<'_>) -> Result<Vec<QueryRow>, Failure> {
    let (model, query, reference) = (case.model, case.query, case.reference);
    let searched = reference.unwrap_or(query);
    let (Some(asking), Some(shown)) = (query.inputs.images(), searched.inputs.images()) else {
        // Rows of a table have no pictures.
        return Ok(Vec::new());
    };
    let labels = case.labels.reference.as_ref().unwrap_or(&case.labels.query);
    let neighbours = |queries, k| {
        top_k(queries, searched.learned()?, model.metric(), k, reference.is_none()).map_err(Failure::from)
    };
    let right = |query: usize, n: &Neighbor| case.labels.query[query] == labels[n.index];
    let nearest = neighbours(query.learned()?, NEIGHBOURS)?;
    let is_right = |q: &usize| nearest[*q].first().is_some_and(|n| right(*q, n));
    let (good, bad): (Vec<usize>, Vec<usize>) = (0..query.inputs.len()).partition(is_right);
    let bad = evenly(&bad, SHOWN / 2);
    let good = evenly(&good, SHOWN - bad.len());
    let class = |label: u32| case.labels.classes[label as usize].clone();
    let row = |&q: &usize| -> Result<QueryRow, Failure> {
        let hits = nearest[q].iter().map(|n| {
            Ok(Hit {
                picture: picture(&shown.image(n.index)?, class(labels[n.index]))?,
                right: Some(right(q, n)),
                score: n.score,
            })
        });
        Ok(QueryRow {
            query: picture(&asking.image(q)?, class(case.labels.query[q]))?,
            hits: hits.collect::<Result<_, Failure>>()?,
        })
    };
    good.iter().chain(&bad).map(row).collect()
}
