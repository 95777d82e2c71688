//! Local Fisher discriminant analysis.
//!
//! M. Sugiyama, "Dimensionality Reduction of Multimodal Labeled Data by Local Fisher Discriminant Analysis", 2007. Fisher's
//! criterion with every pair of one class weighed by how near it is,
//!
//! ```text
//! A_ij = exp(−‖x_i − x_j‖² / (σ_i σ_j))        σ_i the distance of i to its 7th neighbour of its class
//! ```
//!
//! so that far clusters of one class need not come together. With `Q_c = ½ Σ_{i,j∈c} A_ij (x_i − x_j)(x_i − x_j)ᵀ`, the scatter
//! `S_c` of a class and `S_t` of all,
//!
//! ```text
//! S_w = Σ_c Q_c / n_c        S_b = S_t − Σ_c (n_c / n) S_c + Σ_c (1/n − 1/n_c) Q_c
//! ```
//!
//! Directions are scaled by `√λ`, as the paper's program does: the more telling, the longer.
//!
//! Cost: `4 d Σ_c n_c² + 4 n d² + O(d³)`; memory d × d.
//!
//! When to use it: classes are labelled, and some are several clusters.
//!
//! ```
//! use nearkin_classic::LocalFisher;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let fitted = LocalFisher::new().dims(1).fit(x, &[0, 0, 0, 1, 1, 1])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::{Metric, RowFold, Vectors, fold_rows, top_k};

use crate::algebra::{Matrix, mean, pull_back, scatter};
use crate::error::ClassicError;
use crate::input::{Classes, check, dims, gather, setting};
use crate::linear::lda::Fisher;
use crate::linear::{Fitted, LinearMap, Spectrum};

/// Settings of local Fisher discriminant analysis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalFisher {
    dims: Option<usize>,
    neighbours: usize,
    ridge: f64,
}

impl Default for LocalFisher {
    fn default() -> Self {
        Self { dims: None, neighbours: 7, ridge: 0.0 }
    }
}

impl LocalFisher {
    /// To as many dimensions as the samples span, with the scale of the 7th neighbour.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this many dimensions; unlike LDA's they may be more than the classes.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// With the distance to this neighbour for scale; the farthest of smaller classes.
    #[must_use]
    pub fn neighbours(self, neighbours: usize) -> Self {
        Self { neighbours, ..self }
    }

    /// Adds this part of the mean variance to the scatter within classes; 0 or more.
    #[must_use]
    pub fn ridge(self, ridge: f64) -> Self {
        Self { ridge, ..self }
    }

    /// Finds the map. Cost: `4 d Σ_c n_c² + 4 n d² + O(d³)`; memory: d × d and tiles.
    ///
    /// # Errors
    /// Values that are not finite; fewer than two classes; a singular scatter within classes with no ridge; more dimensions
    /// than the samples span.
    pub fn fit(&self, vectors: Vectors<'_>, labels: &[u32]) -> Result<Fitted<Spectrum>, ClassicError> {
        check(vectors, 2, "classes are compared")?;
        setting("neighbours", self.neighbours as f64, self.neighbours > 0, "1 or more")?;
        let classes = Classes::new(vectors.len(), labels)?;
        let (n, d) = (vectors.len() as f64, vectors.dim());
        let offset = mean(vectors);
        let total = scatter(vectors, &offset);
        let (mut within, mut between) = (Matrix::zeros(d, d), total.clone());
        for members in &classes.members {
            let samples = gather(vectors, members);
            let samples = Vectors::new(&samples, d)?;
            let of_class = members.len() as f64;
            let local = self.local_scatter(samples)?;
            within = within.plus(1.0 / of_class, &local);
            between = between.plus(-of_class / n, &scatter(samples, &mean(samples)));
            between = between.plus(1.0 / n - 1.0 / of_class, &local);
        }
        let solved = Fisher { total: &total, within: &within, between: &between }
            .solve(self.ridge, "the local scatter within classes")?;
        let k = dims(self.dims, solved.values.len(), "the samples span no more")?;
        let matrix = solved.vectors.head(k).scale_rows(|r| solved.values[r].max(0.0).sqrt());
        let how = Spectrum {
            total: solved.values.iter().map(|v| v.max(0.0)).sum(),
            values: solved.values[..k].to_vec(),
        };
        Ok(Fitted { map: LinearMap::of(offset, matrix), how })
    }

