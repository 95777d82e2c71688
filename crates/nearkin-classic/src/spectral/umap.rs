//! Uniform manifold approximation and projection.
//!
//! L. McInnes, J. Healy, J. Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", 2018. Each point
//! measures distances in a unit of its own, and the graph of neighbours is a fuzzy set of edges:
//!
//! ```text
//! μ_j|i = e^{−max(0, d_ij − ρ_i) / σ_i}     ρ_i = min_j d_ij above 0,   σ_i: Σ_j μ_j|i = log₂ k     μ_ij = μ_j|i + μ_i|j − μ_j|i μ_i|j
//! ```
//!
//! The map has edges `ν_ij = 1 / (1 + a ‖y_i − y_j‖^{2b})`, with `a` and `b` fitted to the least distance and the spread wanted, and
//! lowers the cross-entropy of `μ` and `ν` by steps along one edge at a time, as often as `μ` says, and away from a few random points
//! each time. It starts at the graph's [eigenmap](super::LaplacianEigenmaps), or at the principal components where the graph is in
//! pieces.
//!
//! Steps are made one after the other, on one thread: so the map depends on the seed alone. A random point is a function of the seed,
//! the epoch and the edge.
//!
//! Cost: neighbours `n² d / 2`, the eigenmap, and about `k n` steps an epoch at most. Memory: the graph.
//!
//! When to use it: a picture of clusters. Sizes of clusters and distances between them mean little. New points have no place in it.
//!
//! ```
//! use nearkin_classic::spectral::Umap;
//! use nearkin_sweep::Vectors;
//!
//! // Two rings that do not touch.
//! let ring = |at: f32| (0..60).flat_map(move |i| [at + (i as f32 / 9.5).cos(), (i as f32 / 9.5).sin()]);
//! let points: Vec<f32> = ring(0.0).chain(ring(9.0)).collect();
//! let map = Umap { neighbors: 10, ..Umap::default() }.fit(Vectors::new(&points, 2)?)?;
//! assert_eq!(map.embedding().len(), 120 * 2);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::Vectors;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::graph::NeighborGraph;
use super::markov::walk;
use super::sparse::Sparse;
use crate::error::ClassicError;
use crate::input::{above_zero, check_dims, setting};
use crate::lbfgs::Lbfgs;
use crate::linear::pca::Pca;
use crate::observer::Observer;
use crate::random::{below, draw, normals, stream};

/// Settings of UMAP.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Umap {
    /// Neighbours of each point, k, the point itself not counted: 2 or more.
    pub neighbors: usize,
    /// Dimensions of the map.
    pub dims: usize,
    /// How near points of the map may come, 0 or more and below `spread`.
    pub min_distance: f64,
    /// How far neighbours reach in the map, above 0.
    pub spread: f64,
    /// Rounds of steps; 500, or 200 above 10,000 points, if `None`.
    pub epochs: Option<usize>,
    /// Random points that a step moves away from.
    pub strangers: usize,
    /// What the map depends on.
    pub seed: u64,
}

impl Default for Umap {
    /// 14 neighbours, 2 dimensions, distance 0.1, spread 1, 5 strangers: as the authors' program, which counts the point itself
    /// a neighbour.
    fn default() -> Self {
        Self { neighbors: 14, dims: 2, min_distance: 0.1, spread: 1.0, epochs: None, strangers: 5, seed: 0 }
    }
}

/// The map of some points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedUmap {
    embedding: Vec<f32>,
    curve: (f64, f64),
}

impl FittedUmap {
    /// The map of the points: a row of [`Umap::dims`] values each.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// `a` and `b` of the map's edges.
    pub fn curve(&self) -> (f64, f64) {
        self.curve
    }
}

/// Points above which fewer epochs are enough.
const MANY: usize = 10_000;
/// The largest coordinate at the start.
const EXTENT: f64 = 10.0;
/// No coordinate moves by more at a step.
const LONGEST: f64 = 4.0;

impl Umap {
    /// Maps the points.
    ///
    /// # Errors
    /// When a value is not finite or a setting out of range, or all points are the same.
    pub fn fit(&self, points: Vectors<'_>) -> Result<FittedUmap, ClassicError> {
        setting("neighbors", self.neighbors as f64, self.neighbors > 1, "2 or more")?;
        above_zero("spread", self.spread)?;
        let near = self.min_distance >= 0.0 && self.min_distance < self.spread;
        setting("min_distance", self.min_distance, near, "0 or more, and below the spread")?;
        let n = points.len();
        let epochs = self.epochs.unwrap_or(if n > MANY { 200 } else { 500 });
        setting("epochs", epochs as f64, epochs > 0, "1 or more")?;
        let graph = NeighborGraph::directed(points, self.neighbors)?;
        check_dims(self.dims, n - 1)?;
        if graph.distances().iter().all(|d| *d == 0.0)
            && points.data().chunks_exact(points.dim()).all(|row| row == points.row(0))
        {
            return Err(ClassicError::NoVariance);
        }
        let curve = fit_curve(self.min_distance, self.spread)?;
        let edges = fuzzy(&graph);
        let mut places = self.start(points, &graph, &edges)?;
        let layout = Layout { curve, dims: self.dims, strangers: self.strangers, seed: self.seed };
        layout.settle(&mut places, &edges, epochs);
        Ok(FittedUmap { embedding: places.into_iter().map(|y| y as f32).collect(), curve })
    }

