//! The report of a fit.

use nearkin_classic::LinearMap;
use nearkin_data::Features;
use nearkin_data::table::Matrix;
use nearkin_eval::{Bars, Map, Report};

use super::{Colours, Common, Divided, Found, Given, Kind, Method, Scores, name_of, plane, rows, typed};
use crate::failure::Failure;

pub fn report(
    args: &Common,
    method: &Method,
    given: &Given,
    fingerprint: &str,
    found: &Found,
    scores: &Scores,
    model: Option<&str>,
) -> Result<Report, Failure> {
    let Given { table, colours, divided, features, all } = given;
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut facts: Vec<(String, String)> = method
        .settings()?
        .into_iter()
        .map(|(name, value)| (name, value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    facts.extend([
        fact("table", args.data.display().to_string()),
        fact("table fingerprint", fingerprint.to_owned()),
        fact("label", table.label_name().unwrap_or("none").to_owned()),
        fact("rows fitted to", divided.train.len().to_string()),
        fact("rows held out", divided.held_out.len().to_string()),
        fact("features", format!("{} columns, {} values", features.columns.len(), features.dim())),
        fact("scale", name_of(&features.scale)),
        fact("missing values", name_of(&features.missing)),
        fact("new categories", name_of(&features.unknown)),
        fact("seed", args.hold_out.seed.to_string()),
        fact("dimensions of the map", found.dim.to_string()),
    ]);
    facts.extend(found.facts.iter().cloned());
    facts.push(fact("seconds", format!("{:.3}", found.seconds)));
    facts.extend(model.map(|hash| fact("model hash", hash.to_owned())));
    facts.push(fact("nearkin", env!("CARGO_PKG_VERSION").to_owned()));
    let mut notes = scores.notes.clone();
    if let Kind::Spectral(spectral) = method.kind() {
        notes.push(match spectral.placing() {
            Ok(how) => format!(
                "{} makes a map of these rows and no model; unseen rows are placed by {how}",
                method.name()
            ),
            Err(why) => format!(
                "{} makes a map of these rows and no model; unseen rows are not on it: {why}",
                method.name()
            ),
        });
    }
    Ok(Report {
        title: format!("{} of {}", method.name(), args.data.display()),
        subtitle: format!("{}.", scores.on),
        command: typed(),
        facts,
        metrics: scores.rows.clone(),
        baseline_name: rows::BASELINE.to_owned(),
        maps: vec![map(found, colours, divided)?],
        bars: match &found.map {
            Some(map) => bars(map, features, &all.select(&divided.train))?,
            None => Vec::new(),
        },
        notes,
        ..Report::default()
    })
}

fn map(found: &Found, colours: &Colours, divided: &Divided) -> Result<Map, Failure> {
    let hint = match found.dim {
        1 => "The map's one dimension.",
        2 => "The map's two dimensions.",
        _ => {
            "The first two principal components of the map: the flat view that keeps most of the variance. Classes that touch here \
             may still be apart in the other dimensions."
        }
    };
    let marks = colours.marks();
    let mut order = divided.order();
    order.truncate(divided.train.len() + found.unseen.as_ref().map_or(0, |_| divided.held_out.len()));
    Ok(Map {
        hint: hint.to_owned(),
        points: plane(&found.train, found.unseen.as_deref(), found.dim)?,
        labels: order.iter().map(|&i| marks[i]).collect(),
        classes: colours.names(),
        unseen: (0..order.len()).map(|at| at >= divided.train.len()).collect(),
        ..Map::default()
    })
}

/// What the metric `M = AᵀA` weighs: along its own axes, and column by column.
fn bars(map: &LinearMap, features: &Features, train: &Matrix) -> Result<Vec<Bars>, Failure> {
    let factor = map.metric().factor()?;
    let eigenvalues: Vec<f64> =
        (0..factor.rows()).map(|r| factor.row(r).iter().map(|x| x * x).sum()).collect();
    let owners = features.owners();
    let mut weights = vec![0.0; features.columns.len()];
    let (matrix, n) = (map.matrix(), (train.values.len() / train.dim) as f64);
    for (c, &owner) in owners.iter().enumerate() {
        let column = || train.values.iter().skip(c).step_by(train.dim).map(|x| f64::from(*x));
        let mean = column().sum::<f64>() / n;
        let variance = column().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let weight: f64 = (0..matrix.rows()).map(|r| matrix.row(r)[c].powi(2)).sum();
        weights[owner] += weight * variance;
    }
    let total: f64 = weights.iter().sum();
    let mut telling: Vec<(String, f64)> = features
        .columns
        .iter()
        .zip(weights)
        .map(|(column, weight)| (column.name().to_owned(), if total > 0.0 { weight / total } else { 0.0 }))
        .collect();
    telling.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(vec![
        Bars {
            title: "The most telling features".into(),
            hint: "Each column's squared weight in the metric times its variance, as a part of all columns'. Columns that say the same \
                   share what they tell."
                .into(),
            rows: telling,
        },
        Bars {
            title: "The metric's spectrum".into(),
            hint: "The eigenvalues of M = AᵀA: how much a squared distance along each of the metric's axes counts. Directions that are not \
                   listed do not count."
                .into(),
            rows: (1..).zip(eigenvalues).map(|(axis, value): (usize, f64)| (format!("axis {axis}"), value)).collect(),
        },
    ])
}
