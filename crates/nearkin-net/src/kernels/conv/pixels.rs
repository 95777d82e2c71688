//! Images as pixels of 16 channels, and back. Planes are turned, 16 rows at once where registers hold 16 values; of blocks rows are copied.

use std::ops::Range;

use super::{LANES, Lanes, Order};
use crate::kernels::wide;

/// Where the pixels of a grid lie in an image.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Of the image.
    pub order: Order,
    /// Height and width of a plane.
    pub size: (usize, usize),
    /// Which block of channels.
    pub block: usize,
    /// Top and left of the grid's first pixel; it may lie outside of the image, as any other.
    pub corner: (isize, isize),
}

/// A row of a grid and the row of the image that it covers.
struct Row {
    /// Of the grid.
    number: usize,
    /// Its pixels that lie inside of the image; the image's begin at `first` in each plane.
    inside: Range<usize>,
    first: usize,
}

impl Place {
    fn plane(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Where in the image a grid of this size lies as it is, if it does: in blocks, inside, and with no pixels between its rows.
    pub fn whole(self, rows: usize, columns: usize) -> Option<Range<usize>> {
        let top = usize::try_from(self.corner.0).ok()?;
        let lies = self.order == Order::Blocks
            && self.corner.1 == 0
            && columns == self.size.1
            && top + rows <= self.size.0;
        let first = self.before() + top * columns * LANES;
        lies.then(|| first..first + rows * columns * LANES)
    }

    /// Values of the image before the block.
    fn before(&self) -> usize {
        self.block * LANES * self.plane()
    }

    /// Rows of a grid of `rows` × `columns` pixels; those outside of the image have nothing inside.
    #[inline(always)]
    fn rows(self, rows: usize, columns: usize) -> impl Iterator<Item = Row> {
        let ((height, width), (top, left)) = (self.size, self.corner);
        let (skipped, left) = ((-left).max(0) as usize, left.max(0) as usize);
        let end = (skipped + width.saturating_sub(left)).min(columns);
        (0..rows).map(move |number| match usize::try_from(number as isize + top) {
            Ok(row) if row < height && skipped < end => {
                Row { number, inside: skipped..end, first: row * width + left }
            }
            _ => Row { number, inside: 0..0, first: 0 },
        })
    }
}

/// Lays a block of channels of one image out as pixels: `grid` has `columns` a row, and is zero outside of the image and where the image
/// has no more channels.
pub(super) fn gather(image: &[f32], place: Place, columns: usize, grid: &mut [Lanes]) {
    if place.order == Order::Blocks {
        let (image, _) = image[place.before()..].as_chunks();
        for Row { number, inside, first } in place.rows(grid.len() / columns, columns) {
            let pixels = &mut grid[number * columns..][..columns];
            pixels[..inside.start].fill([0.0; LANES]);
            pixels[inside.end..].fill([0.0; LANES]);
            let count = inside.len();
            pixels[inside].copy_from_slice(&image[first..][..count]);
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = *turned::WIDE {
        return simd.vectorize(turned::Gather { simd, image, place, columns, grid });
    }
    let plane = place.plane();
    let image = &image[place.before()..];
    for Row { number, inside, first } in place.rows(grid.len() / columns, columns) {
        let pixels = &mut grid[number * columns..][..columns];
        pixels.fill([0.0; LANES]);
        let pixels = &mut pixels[inside];
        for (lane, plane) in image.chunks_exact(plane).take(LANES).enumerate() {
            for (pixel, value) in pixels.iter_mut().zip(&plane[first..]) {
                pixel[lane] = *value;
            }
        }
    }
}

/// The counterpart of [`gather`]: puts the pixels of a grid where they belong in a block of channels of one image, over what is
/// there or, with `ADD`, on top of it.
pub(super) fn scatter<const ADD: bool>(grid: &[Lanes], columns: usize, image: &mut [f32], place: Place) {
    if place.order == Order::Blocks {
        let (image, _) = image[place.before()..].as_chunks_mut();
        for Row { number, inside, first } in place.rows(grid.len() / columns, columns) {
            let pixels = &grid[number * columns..][inside];
            let there = &mut image[first..][..pixels.len()];
            match ADD {
                true => wide(
                    #[inline(always)]
                    || {
                        let there = there.as_flattened_mut().iter_mut();
                        there.zip(pixels.as_flattened()).for_each(|(there, value)| *there += value);
                    },
                ),
                false => there.copy_from_slice(pixels),
            }
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = *turned::WIDE {
        return simd.vectorize(turned::Scatter::<ADD> { simd, grid, columns, image, place });
    }
    let plane = place.plane();
    let image = &mut image[place.before()..];
    for Row { number, inside, first } in place.rows(grid.len() / columns, columns) {
        let pixels = &grid[number * columns..][inside];
        for (lane, plane) in image.chunks_exact_mut(plane).take(LANES).enumerate() {
            for (value, pixel) in plane[first..].iter_mut().zip(pixels) {
                *value = if ADD { *value + pixel[lane] } else { pixel[lane] };
            }
        }
    }
}

/// The same with AVX-512, 16 × 16 values at a time.
#[cfg(target_arch = "x86_64")]
mod turned {
    use std::sync::LazyLock;

    use pulp::x86::V4;
    use pulp::{NullaryFnOnce, Simd, cast, f32x16};

    use super::{LANES, Lanes, Place, Row};

    pub static WIDE: LazyLock<Option<V4>> = LazyLock::new(V4::try_new);

    pub struct Gather<'a> {
        pub simd: V4,
        pub image: &'a [f32],
        pub place: Place,
        pub columns: usize,
        pub grid: &'a mut [Lanes],
    }

    impl NullaryFnOnce for Gather<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Self { simd, image, place, columns, grid } = self;
            let (plane, image) = (place.plane(), &image[place.before()..]);
            let lanes = (image.len() / plane).min(LANES);
            let zero = simd.splat_f32s(0.0);
            let (grid, _) = V4::as_mut_simd_f32s(grid.as_flattened_mut());
            for Row { number, inside, first } in place.rows(grid.len() / columns, columns) {
                let pixels = &mut grid[number * columns..][..columns];
                pixels[..inside.start].fill(zero);
                pixels[inside.end..].fill(zero);
                for (step, pixels) in pixels[inside].chunks_mut(LANES).enumerate() {
                    let from = first + step * LANES;
                    let mut rows = [zero; LANES];
                    for (lane, row) in rows.iter_mut().enumerate().take(lanes) {
                        *row = sixteen(simd, image, lane * plane + from);
                    }
                    for (pixel, turned) in pixels.iter_mut().zip(transposed(simd, rows)) {
                        *pixel = turned;
                    }
                }
            }
        }
    }

    pub struct Scatter<'a, const ADD: bool> {
        pub simd: V4,
        pub grid: &'a [Lanes],
        pub columns: usize,
        pub image: &'a mut [f32],
        pub place: Place,
    }

    impl<const ADD: bool> NullaryFnOnce for Scatter<'_, ADD> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Self { simd, grid, columns, image, place } = self;
            let (plane, image) = (place.plane(), &mut image[place.before()..]);
            let lanes = (image.len() / plane).min(LANES);
            let zero = simd.splat_f32s(0.0);
            let (grid, _) = V4::as_simd_f32s(grid.as_flattened());
            for Row { number, inside, first } in place.rows(grid.len() / columns, columns) {
                for (step, pixels) in grid[number * columns..][inside].chunks(LANES).enumerate() {
                    let from = first + step * LANES;
                    let mut rows = [zero; LANES];
                    for (row, pixel) in rows.iter_mut().zip(pixels) {
                        *row = *pixel;
                    }
                    for (lane, values) in transposed(simd, rows).into_iter().enumerate().take(lanes) {
                        let at = lane * plane + from;
                        let there = sixteen(simd, image, at);
                        let values = if ADD { simd.add_f32s(there, values) } else { values };
                        // What stands behind the pixels stays, so that whole vectors can be written.
                        let values = simd.select_f32s(
                            simd.mask_between_m32s(0, pixels.len() as u32).mask(),
                            values,
                            there,
                        );
                        match image[at..].first_chunk_mut::<LANES>() {
                            Some(there) => *there = cast(values),
                            None => simd.partial_store_f32s(&mut image[at..], values),
                        }
                    }
                }
            }
        }
    }

    /// Values from a place on, with zeros behind the last. They may be more than are wanted: loads of whole vectors are the fast ones.
    #[inline(always)]
    fn sixteen(simd: V4, values: &[f32], at: usize) -> f32x16 {
        match values[at..].first_chunk::<LANES>() {
            Some(values) => cast(*values),
            None => simd.partial_load_f32s(&values[at..]),
        }
    }

    /// Value `j` of row `i` becomes value `i` of row `j`.
    #[inline(always)]
    fn transposed(simd: V4, rows: [f32x16; LANES]) -> [f32x16; LANES] {
        let ops = simd.avx512f;
        // Quarters of vectors: each then holds four rows' values of the columns `c`, `4 + c`, `8 + c` and `12 + c`.
        let mut quarters = [rows[0]; LANES];
        for four in 0..4 {
            let [a, b, c, d] = [0, 1, 2, 3].map(
                #[inline(always)]
                |row| cast(rows[4 * four + row]),
            );
            let (low, high) = (ops._mm512_unpacklo_ps(a, b), ops._mm512_unpackhi_ps(a, b));
            let (next_low, next_high) = (ops._mm512_unpacklo_ps(c, d), ops._mm512_unpackhi_ps(c, d));
            quarters[4 * four] = cast(ops._mm512_shuffle_ps::<0x44>(low, next_low));
            quarters[4 * four + 1] = cast(ops._mm512_shuffle_ps::<0xEE>(low, next_low));
            quarters[4 * four + 2] = cast(ops._mm512_shuffle_ps::<0x44>(high, next_high));
            quarters[4 * four + 3] = cast(ops._mm512_shuffle_ps::<0xEE>(high, next_high));
        }
        let mut columns = rows;
        for c in 0..4 {
            let [a, b, d, e] = [0, 4, 8, 12].map(
                #[inline(always)]
                |four| cast(quarters[four + c]),
            );
            let (even, next_even) =
                (ops._mm512_shuffle_f32x4::<0x88>(a, b), ops._mm512_shuffle_f32x4::<0x88>(d, e));
            let (odd, next_odd) =
                (ops._mm512_shuffle_f32x4::<0xDD>(a, b), ops._mm512_shuffle_f32x4::<0xDD>(d, e));
            columns[c] = cast(ops._mm512_shuffle_f32x4::<0x88>(even, next_even));
            columns[4 + c] = cast(ops._mm512_shuffle_f32x4::<0x88>(odd, next_odd));
            columns[8 + c] = cast(ops._mm512_shuffle_f32x4::<0xDD>(even, next_even));
            columns[12 + c] = cast(ops._mm512_shuffle_f32x4::<0xDD>(odd, next_odd));
        }
        columns
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn rows_become_columns() {
            let Some(simd) = *WIDE else { return };
            let rows: [Lanes; LANES] = std::array::from_fn(|i| std::array::from_fn(|j| (16 * i + j) as f32));
            let turned = transposed(simd, rows.map(cast)).map(cast::<_, Lanes>);
            for i in 0..LANES {
                for j in 0..LANES {
                    assert_eq!(turned[j][i], rows[i][j]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_come_back_and_what_lies_outside_is_zero() {
        let (height, width, channels) = (5, 37, 20);
        let image: Vec<f32> = (0..channels * height * width).map(|i| i as f32 + 1.0).collect();
        for (block, order) in [(0, Order::Planes), (1, Order::Planes), (0, Order::Blocks)] {
            for corner in [(0, 0), (-1, -1), (2, 3), (-2, 0), (4, 36)] {
                for (rows, columns) in [(7, 40), (3, 9), (1, 1)] {
                    let place = Place { order, size: (height, width), block, corner };
                    let mut grid = vec![[f32::NAN; LANES]; rows * columns];
                    gather(&image, place, columns, &mut grid);
                    for (at, pixel) in grid.iter().enumerate() {
                        let y = (at / columns) as isize + corner.0;
                        let x = (at % columns) as isize + corner.1;
                        let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                        for (lane, value) in pixel.iter().enumerate() {
                            let channel = block * LANES + lane;
                            let wanted = match inside && channel < channels {
                                true => match order {
                                    Order::Planes => {
                                        image[(channel * height + y as usize) * width + x as usize]
                                    }
                                    Order::Blocks => image[(y as usize * width + x as usize) * LANES + lane],
                                },
                                false => 0.0,
                            };
                            assert_eq!(*value, wanted, "{corner:?} {at} {lane}");
                        }
                    }
                    let (mut added, mut put) = (image.clone(), image.clone());
                    scatter::<true>(&grid, columns, &mut added, place);
                    scatter::<false>(&grid, columns, &mut put, place);
                    assert_eq!(put, image);
                    let covered = grid.as_flattened().iter().sum::<f32>();
                    let more = added.iter().zip(&image).map(|(a, b)| a - b).sum::<f32>();
                    assert_eq!(covered, more, "{corner:?}");
                }
            }
        }
    }
}
