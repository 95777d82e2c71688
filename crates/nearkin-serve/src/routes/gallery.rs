//! What the page asks for.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::Call;
use crate::error::ApiError;
use crate::gallery::frame::{Numbers, framed};
use crate::gallery::lab::{Play, play};
use crate::gallery::{Layout, Mixing, View, run};
use crate::http::{Answer, Query, json, parse};
use crate::state::State;

/// Different values of a column up to which each gets a colour.
const MOST_CLASSES: usize = 4096;
/// A column of numbers with no more different values than this is one of classes: a camera, a year, a fold.
const FEW: usize = 20;
/// Samples that a list of the worst holds, and pairs of classes that mix.
const LISTED: usize = 100;
/// Code of a row without a value.
const NONE: u32 = u32::MAX;

pub(super) fn gallery(state: &State, call: &Call<'_>) -> Answer {
    let query = Query::new(call.query, &["fresh"])?;
    let fresh = query.parse("fresh")?.unwrap_or(false);
    let index = state.index.as_ref().map(|indexed| {
        let view = state.gallery.view(&indexed.store, fresh);
        let snapshot = &view.snapshot;
        let labelled = view.rows.iter().any(|&row| snapshot.label(row).is_some());
        let layouts = Layout::ALL.map(|layout| {
            json!({ "name": layout, "max_rows": layout.most(), "offered": view.rows.len() <= layout.most() })
        });
        let mut columns = snapshot.columns();
        if labelled {
            columns.insert(0, "label");
        }
        json!({
            "version": view.version,
            "rows": view.rows.len(),
            "dimension": snapshot.dim(),
            "metric": snapshot.metric(),
            "larger_is_nearer": snapshot.metric().larger_is_nearer(),
            "labelled": labelled,
            "columns": columns,
            "layouts": layouts,
        })
    });
    json(&json!({
        "index": index,
        "threshold": state.calibration.as_ref().map(|known| json!({ "score": known.threshold, "false_accept_rate": known.false_accept_rate })),
        "model": state.model.as_ref().map(|model| &model.method),
        "springs": state.run.as_deref().is_some_and(run::has_springs),
        "run": state.run.as_ref().map(|folder| folder.display().to_string()),
    }))
}

pub(super) fn map(state: &State, call: &Call<'_>) -> Answer {
    let query = Query::new(call.query, &["version", "layout"])?;
    let (view, layout) = (view(state, &query)?, query.parse("layout")?.unwrap_or(Layout::Pca));
    match state.gallery.map(&view, layout)? {
        None => running(),
        Some(points) => {
            let head = json!({ "version": view.version, "layout": layout, "rows": view.rows.len(), "numbers": "f32" });
            framed(&head, &Numbers::Floats(&points))
        }
    }
}

pub(super) fn ids(state: &State, call: &Call<'_>) -> Answer {
    let view = view(state, &Query::new(call.query, &["version"])?)?;
    json(&view.rows.iter().map(|&row| view.snapshot.id(row)).collect::<Vec<_>>())
}

pub(super) fn column(state: &State, call: &Call<'_>) -> Answer {
    let query = Query::new(call.query, &["version", "name"])?;
    let (view, name) = (view(state, &query)?, query.wanted("name")?);
    let texts = view
        .texts(name)
        .ok_or_else(|| ApiError::not_found("unknown_column", format!("the index has no column '{name}'")))?;
    let different: HashSet<&str> = texts.iter().flatten().copied().collect();
    let numbers: Option<Vec<f32>> = texts
        .iter()
        .map(|text| text.map_or(Some(f32::NAN), |text| text.parse().ok().filter(|x: &f32| x.is_finite())))
        .collect();
    if let Some(numbers) = numbers.filter(|_| different.len() > FEW && name != "label") {
        let there = || numbers.iter().copied().filter(|x| !x.is_nan());
        let (low, high) = (there().fold(f32::INFINITY, f32::min), there().fold(f32::NEG_INFINITY, f32::max));
        return framed(
            &json!({ "kind": "numbers", "numbers": "f32", "low": low, "high": high }),
            &Numbers::Floats(&numbers),
        );
    }
    if different.len() > MOST_CLASSES {
        let message = format!("'{name}' has {} different values: too many for colours", different.len());
        return Err(ApiError::invalid(message).with("max_values", MOST_CLASSES));
    }
    let mut names: Vec<&str> = different.into_iter().collect();
    names.sort_unstable();
    let code = |text: &Option<&str>| {
        text.map_or(NONE, |text| names.binary_search(&text).map_or(NONE, |at| at as u32))
    };
    let codes: Vec<u32> = texts.iter().map(code).collect();
    framed(&json!({ "kind": "classes", "numbers": "u32", "names": names }), &Numbers::Codes(&codes))
}

