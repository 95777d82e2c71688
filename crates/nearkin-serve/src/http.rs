//! Requests, read within limits, and answers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::ApiError;
use crate::server::Limits;

pub(crate) type Body = Full<Bytes>;
pub(crate) type Answer = Result<Response<Body>, ApiError>;

/// JSON, with status 200.
pub(crate) fn json(value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value).map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(bytes_of("application/json", bytes))
}

/// Bytes of a type, with status 200.
pub(crate) fn bytes_of(kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl ApiError {
    pub fn response(&self) -> Response<Body> {
        let mut response = bytes_of("application/json", self.body().to_string());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // What is left of such a body is not read, so nothing can follow it.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The answer to a client that did not send the head of its request in time, as it goes over the wire.
pub(crate) fn late() -> String {
    let error = ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "slow_request",
        "the head of the request did not arrive within the time it may take",
    );
    let body = error.body().to_string();
    format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// What stands behind the `?` of a path; every name must be one that the route knows.
pub(crate) struct Query<'a>(BTreeMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Query<'a> {
    pub fn new(text: Option<&'a str>, known: &[&str]) -> Result<Self, ApiError> {
        let pairs: BTreeMap<_, _> = form_urlencoded::parse(text.unwrap_or_default().as_bytes()).collect();
        match pairs.keys().find(|name| !known.contains(&name.as_ref())) {
            Some(name) if known.is_empty() => {
                Err(ApiError::invalid(format!("this path takes no parameter, found '{name}'")))
            }
            Some(name) => {
                Err(ApiError::invalid(format!("unknown parameter '{name}': wanted {}", known.join(", "))))
            }
            None => Ok(Self(pairs)),
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(AsRef::as_ref)
    }

    pub fn wanted(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).ok_or_else(|| ApiError::invalid(format!("the parameter '{name}' is missing")))
    }

    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let parsed = self.text(name).map(|text| {
            text.parse().map_err(|e| ApiError::invalid(format!("the parameter {name} = '{text}': {e}")))
        });
        parsed.transpose()
    }
}

/// A body that has arrived, and its share of the bytes that all bodies may take.
pub(crate) struct Received<'a> {
    pub bytes: Vec<u8>,
    _share: Option<SemaphorePermit<'a>>,
}

/// Reads a body. Only what has arrived is held, and counts; so a client that sends little holds little, however much it announced.
pub(crate) async fn receive<'a>(
    mut body: Incoming,
    limits: &Limits,
    shares: &'a Semaphore,
) -> Result<Received<'a>, ApiError> {
    let too_large = || {
        ApiError::too_large(format!("the body is larger than {} bytes", limits.body))
            .with("max_bytes", limits.body)
    };
    if body.size_hint().lower() > limits.body as u64 {
        discard(body).await;
        return Err(too_large());
    }
    let deadline = Instant::now() + limits.body_time;
    let mut bytes = Vec::new();
    let mut share: Option<SemaphorePermit<'a>> = None;
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_request",
                format!("the body did not arrive within {} s", limits.body_time.as_secs_f64()),
            )
            .with("received_bytes", bytes.len())
        })?;
        match frame {
            None => return Ok(Received { bytes, _share: share }),
            Some(Err(error)) => return Err(ApiError::malformed(format!("the body did not arrive: {error}"))),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > limits.body {
                    discard(body).await;
                    return Err(too_large());
                }
                let Ok(more) = shares.try_acquire_many(data.len() as u32) else {
                    discard(body).await;
                    return Err(ApiError::busy(
                        "the bodies of other requests take all the memory there is for them",
                    ));
                };
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}

/// Reads on for a moment and keeps nothing: a client that is still sending would find its connection reset, and never see why.
async fn discard(mut body: Incoming) {
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(Duration::from_secs(2), read).await;
}

/// The media type, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim())
}

/// A JSON body as what it stands for.
pub(crate) fn parse<'a, T: Deserialize<'a>>(headers: &HeaderMap, bytes: &'a [u8]) -> Result<T, ApiError> {
    // Asking for the type keeps pages of other sites out: a browser lets them send JSON only with leave, which nobody gives.
    if media_type(headers) != Some("application/json") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "wanted a body of JSON, with the header 'content-type: application/json'",
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let at = |e: ApiError| e.with("line", error.line()).with("column", error.column());
        match error.classify() {
            serde_json::error::Category::Data => at(ApiError::invalid(error.to_string())),
            _ => at(ApiError::malformed(format!("the body is not JSON: {error}"))),
        }
    })
}

/// Headers that every answer has.
pub(crate) fn harden(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static(
            // The plotting library compiles its drawing into functions, which takes leave.
            "default-src 'self'; script-src 'self' 'unsafe-eval'; img-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
}
