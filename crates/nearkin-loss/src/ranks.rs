//! Smooth ranks: what losses that approximate the average precision are made of.

use nearkin_sweep::{Relation, Row, exp, sum, wide};

/// A vector that should rank first, with its score: a reference, or `None` for the query itself.
pub(crate) type Member = (Option<usize>, f32);

/// The kin of a query and, among one set, the query itself, which scores 1 with itself by cosine.
pub(crate) fn members(row: &Row<'_>, among_one_set: bool) -> Vec<Member> {
    let kin = row.kin().map(|(j, s)| (Some(j), s));
    kin.chain(among_one_set.then_some((None, 1.0))).collect()
}

/// How far a score is ahead of another: `σ(x)` of their difference over the temperature.
pub(crate) fn ahead(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// How far each reference of one relation is ahead of a score.
pub(crate) struct Ahead {
    values: Vec<f32>,
}

impl Ahead {
    /// `σ(sharpness (s_k − s))` of the references of a relation; 0 for others, and for reference `but`.
    pub(crate) fn of(row: &Row<'_>, wanted: Relation, s: f32, but: Option<usize>, sharpness: f32) -> Self {
        let mut values = vec![0.0; row.scores.len()];
        wide(|| {
            for ((v, score), relation) in values.iter_mut().zip(row.scores).zip(row.relations) {
                let ahead = ahead(sharpness * (score - s));
                *v = if *relation == wanted { ahead } else { 0.0 };
            }
        });
        if let Some(value) = but.and_then(|j| values.get_mut(j)) {
            *value = 0.0;
        }
        Self { values }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> f64 {
        wide(|| sum(&self.values))
    }

    /// Adds `slope · ∂count/∂s_k` to each force; returns the sum of these, which is `−slope · ∂count/∂s`.
    pub(crate) fn push(mut self, slope: f64, sharpness: f32, forces: &mut [f32]) -> f32 {
        let slope = slope as f32 * sharpness;
        wide(|| {
            for (v, g) in self.values.iter_mut().zip(forces) {
                *v = slope * (*v * (1.0 - *v));
                *g += *v;
            }
            sum(&self.values) as f32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_row() {
        use Relation::{Excluded, Kin, Stranger};
        let row = Row {
            query: 0,
            scores: &[0.5, 0.25, 0.75, 0.5],
            relations: &[Excluded, Kin, Kin, Stranger],
            weights: &[],
        };
        assert_eq!(members(&row, true), [(Some(1), 0.25), (Some(2), 0.75), (None, 1.0)]);
        // Ahead of 0.25 at a temperature of ½: σ(1) of the other kin and σ(½) of the stranger.
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let kin = Ahead::of(&row, Kin, 0.25, Some(1), 2.0);
        assert!((kin.count() - sigmoid(1.0)).abs() < 1e-6);
        let mut forces = [0.0; 4];
        let pushed = kin.push(3.0, 2.0, &mut forces);
        let wanted = 6.0 * sigmoid(1.0) * (1.0 - sigmoid(1.0));
        assert!((f64::from(pushed) - wanted).abs() < 1e-6 && forces == [0.0, 0.0, pushed, 0.0]);
        assert!((Ahead::of(&row, Stranger, 0.25, Some(1), 2.0).count() - sigmoid(0.5)).abs() < 1e-6);
    }
}
