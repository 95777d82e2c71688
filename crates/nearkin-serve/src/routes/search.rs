//! Pictures to vectors, and queries to neighbours.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use nearkin_index::{Filter, SearchOptions, Snapshot};
use nearkin_sweep::Metric;
use serde::{Deserialize, Serialize};

use super::Call;
use crate::embedder::Pictures;
use crate::error::ApiError;
use crate::http::{Answer, Query, bytes_of, json, media_type, parse};
use crate::searcher::{Answered, Asked, Found, How};
use crate::state::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedBody<'a> {
    #[serde(borrow)]
    images: Vec<Base64<'a>>,
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Base64<'a>(#[serde(borrow)] Cow<'a, str>);

impl Base64<'_> {
    pub(super) fn decode(&self, at: usize) -> Result<Vec<u8>, ApiError> {
        STANDARD.decode(self.0.as_bytes()).map_err(|e| {
            ApiError::invalid(format!("image {at} is not base64 of a file's bytes: {e}")).with("image", at)
        })
    }
}

#[derive(Serialize)]
struct Embedded<'a> {
    model: &'a str,
    dimension: usize,
    vectors: Vec<&'a [f32]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchBody<'a> {
    #[serde(borrow)]
    queries: Vec<QueryBody<'a>>,
    #[serde(default = "usual_k")]
    k: usize,
    #[serde(default)]
    exact: bool,
    ef: Option<usize>,
    filter: Option<Cow<'a, str>>,
}

fn usual_k() -> usize {
    10
}

/// What is looked for: `{"vector": […]}`, `{"id": "…"}` or `{"image": "<base64>"}`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum QueryBody<'a> {
    Vector(Vec<f32>),
    #[serde(borrow)]
    Id(Cow<'a, str>),
    #[serde(borrow)]
    Image(Base64<'a>),
}

#[derive(Serialize)]
struct Results<'a> {
    metric: Metric,
    results: Vec<ResultOf<'a>>,
}

#[derive(Serialize)]
struct ResultOf<'a> {
    hits: Vec<Hit<'a>>,
    /// Whether the nearest is near enough to be kin; nothing without a calibrated threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<bool>,
    /// How often a stranger is as near as the nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    false_accept_rate: Option<f64>,
}

#[derive(Serialize)]
struct Hit<'a> {
    rank: usize,
    id: &'a str,
    label: Option<&'a str>,
    path: Option<&'a str>,
    score: f32,
    /// Whether it is near enough to be kin.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<bool>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    label: Option<&'a str>,
    path: Option<&'a str>,
    columns: BTreeMap<&'a str, &'a str>,
}

pub(super) async fn embed(state: &State, call: &Call<'_>) -> Answer {
    Query::new(call.query, &[])?;
    let model = state.model()?;
    let pictures = match pictured(call)? {
        Some(picture) => vec![picture],
        None => {
            let body: EmbedBody<'_> = parse(call.headers, call.body)?;
            check_count(state, "images", body.images.len())?;
            body.images.iter().enumerate().map(|(i, image)| image.decode(i)).collect::<Result<_, _>>()?
        }
    };
    let vectors = embed_all(state, pictures).await?;
    json(&Embedded {
        model: &model.hash,
        dimension: model.dimension,
        vectors: vectors.chunks_exact(model.dimension).collect(),
    })
}

pub(super) async fn search(state: &State, call: &Call<'_>) -> Answer {
    let index = state.index()?;
    let (queries, k, options, filter) = match pictured(call)? {
        Some(picture) => {
            let query = Query::new(call.query, &["k", "exact", "ef", "filter"])?;
            let options =
                SearchOptions { ef: query.parse("ef")?, exact: query.parse("exact")?.unwrap_or(false) };
            (
                vec![Wanted::Picture(picture)],
                query.parse("k")?.unwrap_or_else(usual_k),
                options,
                query.text("filter").map(str::to_owned),
            )
        }
        None => {
            Query::new(call.query, &[])?;
            let body: SearchBody<'_> = parse(call.headers, call.body)?;
            let options = SearchOptions { ef: body.ef, exact: body.exact };
            check_count(state, "queries", body.queries.len())?;
            let wanted = body.queries.into_iter().enumerate().map(|(i, query)| {
                Ok(match query {
                    QueryBody::Vector(vector) => Wanted::Vector(vector),
                    QueryBody::Id(id) => Wanted::Id(id.into_owned()),
                    QueryBody::Image(image) => Wanted::Picture(image.decode(i)?),
                })
            });
            (wanted.collect::<Result<_, ApiError>>()?, body.k, options, body.filter.map(Cow::into_owned))
        }
    };
    let most = state.limits.neighbours;
    if !(1..=most).contains(&k) {
        return Err(ApiError::invalid(format!("k = {k}: wanted 1 to {most}")).with("max_k", most));
    }
    if let Some(ef) = options.ef.filter(|ef| !(1..=100 * most).contains(ef)) {
        return Err(ApiError::invalid(format!("ef = {ef}: wanted 1 to {}", 100 * most)));
    }
    let filter = filter.map(|text| Filter::parse(&text)).transpose()?;
    let own: Vec<Option<String>> = queries.iter().map(Wanted::id).collect();
    let asked = resolve(state, &index.store.snapshot(), queries).await?;
    // One more than asked for, since an indexed item finds itself.
    let wider = k + usize::from(own.iter().any(Option::is_some));
    let filtered = filter.is_some();
    let how = How { k: wider, options, dim: index.store.snapshot().dim(), filter };
    let Answered { snapshot, found } = index.searcher.ask(Asked { queries: asked, how }).await?;
    // Among few rows the nearest is farther, and an indexed row is no query from outside: neither says anything of drift.
    if !filtered {
        let live = found.iter().zip(&own).filter(|(_, own)| own.is_none());
        state.live.note(live.filter_map(|(found, _)| Some(found.first()?.score)));
    }
    let results = found.iter().zip(&own).map(|(found, own)| {
        let others = found.iter().filter(|hit| Some(snapshot.id(hit.row)) != own.as_deref());
        told(state, hits(state, &snapshot, others.take(k)))
    });
    json(&Results { metric: snapshot.metric(), results: results.collect() })
}

