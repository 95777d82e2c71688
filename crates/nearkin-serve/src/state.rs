//! What requests share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use nearkin_eval::Calibration;
use nearkin_train::{Encoder, Model};
use tokio::sync::Semaphore;

use crate::drift::Live;
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
    pub requests: Requests,
    /// From when on a neighbour counts, where the model was calibrated.
    pub calibration: Option<Calibration>,
    /// What was asked lately.
    pub live: Live,
    /// Changes of the index that may wait.
    pub changes: Arc<Semaphore>,
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
            store.snapshot().check_model(model.hash(), &model.preprocessing())?;
        }
        // A threshold says nothing of scores by another metric.
        let fits =
            |found: &&Calibration| index.as_ref().is_some_and(|s| s.snapshot().metric() == found.metric);
        let calibration = model.as_ref().and_then(Model::calibration).filter(fits).cloned();
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
            requests: Requests::default(),
            calibration,
            live: Live::default(),
            changes: Arc::new(Semaphore::new(limits.queue)),
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
        let no_pictures = |takes: String| Err(ServeError::NoPictures { model: method.clone(), takes });
        let network = match model.encoder {
            Encoder::Network(network) if network.media().is_signal() => {
                return no_pictures(format!("takes {}", network.media()));
            }
            Encoder::Network(network) => network,
            Encoder::Linear(_) => return no_pictures("is a linear map of a table's columns".into()),
        };
        let dimension = network.card.dimension;
        let embedder = embedder::start(network, limits).map_err(ServeError::Threads)?;
        Ok(Self { hash, method, dimension, embedder })
    }
}
