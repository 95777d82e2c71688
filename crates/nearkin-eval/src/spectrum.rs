//! Is the embedding spread over its dimensions, or collapsed?

use nearkin_sweep::Vectors;
use serde::Serialize;

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;
use crate::scatter::Centred;

/// How much of its space an embedding uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spectrum {
    /// `exp(−Σ p_i ln p_i)` with `p_i = σ_i / Σ σ_j` over the singular values of the centred embeddings (Roy
    /// & Vetterli 2007, *The Effective Rank*): between 1 and the rank, `dim` when all directions carry the
    /// same. It is 0 when all embeddings are equal, which the paper leaves undefined. It does not depend on
    /// scale: rounding noise around one point can have a high rank, so read it together with the spread.
    pub effective_rank: f64,
    /// `√dim` times the mean over dimensions of the standard deviation of the L2-normalised embeddings: 1
    /// when they are uniform on the sphere, 0 when they are all the same direction (Chen & He 2021,
    /// *Exploring Simple Siamese Representation Learning*, section 4.1). A zero vector stays zero.
    pub spread: f64,
    /// `σ_i` of the centred embeddings, descending; `min(n, dim)` of them. Not divided by `√n`.
    pub singular_values: Vec<f32>,
}

/// Measures the spectrum and the spread of `vectors`, as they are (not normalised, except for the spread).
///
/// The eigenvalues are those of the smaller of the dim × dim and n × n scatter matrices, in f64, so singular
/// values are exact to about 1e-8 of the largest. Cost: `O(n · dim · min(n, dim) + min(n, dim)³)`; memory
/// `O(min(n, dim)²)`.
///
/// # Errors
/// No vectors, or a value that is not finite (its row is named).
pub fn spectrum(vectors: Vectors<'_>) -> Result<Spectrum, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    let singular: Vec<f64> =
        Centred::new(vectors).principal(false)?.values.iter().map(|value| value.sqrt()).collect();
    Ok(Spectrum {
        effective_rank: effective_rank(&singular),
        spread: spread(vectors),
        singular_values: singular.iter().map(|&value| value as f32).collect(),
    })
}

fn effective_rank(singular: &[f64]) -> f64 {
    let total: f64 = singular.iter().sum();
    if total == 0.0 {
        return 0.0;
    }
    let entropy: f64 =
        singular.iter().map(|value| value / total).filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum();
    entropy.exp()
}

