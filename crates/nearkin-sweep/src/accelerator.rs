//! Products of matrices taken elsewhere: on a GPU.
//!
//! Rows are still what springs turn into forces, and they do that here; what an accelerator takes over is the two products
//! that cost most, panel by panel, so that no matrix of scores is held there either.

use std::fmt::Debug;

use crate::vectors::SweepError;

/// A place that multiplies matrices faster than this processor.
pub trait Accelerator: Debug + Sync {
    /// Takes the two sides over, row-major; `references` is `None` among one set.
    ///
    /// # Errors
    /// What the place says.
    fn load(
        &self,
        queries: &[f32],
        references: Option<&[f32]>,
        dim: usize,
    ) -> Result<Box<dyn Panels>, SweepError>;
}

/// Two sides on an accelerator.
pub trait Panels {
    /// Writes `q_i · r_j` for `count` queries from `first` on and all references, row-major.
    ///
    /// # Errors
    /// What the place says.
    fn scores(&mut self, first: usize, count: usize, out: &mut [f32]) -> Result<(), SweepError>;

    /// Takes in the forces `g_ij` of those queries: `Σ_j g_ij r_j` for each query, `Σ_i g_ij q_i` for each reference.
    ///
    /// # Errors
    /// What the place says.
    fn pull(&mut self, first: usize, count: usize, forces: &[f32]) -> Result<(), SweepError>;

    /// Both sums over all that was taken in.
    ///
    /// # Errors
    /// What the place says.
    fn finish(self: Box<Self>) -> Result<(Vec<f32>, Vec<f32>), SweepError>;
}
