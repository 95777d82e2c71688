//! Metric learning for kernel regression.
//!
//! K. Weinberger, G. Tesauro, "Metric Learning for Kernel Regression", 2007. In the space of `z = A x` a sample's number is
//! estimated from the others', and the squared errors are minimised:
//!
//! ```text
//! ŷ_i = Σ_{j≠i} p_ij y_j        p_ij = e^{−‖z_i − z_j‖²} / Σ_{k≠i} e^{−‖z_i − z_k‖²}        L(A) = Σ_i (y_i − ŷ_i)²
//! ```
//!
//! Cost: `6 n² k` an evaluation; more at [`Nca::fit`](crate::Nca::fit).
//!
//! When to use it: near samples are to estimate a number.
//!
//! ```
//! use nearkin_classic::Mlkr;
//! use nearkin_sweep::Vectors;
//!
//! let table = [0.0, 3.0, 0.2, -2.0, 0.1, 1.0, 1.0, 2.5, 1.2, -3.0, 1.1, 0.0];
//! let x = Vectors::new(&table, 2)?;
//! let fitted = Mlkr::new().fit(x, &[0.0, 0.2, 0.1, 1.0, 1.2, 1.1])?;
//! assert_eq!(fitted.map.telling_columns()[0].0, 0);
//! # Ok::<(), nearkin_classic::ClassicError>(())
//! ```

use nearkin_sweep::{Row, RowSprings, Vectors, wide};

use crate::algebra::{Matrix, mean};
use crate::error::ClassicError;
use crate::input::{check, dims};
use crate::lbfgs::{Descent, Lbfgs};
use crate::linear::neighbours::{probabilities, pull};
use crate::linear::start::Start;
use crate::linear::{Fitted, LinearMap};
use crate::observer::Observer;

/// Settings of MLKR.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlkr {
    dims: Option<usize>,
    start: Start,
    descent: Lbfgs,
    observer: Observer,
}

impl Default for Mlkr {
    fn default() -> Self {
        let descent = Lbfgs { iterations: 100, tolerance: 1e-5 };
        Self { dims: None, start: Start::Auto, descent, observer: Observer::default() }
    }
}

impl Mlkr {
    /// To as many dimensions as the samples have, by at most 100 steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// To this many dimensions.
    #[must_use]
    pub fn dims(self, dims: usize) -> Self {
        Self { dims: Some(dims), ..self }
    }

    /// From this map; there is no LDA of numbers.
    #[must_use]
    pub fn start(self, start: Start) -> Self {
        Self { start, ..self }
    }

    /// By these steps.
    #[must_use]
    pub fn descent(self, descent: Lbfgs) -> Self {
        Self { descent, ..self }
    }

    /// Watched, step by step; the objective is the sum of squared errors.
    #[must_use]
    pub fn observer(self, observer: Observer) -> Self {
        Self { observer, ..self }
    }

    /// Finds the map, whose objective is the sum of squared errors. Numbers are taken as they are; with a tolerance, their unit
    /// matters where the sum is below 1.
    ///
    /// Cost and memory: as [`Nca`](crate::Nca::fit) on all samples.
    ///
    /// # Errors
    /// Samples or numbers that are not finite; fewer than two samples; more dimensions than columns; a start from LDA.
    pub fn fit(&self, vectors: Vectors<'_>, numbers: &[f32]) -> Result<Fitted<Descent>, ClassicError> {
        check(vectors, 2, "neighbours are compared")?;
        self.descent.check()?;
        if numbers.len() != vectors.len() {
            let (found, samples) = (numbers.len(), vectors.len());
            return Err(ClassicError::Count { what: "numbers", found, samples });
        }
        if !numbers.iter().all(|y| y.is_finite()) {
            return Err(ClassicError::Overflow { what: "a number to be estimated" });
        }
        let (k, d) = (dims(self.dims, vectors.dim(), "the map is not to add dimensions")?, vectors.dim());
        let offset = mean(vectors);
        let mut entries = self.start.matrix(vectors, None, k)?.data().to_vec();
        let springs = Springs { numbers };
        let descent = self.descent.minimise(&mut entries, &self.observer, |entries| {
            let (loss, gradient) = pull(vectors, &offset, &Matrix::new(k, d, entries.to_vec())?, &springs)?;
            Ok((loss, gradient.data().to_vec()))
        })?;
        Ok(Fitted { map: LinearMap::of(offset, Matrix::new(k, d, entries)?), how: descent })
    }
}

struct Springs<'a> {
    numbers: &'a [f32],
}

impl RowSprings for Springs<'_> {
    type Kept = f64;

    fn pull(&self, row: &Row<'_>, forces: &mut [f32]) -> f64 {
        probabilities(row.scores, row.query, forces);
        // The mean about the sample's own number, so that a large mean of all costs no digits.
        let own = self.numbers[row.query];
        let apart = wide(
            #[inline(always)]
            || estimate_apart(forces, self.numbers, own),
        );
        // ∂L/∂d²_ij = −2 (ŷ_i − y_i) p_ij (y_j − ŷ_i)
        let (factor, estimate) = ((-2.0 * apart) as f32, apart as f32);
        wide(
            #[inline(always)]
            || forces.iter_mut().zip(self.numbers).for_each(|(p, y)| *p *= factor * (y - own - estimate)),
        );
        apart * apart
    }
}