pub(super) fn item(state: &State, call: &Call<'_>) -> Answer {
    let query = Query::new(call.query, &["id"])?;
    let snapshot = state.index()?.store.snapshot();
    let row = find(&snapshot, query.wanted("id")?)?;
    let columns = snapshot.columns().into_iter();
    json(&Item {
        id: snapshot.id(row),
        label: snapshot.label(row),
        path: snapshot.path_of(row),
        columns: columns.filter_map(|name| Some((name, snapshot.column(name, row)?))).collect(),
    })
}

pub(super) async fn picture(state: &Arc<State>, call: &Call<'_>) -> Answer {
    let query = Query::new(call.query, &["id"])?;
    let snapshot = state.index()?.store.snapshot();
    let row = find(&snapshot, query.wanted("id")?)?;
    let state = Arc::clone(state);
    let drawn =
        tokio::task::spawn_blocking(move || state.pictures.png(snapshot.id(row), snapshot.path_of(row)));
    let png = drawn.await.map_err(|_| ApiError::worker_failed())??;
    let mut response = bytes_of("image/png", png);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=600"));
    Ok(response)
}

fn told<'a>(state: &State, hits: Vec<Hit<'a>>) -> ResultOf<'a> {
    let nearest = state.calibration.as_ref().map(|calibration| (calibration, hits.first()));
    let known = nearest.map(|(_, hit)| hit.is_some_and(|hit| hit.accepted == Some(true)));
    let rate = nearest.and_then(|(calibration, hit)| Some(calibration.false_accept_rate_at(hit?.score)));
    ResultOf { hits, known, false_accept_rate: rate }
}

/// One thing that is looked for.
enum Wanted {
    Vector(Vec<f32>),
    Id(String),
    Picture(Vec<u8>),
}

impl Wanted {
    fn id(&self) -> Option<String> {
        match self {
            Self::Id(id) => Some(id.clone()),
            _ => None,
        }
    }
}

/// Every query as a vector, one after the other.
async fn resolve(state: &State, snapshot: &Snapshot, queries: Vec<Wanted>) -> Result<Vec<f32>, ApiError> {
    let dim = snapshot.dim();
    let mut vectors = vec![0.0; queries.len() * dim];
    let (mut pictures, mut places) = (Vec::new(), Vec::new());
    for (i, query) in queries.into_iter().enumerate() {
        let place = i * dim..(i + 1) * dim;
        match query {
            Wanted::Vector(vector) if vector.len() == dim => vectors[place].copy_from_slice(&vector),
            Wanted::Vector(vector) => {
                let found = vector.len();
                let message = format!("query {i} has {found} values, the vectors of the index have {dim}");
                return Err(ApiError::new(
                    hyper::StatusCode::UNPROCESSABLE_ENTITY,
                    "other_dimension",
                    message,
                )
                .with("query", i)
                .with("found", found)
                .with("wanted", dim));
            }
            Wanted::Id(id) => {
                let row = find(snapshot, &id).map_err(|error| error.with("query", i))?;
                vectors[place].copy_from_slice(&snapshot.vector(row));
            }
            Wanted::Picture(bytes) => {
                pictures.push(bytes);
                places.push(place);
            }
        }
    }
    if !pictures.is_empty() {
        let embedded = embed_all(state, pictures).await?;
        for (place, vector) in places.into_iter().zip(embedded.chunks_exact(dim)) {
            vectors[place].copy_from_slice(vector);
        }
    }
    Ok(vectors)
}

pub(super) async fn embed_all(state: &State, pictures: Vec<Vec<u8>>) -> Result<Vec<f32>, ApiError> {
    let count = pictures.len() as u64;
    let vectors = state.model()?.embedder.ask(Pictures(pictures)).await?;
    state.embedded.fetch_add(count, Ordering::Relaxed);
    Ok(vectors)
}

/// The body, if it is a picture's bytes rather than JSON.
pub(super) fn pictured(call: &Call<'_>) -> Result<Option<Vec<u8>>, ApiError> {
    match media_type(call.headers) {
        Some(kind) if kind.starts_with("image/") || kind == "application/octet-stream" => {
            Ok(Some(call.body.to_vec()))
        }
        _ => Ok(None),
    }
}

pub(super) fn check_count(state: &State, what: &str, found: usize) -> Result<(), ApiError> {
    let most = state.limits.items;
    if (1..=most).contains(&found) {
        Ok(())
    } else {
        Err(ApiError::invalid(format!("{found} {what}: wanted 1 to {most}")))
    }
}

pub(super) fn find(snapshot: &Snapshot, id: &str) -> Result<usize, ApiError> {
    snapshot.find(id).ok_or_else(|| {
        ApiError::not_found("unknown_id", format!("there is no '{id}' in the index")).with("id", id)
    })
}

fn hits<'a>(state: &State, snapshot: &'a Snapshot, found: impl Iterator<Item = &'a Found>) -> Vec<Hit<'a>> {
    found
        .zip(1..)
        .map(|(found, rank)| Hit {
            rank,
            id: snapshot.id(found.row),
            label: snapshot.label(found.row),
            path: snapshot.path_of(found.row),
            score: found.score,
            accepted: state.calibration.as_ref().map(|known| known.accepts(found.score)),
        })
        .collect()
}
