//! Hue, saturation and value, each changed alike for all pixels (Dosovitskiy et al. 2014).

use rand::Rng;

use super::config::Hsv;
use super::{rgb, rounded};
use crate::random::{bernoulli, log_uniform, uniform_between};

/// A change of hue, saturation and value, once drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    saturation: Curve,
    value: Curve,
    /// Turns of the circle.
    hue: f32,
}

/// `x ↦ factor · x^power + shift`, kept within 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Curve {
    power: f32,
    factor: f32,
    shift: f32,
}

impl Curve {
    fn draw(hsv: &Hsv, rng: &mut impl Rng) -> Self {
        Self {
            power: log_uniform(rng, hsv.power[0], hsv.power[1]),
            factor: log_uniform(rng, hsv.factor[0], hsv.factor[1]),
            shift: uniform_between(rng, -hsv.shift, hsv.shift),
        }
    }

    fn of(self, x: f32) -> f32 {
        (self.factor * libm::powf(x, self.power) + self.shift).clamp(0.0, 1.0)
    }
}

/// With probability `hsv.probability`.
pub(super) fn draw(hsv: &Hsv, rng: &mut impl Rng) -> Option<Change> {
    bernoulli(rng, hsv.probability).then(|| Change {
        saturation: Curve::draw(hsv, rng),
        value: Curve::draw(hsv, rng),
        hue: uniform_between(rng, -hsv.hue, hsv.hue),
    })
}

/// Changes the planes of a view. Of one channel the value alone changes. A grey pixel stays grey, as no hue is its own.
pub(super) fn apply(planes: &mut [u8], channels: usize, change: &Change) {
    // A pixel's value is one of 256.
    let values: [f32; 256] = std::array::from_fn(|value| change.value.of(value as f32 / 255.0) * 255.0);
    if channels == 1 {
        planes.iter_mut().for_each(|value| *value = rounded(values[usize::from(*value)]));
        return;
    }
    let [red, green, blue] = rgb(planes);
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let pixel = [*r, *g, *b];
        let (highest, lowest) = ((*r).max(*g).max(*b), (*r).min(*g).min(*b));
        let range = f32::from(highest - lowest);
        let value = values[usize::from(highest)];
        if range == 0.0 {
            [*r, *g, *b] = [rounded(value); 3];
            continue;
        }
        let depth = value * change.saturation.of(range / f32::from(highest));
        let sixths = hue(pixel, range) + 6.0 * change.hue;
        [*r, *g, *b] = [5.0, 3.0, 1.0].map(|from| {
            let place = (from + sixths).rem_euclid(6.0);
            rounded(value - depth * place.min(4.0 - place).clamp(0.0, 1.0))
        });
    }
}

/// Of a pixel with colour: sixths of the circle from red over green to blue, −1 to 5.
fn hue([r, g, b]: [u8; 3], range: f32) -> f32 {
    let over = |a: u8, b: u8| (f32::from(a) - f32::from(b)) / range;
    if r >= g && r >= b {
        over(g, b)
    } else if g >= b {
        2.0 + over(b, r)
    } else {
        4.0 + over(r, g)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    const SAME: Curve = Curve { power: 1.0, factor: 1.0, shift: 0.0 };
    const STILL: Change = Change { saturation: SAME, value: SAME, hue: 0.0 };

    fn changed(pixel: [u8; 3], change: &Change) -> [u8; 3] {
        let mut planes = pixel;
        apply(&mut planes, 3, change);
        planes
    }

    #[test]
    fn neutral_numbers_change_no_colour() {
        let values = [0, 1, 2, 77, 128, 200, 254, 255];
        for i in 0..512 {
            let [r, g, b] = [i / 64, i / 8 % 8, i % 8].map(|at| values[at]);
            assert_eq!(changed([r, g, b], &STILL), [r, g, b]);
            // Once around is nowhere.
            assert_eq!(changed([r, g, b], &Change { hue: 1.0, ..STILL }), [r, g, b]);
        }
    }

    #[test]
    fn a_third_of_a_turn_permutes_the_channels() {
        let turned = Change { hue: 1.0 / 3.0, ..STILL };
        assert_eq!(changed([200, 100, 50], &turned), [50, 200, 100]);
        assert_eq!(changed([255, 0, 0], &Change { hue: -1.0 / 3.0, ..STILL }), [0, 0, 255]);
    }

    #[test]
    fn value_and_saturation_follow_their_curves() {
        let value = Curve { power: 2.0, factor: 0.7, shift: 0.1 };
        // (204 / 255)² · 0.7 + 0.1 = 0.548: 139.74; the channels keep their proportions.
        assert_eq!(changed([204, 102, 51], &Change { value, ..STILL }), [140, 70, 35]);
        // Saturation 0.75 becomes 0.5625 · 1.2 − 0.05 = 0.625; the middle stays two thirds of the way down.
        let saturation = Curve { power: 2.0, factor: 1.2, shift: -0.05 };
        assert_eq!(changed([200, 100, 50], &Change { saturation, ..STILL }), [200, 117, 75]);
        let mut grey = [0, 204, 255];
        apply(&mut grey, 1, &Change { value, ..STILL });
        assert_eq!(grey, [26, 140, 204]);
    }

    #[test]
    fn grey_stays_grey_and_nothing_leaves_the_range() {
        let loud = Curve { power: 0.25, factor: 1.4, shift: 0.1 };
        let change = Change { saturation: loud, value: loud, hue: 0.1 };
        for grey in [0, 9, 128, 255] {
            let [r, g, b] = changed([grey; 3], &change);
            assert!(r == g && g == b);
        }
        assert_eq!(changed([255, 254, 254], &change)[0], 255);
        let quiet = Curve { power: 4.0, factor: 0.7, shift: -0.1 };
        assert_eq!(changed([20, 10, 5], &Change { value: quiet, ..change }), [0; 3]);
    }

    #[test]
    fn what_is_drawn_lies_within_the_settings() {
        let hsv = Hsv { power: [0.25, 4.0], factor: [0.7, 1.4], shift: 0.1, hue: 0.1, probability: 0.5 };
        let mut rng = stream(3, 0, 0, 0, Purpose::View);
        let drawn: Vec<Change> = (0..2000).filter_map(|_| draw(&hsv, &mut rng)).collect();
        assert!((900..1100).contains(&drawn.len()));
        let curves = || drawn.iter().flat_map(|change| [change.saturation, change.value]);
        let within = |x: f32, low: f32, high: f32| (low - 1e-4..high + 1e-4).contains(&x);
        assert!(curves().all(|c| within(c.power, 0.25, 4.0) && within(c.factor, 0.7, 1.4)));
        assert!(curves().all(|c| within(c.shift, -0.1, 0.1)));
        assert!(drawn.iter().all(|change| within(change.hue, -0.1, 0.1)));
        assert!(curves().any(|c| c.power < 0.4) && curves().any(|c| c.power > 2.5));
    }
}