    /// Where the points begin.
    fn start(
        &self,
        points: Vectors<'_>,
        graph: &NeighborGraph,
        edges: &[Vec<(usize, f64)>],
    ) -> Result<Vec<f64>, ClassicError> {
        let (n, dims) = (points.len(), self.dims);
        let mut places = vec![0.0; n * dims];
        if graph.require_whole().is_ok() {
            let modes = walk(Sparse::from_rows(edges.to_vec()), dims, f64::NAN)?;
            for (dim, mode) in modes.vectors.iter().enumerate() {
                (0..n).for_each(|i| places[i * dims + dim] = mode[i]);
            }
        } else {
            let known = dims.min(points.dim());
            let components = Pca::new(known).fit(points)?.map.transform(points)?;
            for (place, row) in places.chunks_exact_mut(dims).zip(components.chunks_exact(known)) {
                place.iter_mut().zip(row).for_each(|(y, z)| *y = f64::from(*z));
            }
        }
        let most = places.iter().fold(0.0, |most: f64, y| most.max(y.abs()));
        // So that copies of a point come apart.
        let noise = normals(&mut stream(self.seed), places.len());
        let scale = if most > 0.0 { EXTENT / most } else { 0.0 };
        places.iter_mut().zip(noise).for_each(|(y, noise)| *y = *y * scale + 1e-4 * noise);
        Ok(places)
    }
}

/// The edges of each point, with their memberships.
fn fuzzy(graph: &NeighborGraph) -> Vec<Vec<(usize, f64)>> {
    let n = graph.len();
    let all = graph.distances();
    let overall = all.iter().map(|d| f64::from(*d)).sum::<f64>() / all.len() as f64;
    let directed: Vec<Vec<(usize, f64)>> =
        (0..n).into_par_iter().map(|i| memberships(&graph.edges(i).collect::<Vec<_>>(), overall)).collect();
    let mut rows = vec![Vec::new(); n];
    for (i, row) in directed.iter().enumerate() {
        for &(j, there) in row {
            let back = directed[j].iter().find(|edge| edge.0 == i).map(|edge| edge.1);
            // In an order that is the same from both ends.
            let both = (there + back.unwrap_or(0.0)) - there * back.unwrap_or(0.0);
            rows[i].push((j, both));
            // An edge that is there both ways is met twice, once from each end.
            if back.is_none() {
                rows[j].push((i, both));
            }
        }
    }
    rows.iter_mut().for_each(|row| row.sort_unstable_by_key(|edge| edge.0));
    rows
}

/// `μ_j|i` of a point's neighbours. The unit is no less than a thousandth of their mean distance, or of all points' where they
/// coincide.
fn memberships(neighbors: &[(usize, f32)], overall: f64) -> Vec<(usize, f64)> {
    let far = |d: f32| f64::from(d);
    let nearest = neighbors.iter().map(|n| far(n.1)).find(|d| *d > 0.0).unwrap_or(0.0);
    let sum =
        |unit: f64| neighbors.iter().map(|n| (-(far(n.1) - nearest).max(0.0) / unit).exp()).sum::<f64>();
    let wanted = (neighbors.len() as f64).log2();
    let (mut low, mut high, mut unit) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..64 {
        if sum(unit) > wanted {
            high = unit;
            unit = 0.5 * (low + high);
        } else {
            low = unit;
            unit = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * unit };
        }
    }
    let mean = neighbors.iter().map(|n| far(n.1)).sum::<f64>() / neighbors.len() as f64;
    let unit = unit.max(1e-3 * if mean > 0.0 { mean } else { overall });
    neighbors.iter().map(|n| (n.0, (-(far(n.1) - nearest).max(0.0) / unit).exp())).collect()
}

/// The `a` and `b` for which `1 / (1 + a x^{2b})` is nearest to 1 below the least distance and `e^{−(x − least) / spread}` beyond, by
/// least squares at 300 places up to three times the spread.
fn fit_curve(least: f64, spread: f64) -> Result<(f64, f64), ClassicError> {
    let places: Vec<(f64, f64)> = (1..300)
        .map(|i| 3.0 * spread * f64::from(i) / 299.0)
        .map(|x| (x, if x < least { 1.0 } else { (-(x - least) / spread).exp() }))
        .collect();
    // In the logarithms, so that both stay above 0.
    let mut logs = vec![-2.0 * spread.ln(), 0.0];
    let exact = Lbfgs { iterations: 500, tolerance: 1e-14 };
    exact.minimise(&mut logs, &Observer::default(), |logs| {
        let (a, b) = (logs[0].exp(), logs[1].exp());
        let (mut value, mut gradient) = (0.0, vec![0.0; 2]);
        for (x, wanted) in &places {
            let power = a * x.powf(2.0 * b);
            let found = 1.0 / (1.0 + power);
            let error = found - wanted;
            value += error * error;
            let slope = -2.0 * error * found * found * power;
            gradient[0] += slope;
            gradient[1] += slope * 2.0 * b * x.ln();
        }
        Ok((value, gradient))
    })?;
    Ok((logs[0].exp(), logs[1].exp()))
}

