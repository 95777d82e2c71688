//! Maps from the eigenvectors of a matrix of neighbours or distances.
//!
//! | method | keeps | matrix | memory |
//! |---|---|---|---|
//! | [`Lle`] | each point's weights over its neighbours | sparse | the sparse factor |
//! | [`Isomap`] | distances along the manifold | landmarks × points | 4 bytes an entry |
//! | [`ClassicalMds`] | inner products | points × points, or none | the caller's distances |
//! | [`Smacof`] | distances, by least squares | points × points | the caller's distances |
//! | [`LaplacianEigenmaps`] | nearness | sparse | the graph |
//! | [`DiffusionMaps`] | random walks | sparse | the graph |
//! | [`Tsne`] | who is near whom | sparse | the graph |
//! | [`Umap`] | who is near whom | sparse | the graph |
//!
//! Each has `fit`, whose result holds the map of the points it was given (`embedding`, row-major), and most results place
//! unseen points by `transform`. Points are rows of f32; sums and eigenvectors are f64. An eigenvector's sign is free, and
//! chosen so that its entry of largest absolute value is positive, the first among equals. Results do not depend on the number of
//! threads.
//!
//! ```
//! use nearkin_classic::spectral::Isomap;
//! use nearkin_sweep::Vectors;
//!
//! // Half a circle, which Isomap lays flat.
//! let circle: Vec<f32> = (0..50).flat_map(|i| [(i as f32 / 16.0).cos(), (i as f32 / 16.0).sin()]).collect();
//! let map = Isomap { neighbors: 2, dims: 1, ..Isomap::default() }.fit(Vectors::new(&circle, 2)?)?;
//! let length = (map.embedding()[0] - map.embedding()[49]).abs();
//! assert!((length - 49.0 / 16.0).abs() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod diffusion_maps;
pub mod graph;
pub mod isomap;
mod lanczos;
pub mod laplacian_eigenmaps;
pub mod lle;
mod markov;
pub mod mds;
mod modified_lle;
pub mod smacof;
mod sparse;
pub mod tsne;
pub mod umap;

pub use diffusion_maps::{DiffusionMaps, FittedDiffusionMaps};
pub use graph::NeighborGraph;
pub use isomap::{FittedIsomap, Isomap};
pub use laplacian_eigenmaps::{FittedLaplacianEigenmaps, LaplacianEigenmaps};
pub use lle::{FittedLle, Lle, barycentric_weights};
pub use mds::{ClassicalMds, FittedMds};
pub use smacof::{FittedSmacof, Smacof};
pub use tsne::{FittedTsne, Tsne};
pub use umap::{FittedUmap, Umap};
