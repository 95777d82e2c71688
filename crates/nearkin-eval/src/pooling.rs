//! Several embeddings of one thing become one.

use std::collections::HashMap;

use nearkin_sweep::Vectors;
use serde::{Deserialize, Serialize};

use crate::error::{EvalError, Side};
use crate::labeled::check_finite;

/// How embeddings are pooled, dimension by dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// Their largest value.
    Max,
}

/// One embedding a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooled {
    /// The embeddings, row-major, in order of the groups.
    pub vectors: Vec<f32>,
    /// The groups, in order of their first member.
    pub groups: Vec<u64>,
    /// A member of each group: the first. Its label and camera are the group's.
    pub firsts: Vec<usize>,
}

/// Pools the embeddings of each group: views of one sample under test-time augmentation (Hermans et al. 2017 average the embeddings of
/// flips and crops), or the pictures of one identity under one camera, for multi-query re-identification (Zheng et al. 2015,
/// *Scalable Person Re-identification*: mean or max).
///
/// Vectors are taken as they are: under the cosine, give them unit length first, unless longer ones are to count more. Means are
/// summed in f64.
///
/// # Errors
/// No vectors, a value that is not finite, and a number of groups other than of vectors.
pub fn pool(vectors: Vectors<'_>, groups: &[u64], pooling: Pooling) -> Result<Pooled, EvalError> {
    check_finite(vectors, Side::Embeddings)?;
    if groups.len() != vectors.len() {
        return Err(EvalError::Count { what: "groups to pool", found: groups.len(), wanted: vectors.len() });
    }
    let dim = vectors.dim();
    let mut places: HashMap<u64, usize> = HashMap::new();
    let (mut firsts, mut counts, mut sums) = (Vec::new(), Vec::<f64>::new(), Vec::<f64>::new());
    for (i, &group) in groups.iter().enumerate() {
        let row = vectors.row(i).iter().map(|x| f64::from(*x));
        let place = *places.entry(group).or_insert(firsts.len());
        if place == firsts.len() {
            firsts.push(i);
            counts.push(1.0);
            sums.extend(row);
            continue;
        }
        counts[place] += 1.0;
        for (sum, x) in sums[place * dim..][..dim].iter_mut().zip(row) {
            *sum = match pooling {
                Pooling::Mean => *sum + x,
                Pooling::Max => sum.max(x),
            };
        }
    }
    if pooling == Pooling::Mean {
        for (sums, count) in sums.chunks_exact_mut(dim).zip(&counts) {
            sums.iter_mut().for_each(|sum| *sum /= count);
        }
    }
    Ok(Pooled {
        vectors: sums.into_iter().map(|x| x as f32).collect(),
        groups: firsts.iter().map(|&first| groups[first]).collect(),
        firsts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_pooled_in_order_of_their_first_member() {
        let points = [1.0, -4.0, 10.0, 10.0, 3.0, -2.0];
        let of = |pooling| pool(Vectors::new(&points, 2).unwrap(), &[7, 3, 7], pooling).unwrap();
        let mean = of(Pooling::Mean);
        assert_eq!((mean.groups, mean.firsts), (vec![7, 3], vec![0, 1]));
        assert_eq!(mean.vectors, [2.0, -3.0, 10.0, 10.0]);
        assert_eq!(of(Pooling::Max).vectors, [3.0, -2.0, 10.0, 10.0]);
    }

    #[test]
    fn bad_input_is_named() {
        let v = |points: &'static [f32]| Vectors::new(points, 1).unwrap();
        assert!(
            pool(v(&[1.0]), &[1, 2], Pooling::Mean).unwrap_err().to_string().contains("found 2, wanted 1")
        );
        assert!(pool(v(&[f32::NAN]), &[1], Pooling::Max).unwrap_err().to_string().contains("row 0"));
        assert!(matches!(pool(v(&[]), &[], Pooling::Max), Err(EvalError::Empty { .. })));
    }
}
