//! Neighbourhood components analysis.
//!
//! J. Goldberger, S. Roweis, G. Hinton, R. Salakhutdinov, "Neighbourhood Components Analysis", 2004. With stochastic neighbours
//! in the space of `z = A x`, the first of the paper's objectives: how many samples pick a neighbour of their own class,
//!
//! ```text
//! f(A) = Σ_i Σ_{j: c_j = c_i} p_ij        p_ij = e^{−‖z_i − z_j‖²} / Σ_{k≠i} e^{−‖z_i − z_k‖²}
//! ```
//!
//! A is any k × d matrix; its scale is learned too, and with it how many neighbours count. `n − f` is minimised: the expected
//! number of errors, which keeps its digits when there are few.
//!
//! Cost: `6 n² k` an evaluation; more at [`Nca::fit`].
//!
//! When to use it: nearest neighbours are to classify, or a picture in two dimensions is wanted.
//!
//! ```
//! use nearkin_classic::Nca;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let fitted = Nca::new().dims(1).fit(x, &[0, 0, 0, 1, 1, 1])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use std::ops::Range;

use nearkin_sweep::{Row, RowSprings, Vectors, sum, wide};

use crate::algebra::{Matrix, mean};
use crate::error::ClassicError;
use crate::input::{Classes, above_zero, check, dims, gather, setting};
use crate::lbfgs::{Descent, Lbfgs, Stop};
use crate::linear::neighbours::{probabilities, pull};
use crate::linear::start::Start;
use crate::linear::{Fitted, LinearMap};
use crate::observer::Observer;
use crate::random::{shuffle, stream};

/// Settings of NCA.
#[derive(Debug, Clone, PartialEq)]
pub struct Nca {
    dims: Option<usize>,
    start: Start,
    descent: Lbfgs,
    stochastic: Option<Stochastic>,
    observer: Observer,
}

/// Descent on small random sets of samples instead of all: for many samples. A set's own neighbours stand for all, so it
/// should hold several of each class. Steps are Adam's (D. Kingma, J. Ba, "Adam", 2015).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stochastic {
    /// Passes over the samples.
    pub epochs: usize,
    /// Samples a set.
    pub batch: usize,
    /// The length of a step for each entry of the map, as a part of the root mean square of the map's entries at the start; it
    /// falls linearly to 0.
    pub rate: f64,
    /// Of the order of samples.
    pub seed: u64,
}

impl Default for Stochastic {
    fn default() -> Self {
        Self { epochs: 10, batch: 1024, rate: 0.02, seed: 0 }
    }
}

impl Default for Nca {
    fn default() -> Self {
        let descent = Lbfgs { iterations: 100, tolerance: 1e-5 };
        Self { dims: None, start: Start::Auto, descent, stochastic: None, observer: Observer::default() }
    }
}

impl Nca {
    /// To as many dimensions as the samples have, by at most 100 steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this many dimensions, 2 for a picture.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// From this map.
    #[must_use]
    pub fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// By these steps of L-BFGS on all samples.
    #[must_use]
    pub fn descent(self, descent: Lbfgs) -> Self {
        Self { descent, stochastic: None, ..self }
    }

    /// By small random sets.
    #[must_use]
    pub fn stochastic(self, stochastic: Stochastic) -> Self {
        Self { stochastic: Some(stochastic), ..self }
    }

