//! Images as grids of patches, and which patches of an image are seen.

use burn::prelude::*;
use burn::tensor::{DType, TensorData};

use crate::error::ConfigError;

/// Some patches of each image of a batch, as many of each: those that a masked autoencoder keeps, or a block that I-JEPA
/// predicts.
///
/// Patches of an image are numbered row after row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patches {
    grid: [usize; 2],
    each: usize,
    numbers: Vec<usize>,
}

impl Patches {
    /// `of_each` holds the numbers of one image after the other, in any order; `grid` is the rows and columns of patches.
    ///
    /// # Errors
    ///
    /// If there is no image, an image has no patch or another number of them than the first, or a patch is outside the grid or
    /// there twice.
    pub fn new(of_each: &[Vec<usize>], grid: [usize; 2]) -> Result<Self, ConfigError> {
        let count = grid[0] * grid[1];
        let each = of_each.first().map_or(0, Vec::len);
        let wrong =
            |found: String, wanted: String| ConfigError { field: "patches".to_owned(), found, wanted };
        if each == 0 {
            return Err(wrong("empty".to_owned(), "give at least one patch of each image".to_owned()));
        }
        for numbers in of_each {
            if numbers.len() != each {
                return Err(wrong(
                    format!("{} of an image", numbers.len()),
                    format!("give {each}, as of the first"),
                ));
            }
            let mut seen = vec![false; count];
            for number in numbers {
                if seen.get(*number).is_none_or(|seen| *seen) {
                    return Err(wrong(
                        format!("{numbers:?}"),
                        format!("give different numbers below {count}"),
                    ));
                }
                seen[*number] = true;
            }
        }
        Ok(Self { grid, each, numbers: of_each.concat() })
    }

    /// Images of the batch.
    pub fn images(&self) -> usize {
        self.numbers.len() / self.each
    }

    /// Patches of each image.
    pub fn each(&self) -> usize {
        self.each
    }

    /// Rows and columns of patches of an image.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// Numbers of the patches of one image after the other.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The values of these patches among those of all.
    ///
    /// # Shapes
    ///
    /// - `all`: `[n, patches, d]`
    /// - output: `[n, each, d]`
    ///
    /// # Panics
    ///
    /// If `all` has other images or patches.
    pub fn pick(&self, all: Tensor<3>) -> Tensor<3> {
        let [n, patches, width] = all.dims();
        assert_eq!((n, patches), (self.images(), self.grid[0] * self.grid[1]), "images and their patches");
        let rows = self.numbers.iter().enumerate().map(|(at, number)| at / self.each * patches + number);
        let rows = indices(rows, &all.device());
        all.reshape([n * patches, width]).select(0, rows).reshape([n, self.each, width])
    }
}

/// Numbers of rows as a tensor.
pub(crate) fn indices(rows: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i64> = rows.map(|row| row as i64).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}

/// Cuts images into patches of `side` × `side` pixels.
///
/// # Shapes
///
/// - `images`: `[n, c, h, w]`
/// - output: `[n, (h / side) · (w / side), c · side²]`: patches row after row, values as `[c, side, side]`
///
/// # Panics
///
/// If `side` does not divide the images' sides.
pub fn patchify(images: Tensor<4>, side: usize) -> Tensor<3> {
    let [n, c, h, w] = images.dims();
    assert!(h.is_multiple_of(side) && w.is_multiple_of(side), "{h} x {w} pixels in patches of {side}");
    let [rows, columns] = [h / side, w / side];
    images.reshape([n, c, rows, side, columns, side]).permute([0, 2, 4, 1, 3, 5]).reshape([
        n,
        rows * columns,
        c * side * side,
    ])
}

/// Joins patches to images: the inverse of [`patchify`].
///
/// # Shapes
///
/// - `patches`: `[n, rows · columns, c · side²]`
/// - output: `[n, c, rows · side, columns · side]`
///
/// # Panics
///
/// If the shapes do not fit.
pub fn unpatchify(patches: Tensor<3>, side: usize, grid: [usize; 2]) -> Tensor<4> {
    let ([n, count, values], [rows, columns]) = (patches.dims(), grid);
    let channels = values / (side * side);
    assert_eq!((count, values), (rows * columns, channels * side * side), "patches of {side} in {grid:?}");
    patches.reshape([n, rows, columns, channels, side, side]).permute([0, 3, 1, 4, 2, 5]).reshape([
        n,
        channels,
        rows * side,
        columns * side,
    ])
}

