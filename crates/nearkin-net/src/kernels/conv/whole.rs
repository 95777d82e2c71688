//! Convolutions whose kernel covers the whole image, as a LeNet's last one does: a patch is the image as it lies in memory, and all
//! three passes are one matrix product each.

use rayon::prelude::*;

use super::ConvShape;
use crate::kernels::product::{Matrix, product};

/// Images, or output channels, a task.
const TASK: usize = 32;

pub(super) fn applies(shape: &ConvShape) -> bool {
    shape.kernel == [shape.height, shape.width] && shape.padding == [0, 0]
}

pub(super) fn forward(x: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (outputs, patch) = (shape.out_channels, shape.patch());
    let mut y = vec![0.0; shape.images * outputs];
    y.par_chunks_mut(TASK * outputs).zip(x.par_chunks(TASK * patch)).for_each(|(y, x)| {
        let x = Matrix::row_major(x, x.len() / patch, patch);
        product(y, outputs, x, Matrix::transposed(weight, patch, outputs), false);
    });
    y
}

pub(super) fn data_gradient(dy: &[f32], weight: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (outputs, patch) = (shape.out_channels, shape.patch());
    let mut dx = vec![0.0; shape.images * patch];
    dx.par_chunks_mut(TASK * patch).zip(dy.par_chunks(TASK * outputs)).for_each(|(dx, dy)| {
        let dy = Matrix::row_major(dy, dy.len() / outputs, outputs);
        product(dx, patch, dy, Matrix::row_major(weight, outputs, patch), false);
    });
    dx
}

pub(super) fn weight_gradient(x: &[f32], dy: &[f32], shape: &ConvShape) -> Vec<f32> {
    let (outputs, patch) = (shape.out_channels, shape.patch());
    let mut dw = vec![0.0; outputs * patch];
    dw.par_chunks_mut(TASK * patch).enumerate().for_each(|(task, dw)| {
        let dy = Matrix::columns(&dy[task * TASK..], dw.len() / patch, shape.images, outputs);
        product(dw, patch, dy, Matrix::row_major(x, shape.images, patch), false);
    });
    dw
}