    /// Watched: L-BFGS step by step, random sets epoch by epoch; the objective is the expected number of errors.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// Finds the map, whose objective is the expected number of errors among the samples. A lone sample of its class only
    /// counts as others' neighbour.
    ///
    /// Cost: an evaluation takes `6 n² k + 4 n d k` operations and `n²` exponentials; an epoch of sets of `b`, `n / b` times an
    /// evaluation of `b`. Memory: a copy of the samples, about `32 n k` bytes, and bands of about 16 MiB.
    ///
    /// # Errors
    /// Values that are not finite; fewer than two classes; no class of two; more dimensions than columns; settings out of range.
    pub fn fit(&self, vectors: Vectors<'_>, labels: &[u32]) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "neighbours are compared")?;
        self.descent.check()?;
        let classes = Classes::new(vectors.len(), labels)?;
        classes.check_kin("class")?;
        let k = dims(self.dims, vectors.dim(), "the map is not to add dimensions")?;
        let offset = mean(vectors);
        let mut matrix = self.start.matrix(vectors, Some((labels, &classes)), k)?;
        // Class after class, the kin of a sample are one stretch of its row.
        let sorted = gather(vectors, &classes.order());
        let sorted = Sorted::new(Vectors::new(&sorted, vectors.dim())?, classes.members.iter().map(Vec::len));
        let descent = match self.stochastic {
            None => sorted.descend(&self.descent, &self.observer, &offset, &mut matrix)?,
            Some(stochastic) => sorted.wander(&stochastic, &self.observer, &offset, &mut matrix)?,
        };
        Ok(Fitted { map: LinearMap::of(offset, matrix), how: descent })
    }
}

/// Samples, class after class.
struct Sorted<'a> {
    samples: Vectors<'a>,
    /// Of each sample: where its class stands.
    own: Vec<Range<usize>>,
}

impl<'a> Sorted<'a> {
    fn new(samples: Vectors<'a>, counts: impl Iterator<Item = usize>) -> Self {
        let mut own = Vec::with_capacity(samples.len());
        for count in counts {
            let first = own.len();
            own.resize(first + count, first..first + count);
        }
        Self { samples, own }
    }

    /// The expected number of errors, and its gradient.
    fn pull(&self, offset: &[f64], matrix: &Matrix) -> Result<(f64, Matrix), ClassicError> {
        pull(self.samples, offset, matrix, &Springs { own: &self.own })
    }

    fn descend(
        &self,
        descent: &Lbfgs,
        observer: &Observer,
        offset: &[f64],
        matrix: &mut Matrix,
    ) -> Result<Descent, ClassicError> {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let mut entries = matrix.data().to_vec();
        let found = descent.minimise(&mut entries, observer, |entries| {
            let (errors, gradient) = self.pull(offset, &Matrix::new(rows, columns, entries.to_vec())?)?;
            Ok((errors, gradient.data().to_vec()))
        })?;
        *matrix = Matrix::new(rows, columns, entries)?;
        Ok(found)
    }

    fn wander(
        &self,
        settings: &Stochastic,
        observer: &Observer,
        offset: &[f64],
        matrix: &mut Matrix,
    ) -> Result<Descent, ClassicError> {
        let (n, d) = (self.samples.len(), self.samples.dim());
        setting("epochs", settings.epochs as f64, settings.epochs > 0, "1 or more")?;
        setting("batch", settings.batch as f64, settings.batch > 1, "2 or more")?;
        above_zero("rate", settings.rate)?;
        let mut rng = stream(settings.seed);
        let mut order: Vec<usize> = (0..n).collect();
        // A sample alone has no neighbours: no set is of one.
        let sets = n.div_ceil(settings.batch).min(n / 2);
        let size = matrix.data().iter().map(|a| a * a).sum::<f64>() / matrix.data().len() as f64;
        let mut adam = Adam::new(settings.rate * size.sqrt(), settings.epochs * sets, matrix.data().len());
        let (mut errors, mut steps, mut stop) = (0.0, 0, Stop::Iterations);
        for epoch in 1..=settings.epochs {
            shuffle(&mut rng, &mut order);
            errors = 0.0;
            // Sets of as equal a size as can be.
            for set in 0..sets {
                let mut rows = order[set * n / sets..(set + 1) * n / sets].to_vec();
                rows.sort_unstable();
                let samples = gather(self.samples, &rows);
                let counts = rows.chunk_by(|&a, &b| self.own[a] == self.own[b]).map(<[usize]>::len);
                let (of_set, gradient) =
                    Sorted::new(Vectors::new(&samples, d)?, counts).pull(offset, matrix)?;
                if !of_set.is_finite() || !gradient.data().iter().all(|g| g.is_finite()) {
                    return Err(ClassicError::Overflow { what: "the objective of a set" });
                }
                errors += of_set;
                adam.step(matrix.data_mut(), gradient.data());
            }
            steps += sets;
            if !observer.goes_on(epoch, settings.epochs, errors) {
                stop = Stop::Observer;
                break;
            }
        }
        Ok(Descent { objective: errors, iterations: steps, evaluations: steps, stop })
    }
}

