//! Sparse compositional metric learning.
//!
//! Y. Shi, A. Bellet, F. Sha, "Sparse Compositional Metric Learning", 2014. The metric is a sum of few of many given directions
//! `b`, of unit length, and their weights are learned of triplets (anchor, kin, stranger):
//!
//! ```text
//! M = Σ_b w_b b bᵀ,  w_b ≥ 0      F(w) = (1/|T|) Σ_T [1 + d²_M(a, k) − d²_M(a, s)]₊ + β Σ_b w_b
//! ```
//!
//! The directions are those that part classes somewhere: around each of some centres (k-means) the nearest 10 samples of each class,
//! and the nearest 20, are given to [LDA](crate::Lda). Of triplets alone, those whose anchors are nearest to a centre stand for the
//! classes: their kin for the scatter within, their strangers for that between.
//!
//! `F` is convex. It is lowered by dual averaging on small random sets of triplets (L. Xiao, "Dual Averaging Methods for Regularized
//! Stochastic Learning and Online Optimization", 2010), with a step of its own for each weight (J. Duchi, E. Hazan, Y. Singer,
//! "Adaptive Subgradient Methods", 2011). With the mean `ḡ` of the `t` gradients so far and the root `q` of the sum of their squares,
//!
//! ```text
//! w_b = η t / (q_b + 10⁻³ s) · [−ḡ_b − β]₊
//! ```
//!
//! with η, the length of a step, in the unit 1/s of weights, where `s` is the mean over triplets and directions of
//! `|d²_b(a, k) − d²_b(a, s)|`: so the scale of columns means nothing to it. Both `w` and its mean over all sets so far are looked at.
//!
//! Cost: `2 n d B` operations for `B` directions, `3 B` a triplet of a set, and `3 |T| B` every 500 sets, when `F` is looked at: the
//! best weights found then are kept. Memory: `8 n B` bytes.
//!
//! When to use it: labels or triplets, columns that are many, and a metric of few directions wanted.
//!
//! ```
//! use nearkin_classic::Scml;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let fitted = Scml::new().fit_labels(Vectors::new(&table, 2)?, &[0, 0, 0, 1, 1, 1])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::{Metric, Vectors, k_means, top_k};
use rayon::prelude::*;

use crate::algebra::{Matrix, add, dot, mean, norm, project};
use crate::error::ClassicError;
use crate::input::{Classes, above_zero, check, check_labels, gather, not_negative, setting};
use crate::lbfgs::{Descent, Stop};
use crate::linear::lda::{Fisher, Lda};
use crate::linear::{Fitted, LinearMap};
use crate::mahalanobis::Mahalanobis;
use crate::observer::Observer;
use crate::random::{below, stream};
use crate::supervision::{Triplet, Triplets, difference};

/// Settings of SCML.
#[derive(Debug, Clone, PartialEq)]
pub struct Scml {
    directions: Option<usize>,
    basis: Option<Matrix>,
    beta: f64,
    rate: f64,
    sets: usize,
    batch: usize,
    seed: u64,
    observer: Observer,
}

/// Sets between two looks at the objective.
const LOOK: usize = 500;
/// Samples of each class, or triplets, around a centre.
const SCALES: [usize; 2] = [10, 20];
/// Of the mean variance, added to the scatter within a neighbourhood, which may hold few samples.
const RIDGE: f64 = 1e-3;
/// Nearest samples of its class and of others that a sample is compared to, where there are labels.
const KIN: usize = 3;
const STRANGERS: usize = 10;

impl Default for Scml {
    fn default() -> Self {
        Self {
            directions: None,
            basis: None,
            beta: 1e-5,
            rate: 1.0,
            sets: 10_000,
            batch: 10,
            seed: 0,
            observer: Observer::default(),
        }
    }
}

impl Scml {
    /// With about 20 directions a column, β = 10⁻⁵, and 10,000 sets of 10 triplets at η = 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of about so many directions: a neighbourhood gives all that it has.
    #[must_use]
    pub fn directions(self, directions: usize) -> Self {
        Self { directions: Some(directions), ..self }
    }

    /// Of these directions, its rows, instead of those that neighbourhoods give.
    #[must_use]
    pub fn basis(self, basis: Matrix) -> Self {
        Self { basis: Some(basis), ..self }
    }

    /// The price β of weight, 0 or more.
    #[must_use]
    pub fn beta(self, beta: f64) -> Self {
        Self { beta, ..self }
    }

