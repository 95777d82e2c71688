//! An index over HTTP, and its gallery: a page to look at it, embedded in the binary.
//!
//! [`Server::start`] serves what [`Served`] holds: an index to search, a model that turns pictures into queries, a data set with
//! pictures to show, a run to watch. Each may be missing; what needs it then says so. The description of all requests is at
//! `/openapi.json`, the page at `/`.
//!
//! Nothing a client sends is trusted: heads, bodies, pictures, questions and waiting times have [`Limits`], checked before the
//! work is done; what is wrong is answered with a status of 4xx and `{"error": {"code", "message", …}}`, and others never notice.
//! Questions that wait are worked on together: one pass of the network, or of the sweep, for many clients.
//!
//! Nothing is ever trained here.

#![forbid(unsafe_code)]

mod batcher;
mod drift;
mod embedder;
mod error;
mod gallery;
mod gate;
mod http;
mod metrics;
mod pictures;
mod routes;
mod searcher;
mod server;
mod state;
mod store;

pub use error::ServeError;
pub use server::{Limits, Options, Served, Server, Stopper};
pub use store::Store;
