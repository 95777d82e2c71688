//! Several losses as one.

use std::fmt;

use crate::classes::ProxyInit;
use crate::loss::{Loss, LossError, Pull, Sides, check};
use crate::tuples::Tuples;

/// `Σ_k w_k L_k` of losses on the same sides. Terms and active terms add up.
#[derive(Default)]
pub struct WeightedSum(Vec<(f32, Box<dyn Loss>)>);

impl WeightedSum {
    /// Of nothing: 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another loss in it.
    ///
    /// # Errors
    /// When the weight is not finite.
    pub fn plus(mut self, weight: f32, loss: impl Loss + 'static) -> Result<Self, LossError> {
        self.0.push((check("weight", weight, |_| true, "finite")?, Box::new(loss)));
        Ok(self)
    }

    fn add_up(
        &self,
        sides: &Sides<'_>,
        pull: impl Fn(&dyn Loss) -> Result<Pull, LossError>,
    ) -> Result<Pull, LossError> {
        let mut sum = Pull::none(sides);
        for (weight, loss) in &self.0 {
            sum.add(f64::from(*weight), &pull(loss.as_ref())?);
        }
        Ok(sum)
    }
}

impl Loss for WeightedSum {
    fn pull(&self, sides: &Sides<'_>) -> Result<Pull, LossError> {
        self.add_up(sides, |loss| loss.pull(sides))
    }

    fn pull_mined(&self, sides: &Sides<'_>, tuples: &Tuples) -> Result<Pull, LossError> {
        self.add_up(sides, |loss| loss.pull_mined(sides, tuples))
    }

    /// Those of the first loss that needs any.
    fn proxies(&self) -> Option<ProxyInit> {
        self.0.iter().find_map(|(_, loss)| loss.proxies())
    }
}

impl fmt::Debug for WeightedSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(weight, _)| weight)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::{CosFace, DrLim, MultiSimilarity};
    use nearkin_sweep::{SameLabel, Vectors};

    #[test]
    fn a_sum_of_two_losses_is_the_sum_of_what_they_do() {
        let kin = SameLabel::within(&[0, 0, 1]);
        let points = [0.0, 1.0, 2.0, 0.5, -1.0, 0.3];
        let sides = Sides::within(Vectors::new(&points, 2).unwrap(), &kin);
        let (a, b) = (DrLim::new(1.5).unwrap(), MultiSimilarity::default());
        let sum = WeightedSum::new().plus(0.5, a).unwrap().plus(2.0, b).unwrap();
        let tuples = Tuples::Triplets(vec![[0, 1, 2]]);
        for mined in [false, true] {
            let pull = |loss: &dyn Loss| {
                if mined { loss.pull_mined(&sides, &tuples) } else { loss.pull(&sides) }.unwrap()
            };
            let (found, a, b) = (pull(&sum), pull(&a), pull(&b));
            assert!((found.loss - (0.5 * a.loss + 2.0 * b.loss)).abs() < 1e-9);
            assert_eq!(found.terms, a.terms + b.terms);
            for (g, (a, b)) in found.query_gradient.iter().zip(a.query_gradient.iter().zip(&b.query_gradient))
            {
                assert!((g - (0.5 * a + 2.0 * b)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn nothing_sums_to_nothing_and_a_weight_must_be_a_number() {
        let kin = SameLabel::within(&[0]);
        let sides = Sides::within(Vectors::new(&[1.0], 1).unwrap(), &kin);
        assert_eq!(WeightedSum::new().pull(&sides).unwrap(), Pull::none(&sides));
        assert!(WeightedSum::new().plus(f32::NAN, MultiSimilarity::default()).is_err());
        let sum = WeightedSum::new().plus(1.0, MultiSimilarity::default()).unwrap();
        assert!(sum.proxies().is_none());
        assert!(sum.plus(1.0, CosFace::default()).unwrap().proxies().is_some());
    }
}
