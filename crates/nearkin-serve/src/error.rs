//! What a client hears when a request cannot be answered, and why a server does not start.

use std::io::ErrorKind;
use std::net::SocketAddr;

use hyper::StatusCode;
use nearkin_data::DecodeError;
use nearkin_index::{FilterError, IndexError};
use nearkin_train::TrainError;
use serde_json::{Map, Value, json};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The index is of another model, damaged, or in use.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// No thread could be started.
    #[error("cannot start the server's threads: {0}")]
    Threads(std::io::Error),
    /// The model takes rows of tables, sounds or series; pictures are what is sent to a server.
    #[error("{model} {takes}: a server embeds pictures, so give it no model and ask by vector or id")]
    NoPictures {
        /// The method that made the model.
        model: String,
        /// What it takes, as the end of a sentence that the model begins.
        takes: String,
    },
    /// The token is not one that a header can hold.
    #[error("the token must be 16 or more printable ASCII characters without spaces, found {found}")]
    Token {
        /// What is wrong with it, without the token itself.
        found: String,
    },
}

/// An answer that says what was wrong: a status, and `{"error": {"code", "message", …}}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    /// For programs: stable, in snake case.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Further fields, such as where a filter does not parse.
    pub details: Map<String, Value>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Map::new() }
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// The request is understood, but a value in it cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message)
    }

    /// The body is not what its kind says.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_body", message)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Come back later.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub fn timed_out() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timed_out",
            "there was no answer within the time a request may take",
        )
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub fn worker_failed() -> Self {
        Self::internal("the server failed at this request; others go on")
    }

    pub fn body(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(fields) = error.as_object_mut() {
            fields.extend(self.details.clone());
        }
        json!({ "error": error })
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        let message = error.to_string();
        match error {
            DecodeError::TooLarge { width, height, max_pixels } => Self::too_large(message)
                .with("width", width)
                .with("height", height)
                .with("max_pixels", max_pixels),
            DecodeError::NotAnImage | DecodeError::Unsupported(_) => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_an_image", message)
            }
            _ => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "damaged_image", message),
        }
    }
}

impl From<IndexError> for ApiError {
    fn from(error: IndexError) -> Self {
        let message = error.to_string();
        match error {
            IndexError::QueryDimension { found, wanted, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "other_dimension", message)
                    .with("found", found)
                    .with("wanted", wanted)
            }
            IndexError::RowDimension { found, wanted, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "other_dimension", message)
                    .with("found", found)
                    .with("wanted", wanted)
            }
            IndexError::IdExists { id, .. } => {
                Self::new(StatusCode::CONFLICT, "id_exists", message).with("id", id)
            }
            IndexError::NothingLeft { .. } => Self::new(StatusCode::CONFLICT, "nothing_left", message),
            IndexError::NoNeighbors
            | IndexError::QueryNotFinite { .. }
            | IndexError::TooLong { .. }
            | IndexError::Embeddings(_) => Self::invalid(message),
            IndexError::OtherModel { .. }
            | IndexError::NoModel { .. }
            | IndexError::OtherPreprocessing { .. }
            | IndexError::OtherNormalization { .. } => {
                Self::new(StatusCode::CONFLICT, "other_model", message)
            }
            IndexError::Write { source, .. }
                if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                Self::new(StatusCode::FORBIDDEN, "not_writable", message)
            }
            _ => Self::internal(message),
        }
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_filter", error.message())
            .with("position", error.position())
    }
}

impl From<TrainError> for ApiError {
    fn from(error: TrainError) -> Self {
        Self::internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn an_index_that_may_not_be_written_is_no_failure_of_the_server() {
        let error = |kind: ErrorKind| {
            let (path, source) = (PathBuf::from("photos.index"), kind.into());
            ApiError::from(IndexError::Write { path, source })
        };
        for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
            assert_eq!((error(kind).status, error(kind).code), (StatusCode::FORBIDDEN, "not_writable"));
            assert!(error(kind).message.contains("photos.index"));
        }
        assert_eq!(error(ErrorKind::StorageFull).status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
