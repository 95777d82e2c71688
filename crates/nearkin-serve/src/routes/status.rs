//! How the server is.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::Call;
use crate::error::ApiError;
use crate::http::{Answer, Query, bytes_of, json as answer};
use crate::metrics::{head, value};
use crate::state::State;

pub(super) fn health(state: &State, call: &Call<'_>) -> Answer {
    Query::new(call.query, &[])?;
    let index = state.index.as_ref().map(|indexed| {
        let snapshot = indexed.store.snapshot();
        json!({
            "rows": snapshot.len(),
            "dimension": snapshot.dim(),
            "metric": snapshot.metric(),
            "storage": snapshot.storage(),
            "pending": snapshot.pending(),
            "model": snapshot.origin().map(|origin| &origin.model),
        })
    });
    let model = state
        .model
        .as_ref()
        .map(|model| json!({ "hash": model.hash, "method": model.method, "dimension": model.dimension }));
    answer(&json!({
        "status": "ok",
        "nearkin": env!("CARGO_PKG_VERSION"),
        "index": index,
        "model": model,
        "token": state.gate.wants_token(),
        "seconds": state.started.elapsed().as_secs(),
    }))
}

/// Whether late queries are like those of calibration.
pub(super) fn drift(state: &State, call: &Call<'_>) -> Answer {
    Query::new(call.query, &[])?;
    let calibration = state.calibration.as_ref().ok_or_else(|| {
        ApiError::not_found(
            "no_calibration",
            "the model has no calibrated threshold: make one with `nearkin calibrate`",
        )
    })?;
    let drift = calibration.drift(&state.live.scores());
    answer(&drift.map_err(|e| ApiError::new(hyper::StatusCode::CONFLICT, "too_few_queries", e.to_string()))?)
}

pub(super) fn metrics(state: &State, call: &Call<'_>) -> Answer {
    Query::new(call.query, &[])?;
    let mut out = String::new();
    state.requests.write(&mut out);
    let free = state.bodies.available_permits();
    let held = state.limits.bodies.saturating_sub(free);
    value(&mut out, "nearkin_body_bytes", "gauge", "Bytes of request bodies held.", held);
    let seconds = state.started.elapsed().as_secs();
    value(&mut out, "nearkin_uptime_seconds", "gauge", "Seconds since the server started.", seconds);
    if let Some(indexed) = &state.index {
        let snapshot = indexed.store.snapshot();
        value(&mut out, "nearkin_index_rows", "gauge", "Rows of the index.", snapshot.len());
        let pending = snapshot.pending();
        value(
            &mut out,
            "nearkin_index_pending_added",
            "gauge",
            "Rows that a compaction would fold in.",
            pending.added,
        );
        value(
            &mut out,
            "nearkin_index_pending_deleted",
            "gauge",
            "Deleted rows that a compaction would leave out.",
            pending.deleted,
        );
        let waiting = indexed.searcher.waiting();
        value(&mut out, "nearkin_search_waiting", "gauge", "Requests that wait for the search.", waiting);
        head(&mut out, "nearkin_search_batch", "histogram", "Queries searched together.");
        indexed.searcher.batches.write(&mut out, "nearkin_search_batch", "");
    }
    if let Some(model) = &state.model {
        let embedded = state.embedded.load(Ordering::Relaxed);
        value(&mut out, "nearkin_pictures_embedded_total", "counter", "Pictures embedded.", embedded);
        let waiting = model.embedder.waiting();
        value(&mut out, "nearkin_embed_waiting", "gauge", "Requests that wait for the network.", waiting);
        head(&mut out, "nearkin_embed_batch", "histogram", "Pictures embedded together.");
        model.embedder.batches.write(&mut out, "nearkin_embed_batch", "");
    }
    Ok(bytes_of("text/plain; version=0.0.4; charset=utf-8", out))
}
