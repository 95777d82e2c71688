//! The classical methods: linear maps and Mahalanobis metrics learned from tables of features, and, in [`spectral`], maps read
//! off the eigenvectors of a matrix of neighbours or distances.
//!
//! Every method is a small value with its settings. [`Pca::new`]`(2).fit(vectors)`, [`Nca::new`]`().dims(2).fit(vectors,
//! labels)`: what comes out holds a [`LinearMap`], which moves samples to where near means kin, and is the same as a
//! [`Mahalanobis`] metric on the samples themselves.
//!
//! | method | supervision | what it finds |
//! |---|---|---|
//! | [`Pca`] | none | the directions of greatest variance |
//! | [`Whitening`] | none | axes of equal variance, without correlation |
//! | [`RandomProjection`] | none | any directions: distances survive on average |
//! | [`Lda`] | labels | directions that part classes, relative to their spread |
//! | [`LocalFisher`] | labels | the same for classes of several clusters |
//! | [`Rca`] | chunklets | the spread within kin, divided out |
//! | [`Nca`] | labels | a metric for nearest neighbours, softly |
//! | [`Mlkr`] | numbers | the same for regression |
//! | [`Lmnn`] | labels | a metric for nearest neighbours, with a margin |
//! | [`Itml`] | pairs or labels | the nearest metric to a given one that honours the pairs |
//! | [`Sdml`] | pairs or labels | the same by weight instead of bounds, with few entries |
//! | [`Mmc`] | pairs or labels | strangers far for how near kin are |
//! | [`Lsml`] | quadruplets or labels | the nearest metric to a given one in which these are nearer than those |
//! | [`Scml`] | triplets or labels | few directions, with weights, by a margin |
//! | [`Dca`] | chunklets, and which are apart | directions that part chunklets, relative to their spread |
//!
//! [`Pairs`], [`Triplets`] and [`Quadruplets`] are said by hand, or drawn from labels by a seed. An [`Observer`] watches what is
//! fitted step by step, and may end it.
//!
//! [`Mahalanobis::calibrate`] finds the distance below which a pair is best taken for kin.
//!
//! Samples come as [`Vectors`](nearkin_sweep::Vectors): row-major `f32`. Linear algebra is done in `f64`; nothing here holds
//! a matrix of all pairs, since the sweep makes its rows as they are needed. Settings and samples are checked at the door,
//! and what cannot be fitted is refused with the reason. The same seed gives the same bits on any number of threads.
//!
//! ```
//! use nearkin_classic::{Nca, Scaler};
//! use nearkin_sweep::Vectors;
//!
//! // Two classes that differ along the first axis; the second is larger, and tells nothing.
//! let table = [0.0, 9.0, 0.3, -7.0, 0.1, 2.0, 1.0, 8.0, 1.2, -8.0, 1.1, 1.0];
//! let labels = [0, 0, 0, 1, 1, 1];
//! let raw = Vectors::new(&table, 2)?;
//! let scaler = Scaler::standardise(raw)?;
//! let scaled = scaler.transform(raw)?;
//! let fitted = Nca::new().dims(1).fit(Vectors::new(&scaled, 2)?, &labels)?;
//! // One map from raw samples to the learned space.
//! let map = fitted.map.after(&scaler)?;
//! let points = map.transform(raw)?;
//! assert!((points[0] - points[1]).abs() < (points[0] - points[3]).abs());
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

#![forbid(unsafe_code)]

mod algebra;
mod error;
mod input;
mod lbfgs;
pub mod linear;
mod mahalanobis;
mod observer;
mod random;
mod scaler;
pub mod spectral;
mod supervision;
mod threshold;

pub use algebra::Matrix;
pub use error::ClassicError;
pub use lbfgs::{Descent, Lbfgs, Stop};
pub use linear::dca::Dca;
pub use linear::itml::{Itml, Projections};
pub use linear::lda::Lda;
pub use linear::lfda::LocalFisher;
pub use linear::lmnn::Lmnn;
pub use linear::lsml::Lsml;
pub use linear::mlkr::Mlkr;
pub use linear::mmc::Mmc;
pub use linear::nca::{Nca, Stochastic};
pub use linear::pca::{Pca, Solver};
pub use linear::projection::RandomProjection;
pub use linear::rca::Rca;
pub use linear::scml::Scml;
pub use linear::sdml::{Certified, Sdml};
pub use linear::start::Start;
pub use linear::whitening::Whitening;
pub use linear::{Fitted, LinearMap, Spectrum};
pub use mahalanobis::Mahalanobis;
pub use observer::{Observer, Progress};
pub use scaler::Scaler;
pub use supervision::{Pairs, Quadruplet, Quadruplets, Triplet, Triplets};
pub use threshold::{Goal, Threshold};