    /// By so many sets of so many triplets, with steps of length η = `rate`, above 0.
    #[must_use]
    pub fn sets(self, sets: usize, batch: usize, rate: f64) -> Self {
        Self { sets, batch, rate, ..self }
    }

    /// Centres and sets are drawn with this seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Watched, every 500 sets, which are what is counted; the objective is `F`.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// From labels, as published: by directions of LDA, and by the triplets of each sample with its 3 nearest of its class and its
    /// 10 nearest of others.
    ///
    /// # Errors
    /// As [`Triplets::of_neighbours`] and [`fit`](Self::fit).
    pub fn fit_labels(&self, vectors: Vectors<'_>, labels: &[u32]) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "triplets are compared")?;
        check_labels(vectors, labels)?;
        self.check()?;
        let triplets = Triplets::of_neighbours(vectors, labels, KIN, STRANGERS)?;
        let classes = Classes::new(vectors.len(), labels)?;
        let found = match &self.basis {
            Some(basis) => given(basis, vectors.dim())?,
            None => self.of_labels(vectors, labels, &classes)?,
        };
        self.descend(vectors, &triplets, found)
    }

    /// From triplets. The map has as many rows as `M` has rank. Iterations are sets, and evaluations looks at `F`.
    ///
    /// # Errors
    /// Values that are not finite; no triplets, or of samples that are not there; neighbourhoods in which nothing parts kin from
    /// strangers; settings out of range.
    pub fn fit(&self, vectors: Vectors<'_>, triplets: &Triplets) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "triplets are compared")?;
        self.check()?;
        triplets.check(vectors.len())?;
        let found = match &self.basis {
            Some(basis) => given(basis, vectors.dim())?,
            None => self.of_triplets(vectors, &triplets.0)?,
        };
        self.descend(vectors, triplets, found)
    }

    fn check(&self) -> Result<(), ClassicError> {
        not_negative("beta", self.beta)?;
        above_zero("rate", self.rate)?;
        setting("sets", self.sets as f64, self.sets > 0, "1 or more")?;
        setting("batch", self.batch as f64, self.batch > 0, "1 or more")?;
        let directions = self.directions.unwrap_or(1);
        setting("directions", directions as f64, directions > 0, "1 or more")
    }

    /// Centres that give about as many directions as asked for, if each gives `most`.
    fn centres(&self, vectors: Vectors<'_>, most: usize) -> Result<Vec<f32>, ClassicError> {
        let wanted = self.directions.unwrap_or(20 * vectors.dim()).div_ceil(SCALES.len() * most);
        let (centres, _) = k_means(vectors, wanted.clamp(1, vectors.len()), self.seed, 20)?;
        Ok(centres)
    }

    fn of_labels(
        &self,
        vectors: Vectors<'_>,
        labels: &[u32],
        classes: &Classes,
    ) -> Result<Vec<Vec<f64>>, ClassicError> {
        let d = vectors.dim();
        let centres = self.centres(vectors, (classes.len() - 1).min(d))?;
        let centres = Vectors::new(&centres, d)?;
        // Of each class, the nearest to each centre.
        let mut near = Vec::new();
        for members in &classes.members {
            let samples = gather(vectors, members);
            let found =
                top_k(centres, Vectors::new(&samples, d)?, Metric::SquaredEuclidean, SCALES[1], false)?;
            near.push(found.into_iter().map(|row| row.iter().map(|n| members[n.index]).collect()).collect());
        }
        let near: Vec<Vec<Vec<usize>>> = near;
        let places: Vec<(usize, usize)> =
            SCALES.iter().flat_map(|&scale| (0..centres.len()).map(move |centre| (scale, centre))).collect();
        let found = places.par_iter().map(|&(scale, centre)| {
            let rows: Vec<usize> =
                near.iter().flat_map(|class| class[centre].iter().take(scale)).copied().collect();
            let own: Vec<u32> = rows.iter().map(|&i| labels[i]).collect();
            let samples = gather(vectors, &rows);
            Ok(match Lda::new().ridge(RIDGE).fit(Vectors::new(&samples, d)?, &own) {
                Ok(fitted) => rows_of(fitted.map.matrix()),
                // All samples around the centre may be one.
                Err(ClassicError::NoVariance | ClassicError::Dims { .. }) => Vec::new(),
                Err(error) => return Err(error),
            })
        });
        Ok(found.collect::<Result<Vec<_>, ClassicError>>()?.concat())
    }

