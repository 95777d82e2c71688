//! Honest measures of an embedding, and the report.
//!
//! - [`retrieval`] ranks every reference for every query: `precision_at_1`, `recall_at_k`, `r_precision` and
//!   `mean_average_precision_at_r`, exact for any class size, with 95 % intervals and one line a class.
//! - [`knn_accuracy`] lets the k nearest references vote.
//! - [`spectrum`] tells a healthy embedding from a collapsed one; [`pca_2d`] draws it on a plane.
//! - [`class_overlap`] finds classes that sit on both sides of a class-disjoint split.
//! - [`Report`] writes it all to one HTML file; [`contact_sheet`] draws queries and their hits as a picture.
//!
//! Every result has the same bits on any number of threads.

#![forbid(unsafe_code)]

mod bootstrap;
mod comparison;
mod error;
mod knn;
mod labeled;
mod overlap;
mod pca;
mod report;
mod retrieval;
mod scatter;
mod sheet;
mod spectrum;

pub use comparison::{MethodSummary, PairedDifference, compare_methods};
pub use error::{EvalError, Side};
pub use knn::{Weighting, knn_accuracy};
pub use labeled::Labeled;
pub use overlap::class_overlap;
pub use pca::pca_2d;
pub use report::{ClassRow, Curve, Map, MetricRow, Report, Series};
pub use retrieval::{ClassRetrieval, Retrieval, RetrievalOptions, retrieval};
pub use sheet::{Hit, Picture, QueryRow, contact_sheet};
pub use spectrum::{Spectrum, spectrum};