fn spread(vectors: Vectors<'_>) -> f64 {
    let (n, dim) = (vectors.len() as f64, vectors.dim());
    let scales: Vec<f64> = (0..vectors.len())
        .map(|i| {
            let norm = vectors.row(i).iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            if norm > 0.0 { norm.recip() } else { 0.0 }
        })
        .collect();
    let unit_rows = || {
        vectors
            .data()
            .chunks_exact(dim)
            .zip(&scales)
            .map(|(row, scale)| row.iter().map(move |&x| f64::from(x) * scale))
    };
    let mut mean = vec![0.0; dim];
    for row in unit_rows() {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / n);
    }
    let mut variance = vec![0.0; dim];
    for row in unit_rows() {
        variance.iter_mut().zip(&mean).zip(row).for_each(|((v, m), x)| *v += (x - m) * (x - m) / n);
    }
    variance.iter().map(|v| v.sqrt()).sum::<f64>() / (dim as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &[f32], dim: usize) -> Spectrum {
        spectrum(Vectors::new(data, dim).unwrap()).unwrap()
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn a_cross_has_two_equal_directions() {
        let cross = of(&[1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0], 2);
        close(cross.effective_rank, 2.0);
        close(cross.spread, 1.0);
        assert_eq!(cross.singular_values.len(), 2);
        close(f64::from(cross.singular_values[0]), 2f64.sqrt());
        close(f64::from(cross.singular_values[1]), 2f64.sqrt());
    }

    #[test]
    fn known_singular_values_give_the_entropy_by_hand() {
        // Centred already; σ = (3√2, √2), so p = (3/4, 1/4) and the effective rank is exp(0.5623351) =
        // 1.754765.
        let two_to_one = of(&[3.0, 0.0, -3.0, 0.0, 0.0, 1.0, 0.0, -1.0], 2);
        close(f64::from(two_to_one.singular_values[0]), 18f64.sqrt());
        close(two_to_one.effective_rank, 1.754_765_350);
    }

    #[test]
    fn a_line_has_rank_one_in_any_dimension_and_wherever_it_starts() {
        let line: Vec<f32> = (0..5)
            .flat_map(|t| [10.0 + t as f32, 20.0 - 2.0 * t as f32, 5.0, 7.0 + 2.0 * t as f32])
            .collect();
        close(of(&line, 4).effective_rank, 1.0);
        // More dimensions than vectors: the n × n matrix.
        let wide: Vec<f32> =
            [0.0, 1.0, 2.0].iter().flat_map(|&t: &f32| [t, 2.0 * t, 2.0 * t, 0.0, 0.0]).collect();
        let wide = of(&wide, 5);
        assert_eq!(wide.singular_values.len(), 3);
        close(f64::from(wide.singular_values[0]), 3.0 * 2f64.sqrt());
        close(wide.effective_rank, 1.0);
    }

    #[test]
    fn collapsed_embeddings_are_zero_without_nan() {
        let collapsed = of(&[0.6, 0.8].repeat(9), 2);
        assert_eq!(collapsed.effective_rank, 0.0);
        assert!(collapsed.spread < 1e-7);
        let zeros = of(&[0.0; 12], 3);
        assert_eq!((zeros.effective_rank, zeros.spread), (0.0, 0.0));
        assert_eq!(of(&[1.0, 2.0, 3.0], 3).effective_rank, 0.0);
    }

    #[test]
    fn both_scatter_matrices_agree() {
        // Columns of zeros change nothing but the path taken.
        let data: Vec<f32> = (0..40u32).map(|i| ((i * 7919 + 13) % 101) as f32 / 101.0).collect();
        let tall = of(&data, 4);
        let padded: Vec<f32> = data.chunks(4).flat_map(|row| row.iter().copied().chain([0.0; 16])).collect();
        let wide = of(&padded, 20);
        close(tall.effective_rank, wide.effective_rank);
        for (a, b) in tall.singular_values.iter().zip(&wide.singular_values) {
            close(f64::from(*a), f64::from(*b));
        }
    }

    #[test]
    fn a_batch_of_many_columns_matches_the_plain_sum_of_squares() {
        // Σ σ² is the squared Frobenius norm; 130 dimensions cross the owners' boundary, 700 rows the
        // chunks'.
        let (n, dim) = (700u64, 130u64);
        let data: Vec<f32> =
            (0..n * dim).map(|i| ((i * 2_654_435_761 % 1_000_003) as f32 / 500_000.0) - 1.0).collect();
        let found: f64 = of(&data, dim as usize).singular_values.iter().map(|&s| f64::from(s).powi(2)).sum();
        let mut wanted = 0.0;
        for d in 0..dim as usize {
            let column: Vec<f64> = data.iter().skip(d).step_by(dim as usize).map(|&x| f64::from(x)).collect();
            let mean = column.iter().sum::<f64>() / n as f64;
            wanted += column.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        }
        assert!((found / wanted - 1.0).abs() < 1e-6, "{found} is not {wanted}");
    }

    #[test]
    fn a_nan_is_named_by_row_and_dimension() {
        let error = spectrum(Vectors::new(&[0.0, 1.0, 2.0, f32::NAN], 2).unwrap()).unwrap_err();
        assert!(error.to_string().contains("row 1") && error.to_string().contains("dimension 1"), "{error}");
        assert!(matches!(spectrum(Vectors::new(&[], 2).unwrap()), Err(EvalError::Empty { .. })));
    }
}
