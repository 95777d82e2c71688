//! A part of random area and shape, by the rules of torchvision's `RandomResizedCrop`.

use rand::Rng;

use crate::random::{below, uniform};
use crate::resize::CropBox;

/// The tries that torchvision gives an area and a shape to fit into the image.
const TRIES: usize = 10;

/// Draws area share and log aspect ratio evenly until a box fits; after ten tries, the largest
/// central box whose shape is within `ratio`.
pub(super) fn choose(
    width: usize,
    height: usize,
    scale: [f32; 2],
    ratio: [f32; 2],
    rng: &mut impl Rng,
) -> CropBox {
    let (width, height) = (width as f64, height as f64);
    let [smallest, largest] = scale.map(f64::from);
    let [narrowest, widest] = ratio.map(f64::from);
    let (log_low, log_high) = (narrowest.ln(), widest.ln());
    for _ in 0..TRIES {
        let area = width * height * between(rng, smallest, largest);
        let aspect = between(rng, log_low, log_high).exp();
        let w = (area * aspect).sqrt().round_ties_even();
        let h = (area / aspect).sqrt().round_ties_even();
        if (1.0..=width).contains(&w) && (1.0..=height).contains(&h) {
            return CropBox {
                top: below(rng, (height - h) as usize + 1) as f64,
                left: below(rng, (width - w) as usize + 1) as f64,
                width: w,
                height: h,
            };
        }
    }
    let aspect = width / height;
    let (w, h) = if aspect < narrowest {
        (width, (width / narrowest).round_ties_even())
    } else if aspect > widest {
        ((height * widest).round_ties_even(), height)
    } else {
        (width, height)
    };
    let (w, h) = (w.clamp(1.0, width), h.clamp(1.0, height));
    CropBox { left: ((width - w) / 2.0).floor(), top: ((height - h) / 2.0).floor(), width: w, height: h }
}

fn between(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * f64::from(uniform(rng))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn boxes_lie_inside_and_have_the_wanted_area_and_shape() {
        let mut rng = stream(1, 0, 0, 0, Purpose::View);
        let mut mean_share = 0.0;
        for _ in 0..2000 {
            let part = choose(100, 80, [0.2, 0.6], [0.75, 4.0 / 3.0], &mut rng);
            assert!(part.left >= 0.0 && part.left + part.width <= 100.0);
            assert!(part.top >= 0.0 && part.top + part.height <= 80.0);
            let share = part.width * part.height / 8000.0;
            let aspect = part.width / part.height;
            assert!((0.19..0.61).contains(&share), "{share}");
            assert!((0.72..1.38).contains(&aspect), "{aspect}");
            mean_share += share / 2000.0;
        }
        assert!((mean_share - 0.4).abs() < 0.02, "{mean_share}");
    }

    #[test]
    fn an_image_too_narrow_falls_back_to_its_centre() {
        let mut rng = stream(1, 0, 0, 0, Purpose::View);
        let part = choose(100, 4, [1.0, 1.0], [0.75, 4.0 / 3.0], &mut rng);
        let wanted = CropBox { left: 47.0, top: 0.0, width: 5.0, height: 4.0 };
        assert_eq!(part, wanted);
    }
}
