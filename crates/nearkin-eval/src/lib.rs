//! Honest measures of an embedding, and the report.
//!
//! - [`retrieval`] ranks every reference for every query: `precision_at_1`, `recall_at_k`, `r_precision` and
//!   `mean_average_precision_at_r`, exact for any class size, with 95 % intervals and one line a class.
//! - [`knn_accuracy`] lets the k nearest references vote.
//! - [`verify`] accepts or refuses all pairs: true-accept rates at false-accept rates, ROC, equal error rate; [`verify_pairs`] does it
//!   for listed pairs, with LFW's cross-validated accuracy, and [`draw_pairs`] lists some.
//! - [`calibrate`] chooses the threshold from which on a neighbour counts; [`Calibration`] tells the unknown, and whether queries drift.
//! - [`reidentification`] is CMC and mAP of a gallery across cameras, with k-reciprocal re-ranking; [`pool`] makes one query of several.
//! - [`agglomerate`] clusters, and [`clustering_scores`] says how well: NMI, AMI, ARI, pairwise F1, B-cubed.
//! - [`few_shot`] classifies episodes of unseen classes; [`expected_accuracy`] is that of stochastic neighbours.
//! - [`map_angles`] and [`circular_correlation`] find a known angle on a map, [`variance_explained`] a known factor.
//! - [`compare_methods`] pairs methods over seeds.
//! - [`linear_probe`] is the accuracy of a linear classifier on frozen embeddings, [`linear_svm`] that of support vector machines.
//! - [`alignment`], [`uniformity`], [`rank_me`] and [`lidar`] judge without labels; [`Collapse`] names how an embedding failed.
//! - [`spectrum`] tells a healthy embedding from a collapsed one; [`pca_2d`] draws it on a plane.
//! - [`neighbourhoods`] tells whether a map shows near what was near: trustworthiness and continuity.
//! - [`class_overlap`] finds classes that sit on both sides of a class-disjoint split.
//! - [`Report`] writes it all to one HTML file; [`contact_sheet`] draws queries and their hits as a picture, [`Figure`] maps and
//!   curves.
//!
//! Every result has the same bits on any number of threads.

#![forbid(unsafe_code)]

mod agglomerate;
mod bootstrap;
mod calibration;
mod circular;
mod clustering;
mod comparison;
mod confusion;
mod error;
mod expected_accuracy;
mod factors;
mod few_shot;
mod figure;
mod knn;
mod labeled;
mod linear_probe;
mod linear_svm;
mod neighbourhoods;
mod overlap;
mod pca;
mod pooling;
mod reidentification;
mod report;
mod representation;
mod retrieval;
mod scatter;
mod sheet;
mod spectrum;
mod verification;

pub use agglomerate::{Cut, Dendrogram, Linkage, Merger, agglomerate};
pub use calibration::{Calibration, Drift, Rate, calibrate};
pub use circular::{MapAngles, circular_correlation, map_angles};
pub use clustering::{ClusteringScores, clustering_scores};
pub use comparison::{MethodSummary, PairedDifference, compare_methods};
pub use confusion::{Confusion, Mixed, Verdict, confusion};
pub use error::{EvalError, Side};
pub use expected_accuracy::{ExpectedAccuracy, expected_accuracy};
pub use factors::{FactorEffect, variance_explained};
pub use few_shot::{FewShot, FewShotClassifier, FewShotOptions, few_shot};
pub use figure::{Figure, Layer, PALETTE, Panel, Shape, hue, pale};
pub use knn::{Weighting, knn_accuracy};
pub use labeled::Labeled;
pub use linear_probe::{LinearProbe, LinearProbeOptions, linear_probe};
pub use linear_svm::{LinearSvm, LinearSvmOptions, chosen_c, linear_svm};
pub use neighbourhoods::{Neighbourhoods, neighbourhoods};
pub use overlap::class_overlap;
pub use pca::pca_2d;
pub use pooling::{Pooled, Pooling, pool};
pub use reidentification::{
    Reidentification, ReidentificationOptions, Reranking, Sightings, reidentification,
};
pub use report::{
    Bars, ClassRow, Comparison, Curve, Map, MetricRow, Report, Series, SpringFilm, SpringMoment,
};
pub use representation::{Collapse, alignment, lidar, rank_me, uniformity};
pub use retrieval::{ClassRetrieval, Retrieval, RetrievalOptions, retrieval};
pub use sheet::{Hit, Picture, QueryRow, contact_sheet};
pub use spectrum::{Spectrum, spectrum};
pub use verification::{
    DrawnPairs, OperatingPoint, PairAccuracy, PairVerification, PairVerificationOptions, RocPoint,
    Verification, VerificationOptions, draw_pairs, verify, verify_pairs,
};
