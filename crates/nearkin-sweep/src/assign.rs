//! The nearest centre of each vector, and Lloyd's k-means on it.
//!
//! S. Lloyd, "Least Squares Quantization in PCM", 1982. Centres begin with k-means++ (D. Arthur, S. Vassilvitskii, 2007).

use crate::metric::Metric;
use crate::rows::{RowFold, fold_rows};
use crate::vectors::{SweepError, Vectors};

/// A vector's centre, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assigned {
    /// The centre.
    pub centre: usize,
    /// Its squared Euclidean distance.
    pub distance: f32,
}

/// The nearest centre of each vector by squared Euclidean distance; ties go to the lowest index. A vector that is not a
/// number goes to centre 0, at a distance that is none.
///
/// # Errors
/// When vectors and centres differ in dimension, or there is no centre.
pub fn assign(vectors: Vectors<'_>, centres: Vectors<'_>) -> Result<Vec<Assigned>, SweepError> {
    if centres.is_empty() {
        return Err(SweepError::Clusters { wanted: 0, vectors: vectors.len() });
    }
    fold_rows(vectors, centres, Metric::SquaredEuclidean, &Nearest)
}

struct Nearest;

impl RowFold for Nearest {
    type Row = Assigned;

    fn start(&self, _query: usize) -> Assigned {
        Assigned { centre: 0, distance: f32::NAN }
    }

    fn tile(&self, _query: usize, first: usize, scores: &[f32], row: &mut Assigned) {
        for (j, &distance) in scores.iter().enumerate() {
            if distance < row.distance || (row.distance.is_nan() && !distance.is_nan()) {
                *row = Assigned { centre: first + j, distance };
            }
        }
    }
}

/// Centres of `k` clusters, row-major, and which vector belongs to which: Lloyd's iterations from k-means++ centres, until no
/// vector changes its cluster or `most` iterations are done. A cluster that loses all its vectors takes the one that is
/// farthest from its centre. The same seed gives the same bits on any number of threads.
///
/// # Errors
/// When `k` is 0 or above the number of vectors.
pub fn k_means(
    vectors: Vectors<'_>,
    k: usize,
    seed: u64,
    most: usize,
) -> Result<(Vec<f32>, Vec<Assigned>), SweepError> {
    let (n, dim) = (vectors.len(), vectors.dim());
    if k == 0 || k > n {
        return Err(SweepError::Clusters { wanted: k, vectors: n });
    }
    let mut centres = plus_plus(vectors, k, seed)?;
    let mut assigned = assign(vectors, Vectors::new(&centres, dim)?)?;
    for _ in 0..most {
        let mut sums = vec![0.0f64; k * dim];
        let mut counts = vec![0usize; k];
        for (row, of) in vectors.data().chunks_exact(dim).zip(&assigned) {
            counts[of.centre] += 1;
            let sum = &mut sums[of.centre * dim..(of.centre + 1) * dim];
            sum.iter_mut().zip(row).for_each(|(s, x)| *s += f64::from(*x));
        }
        // Farthest first; those taken by one empty cluster are not there for the next.
        let mut lonely: Vec<usize> = (0..n).collect();
        lonely.sort_by(|&a, &b| assigned[b].distance.total_cmp(&assigned[a].distance).then(a.cmp(&b)));
        let mut lonely = lonely.into_iter();
        for (c, count) in counts.iter().enumerate() {
            let centre = &mut centres[c * dim..(c + 1) * dim];
            match (*count, lonely.as_slice()) {
                (0, [_, ..]) => {
                    if let Some(farthest) = lonely.next() {
                        centre.copy_from_slice(vectors.row(farthest));
                    }
                }
                (0, []) => {}
                (count, _) => centre
                    .iter_mut()
                    .zip(&sums[c * dim..])
                    .for_each(|(x, sum)| *x = (sum / count as f64) as f32),
            }
        }
        let again = assign(vectors, Vectors::new(&centres, dim)?)?;
        let settled = again.iter().zip(&assigned).all(|(a, b)| a.centre == b.centre);
        assigned = again;
        if settled {
            break;
        }
    }
    Ok((centres, assigned))
}

/// Each centre is a vector, drawn with a chance proportional to its squared distance from those before.
fn plus_plus(vectors: Vectors<'_>, k: usize, seed: u64) -> Result<Vec<f32>, SweepError> {
    let (n, dim) = (vectors.len(), vectors.dim());
    let first = (uniform(seed, 0) * n as f64) as usize;
    let mut centres = vectors.row(first.min(n - 1)).to_vec();
    let mut nearest = vec![f32::INFINITY; n];
    for draw in 1..k {
        let newest = Vectors::new(&centres[(draw - 1) * dim..], dim)?;
        for (nearest, found) in nearest.iter_mut().zip(assign(vectors, newest)?) {
            *nearest = nearest.min(found.distance);
        }
        let total: f64 = nearest.iter().map(|d| f64::from(*d)).sum();
        let mut left = uniform(seed, draw as u64) * total;
        let drawn = nearest.iter().position(|d| {
            left -= f64::from(*d);
            left < 0.0
        });
        // All vectors lie on centres: any will do.
        centres.extend_from_slice(vectors.row(drawn.unwrap_or(draw % n)));
    }
    Ok(centres)
}

/// A number in [0, 1) that depends on seed and draw alone (SplitMix64; G. Steele et al., 2014).
fn uniform(seed: u64, draw: u64) -> f64 {
    let mut z = seed.wrapping_add(draw.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_clouds_are_three_clusters() {
        let points: Vec<f32> = (0..300)
            .flat_map(|i| [(i % 3) as f32 * 10.0 + uniform(1, i) as f32, uniform(2, i) as f32])
            .collect();
        let v = Vectors::new(&points, 2).unwrap();
        let (centres, assigned) = k_means(v, 3, 7, 50).unwrap();
        assert_eq!(centres.len(), 6);
        for i in 0..300 {
            assert_eq!(assigned[i].centre, assigned[i % 3].centre);
            assert!(assigned[i].distance < 2.0);
        }
        assert!((0..3).all(|c| assigned.iter().any(|a| a.centre == c)));
    }

    #[test]
    fn as_many_clusters_as_vectors_and_copies_of_one_vector_are_no_trouble() {
        let points = [1.0, 2.0, 4.0, 8.0];
        let v = Vectors::new(&points, 1).unwrap();
        assert!(k_means(v, 4, 1, 20).unwrap().1.iter().all(|a| a.distance == 0.0));
        let (centres, _) = k_means(Vectors::new(&[3.0; 5], 1).unwrap(), 3, 1, 20).unwrap();
        assert_eq!(centres, [3.0; 3]);
        assert!(k_means(v, 5, 1, 20).unwrap_err().to_string().contains("5 clusters"));
    }
}
