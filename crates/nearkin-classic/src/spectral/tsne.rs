//! t-distributed stochastic neighbour embedding.
//!
//! L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", 2008, by the approximation of L. van der Maaten, "Accelerating t-SNE
//! using Tree-Based Algorithms", 2014. Neighbours are near by Gaussians, each as wide as gives it the same *perplexity*, and in the
//! plane by a distribution of heavier tail:
//!
//! ```text
//! p_j|i ∝ e^{−‖x_i − x_j‖² / 2σ_i²}    2^{−Σ_j p_j|i log₂ p_j|i} = perplexity    p_ij = (p_j|i + p_i|j) / 2n
//! q_ij ∝ 1 / (1 + ‖y_i − y_j‖²)        Y = argmin Σ_ij p_ij ln(p_ij / q_ij)
//! ```
//!
//! The descent is that of the crate `bhtsne`. Here it is given the sweep's neighbours, and starts at the principal components, so
//! nothing is drawn. Its sums depend on how threads share the work, so it runs on one thread of its own: the same points give the
//! same map.
//!
//! Cost: neighbours `n² d / 2`, and `n log n` an epoch. Memory: 3 perplexities of neighbours a point.
//!
//! When to use it: a picture of clusters. Sizes of clusters and distances between them mean little. New points have no place in it.
//!
//! ```
//! use nearkin_classic::spectral::Tsne;
//! use nearkin_sweep::Vectors;
//!
//! // Two rings that do not touch.
//! let ring = |at: f32| (0..60).flat_map(move |i| [at + (i as f32 / 9.5).cos(), (i as f32 / 9.5).sin()]);
//! let points: Vec<f32> = ring(0.0).chain(ring(9.0)).collect();
//! let map = Tsne { perplexity: 10.0, ..Tsne::default() }.fit(Vectors::new(&points, 2)?)?;
//! assert_eq!(map.embedding().len(), 120 * 2);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use super::graph::NeighborGraph;
use crate::error::ClassicError;
use crate::input::{above_zero, check, setting};
use crate::linear::pca::Pca;

/// Settings of t-SNE. The map has two dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tsne {
    /// How many neighbours count, 1 or more; three times as many points are needed, and one.
    pub perplexity: f64,
    /// Steps of the descent; during the first 250, `p` is 12 times as large.
    pub epochs: usize,
    /// How coarse the tree may be, above 0: 0.5 as published, less is more exact.
    pub angle: f64,
}

impl Default for Tsne {
    /// Perplexity 30, 1,000 steps, angle 0.5.
    fn default() -> Self {
        Self { perplexity: 30.0, epochs: 1000, angle: 0.5 }
    }
}

/// The map of some points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedTsne {
    embedding: Vec<f32>,
}

impl FittedTsne {
    /// The map of the points: a row of two values each, of mean 0.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }
}

impl Tsne {
    /// Maps the points.
    ///
    /// # Errors
    /// When a value is not finite or a setting out of range, there are fewer points than the perplexity needs, or all points are the
    /// same; when no thread can be started.
    pub fn fit(&self, points: Vectors<'_>) -> Result<FittedTsne, ClassicError> {
        check(points, 4, "neighbours are compared")?;
        let most = (points.len() - 1) as f64 / 3.0;
        let ok = self.perplexity >= 1.0 && self.perplexity <= most;
        setting("perplexity", self.perplexity, ok, "1 to a third of the other points")?;
        setting("epochs", self.epochs as f64, self.epochs > 0, "1 or more")?;
        above_zero("angle", self.angle)?;
        let graph = NeighborGraph::directed(points, (3.0 * self.perplexity) as usize)?;
        let neighbors: Vec<Vec<bhtsne::Neighbor<f64>>> = (0..points.len())
            .map(|i| {
                let near = |(index, d): (usize, f32)| bhtsne::Neighbor { index, distance: f64::from(d) };
                graph.edges(i).map(near).collect()
            })
            .collect();
        let start = start(points)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| ClassicError::Thread(error.to_string()))?;
        let places = pool.install(|| {
            // Neighbours are known, so of the points themselves only their number is asked.
            let nothing = vec![(); points.len()];
            let mut map: bhtsne::tSNE<'_, f64, (), 2> = bhtsne::tSNE::new(&nothing);
            map.perplexity(self.perplexity).epochs(self.epochs).initial_embedding(start);
            map.barnes_hut_with_neighbors(self.angle, &neighbors);
            map.embedding()
        });
        if !places.iter().all(|y| y.is_finite()) {
            return Err(ClassicError::Overflow { what: "the map" });
        }
        Ok(FittedTsne { embedding: places.into_iter().map(|y| y as f32).collect() })
    }
}

/// The principal components, at a scale where the first has deviation 10⁻⁴.
fn start(points: Vectors<'_>) -> Result<Vec<f64>, ClassicError> {
    let known = points.dim().min(2);
    let fitted = Pca::new(known).fit(points)?;
    let deviation = fitted.how.values[0].sqrt();
    if deviation == 0.0 {
        return Err(ClassicError::NoVariance);
    }
    let components = fitted.map.transform(points)?;
    let place = |row: &[f32]| [0, 1].map(|c| row.get(c).map_or(0.0, |z| f64::from(*z) / deviation * 1e-4));
    Ok(components.chunks_exact(known).flat_map(place).collect())
}
