//! What requests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use nearkin_train::{Encoder, Model};
use tokio::sync::Semaphore;

use crate::embedder::{self, Embedder};
use crate::error::{ApiError, ServeError};
use crate::gallery::Gallery;
use crate::gate::Gate;
use crate::metrics::Requests;
use crate::pictures::PictureBook;
use crate::searcher::{self, Searcher};
use crate::server::{Limits, Options, Served};
use crate::store::Store;

pub(crate) struct State {
    pub index: Option<Indexed>,
    pub model: Option<Embedding>,
    pub pictures: PictureBook,
    pub run: Option<PathBuf>,
    pub gallery: Gallery,
    pub gate: Gate,
    pub limits: Limits,
    pub read_only: bool,
    pub requests: Requests,
    /// Bytes of bodies that may still be held.
    pub bodies: Semaphore,
    pub embedded: AtomicU64,
    pub started: Instant,
}

/// The index, and who searches it.
pub(crate) struct Indexed {
    pub store: Arc<Store>,
    pub searcher: Searcher,
}

/// What is known of the model, and who embeds with it.
pub(crate) struct Embedding {
    pub hash: String,
    pub method: String,
    pub dimension: usize,
    pub embedder: Embedder,
}

impl State {
    pub fn new(served: Served, options: Options, address: SocketAddr) -> Result<Self, ServeError> {
        let Served { index, model, data, run } = served;
        let limits = options.limits;
        if let (Some(store), Some(model)) = (&index, &model) {
            store.snapshot().check_model(model.hash())?;
        }
        let index = index.map(|store| {
            let store = Arc::new(store);
            searcher::start(Arc::clone(&store), &limits).map(|searcher| Indexed { store, searcher })
        });
        Ok(Self {
            index: index.transpose().map_err(ServeError::Threads)?,
            model: model.map(|model| Embedding::new(model, &limits)).transpose()?,
            pictures: PictureBook::new(data, limits.pixels),
            run,
            gallery: Gallery::new(),
            gate: Gate::new(options.token.as_deref(), address)?,
            limits,
            read_only: options.read_only,
            requests: Requests::default(),
            bodies: Semaphore::new(limits.bodies.min(Semaphore::MAX_PERMITS)),
            embedded: AtomicU64::new(0),
            started: Instant::now(),
        })
    }

    pub fn index(&self) -> Result<&Indexed, ApiError> {
        self.index.as_ref().ok_or_else(|| {
            ApiError::not_found("no_index", "no index is served here: only a run is being watched")
        })
    }

    pub fn model(&self) -> Result<&Embedding, ApiError> {
        self.model.as_ref().ok_or_else(|| {
            ApiError::not_found(
                "no_model",
                "no model is served here, so pictures cannot be embedded: start the server with --model",
            )
        })
    }
}

impl Embedding {
    fn new(model: Model, limits: &Limits) -> Result<Self, ServeError> {
        let (hash, method) = (model.hash().to_owned(), model.method().to_owned());
        let Encoder::Network(network) = model.encoder else {
            return Err(ServeError::NoPictures { model: method });
        };
        let dimension = network.card.dimension;
        let embedder = embedder::start(network, limits).map_err(ServeError::Threads)?;
        Ok(Self { hash, method, dimension, embedder })
    }
}