/// `Σ_j p_j (y_j − own)`, in eight sums that run side by side.
#[inline(always)]
fn estimate_apart(chances: &[f32], numbers: &[f32], own: f32) -> f64 {
    let mut sums = [0.0f64; 8];
    for (chances, numbers) in chances.chunks(sums.len()).zip(numbers.chunks(sums.len())) {
        for ((sum, p), y) in sums.iter_mut().zip(chances).zip(numbers) {
            *sum += f64::from(*p) * f64::from(y - own);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normals, stream};

    #[test]
    fn a_hand_worked_line_has_its_squared_errors() {
        // At 0, 1 and 3 with numbers 0, 2, 4: ŷ_0 = (2 e⁻¹ + 4 e⁻⁹)/(e⁻¹ + e⁻⁹), ŷ_1 = 4 e⁻⁴/(e⁻¹ + e⁻⁴), ŷ_2 = 2 e⁻⁴/(e⁻⁴ + e⁻⁹).
        let samples = [0.0, 1.0, 3.0];
        let springs = Springs { numbers: &[0.0, 2.0, 4.0] };
        let (loss, _) =
            pull(Vectors::new(&samples, 1).unwrap(), &[0.0], &Matrix::identity(1, 1), &springs).unwrap();
        let e = |x: f64| (-x).exp();
        let wanted = ((2.0 * e(1.0) + 4.0 * e(9.0)) / (e(1.0) + e(9.0))).powi(2)
            + (2.0 - 4.0 * e(4.0) / (e(1.0) + e(4.0))).powi(2)
            + (4.0 - 2.0 * e(4.0) / (e(4.0) + e(9.0))).powi(2);
        assert!((loss - wanted).abs() < 1e-5, "{loss} for {wanted}");
    }

    /// Numbers that depend on the first of three columns.
    fn table(n: usize) -> (Vec<f32>, Vec<f32>) {
        let noise = normals(&mut stream(13), n * 3);
        let table: Vec<f32> = noise.iter().map(|x| *x as f32).collect();
        let numbers = table.chunks_exact(3).map(|x| (2.0 * x[0]).sin() + 5.0).collect();
        (table, numbers)
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences_in_f64() {
        let (table, numbers) = table(30);
        let vectors = Vectors::new(&table, 3).unwrap();
        let a = normals(&mut stream(5), 6);
        let loss = |a: &[f64]| -> f64 {
            let square = |i: usize, j: usize| -> f64 {
                let along = |r: usize| {
                    (0..3)
                        .map(|c| a[r * 3 + c] * (f64::from(table[i * 3 + c]) - f64::from(table[j * 3 + c])))
                        .sum::<f64>()
                };
                along(0).powi(2) + along(1).powi(2)
            };
            let error = |i: usize| {
                let e = |j: usize| if j == i { 0.0 } else { (-square(i, j)).exp() };
                let estimate =
                    (0..30).map(|j| e(j) * f64::from(numbers[j])).sum::<f64>() / (0..30).map(e).sum::<f64>();
                (f64::from(numbers[i]) - estimate).powi(2)
            };
            (0..30).map(error).sum()
        };
        let springs = Springs { numbers: &numbers };
        let (found, gradient) =
            pull(vectors, &mean(vectors), &Matrix::new(2, 3, a.clone()).unwrap(), &springs).unwrap();
        assert!((found - loss(&a)).abs() < 1e-4);
        for at in 0..6 {
            let moved = |by: f64| {
                let mut a = a.clone();
                a[at] += by;
                loss(&a)
            };
            let wanted = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((gradient.data()[at] - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{at}: {wanted}");
        }
    }

    #[test]
    fn the_column_that_tells_is_found() {
        let (table, numbers) = table(150);
        let fitted = Mlkr::new().fit(Vectors::new(&table, 3).unwrap(), &numbers).unwrap();
        let telling = fitted.map.telling_columns();
        assert!(telling[0].0 == 0 && telling[1].1 < 0.2 * telling[0].1, "{telling:?} {:?}", fitted.how);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let (table, mut numbers) = table(10);
        let vectors = Vectors::new(&table, 3).unwrap();
        assert!(matches!(
            Mlkr::new().start(Start::Lda).fit(vectors, &numbers),
            Err(ClassicError::Start { .. })
        ));
        assert!(matches!(Mlkr::new().fit(vectors, &numbers[1..]), Err(ClassicError::Count { found: 9, .. })));
        numbers[3] = f32::INFINITY;
        assert!(matches!(Mlkr::new().fit(vectors, &numbers), Err(ClassicError::Overflow { .. })));
    }
}
