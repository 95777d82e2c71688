//! What can be asked: one line a route, one function an answer.

mod gallery;
mod items;
mod search;
mod status;

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::gallery::assets::asset;
use crate::http::{Answer, Body, bytes_of, harden, receive};
use crate::state::State;

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Health,
    Metrics,
    OpenApi,
    Embed,
    Search,
    Item,
    Add,
    Delete,
    DeleteOne,
    Compact,
    Drift,
    Picture,
    Gallery,
    Map,
    Ids,
    Column,
    Confusion,
    Training,
    Springs,
    PlaySprings,
}

/// Every route: its method, its path, and what it is.
const ROUTES: &[(&str, &str, Route)] = &[
    ("GET", "/health", Route::Health),
    ("GET", "/metrics", Route::Metrics),
    ("GET", "/openapi.json", Route::OpenApi),
    ("POST", "/v1/embed", Route::Embed),
    ("POST", "/v1/search", Route::Search),
    ("GET", "/v1/item", Route::Item),
    ("POST", "/v1/items", Route::Add),
    ("POST", "/v1/items/delete", Route::Delete),
    ("DELETE", "/v1/item", Route::DeleteOne),
    ("POST", "/v1/compact", Route::Compact),
    ("GET", "/v1/drift", Route::Drift),
    ("GET", "/v1/picture", Route::Picture),
    ("GET", "/v1/gallery", Route::Gallery),
    ("GET", "/v1/gallery/map", Route::Map),
    ("GET", "/v1/gallery/ids", Route::Ids),
    ("GET", "/v1/gallery/column", Route::Column),
    ("GET", "/v1/gallery/confusion", Route::Confusion),
    ("GET", "/v1/training", Route::Training),
    ("GET", "/v1/springs", Route::Springs),
    ("POST", "/v1/springs", Route::PlaySprings),
];

impl Route {
    /// Whether it may be asked without a token.
    fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::OpenApi)
    }

    /// Whether it changes the index.
    fn changes(self) -> bool {
        matches!(self, Self::Add | Self::Delete | Self::DeleteOne | Self::Compact)
    }
}

/// The head of a request, and its body as it arrived.
struct Call<'a> {
    query: Option<&'a str>,
    headers: &'a hyper::HeaderMap,
    body: &'a [u8],
}

/// Answers a request, whatever it is.
pub(crate) async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let start = Instant::now();
    let found = ROUTES.iter().find(|(method, path, _)| {
        *path == request.uri().path() && *method == effective(request.method()).as_str()
    });
    let page = asset(request.uri().path()).filter(|_| effective(request.method()) == Method::GET);
    let path = found.map(|(_, path, _)| *path).or(page.map(|_| "page")).unwrap_or("other");
    let head_only = request.method() == Method::HEAD;
    let mut response = match (found, page) {
        (Some((_, _, route)), _) => handle(state, *route, request).await,
        // The page holds no data: what it shows, it asks for.
        (_, Some((_, kind, bytes))) => Ok(bytes_of(kind, *bytes)),
        _ => Err(unknown(&request)),
    }
    .unwrap_or_else(|error| respond(&error));
    harden(&mut response);
    if head_only {
        *response.body_mut() = Body::default();
    }
    state.requests.count(path, response.status(), start.elapsed());
    response
}

/// HEAD is a GET whose body is not sent.
fn effective(method: &Method) -> Method {
    if method == Method::HEAD { Method::GET } else { method.clone() }
}

async fn handle(state: &Arc<State>, route: Route, request: Request<Incoming>) -> Answer {
    state.gate.check_origin(request.headers())?;
    if !route.is_open() {
        state.gate.check_token(request.headers())?;
    }
    let (head, body) = request.into_parts();
    let body = receive(body, &state.limits, &state.bodies).await?;
    let call = Call { query: head.uri.query(), headers: &head.headers, body: &body.bytes };
    let answer = async {
        match route {
            Route::Health => status::health(state, &call),
            Route::Metrics => status::metrics(state, &call),
            Route::OpenApi => Ok(bytes_of("application/json", OPEN_API)),
            Route::Embed => search::embed(state, &call).await,
            Route::Search => search::search(state, &call).await,
            Route::Item => search::item(state, &call),
            Route::Add => items::add(state, &call).await,
            Route::Delete => items::delete(state, &call).await,
            Route::DeleteOne => items::delete_one(state, &call).await,
            Route::Compact => items::compact(state, &call).await,
            Route::Drift => status::drift(state, &call),
            Route::Picture => search::picture(state, &call).await,
            Route::Gallery => gallery::gallery(state, &call),
            Route::Map => gallery::map(state, &call),
            Route::Ids => gallery::ids(state, &call),
            Route::Column => gallery::column(state, &call),
            Route::Confusion => gallery::confusion(state, &call),
            Route::Training => gallery::training(state, &call),
            Route::Springs => gallery::springs(state, &call),
            Route::PlaySprings => gallery::play_springs(&call).await,
        }
    };
    if route.changes() {
        // Not given up half way: the client should hear what became of it.
        return answer.await;
    }
    timeout(state.limits.answer_time, answer).await.unwrap_or_else(|_| Err(ApiError::timed_out()))
}

fn respond(error: &ApiError) -> Response<Body> {
    let mut response = error.response();
    if error.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(allow) = error.details.get("allow").and_then(|methods| methods.as_str()?.parse().ok()) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

fn unknown(request: &Request<Incoming>) -> ApiError {
    let path = request.uri().path();
    let methods: Vec<&str> = ROUTES.iter().filter(|route| route.1 == path).map(|route| route.0).collect();
    if methods.is_empty() {
        let message = format!("there is nothing at {path}: see /openapi.json");
        return ApiError::not_found("unknown_path", message);
    }
    let methods = methods.join(", ");
    let message = format!("{path} takes {methods}, found {}", request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).with("allow", methods)
}

const OPEN_API: &str = include_str!("openapi.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_every_route_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(OPEN_API).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut described = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("200"), "{method} {path}");
                described.push((method.to_uppercase(), path.clone()));
            }
        }
        let mut wanted: Vec<_> =
            ROUTES.iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
        described.sort();
        wanted.sort();
        assert_eq!(described, wanted);
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        fn references<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
            match value {
                serde_json::Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(serde_json::Value::as_str));
                    fields.values().for_each(|value| references(value, found));
                }
                serde_json::Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document: serde_json::Value = serde_json::from_str(OPEN_API).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
