//! Smooth random curves, by which time and magnitude are warped (Um et al. 2017).

use rand::Rng;

use super::crop::between;
use crate::random::normal;
use crate::signal::Signal;

/// Knots between which a curve is smooth, the ends among them; the paper has four within.
const KNOTS: usize = 6;
/// The slowest that time may go: it never stands still or turns back.
const SLOWEST: f32 = 0.1;

/// A curve around 1: values at the knots from a normal distribution, cubic (Catmull–Rom) between them.
fn curve(length: usize, std: f32, rng: &mut impl Rng) -> Vec<f32> {
    let knots: [f32; KNOTS] = std::array::from_fn(|_| 1.0 + std * normal(rng));
    let knot = |at: isize| knots[at.clamp(0, KNOTS as isize - 1) as usize];
    let value = |i: usize| {
        let place = i as f32 * (KNOTS - 1) as f32 / (length - 1).max(1) as f32;
        let at = (place as isize).min(KNOTS as isize - 2);
        let t = place - at as f32;
        let [a, b, c, d] = [knot(at - 1), knot(at), knot(at + 1), knot(at + 2)];
        b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
    };
    (0..length).map(value).collect()
}

/// Lets time go faster and slower along the signal, from its first step to its last.
pub(super) fn warp_time(signal: &Signal, std: f32, rng: &mut impl Rng) -> Signal {
    let length = signal.steps();
    let mut place = 0.0;
    let places: Vec<f32> = curve(length, std, rng)
        .into_iter()
        .enumerate()
        .map(|(i, speed)| {
            if i > 0 {
                place += speed.max(SLOWEST);
            }
            place
        })
        .collect();
    let scale = if place > 0.0 { (length - 1) as f32 / place } else { 0.0 };
    let values =
        signal.each_channel().flat_map(|c| places.iter().map(move |place| between(c, place * scale)));
    Signal { values: values.collect(), ..*signal }
}

/// Multiplies each channel by a curve of its own.
pub(super) fn warp_magnitude(signal: &mut Signal, std: f32, rng: &mut impl Rng) {
    let length = signal.steps();
    for channel in signal.values.chunks_exact_mut(length) {
        channel.iter_mut().zip(curve(length, std, rng)).for_each(|(x, factor)| *x *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn warped_time_goes_forward_from_end_to_end_and_all_channels_share_it() {
        let ramp: Vec<f32> = (0..50).map(|i| i as f32).collect();
        let signal = Signal::new(2, None, [ramp.clone(), ramp].concat()).unwrap();
        let warped = warp_time(&signal, 0.5, &mut stream(1, 0, 0, 0, Purpose::View));
        let [first, second] = [&warped.values[..50], &warped.values[50..]];
        assert_eq!(first, second);
        assert!(first[0] == 0.0 && (first[49] - 49.0).abs() < 1e-3);
        assert!(first.windows(2).all(|w| w[1] > w[0]));
        assert!(first.iter().enumerate().any(|(i, x)| (x - i as f32).abs() > 1.0), "time has moved");
    }

    #[test]
    fn a_curve_goes_through_its_knots_and_has_no_steps() {
        let std = 0.3;
        let mut rng = stream(1, 0, 0, 0, Purpose::View);
        let knots: [f32; KNOTS] = std::array::from_fn(|_| 1.0 + std * normal(&mut rng));
        let found = curve(501, std, &mut stream(1, 0, 0, 0, Purpose::View));
        for (at, knot) in knots.iter().enumerate() {
            assert!((found[100 * at] - knot).abs() < 1e-4);
        }
        assert!(found.windows(2).all(|w| (w[1] - w[0]).abs() < 0.05));
    }
}