struct Layout {
    curve: (f64, f64),
    dims: usize,
    strangers: usize,
    seed: u64,
}

impl Layout {
    /// Steps along edges, each as often as its membership says beside the strongest's, which is stepped on every epoch.
    fn settle(&self, places: &mut [f64], edges: &[Vec<(usize, f64)>], epochs: usize) {
        let n = edges.len();
        let strongest = edges.iter().flatten().fold(0.0, |most: f64, edge| most.max(edge.1));
        let pairs: Vec<(usize, usize, f64)> = (0..n)
            .flat_map(|i| edges[i].iter().map(move |&(j, weight)| (i, j, weight / strongest)))
            .collect();
        for epoch in 0..epochs {
            let rate = 1.0 - epoch as f64 / epochs as f64;
            for (edge, &(i, j, share)) in pairs.iter().enumerate() {
                // The epochs at which the share, summed up, passes a whole number.
                if (share * (epoch + 1) as f64).floor() == (share * epoch as f64).floor() {
                    continue;
                }
                self.step(places, (i, j), rate, true);
                let mut rng = draw(self.seed, epoch as u64, edge as u64);
                for _ in 0..self.strangers {
                    let other = below(&mut rng, n);
                    if other != i {
                        self.step(places, (i, other), rate, false);
                    }
                }
            }
        }
    }

    /// Along the gradient of `ln ν` for kin, which moves both, or of `ln (1 − ν)` for strangers, which moves the first.
    fn step(&self, places: &mut [f64], (i, j): (usize, usize), rate: f64, kin: bool) {
        let ((a, b), k) = (self.curve, self.dims);
        let square: f64 = (0..k).map(|c| (places[i * k + c] - places[j * k + c]).powi(2)).sum();
        if square == 0.0 {
            return;
        }
        let power = a * square.powf(b);
        let factor = if kin {
            -2.0 * b * power / (square * (1.0 + power))
        } else {
            2.0 * b / ((1e-3 + square) * (1.0 + power))
        };
        for c in 0..k {
            let (i, j) = (i * k + c, j * k + c);
            let move_by = rate * (factor * (places[i] - places[j])).clamp(-LONGEST, LONGEST);
            places[i] += move_by;
            if kin {
                places[j] -= move_by;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_the_authors() {
        // a and b of umap-learn for distance 0.1 and spread 1.
        let (a, b) = fit_curve(0.1, 1.0).unwrap();
        assert!((a - 1.5769).abs() < 2e-3 && (b - 0.8951).abs() < 2e-3, "{a} {b}");
    }

    #[test]
    fn memberships_of_a_point_sum_to_the_logarithm_and_of_both_ends_are_one() {
        let neighbors: Vec<(usize, f32)> = (0..8).map(|j| (j, 1.0 + 0.3 * j as f32)).collect();
        let found = memberships(&neighbors, 1.0);
        assert!((found.iter().map(|edge| edge.1).sum::<f64>() - 3.0).abs() < 1e-9);
        assert_eq!(found[0].1, 1.0);
        let points: Vec<f32> = normals(&mut stream(1), 60).iter().map(|x| *x as f32).collect();
        let graph = NeighborGraph::directed(Vectors::new(&points, 2).unwrap(), 5).unwrap();
        let rows = fuzzy(&graph);
        for (i, row) in rows.iter().enumerate() {
            assert!(row.is_sorted_by(|a, b| a.0 < b.0) && row.len() >= 5);
            for &(j, there) in row {
                assert!(there > 0.0 && there <= 1.0);
                assert_eq!(rows[j].iter().find(|edge| edge.0 == i).unwrap().1, there, "{i} {j}");
            }
        }
    }

    #[test]
    fn steps_are_gradients_of_the_cross_entropy() {
        let layout = Layout { curve: (1.5, 0.9), dims: 2, strangers: 0, seed: 0 };
        let nu = |p: &[f64]| 1.0 / (1.0 + 1.5 * ((p[0] - p[2]).powi(2) + (p[1] - p[3]).powi(2)).powf(0.9));
        for kin in [true, false] {
            let at = vec![0.3, -0.2, 1.1, 0.9];
            let gain = |p: &[f64]| if kin { nu(p).ln() } else { (1.0 - nu(p)).ln() };
            let mut moved = at.clone();
            layout.step(&mut moved, (0, 1), 1e-3, kin);
            for c in 0..4 {
                let along = |by: f64| {
                    let mut p = at.clone();
                    p[c] += by;
                    gain(&p)
                };
                let slope = (along(1e-6) - along(-1e-6)) / 2e-6;
                let wanted = if c < 2 || kin { 1e-3 * slope } else { 0.0 };
                // The 10⁻³ that keeps the push finite.
                assert!((moved[c] - at[c] - wanted).abs() < 2e-6, "{kin} {c}: {} {wanted}", moved[c] - at[c]);
            }
        }
    }
}
