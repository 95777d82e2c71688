//! What changes the index.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyper::StatusCode;
use nearkin_index::{Embeddings, EqualIds, GrowingIndex, IndexError};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Call;
use super::search::{Base64, check_count, embed_all, pictured};
use crate::error::ApiError;
use crate::http::{Answer, Query, json, parse};
use crate::state::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody<'a> {
    #[serde(borrow)]
    items: Vec<ItemBody<'a>>,
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody<'a> {
    id: String,
    vector: Option<Vec<f32>>,
    #[serde(borrow)]
    image: Option<Base64<'a>>,
    #[serde(default)]
    label: String,
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteBody<'a> {
    #[serde(borrow)]
    ids: Vec<Cow<'a, str>>,
}

/// A row to come.
struct Row {
    id: String,
    label: String,
    columns: BTreeMap<String, String>,
    what: What,
}

enum What {
    Vector(Vec<f32>),
    Picture(Vec<u8>),
}

pub(super) async fn add(state: &State, call: &Call<'_>) -> Answer {
    let store = &state.index()?.store;
    let index = store.growing()?;
    let (rows, replace) = asked(state, call)?;
    let snapshot = store.snapshot();
    let dim = snapshot.dim();
    let mut vectors = Vec::with_capacity(rows.len() * dim);
    let mut pictures = Vec::new();
    let mut places = Vec::new();
    let mut ids = Vec::with_capacity(rows.len());
    let mut labels = Vec::with_capacity(rows.len());
    let names: BTreeSet<String> = rows.iter().flat_map(|row| row.columns.keys().cloned()).collect();
    let mut columns: BTreeMap<String, Vec<String>> =
        names.into_iter().map(|name| (name, Vec::new())).collect();
    for (i, mut row) in rows.into_iter().enumerate() {
        match row.what {
            What::Vector(vector) if vector.len() == dim => vectors.extend(vector),
            What::Vector(vector) => {
                let found = vector.len();
                let message = format!("item {i} has {found} values, the vectors of the index have {dim}");
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "other_dimension", message)
                    .with("item", i)
                    .with("found", found)
                    .with("wanted", dim));
            }
            What::Picture(bytes) => {
                pictures.push(bytes);
                places.push(vectors.len());
                vectors.resize(vectors.len() + dim, 0.0);
            }
        }
        ids.push(row.id);
        labels.push(row.label);
        columns.iter_mut().for_each(|(name, texts)| texts.push(row.columns.remove(name).unwrap_or_default()));
    }
    if !pictures.is_empty() {
        let embedded = timeout(state.limits.answer_time, embed_all(state, pictures)).await;
        let embedded = embedded.unwrap_or_else(|_| Err(ApiError::timed_out()))?;
        for (place, vector) in places.into_iter().zip(embedded.chunks_exact(dim)) {
            vectors[place..place + dim].copy_from_slice(vector);
        }
    }
    let labels = labels.iter().any(|label| !label.is_empty()).then_some(labels);
    // Pictures went through the model of the index; that vectors did too is the client's word.
    let origin = snapshot.origin().cloned();
    let table = Embeddings { vectors, dim, ids, labels, paths: None, columns, origin };
    let equal_ids = if replace { EqualIds::Replace } else { EqualIds::Refuse };
    changed(state, index, move |index| index.add(&table, equal_ids)).await
}

pub(super) async fn delete(state: &State, call: &Call<'_>) -> Answer {
    let index = state.index()?.store.growing()?;
    Query::new(call.query, &[])?;
    let body: DeleteBody<'_> = parse(call.headers, call.body)?;
    check_count(state, "ids", body.ids.len())?;
    let ids: Vec<String> = body.ids.into_iter().map(Cow::into_owned).collect();
    changed(state, index, move |index| index.delete(&ids)).await
}

pub(super) async fn delete_one(state: &State, call: &Call<'_>) -> Answer {
    let store = &state.index()?.store;
    let index = store.growing()?;
    let query = Query::new(call.query, &["id"])?;
    let id = query.wanted("id")?.to_owned();
    super::search::find(&store.snapshot(), &id)?;
    changed(state, index, move |index| index.delete(&[id])).await
}

#[derive(Serialize)]
struct Compacted {
    rows: usize,
    bytes: u64,
}

pub(super) async fn compact(state: &State, call: &Call<'_>) -> Answer {
    let index = state.index()?.store.growing()?;
    Query::new(call.query, &[])?;
    changed(state, index, |index| {
        let summary = index.compact(&mut |_| {})?;
        Ok(Compacted { rows: summary.rows, bytes: summary.bytes })
    })
    .await
}

/// Makes a change on a thread that may wait for the disk. It is made whole even if the client goes away.
async fn changed<T: Serialize + Send + 'static>(
    state: &State,
    index: Arc<GrowingIndex>,
    change: impl FnOnce(&GrowingIndex) -> Result<T, IndexError> + Send + 'static,
) -> Answer {
    let Ok(turn) = Arc::clone(&state.changes).try_acquire_owned() else {
        return Err(ApiError::busy("too many changes wait already"));
    };
    let made = tokio::task::spawn_blocking(move || {
        let made = change(&index);
        drop(turn);
        made
    });
    json(&made.await.map_err(|_| ApiError::worker_failed())??)
}

fn asked(state: &State, call: &Call<'_>) -> Result<(Vec<Row>, bool), ApiError> {
    if let Some(picture) = pictured(call)? {
        let query = Query::new(call.query, &["id", "label", "replace"])?;
        let row = Row {
            id: query.wanted("id")?.to_owned(),
            label: query.text("label").unwrap_or_default().to_owned(),
            columns: BTreeMap::new(),
            what: What::Picture(picture),
        };
        return Ok((vec![row], query.parse("replace")?.unwrap_or(false)));
    }
    Query::new(call.query, &[])?;
    let body: AddBody<'_> = parse(call.headers, call.body)?;
    check_count(state, "items", body.items.len())?;
    let rows = body.items.into_iter().enumerate().map(|(i, item)| {
        let what = match (item.vector, item.image) {
            (Some(vector), None) => What::Vector(vector),
            (None, Some(image)) => What::Picture(image.decode(i)?),
            _ => {
                let message = format!("item {i} must have a vector or an image, one of the two");
                return Err(ApiError::invalid(message).with("item", i));
            }
        };
        Ok(Row { id: item.id, label: item.label, columns: item.columns, what })
    });
    Ok((rows.collect::<Result<_, _>>()?, body.replace))
}