/// Steps whose length falls linearly to 0.
struct Adam {
    rate: f64,
    steps: usize,
    done: usize,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    const DECAY: [f64; 2] = [0.9, 0.999];

    fn new(rate: f64, steps: usize, entries: usize) -> Self {
        Self { rate, steps, done: 0, first: vec![0.0; entries], second: vec![0.0; entries] }
    }

    fn step(&mut self, entries: &mut [f64], gradient: &[f64]) {
        let [b1, b2] = Self::DECAY;
        let rate = self.rate * (1.0 - self.done as f64 / self.steps as f64);
        self.done += 1;
        let bias = Self::DECAY.map(|b| 1.0 - b.powi(self.done as i32));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((entry, g), (m, v)) in entries.iter_mut().zip(gradient).zip(moments) {
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *entry -= rate * (*m / bias[0]) / ((*v / bias[1]).sqrt() + f64::MIN_POSITIVE);
        }
    }
}

struct Springs<'a> {
    own: &'a [Range<usize>],
}

impl RowSprings for Springs<'_> {
    type Kept = f64;

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> f64 {
        let own = &self.own[row.query];
        probabilities(row.scores, row.query, forces);
        let (before, rest) = forces.split_at_mut(own.start);
        let (kin, after) = rest.split_at_mut(own.len());
        wide(
            #[inline(always)]
            || {
                // ∂(1 − p_i)/∂d²_ij = p_ij ([c_j = c_i] − p_i); each of the two sums keeps its digits where it is small.
                let (right, wrong) = (sum(kin), sum(before) + sum(after));
                let (pull, push) = (wrong as f32, -right as f32);
                kin.iter_mut().for_each(|p| *p *= pull);
                before.iter_mut().for_each(|p| *p *= push);
                after.iter_mut().for_each(|p| *p *= push);
                wrong
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normals;

    #[test]
    fn a_hand_worked_line_has_its_expected_errors() {
        // At 0, 1, 2 with the first two kin: p_01 = e⁻¹ / (e⁻¹ + e⁻⁴), p_10 = 1/2, and the third has no kin.
        let samples = [0.0, 1.0, 2.0];
        let sorted = Sorted::new(Vectors::new(&samples, 1).unwrap(), [2, 1].into_iter());
        let (errors, _) = sorted.pull(&[0.0], &Matrix::identity(1, 1)).unwrap();
        let wanted = 1.0 - 1.0 / (1.0 + (-3f64).exp()) + 0.5 + 1.0;
        assert!((errors - wanted).abs() < 1e-6, "{errors} for {wanted}");
    }

    /// Three classes in four dimensions, of which the first two tell.
    fn table(n: usize) -> (Vec<f32>, Vec<u32>) {
        let noise = normals(&mut stream(11), n * 4);
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let table = noise.chunks_exact(4).enumerate().flat_map(|(i, x)| {
            let [a, b] = [[0.0, 0.0], [2.5, 0.0], [0.0, 2.5]][i % 3];
            [(0.6 * x[0] + a) as f32, (0.6 * x[1] + b) as f32, 3.0 * x[2] as f32, 3.0 * x[3] as f32]
        });
        (table.collect(), labels)
    }

    /// The objective in f64, pair by pair.
    fn errors(samples: Vectors<'_>, own: &[Range<usize>], a: &[f64], k: usize) -> f64 {
        let (n, d) = (samples.len(), samples.dim());
        let square = |i: usize, j: usize| -> f64 {
            (0..k)
                .map(|r| {
                    let along = (0..d).map(|c| {
                        a[r * d + c] * (f64::from(samples.row(i)[c]) - f64::from(samples.row(j)[c]))
                    });
                    along.sum::<f64>().powi(2)
                })
                .sum()
        };
        (0..n)
            .map(|i| {
                let e = |j: usize| if j == i { 0.0 } else { (-square(i, j)).exp() };
                1.0 - own[i].clone().map(e).sum::<f64>() / (0..n).map(e).sum::<f64>()
            })
            .sum()
    }

    #[test]
    fn value_and_gradient_agree_with_the_sum_over_pairs_in_f64() {
        let (table, labels) = table(40);
        let vectors = Vectors::new(&table, 4).unwrap();
        let classes = Classes::new(40, &labels).unwrap();
        let samples = gather(vectors, &classes.order());
        let sorted = Sorted::new(Vectors::new(&samples, 4).unwrap(), classes.members.iter().map(Vec::len));
        let a: Vec<f64> = normals(&mut stream(3), 8).iter().map(|x| 0.3 * x).collect();
        let (found, gradient) = sorted.pull(&mean(vectors), &Matrix::new(2, 4, a.clone()).unwrap()).unwrap();
        assert!((found - errors(sorted.samples, &sorted.own, &a, 2)).abs() < 1e-5);
        for at in 0..8 {
            let moved = |by: f64| {
                let mut a = a.clone();
                a[at] += by;
                errors(sorted.samples, &sorted.own, &a, 2)
            };
            let wanted = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((gradient.data()[at] - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{at}: {wanted}");
        }
    }

    #[test]
    fn the_telling_columns_are_found_by_all_samples_and_by_sets() {
        let (table, labels) = table(240);
        let vectors = Vectors::new(&table, 4).unwrap();
        for nca in
            [Nca::new(), Nca::new().stochastic(Stochastic { epochs: 40, batch: 80, rate: 0.05, seed: 1 })]
        {
            let fitted = nca.dims(2).start(Start::Identity).fit(vectors, &labels).unwrap();
            assert!(fitted.how.objective < 20.0, "{:?}", fitted.how);
            let telling = fitted.map.telling_columns();
            assert!(telling[2].1 < 0.5 * telling[1].1 && telling[0].0 < 2 && telling[1].0 < 2, "{telling:?}");
        }
    }

    #[test]
    fn no_set_is_of_one_sample() {
        // Five samples in sets of two: a set of two and one of three.
        let samples = [0.0, 0.1, 0.2, 1.0, 1.1];
        let pairs = Stochastic { epochs: 3, batch: 2, ..Stochastic::default() };
        let fitted = Nca::new().stochastic(pairs).fit(Vectors::new(&samples, 1).unwrap(), &[0, 0, 0, 1, 1]);
        assert_eq!(fitted.unwrap().how.iterations, 3 * 2);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_and_duplicates_are_not() {
        let (table, labels) = table(12);
        let vectors = Vectors::new(&table, 4).unwrap();
        assert!(matches!(Nca::new().dims(5).fit(vectors, &labels), Err(ClassicError::Dims { most: 4, .. })));
        assert!(matches!(Nca::new().fit(vectors, &[1; 12]), Err(ClassicError::OneClass { .. })));
        let lone: Vec<u32> = (0..12).collect();
        assert!(matches!(Nca::new().fit(vectors, &lone), Err(ClassicError::NoKin { what: "class" })));
        let still = Lbfgs { iterations: 0, tolerance: 0.0 };
        assert!(matches!(Nca::new().descent(still).fit(vectors, &labels), Err(ClassicError::Setting { .. })));
        let same = [1.0; 8];
        let fitted = Nca::new().fit(Vectors::new(&same, 2).unwrap(), &[0, 0, 1, 1]).unwrap();
        assert_eq!(fitted.how.stop, Stop::Gradient);
    }
}