#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    /// The point of the map.
    point: usize,
    label: &'a str,
    taken_for: &'a str,
    own_share: f32,
    winner_share: f32,
    suspicion: f32,
}

pub(super) fn confusion(state: &State, call: &Call<'_>) -> Answer {
    let view = view(state, &Query::new(call.query, &["version"])?)?;
    let Some(mixing) = state.gallery.confusion(&view)? else { return running() };
    let Mixing { names, points, labels, found } = &*mixing;
    let name = |class: u32| &names[class as usize];
    let told = |verdicts: Vec<nearkin_eval::Verdict>| -> Vec<Told<'_>> {
        let told = verdicts.into_iter().take(LISTED).map(|verdict| {
            let point = points[verdict.sample];
            Told {
                id: view.snapshot.id(view.rows[point]),
                point,
                label: name(labels[verdict.sample]),
                taken_for: name(verdict.winner),
                own_share: verdict.own_share,
                winner_share: verdict.winner_share,
                suspicion: verdict.suspicion(),
            }
        });
        told.collect()
    };
    let mixed: Vec<_> = found
        .mixed()
        .into_iter()
        .take(LISTED)
        .map(|mixed| json!({ "label": name(mixed.class), "taken_for": name(mixed.taken_for), "count": mixed.count }))
        .collect();
    let mut sizes = vec![0usize; names.len()];
    labels.iter().for_each(|label| sizes[*label as usize] += 1);
    // A matrix of many classes is no picture any more: the list of pairs says it better.
    let counts: Vec<_> = if names.len() <= 60 {
        found.counts.iter().map(|m| (m.class, m.taken_for, m.count)).collect()
    } else {
        Vec::new()
    };
    json(&json!({
        "k": found.k,
        "accuracy": found.accuracy(),
        "samples": labels.len(),
        "classes": names,
        "sizes": sizes,
        "counts": counts,
        "mixed": mixed,
        "worst": told(found.worst()),
        "suspects": told(found.suspects()),
    }))
}

pub(super) fn training(state: &State, call: &Call<'_>) -> Answer {
    let query = Query::new(call.query, &["from"])?;
    json(&run::logged(folder(state)?, query.parse("from")?.unwrap_or(0))?)
}

pub(super) fn springs(state: &State, call: &Call<'_>) -> Answer {
    Query::new(call.query, &[])?;
    let record = run::springs(folder(state)?)?;
    json(&json!({ "cast": record.cast, "moments": record.moments }))
}

pub(super) async fn play_springs(call: &Call<'_>) -> Answer {
    Query::new(call.query, &[])?;
    let wanted: Play = parse(call.headers, call.body)?;
    let played = tokio::task::spawn_blocking(move || play(&wanted)).await;
    json(&played.map_err(|_| ApiError::worker_failed())??)
}

fn view(state: &State, query: &Query<'_>) -> Result<Arc<View>, ApiError> {
    state.index()?;
    query.wanted("version")?;
    state.gallery.version(query.parse("version")?.unwrap_or(0))
}

fn folder(state: &State) -> Result<&std::path::Path, ApiError> {
    state.run.as_deref().ok_or_else(|| {
        ApiError::not_found(
            "no_run",
            "no run is watched here: start with a run folder, `nearkin gallery --run runs/a`",
        )
    })
}

/// It is being worked out: ask again.
fn running() -> Answer {
    let mut answer = json(&json!({ "state": "running" }))?;
    *answer.status_mut() = StatusCode::ACCEPTED;
    Ok(answer)
}