    fn of_triplets(&self, vectors: Vectors<'_>, triplets: &[Triplet]) -> Result<Vec<Vec<f64>>, ClassicError> {
        let d = vectors.dim();
        let anchors: Vec<usize> = triplets.iter().map(|t| t.anchor as usize).collect();
        let anchors = gather(vectors, &anchors);
        let anchors = Vectors::new(&anchors, d)?;
        let centres = self.centres(anchors, d)?;
        let centres = Vectors::new(&centres, d)?;
        let near = top_k(centres, anchors, Metric::SquaredEuclidean, d.max(SCALES[1]), false)?;
        let places: Vec<(usize, usize)> = SCALES
            .iter()
            .flat_map(|&scale| {
                (0..centres.len()).map(move |centre| (scale.max(d * scale / SCALES[1]), centre))
            })
            .collect();
        let found = places.par_iter().map(|&(scale, centre)| {
            let (mut within, mut between) = (Matrix::zeros(d, d), Matrix::zeros(d, d));
            for neighbor in near[centre].iter().take(scale) {
                let Triplet { anchor, kin, stranger } = triplets[neighbor.index];
                for (sum, other) in [(&mut within, kin), (&mut between, stranger)] {
                    let v = difference(vectors, (anchor, other));
                    (0..d).for_each(|r| add(sum.row_mut(r), v[r], &v));
                }
            }
            let total = within.plus(1.0, &between).symmetric();
            let fisher = Fisher { total: &total, within: &within.symmetric(), between: &between.symmetric() };
            Ok(match fisher.solve(RIDGE, "the scatter of kin") {
                // Directions in which strangers do not differ part nothing.
                Ok(solved) => {
                    let telling = solved.values.iter().take_while(|value| **value > 1e-9).count();
                    rows_of(&solved.vectors.head(telling))
                }
                Err(ClassicError::NoVariance) => Vec::new(),
                Err(error) => return Err(error),
            })
        });
        Ok(found.collect::<Result<Vec<_>, ClassicError>>()?.concat())
    }

    fn descend(
        &self,
        vectors: Vectors<'_>,
        triplets: &Triplets,
        mut directions: Vec<Vec<f64>>,
    ) -> Result<Fitted<Descent>, ClassicError> {
        for direction in &mut directions {
            let length = norm(direction);
            direction.iter_mut().for_each(|x| *x /= length);
        }
        if directions.is_empty() {
            return Err(ClassicError::NoVariance);
        }
        let offset = mean(vectors);
        let basis = Matrix::new(directions.len(), vectors.dim(), directions.concat())?;
        let images = project(vectors, &offset, &basis);
        let problem = Problem { triplets: &triplets.0, width: basis.rows(), images, beta: self.beta };
        let (weights, how) = problem.average(self)?;
        // A metric of no weight is one, though no classifier will have use for it.
        let root = basis.scale_rows(|b| weights[b].sqrt());
        Ok(Fitted { map: LinearMap::of(offset, Mahalanobis::of_factor(&root).factor()?), how })
    }
}

/// A basis as it must be.
fn given(basis: &Matrix, d: usize) -> Result<Vec<Vec<f64>>, ClassicError> {
    let rows = rows_of(basis);
    let ok = basis.columns() == d && rows.iter().all(|row| norm(row).is_normal());
    if ok && !rows.is_empty() {
        return Ok(rows);
    }
    let found = format!("{} x {}", basis.rows(), basis.columns());
    let wanted = format!("at least 1 x {d}, finite, and no row of length 0");
    Err(ClassicError::Shape { what: "the basis", found, wanted })
}

fn rows_of(matrix: &Matrix) -> Vec<Vec<f64>> {
    (0..matrix.rows()).map(|r| matrix.row(r).to_vec()).collect()
}

struct Problem<'a> {
    triplets: &'a [Triplet],
    /// How many directions there are.
    width: usize,
    /// Of each sample along each direction.
    images: Vec<f64>,
    beta: f64,
}

