//! The classical methods, with the verbs `fit` and `transform`. No deep learning framework.
//!
//! [`spectral`] holds the methods that read a map off the eigenvectors of a matrix of neighbours or distances.

#![forbid(unsafe_code)]

pub mod spectral;
