//! The engine of NCA and MLKR: stochastic neighbours, and the gradient of what they give with respect to a linear map.
//!
//! With `z = A x`, sample `i` picks `j` for neighbour with probability `p_ij = e^{−‖z_i − z_j‖²} / Σ_{k≠i} e^{−‖z_i − z_k‖²}`.

use nearkin_sweep::{Kin, Metric, Relation, RowSprings, Vectors, exp, max, pull_rows, sum, wide};

use crate::algebra::{Matrix, project, pull_back};
use crate::error::ClassicError;

/// The sum of what the springs keep of each row, and its gradient with respect to `A`. Cost: `(6 n² + 4 n d) k` operations for
/// `k` output dimensions; memory: the sweep's bands and about `32 n k` bytes.
pub(crate) fn pull<S: RowSprings<Kept = f64>>(
    vectors: Vectors<'_>,
    offset: &[f64],
    matrix: &Matrix,
    springs: &S,
) -> Result<(f64, Matrix), ClassicError> {
    let z: Vec<f32> = project(vectors, offset, matrix).into_iter().map(|z| z as f32).collect();
    let z = Vectors::new(&z, matrix.rows())?;
    let (gradients, kept) = pull_rows(z, None, Metric::SquaredEuclidean, &Everyone, springs)?;
    let at_z: Vec<f64> = gradients.scaled(1.0).0.into_iter().map(f64::from).collect();
    Ok((kept.iter().sum(), pull_back(&at_z, matrix.rows(), vectors, offset)))
}

/// The springs know themselves who is kin: nothing is written.
struct Everyone;

impl Kin for Everyone {
    fn relate(&self, _query: usize, _first: usize, _out: &mut [Relation]) {}
}

/// The probabilities of row `own`, from squared distances.
pub(crate) fn probabilities(scores: &[f32], own: usize, out: &mut [f32]) {
    wide(
        #[inline(always)]
        || {
            out.iter_mut().zip(scores).for_each(|(p, s)| *p = -s);
            out[own] = f32::NEG_INFINITY;
            let nearest = max(out);
            out.iter_mut().for_each(|p| *p = exp(*p - nearest));
            let share = (1.0 / sum(out)) as f32;
            out.iter_mut().for_each(|p| *p *= share);
        },
    );
}
