//! A few eigenpairs of a large symmetric operator.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::algebra::{Eigen, Matrix, add, dot, norm, point};
use crate::error::ClassicError;

/// Restarts before the search for eigenvectors gives up.
const RESTARTS: usize = 2000;
/// A residual is small enough below this part of the largest eigenvalue.
const TOLERANCE: f64 = 1e-10;

/// Eigenpairs, the largest eigenvalue first. Vectors have unit length, and their entry of largest absolute value is positive.
pub(crate) struct Eigenpairs {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// The `wanted` algebraically largest eigenvalues of a symmetric operator on vectors of `n` values, in the space orthogonal to the
/// orthonormal vectors `known`. `operator` writes the image of its first argument into its second.
///
/// Lanczos's method with a block of as many vectors as eigenpairs are wanted, so that no copy of a multiple eigenvalue is
/// missed; with full orthogonalisation; and restarted from its best approximations (K. Wu, H. Simon, "Thick-restart Lanczos
/// method for large symmetric eigenvalue problems", 2000). Memory: a basis of `4 wanted + 40` vectors.
pub(crate) fn largest(
    n: usize,
    wanted: usize,
    known: &[Vec<f64>],
    operator: impl Fn(&[f64], &mut [f64]),
) -> Result<Eigenpairs, ClassicError> {
    let space = n - known.len();
    debug_assert!(wanted <= space);
    let size = (3 * wanted + 40).min(space);
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(size + wanted);
    while basis.len() < wanted {
        let fresh = fresh(n, known, &basis, &mut random);
        basis.push(fresh);
    }
    // Column j: products of the image of basis vector j with the basis.
    let mut columns: Vec<Vec<f64>> = Vec::with_capacity(size);
    let mut image = vec![0.0; n];
    for _ in 0..RESTARTS {
        for j in columns.len()..size {
            operator(&basis[j], &mut image);
            let before = norm(&image);
            let mut column = vec![0.0; size + wanted];
            orthogonalise(&mut image, known, &basis, &mut column);
            let rest = norm(&image);
            if basis.len() < space {
                // The image may lie in the basis already: then the search goes on in a direction of its own.
                if rest > 1e-13 * before {
                    column[basis.len()] = rest;
                    basis.push(image.iter().map(|x| x / rest).collect());
                } else {
                    let fresh = fresh(n, known, &basis, &mut random);
                    basis.push(fresh);
                }
            }
            columns.push(column);
        }
        // What rounding leaves of the upper triangle is not read.
        let small = Eigen::new(&Matrix::from_fn(size, size, |i, j| columns[i.min(j)][i.max(j)]))?;
        let values = &small.values;
        // What the images of the approximations have outside the basis.
        let outside = |i: usize| -> Vec<f64> {
            let part = |q: usize| (0..size).map(|j| columns[j][q] * small.vectors.row(i)[j]).sum();
            (size..size + wanted).map(part).collect()
        };
        let scale = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let found = (0..wanted).all(|i| norm(&outside(i)) <= TOLERANCE * scale);
        let keep = if found { wanted } else { (size / 2).max(wanted) };
        let mut kept: Vec<Vec<f64>> =
            (0..keep).map(|i| combine(&basis[..size], small.vectors.row(i))).collect();
        if found {
            kept.iter_mut().for_each(|v| point(v));
            return Ok(Eigenpairs { values: values[..wanted].to_vec(), vectors: kept });
        }
        columns = (0..keep)
            .map(|i| {
                let mut column = vec![0.0; size + wanted];
                column[i] = values[i];
                column[keep..keep + wanted].copy_from_slice(&outside(i));
                column
            })
            .collect();
        kept.extend(basis.drain(size..));
        basis = kept;
    }
    Err(ClassicError::NotConverged { restarts: RESTARTS })
}

/// A random unit vector orthogonal to all given.
fn fresh(n: usize, known: &[Vec<f64>], basis: &[Vec<f64>], random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut vector: Vec<f64> = (0..n).map(|_| f64::from(random.next_u32() as i32)).collect();
    orthogonalise(&mut vector, known, basis, &mut vec![0.0; basis.len()]);
    let length = norm(&vector);
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

/// Takes from `vector` all that lies along the given ones, and adds what lay along `basis` to `along`.
fn orthogonalise(vector: &mut [f64], known: &[Vec<f64>], basis: &[Vec<f64>], along: &mut [f64]) {
    // Twice is enough (Kahan and Parlett).
    for _ in 0..2 {
        for known in known {
            let part = dot(known, vector);
            add(vector, -part, known);
        }
        for (along, basis) in along.iter_mut().zip(basis) {
            let part = dot(basis, vector);
            add(vector, -part, basis);
            *along += part;
        }
    }
}

/// `Σ_i factor_i vector_i`.
fn combine(vectors: &[Vec<f64>], factors: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors[0].len()];
    for (vector, &factor) in vectors.iter().zip(factors) {
        add(&mut sum, factor, vector);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path's Laplacian has eigenvalues `2 − 2 cos(π i / n)`, a ring's each of its own twice.
    #[test]
    fn eigenvalues_of_a_path_and_both_copies_of_those_of_a_ring() {
        let n = 300;
        for ring in [false, true] {
            let operator = |x: &[f64], y: &mut [f64]| {
                for i in 0..n {
                    let left = if i > 0 || ring { x[i] - x[(i + n - 1) % n] } else { 0.0 };
                    let right = if i + 1 < n || ring { x[i] - x[(i + 1) % n] } else { 0.0 };
                    y[i] = -left - right;
                }
            };
            let constant = vec![(1.0 / n as f64).sqrt(); n];
            let found = largest(n, 4, std::slice::from_ref(&constant), operator).unwrap();
            for (i, (value, vector)) in found.values.iter().zip(&found.vectors).enumerate() {
                let turns = if ring { (i / 2 + 1) * 2 } else { i + 1 } as f64;
                let wanted = 2.0 * (std::f64::consts::PI * turns / n as f64).cos() - 2.0;
                assert!((value - wanted).abs() < 1e-9, "{value} for {wanted}");
                let mut image = vec![0.0; n];
                operator(vector, &mut image);
                assert!(image.iter().zip(vector).all(|(y, x)| (y - value * x).abs() < 1e-8));
                assert!((norm(vector) - 1.0).abs() < 1e-12 && dot(vector, &constant).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn operators_of_low_rank_and_small_ones_are_no_trouble() {
        let (n, a) = (200, 3.0);
        let found = largest(n, 3, &[], |x, y| {
            y.fill(0.0);
            (y[7], y[8]) = (a * x[7], -x[8]);
        })
        .unwrap();
        assert!((found.values[0] - a).abs() < 1e-12 && found.values[1..].iter().all(|x| x.abs() < 1e-12));
        assert!((found.vectors[0][7] - 1.0).abs() < 1e-12);
        let found = largest(2, 2, &[], |x, y| (y[0], y[1]) = (x[1], x[0])).unwrap();
        assert!((found.values[0] - 1.0).abs() < 1e-12 && (found.values[1] + 1.0).abs() < 1e-12);
    }
}