/// Sines and cosines of positions along a line: `sin(p · ωᵢ)`, then `cos(p · ωᵢ)`, with `ωᵢ = 10000^(−2i / width)`.
///
/// Vaswani et al., "Attention is all you need", 2017.
pub(crate) fn line_position(position: usize, width: usize) -> impl Iterator<Item = f32> {
    let half = width / 2;
    (0..width).map(move |i| {
        let angle = position as f64 * line_frequency(i % half, half);
        (if i < half { angle.sin() } else { angle.cos() }) as f32
    })
}

/// `ωᵢ` of [`line_position`], for a width of twice `half`.
pub(crate) fn line_frequency(i: usize, half: usize) -> f64 {
    10_000f64.powf(-(i as f64) / half as f64)
}

/// Positions of a grid's patches, row after row: half the width for the column, half for the row.
///
/// Chen, Xie and He, "An empirical study of training self-supervised vision transformers", 2021, as masked autoencoders have
/// it. `width` is a multiple of 4. They are in the precision of what they are added to.
///
/// # Shapes
///
/// - output: `[rows · columns, width]`
pub(crate) fn grid_positions(grid: [usize; 2], width: usize, kind: (&Device, DType)) -> Tensor<2> {
    let [rows, columns] = grid;
    Tensor::from_data(TensorData::new(grid_values(grid, width), [rows * columns, width]), kind)
}

/// The values of [`grid_positions`], row-major.
pub(crate) fn grid_values([rows, columns]: [usize; 2], width: usize) -> Vec<f32> {
    let place =
        |at: usize| line_position(at % columns, width / 2).chain(line_position(at / columns, width / 2));
    (0..rows * columns).flat_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::values;

    fn images() -> Tensor<4> {
        let pixels: Vec<f32> = (0..2 * 2 * 4 * 6).map(|v| v as f32).collect();
        Tensor::from_data(TensorData::new(pixels, [2, 2, 4, 6]), &Device::flex())
    }

    #[test]
    fn patches_are_numbered_row_after_row_and_join_to_the_image() {
        let patches = patchify(images(), 2);
        assert_eq!(patches.dims(), [2, 6, 8]);
        // Patch 4 of image 0: rows 2 and 3, columns 2 and 3, of both channels.
        let fourth = values(patches.clone().narrow(0, 0, 1).narrow(1, 4, 1));
        assert_eq!(fourth, [14.0, 15.0, 20.0, 21.0, 38.0, 39.0, 44.0, 45.0]);
        assert_eq!(values(unpatchify(patches, 2, [2, 3])), values(images()));
    }

    #[test]
    fn picked_patches_are_those_that_were_named() {
        let kept = Patches::new(&[vec![5, 0], vec![2, 3]], [2, 3]).unwrap();
        assert_eq!((kept.images(), kept.each(), kept.grid()), (2, 2, [2, 3]));
        let all = patchify(images(), 2);
        let picked = kept.pick(all.clone());
        for (at, (image, patch)) in [(0, 5), (0, 0), (1, 2), (1, 3)].into_iter().enumerate() {
            let wanted = values(all.clone().narrow(0, image, 1).narrow(1, patch, 1));
            assert_eq!(values(picked.clone())[8 * at..][..8], wanted);
        }
    }

    #[test]
    fn patches_that_do_not_fit_are_refused() {
        let refused = |of_each: &[Vec<usize>]| Patches::new(of_each, [2, 3]).unwrap_err().to_string();
        assert!(refused(&[]).contains("at least one patch"));
        assert!(refused(&[vec![]]).contains("at least one patch"));
        assert_eq!(refused(&[vec![0, 1], vec![2]]), "patches is 1 of an image; give 2, as of the first");
        assert_eq!(refused(&[vec![0, 6]]), "patches is [0, 6]; give different numbers below 6");
        assert_eq!(refused(&[vec![1, 1]]), "patches is [1, 1]; give different numbers below 6");
    }

    #[test]
    fn positions_are_sines_and_cosines_of_column_and_row() {
        let found = values(grid_positions([2, 3], 8, (&Device::flex(), DType::F32)).narrow(0, 5, 1));
        let angles = [2.0f64, 0.02, 1.0, 0.01];
        let wanted = [
            angles[0].sin(),
            angles[1].sin(),
            angles[0].cos(),
            angles[1].cos(),
            angles[2].sin(),
            angles[3].sin(),
            angles[2].cos(),
            angles[3].cos(),
        ];
        crate::kernels::testing::assert_close(&found, &wanted, 1e-7, "positions");
    }
}
