//! What is random about a view, drawn before a pixel is touched.

use super::affine::Warp;
use super::blur::half_kernel;
use super::color_jitter::Colour;
use super::cutout::Hole;
use super::hsv::Change;
use super::padded_crop::Shift;
use super::pca_contrast::Factors;
use crate::resize::{CropBox, Taps};

/// All that is random about one view of one image: a few numbers, from which the view follows.
///
/// [`Views::apply`](super::Views::apply) makes the view from it here; with [`Draw::taps`] and the other fields it can be
/// made elsewhere, in this order: scale, [`Draw::colours`] on whole numbers of 0 to 255, [`Draw::grey`], normalise,
/// [`Draw::blur`]; unless [`ViewConfig::only_here`](super::ViewConfig::only_here).
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// Columns and rows of the image.
    pub(super) image: [usize; 2],
    /// Columns and rows of the view.
    pub(super) size: usize,
    pub(super) part: CropBox,
    pub(super) shift: Option<Shift>,
    pub(super) mirrored: bool,
    /// Changes of colour, in order.
    pub colours: [Option<Colour>; 4],
    /// Whether the colour is dropped after these.
    pub grey: bool,
    /// The standard deviation of the blur in pixels.
    pub blur: Option<f32>,
    pub(super) warp: Option<Warp>,
    pub(super) posterized: bool,
    pub(super) solarized: bool,
    pub(super) hole: Option<Hole>,
    pub(super) contrast: Option<Factors>,
    pub(super) hsv: Option<Change>,
}

impl Draw {
    /// How the view is cut out of the image, scaled, shifted and mirrored: down the columns, then along the rows.
    #[must_use]
    pub fn taps(&self) -> [Taps; 2] {
        let ([width, height], size, part) = (self.image, self.size, self.part);
        let mut columns = Taps::new(height, part.top, part.height, size);
        let mut rows = Taps::new(width, part.left, part.width, size);
        if let Some(shift) = self.shift {
            columns = columns.rearranged(|y| shift.row(y, size));
            rows = rows.rearranged(|x| shift.column(x, size));
        }
        if self.mirrored {
            rows = rows.rearranged(|x| size - 1 - x);
        }
        [columns, rows]
    }

    /// The weights of the blur at distances 0, 1, … (as many as views of this size always have), along columns and rows
    /// alike, with edges reflected without doubling. Without a blur: 1, then zeros.
    #[must_use]
    pub fn blur_weights(&self) -> Vec<f32> {
        match self.blur {
            Some(sigma) => half_kernel(self.size, sigma),
            None => {
                let mut weights = half_kernel(self.size, 1.0);
                weights.fill(0.0);
                weights[0] = 1.0;
                weights
            }
        }
    }
}