impl Problem<'_> {
    /// What a triplet's hinge grows by with each weight: `(b·(a − k))² − (b·(a − s))²`.
    fn slopes(&self, triplet: &Triplet, out: &mut [f64]) {
        let image = |i: u32| &self.images[i as usize * self.width..][..self.width];
        let (anchor, kin, stranger) = (image(triplet.anchor), image(triplet.kin), image(triplet.stranger));
        for (out, (a, (k, s))) in out.iter_mut().zip(anchor.iter().zip(kin.iter().zip(stranger))) {
            *out = (a - k) * (a - k) - (a - s) * (a - s);
        }
    }

    /// `F`.
    fn objective(&self, weights: &[f64]) -> f64 {
        // Chunks of triplets whose sums are added in order.
        let sums: Vec<f64> = self
            .triplets
            .par_chunks(1024)
            .map_init(
                || vec![0.0; weights.len()],
                |slopes, triplets| {
                    let hinge = |triplet| {
                        self.slopes(triplet, slopes);
                        (1.0 + dot(slopes, weights)).max(0.0)
                    };
                    triplets.iter().map(hinge).sum()
                },
            )
            .collect();
        sums.iter().sum::<f64>() / self.triplets.len() as f64 + self.beta * weights.iter().sum::<f64>()
    }

    /// The mean of the slopes' magnitudes; 1 where all are 0.
    fn size(&self) -> f64 {
        let mut slopes = vec![0.0; self.width];
        let magnitude = |triplet| {
            self.slopes(triplet, &mut slopes);
            slopes.iter().map(|s| s.abs()).sum::<f64>()
        };
        let sum = self.triplets.iter().map(magnitude).sum::<f64>();
        if sum > 0.0 { sum / (self.triplets.len() * self.width) as f64 } else { 1.0 }
    }

    fn average(&self, settings: &Scml) -> Result<(Vec<f64>, Descent), ClassicError> {
        let width = self.width;
        let mut rng = stream(settings.seed);
        let (mut weights, mut sums, mut squares) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
        let (mut slopes, mut gradient) = (vec![0.0; width], vec![0.0; width]);
        let (size, mut means) = (self.size(), vec![0.0; width]);
        let mut best = (weights.clone(), self.objective(&weights));
        let mut done = Descent { objective: best.1, iterations: 0, evaluations: 1, stop: Stop::Iterations };
        while done.iterations < settings.sets {
            gradient.fill(0.0);
            for _ in 0..settings.batch {
                self.slopes(&self.triplets[below(&mut rng, self.triplets.len())], &mut slopes);
                if 1.0 + dot(&slopes, &weights) > 0.0 {
                    add(&mut gradient, 1.0 / settings.batch as f64, &slopes);
                }
            }
            done.iterations += 1;
            let count = done.iterations as f64;
            for (b, g) in gradient.iter().enumerate() {
                sums[b] += g;
                squares[b] += g * g;
                let lowered = (-sums[b] / count - self.beta).max(0.0);
                weights[b] = settings.rate / size * count / (1e-3 * size + squares[b].sqrt()) * lowered;
                means[b] += (weights[b] - means[b]) / count;
            }
            if done.iterations.is_multiple_of(LOOK) || done.iterations == settings.sets {
                for found in [&weights, &means] {
                    let value = self.objective(found);
                    if !value.is_finite() {
                        return Err(ClassicError::Overflow { what: "the objective" });
                    }
                    done.evaluations += 1;
                    if value < best.1 {
                        best = (found.clone(), value);
                    }
                }
                if !settings.observer.goes_on(done.iterations, settings.sets, best.1) {
                    done.stop = Stop::Observer;
                    break;
                }
            }
        }
        done.objective = best.1;
        Ok((best.0, done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algebra::Eigen;
    use crate::random::normals;

    fn triplet(anchor: u32, kin: u32, stranger: u32) -> Triplet {
        Triplet { anchor, kin, stranger }
    }

    #[test]
    fn a_hand_worked_triplet_has_its_hinge_and_its_slopes() {
        // Along two directions: kin differ by (1, 2), strangers by (3, 1).
        let problem = Problem {
            triplets: &[triplet(0, 1, 2)],
            width: 2,
            images: vec![0.0, 0.0, 1.0, 2.0, 3.0, 1.0],
            beta: 0.5,
        };
        let mut slopes = vec![0.0; 2];
        problem.slopes(&problem.triplets[0], &mut slopes);
        assert_eq!(slopes, [-8.0, 3.0]);
        assert_eq!(problem.objective(&[0.0, 1.0]), 4.0 + 0.5);
        assert_eq!(problem.objective(&[1.0, 1.0]), 0.0 + 1.0);
    }

    /// Three classes, told by two of six columns.
    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(43), n * 6);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let shift = |at: usize| match at % 6 {
            1 => f64::from(labels[at / 6]),
            4 => f64::from(labels[at / 6] % 2),
            _ => 0.0,
        };
        ((0..6 * n).map(|at| (noise[at] + 3.0 * shift(at)) as f32).collect(), labels)
    }

    #[test]
    fn the_weights_are_nearly_the_best_there_are() {
        let (table, labels) = table(60);
        let vectors = Vectors::new(&table, 6).unwrap();
        let triplets = Triplets::of_labels(&labels, 300, 1).unwrap();
        let problem = Problem {
            triplets: &triplets.0,
            width: 6,
            images: project(vectors, &mean(vectors), &Matrix::identity(6, 6)),
            beta: 0.05,
        };
        let settings = Scml::new().sets(40_000, 10, 1.0);
        let (weights, done) = problem.average(&settings).unwrap();
        assert!(weights.iter().all(|w| *w >= 0.0) && weights.contains(&0.0), "{weights:?}");
        // Of no weight at all every hinge is 1.
        assert_eq!(problem.objective(&[0.0; 6]), 1.0);
        assert!(done.objective < 0.6 && (done.objective - problem.objective(&weights)).abs() < 1e-12);
        // F is convex: coordinate by coordinate and at random, no step of any size leads down by much.
        for at in 0..200 {
            let way = normals(&mut stream(at), 6);
            for size in [1e-3, 1e-2, 0.1] {
                let moved: Vec<f64> = weights
                    .iter()
                    .enumerate()
                    .map(|(b, w)| match at < 12 {
                        true if b as u64 == at / 2 => (w + if at % 2 == 0 { size } else { -size }).max(0.0),
                        true => *w,
                        false => (w + size * way[b]).max(0.0),
                    })
                    .collect();
                let found = problem.objective(&moved);
                assert!(
                    found > done.objective * (1.0 - 0.005),
                    "{at} {size}: {found} below {}",
                    done.objective
                );
            }
        }
    }

    #[test]
    fn labels_and_triplets_bring_out_the_columns_that_tell() {
        let (table, labels) = table(90);
        let vectors = Vectors::new(&table, 6).unwrap();
        let triplets = Triplets::of_labels(&labels, 1000, 0).unwrap();
        let found =
            [Scml::new().fit_labels(vectors, &labels).unwrap(), Scml::new().fit(vectors, &triplets).unwrap()];
        for fitted in found {
            let telling = fitted.map.telling_columns();
            assert!([1, 4].contains(&telling[0].0) && [1, 4].contains(&telling[1].0), "{telling:?}");
            let eigen = Eigen::new(fitted.map.metric().matrix()).unwrap();
            assert!(eigen.values.iter().all(|value| *value > -1e-9 * eigen.values[0]));
            assert!(fitted.how.objective < 0.5, "{:?}", fitted.how);
        }
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_and_copies_and_few_samples_are_not() {
        let (table, labels) = table(12);
        let vectors = Vectors::new(&table, 6).unwrap();
        let short = || Scml::new().sets(20, 5, 1.0);
        assert!(short().fit_labels(vectors, &labels).is_ok());
        assert!(matches!(
            short().sets(0, 1, 1.0).fit_labels(vectors, &labels),
            Err(ClassicError::Setting { .. })
        ));
        let basis = short().basis(Matrix::zeros(1, 6)).fit_labels(vectors, &labels);
        assert!(matches!(basis, Err(ClassicError::Shape { what: "the basis", .. })));
        assert!(short().directions(0).fit_labels(vectors, &labels).is_err());
        assert!(matches!(short().fit(vectors, &Triplets(vec![])), Err(ClassicError::NoTuples { .. })));
        let lone: Vec<u32> = (0..12).collect();
        assert!(matches!(short().fit_labels(vectors, &lone), Err(ClassicError::NoKin { .. })));
        let same = [1.0; 8];
        let same = Vectors::new(&same, 2).unwrap();
        assert_eq!(short().fit_labels(same, &[0, 0, 1, 1]), Err(ClassicError::NoVariance));
        let triplets = Triplets(vec![triplet(0, 1, 2)]);
        assert_eq!(short().fit(same, &triplets), Err(ClassicError::NoVariance));
        let twice = [table.as_slice(), &table].concat();
        let labels = [labels.as_slice(), &labels].concat();
        assert!(short().fit_labels(Vectors::new(&twice, 6).unwrap(), &labels).is_ok());
    }
}