    /// `Q_c = Xᵀ (D − A) X`, with `D` the sums of the rows of `A`.
    fn local_scatter(&self, samples: Vectors<'_>) -> Result<Matrix, ClassicError> {
        let (n, d) = (samples.len(), samples.dim());
        let nearest = top_k(samples, samples, Metric::SquaredEuclidean, self.neighbours, true)?;
        let scales: Vec<f64> = nearest
            .iter()
            .map(|found| found.last().map_or(0.0, |farthest| f64::from(farthest.score).sqrt()))
            .collect();
        let offset = mean(samples);
        let pulls = fold_rows(
            samples,
            samples,
            Metric::SquaredEuclidean,
            &Pull { samples, offset: &offset, scales: &scales },
        )?;
        let flat: Vec<f64> = pulls.into_iter().flatten().collect();
        debug_assert_eq!(flat.len(), n * d);
        Ok(pull_back(&flat, d, samples, &offset).symmetric())
    }
}

/// `Σ_j A_ij (x_i − x_j)` of each sample.
struct Pull<'a> {
    samples: Vectors<'a>,
    offset: &'a [f64],
    scales: &'a [f64],
}

impl RowFold for Pull<'_> {
    type Row = Vec<f64>;

    fn start(&self, _query: usize) -> Vec<f64> {
        vec![0.0; self.offset.len()]
    }

    fn tile(&self, query: usize, first: usize, scores: &[f32], row: &mut Vec<f64>) {
        let own = self.samples.row(query);
        for (j, score) in (first..).zip(scores) {
            // Copies of a sample have scale 0: they are near each other, and the pair adds nothing.
            let scale = self.scales[query] * self.scales[j];
            if *score > 0.0 && scale > 0.0 {
                let near = (-f64::from(*score) / scale).exp();
                for ((sum, x), y) in row.iter_mut().zip(own).zip(self.samples.row(j)) {
                    *sum += near * (f64::from(*x) - f64::from(*y));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    /// Two classes that differ along the first axis; the first class is two clusters, far apart along the second.
    fn table() -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(7), 120 * 2);
        let labels: Vec<u32> = (0..120).map(|i| u32::from(i % 3 == 2)).collect();
        let table = noise.chunks_exact(2).enumerate().flat_map(|(i, x)| {
            let [a, b] = [[0.0, 40.0], [0.0, -40.0], [4.0, 0.0]][i % 3];
            [(x[0] + a) as f32, (x[1] + b) as f32]
        });
        (table.collect(), labels)
    }

    #[test]
    fn the_local_scatter_agrees_with_the_sum_over_pairs() {
        let (table, _) = table();
        let samples = Vectors::new(&table, 2).unwrap();
        let found = LocalFisher::new().local_scatter(samples).unwrap();
        let square =
            |i: usize, j: usize| f64::from(Metric::SquaredEuclidean.score(samples.row(i), samples.row(j)));
        let scale: Vec<f64> = (0..120)
            .map(|i| {
                let mut all: Vec<f64> = (0..120).filter(|j| *j != i).map(|j| square(i, j)).collect();
                all.sort_by(f64::total_cmp);
                all[6].sqrt()
            })
            .collect();
        let mut wanted = Matrix::zeros(2, 2);
        for i in 0..120 {
            for j in 0..120 {
                let near = 0.5 * (-square(i, j) / (scale[i] * scale[j])).exp();
                let x: Vec<f64> =
                    (0..2).map(|c| f64::from(samples.row(i)[c]) - f64::from(samples.row(j)[c])).collect();
                for r in 0..2 {
                    for c in 0..2 {
                        wanted.row_mut(r)[c] += near * x[r] * x[c];
                    }
                }
            }
        }
        let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-3 * wanted.trace();
        assert!(found.data().iter().zip(wanted.data()).all(near), "{found:?} {wanted:?}");
    }

    #[test]
    fn clusters_of_one_class_need_not_come_together() {
        let (table, labels) = table();
        let vectors = Vectors::new(&table, 2).unwrap();
        let fitted = LocalFisher::new().dims(1).fit(vectors, &labels).unwrap();
        let z = fitted.map.transform(vectors).unwrap();
        let right = (0..120)
            .filter(|&i| {
                let mut others: Vec<usize> = (0..120).filter(|j| *j != i).collect();
                others.sort_by(|&a, &b| (z[a] - z[i]).abs().total_cmp(&(z[b] - z[i]).abs()));
                labels[others[0]] == labels[i]
            })
            .count();
        assert!(right >= 115, "{right}");
    }

    #[test]
    fn duplicates_and_lone_samples_are_handled() {
        let (mut table, mut labels) = table();
        table.extend([0.0, 40.0, 0.0, 40.0, 9.0, 9.0]);
        labels.extend([0, 0, 2]);
        assert!(LocalFisher::new().fit(Vectors::new(&table, 2).unwrap(), &labels).is_ok());
        let lone = LocalFisher::new().fit(Vectors::new(&table[..8], 2).unwrap(), &[0, 1, 2, 3]);
        assert!(matches!(lone, Err(ClassicError::Singular { rank: 0, .. })));
        assert!(LocalFisher::new().neighbours(0).fit(Vectors::new(&table, 2).unwrap(), &labels).is_err());
    }
}
